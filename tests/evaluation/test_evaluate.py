"""What `evaluate` takes, what it gives back, and what must not change its figures."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import calibrate as cal
from calibrate.data import labelled_logits
from calibrate.decision import Decision
from calibrate.evaluation import Evaluation, evaluate, evaluate_rows
from calibrate.metrics import f_beta
from calibrate.ops import Affine, ExpectedCountTopK, Threshold

NAMES = ("rock", "jazz", "folk")


def rows_of(n_rows=60, n_classes=7, seed=0):
    """Logits with ties, labels with an empty and a full class and rows without labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_rows, n_classes)).round(1).astype(np.float32)
    labels = rng.random(logits.shape) < 0.3
    labels[: n_rows // 5] = False
    labels[:, 0], labels[:, 1] = False, True
    return logits, labels


def decision_for(n_classes, rule=None):
    step = Affine(np.linspace(0.5, 2, n_classes), np.linspace(-1, 1, n_classes))
    return Decision((step,), rule or Threshold(np.linspace(-1, 1, n_classes)), n_classes)


def same(one: Evaluation, other: Evaluation, rtol=0.0):
    assert one.summary.keys() == other.summary.keys()
    for name, value in one.summary.items():
        np.testing.assert_allclose(other.summary[name], value, rtol, err_msg=name)
    for name, values in one.per_class.items():
        np.testing.assert_allclose(other.per_class[name], values, rtol, err_msg=name)


@pytest.mark.parametrize("rule", [None, ExpectedCountTopK(0.5, 0, None)])
def test_the_size_of_blocks_changes_no_digit(monkeypatch, rule):
    logits, labels = rows_of()
    decision = decision_for(7, rule)
    whole = evaluate(decision, logits, labels)

    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", 40)

    same(evaluate(decision, logits, labels), whole)


def test_the_number_of_threads_changes_no_digit(monkeypatch):
    logits, labels = rows_of()
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    alone = evaluate(decision_for(7), logits, labels)

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "4")

    same(evaluate(decision_for(7), logits, labels), alone)


def test_the_order_of_the_rows_does_not_matter():
    logits, labels = rows_of()
    order = np.random.default_rng(1).permutation(len(logits))

    permuted = evaluate(decision_for(7), logits[order], labels[order])

    same(permuted, evaluate(decision_for(7), logits, labels), rtol=1e-13)


def test_the_order_of_the_classes_changes_no_digit():
    logits, labels = rows_of(60, 40)
    order = np.random.default_rng(2).permutation(40)
    decision, frequency = decision_for(40), np.arange(40) ** 2
    step, rule = decision.steps[0], decision.rule
    moved = Decision(
        (Affine(step.scale[order], step.shift[order]),), Threshold(rule.threshold[order]), 40
    )

    before = evaluate(decision, logits, labels, frequency=frequency)
    after = evaluate(moved, logits[:, order], labels[:, order], frequency=frequency[order])

    per_class = {name: values[order] for name, values in before.per_class.items()}
    same(Evaluation(before.summary, per_class), after)


def test_a_memmap_agrees_with_the_array(tmp_path):
    rng = np.random.default_rng(3)
    labels = sparse.random_array((5000, 500), density=0.01, rng=rng, dtype=np.float64) > 0
    logits = rng.normal(size=labels.shape).astype(np.float32)
    np.save(tmp_path / "logits.npy", logits)
    stored = np.load(tmp_path / "logits.npy", mmap_mode="r")

    evaluation = evaluate(decision_for(500), stored, labels)

    same(evaluation, evaluate(decision_for(500), logits, labels.toarray()))


def test_the_callers_arrays_stay_as_they_are():
    logits, labels = rows_of()
    rows = labelled_logits(logits, labels)
    before = logits.copy(), rows.labels.indices.copy(), rows.labels.positives.copy()

    evaluation = evaluate_rows(Decision((), Threshold(np.float32(0)), 7), rows)
    evaluation.per_class["support"][:] = -1

    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(rows.labels.indices, before[1])
    np.testing.assert_array_equal(rows.labels.positives, before[2])


def test_a_fitted_pipeline_serves_as_its_decision():
    logits, labels = rows_of()
    pipeline = cal.Pipeline([], cal.SharedThreshold(f_beta(1))).fit(logits, labels)

    same(cal.evaluate(pipeline, logits, labels), evaluate(pipeline.decision_, logits, labels))


