"""What a loss did to the logits, undone: the inversions that are not straight lines.

All arithmetic is float64, rounded once to float32 at the end. It is arranged so that its error
stays far below the distance of neighbouring float32 logits wherever the map is flat or the logits
lie close together: rounded, no map ever falls.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import ElementwiseOp, Float32, number

Float64 = NDArray[np.float64]

SMOOTHING_FLOOR = 1e-7
"""No probability below this, or above one minus this, comes back from smoothed labels."""

CLIP_FLOOR = 1e-12
"""The probability of a cell that the margin of the asymmetric loss made a sure negative."""

_FARTHEST = float(np.finfo(np.float32).max)
"""Logits beyond are taken as this, so that no infinities meet."""

NEAR_ZERO = 2.0**-22
"""Closer to 0, float32 logits lie closer together than float64 arithmetic around them is exact."""


class LossInversion(ElementwiseOp):
    """One curve for all classes, given by a few numbers."""

    def apply(self, logits: Float32) -> Float32:
        """Calibrated logits, a new array."""
        with np.errstate(over="ignore"):
            return self.apply_float64(logits.astype(np.float64)).astype(np.float32)

    def apply_float64(self, logits: Float64) -> Float64:
        """The same map in float64, for the means of a histogram."""
        inverted = self._inverted(np.clip(logits, -_FARTHEST, _FARTHEST))
        inverted[np.isneginf(logits)] = -np.inf
        return inverted

    @abstractmethod
    def _inverted(self, logits: Float64) -> Float64:
        """The map, a new array; `logits` are finite."""

    def columns(self, start: int, stop: int) -> Self:
        """The same step, which is the same for all classes."""
        return self


@dataclass(frozen=True, eq=False)
class LabelSmoothing(LossInversion):
    """``logit((s(z) - e / 2) / (1 - e))``: back from targets ``y (1 - e) + e / 2``.

    Probabilities are kept within [1e-7, 1 - 1e-7]: a logit beyond ``+-log((2 - e) / e)`` lies
    outside what smoothed labels ask for.

    Parameters
    ----------
    label_smoothing : float
        ``e``, at least 0 and below 1.
    """

    wire_name: ClassVar[str] = "label_smoothing"
    label_smoothing: float

    def __post_init__(self) -> None:
        value = number(self.label_smoothing, "label_smoothing", below=1.0)
        object.__setattr__(self, "label_smoothing", value)

    def _inverted(self, logits: Float64) -> Float64:
        # with A the logit of 1 - e/2 and odd in z: z + log[(1 - e^-(A+z)) / (1 - e^-(A-z))]
        smoothing = self.label_smoothing
        end = math.log((2 - smoothing) / smoothing) if smoothing else math.inf
        most = math.log1p(-SMOOTHING_FLOOR) - math.log(SMOOTHING_FLOOR)
        size = np.abs(logits)
        inside = size < min(end, most)
        held = np.where(inside, size, 0.0)
        rise = 2 * smoothing / (2 - smoothing) * np.sinh(held) / -np.expm1(held - end)
        undone = np.where(inside, np.minimum(held + np.log1p(rise), most), most)
        return np.asarray(np.copysign(undone, logits))


@dataclass(frozen=True, eq=False)
class Focal(LossInversion):
    """Back from the focal loss ``-alpha (1 - q)^g log q``, ``-(1 - alpha) q^g log(1 - q)``.

    ``(1 + g) z + log[(1 + g r(-z)) / (1 + g r(z))] + log((1 - alpha) / alpha)``, with
    ``r(z) = e^z log(1 + e^-z)``.

    Parameters
    ----------
    gamma : float
        At least 0.
    alpha : float
        Above 0 and below 1.
    """

    wire_name: ClassVar[str] = "focal"
    gamma: float
    alpha: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", number(self.gamma, "gamma"))
        object.__setattr__(self, "alpha", number(self.alpha, "alpha", above=0.0, below=1.0))

    def _inverted(self, logits: Float64) -> Float64:
        gamma, size = self.gamma, np.abs(logits)
        small = np.exp(-size)
        near = _log1p_ratio(small)
        # r(-z) - r(z) for z >= 0 with all its digits, however small z is: odd, so 0 stays 0
        apart = size * small + near * np.expm1(-2 * size)
        undone = (1 + gamma) * size + np.log1p(gamma * apart / (1 + gamma * near))
        undone = np.copysign(undone, logits) - logit(self.alpha)
        return np.asarray(undone)


@dataclass(frozen=True, eq=False)
class AsymmetricLoss(LossInversion):
    """Back from the asymmetric loss ``-(1 - q)^g+ log q``, ``-q_m^g- log(1 - q_m)``.

    ``q = s(z)`` and ``q_m = max(q - clip, 0)``. The log odds are those at which the slopes of both
    sides cancel. Where ``clip`` is above 0, probabilities are at least 1e-12: for ``q <= clip`` the
    loss asks for nothing but a negative, and all such cells get that.

    Parameters
    ----------
    gamma_pos, gamma_neg : float
        ``g+`` and ``g-``, at least 0.
    clip : float
        At least 0 and below 1.
    detached : bool
        Whether the powers were constants to the gradient.
    """

    wire_name: ClassVar[str] = "asymmetric_loss"
    gamma_pos: float
    gamma_neg: float
    clip: float
    detached: bool

    def __post_init__(self) -> None:
        for name, below in (("gamma_pos", math.inf), ("gamma_neg", math.inf), ("clip", 1.0)):
            object.__setattr__(self, name, number(getattr(self, name), name, below=below))
        if not isinstance(self.detached, bool | np.bool_):
            raise TypeError(f"detached must be True or False, got {self.detached!r}")
        object.__setattr__(self, "detached", bool(self.detached))

    def _inverted(self, logits: Float64) -> Float64:
        near = np.abs(logits) < NEAR_ZERO
        undone = self.log_odds(logits)
        if near.any():
            low, high = self.log_odds(np.array([-NEAR_ZERO, NEAR_ZERO]))
            line = low + (logits + NEAR_ZERO) * ((high - low) / (2 * NEAR_ZERO))
            undone = np.where(near, np.minimum(line, high), undone)
        if self.clip:
            floor = logit(CLIP_FLOOR)
            undone = np.where(logits > logit(self.clip), np.maximum(undone, floor), floor)
        return undone

    def log_odds(self, logits: Float64) -> Float64:
        """The map without its straight piece around 0; any number for ``q <= clip``."""
        if self.clip:
            edge = logit(self.clip)
            logits = np.where(logits > edge, logits, edge + 1.0)
        small = np.exp(-np.abs(logits))
        positive = np.maximum(logits, 0.0) + np.log1p(small)  # -log(1 - q)
        negative = np.maximum(-logits, 0.0) + np.log1p(small)  # -log q
        if self.clip:
            odds = self._clipped_odds(logits, small, negative)
        else:
            odds = positive - (1 + self.gamma_neg) * negative
            if not self.detached:
                odds += np.log1p(self.gamma_neg * _weight(-logits, small, positive))
        odds += self.gamma_pos * positive
        if not self.detached:
            odds -= np.log1p(self.gamma_pos * _weight(logits, small, negative))
        return odds

    def _clipped_odds(self, logits: Float64, small: Float64, negative: Float64) -> Float64:
        """The log odds for ``g+ = 0`` and ``q > clip``.

        They end at ``top`` as z grows. What they lack of it is computed by itself, so that it
        keeps its digits, and goes on falling, however small it becomes.
        """
        gamma, clip = self.gamma_neg, self.clip
        beyond = logits - logit(clip)
        rest = np.where(logits > 0, small, 1.0) / (1 + small)  # 1 - q
        log_rest = np.log1p(rest / clip)
        top = gamma * math.log1p(-clip) - math.log(clip)
        lacking = (1 + gamma) * negative - gamma * _log_1m_exp(beyond) + log_rest
        if not self.detached:
            # the slope gains the factor 1 + g phi(q_m), phi(v) = -(1 - v) log(1 - v) / v
            above = (1 - rest) * (1 - clip) * -np.expm1(-beyond)  # q_m
            at_top = -clip * math.log(clip) / (1 - clip)
            more = -rest * math.log(clip) - (1 - clip) * (clip + rest) * log_rest
            more /= above * (1 - clip)
            low = 2 * above < 1 - clip
            more[low] = -(clip + rest[low]) * np.log1p(-above[low]) / above[low] - at_top
            top += math.log1p(gamma * at_top)
            lacking -= np.log1p(gamma * more / (1 + gamma * at_top))
        return np.asarray(top - lacking)


def logit(probability: float) -> float:
    """Log odds of a probability between 0 and 1."""
    return math.log(probability) - math.log1p(-probability)


def _log1p_ratio(small: Float64) -> Float64:
    """``log(1 + t) / t`` for t from 0 to 1."""
    ratio = np.ones_like(small)
    np.divide(np.log1p(small), small, out=ratio, where=small > 0)
    return ratio


def _weight(logits: Float64, small: Float64, softplus: Float64) -> Float64:
    """``r(z) = e^z log(1 + e^-z)``, given ``e^-|z|`` and ``log(1 + e^-z)``."""
    return np.where(logits > 0, _log1p_ratio(small), small * softplus)


def _log_1m_exp(x: Float64) -> Float64:
    """``log(1 - e^-x)`` for positive x, from the side that keeps its digits."""
    far = x > math.log(2)
    return np.where(
        far, np.log1p(-np.exp(-np.where(far, x, 1.0))), np.log(-np.expm1(-np.where(far, 1.0, x)))
    )
