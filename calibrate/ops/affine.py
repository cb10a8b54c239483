"""Straight lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import ElementwiseOp, Float32, per_class


@dataclass(frozen=True, eq=False)
class Affine(ElementwiseOp):
    """``scale * logit + shift``, in float32, the product rounded before the sum.

    Parameters
    ----------
    scale, shift : float32, () or (n_classes,)
        ``scale`` is positive, so that the order within a class stands.
    """

    wire_name: ClassVar[str] = "affine"
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name in ("scale", "shift"):
            object.__setattr__(self, name, per_class(getattr(self, name), name))
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} of an affine step must be finite")
        if not (self.scale > 0).all():
            raise ValueError(f"scale must be positive, got {self.scale.min()}")

    def apply(self, logits: Float32) -> Float32:
        """Calibrated logits, a new array."""
        with np.errstate(over="ignore"):
            scaled = logits * self.scale
            scaled += self.shift
        return scaled

    def apply_float64(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same map in float64, for the means of a histogram."""
        return logits * self.scale.astype(np.float64) + self.shift.astype(np.float64)

    def columns(self, start: int, stop: int) -> Affine:
        """The same step for the classes ``start:stop`` alone."""
        cut = slice(start, stop)
        return Affine(
            self.scale[cut] if self.scale.ndim else self.scale,
            self.shift[cut] if self.shift.ndim else self.shift,
        )
