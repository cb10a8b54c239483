"""A decision as JSON, for other languages, and as CSV, for people."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.decision import Decision
from calibrate.ops import BatchOp, BoundedThreshold, Op, Threshold, fold, sigmoid

VERSION = 1
"""Of the JSON content; a reader refuses a newer one."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters of what a spreadsheet would compute."""


def to_json(decision: Decision) -> str:
    """All that a decision is made of, as JSON.

    Numbers are written so that they come back as the same float32. ``steps`` holds the steps one
    after the other, and the rule as the last one, each with its arrays; of a rule with thresholds
    ``thresholds`` holds one entry for each class: the ``logit`` from which on it is predicted and
    that as a ``probability``, both null where it never is. ``thresholds_on`` says what they are
    compared with: ``input``, the logits as the network gives them (all steps before are folded
    in), or ``calibrated`` logits, where a step looks along the row.

    Parameters
    ----------
    decision : Decision

    Returns
    -------
    str
        One JSON object, strictly JSON.

    Examples
    --------
    >>> import json
    >>> from calibrate.decision import Decision
    >>> from calibrate.ops import Threshold
    >>> json.loads(to_json(Decision((), Threshold([0.1, 0.0]), 2, ("a", "b"))))["thresholds"][0]
    {'class': 0, 'name': 'a', 'logit': 0.1, 'probability': 0.5249792}
    """
    header = decision.header()
    provenance = header["provenance"]
    content: dict[str, Any] = {
        "version": VERSION,
        "rule": decision.rule.wire_name,
        "n_classes": decision.n_classes,
        "class_names": header["class_names"],
        "input": provenance.get("input", "logits"),
        "n_rows": provenance.get("n_rows"),
        "n_positives": provenance.get("n_positives"),
        "steps": [_step(op) for op in (*decision.steps, decision.rule)],
    }
    if isinstance(decision.rule, Threshold | BoundedThreshold):
        compared_with, thresholds = _thresholds(decision)
        content["thresholds_on"] = compared_with
        content["thresholds"] = _entries(decision, thresholds)
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def to_csv(decision: Decision) -> str:
    """The thresholds of a decision as CSV: class, name, logit, probability.

    Without class names there is no column for them. ``inf`` stands for never. A name that a
    spreadsheet would take for a formula gets a ``'`` in front.

    Parameters
    ----------
    decision : Decision

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the rule has no thresholds.

    Examples
    --------
    >>> from calibrate.decision import Decision
    >>> from calibrate.ops import Threshold
    >>> print(to_csv(Decision((), Threshold([0.1, float("inf")]), 2, ("a", "=b"))), end="")
    class,name,logit,probability
    0,"a",0.1,0.5249792
    1,"'=b",inf,inf
    """
    if not isinstance(decision.rule, Threshold | BoundedThreshold):
        way_out = "adapt it first" if isinstance(decision.rule, BatchOp) else "JSON holds any rule"
        raise ValueError(
            f"CSV holds a threshold for each class, and {decision.rule.wire_name!r} has none: "
            f"{way_out}"
        )
    _, thresholds = _thresholds(decision)
    named = decision.class_names is not None
    text = io.StringIO()
    text.write("class,name,logit,probability\n" if named else "class,logit,probability\n")
    # what is no number is quoted, and numbers are written as they are
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    for entry in _entries(decision, thresholds):
        name = [_harmless(entry["name"])] if named else []
        numbers = [math.inf if entry[of] is None else entry[of] for of in ("logit", "probability")]
        writer.writerow([entry["class"], *name, *numbers])
    return text.getvalue()


def _thresholds(decision: Decision) -> tuple[str, NDArray[np.float32]]:
    """What the thresholds are compared with, and the threshold of each class."""
    steps, folded = fold(decision.steps, decision.rule, decision.n_classes)
    # behind a step that looks along the row, the folded ones would be of neither
    rule = decision.rule if steps else folded
    thresholds = np.broadcast_to(rule.arrays()["threshold"], (decision.n_classes,))
    return ("calibrated" if steps else "input"), thresholds


def _entries(decision: Decision, thresholds: NDArray[np.float32]) -> list[dict[str, Any]]:
    names = decision.class_names
    return [
        {
            "class": place,
            **({} if names is None else {"name": names[place]}),
            "logit": _number(logit),
            "probability": None if np.isposinf(logit) else _number(p),
        }
        for place, (logit, p) in enumerate(zip(thresholds, sigmoid(thresholds), strict=True))
    ]


def _step(op: Op) -> dict[str, Any]:
    arrays = {
        name: _number(array[()]) if array.ndim == 0 else [_number(one) for one in array]
        for name, array in op.arrays().items()
    }
    return {"op": op.wire_name, **op.numbers(), **arrays}


def _number(value: Any) -> float | int | None:
    """The shortest decimal number that comes back as this one; None for infinity."""
    if not np.isfinite(value):
        return None
    if not isinstance(value, np.float32):
        return int(value)
    short = float(str(value))
    # read as a double first, the shortest may round to a neighbour
    return short if np.float32(short) == value else float(value)


def _harmless(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULAS) else name
