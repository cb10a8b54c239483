"""Cutting each row where its scores leave the largest gap."""

from __future__ import annotations

from calibrate.onnx.arithmetic import top_mask
from calibrate.onnx.graph import FLOAT64, INT64, Graph, Value
from calibrate.onnx.steps.decisions import the_same
from calibrate.ops import LargestGap


def largest_gap(graph: Graph, _op: LargestGap, logits: Value) -> Value:
    """Labels, bool."""
    n_classes = graph.n_classes
    if n_classes == 1:
        return top_mask(graph, logits, the_same(graph, 0, logits))
    falling, _ = logits.highest(graph.constant(n_classes, INT64), 1)
    falling = falling.cast(FLOAT64)
    p = 1.0 / (1.0 + (-falling).exp())
    upper, lower = slice(0, n_classes - 1), slice(1, n_classes)
    gaps = p.columns(upper) - p.columns(lower)
    gaps = graph.where(graph.is_minus_infinity(falling.columns(lower)), 0.0, gaps)
    counts = graph.where(gaps.max(1) > 0.0, gaps.argmax(1) + 1, 0)
    return top_mask(graph, logits, counts)
