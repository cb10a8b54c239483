"""How good predicted labels are, and whether one method's are better than another's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibrate.data import LabelledLogits
from calibrate.evaluation import Evaluation, Interval, evaluate_decided, paired_differences
from calibrate.evaluation.counts import mean, thirds
from calibrate.evaluation.intervals import over_rows
from calibrate.ops import RowLabels

LEVEL = 0.95

FIGURES = ("macro_f", "micro_f", "instance_f", "count_ratio", "count_ratio_rare")
MORE_FIGURES = ("instance_precision", "instance_recall")


def evaluated(
    predicted: Any, test_rows: LabelledLogits, frequency: NDArray[np.int64]
) -> Evaluation:
    """Of labels that something has predicted for all test rows.

    Parameters
    ----------
    predicted : sparse or dense matrix of bool, (n_rows, n_classes)
    test_rows : LabelledLogits
    frequency : int64, (n_classes,)
        Labels of the fitting rows, which put the classes into thirds.
    """
    made = sparse.csr_array(predicted)
    made.sort_indices()
    indptr, indices = made.indptr.astype(np.int64), made.indices.astype(np.int32)

    def rows(start: int, stop: int) -> RowLabels:
        here = indptr[start : stop + 1]
        return RowLabels(here - here[0], indices[here[0] : here[-1]])

    judged = (
        (block, rows(block.start, block.start + len(block.scores))) for block in test_rows.blocks()
    )
    return evaluate_decided(
        test_rows,
        judged,
        lambda: [(0, RowLabels(indptr, indices))],
        frequency=frequency,
        level=LEVEL,
    )


def figures(evaluation: Evaluation, frequency: NDArray[np.int64]) -> dict[str, float]:
    """What the tables show; macro-F1 of a third is over its classes with test labels."""
    by_class, support = evaluation.per_class["f"], evaluation.per_class["support"]
    by_third = {
        f"macro_f_{third}": mean(by_class[classes][support[classes] > 0])
        for third, classes in thirds(frequency).items()
    }
    names = (*FIGURES, *MORE_FIGURES)
    return {name: float(evaluation.summary[name]) for name in names} | by_third


@dataclass(frozen=True)
class Difference:
    """A figure of ours less that of another method, on the same rows.

    Attributes
    ----------
    estimate, low, high : float
        With the bounds of the 95 % interval over the rows.
    verdict : str
        ``best`` or ``worse`` if 0 lies beyond a bound, else ``tied``.
    """

    estimate: float
    low: float
    high: float
    verdict: str

    @classmethod
    def between(cls, ours: Evaluation, other: Evaluation, figure: str) -> Difference:
        """Of the F1; of the count ratio the distance to 1, where less is better."""
        if figure != "count_ratio":
            by = paired_differences(ours, other, level=LEVEL)[figure]
            return cls(*by, _verdict(by.low, by.high))
        by = distance_difference(ours, other)
        return cls(*by, _verdict(-by.high, -by.low))


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "best"
    return "worse" if high < 0 else "tied"


def distance(count_ratio: float) -> float:
    """``|log(predicted / true)|``: how far a count is from right; infinite without predictions."""
    return abs(math.log(count_ratio)) if count_ratio > 0 else math.inf


def distance_difference(ours: Evaluation, other: Evaluation) -> Interval:
    """`distance` of ours less that of the other, with an interval over the rows.

    What a row adds to ``log r`` is what it adds to r, over r. The sign in ``|log r|`` is not known
    where the interval of ``log r`` holds 0, so that the bounds are those of the less certain sign:
    neither of two ratios that may both be 1 is called better.
    """
    ratios = [float(one.summary["count_ratio"]) for one in (ours, other)]
    estimate = distance(ratios[0]) - distance(ratios[1])
    if min(ratios) == 0:
        estimate = 0.0 if max(ratios) == 0 else estimate
        return Interval(estimate, estimate, estimate)
    logs = [math.log(ratio) for ratio in ratios]
    added = [
        one.influence["count_ratio"] / ratio
        for one, ratio in zip((ours, other), ratios, strict=True)
    ]

    def with_signs(our_sign: float, other_sign: float) -> Interval:
        return over_rows(
            our_sign * logs[0] - other_sign * logs[1],
            our_sign * added[0] - other_sign * added[1],
            LEVEL,
        )

    our_sign, other_sign = (math.copysign(1.0, value) for value in logs)
    low = min(with_signs(our_sign, sign).low for sign in (-1.0, 1.0))
    high = max(with_signs(sign, other_sign).high for sign in (-1.0, 1.0))
    return Interval(estimate, low, high)
