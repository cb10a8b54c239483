"""One plain sentence at the end of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping

from calibrate.evaluation import Interval
from calibrate.objectives import ALL, Objective, count

_RIGHT_COUNT = 0.1
"""How far from 1 predicted over true labels may be before it is worth a word."""

_SAID = {
    "macro_f": "macro-F1",
    "micro_f": "micro-F1",
    "instance_f": "instance-F1",
    "count_ratio": "predicted/true",
    "macro_recall": "macro-recall",
    "micro_precision": "micro-precision",
}

Rows = Mapping[str, Mapping[str, float]]
Differences = Mapping[str, Mapping[str, Interval]]


def advice(rows: Rows, differences: Differences, objective: Objective | None) -> str:
    """What to take for the objective, or for each of them without one, and what it costs.

    Parameters
    ----------
    rows : mapping
        Pipeline name to its summary.
    differences : mapping
        Pipeline name to its figures less those of the first pipeline of `rows`, with intervals.
    objective : Objective or None
    """
    if objective is None:
        taken = [(one.name, _best(rows, one)) for one in ALL]
        goals = [f"for {name} take {best!r} ({_labels(rows[best])})" for name, best in taken]
        return "; ".join(goals) + "."
    best = _best(rows, objective)
    summary = rows[best]
    said = f"for {objective.name} take {best!r}: {_SAID[objective.figure]} "
    said += f"{summary[objective.figure]:.4f}, {_labels(summary)}"
    level = _as_good(differences, objective)
    if level:
        said += f"; {_some(level)} may be as good on other rows"
    by_count = _best(rows, count)
    if by_count != best and not abs(summary["count_ratio"] - 1) <= _RIGHT_COUNT:
        said += f"; if the count matters, take {by_count!r} ({_labels(rows[by_count])})"
    return said + "."


def _best(rows: Rows, objective: Objective) -> str:
    return min(rows, key=lambda name: objective.order(rows[name]))


def _labels(summary: Mapping[str, float]) -> str:
    ratio = summary["count_ratio"]
    return "no labels to count" if math.isnan(ratio) else f"{ratio:.2f} labels per true one"


def _as_good(differences: Differences, objective: Objective) -> list[str]:
    """Pipelines whose figure is not surely below that of the first."""
    if objective.figure not in ("macro_f", "micro_f", "instance_f"):
        return []
    return [name for name, found in differences.items() if found[objective.figure].high >= 0]


def _some(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else f"{names[0]!r} and {len(names) - 1} more"
