"""Reliability diagrams with consistency bands, from the bins of a histogram."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.evaluation.counts import Floats, Integers
from calibrate.evaluation.debiased import MOST_GROUPS, equal_groups
from calibrate.statistics import ScoreHistogram

_CLASSES_AT_ONCE = 1024


class Diagrams(NamedTuple):
    """Groups of cells of similar probability, one line per class; (n_lines, `MOST_GROUPS`).

    Attributes
    ----------
    cells, positives : int64
        A group without cells is none: its other numbers are nan.
    p : float64
        Mean probability.
    low, high : float64
        Between which the rate of positives would lie if every probability were right.
    """

    cells: Integers
    positives: Integers
    p: Floats
    low: Floats
    high: Floats


def diagrams_by_class(histogram: ScoreHistogram, level: float) -> Diagrams:
    """The reliability diagram of each class, see `diagrams`."""
    parts = []
    for first in range(0, histogram.n_classes, _CLASSES_AT_ONCE):
        here = slice(first, first + _CLASSES_AT_ONCE)
        bins = histogram.scores[here], histogram.counts[here], histogram.positives[here]
        parts.append(diagrams(*bins, level))
    return Diagrams(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def pooled_diagram(histogram: ScoreHistogram, level: float) -> Diagrams:
    """The reliability diagram of the cells of all classes, one line, see `diagrams`."""
    filled = histogram.counts > 0
    scores = histogram.scores[filled]
    order = np.argsort(scores, kind="stable")[None, :]
    return diagrams(
        scores[order], histogram.counts[filled][order], histogram.positives[filled][order], level
    )


def diagrams(scores: Floats, counts: Integers, positives: Integers, level: float) -> Diagrams:
    """Mean probability and rate of positives in groups of about equally many expected events.

    The groups are made from the scores alone, as those of `debiased_squared_ece` are: their band
    would not hold if the labels had chosen them.

    Parameters
    ----------
    scores : float64, (n_lines, n_bins)
        Mean calibrated logit of each bin, rising along a line.
    counts, positives : int64, (n_lines, n_bins)
    level : float
        Probability that a rate lies in its band if every probability is right and the cells of the
        group are independent, which those of one row are not.

    References
    ----------
    Brocker and Smith (2007), Increasing the reliability of reliability diagrams, section 3
    (consistency bars).
    """
    from scipy.stats import binom

    with np.errstate(over="ignore"):
        p = 1.0 / (1.0 + np.exp(-scores))
    group = equal_groups(counts * p * (1.0 - p))
    place = (np.arange(len(scores))[:, None] * MOST_GROUPS + group).ravel()
    shape = (len(scores), MOST_GROUPS)

    def summed(values: NDArray[np.float64] | NDArray[np.int64]) -> Floats:
        found = np.bincount(place, values.ravel(), shape[0] * shape[1]).reshape(shape)
        return np.asarray(found, dtype=np.float64)

    n, t = (np.rint(summed(values)).astype(np.int64) for values in (counts, positives))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(n > 0, np.clip(summed(counts * p) / n, 0.0, 1.0), np.nan)
        tail = (1.0 - level) / 2.0
        low, high = (binom.ppf(q, n, mean) / n for q in (tail, 1.0 - tail))
    return Diagrams(n, t, mean, low, high)
