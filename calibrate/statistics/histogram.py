"""`ScoreHistogram`: one pass over the logits, and everything smooth is fitted from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import Block, LabelledLogits, stepped
from calibrate.kernels.histogram import MOST_FRACTION_BITS, count_scores
from calibrate.ops import ElementwiseOp

N_BINS = 512
"""Logistic fits on the means of 512 bins stay within 0.011 standard errors of the exact fit."""

_SAMPLE_ROWS = 4096
_PIECES = 8
_BODY_ROWS = 256
_WIDEST = 20.0
_GROUP_CLASSES = 1024


@dataclass(frozen=True, eq=False)
class Grid:
    """Equal bins between two logits, class by class; the outer bins take what lies beyond.

    Attributes
    ----------
    low, high : float64, (n_classes,)
    n_bins : int
        At most 2**20.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n_bins: int = N_BINS

    def __post_init__(self) -> None:
        low = np.asarray(self.low, dtype=np.float64)
        high = np.asarray(self.high, dtype=np.float64)
        if low.ndim != 1 or low.shape != high.shape or not (low < high).all():
            raise ValueError(
                f"a grid needs low < high for each class, got shapes {low.shape} and {high.shape}"
            )
        if not 1 <= self.n_bins <= 1 << 20:
            raise ValueError(f"n_bins must be at least 1 and at most 2**20, got {self.n_bins}")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def width(self) -> NDArray[np.float64]:
        """Logits per bin, shape (n_classes,)."""
        return (self.high - self.low) / self.n_bins

    @property
    def fraction_bits(self) -> int:
        """Places within a bin are kept to ``2**-fraction_bits`` of its width."""
        # a place on the grid is a whole number that an int32 holds
        return min(MOST_FRACTION_BITS, 30 - (self.n_bins - 1).bit_length())

    def same_as(self, other: Grid) -> bool:
        """Whether the bins are the same."""
        return (
            self.n_bins == other.n_bins
            and np.array_equal(self.low, other.low)
            and np.array_equal(self.high, other.high)
        )

    @classmethod
    def even(
        cls, n_classes: int, low: float = -16.0, high: float = 16.0, n_bins: int = N_BINS
    ) -> Grid:
        """The same bins for all classes, for rows that are not known yet: 1/16 of a logit wide."""
        return cls(np.full(n_classes, float(low)), np.full(n_classes, float(high)), n_bins)

    @classmethod
    def around(cls, histogram: ScoreHistogram) -> Grid:
        """As many bins as a histogram has, laid around the scores that it counts, as `spanning`.

        For logits that come anew, epoch by epoch: the first pass finds where they lie. A class
        without scores keeps its bins.

        Parameters
        ----------
        histogram : ScoreHistogram
            Without steps.
        """
        grid, counts = histogram.grid, histogram.counts
        running = np.cumsum(counts, axis=1)
        total = running[:, -1:]

        def quantile(q: float) -> NDArray[np.float64]:
            place = (running < np.maximum(q * total, 1)).sum(axis=1, keepdims=True)
            some = np.minimum(place, grid.n_bins - 1)
            return np.asarray(np.take_along_axis(histogram.scores, some, axis=1)[:, 0])

        # what is in a bin lies within a bin of its mean
        low, high = quantile(0.0) - grid.width, quantile(1.0) + grid.width
        middle, body = quantile(0.5), quantile(0.9) - quantile(0.1)
        reach = _WIDEST * np.maximum(body, grid.width)
        some = total[:, 0] > 0
        return cls(
            np.where(some, np.maximum(low, middle - reach), grid.low),
            np.where(some, np.minimum(high, middle + reach), grid.high),
            grid.n_bins,
        )

    @classmethod
    def spanning(cls, data: LabelledLogits, n_bins: int = N_BINS) -> Grid:
        """A grid over the range of the scores in rows spread evenly over `data`.

        A few cells far from all others do not stretch it: each end stays within 20 times the
        10-90 % range of the median, and the outer bins keep the mean of what lies beyond.
        """
        n_rows, n_classes = data.shape
        if n_rows <= _SAMPLE_ROWS:
            starts, rows = [0], n_rows
        else:
            rows = max(1, _SAMPLE_ROWS // _PIECES)
            starts = [(n_rows - rows) * piece // (_PIECES - 1) for piece in range(_PIECES)]
        low, high = np.empty(n_classes), np.empty(n_classes)

        def span(first: int, last: int) -> None:
            steps = [step.columns(first, last) for step in data.steps]
            parts = []
            for start in starts:
                part = data.source.read(start, start + rows, slice(first, last))
                parts.append(stepped(steps, part, start))
            low[first:last], high[first:last] = _span(np.concatenate(parts))

        if data.source.sequential:
            span(0, n_classes)
        else:
            threads.over_ranges(span, n_classes)
        return cls(low, high, n_bins)


def _span(sample: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Range of each column, with room above and below; (0, 1) where there is no score."""
    low, high = sample.min(axis=0).astype(np.float64), sample.max(axis=0).astype(np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        scored = np.isfinite(sample)
        found = scored.any(axis=0)
        low = np.where(found, np.where(scored, sample, np.inf).min(axis=0), 0.0).astype(float)
        high = np.where(found, np.where(scored, sample, -np.inf).max(axis=0), 0.0).astype(float)
    some = sample[:: max(1, len(sample) // _BODY_ROWS)]
    ordered = np.sort(np.where(np.isfinite(some), some, np.nan), axis=0).astype(np.float64)
    here = np.count_nonzero(~np.isnan(ordered), axis=0)
    column = np.arange(ordered.shape[1])

    def quantile(q: float) -> NDArray[np.float64]:
        return np.where(here > 0, ordered[((here - 1).clip(0) * q).astype(int), column], 0.0)

    middle, body = quantile(0.5), quantile(0.9) - quantile(0.1)
    reach = np.where(body > 0, _WIDEST * body, np.inf)
    low, high = np.maximum(low, middle - reach), np.minimum(high, middle + reach)
    room = np.maximum(0.05 * (high - low), 1e-6 * np.maximum(1.0, abs(middle)))
    return low - room, high + room


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """Counts of scores and of positives on a grid in logit space, with the mean of each bin.

    Histograms on one grid add (``a + b``), exactly and in any order: the sums behind the bin means
    are whole numbers. So some of the rows can be taken out again (``a - b``).

    Attributes
    ----------
    grid : Grid
    counts, positives : int64, (n_classes, n_bins)
    offsets : int64, (n_classes, n_bins)
        Sum of the places of the scores within their bin, in whole steps of
        ``2**-grid.fraction_bits`` of its width.
    n_rows : int
    steps : tuple of ElementwiseOp
        Applied to the bin means; the counts stay as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.data import labelled_logits
    >>> rows = labelled_logits(np.array([[-1.0], [0.5], [2.0]]), np.array([[0], [1], [1]]))
    >>> histogram = ScoreHistogram.of(rows)
    >>> int(histogram.counts.sum()), int(histogram.positives.sum())
    (3, 2)
    """

    grid: Grid
    counts: NDArray[np.int64]
    positives: NDArray[np.int64]
    offsets: NDArray[np.int64]
    n_rows: int
    steps: tuple[ElementwiseOp, ...] = ()

    @classmethod
    def empty(cls, grid: Grid) -> ScoreHistogram:
        """A histogram of no rows."""
        shape = (len(grid.low), grid.n_bins)
        zeros = [np.zeros(shape, dtype=np.int64) for _ in range(3)]
        return cls(grid, zeros[0], zeros[1], zeros[2], 0)

    @classmethod
    def of(cls, data: LabelledLogits, grid: Grid | None = None) -> ScoreHistogram:
        """Count all rows of `data`, on a grid that spans them unless one is given."""
        new = cls.empty(Grid.spanning(data) if grid is None else grid)
        for block in data.passes():
            new._count(block, np.arange(len(block.scores)))
        return replace(new, n_rows=data.shape[0])

    @classmethod
    def of_parts(
        cls, data: LabelledLogits, part: NDArray[np.int64], wanted: Sequence[int], grid: Grid
    ) -> list[ScoreHistogram]:
        """A histogram for each of the `wanted` parts of the rows, all in one pass over `data`.

        Parameters
        ----------
        data : LabelledLogits
        part : int64, (n_rows,)
            The part of each row.
        wanted : sequence of int
            Each takes ``24 * n_classes * n_bins`` bytes: 97 MB for 7,900 classes on 512 bins.
        grid : Grid
        """
        made = [cls.empty(grid) for _ in wanted]
        for block in data.passes():
            here = part[block.start : block.start + len(block.scores)]
            for new, number in zip(made, wanted, strict=True):
                new._count(block, np.flatnonzero(here == number))
        sizes = (int(np.count_nonzero(part == number)) for number in wanted)
        return [replace(new, n_rows=size) for new, size in zip(made, sizes, strict=True)]

    def _count(self, block: Block, chosen: NDArray[np.int64]) -> None:
        """Add some rows of a block to the tables of this histogram, which nobody else has yet."""
        grid, n_classes = self.grid, self.n_classes
        per_logit = 1.0 / grid.width
        width = max(1, min(_GROUP_CLASSES, -(-n_classes // threads.n_threads())))

        def count(first: int) -> None:
            last = min(first + width, n_classes)
            count_scores(
                block.scores, block.indptr, block.indices, chosen, grid.low, per_logit, first, last,
                grid.fraction_bits, self.counts, self.positives, self.offsets,
            )  # fmt: skip

        threads.each(count, range(0, n_classes, width))

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        """The histogram of the rows of both."""
        self._check_same_bins(other, "added")
        return replace(
            self,
            counts=self.counts + other.counts,
            positives=self.positives + other.positives,
            offsets=self.offsets + other.offsets,
            n_rows=self.n_rows + other.n_rows,
        )

    def __sub__(self, other: ScoreHistogram) -> ScoreHistogram:
        """The histogram of the rows that are left when those of `other`, a part, are taken out."""
        self._check_same_bins(other, "subtracted")
        return replace(
            self,
            counts=self.counts - other.counts,
            positives=self.positives - other.positives,
            offsets=self.offsets - other.offsets,
            n_rows=self.n_rows - other.n_rows,
        )

    def _check_same_bins(self, other: ScoreHistogram, what: str) -> None:
        if not self.grid.same_as(other.grid):
            raise ValueError(f"histograms must have the same grid to be {what}")
        same = len(self.steps) == len(other.steps) and all(
            one.same_as(another) for one, another in zip(self.steps, other.steps, strict=True)
        )
        if not same:
            raise ValueError(f"histograms must have the same steps to be {what}")

    def after(self, step: ElementwiseOp) -> ScoreHistogram:
        """The same counts with one more step applied to the bin means."""
        return replace(self, steps=(*self.steps, step))

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.counts)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Mean score of each bin after the steps, (n_classes, n_bins); bin centres where empty."""
        scores = np.empty(self.counts.shape)

        def fill(first: int, last: int) -> None:
            counts, low = self.counts[first:last], self.grid.low[first:last, None]
            place = self.offsets[first:last] / np.maximum(counts, 1)
            place /= 1 << self.grid.fraction_bits
            place[counts == 0] = 0.5
            place += np.arange(self.grid.n_bins)
            place *= self.grid.width[first:last, None]
            place += low
            for step in self.steps:
                place = step.columns(first, last).apply_float64(place.T).T
            scores[first:last] = place

        threads.over_ranges(fill, len(scores))
        return scores

    @property
    def range(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest mean of a bin that holds scores, (n_classes,); 0 without scores."""
        filled = self.counts > 0
        some = filled.any(axis=1)
        low = np.where(filled, self.scores, np.inf).min(axis=1)
        high = np.where(filled, self.scores, -np.inf).max(axis=1)
        return np.where(some, low, 0.0), np.where(some, high, 0.0)
