"""`Comparison`: figures of several pipelines on the same rows, as tables and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from calibrate.comparison.advice import advice
from calibrate.decision import Decision
from calibrate.evaluation import Interval
from calibrate.evaluation.result import finite_or_none, plain
from calibrate.objectives import Objective

COLUMNS = {
    "macro_f": "macro-F1",
    "micro_f": "micro-F1",
    "instance_f": "instance-F1",
    "count_ratio": "pred/true",
    "count_ratio_rare": "rare third",
}
"""What the table shows of each evaluation, and the heading it gets."""

LEVEL = 0.95
"""Coverage of the intervals."""


@dataclass(frozen=True)
class Comparison:
    """Figures of several pipelines on the same rows, none of them fitted on a row it is judged on.

    Attributes
    ----------
    rows : dict
        Pipeline name to its evaluation summary (see `calibrate.evaluation`); the best by
        `objective` first, if there is one.
    decisions : dict
        Pipeline name to its fitted `Decision`, so that the one chosen need not be fitted again.
    n_fit, n_test : int
        Rows fitted on, rows judged on.
    intervals : dict
        Pipeline name to the 95 % intervals of its figures over the rows judged on, by name.
    differences : dict
        Name of each pipeline but the first to its figures less those of the first, with 95 %
        intervals (see `calibrate.paired_differences`).
    optimism : dict
        Pipeline name to the same figures on the fitting rows minus those in `rows`; may be empty.
    objective : Objective or None
        What sorted the pipelines.
    folds : int or None
        Where the figures are cross-fitted: each row is judged by a fit to all folds but its own,
        while `decisions` are fitted to all rows.
    """

    rows: dict[str, dict[str, float | int]]
    decisions: dict[str, Decision]
    n_fit: int
    n_test: int
    intervals: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Interval]]
    optimism: dict[str, dict[str, float]] = field(default_factory=dict)
    objective: Objective | None = None
    folds: int | None = None

    @property
    def n_left_out(self) -> int:
        """Classes without a true label in the test rows, which macro averages leave out."""
        return int(next(iter(self.rows.values()))["n_classes_without_positives"])

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        figures, optimism = (
            {name: {k: finite_or_none(v) for k, v in part.items()} for name, part in parts.items()}
            for parts in (self.rows, self.optimism)
        )
        intervals, differences = (
            {name: {k: plain(v) for k, v in found.items()} for name, found in some.items()}
            for some in (self.intervals, self.differences)
        )
        return {
            "n_fit": self.n_fit,
            "n_test": self.n_test,
            "folds": self.folds,
            "objective": None if self.objective is None else self.objective.name,
            "pipelines": figures,
            "level": LEVEL,
            "intervals": intervals,
            "differences_from_first": differences,
            "optimism": optimism,
            "advice": self.advice(),
        }

    def of_optimism(self) -> Comparison:
        """The optimism as a comparison of its own, for its table."""
        return replace(self, rows=dict(self.optimism), optimism={})

    def advice(self) -> str:
        """One plain sentence: what to take for the objective, or for each, and what it costs."""
        return advice(self.rows, self.differences, self.objective)

    def table(self) -> str:
        """The columns a choice rests on, as text of 80 columns unless a name is long."""
        width = max(len("pipeline"), *(len(name) for name in self.rows))
        lines = [f"{'pipeline':<{width}}  " + "  ".join(COLUMNS.values())]
        lines += [
            f"{name:<{width}}  "
            + "  ".join(
                f"{summary[key]:>{len(head)}.{2 if key.startswith('count') else 4}f}"
                for key, head in COLUMNS.items()
            )
            for name, summary in self.rows.items()
        ]
        return "\n".join(lines)

    def markdown(self) -> str:
        """The same table for a README."""
        heads = ["pipeline", *COLUMNS.values()]
        lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * len(COLUMNS)]
        for name, summary in self.rows.items():
            lines.append("| " + " | ".join([name, *_figures(summary)]) + " |")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The tables and the advice, for a notebook."""
        from calibrate.report import notebook

        figures = [[name, *_figures(summary)] for name, summary in self.rows.items()]
        parts = [notebook.table(["pipeline", *COLUMNS.values()], figures)]
        heads, *differences = self._difference_rows()
        if differences:
            parts.append(notebook.table(heads, differences))
        return "".join([*parts, f"<p>{escape(self.advice())}</p>"])

    def difference_table(self) -> str:
        """Figures less those of the first pipeline, with intervals, in at most 80 columns.

        Empty with a single pipeline.
        """
        rows = self._difference_rows()
        if len(rows) == 1:
            return ""
        width = max(len(row[0]) for row in rows)
        return "\n".join(
            f"{row[0]:<{width}}" + "".join(f"  {cell:>16}" for cell in row[1:]) for row in rows
        )

    def difference_markdown(self) -> str:
        """The same table for a README; empty with a single pipeline."""
        rows = self._difference_rows()
        if len(rows) == 1:
            return ""
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])

    def _difference_rows(self) -> list[list[str]]:
        shown = [key for key in COLUMNS if key.endswith("_f")]
        rows = [["less the first", *(COLUMNS[key] for key in shown)]]
        rows += [
            [name, *(_with_reach(found[key]) for key in shown)]
            for name, found in self.differences.items()
        ]
        return rows


def _figures(summary: Mapping[str, float | int]) -> list[str]:
    """The columns of the table, as text."""
    return [f"{summary[key]:.{2 if key.startswith('count') else 4}f}" for key in COLUMNS]


def _with_reach(difference: Interval) -> str:
    """A difference and how far its interval reaches to each side."""
    reach = (difference.high - difference.low) / 2
    return f"{difference.estimate:+.4f} ±{reach:.4f}"
