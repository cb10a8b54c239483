import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import metrics

LAW = settings(derandomize=True, deadline=None, max_examples=70)

GOLDEN = (math.sqrt(5) - 1) / 2

PAIRS = [
    (metrics.f_beta(1), naive.f_beta(1)),
    (metrics.f_beta(2), naive.f_beta(2)),
    (metrics.f_beta(0.5), naive.f_beta(0.5)),
    (metrics.jaccard, naive.jaccard),
    (metrics.balanced_accuracy, naive.balanced_accuracy),
    (metrics.mcc, naive.mcc),
    (metrics.cost(1, 10), naive.cost(1, 10)),
    (metrics.cost(3, 0), naive.cost(3, 0)),
    (metrics.precision_at_recall(0.6), naive.precision_at_recall(0.6)),
    (metrics.recall_at_precision(0.7), naive.recall_at_precision(0.7)),
    (
        metrics.constrained(metrics.f_beta(1), min_precision=0.6),
        naive.constrained(naive.f_beta(1), naive.precision, 0.6),
    ),
    (
        metrics.constrained(metrics.cost(1, 3), min_recall=0.4),
        naive.constrained(naive.cost(1, 3), naive.recall, 0.4),
    ),
]
pairs = pytest.mark.parametrize(("metric", "slow"), PAIRS, ids=[repr(m) for m, _ in PAIRS])

count = st.integers(0, 12)


def uniform_world(t):
    """Shares of the four outcomes at cuts t where p is uniform and y is Bernoulli(p)."""
    return (1 - t**2) / 2, (1 - t) ** 2 / 2, t**2 / 2, t - t**2 / 2


def beta_world(t, b):
    """The same where p is Beta(1, b)."""
    predicted = (1 - t) ** b
    tp = t * (1 - t) ** b + (1 - t) ** (b + 1) / (b + 1)
    return tp, predicted - tp, 1 / (b + 1) - tp, 1 - predicted - 1 / (b + 1) + tp


def one(metric, *counts):
    return float(metric(*(np.array([c], dtype=np.float64) for c in counts))[0])


@pairs
@LAW
@given(st.lists(st.tuples(count, count, count, count), min_size=1, max_size=10))
def test_a_metric_is_its_textbook_formula_for_any_counts(metric, slow, counts):
    counts = [c if sum(c) else (0, 0, 0, 1) for c in counts]
    arrays = [np.array(column, dtype=np.float64) for column in zip(*counts, strict=True)]

    values = metric(*arrays)

    np.testing.assert_allclose(values, [slow(*c) for c in counts], rtol=1e-12, atol=1e-12)


@pairs
def test_a_metric_keeps_the_shape_of_its_counts(metric, slow):
    counts = np.random.default_rng(0).integers(0, 9, size=(4, 5, 3)).astype(np.float64)

    values = metric(*counts)

    assert values.shape == (5, 3)
    np.testing.assert_allclose(values[1, 2], slow(*counts[:, 1, 2]), rtol=1e-12)


@pairs
@LAW
@given(count, count, count, count)
def test_a_negative_that_leaves_the_predictions_never_lowers_a_metric(metric, slow, tp, fp, fn, tn):
    fewer, more = one(metric, tp, fp, fn, tn + 1), one(metric, tp, fp + 1, fn, tn)

    assert metric.positives_suffice
    assert fewer >= more - 1e-15


@pytest.mark.parametrize("metric", [m for m, _ in PAIRS], ids=repr)
def test_a_metric_warns_of_no_division_when_nothing_is_true_or_predicted(metric):
    value = one(metric, 0, 0, 0, 5)

    assert value in (0.0, 0.5, -np.inf)


def test_mcc_of_a_large_matrix_does_not_overflow():
    value = one(metrics.mcc, 4e8, 1e8, 2e8, 5e8)

    assert value == pytest.approx(naive.mcc(4e8, 1e8, 2e8, 5e8), rel=1e-12)


# closed forms


