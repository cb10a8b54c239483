"""A batch of rows, checked and ready to be counted: on the host now, on a device in the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from calibrate.data import Labels, as_labels, as_logits
from calibrate.data.logits import NanPolicy
from calibrate.ops import Float32
from calibrate.statistics import Grid
from calibrate.torch.counting import Bins, Tables


def check_batch(logits: Tensor, targets: Tensor, ids: Tensor | None, n_classes: int) -> None:
    """Raise TypeError or ValueError unless shapes and dtypes are what they must be."""
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, got {logits.dtype}")
    if logits.ndim != 2 or logits.shape[1] != n_classes:
        raise ValueError(f"logits must have shape (n_rows, {n_classes}), got {tuple(logits.shape)}")
    if targets.shape != logits.shape:
        raise ValueError(
            f"targets must have the shape of the logits, {tuple(logits.shape)}, got "
            f"{tuple(targets.shape)}"
        )
    if ids is not None and tuple(ids.shape) != (len(logits),):
        raise ValueError(
            f"ids must be one for each of {len(logits)} rows, got shape {tuple(ids.shape)}"
        )


@dataclass(frozen=True, eq=False)
class HostBatch:
    """Rows whose values are checked at once, and counted by the compiled kernel."""

    scores: Float32
    labels: Labels

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor, nan: NanPolicy) -> HostBatch:
        """Check all values.

        Raises
        ------
        ValueError
            If a logit is not finite and `nan` does not say what it means, or a target is no label.
        """
        # numpy has no bfloat16; float32 holds it exactly, and float16 too
        logits = logits if logits.dtype == torch.float64 else logits.float()
        scores = as_logits(logits.numpy(), nan=nan).look(0, len(logits))
        return cls(scores, as_labels(targets, logits.shape[1]))

    def add_to(self, tables: Tables, grid: Grid, part: slice) -> None:
        """Count some rows."""
        rows = self.labels.rows(part.start, part.stop)
        tables.add_on_host(grid, self.scores[part], *rows)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and labels of some rows."""
        chosen = rows.numpy()
        labels = self.labels.take(chosen)
        positive = torch.zeros((len(chosen), labels.n_classes), dtype=torch.bool)
        positive[np.repeat(np.arange(len(chosen)), np.diff(labels.indptr)), labels.indices] = True
        return torch.from_numpy(self.scores[chosen]), positive


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """Rows that are counted by torch operations; what is wrong with them is only counted, too.

    Attributes
    ----------
    scores : float32, (n_rows, n_classes)
        Finite, or ``-inf`` where there is none.
    positive : bool, (n_rows, n_classes)
    wrong : int64, (2,)
        Cells that are no logits, and targets that are no labels.
    """

    scores: Tensor
    positive: Tensor
    wrong: Tensor

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor, nan: NanPolicy) -> DeviceBatch:
        """Look at all values without waiting for the device."""
        scores = logits.float()
        finite = scores.isfinite()
        no_logit = scores.isposinf() if nan == "negative" else ~finite
        dense = targets if targets.layout == torch.strided else targets.to_dense()
        positive = dense != 0
        no_label = positive & (dense != 1)
        # nan has no place in the tables
        scores = scores.masked_fill(~finite, -torch.inf)
        return cls(scores, positive, torch.stack([no_logit.sum(), no_label.sum()]))

    def add_to(self, tables: Tables, bins: Bins, part: slice, *, compiled: bool) -> None:
        """Count some rows."""
        tables.add(bins, self.scores[part], self.positive[part], compiled=compiled)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and labels of some rows."""
        return self.scores[rows], self.positive[rows]
