"""A frozen decision labels rows, and refuses what it was not fitted for."""

from __future__ import annotations

import dataclasses

import naive_rules
import numpy as np
import pytest

import calibrate as cal
from calibrate.ops import Affine, BatchPlugIn, Threshold, TopK


def a_decision(**options) -> cal.Decision:
    step = Affine(np.array([1.0, 2.0], np.float32), np.array([0.0, -1.0], np.float32))
    return cal.Decision((step,), Threshold(np.array([0.5, 0.5], np.float32)), 2, **options)


LOGITS = np.array([[0.5, 0.75], [0.25, 0.5], [3.0, 9.0]])


def test_its_bytes_are_those_of_its_file(tmp_path):
    decision = a_decision(class_names=("a", "b"), provenance={"n_rows": 3})
    decision.save(tmp_path / "rule.safetensors")

    data = decision.to_bytes()
    found = cal.Decision.from_bytes(data)

    assert data == (tmp_path / "rule.safetensors").read_bytes()
    assert found.to_bytes() == data
    assert found.class_names == ("a", "b")
    assert (found.predict(LOGITS) != decision.predict(LOGITS)).nnz == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: b"", "the content must be that of a whole safetensors rule file"),
        (lambda data: data[:-1], "the content must be that of a whole safetensors rule file"),
        (lambda data: b"\x80\x04" + data, "the content must be that of a whole safetensors rule"),
        (lambda data: data.replace(b'"calibrate"', b'"something"'), "the content is a safetensors"),
        (lambda data: data.replace(b"affine", b"unheed"), "the rule holds the unknown step"),
    ],
)
def test_other_bytes_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        cal.Decision.from_bytes(change(a_decision().to_bytes()))


def test_labels_are_a_boolean_csr_matrix():
    labels = a_decision().predict(LOGITS)

    assert labels.format == "csr"
    assert labels.dtype == bool
    assert labels.toarray().tolist() == [[True, True], [False, False], [True, True]]


def test_probabilities_are_those_of_the_calibrated_logits():
    probabilities = a_decision().predict_proba(LOGITS)

    assert probabilities.dtype == np.float32
    expected = 1 / (1 + np.exp(-(LOGITS * [1, 2] + [0, -1])))
    assert np.allclose(probabilities, expected, rtol=1e-6)


def test_a_cell_without_a_score_has_probability_zero():
    probabilities = a_decision().predict_proba(np.array([[np.nan, 1.0]]), nan="negative")

    assert probabilities[0, 0] == 0


def test_no_rows_give_no_labels():
    assert a_decision().predict(np.empty((0, 2))).shape == (0, 2)
    assert a_decision().predict_proba(np.empty((0, 2))).shape == (0, 2)


def test_a_decision_for_7900_classes_refuses_7899():
    decision = cal.Decision((), Threshold(np.zeros(7900, np.float32)), 7900)

    with pytest.raises(ValueError, match="the 7900 classes of the fitted rule, got 7899 classes"):
        decision.predict(np.zeros((2, 7899)))


def test_other_class_names_are_refused():
    import pandas as pd

    decision = a_decision(class_names=("rock", "jazz"))

    with pytest.raises(ValueError, match="class 1 must be 'jazz' as in the fit, got 'folk'"):
        decision.predict(pd.DataFrame(LOGITS, columns=["rock", "folk"]))


def test_steps_for_other_classes_are_refused():
    with pytest.raises(ValueError, match="step 'threshold' must be for 3 classes, got 2"):
        cal.Decision((), Threshold(np.zeros(2, np.float32)), 3)


def test_a_decision_cannot_be_changed():
    decision = a_decision(provenance={"n_rows": 3, "pipeline": [{"step": "TopK"}]})

    with pytest.raises(dataclasses.FrozenInstanceError):
        decision.rule = TopK(1)
    with pytest.raises(TypeError):
        decision.provenance["n_rows"] = 4
    with pytest.raises(TypeError):
        decision.provenance["pipeline"][0]["step"] = "another"
    with pytest.raises(ValueError, match="read-only"):
        decision.rule.threshold[0] = 7


