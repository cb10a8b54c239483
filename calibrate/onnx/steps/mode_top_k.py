"""As many labels for each row as are most likely to be true."""

from __future__ import annotations

import math

from calibrate.onnx.arithmetic import bounded, cosine, largest_of, sigmoid, top_mask
from calibrate.onnx.graph import FLOAT64, INT64, Graph, Value
from calibrate.ops import ModeTopK
from calibrate.ops.mode_top_k import CLEARLY, LOG_ROUNDING, N_POWERS, SMALL

Complex = tuple[Value, Value]
"""Real and imaginary part."""


def mode_top_k(graph: Graph, op: ModeTopK, logits: Value) -> Value:
    """Labels, bool."""
    counts = _likeliest_counts(graph, sigmoid(logits))
    return top_mask(graph, logits, bounded(counts, op.min_k, op.max_k, graph.n_classes))


def _likeliest_counts(graph: Graph, p: Value) -> Value:
    """The mode of the number of labels of each row, int64, (n_rows,)."""
    mean = p.cast(FLOAT64).sum(1)
    below = mean.floor()
    surely_below = mean < below + 1.0 / (below + 2.0)
    surely_above = mean > below + 1.0 - 1.0 / (graph.n_classes - below + 1.0)
    mode = (below + (surely_above & ~surely_below).cast(FLOAT64)).cast(INT64)
    is_open = ~(surely_below | surely_above)
    rows = graph.node("NonZero", is_open, dtype=INT64).reshape(-1)
    likelier = _next_is_likelier(graph, p.at(rows).cast(FLOAT64), mode.at(rows))
    more = graph.scattered(graph.zeros(mode.shape(), INT64), rows, likelier.cast(INT64), 0)
    return mode + more


def _next_is_likelier(graph: Graph, p: Value, k: Value) -> Value:
    """Whether ``k + 1`` successes are likelier than ``k`` in each row of probabilities, bool.

    All rows at as many points of the transform as the widest law among them needs.
    """
    n_points = _n_points(graph, (p * (1.0 - p)).sum(1))
    half = graph.node("Div", n_points, graph.constant(2, INT64))
    points = graph.count_up(1, half + 1)
    size = 2 * math.pi / n_points.cast(FLOAT64)
    half_sine = (0.5 * size * points.cast(FLOAT64)).sin()
    step = -2.0 * half_sine * half_sine, (size * points.cast(FLOAT64)).sin()
    transform = _product(graph, p, step)
    transform = _times(transform, _of_small(graph, p, step))
    # turned back by k, the angle taken within one turn while it is a whole number
    turned = graph.node("Mod", k.reshape(-1, 1) * points, n_points).cast(FLOAT64) * size
    terms = _times(transform, (cosine(turned), -turned.sin()))
    terms = _times(terms, (step[0], -step[1]))
    last = (points + points).equals(n_points)
    twice = graph.where(last, graph.constant(1.0, FLOAT64), 2.0)
    weight = twice * (terms[0] * terms[0] + terms[1] * terms[1]).sqrt()
    return (twice * terms[0]).sum(1) > CLEARLY * weight.sum(1)


def _n_points(graph: Graph, variance: Value) -> Value:
    """Points that the widest law of all rows needs, int64, ()."""
    third = LOG_ROUNDING / 3
    reach = third + (third**2 + 2 * LOG_ROUNDING * variance).sqrt()
    return largest_of(graph, (reach.ceil() + 3.0).at_most(graph.n_classes + 1).cast(INT64))


def _product(graph: Graph, p: Value, step: Complex) -> Complex:
    """``prod (1 + step p)`` over the large probabilities of each row, one after the other."""
    most = largest_of(graph, (p > SMALL).count(1))
    highest, _ = p.highest(most, 1)
    large = graph.where(highest > SMALL, highest, 0.0)
    nothing = 0.0 * large.at(graph.constant([0], INT64), 1) * step[0]

    def body(turn: Value, state: tuple[Value, ...]) -> tuple[None, Complex]:
        here = large.at(turn.reshape(1), 1)
        return None, _times((state[0], state[1]), (1.0 + step[0] * here, step[1] * here))

    real, imaginary = graph.loop(most, (nothing + 1.0, nothing), body)
    return real, imaginary


def _of_small(graph: Graph, p: Value, step: Complex) -> Complex:
    """The same over the small ones, by the sums of their powers."""
    small = graph.where(p > SMALL, 0.0, p)
    power, sums = small, [small.sum(1, keep=True)]
    back = -step[0], -step[1]
    at, powers = back, [back]
    for degree in range(2, N_POWERS + 1):
        power = power * small
        sums.append(power.sum(1, keep=True) / float(degree))
        at = _times(at, back)
        powers.append(at)
    coefficients = graph.joined(sums, 1)
    real, imaginary = (
        graph.node("MatMul", coefficients, graph.joined([z[i].reshape(1, -1) for z in powers], 0))
        for i in (0, 1)
    )
    size = (-real).exp()
    # Bernstein's bound keeps the angle within a few turns
    return size * cosine(-imaginary), size * (-imaginary).sin()


def _times(one: Complex, other: Complex) -> Complex:
    return one[0] * other[0] - one[1] * other[1], one[0] * other[1] + one[1] * other[0]
