"""Lines broken at knots."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.onnx.graph import INT32, Graph, Value
from calibrate.ops import PiecewiseLinear
from calibrate.ops.piecewise_linear import FARTHEST


def piecewise_linear(graph: Graph, op: PiecewiseLinear, logits: Value) -> Value:
    """Calibrated logits, float32."""
    n_maps = len(op.below)
    first, size = op.indptr[:-1].astype(np.int32), np.diff(op.indptr).astype(np.int32)
    place = _places(graph, op, logits, first, size)
    segment = place + (first + np.arange(n_maps, dtype=np.int32))
    parts = op.segments

    def here(table: NDArray[Any]) -> Value:
        return _of_table(graph, table, segment)

    held = logits.at_least(-FARTHEST).at_most(FARTHEST) - here(parts.start)
    held = held * here(parts.slope) + here(parts.at)
    held = held.at_least(here(parts.lowest)).at_most(here(parts.highest))
    return graph.where(graph.is_minus_infinity(logits), -np.inf, held)


def _places(
    graph: Graph, op: PiecewiseLinear, logits: Value, first: NDArray[Any], size: NDArray[Any]
) -> Value:
    """How many knots of its map lie at or below each logit, int32: by halving the map."""
    place = graph.zeros(logits.shape(), INT32)
    step = 1 << int(size.max()).bit_length() - 1
    while step:
        further = place + step
        # beyond the last knot of the map lies that of another
        looked_at = further.at_most(size) + (first - 1)
        passes = (_of_table(graph, op.knots, looked_at) <= logits) & (further <= size)
        # much faster than a choice between two values
        place = place + step * passes.cast(INT32)
        step //= 2
    return place


def _of_table(graph: Graph, table: NDArray[Any], places: Value) -> Value:
    """Numbers of a table, shape of `places`: much faster one after the other than row by row."""
    numbers = graph.constant(table, np.float32)
    flat = graph.node("GatherElements", numbers, places.reshape(-1), axis=0)
    return flat.reshape(-1, graph.n_classes)
