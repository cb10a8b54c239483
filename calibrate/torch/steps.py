"""The torch forms of the steps that turn logits into logits."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from calibrate import ops
from calibrate.ops.losses import CLIP_FLOOR, SMOOTHING_FLOOR
from calibrate.ops.row_affine import COUNT_FLOOR
from calibrate.torch.rows import LOWEST, expected_counts, largest_logits, log_sums_of_exp, ordinal
from calibrate.torch.twin import Twin

_FARTHEST = 1e38
_NEAR_ZERO = 2.0**-22


class Affine(Twin):
    """``scale * logit + shift``, in float32."""

    scale: Tensor
    shift: Tensor

    def forward(self, logits: Tensor) -> Tensor:
        """Calibrated logits."""
        return (logits * self.scale).add_(self.shift)


class RowAffine(Twin):
    """``scale * logit + shift + term``, with one ``term`` for each row."""

    scale: Tensor
    shift: Tensor

    def forward(self, logits: Tensor) -> Tensor:
        """Calibrated logits."""
        return (logits * self.scale).add_(self.shift).add_(self._terms(logits)[:, None])

    def _terms(self, logits: Tensor) -> Tensor:
        """The term of each row, float32, (n_rows,)."""
        by = {name: cast(float, value) for name, value in self.numbers.items()}
        terms = torch.zeros(logits.shape[0], dtype=torch.float64, device=logits.device)
        largest = largest_logits(logits)
        if by["by_count"]:
            terms = terms + by["by_count"] * torch.log(expected_counts(logits) + COUNT_FLOOR)
        if by["by_largest"]:
            terms = terms + by["by_largest"] * largest.to(torch.float64)
        if by["by_log_sum"]:
            terms = terms + by["by_log_sum"] * log_sums_of_exp(logits, largest)
        terms = torch.where(largest > -torch.inf, terms, 0.0)
        return terms.clamp(LOWEST, -LOWEST).to(torch.float32)


class Beta(Twin):
    """``c - a softplus(-logit) + b softplus(logit)``, in float64, rounded once."""

    a: Tensor
    b: Tensor
    c: Tensor

    def forward(self, logits: Tensor) -> Tensor:
        """Calibrated logits."""
        finite = logits.to(torch.float64).clamp(LOWEST, -LOWEST)
        mapped = _softplus(finite) * self.b.to(torch.float64)
        mapped = mapped - _softplus(-finite) * self.a.to(torch.float64)
        mapped = mapped + self.c.to(torch.float64)
        return _rounded(mapped.clamp(LOWEST, -LOWEST), logits)


class PiecewiseLinear(Twin):
    """Straight between knots; as in numpy, each segment held by one knot and clipped at both."""

    indptr: Tensor
    keys: Tensor
    start: Tensor
    at: Tensor
    slope: Tensor
    lowest: Tensor
    highest: Tensor

    def derive(self, op: ops.Op) -> None:
        """The segments, and the knots of all classes as one rising line of whole numbers."""
        assert isinstance(op, ops.PiecewiseLinear)
        for name, part in op.segments._asdict().items():
            self.derived(name, torch.from_numpy(part.copy()))
        indptr = torch.from_numpy(op.indptr.copy())
        knots = torch.from_numpy(op.knots.copy())
        places = torch.arange(len(indptr) - 1).repeat_interleave(indptr.diff())
        self.derived("keys", (places << 33) + ordinal(knots))

    def forward(self, logits: Tensor) -> Tensor:
        """Calibrated logits."""
        places = torch.arange(self.indptr.shape[0] - 1, device=logits.device)
        found = torch.searchsorted(self.keys, (places << 33) + ordinal(logits), right=True)
        segment = found + places
        held = logits.clamp(-_FARTHEST, _FARTHEST) - self.start[segment]
        held = held * self.slope[segment] + self.at[segment]
        held = held.clamp(self.lowest[segment], self.highest[segment])
        return torch.where(logits == -torch.inf, -torch.inf, held)


class LabelSmoothing(Twin):
    """Back from smoothed labels, in float64, rounded once."""

    def forward(self, logits: Tensor) -> Tensor:
        """Calibrated logits."""
        smoothing = cast(float, self.numbers["label_smoothing"])
        end = math.log((2 - smoothing) / smoothing) if smoothing else math.inf
        most = math.log1p(-SMOOTHING_FLOOR) - math.log(SMOOTHING_FLOOR)
        exact = _finite(logits)
        size = exact.abs()
        inside = size < min(end, most)
        held = torch.where(inside, size, 0.0)
        rise = 2 * smoothing / (2 - smoothing) * torch.sinh(held) / -torch.expm1(held - end)
        undone = torch.where(inside, (held + torch.log1p(rise)).clamp(max=most), most)
        return _rounded(torch.copysign(undone, exact), logits)


class Focal(Twin):
    """Back from the focal loss, in float64, rounded once."""

    def forward(self, logits: Tensor) -> Tensor:
        """Calibrated logits."""
        gamma, alpha = (cast(float, self.numbers[name]) for name in ("gamma", "alpha"))
        exact = _finite(logits)
        size = exact.abs()
        small = torch.exp(-size)
        near = _log1p_ratio(small)
        apart = size * small + near * torch.expm1(-2 * size)
        undone = (1 + gamma) * size + torch.log1p(gamma * apart / (1 + gamma * near))
        return _rounded(torch.copysign(undone, exact) - _logit(alpha), logits)


class AsymmetricLoss(Twin):
    """Back from the asymmetric loss, in float64, rounded once."""

    def forward(self, logits: Tensor) -> Tensor:
        """Calibrated logits."""
        exact = _finite(logits)
        clip = cast(float, self.numbers["clip"])
        ends = torch.tensor([-_NEAR_ZERO, _NEAR_ZERO], dtype=exact.dtype, device=exact.device)
        low, high = self._log_odds(ends)
        line = low + (exact + _NEAR_ZERO) * ((high - low) / (2 * _NEAR_ZERO))
        near = exact.abs() < _NEAR_ZERO
        undone = torch.where(near, torch.minimum(line, high), self._log_odds(exact))
        if clip:
            floor = _logit(CLIP_FLOOR)
            undone = torch.where(exact > _logit(clip), undone.clamp(min=floor), floor)
        return _rounded(undone, logits)

    def _log_odds(self, logits: Tensor) -> Tensor:
        """The map without its straight piece around 0; any number for ``q <= clip``."""
        gamma_pos, gamma_neg, clip = (
            cast(float, self.numbers[name]) for name in ("gamma_pos", "gamma_neg", "clip")
        )
        detached = self.numbers["detached"]
        if clip:
            edge = _logit(clip)
            logits = torch.where(logits > edge, logits, edge + 1.0)
        small = torch.exp(-logits.abs())
        positive = logits.clamp(min=0.0) + torch.log1p(small)
        negative = (-logits).clamp(min=0.0) + torch.log1p(small)
        if clip:
            odds = self._clipped_odds(logits, small, negative)
        else:
            odds = positive - (1 + gamma_neg) * negative
            if not detached:
                odds = odds + torch.log1p(gamma_neg * _weight(-logits, small, positive))
        odds = odds + gamma_pos * positive
        if not detached:
            odds = odds - torch.log1p(gamma_pos * _weight(logits, small, negative))
        return odds

    def _clipped_odds(self, logits: Tensor, small: Tensor, negative: Tensor) -> Tensor:
        """The log odds for ``g+ = 0`` and ``q > clip``: what they end at, less what they lack."""
        gamma, clip = (cast(float, self.numbers[name]) for name in ("gamma_neg", "clip"))
        beyond = logits - _logit(clip)
        rest = torch.where(logits > 0, small, 1.0) / (1 + small)
        log_rest = torch.log1p(rest / clip)
        top = gamma * math.log1p(-clip) - math.log(clip)
        lacking = (1 + gamma) * negative - gamma * _log_1m_exp(beyond) + log_rest
        if not self.numbers["detached"]:
            above = (1 - rest) * (1 - clip) * -torch.expm1(-beyond)
            at_top = -clip * math.log(clip) / (1 - clip)
            low = 2 * above < 1 - clip
            held = torch.where(low, above, 0.25 * (1 - clip))
            at_low = -(clip + rest) * torch.log1p(-held) / held - at_top
            at_high = -rest * math.log(clip) - (1 - clip) * (clip + rest) * log_rest
            at_high = at_high / (above * (1 - clip))
            top = top + math.log1p(gamma * at_top)
            more = torch.where(low, at_low, at_high)
            lacking = lacking - torch.log1p(gamma * more / (1 + gamma * at_top))
        return top - lacking


def _finite(logits: Tensor) -> Tensor:
    """In float64, infinities as the farthest float32 numbers."""
    return logits.to(torch.float64).clamp(LOWEST, -LOWEST)


def _rounded(exact: Tensor, logits: Tensor) -> Tensor:
    """In float32; a cell without a score keeps none."""
    return torch.where(logits == -torch.inf, -torch.inf, exact.to(torch.float32))


def _softplus(z: Tensor) -> Tensor:
    """``log(1 + exp(z))``, near 0 by the terms that float64 holds."""
    soft = torch.log1p(torch.exp(-z.abs())) + z.clamp(min=0.0)
    return torch.where(z.abs() < 1e-4, math.log(2.0) + z * (0.5 + 0.125 * z), soft)


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


def _log1p_ratio(small: Tensor) -> Tensor:
    """``log(1 + t) / t`` for t from 0 to 1."""
    held = torch.where(small > 0, small, 1.0)
    return torch.where(small > 0, torch.log1p(held) / held, 1.0)


def _weight(logits: Tensor, small: Tensor, softplus: Tensor) -> Tensor:
    """``r(z) = e^z log(1 + e^-z)``, given ``e^-|z|`` and ``log(1 + e^-z)``."""
    return torch.where(logits > 0, _log1p_ratio(small), small * softplus)


def _log_1m_exp(x: Tensor) -> Tensor:
    """``log(1 - e^-x)`` for positive x, from the side that keeps its digits."""
    far = x > math.log(2)
    return torch.where(
        far,
        torch.log1p(-torch.exp(-torch.where(far, x, 1.0))),
        torch.log(-torch.expm1(-torch.where(far, 1.0, x))),
    )
