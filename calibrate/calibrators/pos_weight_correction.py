"""Undo ``pos_weight``, and label smoothing, by their own arithmetic: no data needed."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from calibrate.base import Calibrator, Fitted, numbers_per_class
from calibrate.ops import Affine, Chain, LabelSmoothing
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
    label_smoothing : float
        ``e``, if the targets were ``y (1 - e) + e / 2``: at least 0 and below 1.

    Raises
    ------
    TypeError
        On fit, if the arguments are no numbers.
    ValueError
        On fit, if a weight is not positive and finite, there are not as many as classes, or
        `label_smoothing` is out of its range.

    Notes
    -----
    Smoothed targets ask for ``s(z - log w) = P (1 - e) + e / 2``; that is solved for ``P``, which
    is kept within [1e-7, 1 - 1e-7]. Logits beyond ``log w +- log((2 - e) / e)`` say more than such
    targets ask for: they all become one of the two bounds, and what order they had is lost.

    With weights of their own on both sides of the loss, ``pos_weight`` is that of the positives
    over that of the negatives. A weight on both (``weight=`` in torch) changes nothing.

    References
    ----------
    Elkan (2001), The foundations of cost-sensitive learning, theorem 2; King and Zeng (2001),
    Logistic regression in rare events data, section 4.1; Szegedy et al. (2016), Rethinking the
    Inception architecture for computer vision, section 7, for the smoothing.

    Examples
    --------
    >>> import numpy as np
    >>> logits, labels = np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([[1, 0], [0, 1]])
    >>> correction = PosWeightCorrection(np.array([1.0, np.e])).fit(logits, labels)
    >>> correction.transform(logits)
    array([[ 2., -1.],
           [ 0.,  2.]], dtype=float32)

    Trained with smoothed labels, the network says 0.905 where the probability is 0.95:

    >>> learned = np.log([[0.905 / 0.095]])
    >>> smoothed = PosWeightCorrection(1.0, label_smoothing=0.1).fit(learned, [[0]])
    >>> 1 / (1 + np.exp(-smoothed.transform(learned)))
    array([[0.95]], dtype=float32)
    """

    learns_from_rows: ClassVar[bool] = False

    def __init__(self, pos_weight: Any, label_smoothing: float = 0.0) -> None:
        self.pos_weight = pos_weight
        self.label_smoothing = label_smoothing

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
        weight = numbers_per_class(self.pos_weight, "pos_weight", evidence.n_classes)
        line = Affine(np.array(1.0, np.float32), -np.log(weight).astype(np.float32))
        smoothed = LabelSmoothing(self.label_smoothing)
        return Fitted(Chain((line, smoothed)) if smoothed.label_smoothing else line)
