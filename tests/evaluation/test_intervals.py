"""Intervals of F and differences of two decisions: exact bounds, known cases, what is refused."""

from __future__ import annotations

import naive_evaluation as naive
import numpy as np
import pytest
from scipy import stats

import calibrate as cal
from calibrate.decision import Decision
from calibrate.evaluation import Interval
from calibrate.evaluation.intervals import exact_interval, f_intervals, over_rows
from calibrate.ops import Threshold


def half(n_classes, cut=0.0):
    return Decision((), Threshold(np.float32(cut)), n_classes)


def example(n_rows=300, n_classes=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.linspace(0.4, 0.05, n_classes)
    return (1.5 * labels + rng.normal(size=labels.shape) - 0.5).astype(np.float32), labels


def counts_of(*triples):
    return tuple(np.array(part, dtype=np.int64) for part in zip(*triples, strict=True))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_exact_bounds_are_those_of_scipy(level):
    successes, trials = (part.ravel() for part in np.mgrid[:12, :12])
    possible = successes <= trials
    successes, trials = successes[possible], trials[possible]

    low, high = exact_interval(successes, trials, level)

    for k, n, *ours in zip(successes, trials, low, high, strict=True):
        expected = (0.0, 1.0)
        if n:
            expected = stats.binomtest(int(k), int(n)).proportion_ci(level)
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-11)


def test_nothing_found_in_50_has_its_published_upper_bound():
    """Verification target 21: the upper bound of 0 in 50 at one-sided level .05 is .0581551."""
    _, high = exact_interval(np.array([0]), np.array([50]), 0.90)

    assert high[0] == pytest.approx(0.0581551, abs=5e-8)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bounds_of_f_agree_with_the_slow_form(beta, level):
    counts = counts_of(
        *[(tp, p, t) for p in range(7) for t in range(7) for tp in range(min(p, t) + 1)]
    )

    ours = f_intervals(*counts, beta, level)

    expected = [naive.f_interval(*c, beta, level) for c in zip(*counts, strict=True)]
    np.testing.assert_allclose(np.transpose(ours), expected, rtol=1e-9, atol=1e-10)


def test_bounds_of_f1_are_those_of_jaccard_carried_over():
    tp, predicted, true = counts_of((3, 5, 9), (0, 4, 2), (7, 7, 7))

    low, high = f_intervals(tp, predicted, true, 1.0, 0.95)

    for k in range(3):
        union = int(predicted[k] + true[k] - tp[k])
        bounds = stats.binomtest(int(tp[k]), union).proportion_ci(0.95)
        expected = [2 * j / (1 + j) for j in bounds]
        np.testing.assert_allclose([low[k], high[k]], expected, rtol=1e-9, atol=1e-12)


def test_without_predictions_and_labels_there_are_no_bounds():
    assert np.isnan(f_intervals(*counts_of((0, 0, 0)), 1.0, 0.95)).all()


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_bounds_hold_the_f_between_0_and_1_and_narrow_with_the_counts(beta):
    tp, predicted, true = counts_of((1, 3, 2), (10, 30, 20), (100, 300, 200))

    low, high = f_intervals(tp, predicted, true, beta, 0.95)

    f = cal.metrics.f_beta(beta)(*(c.astype(float) for c in (tp, predicted - tp, true - tp, tp)))
    assert (low >= 0).all()
    assert (low < f).all()
    assert (f < high).all()
    assert (high <= 1).all()
    assert (np.diff(high - low) < 0).all()


def test_the_mean_influence_of_the_rows_is_0():
    logits, labels = example()

    evaluation = cal.evaluate(half(6), logits, labels, beta=2.0)

    for name, influence in evaluation.influence.items():
        assert influence.shape == (300,)
        assert influence.mean() == pytest.approx(0, abs=1e-14), name


def test_the_influence_of_a_row_is_what_more_of_it_would_change():
    logits, labels = example()
    before = cal.evaluate(half(6), logits, labels)
    more = np.concatenate([np.repeat(np.arange(300), 1000), [17]])

    after = cal.evaluate(half(6), logits[more], labels[more], ranking=False)

    for name, influence in before.influence.items():
        change = (after.summary[name] - before.summary[name]) * len(more)
        assert change == pytest.approx(influence[17], rel=1e-4), name


def test_the_second_look_at_many_rows_sees_the_same_labels():
    rng = np.random.default_rng(0)
    labels = rng.random((4200, 1000)) < 0.01
    logits = (rng.normal(size=labels.shape) + labels).astype(np.float32)

    evaluation = cal.evaluate(half(1000, 1.5), logits, labels, ranking=False)

    expected = naive.influences(logits >= 1.5, labels)
    for name, influence in expected.items():
        np.testing.assert_allclose(evaluation.influence[name], influence, rtol=0, atol=1e-10)


def test_a_higher_level_reaches_farther():
    logits, labels = example()

    narrow, wide = (
        cal.evaluate(half(6), logits, labels, level=level, ranking=False) for level in (0.5, 0.99)
    )

    for name in narrow.intervals:
        assert wide.intervals[name].low < narrow.intervals[name].low
        assert wide.intervals[name].high > narrow.intervals[name].high
    assert (wide.per_class["f_low"] < narrow.per_class["f_low"]).all()
    assert wide.summary["level"] == 0.99


