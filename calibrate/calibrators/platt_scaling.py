"""Platt scaling of every class at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate import logistic
from calibrate.base import Calibrator, Fitted, find, require_positives
from calibrate.kernels.logistic import CONVERGED
from calibrate.ops import Affine
from calibrate.statistics import Evidence, ScoreHistogram


class PlattScaling(Calibrator):
    """A slope and an intercept for each class: ``a_c z + b_c``, by logistic regression.

    The targets are Platt's, ``(n+ + 1) / (n+ + 2)`` for positives and ``1 / (n- + 2)`` for
    negatives, so that a class whose scores separate its positives keeps a finite slope.

    Notes
    -----
    Slopes are kept between 0.05 and 50. A class without positives or without negatives takes the
    line pooled over all classes; a class whose scores are all equal takes the pooled slope and
    the intercept that fits its frequency. Both are listed in ``findings_``. Rare classes are
    fitted on few positives with no prior: their expected counts are too high.

    A shift per class before it changes nothing: the intercept takes it up.

    Raises
    ------
    ValueError
        On fit, if no class has a positive.

    References
    ----------
    Platt (1999), Probabilistic outputs for support vector machines; Lin, Lin and Weng (2007), A
    note on Platt's probabilistic outputs for support vector machines, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> platt = PlattScaling().fit(logits, np.array([[0], [0], [1], [1]]))
    >>> platt.op_.scale.round(4), abs(platt.op_.shift.round(4))
    (array([0.674], dtype=float32), array([0.], dtype=float32))
    """

    def _fit(self, evidence: Evidence) -> Fitted:
        require_positives(evidence)
        histogram = evidence.histogram
        both_sides, differing = logistic.can_fit(histogram)
        own, flat = both_sides & differing, both_sides & ~differing
        targets = _platt_targets(histogram)
        lines = logistic.lines(histogram, targets, own, intercept=True)
        slope, shift = lines.slope, lines.intercept
        if not own.all():
            pooled = logistic.pooled_line(histogram, intercept=True)
            slope = np.where(own, slope, pooled.slope[0])
            shift = np.where(own, shift, pooled.intercept[0])
            at = logistic.intercepts_at(histogram, targets, flat, float(pooled.slope[0]))
            shift = np.where(flat, at, shift)
        return Fitted(
            Affine(slope.astype(np.float32), shift.astype(np.float32)),
            (
                *find(
                    "pooled",
                    "have no positives or no negatives: they take the pooled line",
                    ~both_sides,
                ),
                *find(
                    "constant_scores",
                    "have equal scores: they take the pooled slope",
                    flat,
                ),
                *find(
                    "slope_bound",
                    "have a fit that stopped at the bound of the slope",
                    own & (lines.status != CONVERGED),
                    slope,
                ),
            ),
        )


def _platt_targets(histogram: ScoreHistogram) -> NDArray[np.float64]:
    """Smoothed positives of each bin, (n_classes, n_bins)."""
    positives = histogram.positives.sum(axis=1, keepdims=True)
    negatives = histogram.counts.sum(axis=1, keepdims=True) - positives
    high, low = (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0)
    # in place: at full size each array between would be another 32 MB
    targets = np.subtract(histogram.counts, histogram.positives, dtype=np.float64)
    targets *= low
    targets += histogram.positives * high
    return targets
