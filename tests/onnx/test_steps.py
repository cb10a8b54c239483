"""Every step decides in onnxruntime and in the reference evaluator as it does in numpy."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from every_op import ugly_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_cases import (
    N_CLASSES,
    RULES,
    RUNTIMES,
    STEPS,
    by_onnxruntime,
    by_reference,
    dense,
    outputs_of,
)

from calibrate import ops
from calibrate.decision import Decision
from calibrate.onnx import to_model
from calibrate.onnx.check import compared
from calibrate.onnx.steps import CALIBRATIONS, DECISIONS, EXACT
from calibrate.onnx.steps.mode_top_k import _n_points
from calibrate.ops import best_sets

LAW = settings(derandomize=True, deadline=None, max_examples=60)

RULE_AFTER = [ops.Threshold(np.float32(0.25)), ops.TopK(2), ops.ExpectedCountTopK(0.5, 0, None)]


def name_of(op) -> str:
    return f"{op.wire_name} {[*op.numbers().values()]}"


model_of = cache(to_model)
rule_alone = cache(lambda op: Decision((), op, N_CLASSES))

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
every_step = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
every_runtime = pytest.mark.parametrize("run", RUNTIMES.values(), ids=RUNTIMES)


def assert_same(decision: Decision, rows: np.ndarray, labels: np.ndarray) -> None:
    """The same labels, bit for bit, unless a score lies at the cut and exponentials are taken."""
    assert labels.dtype == np.bool_
    assert labels.shape == rows.shape
    kinds = {op.wire_name for op in (*decision.steps, decision.rule)}
    if kinds <= EXACT:
        np.testing.assert_array_equal(labels, dense(decision, rows))
    else:
        assert compared(decision, rows, decision.decide(rows), labels, "onnx") <= 8


def test_there_is_a_graph_of_every_kind_of_step_but_that_of_a_batch():
    said = {*CALIBRATIONS, *DECISIONS}

    assert said == {*ops.OPS, "from_probabilities"} - {"batch_plug_in"}


@every_rule
@every_runtime
def test_a_rule_decides_ugly_rows_as_in_numpy(run, rule):
    decision, rows = rule_alone(rule), ugly_rows(N_CLASSES)

    labels = run(model_of(decision), {"logits": rows})[0]

    assert_same(decision, rows, labels)


@every_rule
@LAW
@given(st.data())
def test_a_rule_decides_any_rows_as_in_numpy(rule, data):
    cells = st.one_of(
        st.sampled_from([0.0, -0.0, 0.25, 0.5, -1.0, -0.25, -np.inf, 3e38, -3e38]),
        st.integers(-20, 12).map(lambda i: i / 4),
        st.floats(-30, 30, width=32),
    )
    n_rows = data.draw(st.integers(0, 4))
    flat = data.draw(st.lists(cells, min_size=n_rows * N_CLASSES, max_size=n_rows * N_CLASSES))
    rows = np.array(flat, dtype=np.float32).reshape(n_rows, N_CLASSES)
    decision = rule_alone(rule)

    labels = by_onnxruntime(model_of(decision), {"logits": rows})[0]

    assert_same(decision, rows, labels)


@every_step
@pytest.mark.parametrize("rule", RULE_AFTER, ids=name_of)
@every_runtime
def test_a_step_before_a_rule_leads_to_the_labels_of_numpy(run, rule, step):
    decision, rows = Decision((step,), rule, N_CLASSES), ugly_rows(N_CLASSES, seed=1)

    labels = run(to_model(decision), {"logits": rows})[0]

    assert_same(decision, rows, labels)


@every_step
@every_runtime
def test_probabilities_are_those_of_numpy(run, step):
    decision = Decision((step,), ops.TopK(1), N_CLASSES)
    rows = ugly_rows(N_CLASSES, seed=2)
    expected = decision.predict_proba(rows, nan="negative")

    labels, p = run(to_model(decision, probabilities=True), {"logits": rows})

    assert p.dtype == np.float32
    np.testing.assert_allclose(p, expected, rtol=2e-6, atol=1e-37)
    assert (p[rows == -np.inf] == 0).all()
    assert_same(decision, rows, labels)


@every_step
def test_calibrated_logits_are_those_of_numpy_or_next_to_them(step):
    tiny = [0.0, 2.0**-23, -(2.0**-23), 2.0**-22, -(2.0**-22), 1e-7, -2e-7, 1e-5, -1e-4, 1e-3]
    edges = [-2.9444, -2.94439, -2.94437, 2.94437, 2.94439, 2.9444, 9.5, -9.5, 17, -17, 60, -60]
    # where the margin of the asymmetric loss ends, and the smallest steps beyond it
    margin = np.float32(np.log(0.05 / 0.95))
    edges += [float(margin) + steps * float(np.spacing(np.abs(margin))) for steps in range(-2, 6)]
    spread = np.random.default_rng(4).normal(0, 3, 10 * N_CLASSES)
    cells = np.concatenate([np.repeat([*tiny, *edges, -np.inf], N_CLASSES), spread])
    rows = cells.reshape(-1, N_CLASSES).astype(np.float32)

    found = outputs_of(lambda graph, z: [CALIBRATIONS[step.wire_name](graph, step, z)], rows)[0]

    expected = step.apply(rows)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    # the last bit of the term of a row may be more than that of the sum
    least = np.float32(8 if isinstance(step, ops.RowAffine) else 0)
    room = np.spacing(np.maximum(np.abs(expected[finite]), least))
    assert (np.abs(found[finite].astype(np.float64) - expected[finite]) <= room).all()
    if step.wire_name in EXACT:
        np.testing.assert_array_equal(found, expected)


def on_both_sides_of_a_jump(rows: np.ndarray, counts) -> np.ndarray:
    """Each row moved to just below and just above a place where its count grows."""
    low, high = np.full((len(rows), 1), -2.0), np.full((len(rows), 1), 2.0)
    before = counts((rows + low).astype(np.float32))
    for _ in range(24):
        middle = (low + high) / 2
        grown = (counts((rows + middle).astype(np.float32)) > before)[:, None]
        low, high = np.where(grown, low, middle), np.where(grown, middle, high)
    return np.concatenate([rows + low - 3e-6, rows + high + 3e-6]).astype(np.float32)


@pytest.mark.parametrize("n_classes", [12, 150, 900])
def test_the_likeliest_count_changes_where_it_does_in_numpy(n_classes):
    rule, random = ops.ModeTopK(0, None), np.random.default_rng(n_classes)
    spread = random.uniform(0.3, 3, (40, 1))
    level = random.uniform(0.3, 2.5, (40, 1)) - np.log(n_classes)
    rows = on_both_sides_of_a_jump(random.normal(level, spread, (40, n_classes)), rule.counts)

    labels = by_onnxruntime(to_model(Decision((), rule, n_classes)), {"logits": rows})[0]

    counts = rule.counts(rows)
    assert (counts[:40] < counts[40:]).all()
    np.testing.assert_array_equal(labels.sum(axis=1), counts)


def test_the_transform_has_points_for_the_widest_law_of_all_rows():
    variance = np.array([0.1, 7.0, 2.5], dtype=np.float32)
    reach = [32 / 3 + np.sqrt((32 / 3) ** 2 + 64 * float(v)) for v in variance]

    for n_classes, expected in ((900, int(np.ceil(max(reach))) + 3), (20, 21)):

        def points(graph, value, n_classes=n_classes):
            graph.n_classes = n_classes
            return [_n_points(graph, value.cast(np.float64))]

        assert outputs_of(points, variance)[0] == expected


@pytest.mark.parametrize("by", [{"by_log_sum": 0.5}, {"by_largest": 0.5}, {"by_count": 0.5}])
def test_scores_that_overflow_before_a_step_along_the_row_are_taken_as_in_numpy(by):
    steps = (
        ops.Affine(np.float32(3e38), np.float32(0)),
        ops.RowAffine(np.float32(1), np.float32(0), **by),
    )
    rows = np.array([[4.0, 5.0, -1.0], [0.0, 1e-38, -np.inf], [-9, -9, -9]], dtype=np.float32)
    decision = Decision(steps, ops.TopK(2), 3)

    labels = by_onnxruntime(to_model(decision), {"logits": rows})[0]

    np.testing.assert_array_equal(labels, dense(decision, rows))


@pytest.mark.parametrize("rule", [ops.Threshold, lambda t: ops.BoundedThreshold(t, 1, None)])
@every_runtime
def test_what_is_never_predicted_is_not_even_at_infinity(run, rule):
    steps = (ops.RowAffine(np.float32(3e38), np.float32(0), 0.0, 1.0),)
    rows = np.array([[4.0, 5.0, -1.0], [0.0, 2.0, 3.0]], dtype=np.float32)
    decision = Decision(steps, rule(np.array([np.inf, 0.0, np.inf])), 3)

    labels = run(to_model(decision), {"logits": rows})[0]

    assert np.isposinf(decision.calibrate(rows)[:, 0]).any()
    np.testing.assert_array_equal(labels, dense(decision, rows))
    assert not labels[:, [0, 2]].any()


@pytest.mark.parametrize("step", [s for s in STEPS.values() if s.wire_name in EXACT], ids=name_of)
def test_a_step_that_needs_no_exponentials_gives_the_bits_of_numpy(step):
    rows = ugly_rows(N_CLASSES, seed=3)
    decision = Decision((step,), ops.TopK(1), N_CLASSES)
    for cut in decision.calibrate(rows)[::11, 0]:
        if cut == -np.inf:
            continue
        # one step that is not folded, so that its results themselves are compared with the cut
        bits = ops.BoundedThreshold(np.float32(cut), 0, None)
        behind = Decision((step,), bits, N_CLASSES)

        labels = by_onnxruntime(to_model(behind), {"logits": rows})[0]

        np.testing.assert_array_equal(labels, dense(behind, rows))


@every_rule
@every_runtime
def test_no_row_and_one_row_are_decided(run, rule):
    decision, rows = rule_alone(rule), ugly_rows(N_CLASSES)

    nothing = run(model_of(decision), {"logits": rows[:0]})[0]
    one = run(model_of(decision), {"logits": rows[:1]})[0]

    assert nothing.shape == (0, N_CLASSES)
    assert_same(decision, rows[:1], one)


@every_rule
def test_a_row_is_decided_alone_as_among_others(rule):
    decision, rows = rule_alone(rule), ugly_rows(N_CLASSES)[::5]

    together = by_onnxruntime(model_of(decision), {"logits": rows})[0]
    alone = [by_onnxruntime(model_of(decision), {"logits": row[None]})[0] for row in rows]

    np.testing.assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize(
    "rule",
    [
        ops.Threshold(np.zeros(1)),
        ops.TopK(1),
        ops.ExpectedCountTopK(0.5, 0, None),
        ops.ModeTopK(0, None),
        ops.LargestGap(),
        ops.ExpectedFBeta(False, None, 0.0, 1.0),
        ops.ExpectedJaccard(True, 0.0, 1.0),
        ops.BoundedThreshold(np.zeros(1), 1, 1),
    ],
    ids=name_of,
)
def test_a_single_class_is_decided(rule):
    decision, rows = Decision((), rule, 1), ugly_rows(1)

    for run in (by_onnxruntime, by_reference):
        assert_same(decision, rows, run(to_model(decision), {"logits": rows})[0])


@pytest.mark.parametrize(
    "rule",
    [
        ops.Threshold(np.linspace(-6, 2, 7900)),
        ops.BoundedThreshold(np.linspace(-6, 2, 7900), 1, 60),
        ops.TopK(10),
        ops.ExpectedCountTopK(0.5, 0, None),
        ops.ModeTopK(0, None),
        ops.LargestGap(),
        ops.WeightedTopK(5, np.linspace(0, 2, 7900), np.zeros(7900)),
        ops.ExpectedFBeta(False, None, 0.0, 1.0),
        ops.ExpectedFBeta(True, -1.0, 0.8, 1.0),
        ops.ExpectedJaccard(False, 0.2, 1.0),
    ],
    ids=name_of,
)
def test_thousands_of_classes_are_decided_as_in_numpy(rule):
    random = np.random.default_rng(2)
    level = np.array([-11, -9.5, -8, -7, -6, -5])[:, None]
    rows = random.normal(level, 1.7, (6, 7900)).astype(np.float32)
    rows[3] = np.round(rows[3] * 4) / 4
    decision = Decision((), rule, 7900)

    labels = by_onnxruntime(to_model(decision), {"logits": rows})[0]

    assert_same(decision, rows, labels)


@pytest.mark.parametrize("exact", [False, True])
def test_more_classes_are_looked_at_until_the_best_number_is_proven(exact, monkeypatch):
    rule = ops.ExpectedFBeta(exact, None, 0.0, 3.0)
    rows = np.random.default_rng(0).normal(-5, 1.5, (300, 5)).astype(np.float32)
    counts = rule.counts(rows)
    with monkeypatch.context() as patch:
        patch.setattr(best_sets, "BELOW", (0.5,))
        too_early = rule.counts(rows)

    labels = by_onnxruntime(to_model(Decision((), rule, 5)), {"logits": rows})[0]

    assert (too_early != counts).any()
    np.testing.assert_array_equal(labels.sum(axis=1), counts)


@pytest.mark.parametrize("steps", [(), (ops.Affine(np.float32(1.5), np.float32(-0.25)),)])
@every_rule
def test_a_nan_is_decided_as_negative(rule, steps):
    decision, rows = Decision(steps, rule, N_CLASSES), ugly_rows(N_CLASSES)[80:120]
    rows[::2, ::3] = np.nan
    missing = np.where(np.isnan(rows), np.float32(-np.inf), rows)

    labels = by_onnxruntime(to_model(decision), {"logits": rows})[0]

    assert not labels[np.isnan(rows)].any()
    assert_same(decision, missing, labels)
