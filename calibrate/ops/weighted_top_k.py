"""The highest of each row, each class weighted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import Float32, per_class
from calibrate.ops.decisions import HighestOp, check_count_bounds
from calibrate.ops.rows import sigmoid


@dataclass(frozen=True, eq=False)
class WeightedTopK(HighestOp):
    """Predict the ``k`` highest ``gain * probability + offset`` of each row, in float32.

    Parameters
    ----------
    k : int
    gain, offset : float32, () or (n_classes,)
        Finite; ``gain`` is not negative.
    """

    wire_name: ClassVar[str] = "weighted_top_k"
    k: int
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]

    def __post_init__(self) -> None:
        check_count_bounds(0, self.k)
        if self.k is None:
            raise ValueError("k must be a whole number, got None")
        object.__setattr__(self, "k", int(self.k))
        for name in ("gain", "offset"):
            values = per_class(getattr(self, name), name)
            if not np.isfinite(values).all():
                raise ValueError(f"{name} must be finite")
            object.__setattr__(self, name, values)
        if not (self.gain >= 0).all():
            raise ValueError(f"gain must not be negative, got {self.gain.min():g}")

    def scores(self, logits: Float32) -> Float32:
        """What is compared along a row, float32; ``-inf`` for a cell without a score."""
        with np.errstate(over="ignore"):
            weighted = sigmoid(logits) * self.gain
            weighted += self.offset
        weighted[logits == -np.inf] = -np.inf
        return weighted

    def counts(self, scores: Float32) -> NDArray[np.int64]:
        """``k``, or all classes where there are fewer, shape (n_rows,)."""
        return np.full(len(scores), min(self.k, scores.shape[1]), dtype=np.int64)
