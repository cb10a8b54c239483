"""Cuts judged by the counts that calibrated probabilities let expect, without a look at labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from calibrate import threads
from calibrate.metrics import Metric
from calibrate.ops import LOWEST
from calibrate.statistics.curves import judged
from calibrate.statistics.histogram import ScoreHistogram

Floats = NDArray[np.float64]

_JUDGED_ENTRIES = 1 << 18
"""Cuts that are judged at once, about."""

_STEP = 2e-3
"""Share of a count by which it is moved to see how a metric changes."""

_STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
"""Places and weights of a derivative that is exact up to the fourth power."""


class ExpectedCuts(NamedTuple):
    """The cut of each class that is best if its probabilities are right, (n_classes,).

    Attributes
    ----------
    threshold : float64
        A logit: where the metric says a cell is worth its while, if that is a place between the
        bins beside the cut, else midway between them. ``inf`` without scores, or where the metric
        has no value at any cut.
    value : float64
        The metric of the expected counts; ``-inf`` where it has no value.
    realised : float64
        The metric of the counts at the same cut; nan without positives.
    error : float64
        Standard deviation of `value` less `realised` were the probabilities right; nan where the
        metric is not smooth.
    constant : bool
        Whether all scores are equal.
    """

    threshold: Floats
    value: Floats
    realised: Floats
    error: Floats
    constant: NDArray[np.bool_]


def best_expected_cuts(histogram: ScoreHistogram, metric: Metric) -> ExpectedCuts:
    """For each class the cut whose expected counts make the metric highest.

    Among cuts of equal value the one that predicts fewest wins.

    Parameters
    ----------
    histogram : ScoreHistogram
        Its scores are calibrated logits.
    metric : callable ``(tp, fp, fn, tn) -> array``
        Given counts that are not whole.

    Raises
    ------
    ValueError
        If the metric does not return one real number per cut.

    Notes
    -----
    Where the metric is highest, moving the cut by one cell changes nothing: a cell of probability p
    adds ``p`` to the true positives and 1 to the predictions, and is worth its while if
    ``p d_tp + d_predicted >= 0``, the derivatives of the metric. That makes half of F for F1, the
    share ``false_positive / (false_positive + false_negative)`` for a cost, and the prevalence for
    balanced accuracy. Fitted from bins, F of the best cut is below that of all scores by the
    curvature of the sigmoid within a bin.

    References
    ----------
    Koyejo, Natarajan, Ravikumar and Dhillon (2014), Consistent binary classification with
    generalized performance metrics, section 3; Lipton, Elkan and Naryanaswamy (2014), Optimal
    thresholding of classifiers to maximize F1 measure, theorem 1.
    """
    height = max(1, _JUDGED_ENTRIES // (histogram.grid.n_bins + 1))
    starts = range(0, histogram.n_classes, height)
    parts = threads.each(lambda first: _Cuts(histogram, first, first + height).best(metric), starts)
    return ExpectedCuts(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def best_expected_pooled_cut(histogram: ScoreHistogram, metric: Metric) -> tuple[float, float]:
    """Threshold and value of the one cut of all classes that is best if probabilities are right.

    As `best_expected_cuts`, with the bins of all classes as one line of cells.
    """
    scores = histogram.scores.ravel()
    order = np.argsort(scores, kind="stable")
    tables = (table.ravel()[order][None] for table in (histogram.counts, histogram.positives))
    line = _Line(scores[order][None], *tables)
    found = _Cuts(line, 0, 1).best(metric)
    return float(found.threshold[0]), float(found.value[0])


class _Line(NamedTuple):
    """Bins in rising order of their scores, each array (1, n_bins)."""

    scores: Floats
    counts: NDArray[np.int64]
    positives: NDArray[np.int64]


class _Counts(NamedTuple):
    """True positives, predictions, and all positives, of one shape; how many cells there are."""

    tp: Floats
    predicted: Floats
    positives: Floats
    cells: Floats

    def judged(self, metric: Metric) -> Floats:
        """The metric; nan where it has no value."""
        tp, fp = self.tp, self.predicted - self.tp
        counts = tp, fp, self.positives - tp, self.cells - self.positives - fp
        return judged(metric, [c.ravel() for c in counts]).reshape(tp.shape)


class _Cuts:
    """The cuts of some classes, from above all bins to below all of them."""

    def __init__(self, histogram: ScoreHistogram | _Line, first: int, last: int) -> None:
        part = slice(first, last)
        self.scores = histogram.scores[part, ::-1]
        self.counts = histogram.counts[part, ::-1].astype(np.float64)
        self.positives = histogram.positives[part, ::-1].astype(np.float64)
        self.p = expit(self.scores)
        filled = self.counts > 0
        # beside each cut: the score above, and below it the next that there is
        above = np.where(filled, self.scores, np.inf)
        below = np.where(filled, self.scores, -np.inf)
        below = np.maximum.accumulate(below[:, ::-1], axis=1)[:, ::-1]
        edge = np.full((len(self.scores), 1), np.inf)
        self.above, self.below = np.hstack([edge, above]), np.hstack([below, -edge])
        # equal scores stay together
        self.possible = self.above > self.below
        self.possible[:, 1:] &= filled
        self.constant = np.count_nonzero(self.possible, axis=1) <= 2

    def best(self, metric: Metric) -> ExpectedCuts:
        """The best cut of each class."""
        expected = self._counts(self.counts * self.p)
        values = expected.judged(metric)
        values = np.where(self.possible & ~np.isnan(values), values, -np.inf)
        cut = values.argmax(axis=1)
        rows = np.arange(len(cut))
        value = values[rows, cut]
        here = _Counts(*(c[rows, cut] for c in expected))
        by_tp, by_predicted, by_positives = _slopes(here, metric)
        real = _Counts(*(c[rows, cut] for c in self._counts(self.positives)))
        realised = np.where(real.positives > 0, real.judged(metric), np.nan)
        noise = _from_top(self.counts * self.p * (1 - self.p))
        cut_off, all_of_it = noise[rows, cut], noise[:, -1]
        error = np.sqrt(
            (by_tp + by_positives) ** 2 * cut_off + by_positives**2 * (all_of_it - cut_off)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            worth = -by_predicted / by_tp
        threshold = self._place(cut, worth)
        threshold[value == -np.inf] = np.inf
        return ExpectedCuts(threshold, value, realised, error, self.constant)

    def _counts(self, hits: Floats) -> _Counts:
        """Counts at all cuts, given the positives of each bin."""
        tp, predicted = _from_top(hits), _from_top(self.counts)
        whole = np.broadcast_to(tp[:, -1:], tp.shape), np.broadcast_to(predicted[:, -1:], tp.shape)
        return _Counts(tp, predicted, *whole)

    def _place(self, cut: NDArray[np.intp], p: Floats) -> Floats:
        """The threshold of each class: the logit of `p` where it makes this cut, else midway."""
        rows = np.arange(len(cut))
        above, below = self.above[rows, cut], self.below[rows, cut]
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = np.log(p) - np.log1p(-p)
            middle = 0.5 * (above + below)
        middle = np.where(above == np.inf, np.inf, np.maximum(middle, float(LOWEST)))
        fits = (wanted <= above) & (wanted > below) & np.isfinite(wanted)
        return np.where(fits, wanted, middle)


def _from_top(values: Floats) -> Floats:
    """Sums of the first bins, of none to all."""
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


@np.errstate(divide="ignore", invalid="ignore")
def _slopes(at: _Counts, metric: Metric) -> tuple[Floats, Floats, Floats]:
    """How the metric changes with the true positives, the predictions, and all positives."""

    def slope(moved: Callable[[Floats], _Counts], size: Floats) -> Floats:
        step = _STEP * np.where(size > 0, size, 1.0)
        sides = (weight * moved(place * step).judged(metric) for place, weight in _STENCIL)
        return np.asarray(sum(sides) / step)

    return (
        slope(lambda by: at._replace(tp=at.tp + by), at.tp),
        slope(lambda by: at._replace(predicted=at.predicted + by), at.predicted),
        slope(lambda by: at._replace(positives=at.positives + by), at.positives),
    )
