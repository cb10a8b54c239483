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
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.data import Block, LabelledLogits, as_labels, labelled_logits
from calibrate.data.logits import NanPolicy
from calibrate.decision import Decision
from calibrate.evaluation.counts import Counts, mean, thirds
from calibrate.evaluation.probabilities import Losses
from calibrate.evaluation.ranking import (
    average_precision_by_class,
    instance_average_precision,
    micro_average_precision,
)
from calibrate.evaluation.result import Evaluation
from calibrate.metrics import f_beta
from calibrate.ops import RowLabels

__all__ = ["Evaluation", "evaluate", "evaluate_decided", "evaluate_rows"]


def evaluate(
    decision: Any,
    logits: Any,
    labels: Any = None,
    *,
    beta: float = 1.0,
    ranking: bool = True,
    frequency: Any = None,
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
        classes, `beta` is not positive and finite, or `frequency` is not a count per class.

    Notes
    -----
    Counts, losses and calibration errors come from one pass over the rows; average precision takes
    four more. The results do not depend on the number of threads or the size of the blocks.

    The calibration error of a class is the mean over its cells of the distance between mean
    probability and rate of positives in 15 bins of equal width. With few rows the noise of each bin
    counts as error, and in a rare class it is small even if the probabilities are wrong by a large
    factor: compare it only between calibrations of the same rows.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, section 2
    (calibration error); Kull et al. (2019), Beyond temperature scaling, section 2 (by class);
    Brier (1950), Verification of forecasts expressed in terms of probability; Koyejo, Natarajan,
    Ravikumar and Dhillon (2015), Consistent multilabel classification, section 2 (macro, micro,
    instance).

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
    decision = _fitted(decision)
    if isinstance(logits, LabelledLogits):
        if labels is not None:
            raise TypeError("rows that are already checked have their labels: give no others")
        rows = logits
    else:
        source = decision.source(logits, nan=nan)
        names = source.class_names or decision.class_names
        truth = as_labels(labels, source.shape[1], class_names=names)
        rows = labelled_logits(source, truth, nan=nan)
    return evaluate_rows(decision, rows, beta=beta, ranking=ranking, frequency=frequency)


def evaluate_rows(
    decision: Any,
    rows: LabelledLogits,
    *,
    beta: float = 1.0,
    ranking: bool = True,
    frequency: Any = None,
) -> Evaluation:
    """`evaluate` for rows that are already checked, so that many decisions can share them.

    Parameters
    ----------
    decision : Decision or fitted Pipeline
    rows : LabelledLogits
        Without steps: the decision brings its own.
    beta, ranking, frequency
        As in `evaluate`.

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
    decision = _fitted(decision)
    decision.source(rows.source)
    f_beta(beta)  # refuses a wrong beta now rather than after the pass
    if rows.steps:
        raise ValueError(
            "rows must come without calibration steps, which the decision brings, got "
            f"{len(rows.steps)}"
        )
    n_rows, n_classes = rows.shape
    if n_rows == 0:
        raise ValueError(f"an evaluation needs at least one row, got shape {rows.shape}")
    frequency = None if frequency is None else _counts(frequency, n_classes)
    judged = (
        (replace(block, scores=decision.calibrate(block.scores)), decision.decide(block.scores))
        for block in rows.blocks()
    )
    found = evaluate_decided(rows, judged, beta=beta, frequency=frequency)
    by_class = np.full(n_classes, math.nan)
    micro_ap = instance_ap = math.nan
    if ranking:
        calibrated = rows
        for step in decision.steps:
            calibrated = calibrated.after(step)
        by_class = average_precision_by_class(calibrated)
        micro_ap = micro_average_precision(calibrated)
        instance_ap = instance_average_precision(calibrated)
    return Evaluation(
        found.summary
        | {
            "macro_ap": mean(by_class[rows.labels.positives > 0]),
            "micro_ap": micro_ap,
            "instance_ap": instance_ap,
        },
        found.per_class | {"average_precision": by_class},
        rows.class_names or decision.class_names,
    )


def evaluate_decided(
    rows: LabelledLogits,
    judged: Iterable[tuple[Block, RowLabels]],
    *,
    beta: float = 1.0,
    frequency: NDArray[np.int64] | None = None,
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
    beta : float
    frequency : int64, (n_classes,), optional
    """
    n_rows, n_classes = rows.shape
    counts, losses = Counts.before(rows), Losses.zero(n_classes)
    for block, decided in judged:
        counts.add(block, decided)
        losses.add(block)
    frequency = rows.labels.positives if frequency is None else frequency
    unranked = {"macro_ap": math.nan, "micro_ap": math.nan, "instance_ap": math.nan}
    return Evaluation(
        _summary(counts, beta, thirds(frequency)) | losses.summary(n_rows) | unranked,
        _per_class(counts, beta)
        | {"ece": losses.ece_by_class(), "average_precision": np.full(n_classes, math.nan)},
        rows.class_names,
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
        "n_rows": len(counts.row_tp),
        "n_classes": len(counts.tp),
        "n_labels": int(counts.true.sum()),
        "n_predicted": int(counts.predicted.sum()),
        "n_classes_without_positives": int((counts.true == 0).sum()),
        "beta": float(beta),
    }


def _per_class(counts: Counts, beta: float) -> dict[str, NDArray[Any]]:
    with np.errstate(divide="ignore", invalid="ignore"):
        count_ratio = np.where(counts.true > 0, counts.predicted / counts.true, np.nan)
    return {
        "support": counts.true.copy(),
        "predicted": counts.predicted,
        "tp": counts.tp,
        **counts.by_class(beta)._asdict(),
        "count_ratio": count_ratio,
    }


def _fitted(decision: Any) -> Decision:
    fitted = getattr(decision, "decision_", decision)
    if not isinstance(fitted, Decision):
        raise TypeError(
            f"decision must be a Decision or a fitted Pipeline, got {type(decision).__name__}"
        )
    return fitted


def _counts(frequency: Any, n_classes: int) -> NDArray[np.int64]:
    counts = np.asarray(frequency)
    if counts.shape != (n_classes,):
        raise ValueError(
            f"frequency must be one count per class, shape ({n_classes},), got shape {counts.shape}"
        )
    if counts.dtype.kind not in "iu":
        raise TypeError(f"frequency must be whole numbers, got dtype {counts.dtype}")
    if (counts < 0).any():
        c = int((counts < 0).argmax())
        raise ValueError(f"frequency must not be negative, got {counts[c]} at class {c}")
    return counts.astype(np.int64)
