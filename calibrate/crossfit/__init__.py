"""`cross_fit`: what a pipeline does on rows it was not fitted on, while all rows are fitted on.

The rows are dealt to K folds. The pipeline is fitted K times, each time on all folds but one, and
the labels of that one are decided by this fit. So every row is judged by a decision that has not
seen it. The counts of all rows are summed before any metric is made of them: a mean of the folds'
F-measures is biased, and a class without a label in some fold has none there. What is shipped is
fitted on all rows; the figures are those of its K slightly poorer sisters.

A step that is fitted from a histogram costs next to nothing more: histograms add and subtract
exactly, so that each fold is counted once and taken out of the whole. A step that looks at rows is
fitted K times.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.base import FitWarning
from calibrate.crossfit.deal import FoldError, deal_rows
from calibrate.crossfit.result import CrossFit, optimism
from calibrate.data import Block, LabelledLogits, labelled_logits
from calibrate.data.groups import numbered
from calibrate.data.logits import NanPolicy
from calibrate.decision import Decision
from calibrate.evaluation import evaluate_decided, evaluate_rows
from calibrate.metrics import f_beta
from calibrate.ops import RowLabels
from calibrate.pipeline import FittedOnce, Pipeline
from calibrate.statistics import Evidence, ScoreHistogram

__all__ = ["CrossFit", "FoldError", "cross_fit", "cross_fit_many", "deal_rows", "optimism"]

_HELD_BYTES = 1 << 27
"""Histograms of folds that are held at once; where one is larger, it is held alone."""


def cross_fit(
    pipeline: Pipeline,
    logits: Any,
    labels: Any = None,
    *,
    folds: int = 5,
    groups: Any = None,
    seed: int = 0,
    beta: float = 1.0,
    class_names: Any = None,
    nan: NanPolicy = "raise",
) -> CrossFit:
    """Fit a pipeline to all rows, and tell what it does on rows that it was not fitted on.

    Parameters
    ----------
    pipeline : Pipeline
        Stays unfitted.
    logits : array, tensor, DataFrame, path, ..., or LabelledLogits
        Shape (n_rows, n_classes); see `calibrate.data.as_logits`. Rows that are already checked
        carry their labels.
    labels : sparse matrix, array, lists of labels, path, ...
        Shape (n_rows, n_classes); see `calibrate.data.as_labels`.
    folds : int
        At least 2. More folds are nearer to the fit on all rows, and cost as much more.
    groups : array of int or str, (n_rows,), optional
        One id per row; rows of one group (a patient, a document) are never parted between fitting
        and judging, which would flatter as much as judging on the fitting rows. The intervals are
        over the groups, since rows of one group tell less than as many others.
    seed : int
        Of the deal, see `deal_rows`.
    beta : float
        Of the F-measures reported.
    class_names, nan
        As in `Pipeline.fit`.

    Returns
    -------
    CrossFit

    Raises
    ------
    FoldError
        A ValueError: if there are fewer rows (or groups) than folds, all positives lie in one
        fold, or a fold has a single row and the rule adapts to the rows labelled together.
    TypeError, ValueError
        If the input is not what it must be; the message says where.

    Notes
    -----
    Calibrators that need a histogram share one pass over all rows and one more over each fold's
    own rows; beside the histogram of all rows (24 bytes per class and bin: 97 MB for 7,900 classes)
    there are never more than one of a fold and one of the rest, or 128 MiB of them where they are
    small. Everything else is fitted `folds` times on rows that are read anew. Judging takes two
    passes, and the intervals one more each; a decision that adapts to the rows that are labelled
    together takes those of a fold for them, in a few passes more. These take the fits as given:
    they hold where a fit without another row would hardly be another. No result depends on the
    number of threads or the size of the blocks.

    References
    ----------
    Forman and Scholz (2010), Apples-to-apples in cross-validation studies: pitfalls in classifier
    performance measurement, section 3 (counts before metrics); Bayle, Bayle, Janson and Mackey
    (2020), Cross-validation confidence intervals for test error, section 3 (the variance over all
    rows, each judged without its fold); Stone (1974), Cross-validatory
    choice and assessment of statistical predictions.

    Examples
    --------
    >>> import numpy as np
    >>> import calibrate as cal
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.random((300, 4)) < [0.4, 0.2, 0.1, 0.05]
    >>> logits = 1.5 * labels + rng.normal(size=labels.shape)
    >>> pipeline = cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(cal.metrics.f_beta(1)))
    >>> found = cal.cross_fit(pipeline, logits, labels, folds=5)
    >>> found.out_of_sample.summary["macro_f"] < found.in_sample.summary["macro_f"]
    True
    >>> found.decision.save("rule.safetensors")  # doctest: +SKIP
    """
    if isinstance(logits, LabelledLogits):
        if labels is not None:
            raise TypeError("rows that are already checked have their labels: give no others")
        rows = logits
    else:
        rows = labelled_logits(logits, labels, class_names=class_names, nan=nan)
    only = {"": pipeline}
    return cross_fit_many(only, rows, folds=folds, groups=groups, seed=seed, beta=beta)[""]


def cross_fit_many(
    pipelines: Mapping[str, Pipeline],
    rows: LabelledLogits,
    *,
    folds: int = 5,
    groups: Any = None,
    seed: int = 0,
    beta: float = 1.0,
) -> dict[str, CrossFit]:
    """`cross_fit` of several pipelines on the same folds, which share all histograms.

    Parameters are those of `cross_fit`.

    Raises
    ------
    TypeError, ValueError
        As in `cross_fit`, and if `rows` have steps already.
    """
    f_beta(beta)  # refuses a wrong beta now rather than after the fits
    if rows.steps:
        raise ValueError(
            "rows must come without calibration steps, which the pipeline brings, got "
            f"{len(rows.steps)}"
        )
    fold, n_groups = deal_rows(rows.shape[0], folds, groups=groups, seed=seed)
    together = None if groups is None else numbered(groups, rows.shape[0])[0]
    _check_positives(rows, fold)
    # gathering rows is quick where all are known to be finite
    rows.check_in_place()
    whole = Evidence(rows)
    held_out: dict[str, list[Decision]] = {name: [] for name in pipelines}
    with warnings.catch_warnings():
        # each fit would find the same about its classes as the one on all rows does
        warnings.simplefilter("ignore", FitWarning)
        for chosen, rest in _rest_of_each_fold(whole, rows, fold):
            here = None if together is None else together[chosen]
            for name, decision in _fitted_to(rest, pipelines, here):
                held_out[name].append(decision)
    held_out = {name: _adapted(made, rows, fold) for name, made in held_out.items()}
    # histograms are let go as soon as nothing more is fitted from them
    del rest
    shipped = dict(_fitted_to(whole, pipelines, together))
    del whole
    made = {}
    for name, decision in shipped.items():
        judged = _judged(rows, fold, held_out[name])
        again = partial(_decided, rows, fold, held_out[name])
        found = CrossFit(
            evaluate_decided(rows, judged, again, beta=beta, groups=together),
            evaluate_rows(decision, rows, beta=beta, ranking=False),
            decision,
            int(folds),
            n_groups,
            seed,
        )
        told = {**decision.provenance, "cross_fit": found.as_dict()}
        made[name] = replace(found, decision=replace(decision, provenance=told))
    return made


def _fitted_to(
    evidence: Evidence, pipelines: Mapping[str, Pipeline], groups: NDArray[np.int64] | None
) -> Iterator[tuple[str, Decision]]:
    """What each pipeline decides after a fit; what several begin with is fitted once."""
    shared = FittedOnce()
    for name, pipeline in pipelines.items():
        yield name, copy(pipeline).fit_evidence(evidence, shared, groups=groups).decision_


def _check_positives(rows: LabelledLogits, fold: NDArray[np.int64]) -> None:
    """Raise FoldError where a fold holds all positives, so that the others have none to fit on."""
    by_fold = np.bincount(fold, weights=np.diff(rows.labels.indptr))
    n_labels = rows.labels.n_labels
    if (by_fold == n_labels).any():
        where = f"all of them lie in fold {int(by_fold.argmax())}" if n_labels else "there are none"
        raise FoldError(
            f"cross-fitting needs positives in at least two folds, but of {n_labels} positives "
            f"{where}"
        )


def _rest_of_each_fold(
    whole: Evidence, rows: LabelledLogits, fold: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], Evidence]]:
    """For each fold the rows outside it and their evidence, read when it is asked for."""
    counted: dict[int, ScoreHistogram] = {}
    n_folds = int(fold.max()) + 1

    def without(number: int) -> ScoreHistogram:
        everything = whole.histogram
        if number not in counted:
            at_once = max(1, _HELD_BYTES // (3 * everything.counts.nbytes))
            wanted = range(number, min(number + at_once, n_folds))
            parts = ScoreHistogram.of_parts(rows, fold, wanted, everything.grid)
            counted.update(zip(wanted, parts, strict=True))
        return everything - counted.pop(number)

    for number in range(n_folds):
        chosen = np.flatnonzero(fold != number)
        yield chosen, Evidence(rows.take(chosen), partial(without, number))


def _adapted(
    decisions: list[Decision], rows: LabelledLogits, fold: NDArray[np.int64]
) -> list[Decision]:
    """The decisions of the folds, those that adapt to a batch with the rows of theirs for it.

    Raises
    ------
    FoldError
        If one that adapts has a fold of a single row.
    """
    fewest = int(np.bincount(fold).min())
    if fewest < 2 and any(decision.adapts for decision in decisions):
        raise FoldError(
            "a rule that adapts to the rows labelled together needs two rows in each fold, got "
            f"{fewest}"
        )
    return [
        decision.adapted(rows.source.take(np.flatnonzero(fold == number)))
        if decision.adapts
        else decision
        for number, decision in enumerate(decisions)
    ]


def _judged(
    rows: LabelledLogits, fold: NDArray[np.int64], decisions: list[Decision]
) -> Iterator[tuple[Block, RowLabels]]:
    """Each row decided by the decision that was fitted without it."""
    for block in rows.blocks():
        here = fold[block.start : block.start + len(block.scores)]
        places = [np.flatnonzero(here == number) for number in range(len(decisions))]
        scores = np.empty_like(block.scores)

        def decide(
            number: int,
            block: Block = block,
            places: list[NDArray[np.int64]] = places,
            scores: NDArray[np.float32] = scores,
        ) -> RowLabels:
            raw = block.scores[places[number]]
            scores[places[number]] = decisions[number].calibrate(raw)
            return decisions[number].decide(raw)

        decided = threads.each(decide, range(len(decisions)))
        yield replace(block, scores=scores), _interleaved(places, decided, len(here))


def _decided(
    rows: LabelledLogits, fold: NDArray[np.int64], decisions: list[Decision]
) -> Iterator[tuple[int, RowLabels]]:
    """The labels of `_judged` alone."""
    for block, labels in _judged(rows, fold, decisions):
        yield block.start, labels


def _interleaved(places: list[NDArray[np.int64]], parts: list[RowLabels], n_rows: int) -> RowLabels:
    """Labels of rows from those of some of them each: ``places[i]`` says which `parts[i]` has."""
    counts = np.zeros(n_rows, dtype=np.int64)
    for rows, part in zip(places, parts, strict=True):
        counts[rows] = np.diff(part.indptr)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    indices = np.empty(indptr[-1], dtype=np.int32)
    for rows, part in zip(places, parts, strict=True):
        moved = np.repeat(indptr[rows] - part.indptr[:-1], counts[rows])
        indices[np.arange(len(part.indices)) + moved] = part.indices
    return RowLabels(indptr, indices)
