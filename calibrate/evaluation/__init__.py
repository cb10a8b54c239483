"""`evaluate`: how good a decision is, and the probabilities and the ranking behind it.

A calibration that is strictly increasing within each class keeps the order of the rows within the
class, but not the order of the classes within a row. Which figures can it change, the decision
being made anew after it?

======================================  ==========  ===========  ===========
strictly increasing map                 macro-AP    micro-AP     instance-AP
======================================  ==========  ===========  ===========
one for all classes                     unchanged   unchanged    unchanged
one per class (``z - log w``, Platt)    unchanged   can change   can change
one per row (a shift, a temperature)    can change  can change   unchanged
======================================  ==========  ===========  ===========

So a calibration per class cannot raise macro-AP, nor the average precision of any class: what
`PerClassThreshold` can reach is the same before and after it. It can raise (or lower) micro-AP and
instance-AP, and with them what one shared threshold or a number of labels per row can reach. Log
loss, Brier score and calibration error can change under all three. All this holds as long as
rounding to float32 does not make two scores equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.bulk.rules import decided
from calibrate.data import Block, LabelledLogits
from calibrate.data.dataset import STRIP_CELLS
from calibrate.data.logits import NanPolicy
from calibrate.evaluation.counts import Counts, mean, thirds
from calibrate.evaluation.inputs import calibrated, check_rows, fitted, frequency_counts, rows_for
from calibrate.evaluation.intervals import (
    BOUNDS,
    Decided,
    Interval,
    check_level,
    f_intervals,
    influences,
    of_groups,
    over_rows,
)
from calibrate.evaluation.paired import paired_differences
from calibrate.evaluation.probabilities import Losses
from calibrate.evaluation.ranking import (
    average_precision_by_class,
    instance_average_precision,
    micro_average_precision,
)
from calibrate.evaluation.reliability import CalibrationReport, calibration_report
from calibrate.evaluation.result import Evaluation
from calibrate.metrics import f_beta
from calibrate.ops import DecisionOp, RowLabels

__all__ = [
    "CalibrationReport",
    "Evaluation",
    "Interval",
    "calibration_report",
    "evaluate",
    "evaluate_decided",
    "evaluate_rows",
    "paired_differences",
]


def evaluate(
    decision: Any,
    logits: Any,
    labels: Any = None,
    *,
    beta: float = 1.0,
    ranking: bool = True,
    frequency: Any = None,
    level: float = 0.95,
    nan: NanPolicy = "raise",
) -> Evaluation:
    """Figures of a decision on rows that it was not fitted on.

    Parameters
    ----------
    decision : Decision or fitted Pipeline
    logits : array, tensor, DataFrame, path, ..., or LabelledLogits
        Uncalibrated, shape (n_rows, n_classes); see `calibrate.data.as_logits`. Rows that are
        already checked carry their labels, and their own policy for nan.
    labels : sparse matrix, array, lists of labels, path, ...
        Shape (n_rows, n_classes); see `calibrate.data.as_labels`.
    beta : float
        Recall counts `beta` times as much as precision in the F-measures.
    ranking : bool
        Average precision too. It sorts all scores, and takes about as long as all the rest.
    frequency : int array, (n_classes,), optional
        Counts by which the classes are put into a rare, a middle and a frequent third; by default
        those of the evaluated labels. The counts of the fitting rows are the fairer choice: a
        class that happens to have few labels in the rows evaluated would be called rare for it
        and have its predictions divided by those few, which raises the count ratio of the rare
        third even if all predictions are right on average.
    level : float
        Coverage of the intervals, between 0 and 1.
    nan : {"raise", "negative"}
        ``"negative"``: a cell that is nan or ``-inf`` is a negative decision in the counts, is
        never retrieved in a ranking, and is left out of log loss, Brier score and calibration
        error.

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError, ValueError
        If the decision is not fitted, an input is not what it must be or not of the decision's
        classes, `beta` is not positive and finite, `level` does not lie between 0 and 1, or
        `frequency` is not a count per class.

    Notes
    -----
    A decision that adapts to the rows that are labelled together takes those judged for them.

    Counts, losses and calibration errors come from one pass over the rows, the interval of macro-F
    from another; average precision takes four more. The results do not depend on the number of
    threads or the size of the blocks.

    The calibration error of a class is the mean over its cells of the distance between mean
    probability and rate of positives in 15 bins of equal width. With few rows the noise of each bin
    counts as error, and in a rare class it is small even if the probabilities are wrong by a large
    factor: compare it only between calibrations of the same rows.

    Intervals of a class are exact (Clopper and Pearson) on its Jaccard index and carried over to F;
    those over the rows are normal, with the variance of what each row adds to the figure, so that
    classes may depend on each other. ``tests/benchmarks/interval_coverage.py`` shows how often they
    hold what they promise: where many classes have next to no labels, that of macro-F is too
    narrow. They say nothing of how a new fit would vary.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, section 2
    (calibration error); Kull et al. (2019), Beyond temperature scaling, section 2 (by class);
    Brier (1950), Verification of forecasts expressed in terms of probability; Koyejo, Natarajan,
    Ravikumar and Dhillon (2015), Consistent multilabel classification, section 2 (macro, micro,
    instance); Lam, Gopal and Qian (2023), Confidence intervals for the F1 score: a comparison of
    four methods (F of a class); Hampel (1974), The influence curve and its role in robust
    estimation (variance over the rows).

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.decision import Decision
    >>> from calibrate.ops import Threshold
    >>> decision = Decision((), Threshold(np.array([0.0, 0.0])), 2)
    >>> logits = np.array([[2.0, 1.0], [1.0, -2.0], [-1.0, -3.0]])
    >>> evaluation = evaluate(decision, logits, np.array([[1, 0], [0, 0], [0, 0]]))
    >>> evaluation.summary["count_ratio"], evaluation.summary["macro_ap"]
    (3.0, 1.0)
    >>> evaluation.summary["n_classes_without_positives"]
    1
    >>> evaluation.per_class["precision"]
    array([0.5, 0. ])
    """
    decision = fitted(decision)
    rows = rows_for(decision, logits, labels, nan)
    return evaluate_rows(
        decision, rows, beta=beta, ranking=ranking, frequency=frequency, level=level
    )


def evaluate_rows(
    decision: Any,
    rows: LabelledLogits,
    *,
    beta: float = 1.0,
    ranking: bool = True,
    losses: bool = True,
    frequency: Any = None,
    level: float = 0.95,
) -> Evaluation:
    """`evaluate` for rows that are already checked, so that many decisions can share them.

    Parameters
    ----------
    decision : Decision or fitted Pipeline
    rows : LabelledLogits
        Without steps: the decision brings its own.
    beta, ranking, frequency, level
        As in `evaluate`.
    losses : bool
        Without them all figures are left out that speak of probabilities.

    Raises
    ------
    TypeError, ValueError
        As in `evaluate`, and if `rows` have steps or are none.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.data import labelled_logits
    >>> from calibrate.decision import Decision
    >>> from calibrate.ops import TopK
    >>> rows = labelled_logits(np.array([[2.0, -1.0], [1.0, 3.0]]), np.eye(2, dtype=bool))
    >>> [evaluate_rows(Decision((), TopK(k), 2), rows).summary["micro_f"] for k in (0, 1)]
    [0.0, 1.0]
    """
    decision = fitted(decision)
    check_rows(decision, rows)
    f_beta(beta)  # refuses a wrong beta now rather than after the pass
    check_level(level)
    n_classes = rows.shape[1]
    if frequency is not None:
        frequency = frequency_counts(frequency, n_classes)
    if decision.adapts:
        decision = decision.adapted(rows.source)
    scores = calibrated(decision, rows)
    found = evaluate_decided(
        rows,
        _judged(decision.rule, scores),
        lambda: decision.blocks(rows.source),
        losses=losses,
        beta=beta,
        frequency=frequency,
        level=level,
    )
    named = replace(found, class_names=rows.class_names or decision.class_names)
    if not ranking:
        return named
    by_class = average_precision_by_class(scores)
    return replace(
        named,
        summary=found.summary
        | {
            "macro_ap": mean(by_class[rows.labels.positives > 0]),
            "micro_ap": micro_average_precision(scores),
            "instance_ap": instance_average_precision(scores),
        },
        per_class=found.per_class | {"average_precision": by_class},
    )


def _judged(rule: DecisionOp, scores: LabelledLogits) -> Iterator[tuple[Block, RowLabels]]:
    """Blocks of calibrated logits, and what the rule decides about them."""
    height = max(1, STRIP_CELLS // scores.shape[1])
    for block in scores.passes():
        for first in range(0, len(block.scores), height):
            part = block.part(first, min(first + height, len(block.scores)))
            yield part, decided(rule, part.scores)


def evaluate_decided(
    rows: LabelledLogits,
    judged: Iterable[tuple[Block, RowLabels]],
    decided_again: Decided,
    *,
    losses: bool = True,
    beta: float = 1.0,
    frequency: NDArray[np.int64] | None = None,
    level: float = 0.95,
    groups: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Figures of labels that something has decided block by block; average precision is nan.

    Counts are summed over all rows before any metric is made of them, also where different rows
    were decided by different fits.

    Parameters
    ----------
    rows : LabelledLogits
        What was decided, all of it.
    judged : iterable of (Block, RowLabels)
        Consecutive blocks of the rows: true labels, calibrated logits as `scores`, and the labels
        decided.
    decided_again : callable
        The labels decided once more, as (first row, labels) of consecutive blocks.
    losses : bool
        Without them all figures are left out that speak of probabilities.
    beta : float
    frequency : int64, (n_classes,), optional
    level : float
    groups : int64, (n_rows,), optional
        Numbers from 0 on: rows of one group depend on each other. The intervals over the rows are
        then over the groups, as are the influences; those of each class take rows as they are.
    """
    n_rows, n_classes = rows.shape
    counts, cost = Counts.before(rows), Losses.zero(n_rows, n_classes) if losses else None
    for block, labels in judged:
        counts.add(block, labels)
        if cost is not None:
            cost.add(block)
    frequency = rows.labels.positives if frequency is None else frequency
    summary = (
        _summary(counts, beta, thirds(frequency))
        | ({} if cost is None else cost.summary(counts.row_true))
        | {
            "macro_ap": math.nan,
            "micro_ap": math.nan,
            "instance_ap": math.nan,
            "level": float(level),
        }
    )
    influence = influences(rows, decided_again, counts, beta)
    if groups is not None:
        influence = {name: of_groups(added, groups) for name, added in influence.items()}
    return Evaluation(
        summary,
        _per_class(counts, beta, level)
        | ({} if cost is None else cost.per_class())
        | {"average_precision": np.full(n_classes, math.nan)},
        rows.class_names,
        {
            name: over_rows(summary[name], influence[name], level, bounds)
            for name, bounds in BOUNDS.items()
        },
        influence,
        counts.row_predicted,
    )