def test_checked_rows_serve_many_decisions():
    logits, labels = rows_of()
    rows = labelled_logits(logits, labels)

    for decision in (decision_for(7), Decision((), Threshold(np.float32(0)), 7)):
        expected = evaluate(decision, logits, labels)
        same(evaluate_rows(decision, rows), expected)
        same(evaluate(decision, rows), expected)


def test_without_ranking_the_rest_stays():
    logits, labels = rows_of()
    full = evaluate(decision_for(7), logits, labels)

    quick = evaluate(decision_for(7), logits, labels, ranking=False)

    left_out = ("macro_ap", "micro_ap", "instance_ap")
    assert all(np.isnan(quick.summary[name]) for name in left_out)
    assert np.isnan(quick.per_class["average_precision"]).all()
    assert quick.summary | {name: full.summary[name] for name in left_out} == full.summary


def test_thirds_are_by_rank_of_the_frequency_given():
    logits = np.ones((2, 4)) * [2.0, 2.0, 2.0, -2.0]
    labels = np.array([[1, 1, 1, 1], [0, 1, 0, 1]])
    decision = Decision((), Threshold(np.float32(0)), 4)

    summary = evaluate(decision, logits, labels, frequency=np.array([5, 9, 5, 1])).summary

    # rarest first: class 3, then 0 and 2 in their order, then 1; the rare third gets the fourth
    assert summary["count_ratio_rare"] == 2 / 3
    assert summary["count_ratio_middle"] == 2.0
    assert summary["count_ratio_frequent"] == 1.0
    assert summary["count_ratio"] == 1.0


def test_thirds_are_by_the_evaluated_labels_by_default():
    logits = np.ones((3, 3))
    labels = np.array([[1, 1, 1], [1, 0, 1], [1, 0, 0]])
    decision = Decision((), Threshold(np.float32(0)), 3)

    summary = evaluate(decision, logits + 1, labels).summary

    thirds = [summary[f"count_ratio_{third}"] for third in ("rare", "middle", "frequent")]
    assert thirds == [3.0, 1.5, 1.0]


def test_what_is_not_defined_is_nan():
    logits = np.array([[2.0, -2.0, -2.0], [2.0, -2.0, -2.0]])
    labels = np.array([[0, 0, 1], [0, 0, 0]])

    evaluation = evaluate(Decision((), Threshold(np.float32(0)), 3), logits, labels)

    np.testing.assert_array_equal(evaluation.per_class["precision"], [0.0, np.nan, np.nan])
    np.testing.assert_array_equal(evaluation.per_class["recall"], [np.nan, np.nan, 0.0])
    np.testing.assert_array_equal(evaluation.per_class["f"], [0.0, np.nan, 0.0])
    np.testing.assert_array_equal(evaluation.per_class["count_ratio"], [np.nan, np.nan, 0.0])
    assert evaluation.summary["macro_precision"] == 0.0
    assert evaluation.summary["n_classes_without_positives"] == 2
    assert np.isnan(evaluation.summary["count_ratio_rare"])


def test_labels_that_are_all_absent_leave_the_averages_undefined():
    decision = Decision((), Threshold(np.float32(0)), 2)

    summary = evaluate(decision, [[2.0, -1.0], [-1.0, -2.0]], np.zeros((2, 2))).summary

    for name in ("macro_f", "micro_f", "micro_recall", "count_ratio", "macro_ap", "micro_ap"):
        assert np.isnan(summary[name]), name
    assert np.isnan(summary["instance_ap"])
    # the first row predicts one label too many, the second is right to predict none
    assert summary["instance_f"] == 0.5


def test_the_dictionary_is_plain_json():
    logits, labels = rows_of()
    decision = Decision((), Threshold(np.float32(0)), 7, class_names=list("abcdefg"))

    evaluation = evaluate(decision, logits, labels, ranking=False)
    plain = json.loads(json.dumps(evaluation.as_dict(), allow_nan=False))

    assert plain == evaluation.as_dict()
    assert plain["summary"]["micro_f"] == evaluation.summary["micro_f"]
    assert plain["summary"]["macro_ap"] is None
    assert plain["per_class"]["support"] == labels.sum(axis=0).tolist()
    assert plain["per_class"]["recall"][0] is None
    assert plain["class_names"] == list("abcdefg")


def test_an_infinite_loss_becomes_none():
    assert Evaluation({"log_loss": np.inf}, {}).as_dict()["summary"] == {"log_loss": None}


