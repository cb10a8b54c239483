"""Peers that look for the best threshold of each class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.metrics import f_beta, mcc
from suite.jobs import Result, profit
from suite.peers.batch import Columns, Lines
from suite.peers.peer import Peer
from suite.peers.scores_classifier import frozen
from suite.peers.verdict import Metric, SameDecisions, same_decisions

_F1 = f_beta(1)


def _best_f1(precision: Any, recall: Any, thresholds: Any) -> float:
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return float(thresholds[f1[:-1].argmax()])


def scikit_learn_pr_loop(batch: Lines) -> NDArray[np.float64]:
    """The recipe that everybody writes."""
    from sklearn.metrics import precision_recall_curve

    pairs = zip(batch.truth, batch.scores, strict=True)
    return np.array([_best_f1(*precision_recall_curve(y, z)) for y, z in pairs])


def scikit_learn_tuned(batch: Lines) -> NDArray[np.float64]:
    """One frozen column after the other: it takes no second class."""
    from sklearn.model_selection import TunedThresholdClassifierCV

    found = []
    for y, z in zip(batch.truth, batch.scores, strict=True):
        tuned = TunedThresholdClassifierCV(
            frozen(), scoring="f1", cv="prefit", refit=False, response_method="decision_function"
        )
        found.append(tuned.fit(z[:, None], y).best_threshold_)
    return np.array(found)


def scikit_learn_roc_loop(metric: Metric) -> Callable[[Lines], NDArray[np.float64]]:
    """The counts at every distinct score, by ``roc_curve``, and the metric of them."""

    def run(batch: Lines) -> NDArray[np.float64]:
        from sklearn.metrics import roc_curve

        found = []
        for y, z in zip(batch.truth, batch.scores, strict=True):
            fpr, tpr, thresholds = roc_curve(y, z, drop_intermediate=False)
            positives = np.count_nonzero(y)
            tp, fp = tpr * positives, fpr * (len(y) - positives)
            with np.errstate(invalid="ignore", divide="ignore"):
                values = metric(tp, fp, positives - tp, len(y) - positives - fp)
            found.append(thresholds[values.argmax()])
        return np.array(found)

    return run


def _torch_inputs(batch: Lines) -> tuple[Any, Any]:
    import torch

    scores = torch.from_numpy(batch.probabilities.T.copy())
    return scores, torch.from_numpy(batch.truth.T.astype(np.int64))


def torchmetrics_exact(inputs: tuple[Any, Any]) -> NDArray[np.float64]:
    """Curves at every distinct probability."""
    from torchmetrics.functional.classification import multilabel_precision_recall_curve

    probabilities, truth = inputs
    curves = multilabel_precision_recall_curve(
        probabilities, truth, num_labels=truth.shape[1], thresholds=None, validate_args=False
    )
    found = []
    for precision, recall, thresholds in zip(*curves, strict=True):
        f1 = 2 * precision * recall / (precision + recall).clamp_min(1e-30)
        found.append(thresholds[f1[:-1].argmax()].item())
    return np.array(found)


_BINS = 100


def _torch_inputs_float32(batch: Lines) -> tuple[Any, Any]:
    probabilities, truth = _torch_inputs(batch)
    return probabilities.float(), truth


def torchmetrics_binned(inputs: tuple[Any, Any]) -> NDArray[np.float64]:
    """Curves at some fixed thresholds, in batches of rows: it makes a cell of each for each."""
    import torch
    from torchmetrics.classification import MultilabelPrecisionRecallCurve

    probabilities, truth = inputs
    n_rows, n_classes = truth.shape
    curves = MultilabelPrecisionRecallCurve(n_classes, thresholds=_BINS, validate_args=False)
    step = max(1, (1 << 17) // n_classes)
    for row in range(0, n_rows, step):
        curves.update(probabilities[row : row + step], truth[row : row + step])
    precision, recall, thresholds = curves.compute()
    f1 = 2 * precision * recall / (precision + recall).clamp_min(1e-30)
    best = torch.nan_to_num(f1)[:, :-1].argmax(dim=1)
    return np.asarray(thresholds[best].double().numpy())


def as_probabilities(batch: Lines) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    return batch.probabilities, batch.truth.astype(np.int8)


def optimal_cutoffs(
    name: str, metric: Metric | None = None
) -> Callable[[tuple[NDArray[np.float64], NDArray[np.int8]]], NDArray[np.float64]]:
    """Its sort and scan, for a metric of its own or one that is registered with it."""

    def run(inputs: tuple[NDArray[np.float64], NDArray[np.int8]]) -> NDArray[np.float64]:
        from optimal_cutoffs import get_optimal_threshold, register_metric

        if metric is not None:
            register_metric(name, lambda tp, tn, fp, fn: float(metric(tp, fp, fn, tn)))
        found = [
            get_optimal_threshold(y, p, metric=name, method="sort_scan", comparison=">=").threshold
            for p, y in zip(*inputs, strict=True)
        ]
        return np.array(found)

    return run


def _dense_and_calibrated(batch: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return batch.truth.T.astype(np.float64, order="C"), np.array(batch.calibrated.T, order="C")


def xcolumns_frank_wolfe(
    average: str, max_iters: int
) -> Callable[[tuple[NDArray[np.float64], NDArray[np.float64]]], Any]:
    """A mixture of classifiers for the highest macro- or micro-F1; any number of labels per row."""

    def run(inputs: tuple[NDArray[np.float64], NDArray[np.float64]]) -> Any:
        from xcolumns import metrics
        from xcolumns.frank_wolfe import find_classifier_using_fw

        metric = getattr(metrics, f"{average}_f1_score_on_conf_matrix")
        return find_classifier_using_fw(*inputs, metric, k=0, max_iters=max_iters, seed=0)

    return run


def _judge_scores(
    name: str, metric: Metric
) -> Callable[[Columns, NDArray[np.float64], Result], SameDecisions]:
    """Thresholds on logits."""

    def judge(batch: Columns, made: NDArray[np.float64], ours: Result) -> SameDecisions:
        theirs = batch.scores >= made[:, None]
        return same_decisions(
            name, batch.unit, metric, batch.truth, theirs, _our_decisions(batch, ours)
        )

    return judge


def _judge_probabilities(
    name: str, metric: Metric
) -> Callable[[Columns, NDArray[np.float64], Result], SameDecisions]:
    """Thresholds on probabilities."""

    def judge(batch: Columns, made: NDArray[np.float64], ours: Result) -> SameDecisions:
        theirs = batch.probabilities >= made[:, None]
        return same_decisions(
            name, batch.unit, metric, batch.truth, theirs, _our_decisions(batch, ours)
        )

    return judge


def _judge_mixture(batch: Columns, made: Any, ours: Result) -> SameDecisions:
    _, probabilities = _dense_and_calibrated(batch)
    theirs = np.asarray(made.predict(probabilities, seed=0)).T > 0
    return same_decisions("F1", batch.unit, _F1, batch.truth, theirs, _our_decisions(batch, ours))


def _our_decisions(batch: Columns, ours: Result) -> NDArray[np.bool_]:
    return np.asarray(batch.scores >= ours["threshold"][batch.first : batch.last, None])


_OPTIMAL_CUTOFFS = "optimal-classification-cutoffs"
_QUADRATIC = "its general scan counts anew at every score: quadratic in the rows"

PEERS = (
    Peer(
        "scikit-learn PR-curve loop",
        Columns,
        scikit_learn_pr_loop,
        {"f1": _judge_scores("F1", _F1)},
    ),
    Peer(
        "scikit-learn TunedThresholdClassifierCV",
        Columns,
        scikit_learn_tuned,
        {"f1": _judge_scores("F1", _F1)},
        note="tries 100 thresholds",
        same_job=False,
    ),
    Peer(
        "torchmetrics exact",
        Columns,
        torchmetrics_exact,
        {"f1": _judge_probabilities("F1", _F1)},
        _torch_inputs,
    ),
    Peer(
        "torchmetrics binned",
        Columns,
        torchmetrics_binned,
        {"f1": _judge_probabilities("F1", _F1)},
        _torch_inputs_float32,
        note=f"tries {_BINS} thresholds",
        same_job=False,
    ),
    Peer(
        _OPTIMAL_CUTOFFS,
        Columns,
        optimal_cutoffs("f1"),
        {"f1": _judge_probabilities("F1", _F1)},
        as_probabilities,
    ),
    Peer(
        "xCOLUMNs Frank-Wolfe",
        Columns,
        xcolumns_frank_wolfe("macro", 20),
        {"f1": _judge_mixture},
        _dense_and_calibrated,
        note="another algorithm for macro-F1, on calibrated probabilities; 20 steps at most",
        same_job=False,
    ),
    Peer(
        "scikit-learn ROC-curve loop",
        Columns,
        scikit_learn_roc_loop(mcc),
        {"mcc": _judge_scores("MCC", mcc)},
    ),
    Peer(
        _OPTIMAL_CUTOFFS,
        Columns,
        optimal_cutoffs("mcc", mcc),
        {"mcc": _judge_probabilities("MCC", mcc)},
        as_probabilities,
        note=_QUADRATIC,
    ),
    Peer(
        "scikit-learn ROC-curve loop",
        Columns,
        scikit_learn_roc_loop(profit),
        {"profit": _judge_scores("profit", profit)},
    ),
    Peer(
        _OPTIMAL_CUTOFFS,
        Columns,
        optimal_cutoffs("profit", profit),
        {"profit": _judge_probabilities("profit", profit)},
        as_probabilities,
        note=_QUADRATIC,
    ),
)
