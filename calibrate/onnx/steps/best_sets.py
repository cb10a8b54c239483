"""The steps that choose for each row the set of labels that is worth most on average.

Row by row, since each asks for another number of classes to be looked at; the arithmetic is that
of `calibrate.ops.best_sets`.
"""

from __future__ import annotations

from dataclasses import dataclass

from calibrate.onnx.arithmetic import expm1, log1p, sigmoid, top_mask
from calibrate.onnx.graph import FLOAT32, FLOAT64, INT64, Graph, Value
from calibrate.ops import BestSetOp, ExpectedFBeta, ExpectedJaccard
from calibrate.ops.best_sets import BELOW, FIRST_CUT, HIGHEST_ODDS, MANY, ROUNDING
from calibrate.ops.expected_sets import (
    ALMOST_ONE,
    HIGHEST_ODDS_OF_NONE,
    LOWEST_ODDS_OF_NONE,
    N_POWERS,
    SMALL,
    nodes_at_rate_one,
)

Found = tuple[Value, Value]
"""Number of labels, int64, (), and what they are worth, float64, ()."""


@dataclass(frozen=True)
class Likely:
    """The likely classes of one row.

    Attributes
    ----------
    p : float64, (n_likely,)
        Their probabilities, falling; one zero where there are none.
    size : float64, (n_likely,)
        1, 2, ...
    hits : float64, (n_likely,)
        Sums of the probabilities so far.
    n : float64, ()
    total : float64, ()
        Sum over all classes.
    """

    p: Value
    size: Value
    hits: Value
    n: Value
    total: Value


def expected_f_beta(graph: Graph, op: ExpectedFBeta, logits: Value) -> Value:
    """Labels, bool."""
    return _best_sets(graph, op, OfFBeta(graph, op.beta * op.beta), logits)


def expected_jaccard(graph: Graph, op: ExpectedJaccard, logits: Value) -> Value:
    """Labels, bool."""
    return _best_sets(graph, op, OfJaccard(graph), logits)


def _best_sets(graph: Graph, op: BestSetOp, worth: OfFBeta | OfJaccard, logits: Value) -> Value:
    p = sigmoid(logits)
    zeros = graph.zeros(logits.shape().at(graph.constant([0], INT64)), FLOAT64)

    def of_row(row: Value, state: tuple[Value, ...]) -> tuple[None, Found]:
        k, value = _of_row(graph, op.exact, worth, p.at(row))
        place = row.reshape(1)
        return None, (
            graph.scattered(state[0], place, k.reshape(1), 0),
            graph.scattered(state[1], place, value.reshape(1), 0),
        )

    n_rows = logits.shape().at(graph.constant(0, INT64))
    k, value = graph.loop(n_rows, (zeros.cast(INT64), zeros), of_row)
    return top_mask(graph, logits, _or_none(graph, op, p, k, value))


def _or_none(graph: Graph, op: BestSetOp, p: Value, k: Value, value: Value) -> Value:
    """No labels where the empty set is worth as much; at least one where no row is empty."""
    if op.empty_intercept is None:
        return k.at_least(1)
    log_none = log1p(graph, -p.cast(FLOAT64).at_most(ALMOST_ONE)).sum(1)
    odds = log_none - (-expm1(graph, log_none)).log()
    odds = odds.at_least(LOWEST_ODDS_OF_NONE).at_most(HIGHEST_ODDS_OF_NONE)
    own = (op.empty_intercept + op.empty_slope * odds).at_most(HIGHEST_ODDS)
    return graph.where(own.exp() >= value * (1.0 + odds.exp()), 0, k)


def _of_row(graph: Graph, exact: bool, worth: OfFBeta | OfJaccard, p: Value) -> Found:
    """Best number of labels of one row of probabilities, float32, and what it is worth."""
    total = p.cast(FLOAT64).sum(0)

    def by_law() -> Found:
        return _by_law(graph, exact, worth, p, total)

    def by_means() -> Found:
        return _by_means(graph, worth, p, total)

    if exact:
        return by_law()
    k, value = graph.either(total >= MANY, by_means, by_law)
    return k, value


def _by_means(graph: Graph, worth: OfFBeta | OfJaccard, p: Value, total: Value) -> Found:
    likely = _likely(graph, p, 0.99 * _floor(graph, worth, p, total), total)
    values = worth.factor * worth.ratio(likely.hits, likely.size, total)
    return values.argmax(0) + 1, values.max(0)


