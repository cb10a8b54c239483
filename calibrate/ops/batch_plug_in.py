"""Thresholds that the rows to be labelled decide together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import LOWEST, DecisionOp, Float32, RowLabels, number, per_class
from calibrate.ops.decisions import Threshold
from calibrate.ops.rows import sigmoid

Result = TypeVar("Result")

_UNITS = float(1 << 36)
"""Probabilities are whole numbers of these, so that their sums are the same in any order."""


class EachBlock(Protocol):
    """The calibrated logits of a batch, given as often as it is called."""

    def __call__(self, work: Callable[[Float32], Result], /) -> Iterable[Result]:
        """``work(logits)`` for all rows in blocks of all classes; results in any order."""


class BatchOp(DecisionOp):
    """Logits to labels, once it is known which rows are labelled together."""

    @abstractmethod
    def adapted(self, each_block: EachBlock) -> DecisionOp:
        """The op that decides the rows of a batch, each by itself.

        Raises
        ------
        ValueError
            If there are fewer than two rows.
        """

    def decide(self, logits: Float32) -> RowLabels:
        """Refused: no row can be decided by itself.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            f"{self.wire_name!r} decides by the rows that are labelled together: it must be "
            "adapted to all of them first, by Decision.adapted or `calibrate apply --adapt`"
        )


@dataclass(frozen=True, eq=False)
class BatchPlugIn(BatchOp):
    """The cut of highest expected F-beta over the rows to be labelled, class by class.

    ``t = own_weight * own + (1 - own_weight) * (plug_in + offset)``, where ``plug_in`` is the logit
    of ``F / (1 + beta^2)``, with F the highest expected F-beta that a cut of the batch reaches.
    The highest logit of a class passes at least, so that each class is predicted once or more; one
    whose logits in the batch are all equal, or that has none, is never predicted.

    Parameters
    ----------
    beta : float
        Positive.
    own : float32, () or (n_classes,)
        Thresholds of the fitting rows, finite.
    own_weight : float32, () or (n_classes,)
        Their share, 0 to 1.
    offset : float
        Added to all plug-in thresholds.
    """

    wire_name: ClassVar[str] = "batch_plug_in"
    beta: float
    own: NDArray[np.float32]
    own_weight: NDArray[np.float32]
    offset: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", number(self.beta, "beta", above=0.0))
        offset = number(self.offset, "offset", above=-np.inf)
        object.__setattr__(self, "offset", offset)
        for name in ("own", "own_weight"):
            object.__setattr__(self, name, per_class(getattr(self, name), name))
        if not np.isfinite(self.own).all():
            raise ValueError("own must be finite thresholds")
        if not ((self.own_weight >= 0) & (self.own_weight <= 1)).all():
            raise ValueError(
                f"own_weight must lie between 0 and 1, got {self.own_weight.min()} to "
                f"{self.own_weight.max()}"
            )
        if self.own.ndim and self.own_weight.ndim and len(self.own) != len(self.own_weight):
            raise ValueError(
                "own and own_weight must be for the same classes, got "
                f"{len(self.own)} and {len(self.own_weight)}"
            )

    def adapted(self, each_block: EachBlock) -> Threshold:
        """Plain thresholds for the rows of a batch.

        Parameters
        ----------
        each_block : callable
            Gives the calibrated logits of all rows, as often as it is called.

        Raises
        ------
        ValueError
            If there are fewer than two rows.

        Notes
        -----
        From a threshold of 0 on, that of the F of the last cut rises to the best one (Dinkelbach):
        each turn is one pass, and it ends after a few, when no class loses a prediction.
        """
        span = _merged(list(each_block(_Span.of)))
        if span.n_rows < 2:
            raise ValueError(
                "the decision depends on the rows that are labelled together: give at least two, "
                f"got {span.n_rows}"
            )
        plug_in = np.full(len(span.total), LOWEST)
        kept = np.full(len(span.total), -1)
        while True:
            sums = np.zeros((2, len(kept)), dtype=np.int64)
            for found in each_block(partial(_above, plug_in)):
                sums += found
            if np.array_equal(sums[0], kept):
                break
            kept = sums[0]
            plug_in = np.maximum(plug_in, self._next(sums, span.total))
        # probabilities too low to be told from 0: the highest of them
        plug_in = np.where(span.total > 0, plug_in, span.highest)
        fitted = self.own_weight * self.own.astype(np.float64)
        mixed = fitted + (1.0 - self.own_weight) * (plug_in + self.offset)
        differ = span.lowest < span.highest
        threshold = np.where(differ, np.minimum(mixed, span.highest), np.inf)
        return Threshold(threshold.astype(np.float32))

    def _next(self, sums: NDArray[np.int64], total: NDArray[np.int64]) -> Float32:
        """The threshold that goes with the F of a cut; the lowest of all where all p are 0."""
        square = self.beta * self.beta  # of what is very large inf, not an error
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (sums[1] / _UNITS) / (sums[0] + square * (total / _UNITS))
            logit = np.log(t) - np.log1p(-t)
        return np.where(total > 0, logit, LOWEST).astype(np.float32)


class _Span(NamedTuple):
    """Rows, sum of probabilities in units, lowest and highest logit that is a score."""

    n_rows: int
    total: NDArray[np.int64]
    lowest: Float32
    highest: Float32

    @classmethod
    def of(cls, logits: Float32) -> _Span:
        scored = np.where(logits > -np.inf, logits, np.float32(np.inf))
        return cls(
            len(logits),
            _in_units(logits).sum(axis=0),
            scored.min(axis=0, initial=np.inf),
            logits.max(axis=0, initial=-np.inf),
        )


def _merged(spans: list[_Span]) -> _Span:
    """The span of all rows; of no rows and no classes without any."""
    if not spans:
        none = np.zeros(0, np.float32)
        return _Span(0, np.zeros(0, np.int64), none, none)
    n_rows, total, lowest, highest = zip(*spans, strict=True)
    return _Span(
        sum(n_rows), np.sum(total, axis=0), np.min(lowest, axis=0), np.max(highest, axis=0)
    )


def _above(threshold: Float32, logits: Float32) -> NDArray[np.int64]:
    """How many logits of each class pass, and the sum of their probabilities, (2, n_classes)."""
    passes = logits >= threshold
    hits = np.where(passes, _in_units(logits), 0)
    return np.stack([np.count_nonzero(passes, axis=0), hits.sum(axis=0)])


def _in_units(logits: Float32) -> NDArray[np.int64]:
    return np.rint(sigmoid(logits).astype(np.float64) * _UNITS).astype(np.int64)
