"""Undo the asymmetric loss by its own arithmetic: no data needed."""

from __future__ import annotations

from typing import ClassVar

from calibrate.base import Calibrator, Fitted
from calibrate.ops import AsymmetricLoss
from calibrate.statistics import Evidence


class AsymmetricLossCorrection(Calibrator):
    """From the logits of a network trained with the asymmetric loss to logits of probabilities.

    The loss is ``-(1 - q)^g+ log q`` of a positive and ``-q_m^g- log(1 - q_m)`` of a negative, with
    ``q = s(z)`` and ``q_m = max(q - clip, 0)``. It overstates: with the defaults, a network that
    has learned what the loss asks for says 0.53 where the probability is 0.05. Detached, the logit
    of the probability is ``g- log(q - clip) - log(1 - q + clip) + log q - g+ log(1 - q)``.

    Parameters
    ----------
    gamma_pos, gamma_neg : float
        ``g+`` and ``g-`` of training, at least 0.
    clip : float
        The margin of training, at least 0 and below 1.
    detached : bool
        Whether the two powers were constants to the gradient, as under
        ``disable_torch_grad_focal_loss=True``, the default of the authors' ``AsymmetricLoss`` (not
        of its ``AsymmetricLossOptimized``). The two differ much: with the full gradient the network
        says 0.42 where the probability is 0.05.

    Raises
    ------
    TypeError, ValueError
        On fit, if an argument is no number or out of its range.

    Notes
    -----
    *Below*: for ``q <= clip`` the loss is least at probability 0, whatever the logit, and no map
    can tell these cells apart. They all get the probability 1e-12, the least there is (with
    ``clip=0`` there is no such bound). Average precision sees ties there.

    *Above*: with ``gamma_pos=0`` and a margin the probability is bounded, by 0.942 with the
    defaults (0.964 with the full gradient): the loss of anything more probable falls without end.

    Without a margin, detached, the map is one of beta calibration (Kull, Silva Filho and Flach,
    2017), with ``a = 1 + g-`` and ``b = 1 + g+``.

    A network seldom learns all that a loss asks for: fit a calibrator where there are labels.

    References
    ----------
    Ridnik, Ben-Baruch, Zamir, Noy, Friedman, Protter and Zelnik-Manor (2021), Asymmetric loss for
    multi-label classification, for the loss; its inverse follows from setting the slope of the
    expected loss to 0.

    Examples
    --------
    >>> import numpy as np
    >>> confidence = np.array([[0.05], [0.5277], [0.7988]])
    >>> logits = np.log(confidence / (1 - confidence))
    >>> correction = AsymmetricLossCorrection().fit(logits, np.zeros((3, 1), int))
    >>> (1 / (1 + np.exp(-correction.transform(logits)))).round(3)
    array([[0.  ],
           [0.05],
           [0.5 ]], dtype=float32)
    """

    learns_from_rows: ClassVar[bool] = False

    def __init__(
        self,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float = 0.05,
        detached: bool = True,
    ) -> None:
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.clip = clip
        self.detached = detached

    def _fit(self, evidence: Evidence) -> Fitted:
        return Fitted(AsymmetricLoss(self.gamma_pos, self.gamma_neg, self.clip, self.detached))
