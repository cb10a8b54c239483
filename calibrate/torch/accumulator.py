"""`HistogramAccumulator`: the evidence of a fit, gathered batch by batch in a training loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from calibrate.base import FitWarning
from calibrate.data import LabelledLogits, labelled_logits
from calibrate.data.logits import NanPolicy, warn_if_probabilities
from calibrate.kernels.histogram import HELD_ROWS
from calibrate.pipeline import Pipeline
from calibrate.statistics import Grid, ScoreHistogram
from calibrate.torch import counting
from calibrate.torch.batches import DeviceBatch, HostBatch, check_batch
from calibrate.torch.counting import Bins, Tables
from calibrate.torch.processes import rank_here, require_same, sum_in_place, together
from calibrate.torch.reservoir import Reservoir, Take, row_keys, row_numbers

Function = TypeVar("Function", bound=Callable[..., Any])

_HOST = torch.device("cpu")
_MOST_BEYOND = 0.05
"""Share of the positives of a class that may lie outside the grid before it is said."""


def _by_itself(function: Function) -> Function:
    """Run a method as if outside of inference mode, and without gradients.

    Tables that are made within that mode could not be changed after it.
    """
    alone: Function = torch.inference_mode(False)(torch.no_grad()(function))
    return alone


class HistogramAccumulator:
    """Counts batches of logits as they come, so that a fit needs no saved logits.

    It has the manner of a metric in a validation loop: `update` with each batch, `all_reduce` over
    the processes, then `fit` a pipeline or take the `histogram`, and `reset`. The counts are whole
    numbers: the result is the same, bit for bit, in whatever batches and on however many processes
    the rows came, and the same as that of the saved logits on the same grid.

    Parameters
    ----------
    n_classes : int
    grid : calibrate.statistics.Grid, optional
        By default 512 bins from -16 to 16 for every class (``Grid.even``). For other logits:
        ``Grid.even(n_classes, -30, 5)``, ``Grid.spanning(labelled_logits(logits, labels))`` of some
        earlier rows, or ``Grid.around(histogram)`` of an earlier epoch, which is as good as the
        saved logits. All processes must have the same.
    reservoir : int
        Rows to keep beside the counts, with their labels, for steps that look along rows: the row
        layer of `calibrate.HierarchicalScaling`, `calibrate.SharedThreshold`,
        `calibrate.ExpectedCountTopK`. A simple random sample of all rows.
    seed : int
        Of the sample.
    rank : int, optional
        Number of this process among those that are merged, by default that in the process group.
        Which rows are sampled depends on it, unless `update` is given their ids.
    nan : {"raise", "negative"}
        ``"negative"``: a cell that is nan or ``-inf`` has no score and is not counted.
    device : torch.device or str, optional
        Where the counts lie; by default, where the first logits do, if that is a CUDA device. A
        process that may get no batch at all must be told, if the process group is NCCL's.
    compiled : bool
        On a CUDA device, let ``torch.compile`` make few kernels of what `update` does: the first
        batch then takes a minute, and the others read the logits fewer times.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it must be.

    Notes
    -----
    Takes 32 bytes for each class and bin, and ``5 * n_classes + 8`` for each row of the reservoir:
    129 MB for 7,900 classes on 512 bins, and 162 MB for 4,096 rows of them.

    On a CUDA device `update` neither copies to the host nor waits for the device (sparse targets
    aside). What is wrong with the values is then found by `histogram`, `fit` and `all_reduce`.

    It is no ``torch.nn.Module``, on purpose: ``DistributedDataParallel`` would overwrite the counts
    of all processes with those of the first, and a model's checkpoint would hold them.

    Examples
    --------
    >>> import torch
    >>> import calibrate as cal
    >>> generator = torch.Generator().manual_seed(0)
    >>> labels = torch.rand(400, 3, generator=generator) < torch.tensor([0.5, 0.2, 0.1])
    >>> logits = 2.0 * labels + torch.randn(400, 3, generator=generator)
    >>> accumulator = HistogramAccumulator(3)
    >>> for rows in torch.arange(400).split(64):
    ...     accumulator.update(logits[rows], labels[rows])
    >>> accumulator
    HistogramAccumulator(3 classes on 512 bins: 0.05 MB; 400 rows)
    >>> pipeline = cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(cal.metrics.f_beta(1)))
    >>> accumulator.fit(pipeline).predict(logits).shape
    (400, 3)
    """

    @_by_itself
    def __init__(
        self,
        n_classes: int,
        *,
        grid: Grid | None = None,
        reservoir: int = 0,
        seed: int = 0,
        rank: int | None = None,
        nan: NanPolicy = "raise",
        device: torch.device | str | None = None,
        compiled: bool = False,
    ) -> None:
        _check_count("n_classes", n_classes, 1)
        _check_count("reservoir", reservoir, 0)
        _check_count("seed", seed, 0)
        if nan not in ("raise", "negative"):
            raise ValueError(f"nan must be 'raise' or 'negative', got {nan!r}")
        self.n_classes, self.nan, self.seed, self.compiled = n_classes, nan, seed, compiled
        self.grid = self._checked_grid(Grid.even(n_classes) if grid is None else grid)
        if rank is not None:
            _check_count("rank", rank, 0)
        self._rank = rank
        self._placed = device is not None
        self._size = reservoir
        self._clear(_HOST if device is None else torch.device(device))

    def _clear(self, device: torch.device) -> None:
        self._tables = Tables.empty(self.n_classes, self.grid.n_bins, device)
        self._sample = Reservoir.empty(self._size, self.n_classes, device)
        self._bins = Bins.of(self.grid, device)
        # cells that are no logits, and targets that are no labels
        self._wrong = torch.zeros(2, dtype=torch.int64, device=device)
        self._n_rows = self._n_held = self._n_numbered = 0

    @property
    def rank(self) -> int:
        """Number of this process."""
        return rank_here() if self._rank is None else self._rank

    @property
    def n_rows(self) -> int:
        """Rows counted so far."""
        return self._n_rows

    @property
    def device(self) -> torch.device:
        """Where the counts lie."""
        return self._tables.words.device

    @property
    def nbytes(self) -> int:
        """Memory of the counts and of the rows that are kept."""
        tables = self._tables
        tensors = (tables.words, *tables.summed(), *self._sample.tensors)
        return sum(tensor.nbytes for tensor in tensors)

    def __repr__(self) -> str:
        kept = sum(tensor.nbytes for tensor in self._sample.tensors)
        counts = f"{self.n_classes:,} classes on {self.grid.n_bins} bins: {_mb(self.nbytes - kept)}"
        rows = f"; a reservoir of {self._size:,} rows: {_mb(kept)}" if self._size else ""
        return f"HistogramAccumulator({counts}{rows}; {self._n_rows:,} rows)"

    @_by_itself
    def to(self, device: torch.device | str) -> Self:
        """Move the counts to a device, for good."""
        self._placed = True
        self._move(torch.device(device))
        return self

    def _move(self, device: torch.device) -> None:
        if device != self.device:
            self._tables, self._sample = self._tables.to(device), self._sample.to(device)
            self._bins, self._wrong = Bins.of(self.grid, device), self._wrong.to(device)

    @_by_itself
    def reset(self, *, grid: Grid | None = None) -> None:
        """Forget all rows.

        Parameters
        ----------
        grid : calibrate.statistics.Grid, optional
            To count on from now on: ``Grid.around(histogram)`` of an earlier epoch follows the
            logits. The same on all processes, so of the histogram of all.

        Raises
        ------
        ValueError
            If it is one of other classes.
        """
        if grid is not None:
            self.grid = self._checked_grid(grid)
        self._clear(self.device)

    def _checked_grid(self, grid: Grid) -> Grid:
        if len(grid.low) != self.n_classes:
            raise ValueError(
                f"grid must be one of {self.n_classes} classes, got one of {len(grid.low)}"
            )
        return grid

    @_by_itself
    def update(self, logits: Tensor, targets: Tensor, *, ids: Tensor | None = None) -> None:
        """Count a batch of rows.

        Parameters
        ----------
        logits : floating point, (n_rows, n_classes)
            Of any device and precision; counted in float32.
        targets : bool, integers or floats, (n_rows, n_classes)
            0 or 1; dense, or sparse in any of torch's layouts.
        ids : integers, (n_rows,), optional
            What each row is called in its data set, at least 0. With them the reservoir holds the
            same rows however these came to which process; a row that comes twice counts twice.

        Raises
        ------
        TypeError, ValueError
            If shapes or dtypes are not what they must be, a logit is not finite, or a target is
            neither 0 nor 1. On a CUDA device the values are looked at later.
        """
        logits, targets = torch.as_tensor(logits), torch.as_tensor(targets)
        check_batch(logits, targets, ids, self.n_classes)
        if not self._placed:
            self._placed = True
            self._move(logits.device if logits.is_cuda else _HOST)
        if len(logits) == 0:
            return
        logits, targets = logits.detach().to(self.device), targets.detach().to(self.device)
        if counting.on_host(self.device):
            self._add_on_host(HostBatch.of(logits, targets, self.nan), ids)
        else:
            self._add_on_device(DeviceBatch.of(logits, targets, self.nan), ids)
        self._n_rows += len(logits)
        if ids is None:
            self._n_numbered += len(logits)

    def _add_on_host(self, batch: HostBatch, ids: Tensor | None) -> None:
        for part in self._parts(len(batch.scores)):
            batch.add_to(self._tables, self.grid, part)
        self._offer(len(batch.scores), ids, batch.take)

    def _add_on_device(self, batch: DeviceBatch, ids: Tensor | None) -> None:
        self._wrong += batch.wrong
        for part in self._parts(len(batch.scores)):
            batch.add_to(self._tables, self._bins, part, compiled=self.compiled)
        self._offer(len(batch.scores), ids, batch.take)

    def _parts(self, n_rows: int) -> Iterator[slice]:
        """The rows of a batch in parts, each with room in the words when it is asked for."""
        start = 0
        while start < n_rows:
            if self._n_held == HELD_ROWS:
                self._unload()
            stop = min(start + HELD_ROWS - self._n_held, n_rows)
            self._n_held += stop - start
            yield slice(start, stop)
            start = stop

    def _unload(self) -> None:
        self._tables.unload()
        self._n_held = 0

    def _offer(self, n_rows: int, ids: Tensor | None, take: Take) -> None:
        if self._size == 0:
            return
        if ids is None:
            numbers = row_numbers(self.rank, self._n_numbered, n_rows, self.device)
        else:
            numbers = torch.as_tensor(ids).to(self.device, torch.int64, non_blocking=True)
        self._sample.offer(row_keys(numbers, self.seed), take)

    @_by_itself
    def merge(self, other: HistogramAccumulator) -> Self:
        """Take in the rows of another one, as if they had been counted here.

        Each of those that are merged should have a `rank` of its own, or be given ids.

        Raises
        ------
        ValueError
            If grids, reservoirs or seeds differ.
        """
        if not self.grid.same_as(other.grid):
            raise ValueError("accumulators must have the same grid to be merged")
        if self._setting() != other._setting():
            raise ValueError(
                "accumulators must have the same reservoir, seed and nan to be merged, got "
                f"{self._setting()} and {other._setting()}"
            )
        self._unload()
        other._unload()
        self._tables.add_tables(other._tables)
        self._sample.merge(other._sample)
        self._wrong += other._wrong.to(self.device)
        self._n_rows += other._n_rows
        return self

    def _setting(self) -> tuple[int, int, str]:
        return self._size, self.seed, self.nan

    @_by_itself
    def all_reduce(self, group: dist.ProcessGroup | None = None) -> HistogramAccumulator:
        """The sum over all processes, the same on each; this one goes on as it is.

        Where there is no process group, a copy. Every process must call it, also one that saw no
        row.

        Parameters
        ----------
        group : ProcessGroup, optional
            By default all processes.

        Returns
        -------
        HistogramAccumulator

        Raises
        ------
        ValueError
            On every process, if one has other options, or anywhere a value was not what it must be.
        """
        total = HistogramAccumulator(
            self.n_classes, grid=self.grid, reservoir=self._size, seed=self.seed, rank=self._rank,
            nan=self.nan, device=self.device, compiled=self.compiled,
        )  # fmt: skip
        if not together():
            return total.merge(self)
        self._check_alike(group)
        self._unload()
        total._tables.add_tables(self._tables)
        n_rows = torch.tensor([self._n_rows], device=self.device)
        total._wrong.copy_(self._wrong)
        sum_in_place((*total._tables.summed(), total._wrong, n_rows), group)
        total._n_rows = int(n_rows)
        if self._size:
            total._sample = self._sample.reduced(group)
        total._check_values()
        return total

    def _check_alike(self, group: dist.ProcessGroup | None) -> None:
        """Raise on all processes if they would not add up."""
        size, seed, nan = self._setting()
        settings = torch.tensor([self.n_classes, self.grid.n_bins, size, seed, int(nan == "raise")])
        require_same(settings, "classes, bins, reservoir, seed and nan", self.device, group)
        for ends in (self.grid.low, self.grid.high):
            bits = torch.from_numpy(ends.view(np.int64).copy())
            require_same(bits, "grid", self.device, group)

    def _check_values(self) -> None:
        n_cells, n_targets = self._wrong.tolist()
        if n_cells:
            way_out = "" if self.nan == "negative" else "; nan='negative' decides nan as negative"
            raise ValueError(
                f"logits must be finite, got {n_cells} that are not in the {self._n_rows} rows "
                f"since the last reset{way_out}"
            )
        if n_targets:
            raise ValueError(
                f"targets must be 0 or 1, got {n_targets} that are not in the {self._n_rows} rows "
                "since the last reset"
            )

    @_by_itself
    def histogram(self) -> ScoreHistogram:
        """What was counted, on the host.

        Returns
        -------
        ScoreHistogram
            Of all rows since the last `reset`; a copy, which later batches do not change.

        Raises
        ------
        ValueError
            If there are no rows, or a value was not what it must be.

        Warns
        -----
        UserWarning
            If the logits look like probabilities.
        FitWarning
            If classes have many positives outside the grid, where no threshold can lie.
        """
        self._check_values()
        if self._n_rows == 0:
            raise ValueError("there must be at least one row, got none since the last reset")
        self._unload()
        counts, positives, offsets = (table.cpu().numpy().copy() for table in self._tables.summed())
        made = ScoreHistogram(self.grid, counts, positives, offsets, self._n_rows)
        low, high = (ends[made.counts.any(axis=1)] for ends in made.range)
        if len(low):
            warn_if_probabilities(float(low.min()), float(high.max()))
        _warn_if_beyond(made)
        return made

    @_by_itself
    def rows(self) -> LabelledLogits:
        """The rows of the reservoir, on the host, to be given to ``Pipeline.fit_from``.

        Raises
        ------
        ValueError
            If none are kept, there are no rows, or a value was not what it must be.
        """
        if self._size == 0:
            raise ValueError("no rows are kept: make the accumulator with reservoir=4096, say")
        self._check_values()
        logits, labels = self._sample.rows()
        # what is not finite by now has no score
        return labelled_logits(logits.numpy(), labels.numpy(), nan="negative")

    def fit(self, pipeline: Pipeline, *, class_names: Any = None) -> Pipeline:
        """Fit a pipeline to the histogram, and to the rows of the reservoir what needs rows.

        Parameters
        ----------
        pipeline : Pipeline
            Fitted in place.
        class_names : sequence of str, or path, optional

        Returns
        -------
        Pipeline
            The one that was given.

        Raises
        ------
        TypeError
            If a step needs rows and none are kept; it is named.
        ValueError
            As `histogram` does.
        """
        rows = self.rows() if self._size else None
        return pipeline.fit_from(self.histogram(), rows=rows, class_names=class_names)

    @_by_itself
    def state_dict(self) -> dict[str, Any]:
        """Everything as tensors and plain numbers, to be saved and loaded without a pickle."""
        self._unload()
        counts, positives, offsets = self._tables.summed()
        keys, logits, labels = self._sample.tensors
        tensors = {
            "counts": counts,
            "positives": positives,
            "offsets": offsets,
            "wrong": self._wrong,
            "reservoir_keys": keys,
            "reservoir_logits": logits,
            "reservoir_labels": labels,
        }
        return {
            **{name: tensor.clone() for name, tensor in tensors.items()},
            "grid_low": torch.from_numpy(self.grid.low.copy()),
            "grid_high": torch.from_numpy(self.grid.high.copy()),
            "seed": self.seed,
            "n_rows": self._n_rows,
            "n_numbered": self._n_numbered,
        }

    @_by_itself
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, on its grid.

        Raises
        ------
        ValueError
            If it is that of an accumulator with other classes or bins, another reservoir or seed.
        """
        own = self.state_dict()
        if state.keys() != own.keys():
            missing = sorted(own.keys() ^ state.keys())
            raise ValueError(f"the state must be one of an accumulator; it differs in {missing}")
        for name in own:
            alike = np.shape(own[name]) == np.shape(state[name])
            if not alike or (name == "seed" and own[name] != state[name]):
                raise ValueError(
                    "the state must be one of an accumulator with as many classes and bins, the "
                    f"same reservoir and seed; it differs in {name!r}"
                )
        low, high = (state[name].cpu().numpy().copy() for name in ("grid_low", "grid_high"))
        self.reset(grid=Grid(low, high, self.grid.n_bins))
        for tensor, name in (
            *zip(self._tables.summed(), ("counts", "positives", "offsets"), strict=True),
            (self._wrong, "wrong"),
            *zip(
                self._sample.tensors,
                ("reservoir_keys", "reservoir_logits", "reservoir_labels"),
                strict=True,
            ),
        ):
            tensor.copy_(state[name])
        self._n_rows, self._n_numbered = int(state["n_rows"]), int(state["n_numbered"])


def _check_count(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.2f} MB" if n_bytes < 1e6 else f"{n_bytes / 1e6:,.0f} MB"


def _warn_if_beyond(histogram: ScoreHistogram) -> None:
    """Say how many classes have much outside the grid: bins whose mean score lies there."""
    grid, positives, scores = histogram.grid, histogram.positives, histogram.scores
    beyond = np.where(scores[:, 0] < grid.low, positives[:, 0], 0)
    beyond = beyond + np.where(scores[:, -1] > grid.high, positives[:, -1], 0)
    n_classes = int(np.count_nonzero(beyond > _MOST_BEYOND * positives.sum(axis=1)))
    if n_classes:
        warnings.warn(
            f"{n_classes} of {histogram.n_classes} classes have more than 5 % of their positives "
            f"outside the grid, which reaches from {grid.low.min():g} to {grid.high.max():g}: no "
            "threshold can lie there; give the accumulator another one, grid=Grid.even(...)",
            FitWarning,
            stacklevel=3,
        )
