"""The decision layer labels as numpy does, whatever surrounds it."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
import torch
from every_op import calibration_steps, decision_steps, hard_logits
from torch import nn

import calibrate as cal
from calibrate import ops
from calibrate.torch import DecisionLayer
from calibrate.torch.layer import TWINS
from calibrate.torch.rows import expected_counts, largest_logits, log_sums_of_exp

N_CLASSES = 11
STEPS = calibration_steps(np.random.default_rng(0), N_CLASSES)
RULES = decision_steps(np.random.default_rng(1), N_CLASSES)
_NUMPY_COUNTS = (ops.ModeTopK, ops.ExpectedFBeta, ops.ExpectedJaccard)
IN_TORCH = [name for name, rule in RULES.items() if not isinstance(rule, _NUMPY_COUNTS)]
"""Rules that torch can decide with operations of its own."""


def mask_of(decision: cal.Decision, logits: np.ndarray) -> np.ndarray:
    labels = decision.decide(logits)
    mask = np.zeros(logits.shape, dtype=bool)
    mask[np.repeat(np.arange(len(logits)), np.diff(labels.indptr)), labels.indices] = True
    return mask


def test_every_step_has_a_torch_form():
    assert set(TWINS) == set(ops.OPS.values())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(200, N_CLASSES), (1, N_CLASSES), (0, N_CLASSES)])
def test_labels_are_those_of_numpy(rule: str, shape: tuple[int, int]):
    decision = cal.Decision((), RULES[rule], N_CLASSES)
    logits = hard_logits(np.random.default_rng(2), *shape)

    mask = DecisionLayer(decision)(torch.from_numpy(logits))

    assert mask.dtype == torch.bool
    assert np.array_equal(mask.numpy(), mask_of(decision, logits))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("rule", ["threshold", "bounded_threshold", "top_k"])
def test_labels_behind_a_calibration_are_those_of_numpy(step: str, rule: str):
    decision = cal.Decision((STEPS[step],), RULES[rule], N_CLASSES)
    logits = hard_logits(np.random.default_rng(3), 300, N_CLASSES)

    mask = DecisionLayer(decision)(torch.from_numpy(logits))

    assert np.array_equal(mask.numpy(), mask_of(decision, logits))


@pytest.mark.parametrize("step", STEPS)
def test_calibrated_logits_are_those_of_numpy(step: str):
    decision = cal.Decision((STEPS[step],), RULES["top_k"], N_CLASSES)
    logits = hard_logits(np.random.default_rng(4), 300, N_CLASSES)

    found = DecisionLayer(decision).calibrated(torch.from_numpy(logits)).numpy()

    expected = decision.calibrate(logits)
    assert np.array_equal(np.isinf(found), np.isinf(expected))
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize("by", ["by_count", "by_largest", "by_log_sum"])
def test_each_term_of_a_row_is_that_of_numpy_by_itself(by: str):
    step = ops.RowAffine(np.ones(N_CLASSES), np.zeros(N_CLASSES), **{by: 0.7})
    decision = cal.Decision((step,), RULES["top_k"], N_CLASSES)
    logits = hard_logits(np.random.default_rng(31), 100, N_CLASSES)

    found = DecisionLayer(decision).calibrated(torch.from_numpy(logits)).numpy()

    np.testing.assert_allclose(found, decision.calibrate(logits), rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize(
    "step",
    [
        STEPS["affine"],
        STEPS["piecewise_linear"],
        STEPS["piecewise_linear, one for all"],
        ops.RowAffine(np.array(1.0), np.array(0.0), by_largest=0.1),
    ],
    ids=lambda step: step.wire_name,
)
def test_where_no_exponential_is_taken_every_bit_is_that_of_numpy(step: ops.CalibrationOp):
    decision = cal.Decision((step,), RULES["top_k"], N_CLASSES)
    logits = hard_logits(np.random.default_rng(32), 400, N_CLASSES)

    found = DecisionLayer(decision).calibrated(torch.from_numpy(logits)).numpy()

    assert np.array_equal(found, decision.calibrate(logits))


@pytest.mark.parametrize("step", ["beta", "label_smoothing", "focal", "asymmetric_loss, attached"])
def test_maps_in_float64_are_rounded_once(step: str):
    decision = cal.Decision((STEPS[step],), RULES["top_k"], N_CLASSES)
    logits = np.random.default_rng(33).normal(-1, 3, (2_000, N_CLASSES)).astype(np.float32)

    found = DecisionLayer(decision).calibrated(torch.from_numpy(logits)).numpy()

    # a sum in float32 gives another last bit in every third cell
    assert (found != decision.calibrate(logits)).mean() < 1e-3


def test_a_row_without_scores_keeps_none_where_its_terms_would_cancel():
    step = ops.RowAffine(np.array(1.0), np.array(0.0), by_largest=0.5, by_log_sum=-0.5)
    layer = DecisionLayer(cal.Decision((step,), ops.TopK(1), 3))

    assert (layer.calibrated(torch.full((1, 3), -torch.inf)) == -torch.inf).all()


@pytest.mark.parametrize(
    "step",
    [
        ops.RowAffine(np.array(1.0), np.array(0.0), by_largest=2.0),
        ops.RowAffine(np.array(1.0), np.array(0.0), by_log_sum=-1.0),
        ops.Beta(1.0, 0.0, 0.5),
        ops.Beta(0.0, 1.0, 0.5),
        ops.Beta(3.0, 2.0, 0.5),
        STEPS["piecewise_linear"],
        STEPS["label_smoothing"],
        ops.LabelSmoothing(0.0),
        STEPS["focal"],
        STEPS["asymmetric_loss"],
        STEPS["asymmetric_loss, attached"],
        STEPS["asymmetric_loss, no clip"],
    ],
    ids=lambda step: step.wire_name,
)
def test_the_far_ends_are_calibrated_as_in_numpy(step: ops.CalibrationOp):
    line = ops.Affine(np.array(2.0), np.array(0.0))
    decision = cal.Decision((line, step), RULES["top_k"], N_CLASSES)
    # beyond half the highest float32 the line overflows
    far = [-np.inf, -3e38, -1e38, -1e30, -800.0, -100.0, 90.0, 100.0, 800.0, 1e30, 3e38]
    logits = np.array([far, far[::-1], [0.0, *far[:10]], [-np.inf] * 11], np.float32)

    found = DecisionLayer(decision).calibrated(torch.from_numpy(logits)).numpy()

    expected = decision.calibrate(logits)
    assert not np.isnan(expected).any()
    assert np.array_equal(np.isinf(found), np.isinf(expected))
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize(
    "step",
    [
        ops.Beta(1.0, 1.0, 0.0),
        ops.Beta(1.0, 2.0, -math.log(2.0)),
        ops.AsymmetricLoss(1.0, 1.0, 0.0, detached=False),
        ops.AsymmetricLoss(0.0, 4.0, 0.5, detached=True),
        ops.LabelSmoothing(0.1),
    ],
    ids=repr,
)
def test_where_a_map_bends_or_breaks_it_keeps_the_digits_of_numpy(step: ops.CalibrationOp):
    decision = cal.Decision((step,), ops.TopK(1), 32)
    tiny = np.concatenate([[0.0, 2.0**-22], 9e-5 * 10.0 ** -np.arange(12.0)]).astype(np.float32)
    end = np.float32(math.log(1.9 / 0.1))
    beside = [end, np.nextafter(end, np.float32(0)), np.nextafter(end, np.float32(9))]
    logits = np.concatenate([tiny, -tiny, beside, [1.0]], dtype=np.float32)[None]

    found = DecisionLayer(decision).calibrated(torch.from_numpy(logits)).numpy()

    np.testing.assert_allclose(found, decision.calibrate(logits), rtol=3e-7, atol=0)


def test_between_any_two_knots_the_bits_are_those_of_numpy():
    rng = np.random.default_rng(34)
    # knots near 0 that follow far ones: a line to them may overshoot its end
    knots = rng.choice([-1, 1], (60, 12)) * 10.0 ** rng.uniform(-6, 1, (60, 12))
    knots = np.sort(knots.astype(np.float32), axis=1)
    values = np.sort(rng.normal(size=(60, 12)).astype(np.float32), axis=1)
    ends = np.full(60, 0.5)
    step = ops.PiecewiseLinear(12 * np.arange(61), knots.ravel(), values.ravel(), ends, ends)
    decision = cal.Decision((step,), ops.TopK(1), 60)
    beside = [np.nextafter(knots, np.float32(end)) for end in (-np.inf, np.inf)]
    logits = np.concatenate([knots, *beside], axis=1).T.copy()

    found = DecisionLayer(decision).calibrated(torch.from_numpy(logits)).numpy()

    assert np.array_equal(found, decision.calibrate(logits))


def test_sums_along_thousands_of_classes_are_taken_in_float64():
    logits = torch.from_numpy(np.random.default_rng(37).normal(-4, 2, (20, 7_900)).astype("f4"))

    counts = expected_counts(logits)
    logs = log_sums_of_exp(logits, largest_logits(logits))

    p = torch.sigmoid(logits).double()
    torch.testing.assert_close(counts, p.sum(dim=1), rtol=1e-14, atol=0)
    torch.testing.assert_close(logs, logits.double().logsumexp(dim=1), rtol=0, atol=1e-8)


def test_a_row_of_no_classes_has_no_largest_logit():
    assert largest_logits(torch.zeros(2, 0)).tolist() == [-math.inf, -math.inf]


def test_thousands_of_classes_are_decided_as_by_numpy():
    rng = np.random.default_rng(5)
    logits = rng.normal(-5, 1.5, (40, 7_900)).astype(np.float32).round(2)
    steps = calibration_steps(rng, 7_900)
    for name, rule in decision_steps(rng, 7_900).items():
        decision = cal.Decision((steps["affine"], steps["piecewise_linear"]), rule, 7_900)

        mask = DecisionLayer(decision)(torch.from_numpy(logits))

        assert np.array_equal(mask.numpy(), mask_of(decision, logits)), name


@pytest.mark.parametrize("rule", RULES)
def test_a_single_class_is_decided_as_by_numpy(rule: str):
    decision = cal.Decision((), decision_steps(np.random.default_rng(6), 1)[rule], 1)
    logits = hard_logits(np.random.default_rng(7), 60, 1)

    mask = DecisionLayer(decision)(torch.from_numpy(logits))

    assert np.array_equal(mask.numpy(), mask_of(decision, logits))


@pytest.mark.parametrize("rule", RULES)
def test_nan_is_decided_like_a_cell_without_a_score(rule: str):
    layer = DecisionLayer(cal.Decision((), RULES[rule], N_CLASSES))
    logits = torch.from_numpy(hard_logits(np.random.default_rng(8), 50, N_CLASSES))
    logits[:, ::4] = -torch.inf
    without = logits.clone()
    without[:, ::4] = torch.nan

    assert torch.equal(layer(without), layer(logits))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("rule", ["threshold", "bounded_threshold", "expected_count_top_k"])
def test_logits_of_any_type_are_compared_in_float32(dtype: torch.dtype, rule: str):
    decision = cal.Decision((STEPS["affine"],), RULES[rule], N_CLASSES)
    logits = torch.randn(100, N_CLASSES, generator=torch.Generator().manual_seed(0)).to(dtype)

    mask = DecisionLayer(decision)(logits)

    assert np.array_equal(mask.numpy(), mask_of(decision, logits.to(torch.float32).numpy()))


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double"])
def test_casting_the_network_moves_no_threshold(cast: str):
    decision = cal.Decision((STEPS["beta"],), RULES["threshold"], N_CLASSES)
    logits = torch.from_numpy(hard_logits(np.random.default_rng(9), 200, N_CLASSES))
    network = nn.Sequential(nn.Linear(3, N_CLASSES), DecisionLayer(decision))

    getattr(network, cast)()

    assert network[0].weight.dtype != torch.float32
    assert np.array_equal(network[1](logits).numpy(), mask_of(decision, logits.numpy()))
    assert all(b.dtype == torch.float32 for b in network[1].buffers() if b.is_floating_point())


def test_autocast_moves_no_threshold():
    for step in STEPS:
        decision = cal.Decision((STEPS[step],), RULES["bounded_threshold"], N_CLASSES)
        logits = torch.from_numpy(hard_logits(np.random.default_rng(10), 100, N_CLASSES))

        with torch.autocast("cpu", dtype=torch.bfloat16):
            mask = DecisionLayer(decision)(logits)

        assert np.array_equal(mask.numpy(), mask_of(decision, logits.numpy())), step


@pytest.mark.parametrize("shape", [(N_CLASSES,), (2, 3, N_CLASSES), (0, 4, N_CLASSES)])
def test_leading_axes_are_kept(shape: tuple[int, ...]):
    layer = DecisionLayer(cal.Decision((STEPS["affine"],), RULES["top_k"], N_CLASSES))
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1))

    mask = layer(logits)

    assert mask.shape == logits.shape
    assert torch.equal(mask.reshape(-1, N_CLASSES), layer(logits.reshape(-1, N_CLASSES)))
    assert layer.probabilities(logits).shape == logits.shape


@pytest.mark.parametrize("rule", ["threshold", "top_k", "expected_count_top_k", "weighted_top_k"])
def test_the_top_are_the_labels_in_the_order_of_their_logits(rule: str):
    decision = cal.Decision((STEPS["affine, one for all"],), RULES[rule], N_CLASSES)
    logits = hard_logits(np.random.default_rng(11), 200, N_CLASSES)
    layer = DecisionLayer(decision)

    top = layer.top(torch.from_numpy(logits))

    mask, calibrated = mask_of(decision, logits), decision.calibrate(logits)
    assert np.array_equal(top.n_labels.numpy(), mask.sum(axis=1))
    for row in range(len(logits)):
        chosen = np.flatnonzero(mask[row])
        order = chosen[np.argsort(-calibrated[row, chosen], kind="stable")]
        assert top.labels[row, : len(order)].tolist() == order.tolist()
        assert (top.labels[row, len(order) :] == -1).all()
        assert np.array_equal(top.scores[row, : len(order)].numpy(), calibrated[row, order])
        assert (top.scores[row, len(order) :] == -torch.inf).all()


def test_the_top_is_as_wide_as_the_rule_allows():
    logits = torch.zeros(2, N_CLASSES)

    def width(rule: str, k_max: int | None = None) -> int:
        return (
            DecisionLayer(cal.Decision((), RULES[rule], N_CLASSES))
            .top(logits, k_max)
            .labels.shape[1]
        )

    assert width("top_k") == 3
    assert width("expected_count_top_k, bounded") == 4
    assert width("threshold") == N_CLASSES
    assert width("threshold", 2) == 2
    assert width("threshold", 99) == N_CLASSES


def test_of_more_labels_than_are_asked_for_the_highest_are_kept():
    layer = DecisionLayer(cal.Decision((), ops.Threshold(np.array(0.0)), 5))

    top = layer.top(torch.tensor([[1.0, 3.0, 3.0, 1.0, 3.0]]), 2)

    assert top.labels.tolist() == [[1, 2]]
    assert top.n_labels.tolist() == [2]


@pytest.mark.parametrize("rule", RULES)
def test_compiled_and_exported_it_decides_the_same(rule: str):
    decision = cal.Decision((STEPS["affine"],), RULES[rule], N_CLASSES)
    layer = DecisionLayer(decision)
    logits = torch.from_numpy(hard_logits(np.random.default_rng(12), 64, N_CLASSES))
    batch = torch.export.Dim("batch")
    torch._dynamo.reset()

    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="eager")
    exported = torch.export.export(layer, (logits,), dynamic_shapes=({0: batch},)).module()

    for n_rows in (64, 1, 7):
        expected = mask_of(decision, logits[:n_rows].numpy())
        assert np.array_equal(compiled(logits[:n_rows]).numpy(), expected)
        assert np.array_equal(exported(logits[:n_rows]).numpy(), expected)


def test_on_the_processor_expected_counts_are_those_of_numpy_to_the_last_digit():
    rows = np.random.default_rng(36).normal(-1, 2, (60, 1, N_CLASSES)).astype(np.float32)

    for logits in rows:
        # the sum of the row lies at a whole number, or next to it
        rule = ops.ExpectedCountTopK(3.0 - float(ops.expected_counts(logits)[0]), 0, None)
        decision = cal.Decision((), rule, N_CLASSES)

        mask = DecisionLayer(decision)(torch.from_numpy(logits))

        assert np.array_equal(mask.numpy(), mask_of(decision, logits))


def test_gaps_that_float32_cannot_tell_apart_are_told_apart_exported_too():
    x = np.linspace(0.5, 3, 50, dtype=np.float32)
    # the lower gap is wider by what the last bit of a logit makes of it
    logits = np.stack([x, 0 * x, np.nextafter(-x, np.float32(-9))], axis=1)
    decision = cal.Decision((), ops.LargestGap(), 3)
    rows = torch.from_numpy(logits)

    exported = torch.export.export(DecisionLayer(decision), (rows,), strict=False).module()

    expected = mask_of(decision, logits)
    assert expected.sum(axis=1).tolist() == [2] * 50
    assert np.array_equal(exported(rows).numpy(), expected)


@pytest.mark.parametrize("n_classes", [1, 3])
def test_equal_logits_leave_no_gap_exported_too(n_classes: int):
    logits = torch.tensor([[3.0], [-1.0]]).expand(2, n_classes)
    layer = DecisionLayer(cal.Decision((), ops.LargestGap(), n_classes))

    exported = torch.export.export(layer, (logits,), strict=False).module()

    assert not layer(logits).any()
    assert not exported(logits).any()


def test_what_is_never_predicted_is_not_even_at_infinity():
    rule = ops.BoundedThreshold(np.array([np.inf, 0.0, 1.0]), 1, 2)
    layer = DecisionLayer(cal.Decision((), rule, 3))
    logits = torch.tensor([[torch.inf, -1.0, -3.0], [torch.inf, 3.0, 2.0]])

    exported = torch.export.export(layer, (logits,), strict=False).module()

    for decide in (layer, exported):
        assert decide(logits).tolist() == [[False, True, False], [False, True, True]]


@pytest.mark.parametrize(
    "rule",
    [
        ops.TopK(5),
        ops.BoundedThreshold(np.zeros(3), 4, 9),
        ops.BoundedThreshold(np.array(0.0), 1, 9),
        ops.ExpectedCountTopK(7.0, 0, 9),
        ops.WeightedTopK(5, np.array([1.0, 2.0, 3.0]), np.zeros(3)),
    ],
    ids=lambda rule: rule.wire_name,
)
def test_more_labels_than_classes_are_all_of_them_exported_too(rule: ops.DecisionOp):
    decision = cal.Decision((), rule, 3)
    logits = torch.from_numpy(hard_logits(np.random.default_rng(35), 40, 3))
    layer = DecisionLayer(decision)

    exported = torch.export.export(layer, (logits,), strict=False).module()

    expected = mask_of(decision, logits.numpy())
    assert np.array_equal(layer(logits).numpy(), expected)
    assert np.array_equal(exported(logits).numpy(), expected)


@pytest.mark.parametrize("rule", IN_TORCH)
@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_program_runs_without_this_package(rule: str, strict: bool):
    layer = DecisionLayer(cal.Decision((STEPS["row_affine, count"],), RULES[rule], N_CLASSES))
    logits = torch.from_numpy(hard_logits(np.random.default_rng(12), 8, N_CLASSES))

    graph = torch.export.export(layer, (logits,), strict=strict).graph

    assert not [node for node in graph.nodes if "calibrate" in str(node.target)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("rule", IN_TORCH)
def test_traced_it_decides_other_rows_too(rule: str):
    decision = cal.Decision((STEPS["affine"],), RULES[rule], N_CLASSES)
    rows = hard_logits(np.random.default_rng(16), 60, N_CLASSES)
    traced = torch.jit.trace(DecisionLayer(decision), torch.from_numpy(rows[:30]))

    found = traced(torch.from_numpy(rows[30:]))

    assert np.array_equal(found.numpy(), mask_of(decision, rows[30:]))


@pytest.mark.parametrize("step", STEPS)
def test_every_calibration_compiles_in_one_graph(step: str):
    decision = cal.Decision((STEPS[step],), RULES["bounded_threshold"], N_CLASSES)
    layer = DecisionLayer(decision)
    logits = torch.from_numpy(hard_logits(np.random.default_rng(13), 64, N_CLASSES))
    torch._dynamo.reset()

    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="eager")

    assert np.array_equal(compiled(logits).numpy(), mask_of(decision, logits.numpy()))


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("rule", ["threshold", "expected_count_top_k", "bounded_threshold"])
def test_machine_code_decides_the_same(rule: str):
    steps = (STEPS["affine"], STEPS["row_affine, count"], STEPS["piecewise_linear"])
    decision = cal.Decision(steps, RULES[rule], N_CLASSES)
    logits = torch.from_numpy(hard_logits(np.random.default_rng(14), 256, N_CLASSES))
    torch._dynamo.reset()

    compiled = torch.compile(DecisionLayer(decision), fullgraph=True, dynamic=True)

    assert np.array_equal(compiled(logits).numpy(), mask_of(decision, logits.numpy()))


def test_an_exported_program_is_saved_and_loaded():
    decision = cal.Decision((STEPS["beta"],), RULES["threshold"], N_CLASSES)
    logits = torch.from_numpy(hard_logits(np.random.default_rng(15), 32, N_CLASSES))
    file = io.BytesIO()

    batch = torch.export.Dim("batch")
    program = torch.export.export(DecisionLayer(decision), (logits,), dynamic_shapes=({0: batch},))
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()

    assert np.array_equal(loaded(logits[:9]).numpy(), mask_of(decision, logits[:9].numpy()))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("rule", ["threshold", "bounded_threshold", "weighted_top_k"])
def test_a_state_carries_the_decision_over(step: str, rule: str):
    decision = cal.Decision((STEPS[step],), RULES[rule], N_CLASSES)
    others = calibration_steps(np.random.default_rng(0), N_CLASSES)
    for name in others:
        arrays = {
            n: a * 0 + 1 if a.dtype == np.float32 else a for n, a in others[name].arrays().items()
        }
        others[name] = type(others[name])(**arrays, **others[name].numbers())
    other = DecisionLayer(cal.Decision((others[step],), RULES[rule], N_CLASSES))
    logits = torch.from_numpy(hard_logits(np.random.default_rng(16), 100, N_CLASSES))
    file = io.BytesIO()

    torch.save(DecisionLayer(decision).state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))

    assert np.array_equal(other(logits).numpy(), mask_of(decision, logits.numpy()))
    assert other.decision().steps[0].same_as(STEPS[step])


def test_a_state_carries_the_numbers_of_a_rule_over():
    first = DecisionLayer(cal.Decision((), ops.ExpectedCountTopK(1.5, 1, None), 4))
    second = DecisionLayer(cal.Decision((), ops.ExpectedCountTopK(0.5, 0, 2), 4))

    second.load_state_dict(first.state_dict())

    assert second.decision().rule.same_as(ops.ExpectedCountTopK(1.5, 1, None))
    assert torch.equal(second(torch.zeros(1, 4)), torch.tensor([[True, True, True, False]]))


def test_a_state_inside_a_network_is_one_of_tensors_alone():
    network = nn.Sequential(nn.Linear(2, 3), DecisionLayer(cal.Decision((), ops.TopK(2), 3)))

    assert all(isinstance(value, torch.Tensor) for value in network.state_dict().values())


def test_the_state_of_another_rule_is_refused():
    threshold = DecisionLayer(cal.Decision((), ops.TopK(2), 4))
    counts = DecisionLayer(cal.Decision((), ops.ExpectedCountTopK(0.5, 0, 2), 4))

    with pytest.raises(ValueError, match="step 'top_k', got 'expected_count_top_k'"):
        threshold.load_state_dict(counts.state_dict())
    counts.rule.numbers.pop("max_k")
    with pytest.raises(ValueError, match="step 'expected_count_top_k', got 'expected_count_top_k'"):
        DecisionLayer(cal.Decision((), ops.ExpectedCountTopK(0.5, 0, 2), 4)).load_state_dict(
            counts.state_dict()
        )
    with pytest.raises(ValueError, match="must hold its steps"):
        threshold.load_state_dict({"rule._extra_state": torch.zeros(3, dtype=torch.uint8)})


def test_a_copy_decides_by_itself():
    layer = DecisionLayer(cal.Decision((), ops.Threshold(np.zeros(2)), 2))

    twin = copy.deepcopy(layer)
    twin.load_state_dict(DecisionLayer(cal.Decision((), ops.Threshold(np.ones(2)), 2)).state_dict())

    assert layer(torch.tensor([0.5, 0.5])).all()
    assert not twin(torch.tensor([0.5, 0.5])).any()


@pytest.mark.parametrize("step", [name for name in STEPS if name != "affine, overflowing"])
def test_calibration_is_differentiable(step: str):
    layer = DecisionLayer(cal.Decision((STEPS[step],), RULES["top_k"], N_CLASSES))
    rng = np.random.default_rng(17)
    drawn = rng.normal(0, 1.2, (20, N_CLASSES)).astype(np.float32)
    # maps bend, and some jump, at tenths
    near_a_knot = np.abs(10 * drawn - np.round(10 * drawn)) < 0.1
    logits = torch.from_numpy(np.where(near_a_knot, np.float32(0.25), drawn)).requires_grad_()
    direction = torch.from_numpy(rng.normal(size=logits.shape).astype(np.float32))

    layer.calibrated(logits).mul(direction).sum().backward()

    with torch.no_grad():
        h = 1e-3
        up, down = (layer.calibrated(logits + s * h).double() for s in (1, -1))
        slope = ((up - down) / (2 * h) * direction).sum(dim=1)
    assert torch.isfinite(logits.grad).all()
    torch.testing.assert_close(logits.grad.sum(dim=1).double(), slope, rtol=0.02, atol=0.02)


def test_gradients_stay_finite_at_the_far_ends():
    hardly_clipped = ops.AsymmetricLoss(0.0, 4.0, 1e-20, detached=False)
    for step, op in {**STEPS, "hardly clipped": hardly_clipped}.items():
        layer = DecisionLayer(cal.Decision((op,), RULES["top_k"], N_CLASSES))
        logits = torch.tensor(
            [[-900.0, -20.0, -3.5, -1e-7, 0.0, 1e-7, 3.5, 20.0, 900.0, 1.0, -80.0]]
        )
        logits.requires_grad_()

        layer.probabilities(logits).sum().backward()

        assert torch.isfinite(logits.grad).all(), step


def test_temperature_and_bias_are_fine_tuned():
    rng = np.random.default_rng(18)
    true = rng.normal(-1, 1, (4_000, 3)).astype(np.float32)
    labels = torch.from_numpy((rng.random(true.shape) < 1 / (1 + np.exp(-true))).astype(np.float32))
    logits = torch.from_numpy(2 * true + np.float32(1))
    line = ops.Affine(np.ones(3), np.zeros(3))
    told = {"cross_fit": {"f": 1.0}, "fitting_rows": {"f": 1.0}}
    layer = DecisionLayer(
        cal.Decision((line,), ops.Threshold(np.zeros(3)), 3, provenance=told),
        trainable=True,
    )
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=50)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = nn.functional.binary_cross_entropy_with_logits(layer.calibrated(logits), labels)
        value.backward()
        return value

    optimizer.step(loss)

    tuned = layer.decision()
    assert tuned.steps[0].scale == pytest.approx(np.full(3, 0.5), abs=0.06)
    assert tuned.steps[0].shift == pytest.approx(np.full(3, -0.5), abs=0.12)
    assert dict(tuned.provenance) == {"fine_tuned": True}
    assert np.array_equal(layer(logits).numpy(), mask_of(tuned, logits.numpy()))


def test_a_slope_that_training_spoilt_makes_no_decision():
    layer = DecisionLayer(
        cal.Decision((ops.Affine(np.array(1.0), np.array(0.0)),), ops.TopK(1), 2), trainable=True
    )

    with torch.no_grad():
        layer.steps[0].scale.fill_(-1.0)

    with pytest.raises(ValueError, match="scale must be positive, got -1"):
        layer.decision()


def test_what_nobody_trained_is_the_decision_itself():
    decision = cal.Decision((STEPS["affine"],), RULES["threshold"], N_CLASSES, provenance={"a": 1})

    assert DecisionLayer(decision, trainable=True).decision() is decision
    assert not list(DecisionLayer(decision).parameters())
    assert len(list(DecisionLayer(decision, trainable=True).parameters())) == 2


def test_thresholds_can_be_others_for_one_call():
    decision = cal.Decision((STEPS["affine"],), RULES["threshold"], N_CLASSES)
    layer = DecisionLayer(decision)
    logits = torch.from_numpy(hard_logits(np.random.default_rng(19), 50, N_CLASSES))
    instead = layer.rule.threshold.clone()
    instead[3], instead[4] = math.log(0.7 / 0.3), torch.inf

    mask = layer(logits, instead)

    other = cal.Decision(decision.steps, ops.Threshold(instead.numpy()), N_CLASSES)
    assert np.array_equal(mask.numpy(), mask_of(other, logits.numpy()))
    assert torch.equal(layer(logits, layer.rule.threshold), layer(logits))


def test_the_lowest_threshold_for_one_call_lets_no_cell_without_a_score_pass():
    layer = DecisionLayer(cal.Decision((), ops.Threshold(np.zeros(2)), 2))
    logits = torch.tensor([[-torch.inf, -3e38], [torch.nan, torch.inf]])

    mask = layer(logits, torch.tensor(-torch.inf))

    assert mask.tolist() == [[False, True], [False, True]]


def test_a_threshold_for_a_rule_without_one_is_refused():
    top = DecisionLayer(cal.Decision((), ops.TopK(1), 3))
    cut = DecisionLayer(cal.Decision((), ops.Threshold(np.zeros(3)), 3))

    with pytest.raises(ValueError, match="'top_k' is no threshold"):
        top(torch.zeros(1, 3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"one number or 3, got shape \(2,\)"):
        cut(torch.zeros(1, 3), torch.zeros(2))


def test_a_rule_that_adapts_is_adapted_to_the_batch_first():
    rule = ops.BatchPlugIn(1.0, np.zeros(N_CLASSES), np.full(N_CLASSES, 0.5), 0.1)
    decision = cal.Decision((STEPS["affine"],), rule, N_CLASSES)
    layer = DecisionLayer(decision)
    logits = np.random.default_rng(20).normal(size=(40, N_CLASSES)).astype(np.float32)

    with pytest.raises(ValueError, match="adapted to all of them first"):
        layer(torch.from_numpy(logits))
    mask = layer.adapted(torch.from_numpy(logits))(torch.from_numpy(logits))

    assert layer.adapts
    assert np.array_equal(mask.numpy(), decision.predict(logits).toarray())
    with pytest.raises(ValueError, match="at least two"):
        layer.adapted(torch.zeros(1, N_CLASSES))
    with pytest.raises(TypeError, match="nothing to adapt"):
        DecisionLayer(cal.Decision((), ops.TopK(1), 3)).adapted(torch.zeros(2, 3))


def test_a_layer_is_made_of_a_file_a_pipeline_or_a_decision(tmp_path):
    rng = np.random.default_rng(21)
    labels = rng.random((200, 3)) < 0.4
    logits = labels + rng.normal(size=(200, 3))
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK()).fit(logits, labels)
    pipeline.save(tmp_path / "rule.safetensors")
    rows = torch.from_numpy(logits)

    masks = [
        DecisionLayer(rule)(rows)
        for rule in (pipeline, pipeline.decision_, tmp_path / "rule.safetensors")
    ]

    expected = pipeline.predict(logits).toarray()
    assert all(np.array_equal(mask.numpy(), expected) for mask in masks)


@pytest.mark.parametrize(
    ("logits", "error", "text"),
    [
        (
            torch.zeros(2, 4),
            ValueError,
            r"the 3 classes of the fitted rule last, got shape \(2, 4\)",
        ),
        (torch.tensor(1.0), ValueError, r"got shape \(\)"),
        (
            torch.zeros(2, 3, dtype=torch.int64),
            TypeError,
            r"floating point numbers, got torch.int64",
        ),
    ],
)
def test_logits_that_do_not_fit_are_refused(logits, error, text):
    layer = DecisionLayer(cal.Decision((), ops.TopK(1), 3))

    with pytest.raises(error, match=text):
        layer(logits)


def test_what_is_no_rule_is_refused(tmp_path):
    layer = DecisionLayer(cal.Decision((), ops.TopK(1), 3))

    with pytest.raises(TypeError, match="fitted pipeline, its decision, or the path"):
        DecisionLayer(3)
    with pytest.raises(TypeError, match="got Pipeline"):
        DecisionLayer(cal.Pipeline([], cal.ExpectedCountTopK()))
    with pytest.raises(FileNotFoundError):
        DecisionLayer(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=r"\(n_rows, n_classes\), got shape \(3,\)"):
        layer.top(torch.zeros(3))
    with pytest.raises(ValueError, match="k_max must be at least 1, got 0"):
        layer.top(torch.zeros(1, 3), 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rule", RULES)
def test_a_cuda_device_decides_the_same(rule: str):
    decision = cal.Decision((STEPS["affine"],), RULES[rule], N_CLASSES)
    logits = hard_logits(np.random.default_rng(22), 200, N_CLASSES)
    layer = DecisionLayer(decision).cuda()

    mask = layer(torch.from_numpy(logits).cuda())

    assert np.array_equal(mask.cpu().numpy(), mask_of(decision, logits))
