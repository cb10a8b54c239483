"""`compare`, `compare_cross_fitted`: many pipelines, each judged on rows it was not fitted on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.base import FitWarning
from calibrate.comparison.pipelines import standard_pipelines
from calibrate.comparison.result import LEVEL, Comparison
from calibrate.crossfit import cross_fit_many, optimism
from calibrate.data import LabelledLogits
from calibrate.decision import Decision
from calibrate.evaluation import Evaluation, evaluate_rows, paired_differences
from calibrate.objectives import Objective
from calibrate.pipeline import FittedOnce, Pipeline
from calibrate.statistics import Evidence

__all__ = [
    "LEVEL",
    "Comparison",
    "compare",
    "compare_cross_fitted",
    "split_rows",
    "standard_pipelines",
]


def compare(
    fit_rows: LabelledLogits,
    test_rows: LabelledLogits,
    pipelines: Mapping[str, Pipeline],
    *,
    beta: float = 1.0,
    in_sample: bool = False,
    objective: Objective | None = None,
) -> Comparison:
    """Fit each pipeline to `fit_rows` and evaluate it on `test_rows`.

    Thirds of the classes by frequency are those of the fitting rows, so that the luck of the test
    rows does not choose them. The histogram of the fitting rows is made once for all pipelines, and
    so is the fit of a calibrator that several of them begin with.

    Parameters
    ----------
    fit_rows, test_rows : LabelledLogits
        Of the same classes, no row in both.
    pipelines : mapping of str to Pipeline
    beta : float
        Of the F-measures reported.
    in_sample : bool
        Judge each on the fitting rows too, for its optimism.
    objective : Objective, optional
        Puts the best first; without one the pipelines stay in their order.

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
    shared = FittedOnce()
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
            decision = copy(pipeline).fit_evidence(evidence, shared).decision_
        decisions[name] = decision
        judged[name] = evaluate_rows(decision, test_rows, **judging)
        if in_sample:
            flattering = evaluate_rows(decision, fit_rows, **judging).summary
            flattered[name] = optimism(flattering, judged[name].summary)
    return _comparison(judged, decisions, fit_rows.shape[0], flattered, objective)


def _comparison(
    judged: Mapping[str, Evaluation],
    decisions: dict[str, Decision],
    n_fit: int,
    flattered: dict[str, dict[str, float]],
    objective: Objective | None,
    folds: int | None = None,
) -> Comparison:
    if objective is not None:
        best_first = sorted(judged, key=lambda name: objective.order(judged[name].summary))
        judged = {name: judged[name] for name in best_first}
        flattered = {name: flattered[name] for name in best_first if name in flattered}
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
        objective=objective,
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
    objective: Objective | None = None,
) -> Comparison:
    """Judge each pipeline on all rows, each row by a fit that has not seen it.

    Parameters
    ----------
    rows : LabelledLogits
    pipelines : mapping of str to Pipeline
    folds, groups, seed, beta
        As in `calibrate.cross_fit`; all pipelines have the same folds.
    objective : Objective, optional
        As in `compare`.

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
        objective,
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
