"""Thresholds from probabilities alone, and those of the rows that are labelled together."""

from __future__ import annotations

import warnings

import naive
import naive_rules
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit, logit

import calibrate as cal
from calibrate import FitWarning, PlugInThreshold, ScoreHistogram, metrics
from calibrate.data import labelled_logits

LAW = settings(derandomize=True, deadline=None, max_examples=300)
F1 = metrics.f_beta(1)


def calibrated(n_rows=4000, n_classes=8, seed=0):
    """Logits that are right, and labels drawn by them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(logit(np.geomspace(0.01, 0.3, n_classes)), 1.5, size=(n_rows, n_classes))
    return logits.astype(np.float32), rng.random(logits.shape) < expit(logits)


def macro_f1(predicted, labels):
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    tp, total = (predicted & labels).sum(axis=0), predicted.sum(axis=0) + labels.sum(axis=0)
    return float((2 * tp / np.maximum(total, 1))[labels.any(axis=0)].mean())


def test_labels_play_no_part_in_the_thresholds():
    logits, labels = calibrated()
    fitted = PlugInThreshold(F1).fit(logits, labels)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        other = PlugInThreshold(F1).fit(logits, ~labels)

    assert other.op_.threshold.tolist() == fitted.op_.threshold.tolist()


def test_it_finds_what_the_labels_would_for_probabilities_that_are_right():
    """The plug-in cut is within 2 % of the best F1 that any cut has on these very labels."""
    logits, labels = calibrated(n_rows=40_000, n_classes=3)

    plug_in = macro_f1(PlugInThreshold(F1).fit(logits, labels).predict(logits).toarray(), labels)
    swept = macro_f1(
        cal.PerClassThreshold(F1).fit(logits, labels).predict(logits).toarray(), labels
    )

    assert swept * 0.98 < plug_in <= swept


def test_on_new_rows_it_beats_the_sweep_where_classes_are_rare():
    logits, labels = calibrated(n_rows=1000, n_classes=40)
    new, truth = calibrated(n_rows=20_000, n_classes=40, seed=1)

    plug_in = PlugInThreshold(F1).fit(logits, labels).predict(new).toarray()
    swept = cal.PerClassThreshold(F1).fit(logits, labels).predict(new).toarray()

    assert macro_f1(plug_in, truth) > macro_f1(swept, truth) + 0.005


def test_a_class_without_positives_is_predicted_by_its_probabilities():
    logits, labels = calibrated()
    labels[:, 2] = False

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        rule = PlugInThreshold(F1).fit(logits, labels)

    assert rule.predict(logits).toarray()[:, 2].any()
    assert np.isnan(rule.report_.realised).tolist() == [c == 2 for c in range(8)]


def test_a_class_of_equal_scores_is_never_predicted_and_listed():
    logits, labels = calibrated(n_classes=3)
    logits[:, 1] = -0.5
    labels[:, 1] = expit(-0.5) > np.linspace(0, 1, len(labels))

    with pytest.warns(FitWarning, match="1 of 3 classes have equal scores: they are never pred"):
        rule = PlugInThreshold(F1).fit(logits, labels)

    assert rule.op_.threshold[1] == np.inf
    assert [(f.code, f.classes) for f in rule.findings_] == [("uninformative", (1,))]


def test_what_is_promised_is_reported_beside_what_is_there():
    logits, labels = calibrated()

    rule = PlugInThreshold(F1).fit(logits, labels)

    report = rule.report_
    predicted, realised = report.macro
    assert rule.findings_ == ()
    assert realised == pytest.approx(macro_f1(rule.predict(logits).toarray(), labels), abs=0.01)
    assert predicted == pytest.approx(realised, abs=0.03)
    assert report.as_dict() == {
        "metric": "f_beta(1)",
        "predicted_macro": predicted,
        "realised_macro": realised,
        "n_judged": 8,
        "n_too_high": 0,
    }
    assert report.sentences() == [
        f"the probabilities promise a mean f_beta(1) of {predicted:.4f} over the 8 classes with "
        f"positives, the fitting rows have {realised:.4f}"
    ]


def test_a_promise_far_above_the_labels_is_a_finding():
    logits, labels = calibrated(n_classes=4)
    logits[:, 3] += 2.0

    with pytest.warns(FitWarning, match=r"1 of 4 classes promise far more f_beta\(1\) than"):
        rule = PlugInThreshold(F1).fit(logits, labels)

    (finding,) = rule.findings_
    assert (finding.code, finding.classes) == ("promise_too_high", (3,))
    report = rule.report_
    assert finding.values == (pytest.approx(report.predicted[3] - report.realised[3]),)


def test_with_right_probabilities_no_promise_is_called_too_high():
    logits, labels = calibrated(n_rows=1000, n_classes=300)

    with warnings.catch_warnings():
        warnings.simplefilter("error", FitWarning)
        rule = PlugInThreshold(metrics.mcc).fit(logits, labels)

    assert not rule.report_.too_high.any()


def test_without_labels_there_is_a_rule_and_nothing_to_say_of_it():
    logits, labels = calibrated(n_classes=2)

    rule = PlugInThreshold(F1).fit(logits, np.zeros_like(labels))

    assert np.isfinite(rule.op_.threshold).all()
    assert rule.report_.as_dict()["predicted_macro"] is None
    assert rule.report_.sentences() == [
        "no class has labels to hold the promised f_beta(1) against"
    ]


def test_it_is_fitted_from_a_histogram_as_from_rows():
    logits, labels = calibrated()
    histogram = ScoreHistogram.of(labelled_logits(logits, labels))

    one, other = PlugInThreshold(F1).fit(logits, labels), PlugInThreshold(F1).fit_from(histogram)

    assert one.op_.same_as(other.op_)


def test_bins_are_fine_enough():
    """512 bins move no threshold of highest F1 by more than 0.005 in logits."""
    logits, labels = calibrated(n_rows=1000, n_classes=30)
    logits *= np.linspace(0.5, 3, 30, dtype=np.float32)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        fitted = PlugInThreshold(F1).fit(logits, labels).op_.threshold

    exact = [naive_rules.plug_in(column, 1.0) for column in logits[:, ::10].T]
    assert np.abs(fitted[::10] - exact).max() < 0.005


@pytest.mark.parametrize(
    ("name", "loss", "least"),
    [("bibtex", "unweighted", 0.04), ("goemotions_tfidf", "weighted", 0.01)],
)
def test_on_real_networks_it_beats_the_sweep(real_logits, name, loss, least):
    saved = real_logits(name, loss)
    (logits, labels), (test, truth) = saved.arrays("val"), saved.arrays("test")
    truth = truth.toarray().astype(bool)
    weights = saved.pos_weight if loss == "weighted" else None
    layers = [cal.HierarchicalScaling(weights)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        swept, plug_in, batch = (
            cal.Pipeline(steps, rule).fit(logits, labels).predict(test).toarray()
            for steps, rule in [
                ([], cal.PerClassThreshold(F1)),
                (layers, PlugInThreshold(F1)),
                (layers, PlugInThreshold(F1, batch=True)),
            ]
        )

    assert macro_f1(plug_in, truth) > macro_f1(swept, truth) + least
    assert macro_f1(batch, truth) > macro_f1(swept, truth) + least
    assert batch.any(axis=0).all()


# by isotonic fits


@LAW
@given(st.lists(st.tuples(st.integers(-4, 4).map(float), st.booleans()), min_size=1, max_size=15))
def test_the_plug_in_cut_of_a_monotone_fit_is_the_swept_one(cells):
    """Target 14: pooling adjacent violators and the fixed point have the F of the exact sweep."""
    scores, positive = zip(*cells, strict=True)
    if not any(positive):
        return

    by_fit = naive_rules.best_f_of_monotone_fit(scores, positive)

    assert float(by_fit) == pytest.approx(naive.best_cut(scores, positive, F1)[0], abs=1e-14)


# on the rows that are labelled together


def test_in_a_batch_the_cuts_are_those_of_its_own_rows():
    logits, labels = calibrated()
    new = calibrated(n_rows=700, seed=5)[0] - 1

    rule = PlugInThreshold(F1, batch=True).fit(logits, labels)
    predicted = rule.predict(new).toarray()

    for c in range(8):
        threshold = naive_rules.adapted(new[:, c], 1.0)
        assert predicted[:, c].tolist() == (new[:, c] >= threshold).tolist()
    assert predicted.any(axis=0).all()


def test_the_batch_of_the_fitting_rows_has_the_thresholds_of_the_fit_but_for_its_bins():
    logits, labels = calibrated()

    plain = PlugInThreshold(metrics.jaccard).fit(logits, labels).op_.threshold
    rule = cal.Pipeline([], PlugInThreshold(metrics.jaccard, batch=True)).fit(logits, labels)

    adapted = rule.decision_.adapted(logits)
    assert np.abs(adapted.rule.threshold - plain).max() < 0.01
    assert adapted.provenance["adapted_to_rows"] == len(logits)


@pytest.mark.parametrize("metric", [metrics.mcc, metrics.cost(1, 2), lambda *counts: counts[0]])
def test_a_batch_is_for_f_and_jaccard(metric):
    logits, labels = calibrated(n_rows=50)

    with pytest.raises(ValueError, match=r"^batch=True goes with f_beta and jaccard, got the"):
        PlugInThreshold(metric, batch=True).fit(logits, labels)


def test_a_batch_without_labels_of_two_rows_and_a_saved_rule(tmp_path):
    logits, labels = calibrated(n_classes=3)
    decision = (
        cal.Pipeline([cal.PlattScaling()], PlugInThreshold(F1, batch=True))
        .fit(logits, sparse.csr_array(labels))
        .decision_
    )

    decision.save(tmp_path / "rule.safetensors")
    loaded = cal.load(tmp_path / "rule.safetensors")

    assert loaded.adapts
    assert (loaded.predict(logits[:2]) != decision.predict(logits[:2])).nnz == 0
    assert loaded.predict(logits[:2]).sum() >= 3
    with pytest.raises(ValueError, match=r"labelled together: give at least two, got 1$"):
        loaded.predict(logits[:1])
    with pytest.raises(ValueError, match="must be adapted to all of them first"):
        loaded.decide(logits[:5])
