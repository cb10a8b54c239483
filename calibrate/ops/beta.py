"""The map of beta calibration, in logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import LOWEST, ElementwiseOp, Float32, per_class

NEAR_ZERO = 1e-4
"""Below, the first three terms of softplus are all that float64 holds."""

_CACHED_CELLS = 1 << 15


@dataclass(frozen=True, eq=False)
class Beta(ElementwiseOp):
    """``c - a softplus(-logit) + b softplus(logit)``, in float64, rounded once and kept finite.

    It never falls in float32: neighbouring logits are farther apart than the errors of a softplus,
    and every operation after that rounds to the nearest, which keeps the order.

    Parameters
    ----------
    a, b : float32, () or (n_classes,)
        Slopes far below and far above 0, at least 0, and not both 0.
    c : float32, () or (n_classes,)

    Examples
    --------
    >>> import numpy as np
    >>> Beta(2.0, 0.5, 1.0).apply(np.array([[-100.0, 0.0, 100.0]], dtype=np.float32)).round(1)
    array([[-199.,   -0.,   51.]], dtype=float32)
    """

    wire_name: ClassVar[str] = "beta"
    a: NDArray[np.float32]
    b: NDArray[np.float32]
    c: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name in ("a", "b", "c"):
            object.__setattr__(self, name, per_class(getattr(self, name), name))
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} of a beta step must be finite")
        for name in ("a", "b"):
            if not (getattr(self, name) >= 0).all():
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name).min()}")
        if not (self.a + self.b > 0).all():
            raise ValueError("a and b must not both be 0: the map would be constant")

    def apply(self, logits: Float32) -> Float32:
        """Calibrated logits, a new array."""
        calibrated = np.empty_like(logits)
        height = max(1, _CACHED_CELLS // max(1, logits.shape[1]))
        for start in range(0, len(logits), height):
            part = slice(start, start + height)
            exact = self.apply_float64(logits[part].astype(np.float64))
            np.clip(exact, LOWEST, -LOWEST, out=exact)
            calibrated[part] = exact
        calibrated[np.isneginf(logits)] = -np.inf
        return calibrated

    def apply_float64(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same map in float64, for the means of a histogram."""
        # an infinite logit would meet a factor of 0
        finite = np.clip(logits, LOWEST, -LOWEST)
        mapped = _softplus(finite) * self.b.astype(np.float64)
        mapped -= _softplus(np.negative(finite, out=finite)) * self.a.astype(np.float64)
        mapped += self.c.astype(np.float64)
        mapped[np.isneginf(logits)] = -np.inf
        return mapped

    def columns(self, start: int, stop: int) -> Beta:
        """The same step for the classes ``start:stop`` alone."""
        cut = slice(start, stop)
        a, b, c = (part[cut] if part.ndim else part for part in (self.a, self.b, self.c))
        return Beta(a, b, c)


def _softplus(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """``log(1 + exp(z))``, rising from one float32 to the next or equal."""
    soft = np.abs(z)
    np.exp(np.negative(soft, out=soft), out=soft)
    np.log1p(soft, out=soft)
    soft += np.maximum(z, 0.0)
    near = np.abs(z) < NEAR_ZERO
    if near.any():
        # here neighbouring float32 numbers are closer than the errors of exp and log1p
        some = z[near]
        soft[near] = np.log(2.0) + some * (0.5 + 0.125 * some)
    return soft
