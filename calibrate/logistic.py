"""Logistic lines for many classes at once, and for all of them pooled, from a histogram."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.kernels.logistic import fit_intercepts, fit_lines
from calibrate.statistics import ScoreHistogram

SLOPE_RANGE = (0.05, 50.0)
"""Bounds of a fitted slope: the map stays increasing, and separable classes stay finite."""


class Lines(NamedTuple):
    """Fitted lines ``slope * score + intercept``, float64, (n_lines,), and how each fit ended."""

    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]
    status: NDArray[np.int64]


def lines(
    histogram: ScoreHistogram,
    targets: NDArray[np.float64],
    which: NDArray[np.bool_],
    *,
    intercept: bool,
) -> Lines:
    """One line for each class in `which`; slope 1 and intercept 0 for the others.

    Parameters
    ----------
    histogram : ScoreHistogram
    targets : float64, (n_classes, n_bins)
        Positives of each bin, hard counts or smoothed.
    which : bool, (n_classes,)
    intercept : bool
        Else the intercept is 0.
    """
    n = _cells_of(histogram, which)
    return _fit(histogram.scores, n, targets, intercept)


def pooled_line(histogram: ScoreHistogram, *, intercept: bool) -> Lines:
    """One line through the cells of all classes, arrays of length 1."""
    cells = (histogram.scores, histogram.counts, histogram.positives)
    x, n, t = (np.asarray(part, dtype=np.float64).reshape(1, -1) for part in cells)
    return _fit(x, n, t, intercept)


def intercepts_at(
    histogram: ScoreHistogram,
    targets: NDArray[np.float64],
    which: NDArray[np.bool_],
    slope: float,
) -> NDArray[np.float64]:
    """The best intercept of each class in `which` at a given slope; 0 for the others."""
    n = _cells_of(histogram, which)
    found = np.zeros(len(n))
    threads.over_ranges(
        lambda a, b: fit_intercepts(histogram.scores, n, targets, slope, a, b, found), len(n)
    )
    return found


def _cells_of(histogram: ScoreHistogram, which: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cells of each bin, 0 throughout for the classes that are not to be fitted."""
    return np.multiply(histogram.counts, which[:, None], dtype=np.float64)


def _fit(
    x: NDArray[np.float64], n: NDArray[np.float64], t: NDArray[np.float64], intercept: bool
) -> Lines:
    slope, shift = np.ones(len(x)), np.zeros(len(x))
    status = np.zeros(len(x), dtype=np.int64)
    low, high = SLOPE_RANGE

    def fit(first: int, last: int) -> None:
        fit_lines(x, n, t, intercept, low, high, first, last, slope, shift, status)

    threads.over_ranges(fit, len(x))
    return Lines(slope, shift, status)


def can_fit(histogram: ScoreHistogram) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which classes have positives and negatives, and which have scores that differ."""
    n, y = histogram.counts.sum(axis=1), histogram.positives.sum(axis=1)
    filled = histogram.counts > 0
    # the scores rise with the bins
    row, lowest = np.arange(len(filled)), filled.argmax(axis=1)
    highest = filled.shape[1] - 1 - filled[:, ::-1].argmax(axis=1)
    differing = histogram.scores[row, lowest] < histogram.scores[row, highest]
    return (y > 0) & (y < n), differing
