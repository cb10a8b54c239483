"""Undo ``pos_weight`` by its own arithmetic: no data needed."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from calibrate.base import Calibrator, Fitted
from calibrate.ops import Affine
from calibrate.statistics import Evidence


class PosWeightCorrection(Calibrator):
    """``z - log(pos_weight)``: what the network would say had it been trained without weights.

    The loss ``BCEWithLogitsLoss(pos_weight=w)`` is least at ``z = logit P(y = 1 | x) + log w``, so
    that ``z > 0`` means ``P > 1 / (1 + w)``, which for ``w = negatives / positives`` is the class
    prevalence. Subtracting ``log w`` gives the probability back, if the network has learned what
    the loss asked for. Deep networks that are trained long forget part of their weights (Byrd and
    Lipton, 2019), and then the correction overshoots: fit a calibrator where there are labels.

    Parameters
    ----------
    pos_weight : float or array, (n_classes,)
        The weights of training, positive.

    Raises
    ------
    ValueError
        On fit, if a weight is not positive and finite, or there are not as many as classes.

    References
    ----------
    Elkan (2001), The foundations of cost-sensitive learning, theorem 2; King and Zeng (2001),
    Logistic regression in rare events data, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> logits, labels = np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([[1, 0], [0, 1]])
    >>> correction = PosWeightCorrection(np.array([1.0, np.e])).fit(logits, labels)
    >>> correction.transform(logits)
    array([[ 2., -1.],
           [ 0.,  2.]], dtype=float32)
    """

    def __init__(self, pos_weight: Any) -> None:
        self.pos_weight = pos_weight

    @classmethod
    def from_counts(cls, positives: Any, n_rows: int) -> Self:
        """The correction for ``pos_weight = negatives / positives`` of the training rows.

        Parameters
        ----------
        positives : array of int, (n_classes,)
            Positive training rows of each class.
        n_rows : int
            Training rows.

        Raises
        ------
        ValueError
            If a count is below 0 or above `n_rows`.

        Notes
        -----
        A class of which one side is empty gets ``(negatives + 1/2) / (positives + 1/2)``.

        Examples
        --------
        >>> PosWeightCorrection.from_counts([20, 0], 100).pos_weight
        array([  4., 201.])
        """
        positives = np.asarray(positives, dtype=np.float64)
        if positives.ndim != 1:
            raise ValueError(f"positives must be one count per class, got {positives.shape}")
        wrong = ~((positives >= 0) & (positives <= n_rows))
        if wrong.any():
            raise ValueError(
                f"positives must be counts from 0 to n_rows = {n_rows}, got "
                f"{positives[wrong][0]:g} at class {int(np.argmax(wrong))}"
            )
        negatives = n_rows - positives
        half = 0.5 * ((positives == 0) | (negatives == 0))
        return cls((negatives + half) / (positives + half))

    def _fit(self, evidence: Evidence) -> Fitted:
        weight = np.asarray(self.pos_weight, dtype=np.float64)
        if weight.ndim > 1 or (weight.ndim == 1 and len(weight) != evidence.n_classes):
            raise ValueError(
                f"pos_weight must be a number or one per class, got shape {weight.shape} for "
                f"{evidence.n_classes} classes"
            )
        wrong = ~(np.isfinite(weight) & (weight > 0))
        if wrong.any():
            where = f" at class {int(np.argmax(wrong))}" if weight.ndim else ""
            raise ValueError(
                f"pos_weight must be positive and finite, got {weight[wrong].flat[0]:g}{where}"
            )
        return Fitted(Affine(np.array(1.0, np.float32), -np.log(weight).astype(np.float32)))
