"""The map of beta calibration."""

from __future__ import annotations

import math

from calibrate.onnx.arithmetic import finite, keeping_unscored, softplus
from calibrate.onnx.graph import Graph, Value
from calibrate.ops import Beta
from calibrate.ops.base import LOWEST
from calibrate.ops.beta import NEAR_ZERO


def beta(graph: Graph, op: Beta, logits: Value) -> Value:
    """Calibrated logits, float32."""
    z = finite(logits)
    mapped = _softplus(graph, z) * op.b - _softplus(graph, -z) * op.a + op.c
    mapped = mapped.at_least(float(LOWEST)).at_most(-float(LOWEST))
    return keeping_unscored(graph, logits, mapped)


def _softplus(graph: Graph, z: Value) -> Value:
    near = math.log(2.0) + z * (0.5 + 0.125 * z)
    return graph.where(z.abs() < NEAR_ZERO, near, softplus(graph, z))
