"""What a peer made, beside what we made of the same rows and classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_ROUNDING = 1e-6
"""Some peers compare values in float32: of two that differ by less, either may win."""

Metric = Callable[
    [NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    NDArray[np.float64],
]


class Verdict(Protocol):
    """Adds up over batches."""

    def __add__(self, other: Self) -> Self:
        """Both batches together."""

    @property
    def worse(self) -> int:
        """In how many places the peer's result is worse than ours."""

    def __str__(self) -> str:
        """For the table."""


@dataclass(frozen=True)
class SameDecisions:
    """Thresholds, judged by the decisions that they make and by what these are worth."""

    name: str
    unit: str
    of: int
    same: int
    worse: int
    better: int
    theirs: float
    ours: float

    def __add__(self, other: Self) -> Self:
        names = (self.name, self.unit)
        numbers = ("of", "same", "worse", "better", "theirs", "ours")
        return type(self)(*names, *(getattr(self, n) + getattr(other, n) for n in numbers))

    def __str__(self) -> str:
        equal = self.of - self.worse - self.better
        worse = f", lower in {self.worse}" if self.worse else ""
        better = f", higher in {self.better}" if self.better else ""
        return (
            f"same {self.name} in {equal} of {self.of} {self.unit}{worse}{better}, same decisions "
            f"in {self.same}; mean {self.theirs / self.of:.4f}, ours {self.ours / self.of:.4f}"
        )


def same_decisions(
    name: str,
    unit: str,
    metric: Metric,
    truth: NDArray[np.bool_],
    theirs: NDArray[np.bool_],
    ours: NDArray[np.bool_],
) -> SameDecisions:
    """Judge decisions, each line (n_lines, n_cells) a problem of its own."""
    their_value, our_value = (_values(metric, truth, made) for made in (theirs, ours))
    room = _ROUNDING * (1 + abs(our_value))
    return SameDecisions(
        name,
        unit,
        len(truth),
        int((theirs == ours).all(axis=1).sum()),
        int((their_value < our_value - room).sum()),
        int((their_value > our_value + room).sum()),
        float(their_value.sum()),
        float(our_value.sum()),
    )


def _values(
    metric: Metric, truth: NDArray[np.bool_], made: NDArray[np.bool_]
) -> NDArray[np.float64]:
    tp = np.count_nonzero(made & truth, axis=1).astype(np.float64)
    fp = np.count_nonzero(made, axis=1) - tp
    fn = np.count_nonzero(truth, axis=1) - tp
    return metric(tp, fp, fn, truth.shape[1] - tp - fp - fn)


@dataclass(frozen=True)
class SameLabels:
    """CSR labels, row by row."""

    of: int
    same: int

    worse = 0

    @classmethod
    def between(cls, theirs: sparse.csr_array, ours: sparse.csr_array) -> Self:
        """How many rows have the same labels in both."""
        differing = abs(theirs.astype(np.int8) - ours.astype(np.int8)).sum(axis=1)
        return cls(len(differing), int((differing == 0).sum()))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.of + other.of, self.same + other.same)

    def __str__(self) -> str:
        return f"same labels in {self.same:,} of {self.of:,} rows"


@dataclass(frozen=True)
class Differences:
    """Numbers that need not agree to the last digit."""

    name: str
    of: int
    total: float

    worse = 0

    @classmethod
    def between(cls, name: str, theirs: NDArray[Any], ours: NDArray[Any]) -> Self:
        """Absolute differences of the two."""
        return cls(name, theirs.size, float(abs(theirs - ours).sum()))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.name, self.of + other.of, self.total + other.total)

    def __str__(self) -> str:
        return f"{self.name} differ by {self.total / self.of:.1g} on average"