def _summary(
    counts: Counts, beta: float, thirds: dict[str, NDArray[np.int64]]
) -> dict[str, float | int]:
    """Everything that comes from the counts."""
    averages = {
        "macro": counts.macro(beta),
        "micro": counts.micro(beta),
        "instance": counts.instance(beta),
    }
    summary: dict[str, float | int] = {
        f"{average}_{rate}": value
        for average, rates in averages.items()
        for rate, value in zip(("precision", "recall", "f"), rates, strict=True)
    }
    return summary | {
        "count_ratio": counts.count_ratio(),
        **{f"count_ratio_{third}": counts.count_ratio(c) for third, c in thirds.items()},
        "count_mae": mean(np.abs(counts.row_predicted - counts.row_true).astype(np.float64)),
        "n_rows": len(counts.row_tp),
        "n_classes": len(counts.tp),
        "n_labels": int(counts.true.sum()),
        "n_predicted": int(counts.predicted.sum()),
        "n_classes_without_positives": int((counts.true == 0).sum()),
        "beta": float(beta),
    }


def _per_class(counts: Counts, beta: float, level: float) -> dict[str, NDArray[Any]]:
    f_low, f_high = f_intervals(counts.tp, counts.predicted, counts.true, beta, level)
    with np.errstate(divide="ignore", invalid="ignore"):
        count_ratio = np.where(counts.true > 0, counts.predicted / counts.true, np.nan)
    return {
        "support": counts.true.copy(),
        "predicted": counts.predicted,
        "tp": counts.tp,
        **counts.by_class(beta)._asdict(),
        "f_low": f_low,
        "f_high": f_high,
        "count_ratio": count_ratio,
    }
