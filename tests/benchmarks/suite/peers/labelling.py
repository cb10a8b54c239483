"""Peers that label rows, or say how many labels to expect in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from calibrate.decision import Decision
from calibrate.ops import ExpectedCountTopK, Threshold
from suite.case import Rules
from suite.jobs import Result
from suite.peers.batch import Rows, platt_line
from suite.peers.peer import Peer
from suite.peers.verdict import Differences, SameLabels


def numpy_threshold(batch: Rows) -> sparse.csr_array:
    """Compare, and let SciPy find the cells."""
    rule = batch.rules.thresholds.rule
    assert isinstance(rule, Threshold)
    return sparse.csr_array(batch.scores >= rule.threshold)


def _top_k_rule(rules: Rules) -> ExpectedCountTopK:
    rule = rules.top_k.rule
    assert isinstance(rule, ExpectedCountTopK)
    return rule


def numpy_argpartition(batch: Rows) -> sparse.csr_array:
    """The highest k of the largest k of all rows, put in order, cut to each row's own."""
    line = platt_line(batch.rules)
    n_rows, n_classes = batch.scores.shape
    logits = batch.scores * line.scale + line.shift
    expected = special.expit(logits).sum(axis=1, dtype=np.float64)
    k = np.clip(np.floor(expected + _top_k_rule(batch.rules).offset), 0, n_classes).astype(int)
    most = max(1, int(k.max()))
    top = np.argpartition(-logits, most - 1, axis=1)[:, :most]
    order = np.argsort(-np.take_along_axis(logits, top, axis=1), axis=1)
    kept = np.arange(most) < k[:, None]
    return _csr(np.take_along_axis(top, order, axis=1)[kept], k, (n_rows, n_classes))


def torch_top_k(batch: Rows) -> sparse.csr_array:
    """``torch.topk`` for the largest k of all rows, cut to each row's own."""
    import torch

    line = platt_line(batch.rules)
    n_rows, n_classes = batch.scores.shape
    scale, shift = (torch.tensor(array) for array in (line.scale, line.shift))
    logits = torch.from_numpy(np.asarray(batch.scores)) * scale + shift
    expected = torch.sigmoid(logits).sum(dim=1, dtype=torch.float64)
    k = (expected + _top_k_rule(batch.rules).offset).floor().clamp(0, n_classes).long()
    most = max(1, int(k.max()))
    top = torch.topk(logits, most, dim=1).indices
    kept = torch.arange(most) < k[:, None]
    return _csr(top[kept].numpy(), k.numpy(), (n_rows, n_classes))


def _csr(
    indices: NDArray[np.int64], k: NDArray[np.int64], shape: tuple[int, int]
) -> sparse.csr_array:
    indptr = np.concatenate([[0], np.cumsum(k)])
    made = sparse.csr_array((np.ones(len(indices), dtype=bool), indices, indptr), shape=shape)
    made.sort_indices()
    return made


def _calibrated(batch: Rows) -> tuple[NDArray[np.float32], int]:
    """Probabilities, and the mean number of labels, the only k that it can take."""
    line = platt_line(batch.rules)
    probabilities = special.expit(batch.scores * line.scale + line.shift)
    return probabilities, max(1, round(float(probabilities.sum(axis=1).mean())))


def xcolumns_top_k(inputs: tuple[NDArray[np.float32], int]) -> sparse.csr_array:
    """The same number of labels for each row."""
    from xcolumns.weighted_prediction import predict_top_k

    return sparse.csr_array(predict_top_k(*inputs))


def torch_row_sums(batch: Rows) -> NDArray[np.float64]:
    """Sums in float64 of sigmoids in float32."""
    import torch

    scores = torch.from_numpy(np.asarray(batch.scores))
    return np.asarray(torch.sigmoid(scores).sum(dim=1, dtype=torch.float64).numpy())


def scipy_row_sums(batch: Rows) -> NDArray[np.float64]:
    """The same by ``expit``."""
    return np.asarray(special.expit(batch.scores).sum(axis=1, dtype=np.float64))


def _judge_labels(
    ours: Callable[[Rules], Decision],
) -> Callable[[Rows, Any, Result], SameLabels]:
    def judge(batch: Rows, made: sparse.csr_array, _: Result) -> SameLabels:
        return SameLabels.between(made, ours(batch.rules).predict(batch.scores))

    return judge


def _judge_sums(batch: Rows, made: NDArray[np.float64], ours: Result) -> Differences:
    return Differences.between("sums", made, ours["sums"][batch.first : batch.last])


_judge_thresholds = _judge_labels(lambda rules: rules.thresholds)
_judge_top_k = _judge_labels(lambda rules: rules.top_k)

PEERS = (
    Peer("torch.sigmoid, sum", Rows, torch_row_sums, {"row_sums": _judge_sums}),
    Peer("scipy expit, sum", Rows, scipy_row_sums, {"row_sums": _judge_sums}),
    Peer("numpy comparison to CSR", Rows, numpy_threshold, {"apply_thresholds": _judge_thresholds}),
    Peer("numpy argpartition to CSR", Rows, numpy_argpartition, {"apply_top_k": _judge_top_k}),
    Peer("torch.topk to CSR", Rows, torch_top_k, {"apply_top_k": _judge_top_k}),
    Peer(
        "xCOLUMNs predict_top_k",
        Rows,
        xcolumns_top_k,
        {"apply_top_k": _judge_top_k},
        _calibrated,
        note="the same k for all rows, no sum of probabilities",
        same_job=False,
    ),
)
