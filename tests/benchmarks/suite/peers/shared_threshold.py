"""Peers that look for one threshold for all classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

import calibrate as cal
from calibrate.metrics import f_beta
from suite.case import quiet_fits
from suite.jobs import Result
from suite.peers.batch import Rows
from suite.peers.peer import Peer
from suite.peers.verdict import SameDecisions, same_decisions

_F1 = f_beta(1)
_MAPIE_ROWS = 32


def _flat(batch: Rows) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return batch.scores.ravel(), batch.labels.toarray().astype(bool).ravel()


def scikit_learn_flat(inputs: tuple[NDArray[np.float32], NDArray[np.bool_]]) -> float:
    """The curve of all cells as one class."""
    from sklearn.metrics import precision_recall_curve

    scores, truth = inputs
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return float(thresholds[f1[:-1].argmax()])


def _judge_flat(batch: Rows, made: float, ours: Result) -> SameDecisions:
    """Held against our threshold for the same rows: that for all rows is another."""
    scores, truth = _flat(batch)
    with quiet_fits():
        rule = cal.SharedThreshold(_F1).fit(batch.scores, batch.labels)
    theirs, mine = scores >= np.float32(made), scores >= rule.op_.arrays()["threshold"]
    return same_decisions("micro-F1", "batches", _F1, truth[None], theirs[None], mine[None])


def _labelled_rows(batch: Rows) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """It refuses rows without labels."""
    labels = batch.labels.toarray().astype(np.int64)
    some = labels.any(axis=1)
    if not some.any():
        raise ValueError("no row has a label")
    return batch.scores[some], labels[some]


MAPIE_RECALL = {"risk": "recall", "method": "crc", "target_level": 0.8}
MAPIE_PRECISION = {
    "risk": "precision",
    "method": "ltt",
    "target_level": 0.5,
    "confidence_level": 0.9,
}
"""Conformal control of the mean recall, and a precision that holds with a probability."""


def mapie_in_batches(
    options: dict[str, Any],
) -> Callable[[tuple[NDArray[np.float32], NDArray[np.int64]]], Any]:
    """One threshold on probabilities; its arrays are rows x classes x 100 thresholds."""

    def run(inputs: tuple[NDArray[np.float32], NDArray[np.int64]]) -> Any:
        from mapie.risk_control import MultiLabelClassificationController

        scores, labels = inputs
        control = MultiLabelClassificationController(predict_function=special.expit, **options)
        for row in range(0, len(scores), _MAPIE_ROWS):
            here = slice(row, row + _MAPIE_ROWS)
            control.compute_risks(scores[here], labels[here])
        return control.compute_best_predict_param().best_predict_param

    return run


PEERS = (
    Peer(
        "scikit-learn PR curve of all cells",
        Rows,
        scikit_learn_flat,
        {"shared": _judge_flat},
        _flat,
        note="some rows at a time, scaled in proportion: its sort of all would take longer",
    ),
    Peer(
        f"MAPIE, {_MAPIE_ROWS} rows at a time",
        Rows,
        mapie_in_batches(MAPIE_RECALL),
        {"shared": None},
        _labelled_rows,
        note="another goal: a recall of 0.8 that is guaranteed; tries 100 thresholds",
        same_job=False,
    ),
)
