"""The highest of each row, each class weighted."""

from __future__ import annotations

import numpy as np

from calibrate.onnx.arithmetic import sigmoid, top_mask
from calibrate.onnx.graph import Graph, Value
from calibrate.onnx.steps.decisions import the_same
from calibrate.ops import WeightedTopK


def weighted_top_k(graph: Graph, op: WeightedTopK, logits: Value) -> Value:
    """Labels, bool."""
    weighted = sigmoid(logits) * op.gain + op.offset
    scores = graph.where(graph.is_minus_infinity(logits), -np.inf, weighted)
    return top_mask(graph, scores, the_same(graph, op.k, logits))
