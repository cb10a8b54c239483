"""Straight lines that the whole row shifts."""

from __future__ import annotations

import numpy as np

from calibrate.onnx.arithmetic import expected_counts
from calibrate.onnx.graph import FLOAT32, FLOAT64, Graph, Value
from calibrate.ops import RowAffine
from calibrate.ops.base import LOWEST
from calibrate.ops.row_affine import COUNT_FLOOR


def row_affine(graph: Graph, op: RowAffine, logits: Value) -> Value:
    """Calibrated logits, float32."""
    terms = graph.where(logits.max(1) > -np.inf, _terms(graph, op, logits), 0.0)
    terms = terms.at_least(float(LOWEST)).at_most(-float(LOWEST)).cast(FLOAT32)
    return logits * op.scale + op.shift + terms.reshape(-1, 1)


def _terms(graph: Graph, op: RowAffine, logits: Value) -> Value:
    """The term of each row with a score, float64, (n_rows,)."""
    largest = logits.max(1).cast(FLOAT64)
    terms = graph.zeros(largest.shape(), FLOAT64)
    if op.by_count:
        terms = terms + op.by_count * (expected_counts(logits) + COUNT_FLOOR).log()
    if op.by_largest:
        terms = terms + op.by_largest * largest
    if op.by_log_sum:
        terms = terms + op.by_log_sum * _log_sums_of_exp(graph, logits)
    return terms


def _log_sums_of_exp(graph: Graph, logits: Value) -> Value:
    largest = logits.max(1, keep=True)
    finite = graph.where(largest.abs() < np.inf, largest, 0.0)
    sums = (logits - finite).exp().cast(FLOAT64).sum(1)
    return sums.log() + finite.cast(FLOAT64).reshape(-1)
