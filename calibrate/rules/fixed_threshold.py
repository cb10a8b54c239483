"""Thresholds that are given, not fitted."""

from __future__ import annotations

from typing import Any

import numpy as np

from calibrate import ops
from calibrate.base import DecisionRule, Fitted
from calibrate.statistics import Evidence


class FixedThreshold(DecisionRule):
    """Predict a class where ``logit >= threshold``; 0 is a probability of one half.

    Parameters
    ----------
    threshold : float or array, (n_classes,)
        In logits; ``inf`` means never.

    Raises
    ------
    ValueError
        On fit, if there are not as many thresholds as classes, or one is nan.

    Examples
    --------
    >>> import numpy as np
    >>> logits, labels = np.array([[0.5, -0.5]]), np.array([[1, 0]])
    >>> FixedThreshold().fit(logits, labels).predict(logits).toarray()
    array([[ True, False]])
    """

    def __init__(self, threshold: Any = 0.0) -> None:
        self.threshold = threshold

    def _fit(self, evidence: Evidence) -> Fitted:
        threshold = np.asarray(self.threshold, dtype=np.float32)
        if threshold.ndim and threshold.shape != (evidence.n_classes,):
            raise ValueError(
                f"threshold must be a number or one per class, got shape {threshold.shape} for "
                f"{evidence.n_classes} classes"
            )
        return Fitted(ops.Threshold(threshold))
