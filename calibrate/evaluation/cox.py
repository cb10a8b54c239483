"""Cox's calibration line of each class, and the classes for which it is surely not (1, 0)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.evaluation.counts import Floats
from calibrate.kernels.logistic import CONVERGED, curvatures
from calibrate.logistic import can_fit, lines
from calibrate.statistics import ScoreHistogram


class CoxLines(NamedTuple):
    """Lines ``logit P = slope logit + intercept``, float64, (n_classes,); nan where there is none.

    A calibrated class has slope 1 and intercept 0. A slope below 1 means that probabilities are too
    extreme, an intercept below 0 (at slope 1) that they are too high.
    """

    slope: Floats
    intercept: Floats
    slope_se: Floats
    intercept_se: Floats
    p: Floats


def cox_lines(histogram: ScoreHistogram) -> CoxLines:
    """Cox's line of each class, its standard errors, and the Wald p-value of slope 1, intercept 0.

    A class has none if it lacks positives or negatives, if its scores are all the same, or if some
    score parts its labels: then the slope of highest likelihood is infinite.

    References
    ----------
    Cox (1958), Two further applications of a model for binary regression; Wald (1943), Tests of
    statistical hypotheses concerning several parameters (chi-squared with 2 degrees of freedom).
    """
    both, differing = can_fit(histogram)
    x, n, t = histogram.scores, histogram.counts, histogram.positives
    which = both & differing & ~_reversed(x, n, t)
    found = lines(
        histogram, t.astype(np.float64), which, intercept=True, slope_range=(-np.inf, np.inf)
    )
    which &= found.status == CONVERGED
    slope, intercept = (np.where(which, part, np.nan) for part in found[:2])
    weights = (n * which[:, None]).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (weights * x).sum(axis=1) / weights.sum(axis=1)
    h = np.empty((len(n), 3))
    threads.over_ranges(
        lambda a, b: curvatures(
            x, weights, t.astype(np.float64), slope, intercept, centre, a, b, h
        ),
        len(n),
    )
    both_ways, across, at_centre = h.T
    away = slope - 1.0
    shift = intercept + away * centre
    with np.errstate(divide="ignore", invalid="ignore"):
        determinant = both_ways * at_centre - across * across
        # the variance of the intercept is that of the line at score 0
        at_zero = both_ways + 2.0 * centre * across + centre * centre * at_centre
        statistic = both_ways * away**2 + 2.0 * across * away * shift + at_centre * shift**2
        return CoxLines(
            slope,
            intercept,
            np.sqrt(at_centre / determinant),
            np.sqrt(at_zero / determinant),
            np.exp(-statistic / 2.0),
        )


def _reversed(x: Floats, n: NDArray[np.int64], t: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where no positive lies above a negative: the best slope is infinite downwards."""
    highest_positive = np.where(t > 0, x, -np.inf).max(axis=1)
    lowest_negative = np.where(t < n, x, np.inf).min(axis=1)
    return np.asarray(highest_positive <= lowest_negative)


def adjusted_p_values(p: Floats) -> Floats:
    """The false discovery rate at which each hypothesis would be rejected; nan stays nan.

    References
    ----------
    Benjamini and Hochberg (1995), Controlling the false discovery rate, section 3.
    """
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted
