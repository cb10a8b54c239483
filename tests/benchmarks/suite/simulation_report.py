"""The tables of `simulation`, as Markdown."""

from __future__ import annotations

from typing import Any

from suite.reference import REFERENCE, Row

_COLUMNS = {
    "macro": ("macro-F1", 4),
    "rare": ("rare", 3),
    "middle": ("mid", 3),
    "frequent": ("freq", 3),
    "micro": ("micro-F1", 3),
    "instance": ("inst-F1", 3),
    "count_ratio": ("pred/true", 2),
    "micro_ap": ("micro-AP", 3),
    "macro_ap": ("macro-AP", 3),
}


def markdown(records: list[dict[str, Any]]) -> str:
    return "\n".join(_table(record) for record in records)


def _table(record: dict[str, Any]) -> str:
    setting = record["setting"]
    known = REFERENCE[setting["name"]]
    head = ["method", *(title for title, _ in _COLUMNS.values())]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for method, figures in record["figures"].items():
        there = known.get(method, Row())
        cells = [
            _cell(figures.get(key), getattr(there, key), digits)
            for key, (_, digits) in _COLUMNS.items()
        ]
        lines.append(f"| {' | '.join([method, *cells])} |")
    error = record["standard_error"]
    by = f"{record['default_minus_rival']:+.4f}"
    by += "" if error is None else f" ({error:.4f})"
    seeds = record["seeds"]
    return (
        f"Setting {setting['name']}: {setting['title']}; {seeds} seed{'s' if seeds > 1 else ''}\n\n"
        + "\n".join(lines)
        + f"\n\nThe default less the best other practical method, {record['rival']}: {by} "
        "macro-F1.\n"
    )


def _cell(ours: float | None, theirs: float | None, digits: int) -> str:
    here = "-" if ours is None else f"{ours:.{digits}f}"
    return here if theirs is None else f"{here} [{theirs:.{digits}f}]"
