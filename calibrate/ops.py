"""The waist: the frozen steps that a fitted decision is made of. Imports numpy only.

A *calibration op* turns logits into logits, elementwise and increasing within each class; a
*decision op* turns logits into labels. Every target (numpy, the rule file, later torch and ONNX)
knows these ops and nothing else, so that methods and targets multiply without meeting.

All arrays of logits here are float32, shape (n_rows, n_classes); ``-inf`` marks a cell that has no
score and is never predicted. Arguments are trusted: ``calibrate.data`` has checked them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

LOWEST = np.float32(np.finfo(np.float32).min)
"""The threshold that lets every score pass, but not ``-inf``, the cell without a score."""

_CACHED_CELLS = 1 << 17
"""Cells that stay in the cache of a core from one operation to the next."""


class RowLabels(NamedTuple):
    """Labels of consecutive rows, as in CSR: ``indptr`` int64, ``indices`` int32, sorted."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]


def labels_from_mask(mask: NDArray[np.bool_]) -> RowLabels:
    """Labels of rows from a boolean mask, shape (n_rows, n_classes)."""
    indptr = np.zeros(len(mask) + 1, dtype=np.int64)
    np.cumsum(np.count_nonzero(mask, axis=1), out=indptr[1:])
    return RowLabels(indptr, np.nonzero(mask)[1].astype(np.int32))