@pytest.mark.parametrize(
    ("metric", "cut", "best"),
    [
        (metrics.f_beta(1), (3 - math.sqrt(5)) / 2, 0.7639320),
        (metrics.f_beta(2), 3 - 2 * math.sqrt(2), 0.8578644),
        (metrics.f_beta(0.5), 0.6096118, 0.7620147),
        (metrics.jaccard, 1 - GOLDEN, GOLDEN),
        (metrics.balanced_accuracy, 0.5, 0.75),
        (metrics.mcc, 0.5, 0.5),
        (metrics.cost(1, 4), 0.2, -(0.8**2 / 2 + 4 * 0.2**2 / 2)),
        (metrics.cost(1, 1), 0.5, -0.25),
    ],
)
def test_in_the_uniform_world_the_best_cut_is_the_closed_form(metric, cut, best):
    """Verification targets 1 to 4."""
    t = np.linspace(1e-4, 1 - 1e-4, 200_001)

    values = metric(*uniform_world(t))

    assert t[values.argmax()] == pytest.approx(cut, abs=2e-5)
    assert values.max() == pytest.approx(best, abs=2e-7)


@pytest.mark.parametrize("beta", [0.25, 0.5, 1.0, 2.0, 5.0])
def test_in_the_uniform_world_the_best_f_is_its_cut_times_one_plus_beta_squared(beta):
    """Verification target 2, the general form."""
    cut = ((2 + beta**2) - math.sqrt((2 + beta**2) ** 2 - 4)) / 2

    value = one(metrics.f_beta(beta), *uniform_world(cut))

    assert value == pytest.approx((1 + beta**2) * cut, rel=1e-12)


def test_a_grid_of_probabilities_with_soft_labels_has_the_closed_form_optimum():
    """Verification target 1."""
    p = (np.arange(20_000) + 0.5) / 20_000
    tp, fp = np.cumsum(p[::-1])[::-1], np.cumsum((1 - p)[::-1])[::-1]

    values = metrics.f_beta(1)(tp, fp, p.sum() - tp, (1 - p).sum() - fp)

    assert p[values.argmax()] == pytest.approx(0.3819660, abs=1e-4)
    assert values.max() == pytest.approx(0.7639320, abs=1e-7)


@pytest.mark.parametrize(
    ("b", "cut", "count_ratio", "ratio_at_prevalence", "f_at_prevalence"),
    [
        (1, 0.381966, 1.236, 1.000, 0.750),
        (2, 0.317672, 1.397, 1.333, 0.635),
        (5, 0.221910, 1.711, 2.411, 0.432),
        (20, 0.102708, 2.404, 7.915, 0.165),
        (60, 0.048424, 3.104, 22.63, 0.062),
    ],
)
def test_in_the_beta_world_the_best_f_is_twice_its_cut_and_predicts_too_many(
    b, cut, count_ratio, ratio_at_prevalence, f_at_prevalence
):
    """Verification target 6."""
    t = np.linspace(1e-5, 0.9, 400_001)
    prevalence = 1 / (1 + b)

    values = metrics.f_beta(1)(*beta_world(t, b))

    best = t[values.argmax()]
    assert best == pytest.approx(cut, abs=5e-6)
    assert values.max() == pytest.approx(2 * cut, abs=2e-6)
    assert (1 - best) ** b / prevalence == pytest.approx(count_ratio, abs=6e-4)
    at = (1 - prevalence) ** b / prevalence
    assert at == pytest.approx(ratio_at_prevalence, abs=5e-3)
    assert one(metrics.f_beta(1), *beta_world(prevalence, b)) == pytest.approx(
        f_at_prevalence, abs=6e-4
    )


@pytest.mark.parametrize("prevalence", [0.01, 0.2, 0.9])
def test_predicting_everything_has_the_f_of_a_constant_classifier(prevalence):
    """Verification target 7."""
    value = one(metrics.f_beta(1), prevalence, 1 - prevalence, 0, 0)

    assert value == pytest.approx(2 * prevalence / (1 + prevalence), rel=1e-12)


# constraints and names


def test_a_bound_that_is_just_reached_is_reached():
    at_recall = one(metrics.precision_at_recall(0.9), 9, 3, 1, 5)
    at_precision = one(metrics.recall_at_precision(0.7), 7, 3, 7, 5)

    assert at_recall == 0.75
    assert at_precision == 0.5


def test_a_constraint_names_what_it_bounds():
    recall, precision = metrics.precision_at_recall(0.9), metrics.recall_at_precision(0.8)
    counts = [np.array([6.0]), np.array([2.0]), np.array([4.0]), np.array([8.0])]

    assert (recall.constrained_name, recall.bound) == ("recall", 0.9)
    assert (precision.constrained_name, precision.bound) == ("precision", 0.8)
    assert recall.constrained(*counts).tolist() == [0.6]
    assert precision.constrained(*counts).tolist() == [0.75]


