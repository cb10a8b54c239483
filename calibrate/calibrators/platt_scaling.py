"""Platt scaling of every class at once."""

from __future__ import annotations

import numpy as np

from calibrate import logistic
from calibrate.base import Calibrator, Fitted, find, require_positives
from calibrate.ops import Affine
from calibrate.statistics import Evidence


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

    A shift per class before it changes nothing, but for the classes that take the pooled line:
    where the network was trained with weights, correct them first.

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
        fitted = logistic.platt_lines(evidence.histogram)
        return Fitted(
            Affine(fitted.slope.astype(np.float32), fitted.intercept.astype(np.float32)),
            (
                *find(
                    "pooled",
                    "have no positives or no negatives: they take the pooled line",
                    fitted.pooled,
                ),
                *find(
                    "constant_scores",
                    "have equal scores: they take the pooled slope",
                    fitted.flat,
                ),
                *find(
                    "slope_bound",
                    "have a fit that stopped at the bound of the slope",
                    fitted.bounded,
                    fitted.slope,
                ),
            ),
        )
