"""Our jobs: what is timed, on all classes, and what each may take."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import calibrate as cal
from calibrate import ops
from calibrate.base import Calibrator, DecisionRule
from calibrate.data import labelled_logits
from calibrate.decision import Decision
from calibrate.metrics import Counts, f_beta, mcc
from calibrate.statistics import ScoreHistogram
from suite.case import Case, quiet_fits

Result = dict[str, NDArray[Any]]
"""The arrays that a job makes, by name: two runs agree if these do, bit for bit."""


@dataclass(frozen=True)
class Job:
    """One thing to do for all classes.

    Attributes
    ----------
    name, title : str
        For the command line, and for the table.
    run : callable
    most_reads : float, optional
        The target: stream reads it may take.
    rival : (name of a peer, factor), optional
        How many times faster than this peer it must be.
    """

    name: str
    title: str
    run: Callable[[Case], Result]
    most_reads: float | None = None
    rival: tuple[str, float] | None = None


def digest(result: Result) -> str:
    """SHA-256 of the arrays with their names, types and shapes."""
    state = hashlib.sha256()
    for name, array in sorted(result.items()):
        state.update(f"{name} {array.dtype.str} {array.shape}".encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def profit(tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> Counts:
    """A metric as a user writes it: it promises nothing, so that every cut must be tried."""
    return tp - 0.25 * fp


def _fit(step: Calibrator | DecisionRule, case: Case) -> Result:
    with quiet_fits():
        op = step.fit(case.logits, case.labels).op_
    if not isinstance(op, ops.Chain):
        return op.arrays()
    return {
        f"{place}.{name}": value
        for place, part in enumerate(ops.flat(op.parts))
        for name, value in {**part.arrays(), **_numbers(part)}.items()
    }


def _numbers(op: ops.Op) -> Result:
    """The plain numbers of a step as arrays."""
    return {name: np.array(value) for name, value in op.numbers().items() if value is not None}


def _histogram(case: Case) -> Result:
    made = ScoreHistogram.of(labelled_logits(case.logits, case.labels))
    return {"counts": made.counts, "positives": made.positives, "offsets": made.offsets}


def _row_sums(case: Case) -> Result:
    rows = labelled_logits(case.logits, case.labels)
    return {"sums": np.concatenate(list(rows.each_block(lambda b: ops.expected_counts(b.scores))))}


def _apply(decision: Decision, case: Case) -> Result:
    labels = decision.predict(case.logits)
    return {"indptr": labels.indptr, "indices": labels.indices}


def _report(decision: Decision, case: Case) -> Result:
    return cal.threshold_report(decision, case.logits, case.labels).per_class


_PR_LOOP = "scikit-learn PR-curve loop"
_ROC_LOOP = "scikit-learn ROC-curve loop"
_SIGMOID_LOOP = "scikit-learn sigmoid loop"

JOBS = (
    Job(
        "f1",
        "exact F1 sweep per class",
        lambda case: _fit(cal.PerClassThreshold(f_beta(1)), case),
        10,
        (_PR_LOOP, 100),
    ),
    Job(
        "mcc",
        "exact MCC sweep per class",
        lambda case: _fit(cal.PerClassThreshold(mcc), case),
        25,
        (_ROC_LOOP, 40),
    ),
    Job(
        "profit",
        "exact sweep per class, any function of the counts",
        lambda case: _fit(cal.PerClassThreshold(profit), case),
        25,
        (_ROC_LOOP, 40),
    ),
    Job("histogram", "score histograms", _histogram, 8),
    Job(
        "platt",
        "Platt: slope and intercept per class",
        lambda case: _fit(cal.PlattScaling(), case),
        15,
        (_SIGMOID_LOOP, 100),
    ),
    Job(
        "temperature",
        "temperature and bias per class",
        lambda case: _fit(cal.TemperatureScaling(per_class=True, bias=True), case),
        15,
        (_SIGMOID_LOOP, 100),
    ),
    Job(
        "isotonic",
        "isotonic map per class",
        lambda case: _fit(cal.IsotonicCalibration(), case),
    ),
    Job(
        "layers",
        "hierarchical scaling without the row layer",
        lambda case: _fit(cal.HierarchicalScaling(row_layer=False), case),
        20,
        (_SIGMOID_LOOP, 100),
    ),
    Job(
        "row_layer",
        "hierarchical scaling with the row layer",
        lambda case: _fit(cal.HierarchicalScaling(row_layer=True), case),
        45,
    ),
    Job("row_sums", "sum of sigmoids per row", _row_sums, 6),
    Job(
        "shared",
        "shared F1 threshold, exact",
        lambda case: _fit(cal.SharedThreshold(f_beta(1)), case),
        15,
    ),
    Job(
        "apply_thresholds",
        "apply per-class thresholds, to CSR",
        lambda case: _apply(case.rules.thresholds, case),
        3,
    ),
    Job(
        "apply_top_k",
        "apply Platt and expected-count top-k, to CSR",
        lambda case: _apply(case.rules.top_k, case),
        15,
    ),
    Job(
        "report",
        "threshold report behind Platt and expected-count top-k",
        lambda case: _report(case.rules.top_k, case),
        40,
    ),
)
