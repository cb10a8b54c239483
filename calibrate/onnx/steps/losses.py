"""What a loss did to the logits, undone."""

from __future__ import annotations

import math

import numpy as np

from calibrate.onnx.arithmetic import expm1, finite, keeping_unscored, log1p
from calibrate.onnx.graph import Graph, Value
from calibrate.ops import AsymmetricLoss, Focal, LabelSmoothing
from calibrate.ops.losses import CLIP_FLOOR, NEAR_ZERO, SMOOTHING_FLOOR, logit


def label_smoothing(graph: Graph, op: LabelSmoothing, logits: Value) -> Value:
    """Calibrated logits, float32."""
    z, smoothing = finite(logits), op.label_smoothing
    end = math.log((2 - smoothing) / smoothing) if smoothing else math.inf
    most = math.log1p(-SMOOTHING_FLOOR) - math.log(SMOOTHING_FLOOR)
    size = z.abs()
    inside = size < min(end, most)
    held = graph.where(inside, size, 0.0)
    undone = held
    if smoothing:
        grown = expm1(graph, held)
        sinh = 0.5 * (grown + grown / (grown + 1.0))
        rise = 2 * smoothing / (2 - smoothing) * sinh / -expm1(graph, held - end)
        undone = held + log1p(graph, rise)
    undone = graph.where(inside, undone.at_most(most), most)
    return keeping_unscored(graph, logits, _with_sign(graph, undone, z))


def focal(graph: Graph, op: Focal, logits: Value) -> Value:
    """Calibrated logits, float32."""
    z, gamma = finite(logits), op.gamma
    size = z.abs()
    small = (-size).exp()
    near = _log1p_ratio(graph, small)
    apart = size * small + near * expm1(graph, -2.0 * size)
    undone = (1 + gamma) * size + log1p(graph, gamma * apart / (1.0 + gamma * near))
    undone = _with_sign(graph, undone, z) - logit(op.alpha)
    return keeping_unscored(graph, logits, undone)


def asymmetric_loss(graph: Graph, op: AsymmetricLoss, logits: Value) -> Value:
    """Calibrated logits, float32."""
    z = finite(logits)
    undone = _log_odds(graph, op, z)
    low, high = op.log_odds(np.array([-NEAR_ZERO, NEAR_ZERO])).tolist()
    line = low + (z + NEAR_ZERO) * ((high - low) / (2 * NEAR_ZERO))
    undone = graph.where(z.abs() < NEAR_ZERO, line.at_most(high), undone)
    if op.clip:
        floor = logit(CLIP_FLOOR)
        undone = graph.where(z > logit(op.clip), undone.at_least(floor), floor)
    return keeping_unscored(graph, logits, undone)


def _log_odds(graph: Graph, op: AsymmetricLoss, z: Value) -> Value:
    """The map without its straight piece around 0; any number for ``q <= clip``."""
    if op.clip:
        edge = logit(op.clip)
        z = graph.where(z > edge, z, edge + 1.0)
    small = (-z.abs()).exp()
    log_near = log1p(graph, small)
    positive, negative = z.at_least(0.0) + log_near, (-z).at_least(0.0) + log_near
    if op.clip:
        odds = _clipped_odds(graph, op, z, small, negative)
    else:
        odds = positive - (1 + op.gamma_neg) * negative
        if not op.detached:
            odds = odds + log1p(graph, op.gamma_neg * _weight(graph, -z, small, positive))
    odds = odds + op.gamma_pos * positive
    if not op.detached:
        odds = odds - log1p(graph, op.gamma_pos * _weight(graph, z, small, negative))
    return odds


def _clipped_odds(
    graph: Graph, op: AsymmetricLoss, z: Value, small: Value, negative: Value
) -> Value:
    gamma, clip = op.gamma_neg, op.clip
    beyond = z - logit(clip)
    rest = graph.where(z > 0.0, small, 1.0) / (1.0 + small)
    log_rest = log1p(graph, rest / clip)
    top = gamma * math.log1p(-clip) - math.log(clip)
    lacking = (1 + gamma) * negative - gamma * _log_1m_exp(graph, beyond) + log_rest
    if not op.detached:
        above = (1.0 - rest) * (1 - clip) * -expm1(graph, -beyond)
        at_top = -clip * math.log(clip) / (1 - clip)
        more = -rest * math.log(clip) - (1 - clip) * (clip + rest) * log_rest
        more = more / (above * (1 - clip))
        lower = -(clip + rest) * log1p(graph, -above) / above - at_top
        more = graph.where(2.0 * above < 1 - clip, lower, more)
        top += math.log1p(gamma * at_top)
        lacking = lacking - log1p(graph, gamma * more / (1 + gamma * at_top))
    return top - lacking


def _with_sign(graph: Graph, size: Value, z: Value) -> Value:
    """`size` with the sign of `z`; of 0 the sign does not matter."""
    return graph.where(z < 0.0, -size, size)


def _log1p_ratio(graph: Graph, small: Value) -> Value:
    return graph.where(small > 0.0, log1p(graph, small) / small, 1.0)


def _weight(graph: Graph, z: Value, small: Value, softplus: Value) -> Value:
    return graph.where(z > 0.0, _log1p_ratio(graph, small), small * softplus)


def _log_1m_exp(graph: Graph, x: Value) -> Value:
    far = x > math.log(2)
    for_far = log1p(graph, -(-graph.where(far, x, 1.0)).exp())
    for_near = (-expm1(graph, -graph.where(far, 1.0, x))).log()
    return graph.where(far, for_far, for_near)
