"""Temperatures: one for all classes or one each, with or without a bias."""

from __future__ import annotations

import numpy as np

from calibrate import logistic
from calibrate.base import Calibrator, Finding, Fitted, find, require_positives
from calibrate.kernels.logistic import CONVERGED
from calibrate.ops import Affine
from calibrate.statistics import Evidence


class TemperatureScaling(Calibrator):
    """``z / T``, or ``z / T + b``, by maximum likelihood.

    One temperature repairs networks that are too sure or not sure enough. It cannot undo
    ``pos_weight``: that is a shift, and a temperature has none (``bias=True`` has).

    Parameters
    ----------
    per_class : bool
        One temperature (and bias) for each class; else one for all cells together.
    bias : bool
        Also fit a bias.

    Notes
    -----
    1/T is kept between 0.05 and 50. With ``per_class``, a class without positives, without
    negatives, or whose scores are all equal takes the pooled values, and is listed.

    Raises
    ------
    ValueError
        On fit, if no class has a positive.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[-4.0], [-4.0], [4.0], [4.0], [4.0], [-4.0]])
    >>> labels = np.array([[0], [0], [1], [1], [0], [1]])
    >>> TemperatureScaling().fit(logits, labels).transform(logits)[2].round(3)
    array([0.693], dtype=float32)
    """

    def __init__(self, per_class: bool = False, bias: bool = False) -> None:
        self.per_class = per_class
        self.bias = bias

    def _fit(self, evidence: Evidence) -> Fitted:
        require_positives(evidence)
        histogram = evidence.histogram
        if not self.per_class:
            return self._shared(logistic.pooled_line(histogram, intercept=self.bias))
        both_sides, differing = logistic.can_fit(histogram)
        own = both_sides & differing
        lines = logistic.lines(
            histogram, histogram.positives.astype(np.float64), own, intercept=self.bias
        )
        slope, shift = lines.slope, lines.intercept
        if not own.all():
            pooled = logistic.pooled_line(histogram, intercept=self.bias)
            slope = np.where(own, slope, pooled.slope[0])
            shift = np.where(own, shift, pooled.intercept[0])
        return Fitted(
            Affine(slope.astype(np.float32), shift.astype(np.float32)),
            (
                *find(
                    "pooled",
                    "have no positives, no negatives or equal scores: they take the pooled "
                    "temperature",
                    ~own,
                ),
                *find(
                    "slope_bound",
                    "have a fit that stopped at the bound of the temperature",
                    own & (lines.status != CONVERGED),
                    slope,
                ),
            ),
        )

    def _shared(self, pooled: logistic.Lines) -> Fitted:
        op = Affine(np.array(pooled.slope[0]), np.array(pooled.intercept[0]))
        if pooled.status[0] == CONVERGED:
            return Fitted(op)
        message = "the fit stopped at the bound of the temperature"
        return Fitted(op, (Finding("slope_bound", message, (), (float(pooled.slope[0]),)),))
