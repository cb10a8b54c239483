"""Beta calibration of every class at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate import logistic, threads
from calibrate.base import Calibrator, Fitted, find, require_positives
from calibrate.kernels.beta import CONVERGED, STRAIGHT, fit_betas
from calibrate.ops import Beta
from calibrate.statistics import Evidence


class BetaCalibration(Calibrator):
    """A bent line for each class: ``c - a softplus(-z) + b softplus(z)``, by logistic regression.

    ``a`` is the slope far below 0 and ``b`` the slope far above: the map is right where the scores
    of positives and of negatives are beta distributions after the sigmoid, and with ``a = b`` it
    is Platt's. In logits ``log q = -softplus(-z)`` and ``-log(1 - q) = softplus(z)``, so that no
    probability has to be clipped.

    Notes
    -----
    Neither slope falls below 0: a negative one is dropped and the rest fitted anew, which gives
    the optimum under the bound. Slopes are at most 50; where both would be below 0.05, both are
    0.05. Targets are smoothed as in `PlattScaling`, so that a class whose scores separate its
    positives keeps finite slopes. A class without positives or without negatives takes the map
    pooled over all classes; a class whose scores are all equal takes the pooled slopes and the
    intercept that fits its frequency. All of these are listed in ``findings_``. A class whose
    scores allow no bend to be told (two distinct ones, or all far on one side of 0) gets a line.

    Three numbers per class need more positives than two: where there are few, prefer Platt.

    Raises
    ------
    ValueError
        On fit, if no class has a positive.

    References
    ----------
    Kull, Silva Filho and Flach (2017), Beyond sigmoids: how to obtain well-calibrated
    probabilities from binary classifiers with beta calibration, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.repeat([[-3.0], [0.0], [3.0]], 100, axis=0)
    >>> labels = np.arange(300)[:, None] % 100 < np.repeat([[2], [30], [60]], 100, axis=0)
    >>> beta = BetaCalibration().fit(logits, labels)
    >>> beta.op_.a.round(2), beta.op_.b.round(2)
    (array([1.15], dtype=float32), array([0.21], dtype=float32))
    """

    def _fit(self, evidence: Evidence) -> Fitted:
        require_positives(evidence)
        histogram = evidence.histogram
        both_sides, differing = logistic.can_fit(histogram)
        own, flat = both_sides & differing, both_sides & ~differing
        targets = logistic.platt_targets(histogram)
        counts = np.asarray(histogram.counts * own[:, None], dtype=np.float64)
        abc, status = _fitted(histogram.scores, counts, targets)
        if not own.all():
            cells = (histogram.scores, histogram.counts, histogram.positives)
            x, n, t = (np.asarray(part, dtype=np.float64).reshape(1, -1) for part in cells)
            abc[~own] = _fitted(x, n, t)[0]
            rate = (targets.sum(axis=1) / np.maximum(histogram.counts.sum(axis=1), 1))[flat]
            at = histogram.scores[flat, histogram.counts[flat].argmax(axis=1)]
            a, b, _ = abc[flat].T
            level = np.log(rate) - np.log1p(-rate)
            abc[flat, 2] = level + a * np.logaddexp(0.0, -at) - b * np.logaddexp(0.0, at)
        return Fitted(
            Beta(*abc.T.astype(np.float32)),
            (
                *find(
                    "pooled",
                    "have no positives or no negatives: they take the pooled map",
                    ~both_sides,
                ),
                *find("constant_scores", "have equal scores: they take the pooled slopes", flat),
                *find(
                    "slope_bound",
                    "have a fit that stopped at a bound of the slopes",
                    own & (status != CONVERGED) & (status != STRAIGHT),
                    abc[:, :2].max(axis=1),
                ),
            ),
        )


def _fitted(
    x: NDArray[np.float64], n: NDArray[np.float64], t: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """``a, b, c`` of each line of bins, and how each fit ended; (1, 1, 0) where `n` is 0."""
    abc = np.tile([1.0, 1.0, 0.0], (len(x), 1))
    status = np.full(len(x), CONVERGED)

    def fit(first: int, last: int) -> None:
        fit_betas(x, n, t, *logistic.SLOPE_RANGE, first, last, abc, status)

    threads.over_ranges(fit, len(x))
    return abc, status
