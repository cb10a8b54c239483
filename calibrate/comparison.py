"""`compare`, `compare_cross_fitted`: many pipelines, each judged on rows it was not fitted on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.base import Calibrator, FitWarning
from calibrate.calibrators.hierarchical_scaling import HierarchicalScaling
from calibrate.calibrators.platt_scaling import PlattScaling
from calibrate.calibrators.pos_weight_correction import PosWeightCorrection
from calibrate.calibrators.temperature_scaling import TemperatureScaling
from calibrate.crossfit import cross_fit_many, optimism
from calibrate.data import LabelledLogits
from calibrate.decision import Decision
from calibrate.evaluation import Evaluation, Interval, evaluate_rows, paired_differences
from calibrate.evaluation.result import finite_or_none, plain
from calibrate.metrics import f_beta
from calibrate.pipeline import Pipeline
from calibrate.rules.expected_count_top_k import ExpectedCountTopK
from calibrate.rules.fixed_threshold import FixedThreshold
from calibrate.rules.per_class_threshold import PerClassThreshold
from calibrate.rules.shared_threshold import SharedThreshold
from calibrate.rules.top_k import TopK
from calibrate.statistics import Evidence

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
        Pipeline name to its evaluation summary (see `calibrate.evaluation`).
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
            "pipelines": figures,
            "level": LEVEL,
            "intervals": intervals,
            "differences_from_first": differences,
            "optimism": optimism,
        }

    def of_optimism(self) -> Comparison:
        """The optimism as a comparison of its own, for its table."""
        return replace(self, rows=dict(self.optimism), optimism={})

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
            cells = [f"{summary[key]:.{2 if key.startswith('count') else 4}f}" for key in COLUMNS]
            lines.append("| " + " | ".join([name, *cells]) + " |")
        return "\n".join(lines)

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


def _with_reach(difference: Interval) -> str:
    """A difference and how far its interval reaches to each side."""
    reach = (difference.high - difference.low) / 2
    return f"{difference.estimate:+.4f} ±{reach:.4f}"


def standard_pipelines(
    mean_labels: float,
    pos_weight: NDArray[Any] | float | None = None,
    calibrators: Mapping[str, Calibrator] = MappingProxyType({}),
) -> dict[str, Pipeline]:
    """The pipelines that a choice usually lies between, by name.

    Parameters
    ----------
    mean_labels : float
        Labels per row, for the plain top-k.
    pos_weight : float or array, (n_classes,), optional
        Weights of the training; adds the corrected pipelines.
    calibrators : mapping of str to Calibrator, optional
        Others by their names; adds each of them, cut at 0.5.
    """
    f1, half = f_beta(1), FixedThreshold(0.0)
    layered = HierarchicalScaling(pos_weight)
    pipelines = {"raw, cut at 0.5": Pipeline([], half)}
    if pos_weight is not None:
        corrected = PosWeightCorrection(pos_weight)
        pipelines["z - log w, cut at 0.5"] = Pipeline([corrected], half)
    for name, calibrator in calibrators.items():
        pipelines[f"{name}, cut at 0.5"] = Pipeline([calibrator], half)
    pipelines |= {
        "temperature, cut at 0.5": Pipeline([TemperatureScaling()], half),
        "Platt, cut at 0.5": Pipeline([PlattScaling()], half),
        "hierarchical, cut at 0.5": Pipeline([layered], half),
        "per-class thresholds": Pipeline([], PerClassThreshold(f1)),
        "shared cut, raw": Pipeline([], SharedThreshold(f1)),
        "shared cut, hierarchical": Pipeline([layered], SharedThreshold(f1)),
        "top-k, hierarchical": Pipeline([layered], TopK(max(1, round(mean_labels)))),
        "expected k, hierarchical": Pipeline([layered], ExpectedCountTopK()),
    }
    return pipelines


def compare(
    fit_rows: LabelledLogits,
    test_rows: LabelledLogits,
    pipelines: Mapping[str, Pipeline],
    *,
    beta: float = 1.0,
    in_sample: bool = False,
) -> Comparison:
    """Fit each pipeline to `fit_rows` and evaluate it on `test_rows`.

    Thirds of the classes by frequency are those of the fitting rows, so that the luck of the test
    rows does not choose them. The histogram of the fitting rows is made once for all pipelines.

    Parameters
    ----------
    fit_rows, test_rows : LabelledLogits
        Of the same classes, no row in both.
    pipelines : mapping of str to Pipeline
    beta : float
        Of the F-measures reported.
    in_sample : bool
        Judge each on the fitting rows too, for its optimism.

    Raises
    ------
    ValueError
        If the classes differ in number.
    """
    if fit_rows.shape[1] != test_rows.shape[1]:
        raise ValueError(
            f"test rows must have the {fit_rows.shape[1]} classes of the fitting rows, got "
            f"{test_rows.shape[1]}"
        )
    evidence = Evidence(fit_rows)
    evidence.build_histogram()
    judged: dict[str, Evaluation] = {}
    decisions: dict[str, Decision] = {}
    flattered: dict[str, dict[str, float]] = {}
    judging: dict[str, Any] = {
        "beta": beta, "ranking": False, "frequency": fit_rows.labels.positives, "level": LEVEL
    }  # fmt: skip
    for name, pipeline in pipelines.items():
        with warnings.catch_warnings():
            # the findings of a fit are about its classes, not about the choice of a pipeline
            warnings.simplefilter("ignore", FitWarning)
            # on a copy: what the caller gave stays unfitted
            decision = copy(pipeline).fit_evidence(evidence).decision_
        decisions[name] = decision
        judged[name] = evaluate_rows(decision, test_rows, **judging)
        if in_sample:
            flattering = evaluate_rows(decision, fit_rows, **judging).summary
            flattered[name] = optimism(flattering, judged[name].summary)
    return _comparison(judged, decisions, fit_rows.shape[0], flattered)


def _comparison(
    judged: Mapping[str, Evaluation],
    decisions: dict[str, Decision],
    n_fit: int,
    flattered: dict[str, dict[str, float]],
    folds: int | None = None,
) -> Comparison:
    first = next(iter(judged.values()))
    return Comparison(
        rows={name: evaluation.summary for name, evaluation in judged.items()},
        decisions=decisions,
        n_fit=n_fit,
        n_test=int(first.summary["n_rows"]),
        intervals={name: evaluation.intervals for name, evaluation in judged.items()},
        differences={
            name: paired_differences(evaluation, first, level=LEVEL)
            for name, evaluation in list(judged.items())[1:]
        },
        optimism=flattered,
        folds=folds,
    )


def compare_cross_fitted(
    rows: LabelledLogits,
    pipelines: Mapping[str, Pipeline],
    *,
    folds: int = 5,
    groups: Any = None,
    seed: int = 0,
    beta: float = 1.0,
) -> Comparison:
    """Judge each pipeline on all rows, each row by a fit that has not seen it.

    Parameters
    ----------
    rows : LabelledLogits
    pipelines : mapping of str to Pipeline
    folds, groups, seed, beta
        As in `calibrate.cross_fit`; all pipelines have the same folds.

    Raises
    ------
    FoldError, TypeError, ValueError
        As in `calibrate.cross_fit`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        found = cross_fit_many(pipelines, rows, folds=folds, groups=groups, seed=seed, beta=beta)
    return _comparison(
        {name: one.out_of_sample for name, one in found.items()},
        {name: one.decision for name, one in found.items()},
        rows.shape[0],
        {name: one.optimism for name, one in found.items()},
        folds,
    )


def split_rows(
    rows: LabelledLogits, *, test_fraction: float = 0.5, seed: int = 0
) -> tuple[LabelledLogits, LabelledLogits]:
    """Two random parts of the rows, to fit on and to test on.

    Raises
    ------
    ValueError
        If a part would be empty.
    """
    n_rows = rows.shape[0]
    n_test = round(n_rows * test_fraction)
    if not 0 < n_test < n_rows:
        raise ValueError(
            f"a split needs rows on both sides, got {n_test} test rows of {n_rows} in all"
        )
    order = np.random.default_rng(seed).permutation(n_rows)
    parts: Iterable[NDArray[np.int64]] = (np.sort(order[n_test:]), np.sort(order[:n_test]))
    fit, test = (rows.take(part) for part in parts)
    return fit, test