def _by_law(graph: Graph, exact: bool, worth: OfFBeta | OfJaccard, p: Value, total: Value) -> Found:
    """By the law of the numbers of hits and of labels, of more and more classes until proven."""
    start, below = _floor(graph, worth, p, total), graph.constant(BELOW, FLOAT64)

    def body(turn: Value, _state: tuple[Value, ...]) -> tuple[Value, Found]:
        floor = below.at(turn) * start
        if exact:
            floor = floor.at_most(SMALL)
        floor = floor.cast(FLOAT32).cast(FLOAT64)
        likely = _likely(graph, p, floor, total)
        tried = _worth_judging(graph, worth, likely)
        judge = worth.exactly if exact else worth.second_order
        values = judge(likely, tried, p, floor)
        k, value = tried.at(values.argmax(0)), values.max(0)
        return ~_proven(worth, likely, floor, value), (k, value)

    nothing = graph.constant(0, INT64), graph.constant(0.0, FLOAT64)
    k, value = graph.loop(graph.constant(len(BELOW), INT64), nothing, body)
    return k, value


def _floor(graph: Graph, worth: OfFBeta | OfJaccard, p: Value, total: Value) -> Value:
    """What all classes of the best set by means lie above: two steps of Dinkelbach's."""
    cut = graph.constant(FIRST_CUT, FLOAT64)
    for _ in range(2):
        mask = p > cut.cast(FLOAT32)
        hits = graph.where(mask, p, 0.0).cast(FLOAT64).sum(0)
        cut = worth.cut(worth.ratio(hits, mask.count(0).cast(FLOAT64), total))
    return cut


def _likely(graph: Graph, p: Value, floor: Value, total: Value) -> Likely:
    """The classes of probability above the floor."""
    least = floor.cast(FLOAT32)
    n = (p > least).count(0)
    highest, _ = p.highest(n.at_least(1), 0)
    found = graph.where(highest > least, highest, 0.0).cast(FLOAT64)
    size = graph.count_up(1, n.at_least(1) + 1).cast(FLOAT64)
    return Likely(found, size, found.running_sum(0), n.at_least(1).cast(FLOAT64), total)


def _worth_judging(graph: Graph, worth: OfFBeta | OfJaccard, likely: Likely) -> Value:
    """The numbers of likely classes that can be the best one, int64, (n_tried,)."""
    hits, size, total = likely.hits, likely.size, likely.total
    most = worth.ratio(hits, size, total) * worth.excess(size, hits, total)
    least = worth.surely(hits, size, total).max(0)
    can = (most >= (1 - ROUNDING) * least).cast(FLOAT64)
    first = can.argmax(0) + 1
    last = (can * size).max(0).cast(INT64)
    return graph.count_up(first, last + 1)


def _proven(worth: OfFBeta | OfJaccard, likely: Likely, floor: Value, value: Value) -> Value:
    """Whether no more labels than the likely ones can be worth more, bool, ()."""
    hits, n = likely.hits.max(0), likely.n
    ratio = worth.ratio(hits, n, likely.total)
    bound = worth.factor * ratio * worth.excess(n, hits, likely.total)
    return floor.equals(0.0) | ((floor <= worth.cut(ratio)) & (bound <= value))


