"""Arithmetic that several steps share: what ONNX has no operator for, and the top of a row.

Everything follows numpy operation by operation in the same precision, so that what the processor
rounds as IEEE 754 says comes out bit for bit; exponentials and logarithms, which it does not, are
taken in float64 where numpy takes them there.
"""

from __future__ import annotations

import math

import numpy as np

from calibrate.onnx.graph import BOOL, FLOAT32, FLOAT64, INT64, Graph, Value


def log1p(graph: Graph, x: Value) -> Value:
    """``log(1 + x)``, float64, with all its digits near 0 (Kahan's way)."""
    above = x + 1.0
    return graph.where(above.equals(1.0), x, above.log() * x / (above - 1.0))


def expm1(graph: Graph, x: Value) -> Value:
    """``exp(x) - 1``, float64, with all its digits near 0 (Kahan's way); for x up to 700."""
    power = x.exp()
    less = power - 1.0
    near = graph.where(power.equals(1.0), x, less * x / power.log())
    return graph.where(less.equals(-1.0), less, near)


def softplus(graph: Graph, x: Value) -> Value:
    """``log(1 + exp(x))``, float64."""
    return x.at_least(0.0) + log1p(graph, (-x.abs()).exp())


def cosine(x: Value) -> Value:
    """Cosine of angles of a few turns at most, float64; runtimes have the sine alone."""
    return (x + math.pi / 2).sin()


def sigmoid(logits: Value) -> Value:
    """Probabilities of logits, float32: the operator `Sigmoid` would stop falling below -18."""
    return 1.0 / (1.0 + (-logits).exp())


def finite(logits: Value) -> Value:
    """Float32 logits as float64, infinite ones as the farthest float32."""
    farthest = float(np.finfo(np.float32).max)
    return logits.cast(FLOAT64).at_least(-farthest).at_most(farthest)


def keeping_unscored(graph: Graph, logits: Value, calibrated: Value) -> Value:
    """The calibrated logits, float32, but ``-inf`` where the logits are."""
    rounded = calibrated.cast(FLOAT32)
    return graph.where(graph.is_minus_infinity(logits), -np.inf, rounded)


def expected_counts(logits: Value) -> Value:
    """Sum of the sigmoids of each row, float64, (n_rows,)."""
    return sigmoid(logits).cast(FLOAT64).sum(1)


def bounded(counts: Value, min_k: int, max_k: int | None, n_classes: int) -> Value:
    """Counts within the bounds, int64, and never more than there are classes."""
    most = n_classes if max_k is None else min(max_k, n_classes)
    return counts.at_least(min(min_k, most)).at_most(most).cast(INT64)


def largest_of(graph: Graph, counts: Value) -> Value:
    """The largest of counts, but at least 1, int64, (): also where there are none."""
    one = graph.constant([1], INT64)
    return graph.joined([one, counts], 0).max(0)


def top_mask(graph: Graph, scores: Value, counts: Value) -> Value:
    """The ``counts[i]`` highest scores of each row, bool; among equals the lower class wins.

    No more is sorted than the row with the most labels needs.
    """
    values, places = scores.highest(largest_of(graph, counts), 1)
    ranks = graph.count_up(0, values.shape().at(graph.constant(1, INT64)))
    chosen = (ranks < counts.reshape(-1, 1)) & (values > -np.inf)
    nothing = graph.zeros(scores.shape(), BOOL)
    return graph.scattered(nothing, places, chosen, 1)
