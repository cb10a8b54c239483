"""Counts of decisions by class and by row, and the averages made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import Block, LabelledLogits
from calibrate.kernels.evaluation import mark_hits
from calibrate.metrics import f_beta
from calibrate.ops import RowLabels

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def mean(values: Floats) -> float:
    """The mean, the same in any order of the values; nan without values."""
    return math.fsum(values) / len(values) if len(values) else math.nan


def ratio(top: float, bottom: float) -> float:
    """``top / bottom``, nan where `bottom` is 0."""
    return float(top) / float(bottom) if bottom else math.nan


class Rates(NamedTuple):
    """Precision, recall and F-beta, float64, of one shape; nan where 0 / 0."""

    precision: Floats
    recall: Floats
    f: Floats

    @classmethod
    def of(cls, tp: Integers, predicted: Integers, true: Integers, beta: float) -> Rates:
        """Rates of counts of one shape."""
        counts = [c.astype(np.float64) for c in (tp, predicted - tp, true - tp, np.zeros_like(tp))]
        with np.errstate(invalid="ignore"):
            precision, recall = tp / predicted, tp / true
        empty = (predicted == 0) & (true == 0)
        return cls(precision, recall, np.where(empty, np.nan, f_beta(beta)(*counts)))

    def averaged(self, kept: NDArray[np.bool_], undefined: float | Floats) -> tuple[float, ...]:
        """Means of the three over the kept entries, with `undefined` in the place of nan."""
        filled = (np.where(np.isnan(rate), undefined, rate) for rate in self)
        return tuple(mean(rate[kept]) for rate in filled)


@dataclass(frozen=True, eq=False)
class Counts:
    """True positives, predictions and true labels.

    Attributes
    ----------
    tp, predicted, true : int64, (n_classes,)
    row_tp, row_predicted, row_true : int64, (n_rows,)
    """

    tp: Integers
    predicted: Integers
    true: Integers
    row_tp: Integers
    row_predicted: Integers
    row_true: Integers

    @classmethod
    def before(cls, rows: LabelledLogits) -> Counts:
        """The true counts of `rows`, and no predictions yet."""
        n_rows, n_classes = rows.shape
        tp, predicted = (np.zeros(n_classes, dtype=np.int64) for _ in range(2))
        row_tp, row_predicted = (np.zeros(n_rows, dtype=np.int64) for _ in range(2))
        row_true = np.diff(rows.labels.indptr)
        return cls(tp, predicted, rows.labels.positives, row_tp, row_predicted, row_true)

    def add(self, block: Block, decided: RowLabels) -> None:
        """Add what was decided for the rows of a block."""
        n_rows, n_classes = block.scores.shape
        here = slice(block.start, block.start + n_rows)
        hit, row_tp = np.zeros(len(decided.indices), dtype=np.bool_), self.row_tp[here]

        def mark(first: int, last: int) -> None:
            mark_hits(*decided, block.indptr, block.indices, first, last, hit, row_tp)

        threads.over_ranges(mark, n_rows)
        self.row_predicted[here] = np.diff(decided.indptr)
        self.predicted[:] += np.bincount(decided.indices, minlength=n_classes)
        self.tp[:] += np.bincount(decided.indices[hit], minlength=n_classes)

    def by_class(self, beta: float) -> Rates:
        """Rates of each class, nan where undefined."""
        return Rates.of(self.tp, self.predicted, self.true, beta)

    def macro(self, beta: float) -> tuple[float, ...]:
        """Mean precision, recall and F-beta of the classes with true labels."""
        return self.by_class(beta).averaged(self.true > 0, 0.0)

    def micro(self, beta: float) -> tuple[float, ...]:
        """Precision, recall and F-beta of all cells together; nan without true labels."""
        tp, predicted, true = (c.sum(keepdims=True) for c in (self.tp, self.predicted, self.true))
        return Rates.of(tp, predicted, true, beta).averaged(true > 0, 0.0)

    def instance(self, beta: float) -> tuple[float, ...]:
        """Mean precision, recall and F-beta of the rows; 1 for a row with nothing to find."""
        rates = Rates.of(self.row_tp, self.row_predicted, self.row_true, beta)
        nothing = (self.row_predicted == 0) & (self.row_true == 0)
        return rates.averaged(np.ones_like(nothing), nothing.astype(np.float64))

    def count_ratio(self, classes: Integers | slice = slice(None)) -> float:
        """Predicted over true labels of some classes; nan without true labels."""
        return ratio(self.predicted[classes].sum(), self.true[classes].sum())


def thirds(frequency: Integers) -> dict[str, Integers]:
    """Class indices of the rare, the middle and the frequent third, by rank of `frequency`.

    Among equals the lower class index is the rarer; if the classes do not divide by three, the
    rarer thirds get one more.
    """
    order = np.argsort(frequency, kind="stable")
    return dict(zip(("rare", "middle", "frequent"), np.array_split(order, 3), strict=True))
