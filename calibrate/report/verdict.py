"""The figures a rule is judged by, and on which rows they were found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calibrate.data import LabelledLogits
from calibrate.decision import Decision
from calibrate.evaluation import Evaluation

FIGURES = ("count_ratio", "count_ratio_rare", "macro_f", "micro_f", "instance_f")
"""Keys of a summary, see `calibrate.evaluation.Evaluation`."""

OTHER_ROWS, CROSS_FIT, FITTING_ROWS, UNKNOWN = "other rows", "cross-fit", "fitting rows", "unknown"


def verdict(
    decision: Decision, rows: LabelledLogits, before: Evaluation, after: Evaluation
) -> dict[str, Any]:
    """Figures before and after; out of sample wherever there are such.

    Parameters
    ----------
    decision : Decision
    rows : LabelledLogits
        The rows judged.
    before, after : Evaluation
        Of the raw logits cut at 0, and of the decision, on these rows.
    """
    told = decision.header()["provenance"]
    fitted_to, cross_fit = told.get("rows_sha256", []), told.get("cross_fit")
    found: dict[str, Any] = {
        "level": after.summary["level"],
        **{name: after.summary[name] for name in ("n_rows", "n_classes", "n_labels")},
        "n_classes_without_positives": after.summary["n_classes_without_positives"],
        "judged_on": UNKNOWN,
        "folds": None,
        "n_groups": None,
        "before": _figures(before.as_dict()),
        "after": _figures(after.as_dict()),
        "in_sample": None,
    }
    if not fitted_to:
        return found
    if rows.fingerprint() not in fitted_to:
        return {**found, "judged_on": OTHER_ROWS}
    found["in_sample"] = found["after"]
    if cross_fit is None:
        return {**found, "judged_on": FITTING_ROWS}
    return {
        **found,
        "judged_on": CROSS_FIT,
        "folds": cross_fit["folds"],
        "n_groups": cross_fit["n_groups"],
        "after": _figures(
            {"summary": cross_fit["out_of_sample"], "intervals": cross_fit.get("intervals", {})}
        ),
    }


def _figures(plain_evaluation: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    summary, intervals = plain_evaluation["summary"], plain_evaluation["intervals"]
    nothing = {"low": None, "high": None}
    return {name: {**intervals.get(name, nothing), "estimate": summary[name]} for name in FIGURES}
