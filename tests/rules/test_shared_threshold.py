import json
import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import FitWarning, SharedThreshold, metrics
from calibrate.data import logits
from calibrate.statistics import pooled

LAW = settings(derandomize=True, deadline=None, max_examples=40)
quiet = pytest.mark.filterwarnings("ignore::calibrate.FitWarning", "ignore:all logits lie in")

cells = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 1.0000001, 0.99999994]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.just(-math.inf),
)


@st.composite
def rows(draw):
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    size = shape[0] * shape[1]
    scores = draw(st.lists(cells, min_size=size, max_size=size))
    labels = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(shape)
    labels[0, 0] = True
    return np.array(scores, np.float32).reshape(shape), labels


def bumpy(tp, fp, fn, tn):
    """A metric that rises and falls with the false positives."""
    return np.sin(2.0 * fp + tp) + 0.01 * tp


def simulated(n_rows=300, n_classes=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.01, 0.5, n_classes)
    return (np.round(rng.normal(size=labels.shape) + 1.5 * labels - 1, 2) + 0.0), labels


@quiet
@pytest.mark.parametrize("pool_cells", [1, 5, 1 << 24])
@pytest.mark.parametrize(
    "metric",
    [
        metrics.f_beta(1),
        metrics.mcc,
        metrics.recall_at_precision(0.6),
        metrics.cost(1, 3),
        bumpy,
    ],
    ids=lambda m: getattr(m, "__name__", None) or repr(m),
)
@LAW
@given(rows())
def test_the_threshold_is_the_best_of_all_cuts_of_all_cells(metric, pool_cells, case):
    scores, labels = case

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooled, "_POOL_CELLS", pool_cells)
        patch.setattr(logits, "BLOCK_CELLS", 3)
        fitted = SharedThreshold(metric).fit(scores, labels, nan="negative")

    expected = naive.best_cut(scores.ravel(), labels.ravel(), metric)[1]
    assert fitted.op_.threshold == expected


def test_micro_f_of_its_predictions_is_no_less_than_that_of_any_other_threshold():
    scores, labels = simulated()

    fitted = SharedThreshold(metrics.f_beta(1)).fit(scores, labels)

    def micro_f(threshold):
        predicted = scores >= threshold
        return 2 * (predicted & labels).sum() / (predicted.sum() + labels.sum())

    best = micro_f(float(fitted.op_.threshold))
    assert best >= max(micro_f(t) for t in np.linspace(-5, 5, 2001))
    predicted = fitted.predict(scores).toarray()
    assert 2 * (predicted & labels).sum() / (predicted.sum() + labels.sum()) == best


def test_the_threshold_serves_any_number_of_classes_and_lies_midway():
    fitted = SharedThreshold(metrics.f_beta(1)).fit([[3.0, 0.0], [1.0, 2.0]], [[0], [1]])

    assert fitted.op_.threshold.shape == ()
    assert fitted.op_.threshold == 1.5


@pytest.mark.parametrize("metric", [metrics.f_beta(1), bumpy], ids=["f_beta", "bumpy"])
@pytest.mark.parametrize("pool_cells", [200, 1 << 24])
def test_threads_blocks_and_bands_change_no_threshold(metric, pool_cells, monkeypatch):
    scores, labels = simulated()
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    threshold = SharedThreshold(metric).fit(scores, labels).op_.threshold

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "4")
    monkeypatch.setattr(logits, "BLOCK_CELLS", 100)
    monkeypatch.setattr(pooled, "_POOL_CELLS", pool_cells)
    again = SharedThreshold(metric).fit(scores, labels).op_.threshold

    assert again == threshold


def test_the_threshold_moves_with_an_increasing_map_of_all_scores():
    scores, labels = simulated()
    whole = np.round(100 * scores)

    plain = SharedThreshold(metrics.f_beta(1)).fit(whole, labels).op_.threshold
    stretched = SharedThreshold(metrics.f_beta(1)).fit(4 * whole + 64, labels).op_.threshold

    assert stretched == 4 * plain + 64


