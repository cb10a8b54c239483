"""Straight lines."""

from __future__ import annotations

from calibrate.onnx.graph import Graph, Value
from calibrate.ops import Affine


def affine(_graph: Graph, op: Affine, logits: Value) -> Value:
    """Calibrated logits, float32."""
    return logits * op.scale + op.shift
