"""The steps that decide: a threshold for each class, or the highest logits of each row."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import LOWEST, DecisionOp, Float32, RowLabels, per_class
from calibrate.ops.rows import expected_counts, labels_from_mask, top_mask


@dataclass(frozen=True, eq=False)
class Threshold(DecisionOp):
    """Predict a class where ``logit >= threshold``; ``+inf`` means never.

    Parameters
    ----------
    threshold : float32, () or (n_classes,)
    """

    wire_name: ClassVar[str] = "threshold"
    threshold: NDArray[np.float32]

    def __post_init__(self) -> None:
        lifted = np.maximum(per_class(self.threshold, "threshold"), LOWEST)
        object.__setattr__(self, "threshold", per_class(lifted, "threshold"))

    def decide(self, logits: Float32) -> RowLabels:
        """Labels of the rows."""
        mask = logits >= self.threshold
        never = np.isposinf(self.threshold)
        if never.any():
            # a calibrated logit may overflow to inf, and inf >= inf
            mask &= ~never
        return labels_from_mask(mask)


class HighestOp(DecisionOp):
    """Predict the highest scores of each row; among equals the lower class index wins."""

    @abstractmethod
    def counts(self, logits: Float32) -> NDArray[np.int64]:
        """How many labels each row gets, at most n_classes, shape (n_rows,)."""

    def scores(self, logits: Float32) -> Float32:
        """What is compared along a row, float32: the logits, unless an op says otherwise."""
        return logits

    def decide(self, logits: Float32) -> RowLabels:
        """Labels of the rows."""
        return labels_from_mask(top_mask(self.scores(logits), self.counts(logits)))


@dataclass(frozen=True, eq=False)
class TopK(HighestOp):
    """Predict the ``k`` highest logits of each row."""

    wire_name: ClassVar[str] = "top_k"
    k: int

    def __post_init__(self) -> None:
        if not self.k >= 0:
            raise ValueError(f"k must be at least 0, got {self.k}")

    def counts(self, logits: Float32) -> NDArray[np.int64]:
        """``k``, or all classes where there are fewer, shape (n_rows,)."""
        return np.full(len(logits), min(self.k, logits.shape[1]), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class ExpectedCountTopK(HighestOp):
    """Predict the ``k`` highest logits of each row, ``k = floor(sum of probabilities + offset)``.

    Parameters
    ----------
    offset : float
        1/2 rounds; the fitted value makes the total over the fitting rows right.
    min_k, max_k : int, int or None
        Bounds on the labels of a row.
    """

    wire_name: ClassVar[str] = "expected_count_top_k"
    offset: float
    min_k: int
    max_k: int | None

    def __post_init__(self) -> None:
        if not np.isfinite(self.offset):
            raise ValueError(f"offset must be finite, got {self.offset}")
        check_count_bounds(self.min_k, self.max_k)
        object.__setattr__(self, "min_k", int(self.min_k))
        object.__setattr__(self, "max_k", None if self.max_k is None else int(self.max_k))

    def counts(self, logits: Float32) -> NDArray[np.int64]:
        """How many labels each row gets, shape (n_rows,)."""
        most = logits.shape[1] if self.max_k is None else min(self.max_k, logits.shape[1])
        k = np.floor(expected_counts(logits) + self.offset)
        return np.clip(k, min(self.min_k, most), most).astype(np.int64)


def check_count_bounds(min_k: int, max_k: int | None) -> None:
    """Raise ValueError unless both are whole numbers, ``0 <= min_k <= max_k``."""
    for name, value in (("min_k", min_k), ("max_k", max_k)):
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not (whole or (name == "max_k" and value is None)):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
    if not min_k >= 0:
        raise ValueError(f"min_k must be at least 0, got {min_k}")
    if max_k is not None and not max_k >= min_k:
        raise ValueError(f"max_k must be at least min_k = {min_k}, got {max_k}")