def test_an_infeasible_precision_predicts_nothing_and_says_what_is_reached():
    scores, labels = [[4.0, 3.0], [2.0, 1.0]], [[1], []]

    with pytest.warns(FitWarning) as given:
        fitted = SharedThreshold(metrics.recall_at_precision(0.9)).fit(scores, labels)

    assert fitted.op_.threshold == np.inf
    assert fitted.predict(np.array(scores)).nnz == 0
    assert [(f.code, f.classes, f.values) for f in fitted.findings_] == [("infeasible", (), (0.5,))]
    assert [str(w.message) for w in given] == [
        "SharedThreshold: no cut reaches precision 0.9, the best reaches 0.5: nothing is predicted"
    ]


def test_a_metric_of_nan_everywhere_predicts_nothing_and_says_so():
    with pytest.warns(FitWarning, match="the metric is nan at every cut: nothing is predicted"):
        fitted = SharedThreshold(lambda tp, fp, fn, tn: np.nan * tp).fit([[4.0, 3.0]], [[1]])

    assert fitted.op_.threshold == np.inf
    assert [f.code for f in fitted.findings_] == ["undefined"]


def test_predicting_nothing_may_be_best_and_is_no_finding():
    fitted = SharedThreshold(metrics.cost(5, 1)).fit([[4.0, 3.0]], [[1]])

    assert fitted.op_.threshold == np.inf
    assert fitted.findings_ == ()


