"""The steps that decide: a threshold for each class, or the highest scores of each row."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

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
        _keep_thresholds(self)

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

    def scores(self, logits: Float32) -> Float32:
        """What is ranked, (n_rows, n_classes): the logits, unless a rule says otherwise.

        ``-inf`` is never predicted.
        """
        return logits

    @abstractmethod
    def counts(self, scores: Float32) -> NDArray[np.int64]:
        """How many labels each row gets, at most n_classes, shape (n_rows,)."""

    def decide(self, logits: Float32) -> RowLabels:
        """Labels of the rows."""
        scores = self.scores(logits)
        return labels_from_mask(top_mask(scores, self.counts(scores)))


@dataclass(frozen=True, eq=False)
class TopK(HighestOp):
    """Predict the ``k`` highest logits of each row."""

    wire_name: ClassVar[str] = "top_k"
    k: int

    def __post_init__(self) -> None:
        if not isinstance(self.k, Integral) or isinstance(self.k, bool):
            raise ValueError(f"k must be a whole number, got {self.k!r}")
        if not self.k >= 0:
            raise ValueError(f"k must be at least 0, got {self.k}")
        object.__setattr__(self, "k", int(self.k))

    def counts(self, scores: Float32) -> NDArray[np.int64]:
        """``k``, or all classes where there are fewer, shape (n_rows,)."""
        return np.full(len(scores), min(self.k, scores.shape[1]), dtype=np.int64)


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
        _keep_count_bounds(self)

    def counts(self, scores: Float32) -> NDArray[np.int64]:
        """How many labels each row gets, shape (n_rows,)."""
        k = np.floor(expected_counts(scores) + self.offset)
        return _bounded(k, self.min_k, self.max_k, scores.shape[1])


@dataclass(frozen=True, eq=False)
class BoundedThreshold(HighestOp):
    """Predict where ``logit >= threshold``, but no fewer and no more labels per row than bounds.

    Labels are added or left out in the order of ``logit - threshold``, in float32; with one
    threshold for all classes, in that of the logits. ``+inf`` means never, not even to reach the
    lower bound.

    Parameters
    ----------
    threshold : float32, () or (n_classes,)
    min_k, max_k : int, int or None
        Bounds on the labels of a row.
    """

    wire_name: ClassVar[str] = "bounded_threshold"
    threshold: NDArray[np.float32]
    min_k: int
    max_k: int | None

    def __post_init__(self) -> None:
        _keep_thresholds(self)
        _keep_count_bounds(self)

    def scores(self, logits: Float32) -> Float32:
        """How far each logit lies above its threshold; ``-inf`` where it may not be predicted."""
        never = np.isposinf(self.threshold)
        if self.threshold.ndim == 0:
            return np.full_like(logits, -np.inf) if never else logits
        with np.errstate(over="ignore", invalid="ignore"):
            margins = logits - self.threshold
        # a calibrated logit may overflow to inf, and inf - inf is nan
        margins[:, never] = -np.inf
        return margins

    def counts(self, scores: Float32) -> NDArray[np.int64]:
        """How many labels each row gets, shape (n_rows,)."""
        least = self.threshold if self.threshold.ndim == 0 else np.float32(0)
        passing = np.count_nonzero(scores >= least, axis=1)
        return _bounded(passing, self.min_k, self.max_k, scores.shape[1])


def _bounded(k: NDArray[Any], min_k: int, max_k: int | None, n_classes: int) -> NDArray[np.int64]:
    """``k`` within the bounds, and never more than there are classes."""
    most = n_classes if max_k is None else min(max_k, n_classes)
    return np.asarray(np.clip(k, min(min_k, most), most), dtype=np.int64)


def _keep_thresholds(op: Threshold | BoundedThreshold) -> None:
    """Thresholds that let no cell without a score pass."""
    lifted = np.maximum(per_class(op.threshold, "threshold"), LOWEST)
    object.__setattr__(op, "threshold", per_class(lifted, "threshold"))


def _keep_count_bounds(op: ExpectedCountTopK | BoundedThreshold) -> None:
    """Checked bounds as plain numbers."""
    check_count_bounds(op.min_k, op.max_k)
    object.__setattr__(op, "min_k", int(op.min_k))
    object.__setattr__(op, "max_k", None if op.max_k is None else int(op.max_k))


def check_count_bounds(least: int, most: int | None, of: str = "k") -> None:
    """Raise ValueError unless both are whole numbers, ``0 <= least <= most``.

    `of` is what they are called behind ``min_`` and ``max_``.
    """
    for name, value in (("min", least), ("max", most)):
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not (whole or (name == "max" and value is None)):
            raise ValueError(f"{name}_{of} must be a whole number, got {value!r}")
    if not least >= 0:
        raise ValueError(f"min_{of} must be at least 0, got {least}")
    if most is not None and not most >= least:
        raise ValueError(f"max_{of} must be at least min_{of} = {least}, got {most}")