def expected_counts(logits: Float32) -> NDArray[np.float64]:
    """Sum of the sigmoids of each row: how many labels to expect. Shape (n_rows,), float64."""
    n_rows, n_classes = logits.shape
    height = max(1, _CACHED_CELLS // max(1, n_classes))
    counts, odds = np.empty(n_rows), np.empty((min(height, n_rows), n_classes), dtype=np.float32)
    for start in range(0, n_rows, height):
        part = logits[start : start + height]
        against = odds[: len(part)]
        with np.errstate(over="ignore"):
            np.exp(np.negative(part, out=against), out=against)
        against += np.float32(1.0)
        np.reciprocal(against, out=against)
        np.sum(against, axis=1, dtype=np.float64, out=counts[start : start + height])
    return counts


def sigmoid(logits: Float32) -> Float32:
    """Probabilities of logits, float32, without overflow warnings."""
    with np.errstate(over="ignore"):
        return np.asarray(np.float32(1.0) / (np.float32(1.0) + np.exp(-logits)), dtype=np.float32)


def top_mask(logits: Float32, k: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The ``k[i]`` highest logits of each row; among equals the lower class index wins."""
    n_rows, n_classes = logits.shape
    ordered = np.sort(logits, axis=1)
    lowest_kept = np.full(n_rows, np.inf, dtype=np.float32)
    some = k > 0
    lowest_kept[some] = ordered[some, n_classes - k[some]]
    above = logits > lowest_kept[:, None]
    tied = (logits == lowest_kept[:, None]) & (logits > -np.inf)
    room = k - np.count_nonzero(above, axis=1)
    tied &= np.cumsum(tied, axis=1, dtype=np.int32) <= room[:, None]
    return np.asarray(above | tied)


@dataclass(frozen=True, eq=False)
class Op:
    """A frozen step: arrays and numbers under a wire name."""

    wire_name: ClassVar[str]

    def __reduce__(self) -> tuple[type[Op], tuple[Any, ...]]:
        # a copy is made anew, so that its arrays are read-only and checked as well
        return type(self), tuple(getattr(self, f.name) for f in fields(self))

    @property
    def n_classes(self) -> int | None:
        """Number of classes that the arrays fix, or None where one number serves all."""
        sizes = {len(a) for a in self.arrays().values() if a.ndim == 1}
        return sizes.pop() if sizes else None

    def same_as(self, other: Op) -> bool:
        """Whether it is the same step, number for number."""
        arrays, others = self.arrays(), other.arrays()
        return (
            type(self) is type(other)
            and self.numbers() == other.numbers()
            and arrays.keys() == others.keys()
            and all(np.array_equal(array, others[name]) for name, array in arrays.items())
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fields that are arrays, by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: v for name, v in values.items() if isinstance(v, np.ndarray)}

    def numbers(self) -> dict[str, int | float | None]:
        """The fields that are plain numbers, by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: v for name, v in values.items() if not isinstance(v, np.ndarray)}


class CalibrationOp(Op, ABC):
    """Logits to logits, increasing within each class."""

    @abstractmethod
    def apply(self, logits: Float32) -> Float32:
        """Calibrated logits, a new array."""

    @abstractmethod
    def apply_float64(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same map in float64, for the means of a histogram."""

    @abstractmethod
    def columns(self, start: int, stop: int) -> CalibrationOp:
        """The same step for the classes ``start:stop`` alone."""


class DecisionOp(Op, ABC):
    """Logits to labels."""

    @abstractmethod
    def decide(self, logits: Float32) -> RowLabels:
        """Labels of the rows."""


def _per_class(values: Any, name: str) -> NDArray[np.float32]:
    array = np.array(values, dtype=np.float32)
    if array.ndim > 1:
        raise ValueError(f"{name} must be a number or one per class, got shape {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{name} must not hold nan, got nan at class {np.isnan(array).argmax()}")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Affine(CalibrationOp):
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
            object.__setattr__(self, name, _per_class(getattr(self, name), name))
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
        lifted = np.maximum(_per_class(self.threshold, "threshold"), LOWEST)
        object.__setattr__(self, "threshold", _per_class(lifted, "threshold"))

    def decide(self, logits: Float32) -> RowLabels:
        """Labels of the rows."""
        mask = logits >= self.threshold
        never = np.isposinf(self.threshold)
        if never.any():
            # a calibrated logit may overflow to inf, and inf >= inf
            mask &= ~never
        return labels_from_mask(mask)


class HighestOp(DecisionOp):
    """Predict the highest logits of each row; among equals the lower class index wins."""

    @abstractmethod
    def counts(self, logits: Float32) -> NDArray[np.int64]:
        """How many labels each row gets, at most n_classes, shape (n_rows,)."""

    def decide(self, logits: Float32) -> RowLabels:
        """Labels of the rows."""
        return labels_from_mask(top_mask(logits, self.counts(logits)))


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


OPS: dict[str, type[Op]] = {op.wire_name: op for op in (Affine, Threshold, TopK, ExpectedCountTopK)}
"""The closed set: a rule file that names anything else is refused."""


def fold(steps: tuple[CalibrationOp, ...], decision: DecisionOp, n_classes: int) -> DecisionOp:
    """One threshold op on raw logits that decides exactly as the steps do one after the other.

    Each step is increasing in float32, so the raw logits that pass the cut are exactly those from
    some smallest float32 on; it is found by bisection over the ordered float32 numbers. A decision
    that looks along the row, and a decision without steps, comes back as it is.

    Parameters
    ----------
    steps : tuple of CalibrationOp
    decision : DecisionOp
    n_classes : int

    Returns
    -------
    DecisionOp
        A ``Threshold`` for raw logits if `decision` is a threshold, else `decision` itself, which
        still needs `steps` before it.
    """
    if not steps or not isinstance(decision, Threshold):
        return decision
    target = np.broadcast_to(decision.threshold, (n_classes,))
    low = np.full(n_classes, ordinal(LOWEST), dtype=np.int64)
    high = np.full(n_classes, ordinal(np.float32(np.inf)), dtype=np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        scores = from_ordinal(middle)[None, :]
        for step in steps:
            scores = step.apply(scores)
        passes = scores[0] >= target
        high = np.where(passes, middle, high)
        low = np.where(passes, low, np.minimum(middle + 1, high))
    folded = from_ordinal(high)
    folded[np.isposinf(target)] = np.inf
    return Threshold(folded)


def ordinal(value: np.float32) -> int:
    """Place of a float32 among the float32 numbers, in their order; both zeros have place 0."""
    bits = int(np.asarray(value, dtype=np.float32).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def from_ordinal(place: NDArray[np.int64]) -> NDArray[np.float32]:
    """The float32 numbers at these places."""
    bits = np.where(place >= 0, place, -place | 0x80000000).astype(np.uint32)
    return bits.view(np.float32)
