"""Cutting each row where its scores leave the largest gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import Float32
from calibrate.ops.decisions import HighestOp


@dataclass(frozen=True, eq=False)
class LargestGap(HighestOp):
    """Predict what lies above the largest gap between two neighbouring probabilities of a row.

    Cells without a score are no neighbours. Of gaps of equal width the highest is taken; a row
    without two different probabilities gets no label.
    """

    wire_name: ClassVar[str] = "largest_gap"

    def counts(self, scores: Float32) -> NDArray[np.int64]:
        """How many labels each row gets, shape (n_rows,)."""
        falling = -np.sort(-scores, axis=1).astype(np.float64)
        with np.errstate(over="ignore"):
            probabilities = 1.0 / (1.0 + np.exp(-falling))
        gaps = probabilities[:, :-1] - probabilities[:, 1:]
        gaps[falling[:, 1:] == -np.inf] = 0.0
        if gaps.shape[1] == 0:
            return np.zeros(len(scores), dtype=np.int64)
        largest = gaps.argmax(axis=1)
        some = gaps[np.arange(len(gaps)), largest] > 0
        return np.where(some, largest + 1, 0).astype(np.int64)
