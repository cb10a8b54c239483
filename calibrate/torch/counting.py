"""The tables of a histogram as tensors, counted into where they are.

On the host the compiled kernel counts; on a device, torch operations that wait for nothing.
Both do the same arithmetic in float64 and add whole numbers, so that they end in the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrate.kernels.histogram import COUNT_AT, FARTHEST, POSITIVES_AT
from calibrate.ops import Float32
from calibrate.statistics import Grid, StreamedTables

CELLS_AT_ONCE = 1 << 22
"""Cells that are counted at once on a device: a few numbers of 8 bytes are held for each."""

_PLACES = (1 << COUNT_AT) - 1
_CELLS = (1 << POSITIVES_AT - COUNT_AT) - 1


def on_host(device: torch.device) -> bool:
    """Whether compiled kernels reach the memory, and there is no device to wait for."""
    return device.type == "cpu"


@dataclass(frozen=True, eq=False)
class Tables:
    """What `calibrate.statistics.StreamedTables` holds, as int64 tensors on one device.

    Attributes
    ----------
    words, counts, positives, offsets : int64, (n_classes, n_bins)
    """

    words: Tensor
    counts: Tensor
    positives: Tensor
    offsets: Tensor

    @classmethod
    def empty(cls, n_classes: int, n_bins: int, device: torch.device) -> Tables:
        """Tables of no rows."""
        shape = n_classes, n_bins
        return cls(*(torch.zeros(shape, dtype=torch.int64, device=device) for _ in fields(cls)))

    def to(self, device: torch.device) -> Tables:
        """The same tables on another device."""
        return Tables(*(getattr(self, field.name).to(device) for field in fields(self)))

    def _streamed(self) -> StreamedTables:
        """The same memory as arrays."""
        words, *others = (getattr(self, field.name).numpy() for field in fields(self))
        return StreamedTables(words.view(np.uint64), *others)

    def add_on_host(
        self, grid: Grid, scores: Float32, indptr: NDArray[np.int64], indices: NDArray[np.int32]
    ) -> None:
        """Add checked rows, with their labels as CSR."""
        self._streamed().add(grid, scores, indptr, indices)

    def add(self, bins: Bins, scores: Tensor, positive: Tensor, *, compiled: bool = False) -> None:
        """Add rows by torch operations.

        Parameters
        ----------
        bins : Bins
        scores : float32, (n_rows, n_classes)
            Finite, or ``-inf`` where there is none.
        positive : bool, (n_rows, n_classes)
        compiled : bool
            Let ``torch.compile`` make few kernels of the operations.
        """
        work = _compiled() if compiled else add_cells
        height = max(1, CELLS_AT_ONCE // scores.shape[1])
        for start in range(0, len(scores), height):
            part = slice(start, start + height)
            work(
                self.words, *self.summed(), bins.low, bins.per_logit, bins.first_cell, bins.n_bins,
                bins.fraction_bits, scores[part], positive[part],
            )  # fmt: skip

    def unload(self) -> None:
        """Move what the words hold to the other tables."""
        if on_host(self.words.device):
            self._streamed().unload()
            return
        self.counts.add_((self.words >> COUNT_AT) & _CELLS)
        self.positives.add_(self.words >> POSITIVES_AT)
        self.offsets.add_(self.words & _PLACES)
        self.words.zero_()

    def add_tables(self, other: Tables) -> None:
        """Add unloaded tables of other rows."""
        for mine, others in zip(self.summed(), other.summed(), strict=True):
            mine.add_(others.to(mine.device))

    def summed(self) -> tuple[Tensor, Tensor, Tensor]:
        """The tables that hold everything once the words are unloaded."""
        return self.counts, self.positives, self.offsets


def add_cells(
    words: Tensor,
    counts: Tensor,
    positives: Tensor,
    offsets: Tensor,
    low: Tensor,
    per_logit: Tensor,
    first_cell: Tensor,
    n_bins: int,
    fraction_bits: int,
    scores: Tensor,
    positive: Tensor,
) -> None:
    """Add rows to the tables; the parameters are those of `Tables`, `Bins` and ``Tables.add``."""
    steps = 1 << fraction_bits
    end = float(n_bins * steps)
    position = (scores.double() - low) * per_logit
    place = position * steps
    far = (place < 0) | (place >= end)
    place = place.clamp(0.0, end)
    cell = place.clamp(max=end - 1).long() >> fraction_bits
    entry = (place + 0.5).long() - (cell << fraction_bits)
    entry += (1 << COUNT_AT) + (positive.long() << POSITIVES_AT)
    cell += first_cell
    words.view(-1).scatter_add_(0, cell.view(-1), entry.masked_fill(far, 0).view(-1))
    # what lies outside goes into the outer bins, as the sums of each class
    far &= scores > -torch.inf
    position = position.clamp(-FARTHEST, FARTHEST)
    below = position < 0
    for here, at in ((far & below, 0), (far & ~below, n_bins - 1)):
        offset = ((position - at) * steps + 0.5).floor().long()
        counts[:, at] += here.sum(dim=0)
        positives[:, at] += (here & positive).sum(dim=0)
        offsets[:, at] += offset.masked_fill(~here, 0).sum(dim=0)


@cache
def _compiled() -> Callable[..., None]:
    compiled: Callable[..., None] = torch.compile(add_cells, fullgraph=True, dynamic=True)
    return compiled


@dataclass(frozen=True, eq=False)
class Bins:
    """A `Grid` as tensors on one device.

    Attributes
    ----------
    low, per_logit : float64, (n_classes,)
    first_cell : int64, (n_classes,)
        Where in the tables each class begins.
    n_bins, fraction_bits : int
    """

    low: Tensor
    per_logit: Tensor
    first_cell: Tensor
    n_bins: int
    fraction_bits: int

    @classmethod
    def of(cls, grid: Grid, device: torch.device) -> Bins:
        """Made of the very numbers that the host counts with."""
        low, per_logit, first = (
            torch.from_numpy(np.array(values)).to(device)
            for values in (
                grid.low,
                1.0 / grid.width,
                np.arange(0, len(grid.low) * grid.n_bins, grid.n_bins),
            )
        )
        return cls(low, per_logit, first, grid.n_bins, grid.fraction_bits)
