"""How far the class prevalences of other rows are from those of the fitting rows.

From two histograms of calibrated logits on the same classes: one of the fitting rows, with their
labels, and one of the other rows, without.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.kernels.label_shift import mean_probabilities, shifts
from calibrate.statistics import ScoreHistogram

Floats = NDArray[np.float64]


class Likelihood(NamedTuple):
    """Differences of greatest likelihood, float64, (n_classes,).

    Attributes
    ----------
    shift
        Prevalence of the target minus mean probability of the source.
    variance
        Of the shift, from the information in the rows of both; inf where they hold none.
    """

    shift: Floats
    variance: Floats


class Bbse(NamedTuple):
    """Differences that the rate of high scores tells, float64, (n_classes,); nan where unknown.

    Attributes
    ----------
    shift
        Prevalence of the target minus that of the labels of the source.
    variance
        Of the shift.
    apart
        Rate of high scores among the positives minus that among the negatives.
    """

    shift: Floats
    variance: Floats
    apart: Floats


def logit(p: Floats) -> Floats:
    """``log p - log(1 - p)``."""
    return np.asarray(np.log(p) - np.log1p(-p))


def mean_probability(histogram: ScoreHistogram) -> Floats:
    """Mean sigmoid of the scores of each class, (n_classes,); nan where there are none."""
    mean = np.empty(histogram.n_classes)
    threads.over_ranges(
        lambda a, b: mean_probabilities(histogram.scores, histogram.counts, a, b, mean), len(mean)
    )
    return mean


def by_likelihood(source: ScoreHistogram, target: ScoreHistogram, mean: Floats) -> Likelihood:
    """The prevalences of greatest likelihood, seen from `mean`, the `mean_probability` of source.

    A class whose `mean` is nan, 0 or 1 has no shift and infinite variance.
    """
    shift, of_source, of_target = (np.zeros(len(mean)) for _ in range(3))

    def find(first: int, last: int) -> None:
        shifts(
            source.scores, source.counts, target.scores, target.counts, mean, first, last,
            shift, of_source, of_target,
        )  # fmt: skip

    threads.over_ranges(find, len(mean))
    with np.errstate(divide="ignore"):
        # the mean of the source is as uncertain as its own rows make it
        return Likelihood(shift, 1 / of_target + 1 / of_source)


def by_confusion(source: ScoreHistogram, target: ScoreHistogram, mean: Floats) -> Bbse:
    """The prevalences that explain how many target scores are as high as `mean` or higher.

    ``E_t[h] = TPR pi_t + FPR (1 - pi_t)``, where h says that a score is no lower than the logit of
    `mean`; with calibrated scores no other cut holds the two rates as far apart.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        cut = logit(mean)[:, None]
        cells, positives = source.counts.sum(axis=1), source.positives.sum(axis=1)
        target_cells, negatives = target.counts.sum(axis=1), cells - positives
        high = source.scores >= cut
        # sums without arrays of the size of the histograms in between
        n_high = np.einsum("cb,cb->c", source.counts, high)
        tp = np.einsum("cb,cb->c", source.positives, high)
        tpr, fpr = tp / positives, (n_high - tp) / negatives
        rate = np.einsum("cb,cb->c", target.counts, target.scores >= cut) / target_cells
        apart = tpr - fpr
        shift = (rate - n_high / cells) / apart
        of_rates = rate * (1 - rate) * (1 / target_cells + 1 / cells)
        of_apart = tpr * (1 - tpr) / positives + fpr * (1 - fpr) / negatives
        variance = (of_rates + shift**2 * of_apart) / apart**2
    return Bbse(shift, variance, apart)
