"""Cuts judged by what probabilities let expect: closed forms, and the slow way."""

from __future__ import annotations

import math

import naive_rules
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from calibrate import ScoreHistogram, metrics
from calibrate.data import labelled_logits
from calibrate.ops import PiecewiseLinear
from calibrate.statistics import Grid, best_expected_cuts

LAW = settings(derandomize=True, deadline=None, max_examples=60)
pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")


def g_mean(tp, fp, fn, tn):
    return np.sqrt(tp / (tp + fn) * tn / (tn + fp))


def accuracy(tp, fp, fn, tn):
    return tp + tn


def of_probabilities(p):
    """Histogram of one class with these probabilities."""
    labels = np.zeros((len(p), 1), bool)
    labels[0] = True
    return ScoreHistogram.of(labelled_logits(logit(p)[:, None].astype(np.float32), labels))


def of_scores(scores, labels=None):
    """Histogram in which each quarter of a logit from -16 to 16 has a bin of its own."""
    labels = np.zeros(scores.shape, bool) if labels is None else labels
    n = scores.shape[1]
    rows = labelled_logits(scores, labels, nan="negative")
    return ScoreHistogram.of(rows, Grid(np.full(n, -64.0), np.full(n, 64.0), 512))


quarters = st.lists(
    st.one_of(st.integers(-24, 24).map(lambda i: i / 4), st.just(-math.inf)),
    min_size=1,
    max_size=14,
)
UNIFORM = (np.arange(100_000) + 0.5) / 100_000
GOLDEN = (3 - math.sqrt(5)) / 2


# closed forms


@pytest.mark.parametrize(
    ("metric", "threshold", "value"),
    [
        (metrics.f_beta(1), GOLDEN, 2 * GOLDEN),
        (metrics.f_beta(2), 3 - 2 * math.sqrt(2), 0.8578644),
        (metrics.f_beta(0.5), 0.6096118, 0.7620147),
        (metrics.jaccard, GOLDEN, (math.sqrt(5) - 1) / 2),
        (metrics.balanced_accuracy, 0.5, 0.75),
        (metrics.mcc, 0.5, 0.5),
        (g_mean, 0.5, 0.75),
        (metrics.cost(1, 3), 0.25, None),
        (accuracy, 0.5, None),
    ],
    ids=repr,
)
def test_thresholds_of_uniform_probabilities_are_those_of_the_closed_form(metric, threshold, value):
    """Targets 1 to 4: F1, F2, F0.5, Jaccard, balanced accuracy, MCC, the geometric mean."""
    cuts = best_expected_cuts(of_probabilities(UNIFORM), metric)

    assert expit(cuts.threshold[0]) == pytest.approx(threshold, abs=4e-5)
    if value is not None:
        assert cuts.value[0] == pytest.approx(value, abs=4e-5)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 1.7, 3.0, 10.0])
def test_the_f_of_uniform_probabilities_and_its_threshold_for_any_beta(beta):
    """Target 2: ``t = [(2 + b2) - sqrt((2 + b2)^2 - 4)] / 2`` and ``F = (1 + b2) t``."""
    b2 = beta**2

    cuts = best_expected_cuts(of_probabilities(UNIFORM), metrics.f_beta(beta))

    t = ((2 + b2) - math.sqrt((2 + b2) ** 2 - 4)) / 2
    assert expit(cuts.threshold[0]) == pytest.approx(t, rel=1e-4)
    assert cuts.value[0] == pytest.approx((1 + b2) * t, rel=1e-4)


@pytest.mark.parametrize(
    ("b", "threshold", "count_ratio"),
    [
        (1, 0.381966, 1.236),
        (2, 0.317672, 1.397),
        (5, 0.221910, 1.711),
        (20, 0.102708, 2.404),
        (60, 0.048424, 3.104),
    ],
)
def test_a_weak_classifier_is_best_where_it_predicts_too_much(b, threshold, count_ratio):
    """Target 6: probabilities spread like Beta(1, b)."""
    p = 1 - (1 - UNIFORM) ** (1 / b)

    cuts = best_expected_cuts(of_probabilities(p), metrics.f_beta(1))

    t = expit(cuts.threshold[0])
    assert t == pytest.approx(threshold, rel=3e-4)
    assert cuts.value[0] == pytest.approx(2 * threshold, rel=3e-4)
    assert (p >= t).sum() / p.sum() == pytest.approx(count_ratio, abs=4e-3)


@pytest.mark.parametrize("b", [0.01, 0.3])
def test_equal_probabilities_are_called_constant_and_f_would_predict_them_all(b):
    """Target 7: a constant classifier has F of ``2 b / (1 + b)``."""
    cuts = best_expected_cuts(of_probabilities(np.full(50, b)), metrics.f_beta(1))

    assert cuts.constant.tolist() == [True]
    assert cuts.value[0] == pytest.approx(2 * b / (1 + b), rel=1e-5)


def test_balanced_accuracy_cuts_at_the_prevalence():
    p = 1 - (1 - UNIFORM) ** (1 / 30)

    cuts = best_expected_cuts(of_probabilities(p), metrics.balanced_accuracy)

    assert expit(cuts.threshold[0]) == pytest.approx(p.mean(), rel=1e-4)


@pytest.mark.parametrize("costs", [(1, 1), (1, 9), (5, 2)])
def test_a_cost_cuts_at_the_share_of_the_false_positive_whatever_the_probabilities(costs):
    """Elkan: even where no score is so high, or none so low."""
    share = costs[0] / sum(costs)

    for p in (share * UNIFORM, share + (1 - share) * UNIFORM, UNIFORM):
        cuts = best_expected_cuts(of_probabilities(p[::100]), metrics.cost(*costs))

        assert expit(cuts.threshold[0]) == pytest.approx(share, abs=1e-6)