def test_whole_numbers_stay_whole():
    evaluation = evaluate(decision_for(7), *rows_of())

    for name in ("n_rows", "n_classes", "n_labels", "n_predicted", "n_classes_without_positives"):
        assert type(evaluation.summary[name]) is int, name
    for name in ("support", "predicted", "tp"):
        assert evaluation.per_class[name].dtype == np.int64, name
    assert type(evaluation.as_dict()["per_class"]["tp"][0]) is int


def test_names_of_the_fit_read_lists_of_names():
    decision = Decision((), Threshold(np.float32(0)), 3, NAMES)

    evaluation = evaluate(decision, [[2.0, -1.0, 3.0]], [["folk", "rock"]])

    assert evaluation.summary["micro_f"] == 1.0
    assert evaluation.class_names == NAMES


def test_names_of_the_logits_are_carried_through():
    decision = Decision((), Threshold(np.float32(0)), 3)
    logits = pd.DataFrame([[2.0, -1.0, 3.0]], columns=list(NAMES))

    assert evaluate(decision, logits, [["folk"]]).class_names == NAMES


@pytest.mark.parametrize("decision", [object(), cal.TopK(1), cal.Pipeline([], cal.TopK(1))])
def test_what_is_no_fitted_decision_is_refused(decision):
    with pytest.raises(TypeError, match=r"must be a Decision or a fitted Pipeline, got \w+"):
        evaluate(decision, *rows_of())


def test_other_classes_than_those_of_the_fit_are_refused():
    with pytest.raises(ValueError, match="must have the 6 classes of the fitted rule, got 7"):
        evaluate(decision_for(6), *rows_of())
    with pytest.raises(ValueError, match="must have the 6 classes of the fitted rule, got 7"):
        evaluate_rows(decision_for(6), labelled_logits(*rows_of()))


def test_names_that_differ_from_those_of_the_fit_are_refused():
    decision = Decision((), Threshold(np.float32(0)), 3, NAMES)
    labels = pd.DataFrame([[1, 0, 0]], columns=["rock", "folk", "jazz"])

    with pytest.raises(ValueError, match=r"got 'folk' for class 1 \('jazz'\)"):
        evaluate(decision, [[2.0, -1.0, 3.0]], labels)


def test_rows_with_steps_are_refused():
    rows = labelled_logits(*rows_of()).after(Affine(np.float32(1), np.float32(0)))

    with pytest.raises(ValueError, match=r"rows must come without calibration steps.* got 1"):
        evaluate_rows(decision_for(7), rows)


def test_labels_beside_checked_rows_are_refused():
    logits, labels = rows_of()

    with pytest.raises(TypeError, match="already checked have their labels"):
        evaluate(decision_for(7), labelled_logits(logits, labels), labels)


def test_missing_labels_are_refused():
    with pytest.raises(TypeError, match="labels must be a sparse matrix, an array"):
        evaluate(decision_for(7), rows_of()[0])


@pytest.mark.parametrize("beta", [0.0, -1.0, np.inf, np.nan])
def test_a_beta_that_weighs_nothing_is_refused_before_any_row_is_read(monkeypatch, beta):
    monkeypatch.setattr("calibrate.data.logits.LogitSource.read", None)

    with pytest.raises(ValueError, match="beta must be positive and finite, got"):
        evaluate(decision_for(7), *rows_of(), beta=beta)


@pytest.mark.parametrize(
    ("frequency", "error", "message"),
    [
        (np.ones(6, int), ValueError, r"one count per class, shape \(7,\), got shape \(6,\)"),
        (3, ValueError, r"one count per class, shape \(7,\), got shape \(\)"),
        (np.ones(7), TypeError, "whole numbers, got dtype float64"),
        (np.array([1, 1, 1, -4, 1, 1, 1]), ValueError, "not be negative, got -4 at class 3"),
    ],
)
def test_a_frequency_that_is_no_count_is_refused(frequency, error, message):
    with pytest.raises(error, match=message):
        evaluate(decision_for(7), *rows_of(), frequency=frequency)


def test_no_rows_are_refused():
    rows = labelled_logits(*rows_of()).take(np.empty(0, dtype=np.int64))

    with pytest.raises(ValueError, match=r"needs at least one row, got shape \(0, 7\)"):
        evaluate_rows(decision_for(7), rows)


def test_nan_is_refused_unless_said_to_be_negative():
    logits, labels = rows_of()
    logits[5, 2] = np.nan

    with pytest.raises(ValueError, match="got nan at row 5, class 2"):
        evaluate(decision_for(7), logits, labels)
    assert evaluate(decision_for(7), logits, labels, nan="negative").summary["n_rows"] == 60