@dataclass(frozen=True)
class OfFBeta:
    """What sets are worth by expected F-beta, ``square = beta^2``."""

    graph: Graph
    square: float

    @property
    def factor(self) -> float:
        """What the ratio of means is multiplied by."""
        return 1 + self.square

    def ratio(self, hits: Value, k: Value, total: Value) -> Value:
        """Ratio of the means behind the value."""
        return hits / (k + self.square * total)

    def surely(self, hits: Value, k: Value, total: Value) -> Value:
        """What the value is at least, without its factor."""
        return self.ratio(hits, k, total + 1.0)

    def cut(self, ratio: Value) -> Value:
        """The probability from which on a label raises a ratio."""
        return ratio

    def excess(self, k: Value, hits: Value, total: Value) -> Value:
        """Bound on what the law of the denominator makes of the ratio of means."""
        mean = k + self.square * total
        least = (k + self.square).at_most(mean)
        return 1.0 + self.square**2 * total / (mean * least)

    def second_order(self, likely: Likely, k: Value, p: Value, floor: Value) -> Value:
        """Values of the k likeliest labels to second order, float64, shape of `k`."""
        top = likely.p
        others = (_variance(p, likely.total) - top * (1.0 - top)).at_least(0.0)
        mean = self.square * (1.0 + likely.total - top)
        value = 1.0 / (k.cast(FLOAT64).reshape(-1, 1) + mean)
        value = value * (value * value * (self.square * self.square * others) + 1.0) * top
        here = self.graph.node(
            "GatherElements", value.running_sum(1), (k - 1).reshape(-1, 1), axis=1
        )
        return (1 + self.square) * here.reshape(-1)

    def exactly(self, likely: Likely, k: Value, p: Value, floor: Value) -> Value:
        """Values of the k likeliest labels, float64, shape of `k`."""
        graph, square = self.graph, self.square
        s, weight = _along(graph, 1.0 + square * (1.0 + likely.total))
        x = (-expm1(graph, -square * s)).at_most(ALMOST_ONE)
        left = 1.0 - likely.p.reshape(-1, 1) * x
        none = left.log().sum(0) + _log_of_others(graph, p, floor, x)
        of_top = (likely.p.reshape(-1, 1) / left).running_sum(0)
        power = (none - s * (k.cast(FLOAT64).reshape(-1, 1) + square)).exp()
        return (1 + square) * (power * weight * of_top.at(k - 1)).sum(1)


@dataclass(frozen=True)
class OfJaccard:
    """What sets are worth by the expected Jaccard index."""

    graph: Graph
    factor: float = 1.0

    def ratio(self, hits: Value, k: Value, total: Value) -> Value:
        """Ratio of the means behind the value."""
        return hits / (k + total - hits)

    def surely(self, hits: Value, k: Value, total: Value) -> Value:
        """What the value is at least."""
        return self.ratio(hits, k, total)

    def cut(self, ratio: Value) -> Value:
        """The probability from which on a label raises a ratio."""
        return ratio / (1.0 + ratio)

    def excess(self, k: Value, hits: Value, total: Value) -> Value:
        """Bound on what the law of the denominator makes of the ratio of means."""
        others = (total - hits).at_least(0.0)
        return 1.0 + others / ((k + others) * k)

    def second_order(self, likely: Likely, k: Value, p: Value, floor: Value) -> Value:
        """Values of the k likeliest labels to second order, float64, shape of `k`."""
        hits = likely.hits.at(k - 1)
        doubt = (likely.p * (1.0 - likely.p)).running_sum(0).at(k - 1)
        others = (_variance(p, likely.total) - doubt).at_least(0.0)
        union = k.cast(FLOAT64) + (likely.total - hits).at_least(0.0)
        return hits / union * (1.0 + others / (union * union))

    def exactly(self, likely: Likely, k: Value, p: Value, floor: Value) -> Value:
        """Values of the k likeliest labels, float64, shape of `k`."""
        graph = self.graph
        s, weight = _along(graph, 1.0 + likely.total)
        x = (-expm1(graph, -s)).at_most(ALMOST_ONE)
        logs = (1.0 - likely.p.reshape(-1, 1) * x).log()
        power = logs.running_sum(0, after=True).at(k - 1)
        power = power + _log_of_others(graph, p, floor, x) - s * k.cast(FLOAT64).reshape(-1, 1)
        return likely.hits.at(k - 1) * (power.exp() * weight).sum(1)


def _variance(p: Value, total: Value) -> Value:
    """Variance of the number of labels of a row, the labels being independent."""
    return (total - (p * p).cast(FLOAT64).sum(0)).at_least(0.0)


def _along(graph: Graph, rate: Value) -> tuple[Value, Value]:
    """Nodes and weights for an integral from 0 on of what falls at about this rate."""
    s, weight = nodes_at_rate_one()
    return graph.constant(s, FLOAT64) / rate, graph.constant(weight, FLOAT64) / rate


def _log_of_others(graph: Graph, p: Value, floor: Value, x: Value) -> Value:
    """Sum of ``log(1 - x p)`` over the classes up to the floor, by the sums of their powers."""
    others = graph.where(p > floor.cast(FLOAT32), 0.0, p).cast(FLOAT64)
    power, x_to = others, x
    found = -power.sum(0) * x_to
    for degree in range(2, N_POWERS + 1):
        power, x_to = power * others, x_to * x
        found = found - power.sum(0) / float(degree) * x_to
    return found
