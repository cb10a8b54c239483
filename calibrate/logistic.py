"""Logistic lines for many classes at once, and for all of them pooled, from a histogram."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.kernels.logistic import CONVERGED, fit_intercepts, fit_lines
from calibrate.statistics import ScoreHistogram

SLOPE_RANGE = (0.05, 50.0)
"""Bounds of a fitted slope: the map stays increasing, and separable classes stay finite."""


def platt_targets(histogram: ScoreHistogram) -> NDArray[np.float64]:
    """Positives of each bin, (n_classes, n_bins), smoothed so that separable classes stay finite.

    A positive counts ``(n+ + 1) / (n+ + 2)`` and a negative ``1 / (n- + 2)`` (Platt, 1999).
    """
    positives = histogram.positives.sum(axis=1, keepdims=True)
    negatives = histogram.counts.sum(axis=1, keepdims=True) - positives
    high, low = (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0)
    targets = np.empty(histogram.counts.shape)

    def fill(first: int, last: int) -> None:
        # by parts: at full size each array in between would be another 32 MB
        part, hits = slice(first, last), histogram.positives[first:last]
        targets[part] = hits * high[part] + (histogram.counts[part] - hits) * low[part]

    threads.over_ranges(fill, len(targets))
    return targets


class Lines(NamedTuple):
    """Fitted lines ``slope * score + intercept``, float64, (n_lines,), and how each fit ended."""

    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]
    status: NDArray[np.int64]


class ClassLines(NamedTuple):
    """A line for every class: float64, (n_classes,), and where it comes from: bool, (n_classes,).

    A class of `pooled` has no positives or no negatives and takes the line through all cells; one
    of `flat` has equal scores and takes the slope of that and the intercept that fits its
    frequency; the fit of one of `bounded` stopped at the bound of the slope.
    """

    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]
    pooled: NDArray[np.bool_]
    flat: NDArray[np.bool_]
    bounded: NDArray[np.bool_]


def platt_lines(histogram: ScoreHistogram) -> ClassLines:
    """Platt's line for each class: the fit to `platt_targets`."""
    both_sides, differing = can_fit(histogram)
    own, flat = both_sides & differing, both_sides & ~differing
    targets = platt_targets(histogram)
    slope, shift, status = lines(histogram, targets, own, intercept=True)
    if not own.all():
        pooled = pooled_line(histogram, intercept=True)
        slope = np.where(own, slope, pooled.slope[0])
        shift = np.where(own, shift, pooled.intercept[0])
        at = intercepts_at(histogram, targets, flat, float(pooled.slope[0]))
        shift = np.where(flat, at, shift)
    return ClassLines(slope, shift, ~both_sides, flat, own & (status != CONVERGED))


def lines(
    histogram: ScoreHistogram,
    targets: NDArray[np.float64],
    which: NDArray[np.bool_],
    *,
    intercept: bool,
    slope_range: tuple[float, float] = SLOPE_RANGE,
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
    slope_range : (float, float)
        Bounds of the slopes.
    """
    n = _cells_of(histogram, which)
    return _fit(histogram.scores, n, targets, intercept, slope_range)


def pooled_line(histogram: ScoreHistogram, *, intercept: bool) -> Lines:
    """One line through the cells of all classes, arrays of length 1."""
    cells = (histogram.scores, histogram.counts, histogram.positives)
    x, n, t = (np.asarray(part, dtype=np.float64).reshape(1, -1) for part in cells)
    return _fit(x, n, t, intercept, SLOPE_RANGE)


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
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    intercept: bool,
    slope_range: tuple[float, float],
) -> Lines:
    slope, shift = np.ones(len(x)), np.zeros(len(x))
    status = np.zeros(len(x), dtype=np.int64)
    low, high = slope_range

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