def test_metrics_show_their_names_and_options():
    shown = [repr(m) for m, _ in PAIRS]

    assert shown == [
        "f_beta(1)",
        "f_beta(2)",
        "f_beta(0.5)",
        "jaccard",
        "balanced_accuracy",
        "mcc",
        "cost(1, 10)",
        "cost(3, 0)",
        "precision_at_recall(0.6)",
        "recall_at_precision(0.7)",
        "constrained(f_beta(1), min_precision=0.6)",
        "constrained(cost(1, 3), min_recall=0.4)",
    ]


def test_metrics_of_equal_options_are_equal():
    assert metrics.f_beta(2) == metrics.f_beta(2.0)
    assert metrics.f_beta(2) != metrics.f_beta(1)


@pytest.mark.parametrize("beta", [0, -1, np.inf, np.nan])
def test_f_beta_refuses_a_beta_that_is_not_positive(beta):
    with pytest.raises(ValueError, match=f"^beta must be positive and finite, got {beta}$"):
        metrics.f_beta(beta)


@pytest.mark.parametrize("costs", [(-1, 1), (1, -1), (np.nan, 1), (1, np.inf)])
def test_cost_refuses_costs_that_are_not_costs(costs):
    wrong = costs[0] if not 0 <= costs[0] < np.inf else costs[1]

    with pytest.raises(ValueError, match=f"^a cost must be finite and not negative, got {wrong}$"):
        metrics.cost(*costs)


def test_cost_refuses_two_costs_of_nothing():
    with pytest.raises(ValueError, match=r"^one of the two costs must be positive, got 0 and 0$"):
        metrics.cost(0, 0)


@pytest.mark.parametrize("bound", [0, -0.5, 1.01, np.nan])
def test_constraints_refuse_a_bound_outside_its_range(bound):
    with pytest.raises(
        ValueError, match=f"^min_recall must be above 0 and at most 1, got {bound}$"
    ):
        metrics.precision_at_recall(bound)
    with pytest.raises(
        ValueError, match=f"^min_precision must be above 0 and at most 1, got {bound}$"
    ):
        metrics.recall_at_precision(bound)
    with pytest.raises(ValueError, match=f"min_recall must be above 0 and at most 1, got {bound}"):
        metrics.constrained(metrics.mcc, min_recall=bound)


def test_a_bound_needs_a_metric_that_keeps_its_promises():
    with pytest.raises(TypeError, match=r"must be one of calibrate.metrics, got <function"):
        metrics.constrained(lambda tp, fp, fn, tn: tp, min_recall=0.5)


@pytest.mark.parametrize("bounds", [{}, {"min_precision": 0.5, "min_recall": 0.5}])
def test_exactly_one_bound_is_given(bounds):
    with pytest.raises(TypeError, match="exactly one of min_precision and min_recall"):
        metrics.constrained(metrics.f_beta(1), **bounds)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.f_beta(0.5), metrics.f_beta(1), metrics.f_beta(2), metrics.jaccard, metrics.mcc,
        metrics.balanced_accuracy, metrics.cost(1, 0), metrics.cost(0, 1), metrics.cost(2, 3),
        metrics.precision_at_recall(0.5), metrics.recall_at_precision(0.5),
        metrics.constrained(metrics.f_beta(1), min_precision=0.5),
        metrics.constrained(metrics.mcc, min_recall=0.5),
        metrics.constrained(metrics.cost(2, 3), min_precision=0.3),
        metrics.precision_at_recall(0.5).constrained, metrics.recall_at_precision(0.5).constrained,
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (1, 9), (7, 4), (6, 13), (12, 12)])
def test_a_metric_keeps_both_of_its_promises(metric, positives, negatives):
    tp, fp = np.mgrid[: positives + 1, : negatives + 1].astype(float)
    values = metric(*(c.ravel() for c in (tp, fp, positives - tp, negatives - fp)))
    values = values.reshape(tp.shape)
    falls, rises = values[:, :-1] >= values[:, 1:], values[1:] >= values[:-1]
    falls |= np.isclose(values[:, :-1], values[:, 1:], rtol=1e-12)
    rises |= np.isclose(values[1:], values[:-1], rtol=1e-12)

    assert metric.positives_suffice
    assert metric.rises_with_tp
    assert falls.all()
    # above all scores nothing is predicted: that cut is tried by itself
    assert rises[:, 1:].all()
    assert rises[1:].all()