def test_provenance_says_what_was_fitted_on_what(tmp_path):
    logits = np.array([[1.0, -1.0, 0.5], [-1.0, -2.0, 1.0], [2.0, 0.0, -1.0]])
    labels = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 0]])
    pipeline = cal.Pipeline(
        [cal.PosWeightCorrection(np.ones(3))], cal.PerClassThreshold(cal.metrics.f_beta(2))
    )

    with pytest.warns(cal.FitWarning, match="1 of 3 classes have no positives"):
        pipeline.fit(logits, labels, class_names=["a", "b", "c"]).save(tmp_path / "rule")
    found = cal.load(tmp_path / "rule").provenance

    assert found["calibrate"] == cal.__version__
    assert found["n_rows"] == 3
    assert found["n_positives"] == 3
    assert [step["step"] for step in found["pipeline"]] == [
        "PosWeightCorrection",
        "PerClassThreshold",
    ]
    assert found["pipeline"][1]["options"] == {
        "metric": "f_beta(2)",
        "shrinkage": None,
        "batch": False,
    }
    assert found["pipeline"][0]["options"] == {
        "pos_weight": "array of shape (3,)",
        "label_smoothing": 0.0,
    }
    assert found["pipeline"][1]["findings"][0]["classes"] == (1,)


def test_a_class_that_is_never_predicted_is_not_predicted_by_overflow():
    steps = (Affine(np.array(2.0, np.float32), np.array(0.0, np.float32)),)
    rule = Threshold(np.array([np.inf, 1.0], np.float32))
    huge = np.full((1, 2), 3e38, np.float32)

    folded = cal.Decision(steps, rule, 2).predict(huge)
    one_by_one = rule.decide(steps[0].apply(huge))

    assert folded.indices.tolist() == one_by_one.indices.tolist() == [1]


@pytest.mark.filterwarnings("ignore::calibrate.base.FitWarning")
def test_a_rule_fitted_on_probabilities_takes_probabilities(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.random((200, 3)) < 0.4
    logits = 2.0 * labels + rng.normal(size=labels.shape) - 1
    p = 1 / (1 + np.exp(-logits))
    rule = cal.PerClassThreshold(cal.metrics.f_beta(1))

    pipeline = cal.Pipeline([], rule).fit(cal.as_logits(p, probabilities=True), labels)
    pipeline.save(tmp_path / "rule")

    expected = cal.Pipeline([], rule).fit(logits, labels).predict(logits)
    assert (cal.load(tmp_path / "rule").predict(p) != expected).nnz == 0
    with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\]"):
        cal.load(tmp_path / "rule").predict(logits)


# a decision that adapts to the rows labelled together


def a_batch_decision() -> cal.Decision:
    step = Affine(np.array([1.0, 2.0], np.float32), np.array([0.0, -1.0], np.float32))
    none = np.array(0.0, np.float32)
    return cal.Decision((step,), BatchPlugIn(1.0, none, none), 2, provenance={"n_rows": 5})


def test_adapted_it_holds_plain_thresholds_and_says_to_how_many_rows():
    decision = a_batch_decision()
    logits = np.random.default_rng(0).normal(-2, 2, size=(50, 2)).astype(np.float32)

    adapted = decision.adapted(logits)

    assert decision.adapts
    assert not adapted.adapts
    assert isinstance(adapted.rule, Threshold)
    assert dict(adapted.provenance) == {"n_rows": 5, "adapted_to_rows": 50}
    assert (adapted.predict(logits) != decision.predict(logits)).nnz == 0
    calibrated = decision.calibrate(logits)
    for c in range(2):
        assert adapted.rule.threshold[c] == pytest.approx(naive_rules.adapted(calibrated[:, c], 1))


def test_adapted_it_decides_a_single_row_as_in_its_batch():
    logits = np.random.default_rng(0).normal(-2, 2, size=(50, 2)).astype(np.float32)
    adapted = a_batch_decision().adapted(logits)

    alone = [adapted.predict(row[None]).toarray()[0].tolist() for row in logits]

    assert alone == adapted.predict(logits).toarray().tolist()


def test_a_block_of_rows_is_not_decided_by_itself(monkeypatch):
    decision = a_batch_decision()
    source = decision.source(np.zeros((4, 2), np.float32))

    for many in (1 << 22, 1):
        monkeypatch.setattr("calibrate.decision._MANY_CELLS", many)
        with pytest.raises(ValueError, match="must be adapted to all of them first"):
            list(decision.blocks(source))


def test_a_decision_of_each_row_by_itself_has_nothing_to_adapt():
    with pytest.raises(TypeError, match=r"^the rule 'threshold' decides each row by itself"):
        a_decision().adapted(LOGITS)


def test_evaluation_takes_the_rows_judged_for_the_batch():
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, size=(200, 2)).astype(np.float32)
    labels = rng.random((200, 2)) < 0.3
    decision = a_batch_decision()

    one = cal.evaluate(decision, logits, labels)
    other = cal.evaluate(decision.adapted(logits), logits, labels)

    assert one.summary == other.summary
    assert one.summary["n_predicted"] == decision.predict(logits).nnz