def test_without_any_positive_there_is_nothing_to_fit():
    message = "^labels must hold at least one positive, got none in 3 rows of 2 classes$"

    with pytest.raises(ValueError, match=message):
        SharedThreshold(metrics.f_beta(1)).fit(np.ones((3, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize("metric", [metrics.f_beta(1), metrics.mcc, metrics.cost(1, 5)], ids=repr)
def test_scores_that_no_key_parts_are_sorted_and_give_the_same(metric, monkeypatch):
    scores, labels = simulated()
    expected = SharedThreshold(metric).fit(scores, labels).op_.threshold

    monkeypatch.setattr(pooled, "_MOST_KEYS", 1 << 16)
    close = SharedThreshold(metric).fit(scores, labels).op_.threshold
    monkeypatch.setattr(pooled, "_MOST_KEYS", 1)
    sorted_ = SharedThreshold(metric).fit(scores, labels).op_.threshold

    assert close == expected
    assert sorted_ == expected


def test_the_shared_threshold_of_a_sample_of_every_magnitude_is_that_of_all_cuts():
    rng = np.random.default_rng(3)
    labels = rng.random((400, 5)) < 0.2
    scores = rng.choice([-1.0, 1.0], labels.shape) * np.exp(rng.normal(size=labels.shape) * 20)
    scores = (scores + labels * np.abs(scores)).astype(np.float32)

    for metric in (metrics.f_beta(1), metrics.mcc, metrics.balanced_accuracy):
        found = SharedThreshold(metric).fit(scores, labels).op_.threshold
        exhaustive = SharedThreshold(lambda *counts, m=metric: m(*counts)).fit(scores, labels)
        assert found == exhaustive.op_.threshold


# drawn to what the probabilities say


def of_right_probabilities(n_rows=2000, n_classes=6, seed=0):
    """Logits whose probabilities are right."""
    rng = np.random.default_rng(seed)
    scores = (rng.normal(size=(n_rows, n_classes)) * 1.5 - 2).astype(np.float32)
    return scores, rng.random(scores.shape) < 1 / (1 + np.exp(-scores.astype(np.float64)))


def half_of_the_highest_f(scores, beta=1.0):
    """The plug-in threshold of all cells by looking at each, in logits."""
    p = np.sort(1 / (1 + np.exp(-scores.astype(np.float64).ravel())))[::-1]
    k = np.arange(1, len(p) + 1)
    f = ((1 + beta**2) * np.cumsum(p) / (k + beta**2 * p.sum())).max() / (1 + beta**2)
    return np.log(f / (1 - f))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_right_probabilities_decide_the_threshold(beta):
    scores, labels = of_right_probabilities()

    fitted = SharedThreshold(metrics.f_beta(beta), shrinkage="auto").fit(scores, labels)

    assert fitted.report_.plug_in_taken
    assert fitted.op_.threshold == np.float32(fitted.report_.plug_in)
    assert fitted.op_.threshold == pytest.approx(half_of_the_highest_f(scores, beta), abs=2e-3)
    assert fitted.report_.swept != fitted.report_.plug_in
    assert fitted.report_.swept_error == pytest.approx(math.sqrt(2.3) * labels.sum() ** (-1 / 3))


@pytest.mark.parametrize("off", [2, -2])
def test_the_labels_decide_where_the_probabilities_are_wrong(off):
    scores, labels = of_right_probabilities()

    fitted = SharedThreshold(metrics.f_beta(1), shrinkage="auto").fit(scores + off, labels)

    swept = SharedThreshold(metrics.f_beta(1)).fit(scores + off, labels)
    assert not fitted.report_.plug_in_taken
    assert fitted.op_.threshold == swept.op_.threshold
    assert "the swept one is taken" in fitted.report_.sentences()[0]


def test_three_standard_errors_are_the_bound(monkeypatch):
    from calibrate.rules import shared_threshold

    scores, labels = of_right_probabilities()
    rule = SharedThreshold(metrics.f_beta(1), shrinkage="auto")
    report = rule.fit(scores, labels).report_
    apart = abs(report.swept - report.plug_in) / report.swept_error

    monkeypatch.setattr(shared_threshold, "_FARTHEST", apart * 1.0001)
    assert rule.fit(scores, labels).report_.plug_in_taken
    monkeypatch.setattr(shared_threshold, "_FARTHEST", apart * 0.9999)
    assert not rule.fit(scores, labels).report_.plug_in_taken


def test_what_lies_just_beyond_three_standard_errors_is_no_chance():
    scores, labels = of_right_probabilities(500)
    rule = SharedThreshold(metrics.f_beta(1), shrinkage="auto")

    def apart(shift):
        report = rule.fit(scores + shift, labels).report_
        return abs(report.swept - report.plug_in) / report.swept_error, report.plug_in_taken

    # the farther the logits are shifted, the farther apart the two lie
    found = [apart(shift) for shift in np.linspace(0.3, 1.2, 40)]

    assert any(2.9 < far < 3.0 for far, _ in found)
    assert any(3.0 < far < 3.1 for far, _ in found)
    assert [taken for _, taken in found] == [far <= 3.0 for far, _ in found]


def test_the_report_is_plain_json():
    scores, labels = np.full((4, 2), -3.0), np.eye(4, 2)

    report = SharedThreshold(metrics.f_beta(1), shrinkage="auto").fit(scores, labels).report_

    assert json.loads(json.dumps(report.as_dict())) == report.as_dict()
    assert set(report.as_dict()) == {"swept", "plug_in", "swept_error", "plug_in_taken"}


def test_a_threshold_that_nothing_passes_is_none_in_the_report():
    scores, labels = np.array([[np.nan, 3.0], [np.nan, -3.0]]), np.array([[1, 0], [1, 0]])
    rule = SharedThreshold(metrics.f_beta(1), shrinkage="auto")

    report = rule.fit(scores, labels, nan="negative").report_

    assert report.swept == np.inf
    assert report.as_dict()["swept"] is None
    assert not report.plug_in_taken


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shrinkage": 0.5}, "shrinkage must be None or 'auto', got 0.5"),
        ({"shrinkage": "always"}, "shrinkage must be None or 'auto', got 'always'"),
        ({"shrinkage": True}, "shrinkage must be None or 'auto', got True"),
        ({"metric": metrics.mcc, "shrinkage": "auto"}, "goes with f_beta and jaccard, got the met"),
    ],
)
def test_shrinkage_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SharedThreshold(**{"metric": metrics.f_beta(1), **options}).fit(np.eye(3), np.eye(3))
