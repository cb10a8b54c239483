"""What sets are worth in a graph is what they are worth in numpy, number for number."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_cases import by_onnxruntime, dense, outputs_of

from calibrate import ops
from calibrate.decision import Decision
from calibrate.onnx import to_model
from calibrate.onnx.graph import FLOAT64
from calibrate.onnx.steps import best_sets
from calibrate.ops import expected_sets

SIZES = np.arange(1, 6)
F_BETA = ops.ExpectedFBeta(True, None, 0.0, 1.7)
JACCARD = ops.ExpectedJaccard(True, None, 0.0)

both = pytest.mark.parametrize(
    ("op", "of"),
    [
        (F_BETA, lambda graph: best_sets.OfFBeta(graph, F_BETA.beta**2)),
        (JACCARD, best_sets.OfJaccard),
    ],
    ids=["f_beta", "jaccard"],
)


def a_row(n_small: int = 400) -> np.ndarray:
    """Probabilities of a few likely classes and of many others."""
    random = np.random.default_rng(3)
    likely = np.array([0.9, 0.55, 0.3, 0.2, 0.07], dtype=np.float32)
    p = np.concatenate([random.uniform(0.001, 0.02, n_small).astype(np.float32), likely])
    return random.permutation(p)


@both
def test_values_of_sets_are_those_of_numpy(op, of):
    row = a_row()
    floor = np.array([float(np.float32(expected_sets.SMALL))])
    total = ops.row_sums(row[None])
    likely = expected_sets.Likely.above(floor, row[None], total)

    def write(graph, p):
        at, sum_ = graph.constant(floor[0], FLOAT64), graph.constant(total[0], FLOAT64)
        ours, sizes = best_sets._likely(graph, p, at, sum_), graph.constant(SIZES, np.int64)
        worth = of(graph)
        values = [worth.exactly(ours, sizes, p, at), worth.second_order(ours, sizes, p, at)]
        size = sizes.cast(FLOAT64)
        bounds = (worth.ratio, worth.surely, worth.excess)
        return [*values, *(bound(*order(bound, ours.hits, size, sum_)) for bound in bounds)]

    def order(bound, hits, size, total):
        return (size, hits, total) if bound.__name__ == "excess" else (hits, size, total)

    exactly, second_order, ratio, surely, excess = outputs_of(write, row)

    hits, tried = np.cumsum(likely.p, axis=1)[0], SIZES[None]
    for found, expected in (
        (exactly, op._exactly(likely, tried, row[None], floor)[0]),
        (second_order, op._second_order(likely, tried, row[None], floor)[0]),
        (ratio, op._ratio(hits, SIZES, total)),
        (surely, op._surely(hits, SIZES, total)),
        (excess, op._excess(SIZES, hits, total)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@both
def test_what_is_worth_judging_and_proven_is_that_of_numpy(op, of):
    row = a_row(60)
    total = ops.row_sums(row[None])
    start = op._floor(row[None], total)
    for below in (0.5, 0.06, 0.0):
        floor = (below * start).astype(np.float32).astype(np.float64)
        likely = expected_sets.Likely.above(floor, row[None], total)
        first, width = op._worth_judging(likely)
        value = 0.6 * np.ones(1)

        def write(graph, p, floor=floor, value=value):
            at, sum_ = graph.constant(floor[0], FLOAT64), graph.constant(total[0], FLOAT64)
            ours, worth = best_sets._likely(graph, p, at, sum_), of(graph)
            tried = best_sets._worth_judging(graph, worth, ours)
            proven = best_sets._proven(worth, ours, at, graph.constant(value[0], FLOAT64))
            begin = best_sets._floor(graph, worth, p, sum_)
            return [tried, proven.cast(np.int64).reshape(1), begin.reshape(1)]

        tried, proven, begin = outputs_of(write, row)

        np.testing.assert_array_equal(tried, first[0] + np.arange(width[0]))
        np.testing.assert_allclose(begin, start, rtol=1e-12)
        assert bool(proven[0]) == bool(op._proven(likely, floor, value)[0])


@pytest.mark.parametrize("op", [ops.ExpectedJaccard, ops.ExpectedFBeta])
def test_a_row_of_many_labels_may_be_empty_all_the_same(op):
    rows = np.linspace(-3, 3, 60, dtype=np.float32)[None]
    more = () if op is ops.ExpectedJaccard else (1.0,)
    # odds of the empty set from a third to three times those of others
    for intercept in np.linspace(-1.2, 1.2, 25):
        decision = Decision((), op(False, float(intercept), 0.0, *more), 60)

        labels = by_onnxruntime(to_model(decision), {"logits": rows})[0]

        np.testing.assert_array_equal(labels, dense(decision, rows))
