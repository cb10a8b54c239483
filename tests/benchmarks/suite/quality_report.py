"""The tables of `quality`, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from suite.deciders import OBJECTIVES, OURS, PLAIN, Objective
from suite.decision_quality import distance
from suite.peer_deciders import PEERS

_FULL = {
    "macro_f": ("macro-F1", "{:.4f}"),
    "macro_f_rare": ("rare third", "{:.4f}"),
    "macro_f_middle": ("middle", "{:.4f}"),
    "macro_f_frequent": ("frequent", "{:.4f}"),
    "micro_f": ("micro-F1", "{:.4f}"),
    "instance_f": ("instance-F1", "{:.4f}"),
    "count_ratio": ("pred/true", "{:.2f}"),
    "count_ratio_rare": ("rare third", "{:.2f}"),
}

_CALIBRATED = {name for name, peer in PEERS.items() if peer.calibrated}

_NOTE = """\
The best other is chosen on the very test rows, which favours it. The difference is ours less the
other's on the same rows, with its 95 % interval. "Calibrated": given what our default calibrator
makes of the scores. xCOLUMNs' block coordinate decides all test rows together, everything else
each row by itself: it counts where ours does so too.
"""


def markdown(records: list[dict[str, Any]]) -> str:
    """A table for each objective, and how often ours is best."""
    parts = [_NOTE, _compact(records)]
    parts += [_objective(objective, records) for objective in OBJECTIVES]
    parts.append(_summary(records))
    missing: dict[str, list[str]] = {}
    for name, why in {n: why for record in records for n, why in record["missing"].items()}.items():
        missing.setdefault(why, []).append(name)
    parts += [f"{', '.join(names)} could not be had: {why}\n" for why, names in missing.items()]
    parts += [
        f"{record['network']}: {name}: {why}\n"
        for record in records
        for name, why in (_unfinished(record) | record["failed"]).items()
    ]
    return "\n".join(parts)


def _compact(records: list[dict[str, Any]]) -> str:
    """All objectives side by side: ours, the best other, and the verdict."""
    head = ["ours / best other", *(objective.name for objective in OBJECTIVES)]
    lines = [_line(head), _line(["---"] * len(head))]
    for record in records:
        cells = [record["network"]]
        for objective in OBJECTIVES:
            best = best_other(objective, record)
            ours = record["figures"][objective.default][objective.figure]
            if best is None:
                cells.append(_cell(objective, ours))
                continue
            other = record["figures"][best][objective.figure]
            verdict = record["differences"][objective.name][best]["verdict"]
            cells.append(f"{_cell(objective, ours)} / {_cell(objective, other)} {verdict}")
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _objective(objective: Objective, records: list[dict[str, Any]]) -> str:
    head = ["network", "rows x classes", "ours", "best other", "it has", "difference", "verdict"]
    lines = [_line(head), _line(["---", "---", "---:", "---", "---:", "---", "---"])]
    for record in records:
        figures = record["figures"]
        best = best_other(objective, record)
        value = figures[objective.default][objective.figure]
        cells = [record["network"], _size(record), f"**{_cell(objective, value)}**"]
        if best is None:
            cells += ["-"] * 4
        else:
            by = record["differences"][objective.name][best]
            cells += [best, _cell(objective, figures[best][objective.figure]), *_verdict(by)]
        lines.append(_line(cells))
    title = f"{objective.name}, ours by `{objective.default}`"
    if objective.figure == "count_ratio":
        title += ": predicted/true labels; the difference is that of |log(predicted/true)|"
    return f"{title}:\n\n" + "\n".join(lines) + "\n"


def best_other(
    objective: Objective, record: dict[str, Any], own_scores: bool = False
) -> str | None:
    """The method of the plain ones and the peers with the best figure on the test rows.

    With `own_scores` only of those that are given the network's scores as they are.
    """
    figures = {
        name: record["figures"][name][objective.figure]
        for name in (*PLAIN, *PEERS)
        if name in record["figures"]
        and is_rival(objective, name)
        and not (own_scores and name in _CALIBRATED)
    }
    if objective.figure == "count_ratio":
        figures = {name: -distance(value) for name, value in figures.items()}
    return max(figures, key=lambda name: figures[name], default=None)


def is_rival(objective: Objective, name: str) -> bool:
    """Whether a method decides under the same conditions as our default for the objective."""
    return objective.together or name not in PEERS or not PEERS[name].together


def _summary(records: list[dict[str, Any]]) -> str:
    """How often ours is best, tied or worse, and each cell in which another method is better."""
    beside = ("the best other", "the best other without our calibrator", "each other")
    head = [f"beside {whom}: best, tied, worse" for whom in beside]
    lines = [_line(["objective", *head]), _line(["---"] * (1 + len(beside)))]
    total: Counter[tuple[str, str]] = Counter()
    lost = []
    for objective in OBJECTIVES:
        counts: Counter[tuple[str, str]] = Counter()
        for record in records:
            best = [best_other(objective, record, own_scores) for own_scores in (False, True)]
            for name, by in record["differences"][objective.name].items():
                if name in OURS or not is_rival(objective, name):
                    continue
                for whom, there in zip(beside, (*best, name), strict=True):
                    counts[whom, by["verdict"]] += name == there
                if by["verdict"] == "worse":
                    lost.append(f"{record['network']}, {objective.name}: {name}, {_by(by)}")
        total += counts
        lines.append(_counts(objective.name, counts, beside))
    lines.append(_counts("all", total, beside))
    parts = ["Cells in which ours is best, tied or worse:\n\n" + "\n".join(lines) + "\n"]
    if lost:
        parts.append("Ours is worse than:\n\n" + "\n".join(f"- {line}" for line in lost) + "\n")
    return "\n".join(parts)


def _counts(name: str, counts: Counter[tuple[str, str]], beside: tuple[str, ...]) -> str:
    verdicts = ("best", "tied", "worse")
    cells = [", ".join(str(counts[whom, verdict]) for verdict in verdicts) for whom in beside]
    return _line([name, *cells])


def full(record: dict[str, Any]) -> str:
    """All figures of all methods on one network."""
    head = ["method", *(title for title, _ in _FULL.values()), "seconds"]
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    unfinished = _unfinished(record)
    for name in (*PLAIN, *OURS, *PEERS):
        if name in record["figures"]:
            figures, seconds = record["figures"][name], record["seconds"].get(name)
            cells = [_number(figures[figure], form) for figure, (_, form) in _FULL.items()]
            lines.append(_line([name, *cells, _number(seconds, "{:.2g}")]))
        elif name in unfinished:
            lines.append(_line([f"{name}: {unfinished[name]}", *["-"] * (len(head) - 1)]))
    parts = [f"{record['network']}, {_size(record)}:\n\n" + "\n".join(lines) + "\n"]
    for name, peer in PEERS.items():
        if peer.promise is not None and name in record["figures"]:
            figure, level = peer.promise
            has = record["figures"][name][figure]
            parts.append(f"{name} promises {figure} of {level:g}; it has {has:.3f}.\n")
    return "\n".join(parts)


def _unfinished(record: dict[str, Any]) -> dict[str, str]:
    return {
        name: f"not finished in {seconds:g} s" for name, seconds in record["unfinished"].items()
    }


def _verdict(by: dict[str, Any]) -> list[str]:
    return [_by(by), by["verdict"]]


def _by(by: dict[str, Any]) -> str:
    if by["estimate"] is None:
        return "no predictions"
    return f"{by['estimate']:+.4f} ({by['low']:+.4f} to {by['high']:+.4f})"


def _cell(objective: Objective, value: float | None) -> str:
    return _number(value, "{:.2f}" if objective.figure == "count_ratio" else "{:.4f}")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _size(record: dict[str, Any]) -> str:
    return f"{record['rows'][0]:,} x {record['classes']:,}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