def test_an_interval_over_rows_is_that_of_a_mean():
    rng = np.random.default_rng(0)
    values = rng.random(50)

    found = over_rows(values.mean(), values - values.mean(), 0.9)

    error = values.std(ddof=1) / np.sqrt(50)
    expected = stats.norm.interval(0.9, values.mean(), error)
    np.testing.assert_allclose(found, (values.mean(), *expected), rtol=1e-12)


def test_intervals_stay_within_the_range_of_their_figure():
    labels = np.eye(3, dtype=bool)[[0, 0, 1, 2]]
    logits = np.where(labels, 1.0, -1.0)
    logits[0] *= -1

    intervals = cal.evaluate(half(3), logits, labels).intervals

    for name in ("macro_f", "micro_f", "instance_f"):
        assert 0 <= intervals[name].low < intervals[name].estimate < intervals[name].high <= 1


def test_an_interval_that_would_go_below_0_ends_there():
    labels = np.array([[1, 0], [1, 0], [0, 1], [1, 0]])
    logits = np.where(np.arange(4)[:, None] == 2, labels, 1 - labels) - 0.5

    low = cal.evaluate(half(2), logits, labels).intervals["instance_f"].low

    assert low == 0.0


def test_a_single_row_has_no_interval():
    intervals = cal.evaluate(half(2), [[1.0, -1.0]], np.ones((1, 2))).intervals

    for name, interval in intervals.items():
        assert np.isfinite(interval.estimate), name
        assert np.isnan(interval.low), name
        assert np.isnan(interval.high), name


def test_without_labels_only_the_instance_figure_has_an_interval():
    intervals = cal.evaluate(half(2), [[1.0, -1.0], [-1.0, -1.0]], np.zeros((2, 2))).intervals

    assert np.isfinite(intervals["instance_f"]).all()
    for name in ("macro_f", "micro_f", "count_ratio"):
        assert np.isnan(intervals[name]).all(), name


def test_intervals_are_plain_json_with_names():
    evaluation = cal.evaluate(half(2), [[1.0, -1.0]], np.ones((1, 2)))

    plain = evaluation.as_dict()["intervals"]

    assert plain["instance_f"] == {"estimate": pytest.approx(2 / 3), "low": None, "high": None}


def test_differences_are_those_of_the_figures_and_turn_around():
    logits, labels = example()
    one, other = (cal.evaluate(half(6, cut), logits, labels) for cut in (0.0, 0.5))

    forth, back = cal.paired_differences(one, other), cal.paired_differences(other, one)

    assert set(forth) == {"macro_f", "micro_f", "instance_f", "count_ratio"}
    for name, (estimate, low, high) in forth.items():
        assert estimate == one.summary[name] - other.summary[name]
        assert low < estimate < high
        assert back[name] == pytest.approx((-estimate, -high, -low), abs=1e-15)
        influence = one.influence[name] - other.influence[name]
        expected = naive.interval(estimate, influence, 0.95, -np.inf, np.inf)
        np.testing.assert_allclose(forth[name], expected, rtol=1e-10)


def test_a_decision_does_not_differ_from_itself():
    logits, labels = example()
    evaluation = cal.evaluate(half(6), logits, labels)

    for interval in cal.paired_differences(evaluation, evaluation).values():
        assert interval == Interval(0.0, 0.0, 0.0)


def test_what_two_decisions_have_in_common_cancels():
    logits, labels = example(2000)
    one, other = (cal.evaluate(half(6, cut), logits, labels) for cut in (0.0, 0.02))

    difference = cal.paired_differences(one, other)["micro_f"]

    alone = one.intervals["micro_f"]
    assert difference.high - difference.low < (alone.high - alone.low) / 5


def test_evaluations_that_cannot_be_paired_are_refused():
    logits, labels = example()
    evaluation = cal.evaluate(half(6), logits, labels)
    flipped = labels.copy()
    flipped[0, 2] ^= True

    with pytest.raises(ValueError, match="of the same n_rows, got 300 and 299"):
        cal.paired_differences(evaluation, cal.evaluate(half(6), logits[1:], labels[1:]))
    with pytest.raises(ValueError, match="of the same n_classes, got 6 and 5"):
        cal.paired_differences(evaluation, cal.evaluate(half(5), logits[:, 1:], labels[:, 1:]))
    with pytest.raises(ValueError, match=r"of the same beta, got 1\.0 and 2\.0"):
        cal.paired_differences(evaluation, cal.evaluate(half(6), logits, labels, beta=2))
    with pytest.raises(ValueError, match=r"same rows, got \d+ and \d+ true labels of class 2"):
        cal.paired_differences(evaluation, cal.evaluate(half(6), logits, flipped))


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95, np.nan])
def test_a_level_that_is_no_coverage_is_refused(level, monkeypatch):
    logits, labels = example()
    evaluation = cal.evaluate(half(6), logits, labels)
    monkeypatch.setattr("calibrate.data.logits.LogitSource.read", None)

    with pytest.raises(ValueError, match="level must lie between 0 and 1, got"):
        cal.evaluate(half(6), logits, labels, level=level)
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got"):
        cal.paired_differences(evaluation, evaluation, level=level)
