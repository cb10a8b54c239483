"""Straight lines that the whole row shifts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import LOWEST, Float32, RowOp, per_class
from calibrate.ops.rows import expected_counts, largest_logits, log_sums_of_exp

COUNT_FLOOR = 0.05
"""Added to the expected count of a row before its logarithm, so that empty rows stay finite."""


@dataclass(frozen=True, eq=False)
class RowAffine(RowOp):
    """``scale * logit + shift + term``, in float32, with one ``term`` for each row.

    The term is ``by_count * log(0.05 + sum of the sigmoids) + by_largest * max of the logits +
    by_log_sum * log sum exp of the logits``, over the row's classes that have a score, in float64
    and rounded once; 0 for a row without scores.

    Parameters
    ----------
    scale, shift : float32, () or (n_classes,)
        ``scale`` is positive.
    by_count, by_largest, by_log_sum : float
        0 leaves that part out.
    """

    wire_name: ClassVar[str] = "row_affine"
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    by_count: float = 0.0
    by_largest: float = 0.0
    by_log_sum: float = 0.0

    def __post_init__(self) -> None:
        for name in ("scale", "shift"):
            object.__setattr__(self, name, per_class(getattr(self, name), name))
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} of a row step must be finite")
        if not (self.scale > 0).all():
            raise ValueError(f"scale must be positive, got {self.scale.min()}")
        for name in ("by_count", "by_largest", "by_log_sum"):
            value = float(getattr(self, name))
            if not np.isfinite(value):
                raise ValueError(f"{name} of a row step must be finite, got {value}")
            object.__setattr__(self, name, value)

    def row_terms(self, logits: Float32) -> Float32:
        """The term of each row, float32, (n_rows,), from the logits of all its classes."""
        terms = np.zeros(len(logits))
        largest = largest_logits(logits)
        scored = largest > -np.inf
        if self.by_count:
            terms += self.by_count * np.log(expected_counts(logits) + COUNT_FLOOR)
        if self.by_largest:
            terms[scored] += self.by_largest * largest[scored].astype(np.float64)
        if self.by_log_sum:
            terms[scored] += self.by_log_sum * log_sums_of_exp(logits, largest)[scored]
        terms[~scored] = 0.0
        # an infinite term would meet an infinite logit of the other sign
        return np.clip(terms, LOWEST, -LOWEST).astype(np.float32)

    def apply_terms(self, logits: Float32, terms: Float32) -> Float32:
        """Calibrated logits, a new array, given the terms of the rows."""
        with np.errstate(over="ignore"):
            moved = logits * self.scale
            moved += self.shift
            moved += terms[:, None]
        return moved

    def columns(self, start: int, stop: int) -> RowAffine:
        """The same step for the classes ``start:stop`` alone, given the terms of the rows."""
        cut = slice(start, stop)
        return RowAffine(
            self.scale[cut] if self.scale.ndim else self.scale,
            self.shift[cut] if self.shift.ndim else self.shift,
            self.by_count,
            self.by_largest,
            self.by_log_sum,
        )
