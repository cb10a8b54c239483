"""Undo the focal loss by its own arithmetic: no data needed."""

from __future__ import annotations

from typing import ClassVar

from calibrate.base import Calibrator, Fitted
from calibrate.ops import Focal
from calibrate.statistics import Evidence


class FocalCorrection(Calibrator):
    """From the logits of a network trained with the focal loss to logits of probabilities.

    The loss ``-alpha (1 - q)^gamma log q`` of a positive and ``-(1 - alpha) q^gamma log(1 - q)`` of
    a negative, with ``q = s(z)``, is not least at the probability: its confidences are too small.
    The logit of the probability is ``(1 + g) z + log[(1 + g r(-z)) / (1 + g r(z))] +
    log((1 - alpha) / alpha)``, with ``r(z) = e^z log(1 + e^-z)``.

    Parameters
    ----------
    gamma : float
        The power of training, at least 0. 0 is the plain logistic loss.
    alpha : float
        The weight of positives in training, that of negatives being ``1 - alpha``: above 0 and
        below 1. For a loss without such weights 0.5. For one weight per class take 0.5 here and
        ``PosWeightCorrection(alpha / (1 - alpha))`` after it.

    Raises
    ------
    TypeError, ValueError
        On fit, if an argument is no number or out of its range.

    Notes
    -----
    Far from 0 the map is ``(1 + gamma) z -+ log(1 + gamma)``; at 0 its slope is 2.676 for
    ``gamma=2``. So it is close to one temperature, and ``TemperatureScaling`` undoes most of the
    focal loss where there are labels; this needs none.

    References
    ----------
    Lin, Goyal, Girshick, He and Dollar (2017), Focal loss for dense object detection, section 3;
    Charoenphakdee, Vongkulbhisal, Chairatanakul and Sugiyama (2021), On focal loss for
    class-posterior probability estimation, for the map, written here for logits.

    Examples
    --------
    >>> import numpy as np
    >>> confidence = np.array([[0.1], [0.3], [0.5]])
    >>> logits = np.log(confidence / (1 - confidence))
    >>> correction = FocalCorrection(gamma=2.0).fit(logits, np.zeros((3, 1), int))
    >>> (1 / (1 + np.exp(-correction.transform(logits)))).round(4)
    array([[0.0026],
           [0.0936],
           [0.5   ]], dtype=float32)
    """

    learns_from_rows: ClassVar[bool] = False

    def __init__(self, gamma: float = 2.0, alpha: float = 0.5) -> None:
        self.gamma = gamma
        self.alpha = alpha

    def _fit(self, evidence: Evidence) -> Fitted:
        return Fitted(Focal(self.gamma, self.alpha))
