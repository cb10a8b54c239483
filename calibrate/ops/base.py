"""What a frozen step is: arrays and numbers under a wire name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

LOWEST = np.float32(np.finfo(np.float32).min)
"""The threshold that lets every score pass, but not ``-inf``, the cell without a score."""


class RowLabels(NamedTuple):
    """Labels of consecutive rows, as in CSR: ``indptr`` int64, ``indices`` int32, sorted."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Op:
    """A frozen step: arrays and numbers under a wire name."""

    wire_name: ClassVar[str]

    def __reduce__(self) -> tuple[type[Op], tuple[Any, ...]]:
        # a copy is made anew, so that its arrays are read-only and checked as well
        return type(self), tuple(getattr(self, f.name) for f in fields(self))

    @property
    def n_classes(self) -> int | None:
        """Number of classes that the arrays fix, or None where one number serves all.

        Raises
        ------
        ValueError
            If they differ.
        """
        sizes = {name: len(a) for name, a in self.arrays().items() if a.ndim == 1}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name} for {size}" for name, size in sizes.items())
            raise ValueError(
                f"the arrays of step {self.wire_name!r} must be for the same classes, got {told}"
            )
        return next(iter(sizes.values()), None)

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
    """Logits to logits."""

    @abstractmethod
    def apply(self, logits: Float32) -> Float32:
        """Calibrated logits, a new array."""

    @abstractmethod
    def columns(self, start: int, stop: int) -> CalibrationOp:
        """The same step for the classes ``start:stop`` alone."""


class ElementwiseOp(CalibrationOp):
    """Logits to logits, each cell by itself, never falling within a class."""

    @abstractmethod
    def apply_float64(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same map in float64, for the means of a histogram."""

    @abstractmethod
    def columns(self, start: int, stop: int) -> ElementwiseOp:
        """The same step for the classes ``start:stop`` alone."""


class RowOp(CalibrationOp):
    """Logits to logits, each cell by itself but for one number that its whole row decides."""

    @abstractmethod
    def row_terms(self, logits: Float32) -> Float32:
        """The number of each row, (n_rows,), from the logits of all its classes."""

    @abstractmethod
    def apply_terms(self, logits: Float32, terms: Float32) -> Float32:
        """Calibrated logits, a new array, given the numbers of the rows."""

    @abstractmethod
    def columns(self, start: int, stop: int) -> RowOp:
        """The same step for the classes ``start:stop`` alone, given the numbers of the rows."""

    def apply(self, logits: Float32) -> Float32:
        """Calibrated logits, a new array; `logits` are those of all classes."""
        return self.apply_terms(logits, self.row_terms(logits))


class DecisionOp(Op, ABC):
    """Logits to labels."""

    @abstractmethod
    def decide(self, logits: Float32) -> RowLabels:
        """Labels of the rows."""


@dataclass(frozen=True, eq=False)
class Chain(CalibrationOp):
    """Several steps as one: what a method that needs more than one step makes.

    It has no wire name: a decision holds its parts.
    """

    wire_name: ClassVar[str] = ""
    parts: tuple[CalibrationOp, ...]

    @property
    def n_classes(self) -> int | None:
        """Number of classes that the parts fix, or None."""
        sizes = {part.n_classes for part in self.parts} - {None}
        return sizes.pop() if sizes else None

    def same_as(self, other: Op) -> bool:
        """Whether it is the same steps, number for number."""
        return (
            isinstance(other, Chain)
            and len(self.parts) == len(other.parts)
            and all(a.same_as(b) for a, b in zip(self.parts, other.parts, strict=True))
        )

    def apply(self, logits: Float32) -> Float32:
        """Calibrated logits, a new array."""
        logits = logits.copy()
        for part in self.parts:
            logits = part.apply(logits)
        return logits

    def columns(self, start: int, stop: int) -> Chain:
        """The same steps for the classes ``start:stop`` alone."""
        return Chain(tuple(part.columns(start, stop) for part in self.parts))


def flat(steps: Iterable[CalibrationOp]) -> tuple[CalibrationOp, ...]:
    """The steps with every chain taken apart."""
    return tuple(
        part
        for step in steps
        for part in (flat(step.parts) if isinstance(step, Chain) else (step,))
    )


def per_class(values: Any, name: str) -> NDArray[np.float32]:
    """A read-only float32 number, or one per class, without nan."""
    array = np.array(values, dtype=np.float32)
    if array.ndim > 1:
        raise ValueError(f"{name} must be a number or one per class, got shape {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{name} must not hold nan, got nan at class {np.isnan(array).argmax()}")
    array.setflags(write=False)
    return array


def number(value: Any, name: str, *, above: float | None = None, below: float = math.inf) -> float:
    """The value as a float.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is not at least 0 (or above `above`) and below `below`.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    plain = float(value)
    low = plain >= 0 if above is None else plain > above
    if not (low and plain < below):
        least = "at least 0" if above is None else f"above {above:g}"
        most = "finite" if below == math.inf else f"below {below:g}"
        raise ValueError(f"{name} must be {least} and {most}, got {value}")
    return plain


def positive_integer(value: Any, name: str) -> int:
    """The value as an int, whatever type of whole number it has.

    Raises
    ------
    ValueError
        If it is not a whole number of at least 1; True is none.
    """
    whole = isinstance(value, Real) and not isinstance(value, bool)
    if not (whole and float(value) >= 1 and float(value).is_integer()):
        raise ValueError(f"{name} must be a positive integer, got {value}")
    return int(float(value))
