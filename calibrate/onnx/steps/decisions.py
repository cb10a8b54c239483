"""The steps that decide: a threshold for each class, or the highest scores of each row."""

from __future__ import annotations

import numpy as np

from calibrate.onnx.arithmetic import bounded, expected_counts, top_mask
from calibrate.onnx.graph import FLOAT32, INT64, Graph, Value
from calibrate.ops import LOWEST, BoundedThreshold, ExpectedCountTopK, Threshold, TopK


def threshold(graph: Graph, op: Threshold, logits: Value) -> Value:
    """Labels, bool."""
    given = graph.overridable(graph.thresholds, np.broadcast_to(op.threshold, graph.n_classes))
    # a cell without a score never passes, nor any cell a threshold of inf
    return (logits >= given.at_least(LOWEST)) & (given < np.inf)


def bounded_threshold(graph: Graph, op: BoundedThreshold, logits: Value) -> Value:
    """Labels, bool."""
    shared = op.threshold.ndim == 0
    given = graph.overridable(graph.thresholds, np.atleast_1d(op.threshold)).at_least(LOWEST)
    scores = graph.where(given < np.inf, logits if shared else logits - given, -np.inf)
    least = given if shared else graph.constant(0.0, FLOAT32)
    passing = (scores >= least).count(1)
    return top_mask(graph, scores, bounded(passing, op.min_k, op.max_k, graph.n_classes))


def top_k(graph: Graph, op: TopK, logits: Value) -> Value:
    """Labels, bool."""
    return top_mask(graph, logits, the_same(graph, op.k, logits))


def expected_count_top_k(graph: Graph, op: ExpectedCountTopK, logits: Value) -> Value:
    """Labels, bool."""
    k = (expected_counts(logits) + op.offset).floor()
    return top_mask(graph, logits, bounded(k, op.min_k, op.max_k, graph.n_classes))


def the_same(graph: Graph, k: int, logits: Value) -> Value:
    """``k`` labels for each row, or all where there are fewer classes, int64, (n_rows,)."""
    n_rows = logits.shape().at(graph.constant([0], INT64))
    return graph.zeros(n_rows, INT64) + min(k, graph.n_classes)