# the slow way


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@LAW
@given(quarters)
def test_the_threshold_for_f_is_the_logit_of_its_share(beta, scores):
    column = np.array(scores, np.float32)[:, None]

    cuts = best_expected_cuts(of_scores(column), metrics.f_beta(beta))

    if not np.isfinite(column).any():
        assert cuts.threshold.tolist() == [math.inf]
        return
    assert cuts.threshold[0] == pytest.approx(naive_rules.plug_in(scores, beta), abs=1e-6)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.f_beta(1),
        metrics.jaccard,
        metrics.mcc,
        metrics.cost(1, 4),
        metrics.recall_at_precision(0.5),
        lambda tp, fp, fn, tn: np.sqrt(1 + tp) - 0.7 * fp,
    ],
    ids=lambda m: getattr(m, "__name__", None) or repr(m),
)
@LAW
@given(quarters)
def test_the_cut_is_the_best_of_all_by_its_expected_counts(metric, scores):
    column = np.array(scores, np.float32)[:, None]

    cuts = best_expected_cuts(of_scores(column), metric)

    value, above, below = naive_rules.best_expected_cut(scores, metric)
    assert cuts.value[0] == pytest.approx(value, abs=1e-9)
    if np.isfinite(value) and np.isfinite(column).any():
        assert below < cuts.threshold[0] <= above


def test_where_the_gradient_says_nothing_the_threshold_is_midway():
    scores = np.array([[3.0], [1.0], [-2.0]], np.float32)

    cuts = best_expected_cuts(of_scores(scores), lambda tp, fp, fn, tn: np.floor(tp + fp) == 2)

    assert cuts.threshold.tolist() == [-0.5]


@pytest.mark.parametrize("worth", [0.01, 0.99])
def test_where_the_gradient_leads_elsewhere_the_threshold_is_midway(worth):
    scores = np.array([[3.0], [1.0], [-2.0]], np.float32)

    def two_of_them(tp, fp, fn, tn):
        return (np.floor(tp + fp + 0.5) == 2) + 1e-3 * (tp - worth * (tp + fp))

    assert best_expected_cuts(of_scores(scores), two_of_them).threshold.tolist() == [-0.5]


def test_where_the_metric_has_no_value_at_any_cut_nothing_passes():
    scores, p = np.array([[1.0], [-1.0]], np.float32), expit(1.0)

    def without_value(tp, fp, fn, tn):
        cuts = [(0.0, 0.0), (p, 1.0), (1.0, 2.0)]
        at = [np.isclose(tp, hits, 0, 1e-9) & np.isclose(tp + fp, n, 0, 1e-9) for hits, n in cuts]
        return np.where(np.any(at, axis=0), np.nan, tp - 0.99 * (tp + fp))

    cuts = best_expected_cuts(of_scores(scores), without_value)

    assert (cuts.threshold[0], cuts.value[0]) == (math.inf, -math.inf)
    assert cuts.constant.tolist() == [False]


def test_equal_scores_behind_a_flat_step_stay_together():
    flat = PiecewiseLinear([0, 2], [-4.0, 4.0], [0.0, 0.0], [1.0], [1.0])
    scores = np.array([[0.75], [0.5], [-0.5], [-3.0]], np.float32)

    cuts = best_expected_cuts(of_scores(scores).after(flat), lambda tp, fp, fn, tn: -abs(tp - 1))

    assert cuts.constant.tolist() == [True]
    assert cuts.threshold.tolist() == [math.inf]


# beside the labels


def test_the_realised_value_is_that_of_the_labels_at_the_same_cut():
    rng = np.random.default_rng(0)
    scores = (rng.integers(-20, 20, size=(400, 3)) / 4).astype(np.float32)
    labels = rng.random(scores.shape) < expit(scores - 1)
    labels[:, 2] = False

    cuts = best_expected_cuts(of_scores(scores, labels), metrics.f_beta(1))

    for c in range(2):
        chosen = scores[:, c] >= cuts.threshold[c]
        f = 2 * (chosen & labels[:, c]).sum() / (chosen.sum() + labels[:, c].sum())
        assert cuts.realised[c] == pytest.approx(f, abs=1e-12)
    assert math.isnan(cuts.realised[2])


@pytest.mark.parametrize("metric", [metrics.f_beta(2), metrics.mcc], ids=repr)
def test_the_error_is_that_of_labels_drawn_by_the_probabilities(metric):
    rng = np.random.default_rng(0)
    scores = (rng.integers(-20, 8, size=(500, 1)) / 4).astype(np.float32)
    drawn = [rng.random(scores.shape) < expit(scores) for _ in range(200)]

    found = [best_expected_cuts(of_scores(scores, labels), metric) for labels in drawn]

    missing = np.array([cuts.value[0] - cuts.realised[0] for cuts in found])
    assert missing.std() == pytest.approx(found[0].error[0], rel=0.15)
    assert abs(missing.mean()) < 0.2 * missing.std() + 2 / 500


def test_a_metric_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"^a metric must return one real number per cut, got"):
        best_expected_cuts(of_scores(np.ones((2, 1), np.float32)), lambda *counts: 1.0)


def test_many_classes_are_those_that_each_is_alone(monkeypatch):
    rng = np.random.default_rng(3)
    scores = (rng.integers(-30, 20, size=(60, 9)) / 4).astype(np.float32)
    whole = best_expected_cuts(of_scores(scores), metrics.mcc)

    monkeypatch.setattr("calibrate.statistics.expected._JUDGED_ENTRIES", 1)
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "3")
    parts = best_expected_cuts(of_scores(scores), metrics.mcc)

    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other, equal_nan=True)
