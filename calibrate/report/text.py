"""The report as Markdown and as a CSV file; nothing is computed here."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from calibrate.report.verdict import CROSS_FIT, FITTING_ROWS, OTHER_ROWS

if TYPE_CHECKING:
    from calibrate.report.result import ThresholdReport

HEADS = {
    "count_ratio": "pred/true",
    "count_ratio_rare": "rare third",
    "macro_f": "macro-F1",
    "micro_f": "micro-F1",
    "instance_f": "instance-F1",
}
"""Headings of the figures of the verdict."""


def digits(name: str) -> int:
    """How many digits a figure of the verdict is shown with."""
    return 2 if name.startswith("count") else 4


def in_words(verdict: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences."""
    before, after = verdict["before"]["count_ratio"], verdict["after"]["count_ratio"]
    said = [
        f"Cut at probability 0.5, the network predicts {_shown(before['estimate'], 2)} labels for "
        f"each true one; with this rule it is {_shown(after['estimate'], 2)}."
    ]
    changes = [
        f"{HEADS[name]} {_shown(verdict['before'][name]['estimate'], 4)} to "
        f"{_shown(verdict['after'][name]['estimate'], 4)}"
        for name in ("macro_f", "micro_f", "instance_f")
    ]
    said.append(f"From before to after: {', '.join(changes)}.")
    return [*said, judged_on(verdict)]


def judged_on(verdict: Mapping[str, Any]) -> str:
    """On which rows the figures were found, and whether they can be believed."""
    size = f"{verdict['n_rows']:,} rows of {verdict['n_classes']:,} classes"
    if verdict["judged_on"] == OTHER_ROWS:
        return f"Out of sample: judged on {size}, which are not those the rule was fitted to."
    if verdict["judged_on"] == CROSS_FIT:
        return (
            f"Out of sample: the {size} are those the rule was fitted to, and for these figures "
            f"each was judged by one of {verdict['folds']} fits without it. All else in this "
            "report is in-sample, and flatters the rule."
        )
    if verdict["judged_on"] == FITTING_ROWS:
        return (
            f"In-sample: the {size} are those the rule was fitted to. Everything after the fit "
            "flatters the rule."
        )
    return (
        f"Judged on {size}. The rule does not say to which rows it was fitted; on those, all "
        "figures would flatter it."
    )


def markdown(report: ThresholdReport) -> str:
    """The verdict, what needs attention, and F1 by frequency."""
    verdict = report.verdict
    parts = [("before", verdict["before"]), ("after", verdict["after"])]
    if verdict["in_sample"] is not None and verdict["judged_on"] == CROSS_FIT:
        parts.append(("in-sample", verdict["in_sample"]))
    lines = [*in_words(verdict), "", _row(["", *HEADS.values()]), "|---|" + "---:|" * len(HEADS)]
    lines += [
        _row([name, *(_with_bounds(figures[key], digits(key)) for key in HEADS)])
        for name, figures in parts
    ]
    lines += ["", "Needs attention:" if report.attention else "Nothing needs attention."]
    lines += [f"- {doubt.code}: {doubt.message}" for doubt in report.attention]
    heads = ["true labels", "classes", "F1 before", "F1 after", "pred/true before", "after"]
    lines += ["", _row(heads), "|---|" + "---:|" * (len(heads) - 1)]
    lines += [
        _row(
            [
                span(group),
                f"{group['n_classes']:,}",
                _shown(group["f_before"], 4),
                _shown(group["f"], 4),
                _shown(group["count_ratio_before"], 2),
                _shown(group["count_ratio"], 2),
            ]
        )
        for group in report.overview["by_frequency"]
    ]
    return "\n".join(lines) + "\n"


def csv_table(report: ThresholdReport) -> str:
    """The class table; numbers with all digits, empty where there is none, ``inf`` for never."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *report.per_class, "flags"])
    columns = [values.tolist() for values in report.per_class.values()]
    for name, *values, flags in zip(report.names, *columns, report.flags, strict=True):
        writer.writerow([name, *("" if math.isnan(v) else v for v in values), " ".join(flags)])
    return text.getvalue()


def span(group: Mapping[str, int]) -> str:
    """The numbers a group holds, as ``10 to 19`` or ``0``."""
    first, last = group["from"], group["to"]
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _with_bounds(figure: Mapping[str, float | None], places: int) -> str:
    shown = _shown(figure["estimate"], places)
    if figure["low"] is None:
        return shown
    return f"{shown} ({_shown(figure['low'], places)} to {_shown(figure['high'], places)})"


def _shown(value: float | None, places: int) -> str:
    return "none" if value is None else f"{value:.{places}f}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
