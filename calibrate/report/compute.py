"""`threshold_report`: everything that the report shows, as plain numbers."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

import calibrate
from calibrate.data.logits import NanPolicy
from calibrate.decision import Decision
from calibrate.evaluation import Evaluation, evaluate_rows
from calibrate.evaluation.cox import adjusted_p_values, cox_lines
from calibrate.evaluation.diagrams import diagrams_by_class, pooled_diagram
from calibrate.evaluation.inputs import calibrated, check_rows, fitted, rows_for
from calibrate.evaluation.intervals import check_level
from calibrate.evaluation.ranking import average_precision_by_class
from calibrate.ops import BoundedThreshold, Threshold
from calibrate.report.attention import attention
from calibrate.report.overview import by_frequency, labels_of_rows, pooled_reliability
from calibrate.report.result import ClassCurves, ThresholdReport
from calibrate.report.verdict import verdict
from calibrate.statistics import ScoreHistogram
from calibrate.statistics.coarse_cuts import coarse_cuts

_SCORE_BINS = 32
_FALSE_DISCOVERY_RATE = 0.05


def threshold_report(
    decision: Any,
    logits: Any,
    labels: Any = None,
    *,
    level: float = 0.95,
    command: str | None = None,
    nan: NanPolicy = "raise",
) -> ThresholdReport:
    """What a decision does to labelled rows, beside the raw logits cut at 0.

    Parameters
    ----------
    decision : Decision or fitted Pipeline
    logits : array, tensor, DataFrame, path, ..., or LabelledLogits
        Uncalibrated, shape (n_rows, n_classes), as in `calibrate.evaluate`. Rows that the decision
        was fitted to are recognised, and all figures of them are called in-sample; the verdict is
        then that of the cross-fit, if the decision has one.
    labels : sparse matrix, array, lists of labels, path, ...
        Shape (n_rows, n_classes).
    level : float
        Coverage of intervals and bands, between 0 and 1.
    command : str, optional
        The command line that asked for the report, to be shown in it.
    nan : {"raise", "negative"}

    Returns
    -------
    ThresholdReport
        Write it with ``save_page``, or take ``as_dict``, ``markdown``, ``csv``.

    Raises
    ------
    TypeError, ValueError
        If the decision is not fitted, an input is not what it must be or not of the decision's
        classes, or `level` does not lie between 0 and 1.

    Notes
    -----
    About a dozen passes over the rows: two evaluations, the average precision of each class, and
    one histogram of the calibrated logits, from which calibration lines, reliability and all curves
    come. The histogram of 7,900 classes takes 97 MB; all that is held beside 80,000 such rows came
    to 24 % of their matrix. A decision that adapts to the rows that are
    labelled together takes these rows for them.

    Classes are called miscalibrated as in `calibrate.calibration_report`, at a false discovery rate
    of 5 %.

    Examples
    --------
    >>> import numpy as np
    >>> import calibrate as cal
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.random((400, 3)) < [0.5, 0.2, 0.1]
    >>> logits = 2.0 * labels + rng.normal(size=labels.shape) + 1.0
    >>> pipeline = cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(cal.metrics.f_beta(1)))
    >>> fitted = pipeline.fit(logits[:200], labels[:200])
    >>> report = cal.threshold_report(fitted, logits[200:], labels[200:])
    >>> report.verdict["judged_on"]
    'other rows'
    >>> round(report.verdict["before"]["count_ratio"]["estimate"], 2)
    3.36
    """
    check_level(level)
    given = fitted(decision)
    rows = rows_for(given, logits, labels, nan)
    check_rows(given, rows)
    rows.check_in_place()
    decision = given.adapted(rows.source) if given.adapts else given
    raw = Decision((), Threshold(np.array(0, np.float32)), given.n_classes)
    before = evaluate_rows(raw, rows, ranking=False, losses=False, level=level)
    after = evaluate_rows(decision, rows, ranking=False, level=level)
    scores = calibrated(decision, rows)
    histogram = ScoreHistogram.of(scores)
    by_class = average_precision_by_class(scores)
    per_class = _class_figures(decision, before, after, by_class, histogram)
    doubts = attention(given.provenance, per_class, _FALSE_DISCOVERY_RATE)
    return ThresholdReport(
        verdict=verdict(given, rows, before, after),
        attention=tuple(doubts),
        overview={
            "reliability": pooled_reliability(pooled_diagram(histogram, level)),
            "by_frequency": by_frequency(per_class),
            "labels_of_rows": labels_of_rows(
                np.diff(rows.labels.indptr), before.row_predicted, after.row_predicted
            ),
        },
        per_class=per_class,
        curves=_curves(histogram, level),
        overrides=_overrides(given),
        provenance=_provenance(given, command),
        class_names=after.class_names,
    )


def _class_figures(
    decision: Decision,
    before: Evaluation,
    after: Evaluation,
    average_precision: NDArray[np.float64],
    histogram: ScoreHistogram,
) -> dict[str, NDArray[Any]]:
    """The columns of the class table, (n_classes,); see `ThresholdReport`."""
    threshold = np.full(decision.n_classes, np.nan)
    if isinstance(decision.rule, Threshold | BoundedThreshold):
        threshold[:] = decision.rule.threshold
    with np.errstate(over="ignore"):
        probability = 1.0 / (1.0 + np.exp(-np.where(np.isinf(threshold), np.nan, threshold)))
    lines = cox_lines(histogram)
    old, new = before.per_class, after.per_class
    return {
        "support": new["support"],
        "rule_positives": _rule_positives(decision),
        "threshold": threshold,
        "probability": probability,
        **{name: new[name] for name in ("tp", "predicted", "precision", "recall", "f")},
        **{name: new[name] for name in ("f_low", "f_high", "count_ratio")},
        **{f"{name}_before": old[name] for name in ("predicted", "f", "count_ratio")},
        "average_precision": average_precision,
        "ece": new["ece"],
        "cox_slope": lines.slope,
        "cox_intercept": lines.intercept,
        "cox_q": adjusted_p_values(lines.p),
        "calibration_shrinkage": _learned(decision, "shrinkage"),
        "threshold_shrinkage": 1.0 - _learned(decision, "weight"),
    }


def _rule_positives(decision: Decision) -> NDArray[np.float64]:
    """Positives that each threshold rests on, nan where the rule file does not say."""
    known = decision.provenance.get("rule_positives")
    return np.full(decision.n_classes, np.nan) if known is None else np.array(known, np.float64)


def _learned(decision: Decision, name: str) -> NDArray[np.float64]:
    """A number per class that some step has learned, nan where none has."""
    found = np.full(decision.n_classes, np.nan)
    for part in decision.provenance.get("pipeline", ()):
        values = part.get("report", {}).get(name)
        if isinstance(values, tuple) and len(values) == decision.n_classes:
            found[:] = values
    return found


def _curves(histogram: ScoreHistogram, level: float) -> ClassCurves:
    grid, shape = histogram.grid, (histogram.n_classes, _SCORE_BINS, -1)
    positives, cells = (
        part.reshape(shape).sum(axis=2) for part in (histogram.positives, histogram.counts)
    )
    return ClassCurves(
        coarse_cuts(histogram), grid.low, grid.width, positives, cells,
        diagrams_by_class(histogram, level),
    )  # fmt: skip


def _overrides(decision: Decision) -> dict[str, Any] | None:
    """What ``calibrate fit --overrides`` was given, or None where a rule takes none."""
    if not isinstance(decision.rule, Threshold | BoundedThreshold):
        return None
    pipeline = decision.header()["provenance"].get("pipeline", [])
    options = pipeline[-1]["options"] if pipeline else {}
    return {
        "classes": options.get("classes") or {},
        "min_labels": options.get("min_labels", 0),
        "max_labels": options.get("max_labels"),
    }


def _provenance(decision: Decision, command: str | None) -> dict[str, Any]:
    """Where the rule and the report come from, without what is a number per class."""
    told = decision.header()["provenance"]
    pipeline = [
        {
            "step": part["step"],
            "options": part["options"],
            "learned": part.get("report", {}).get("in_words", []),
        }
        for part in told.get("pipeline", [])
    ]
    return {
        "pipeline": pipeline,
        "steps": [op.wire_name for op in (*decision.steps, decision.rule)],
        "fitted_by": told.get("calibrate"),
        "n_rows": told.get("n_rows"),
        "n_rows_apart": told.get("n_rows_apart"),
        "n_positives": told.get("n_positives"),
        "input": told.get("input"),
        "command": command,
        "versions": {
            "calibrate": calibrate.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
    }
