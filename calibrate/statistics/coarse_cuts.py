"""Exact counts of each class at a few cuts: what is enough to draw its curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.ops import LOWEST, from_ordinal, ordinal
from calibrate.statistics.histogram import Grid, ScoreHistogram

MOST_CUTS = 64
"""Cuts of a class, at most."""


@dataclass(frozen=True, eq=False)
class CoarseCuts:
    """Per class, counts at some cuts, from the highest to the lowest.

    Class c has the entries ``indptr[c]:indptr[c + 1]``, possibly none.

    Attributes
    ----------
    indptr : int64, (n_classes + 1,)
    edge : int64, (n_entries,)
        The cut lies at the lower edge of this bin of the grid.
    threshold : float32, (n_entries,)
        The lowest float32 of that bin; the decision is ``score >= threshold``.
    tp, predicted : int64, (n_entries,)
    """

    indptr: NDArray[np.int64]
    edge: NDArray[np.int64]
    threshold: NDArray[np.float32]
    tp: NDArray[np.int64]
    predicted: NDArray[np.int64]


def coarse_cuts(histogram: ScoreHistogram, most: int = MOST_CUTS) -> CoarseCuts:
    """Cuts at edges of the grid, at most `most` for each class, and their exact counts.

    From one cut to the next, recall and the logarithm of the number of predictions together rise
    by about the same: so the few positives of a rare class get cuts of their own, and so do the few
    predictions of high scores.

    Parameters
    ----------
    histogram : ScoreHistogram
        Without steps: its grid is that of the scores to be cut.
    most : int
    """
    parts: dict[int, tuple[NDArray[np.int64], ...]] = {}

    def choose(first: int, last: int) -> None:
        counts, positives = histogram.counts[first:last], histogram.positives[first:last]
        # of the bins from each one up
        predicted = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
        tp = np.cumsum(positives[:, ::-1], axis=1)[:, ::-1]
        all_cells, all_positives = (np.maximum(part[:, :1], 1) for part in (predicted, tp))
        height = tp / all_positives + np.log1p(predicted) / np.log1p(all_cells)
        step = np.floor(height * (most - 1) / height[:, :1].clip(min=1.0)).astype(np.int64)
        above = np.concatenate([step[:, 1:], np.zeros_like(step[:, :1])], axis=1)
        chosen = step > above
        # a cut below the grid, which takes what lies beyond as well, says nothing
        chosen[:, 0] = False
        line, edge = np.nonzero(chosen[:, ::-1])
        edge = histogram.grid.n_bins - 1 - edge
        parts[first] = (chosen.sum(axis=1), edge, tp[line, edge], predicted[line, edge])

    threads.over_ranges(choose, histogram.n_classes)
    columns = zip(*(parts[first] for first in sorted(parts)), strict=True)
    length, edge, tp, predicted = (np.concatenate(column) for column in columns)
    indptr = np.concatenate([[0], np.cumsum(length)])
    classes = np.repeat(np.arange(histogram.n_classes), length)
    return CoarseCuts(indptr, edge, _lowest_of(histogram.grid, classes, edge), tp, predicted)


def _lowest_of(
    grid: Grid, classes: NDArray[np.int64], edge: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The lowest float32 that is counted into the bin `edge`, or above it, of each class.

    Found by bisection: what is added to the edge can be too small for the sum to show it.
    """
    low, per_logit = grid.low[classes], 1.0 / grid.width[classes]
    least = np.full(len(edge), ordinal(LOWEST), dtype=np.int64)
    most = np.full(len(edge), ordinal(np.float32(np.inf)), dtype=np.int64)
    while (least < most).any():
        middle = (least + most) // 2
        inside = (from_ordinal(middle).astype(np.float64) - low) * per_logit >= edge
        most = np.where(inside, middle, most)
        least = np.where(inside, least, np.minimum(middle + 1, most))
    return from_ordinal(most)
