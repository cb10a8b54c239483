"""A graph that decides otherwise than its rule is found out, and by how much it may."""

from __future__ import annotations

import builtins

import numpy as np
import onnx
import pytest
from onnx_cases import N_CLASSES, RULES, dense

from calibrate import ops
from calibrate.decision import Decision
from calibrate.onnx import check as room
from calibrate.onnx import to_model
from calibrate.onnx.check import check, compared, made_up_rows, near_cut

PER_CLASS = Decision((), ops.Threshold(np.array([0.5, np.inf, -1.0])), 3)
COUNTED = Decision((), ops.ExpectedCountTopK(0.5, 0, None), 3)


def with_threshold(model, values) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for constant in changed.graph.initializer:
        if constant.name == "thresholds":
            constant.CopyFrom(onnx.numpy_helper.from_array(values, "thresholds"))
    return changed


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_graph_of_every_rule_passes(rule):
    checked = check(to_model(Decision((), rule, N_CLASSES)), Decision((), rule, N_CLASSES))

    assert checked.runtimes == ("onnx.reference", "onnxruntime")
    assert checked.n_rows == 48
    assert set(checked.n_near) == set(checked.runtimes)


def test_a_threshold_one_float_away_is_found_out():
    beside = np.nextafter(PER_CLASS.rule.threshold, np.float32(-np.inf))
    beside[1] = np.inf

    with pytest.raises(
        ValueError,
        match=r"onnx.reference must give the labels that the rule gives, it predicts class 0 of "
        r"row 3 of the sample, logit 0\.49999997",
    ):
        check(with_threshold(to_model(PER_CLASS), beside), PER_CLASS)


def test_it_compares_on_the_rows_it_is_given():
    other = np.array([0.75, np.inf, -1.0], dtype=np.float32)
    model = with_threshold(to_model(PER_CLASS), other)
    apart, between = np.zeros((5, 3)), np.full((5, 3), 0.6)

    assert check(model, PER_CLASS, apart).n_rows == 5
    with pytest.raises(ValueError, match="does not predict class 0 of row 0"):
        check(model, PER_CLASS, between)


def test_of_many_rows_it_takes_the_first():
    assert check(to_model(COUNTED), COUNTED, np.zeros((3000, 3))).n_rows == 1024


def test_rows_of_another_number_of_classes_are_refused():
    with pytest.raises(
        ValueError, match="logits must have the 3 classes of the fitted rule, got 2"
    ):
        check(to_model(COUNTED), COUNTED, np.zeros((4, 2)))


def test_a_graph_that_is_none_is_refused():
    model = to_model(PER_CLASS)
    model.graph.node[0].op_type = "NoSuchOperator"

    with pytest.raises(ValueError, match="the model does not pass the check of ONNX: "):
        check(model, PER_CLASS)


def test_without_onnxruntime_the_reference_evaluator_checks_alone(monkeypatch):
    def absent(name, *arguments, _import=builtins.__import__):
        if name == "onnxruntime":
            raise ImportError(name)
        return _import(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", absent)

    assert check(to_model(PER_CLASS), PER_CLASS).runtimes == ("onnx.reference",)


# what may differ


def mask(*ids: int) -> np.ndarray:
    return np.isin(np.arange(3), ids)


def test_a_label_may_differ_where_the_expected_count_lies_at_the_cut():
    at_cut = np.array([[0.0, 0.0, 2e-6]], dtype=np.float32)  # sums up to 1.5 and 0.5e-6
    apart = np.array([[0.0, 0.0, 3e-5]], dtype=np.float32)

    assert dense(COUNTED, at_cut)[0].sum() == 2
    assert near_cut(COUNTED, at_cut, mask(2))
    assert not near_cut(COUNTED, at_cut, mask(0))
    assert not near_cut(COUNTED, apart, mask(2))


def test_a_label_may_differ_where_the_score_lies_at_the_threshold():
    decision = Decision((ops.RowAffine(np.float32(1), np.float32(0), 0, 1.0),), PER_CLASS.rule, 3)
    at_cut = np.array([[-1.0, 1.5, 0.3]], dtype=np.float32)  # the first is 0.5 when calibrated
    apart = at_cut + np.array([[1e-5, 0, 0]], dtype=np.float32)

    assert near_cut(decision, at_cut, mask(2))
    assert near_cut(decision, at_cut, mask(0, 2))
    assert not near_cut(decision, at_cut, mask(0, 1, 2))
    assert not near_cut(decision, apart, mask(2))


def test_labels_may_change_places_where_their_scores_tie_at_the_cut():
    decision = Decision((), ops.WeightedTopK(1, np.float32(1), np.float32(0)), 3)
    tied = np.array([[0.0, 2e-6, -1.0]], dtype=np.float32)

    assert near_cut(decision, tied, mask(0))
    assert near_cut(decision, tied, mask(1))
    assert not near_cut(decision, tied, mask(2))
    assert not near_cut(decision, tied, mask(0, 1))


def test_labels_near_the_cut_are_counted():
    rows = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -3.0]], dtype=np.float32)
    labels = np.array([[True, False, False], [True, False, False]])

    n = compared(COUNTED, rows, COUNTED.decide(rows), labels, "a runtime")

    assert dense(COUNTED, rows).tolist() == [[True, True, False], [True, False, False]]
    assert n == 1


def test_where_no_exponentials_are_taken_none_may_differ():
    rows = np.array([[0.5, 0.0, 0.0]], dtype=np.float32)
    step = ops.Affine(np.float32(1), np.float32(0))

    for rule in (PER_CLASS.rule, ops.BoundedThreshold(PER_CLASS.rule.threshold, 0, None)):
        decision = Decision((step,), rule, 3)
        with pytest.raises(ValueError, match="does not predict class 0 of row 0"):
            compared(decision, rows, decision.decide(rows), ~dense(decision, rows), "a runtime")


# the sample


@pytest.mark.parametrize(
    "rule", [PER_CLASS.rule, ops.BoundedThreshold(PER_CLASS.rule.threshold, 1, 2)]
)
def test_the_sample_lies_at_the_thresholds_and_beside_them(rule):
    rows = made_up_rows(Decision((), rule, 3))

    assert {0.5, np.nextafter(np.float32(0.5), np.float32(1)), np.float32(0.49999997)} <= set(
        rows[:, 0]
    )
    assert (rows == -np.inf).all(axis=1).any()
    assert not np.isposinf(rows).any()


def test_the_sample_of_a_rule_of_probabilities_holds_them():
    rows = made_up_rows(Decision((), PER_CLASS.rule, 3, None, {"input": "probabilities"}))

    assert rows.min() == 0
    assert rows.max() == 1


def test_scores_may_lie_a_millionth_from_the_cut():
    assert room.NEAR == 1e-6
