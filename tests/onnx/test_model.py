"""What a graph takes, gives and says of itself, and which rules have none."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from every_op import ugly_rows
from onnx_cases import RULES, RUNTIMES, STEPS, by_onnxruntime, dense

import calibrate as cal
from calibrate import ops
from calibrate.data.names import names_hash
from calibrate.decision import Decision
from calibrate.onnx import to_model

THRESHOLDS = np.array([0.5, np.inf, -1.0], dtype=np.float32)
PER_CLASS = Decision((), ops.Threshold(THRESHOLDS), 3, ("rock", "jazz", "Händel, G. F."))

every_runtime = pytest.mark.parametrize("run", RUNTIMES.values(), ids=RUNTIMES)


def metadata_of(model) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def inputs_of(model) -> dict[str, list]:
    return {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }


# thresholds


@every_runtime
def test_a_caller_may_decide_by_other_thresholds(run):
    model, rows = to_model(PER_CLASS), ugly_rows(3)
    others = np.array([-np.inf, 0.25, np.inf], dtype=np.float32)

    labels = run(model, {"logits": rows, "thresholds": others})[0]

    np.testing.assert_array_equal(labels, dense(Decision((), ops.Threshold(others), 3), rows))
    assert not labels[rows == -np.inf].any()


@every_runtime
@pytest.mark.parametrize("shared", [True, False])
def test_a_caller_may_decide_by_other_thresholds_within_bounds(run, shared):
    first, other = (np.float32(0.5), np.float32(-1)) if shared else (THRESHOLDS, -THRESHOLDS)
    model, rows = to_model(Decision((), ops.BoundedThreshold(first, 1, 2), 3)), ugly_rows(3)

    labels = run(model, {"logits": rows, "thresholds": np.atleast_1d(other)})[0]

    expected = dense(Decision((), ops.BoundedThreshold(other, 1, 2), 3), rows)
    np.testing.assert_array_equal(labels, expected)
    assert inputs_of(model)["thresholds"] == [1 if shared else 3]


def test_the_thresholds_of_the_file_are_on_the_logits_that_come_in():
    steps = (ops.Affine(np.float32(2), np.float32(1)), ops.Focal(2.0, 0.25))
    decision = Decision(steps, ops.Threshold(THRESHOLDS), 3)
    _, folded = ops.fold(steps, decision.rule, 3)

    model = to_model(decision)

    stored = next(i for i in model.graph.initializer if i.name == "thresholds")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored), folded.threshold)


@every_runtime
def test_behind_a_step_along_the_row_they_are_on_calibrated_logits(run):
    row = ops.RowAffine(np.float32(1), np.float32(0), -0.5)
    steps = (ops.Focal(2.0, 0.25), row, ops.Affine(np.float32(2), np.float32(1)))
    model, rows = to_model(Decision(steps, ops.Threshold(THRESHOLDS), 3)), ugly_rows(3)
    others = np.array([-0.75, 0.4, np.inf], dtype=np.float32)

    labels = run(model, {"logits": rows, "thresholds": others})[0]

    stored = next(i for i in model.graph.initializer if i.name == "thresholds")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored), THRESHOLDS)
    np.testing.assert_array_equal(labels, dense(Decision(steps, ops.Threshold(others), 3), rows))


def test_one_threshold_for_all_classes_may_become_one_for_each():
    model = to_model(Decision((), ops.Threshold(np.float32(0.5)), 3))

    assert inputs_of(model) == {"logits": ["batch", 3], "thresholds": [3]}


# types of logits


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("rule", [PER_CLASS.rule, ops.ExpectedCountTopK(0.5, 0, None)])
def test_logits_of_any_float_type_are_decided_as_float32(rule, dtype):
    decision = Decision((), rule, 3)
    with np.errstate(over="ignore"):
        rows = np.maximum(ugly_rows(3), np.float32(-1000)).astype(np.float64) * 0.1
        rows = np.minimum(rows, 1000).astype(dtype)

    labels = by_onnxruntime(to_model(decision, dtype=dtype), {"logits": rows})[0]

    np.testing.assert_array_equal(labels, dense(decision, rows.astype(np.float32)))


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="dtype must be float16, float32 or float64, got int64"):
        to_model(PER_CLASS, dtype=np.int64)


# rules that were fitted on probabilities


def of_probabilities(rule, *steps) -> Decision:
    return Decision(steps, rule, 3, None, {"input": "probabilities"})


@every_runtime
@pytest.mark.parametrize("rule", [PER_CLASS.rule, ops.TopK(1), ops.ExpectedCountTopK(0.5, 0, None)])
def test_a_rule_fitted_on_probabilities_takes_them(run, rule):
    decision = of_probabilities(rule, ops.Affine(np.float32(2), np.float32(0.5)))
    near = [
        0.0,
        1.0,
        0.5,
        1e-45,
        1 - 2**-24,
        1e-7,
        *np.nextafter(np.float32(0.5), np.float32([0, 1])),
    ]
    p = np.random.default_rng(0).random((60, 3)).astype(np.float32)
    p[:30] = np.random.default_rng(1).choice(np.array(near, np.float32), (30, 3))
    p[30:40:2, 1] = np.nan

    labels, calibrated = run(to_model(decision, probabilities=True), {"network_probabilities": p})

    np.testing.assert_array_equal(labels, decision.predict(p, nan="negative").toarray())
    expected = decision.predict_proba(p, nan="negative")
    np.testing.assert_allclose(calibrated, expected, rtol=2e-6, atol=1e-37)


def test_thresholds_of_such_a_rule_are_probabilities():
    model = to_model(of_probabilities(ops.Threshold(np.array([0.0, 1.0, -1.0]))))

    stored = next(i for i in model.graph.initializer if i.name == "thresholds")
    expected = ops.sigmoid(np.array([0.0, 1.0, -1.0], np.float32))
    np.testing.assert_allclose(onnx.numpy_helper.to_array(stored), expected, rtol=1e-6)


def test_probabilities_of_64_bits_are_refused():
    with pytest.raises(ValueError, match="probabilities must come as float32 or float16, got flo"):
        to_model(of_probabilities(ops.TopK(1)), dtype=np.float64)


# what a model says of itself


def test_a_model_tells_what_it_decides_and_where_it_comes_from():
    provenance = {"n_rows": 10, "options": {"target": "/home/somebody/logits.npy"}}
    step = ops.Affine(np.float32(2), np.float32(0))
    decision = Decision((step,), PER_CLASS.rule, 3, PER_CLASS.class_names, provenance)
    canonical = json.dumps(provenance, sort_keys=True, separators=(",", ":"))

    told = metadata_of(to_model(decision))

    assert json.loads(told.pop("calibrate.class_names")) == list(PER_CLASS.class_names)
    assert told == {
        "calibrate.rule": "threshold",
        "calibrate.steps": "affine,threshold",
        "calibrate.input": "logits",
        "calibrate.n_classes": "3",
        "calibrate.class_names_sha256": names_hash(PER_CLASS.class_names),
        "calibrate.provenance_sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "calibrate.version": cal.__version__,
        "calibrate.thresholds_on": "input",
    }


@pytest.mark.parametrize(
    ("steps", "rule", "where"),
    [
        ((), PER_CLASS.rule, "input"),
        ((ops.Focal(2.0, 0.5),), PER_CLASS.rule, "input"),
        ((ops.RowAffine(np.float32(1), np.float32(0), -0.5),), PER_CLASS.rule, "calibrated"),
        ((ops.Focal(2.0, 0.5),), ops.BoundedThreshold(THRESHOLDS, 1, 2), "calibrated"),
        ((), ops.TopK(1), None),
    ],
)
def test_a_model_tells_what_its_thresholds_are_compared_with(steps, rule, where):
    told = metadata_of(to_model(Decision(steps, rule, 3)))

    assert told.get("calibrate.thresholds_on") == where


def test_a_model_without_names_tells_none():
    assert "calibrate.class_names" not in metadata_of(to_model(Decision((), ops.TopK(1), 3)))


@pytest.mark.parametrize("rule", (RULES | STEPS).values(), ids=RULES | STEPS)
def test_no_path_gets_into_a_model(rule):
    provenance = {"options": {"target": str(Path(__file__).resolve())}}
    last = rule if isinstance(rule, ops.DecisionOp) else ops.TopK(1)
    steps = () if last is rule else (rule,)

    data = to_model(Decision(steps, last, 7, None, provenance)).SerializeToString()

    texts = re.findall(rb"[\x20-\x7e]{4,}", data)
    assert not [text for text in texts if b".py" in text or text.startswith(b"/")]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_same_decision_gives_the_same_bytes(rule):
    decision = Decision((ops.Focal(2.0, 0.5),), rule, 7)

    one, other = (to_model(decision).SerializeToString(deterministic=True) for _ in range(2))

    assert one == other


def test_a_model_is_of_an_opset_that_older_runtimes_read():
    model = to_model(Decision((), ops.ExpectedFBeta(True, 0.1, 1.0, 1.0), 7))

    assert model.ir_version == 9
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    onnx.checker.check_model(model, full_check=True)


def test_a_model_for_thousands_of_classes_stays_small():
    sizes = {
        op.wire_name: to_model(Decision((), op, 7900)).ByteSize()
        for op in (ops.Threshold(np.zeros(7900)), ops.ExpectedFBeta(True, 0.1, 1.0, 1.0))
    }

    assert sizes["threshold"] < 35_000
    assert sizes["expected_f_beta"] < 35_000


# rules without a graph


def test_a_rule_that_decides_rows_together_is_refused_with_the_way_out():
    decision = Decision((), ops.BatchPlugIn(1.0, np.float32(0), np.float32(0.5)), 2)
    rows = np.array([[2.0, 1.0], [-2.0, 0.0], [0.5, -1.0]], dtype=np.float32)

    with pytest.raises(
        ValueError, match="'batch_plug_in' decides by all rows that are labelled to"
    ):
        to_model(decision)

    adapted = decision.adapted(rows)
    labels = by_onnxruntime(to_model(adapted), {"logits": rows})[0]
    np.testing.assert_array_equal(labels, adapted.predict(rows).toarray())


def test_a_rule_without_classes_is_refused():
    with pytest.raises(ValueError, match="a graph needs at least one class, the rule has none"):
        to_model(Decision((), ops.TopK(1), 0))
