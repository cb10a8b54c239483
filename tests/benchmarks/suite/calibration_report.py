"""The tables of `calibration`, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from suite.calibrators import METHODS, OURS, PEERS

_TABLES = (
    ("log_loss", "Log loss per row, in nats", "{:.3f}"),
    ("ece", "Calibration error (signed root of the debiased square), in thousandths", "{:.2f}"),
    ("count_ratio", "Sum of probabilities over number of labels", "{:.3f}"),
    ("micro_ap", "Micro-average precision", "{:.4f}"),
    ("macro_ap", "Macro-average precision", "{:.4f}"),
)
_SCALE = {"ece": 1000.0}


def markdown(records: list[dict[str, Any]]) -> str:
    """All tables; a method that nowhere could be had has no column."""
    had = {name for record in records for name in record["figures"]}
    methods = [name for name in METHODS | PEERS if name in had]
    parts = []
    for figure, title, form in _TABLES:
        judged = figure == "log_loss"
        verdict = ["ours - best other", "verdict"] if judged else []
        head = ["network", "rows x classes", *methods, *verdict]
        lines = [_line(head), _line(["---"] * 2 + ["---:"] * len(methods) + ["---"] * len(verdict))]
        for record in records:
            cells = [record["network"], f"{record['rows'][0]:,} x {record['classes']:,}"]
            values = {name: record["figures"].get(name, {}).get(figure) for name in methods}
            for name, value in values.items():
                cell = "-" if value is None else form.format(value * _SCALE.get(figure, 1.0))
                cells.append(f"**{cell}**" if judged and name == OURS else cell)
            if judged:
                cells += _verdict(record)
            lines.append(_line(cells))
        parts.append(f"{title}:\n\n" + "\n".join(lines) + "\n")
    missing = {name: why for record in records for name, why in record["missing"].items()}
    parts += [f"{name} could not be had: {why}\n" for name, why in missing.items()]
    return "\n".join(parts)


def _verdict(record: dict[str, Any]) -> list[str]:
    """Ours less the best of the others, which is chosen on the very rows: that favours it."""
    others = [name for name in record["figures"] if name != OURS]
    if not others:
        return ["-", "-"]
    best = min(others, key=lambda name: float(record["figures"][name]["log_loss"]))
    by = record["differences"][best]
    return [f"{by['mean']:+.3f} ({by['standard_error']:.3f}), {best}", by["verdict"]]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
