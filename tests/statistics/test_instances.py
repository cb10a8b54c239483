import threading
from functools import partial

import naive_sets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import metrics
from calibrate.data import labelled_logits, logits
from calibrate.ops import labels_from_mask
from calibrate.statistics import best_instance_cut, instance_values, instances

LAW = settings(derandomize=True, deadline=None, max_examples=30)
quiet = pytest.mark.filterwarnings("ignore:all logits lie in")

cells = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 1.0000001, 0.99999994, -np.inf]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)

VALUES = {
    metrics.f_beta(1): partial(naive_sets.f_beta, beta=1),
    metrics.f_beta(2): partial(naive_sets.f_beta, beta=2),
    metrics.jaccard: naive_sets.jaccard,
}


@st.composite
def rows(draw):
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    size = shape[0] * shape[1]
    scores = draw(st.lists(cells, min_size=size, max_size=size))
    labels = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(shape)
    return np.array(scores, np.float32).reshape(shape), labels


def simulated(n_rows=200, n_classes=12, seed=0, decimals=3):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.02, 0.4, n_classes)
    noise = rng.normal(size=labels.shape)
    return np.round(noise + 1.5 * labels - 1, decimals).astype(np.float32), labels


def best_of_every_cut(scores, labels, value, min_k):
    """Value and the lowest score above the best cut, the highest such among equals."""
    cuts = [np.inf, *sorted(set(scores[scores > -np.inf].tolist()), reverse=True)]
    found = [naive_sets.instance_mean(scores, labels, cut, value, min_k) for cut in cuts]
    best = max(found)
    return best, cuts[next(i for i, v in enumerate(found) if v > best - 1e-9)]


@quiet
@pytest.mark.parametrize("min_k", [0, 1, 2])
@pytest.mark.parametrize("metric", list(VALUES), ids=repr)
@LAW
@given(rows())
def test_no_threshold_at_all_is_better(metric, min_k, case):
    scores, labels = case
    data = labelled_logits(scores, labels, nan="negative")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logits, "BLOCK_CELLS", 3)
        value, threshold = best_instance_cut(data, metric, min_k)

    best, _ = best_of_every_cut(scores, labels, VALUES[metric], min_k)
    reached = naive_sets.instance_mean(scores, labels, threshold, VALUES[metric], min_k)
    assert value == pytest.approx(best, abs=1e-9)
    assert reached == pytest.approx(best, abs=1e-9)


@quiet
@pytest.mark.parametrize("second", [1e-45, -1e-45, -1.0])
def test_a_cut_far_below_the_best_edge_is_found(second):
    scores = np.zeros((3, 4), np.float32)
    scores[1] = [-2.0, 1.0, 1.0, second]
    labels = np.zeros((3, 4), bool)
    labels[1, 3] = labels[2, 0] = True
    scores[[0, 2], 1:] = -2.0

    value, threshold = best_instance_cut(labelled_logits(scores, labels), metrics.jaccard, 1)

    assert value == pytest.approx(4 / 9)
    assert -2.0 < threshold <= np.float32(second)


@pytest.mark.parametrize("min_k", [0, 1])
@pytest.mark.parametrize("metric", list(VALUES), ids=repr)
def test_many_rows_too(metric, min_k):
    scores, labels = simulated(60)

    value, threshold = best_instance_cut(labelled_logits(scores, labels), metric, min_k)

    best, score = best_of_every_cut(scores, labels, VALUES[metric], min_k)
    assert value == pytest.approx(best, abs=1e-9)
    assert scores[scores < score].max() < threshold <= score


@pytest.mark.parametrize("squeeze", [100, 10_000])
@pytest.mark.parametrize("min_k", [0, 1])
def test_scores_that_share_a_key_are_told_apart(squeeze, min_k):
    scores, labels = simulated(60)
    scores = (1.5 + scores / squeeze).astype(np.float32)
    metric = metrics.f_beta(1)

    value, threshold = best_instance_cut(labelled_logits(scores, labels), metric, min_k)

    best, score = best_of_every_cut(scores, labels, VALUES[metric], min_k)
    assert value == pytest.approx(best, abs=1e-9)
    assert scores[scores < score].max() < threshold <= score


@pytest.mark.parametrize(("times", "passes"), [(6, 3), (1, 4)])
def test_all_rows_are_looked_at_once_more_where_the_floor_is_too_high(times, passes, monkeypatch):
    data = labelled_logits(*simulated(400, 40))
    climb, climbed = instances._Staircase.climb, []
    monkeypatch.setattr(instances._Staircase, "climb", lambda s: climbed.append(s) or climb(s))
    monkeypatch.setattr(instances, "_ALL_CELLS", 0)
    monkeypatch.setattr(instances, "_LABELS_TIMES", times)

    best_instance_cut(data, metrics.f_beta(1))

    assert len(climbed) == passes
    assert climbed[0].floor > -np.inf
    # a few hundred keys hold the scores, a few of them the best cut
    assert len(climbed[-3].live()) < 60


def test_a_threshold_lies_midway_between_two_scores():
    data = labelled_logits(np.array([[3.0, 0.0], [1.0, 2.0]]), np.eye(2, dtype=bool))

    value, threshold = best_instance_cut(data, metrics.f_beta(1))

    assert (value, threshold) == (1.0, 1.5)


def test_where_no_cut_is_better_than_nothing_nothing_is_predicted():
    data = labelled_logits(np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((2, 2)))

    assert best_instance_cut(data, metrics.f_beta(1)) == (1.0, np.inf)
    assert best_instance_cut(data, metrics.f_beta(1), 1) == (0.0, np.inf)
    assert best_instance_cut(data, metrics.cost(1, 1)) == (0.0, np.inf)


def test_a_row_without_true_labels_is_right_where_none_is_predicted():
    scores, labels = np.array([[0.0, -9], [2, -9], [1, -9]]), np.array([[0, 0], [1, 0], [0, 0]])

    value, threshold = best_instance_cut(labelled_logits(scores, labels), metrics.jaccard)

    assert (value, threshold) == (1.0, 1.5)


def test_cost_is_minimised_row_by_row_as_over_all_cells():
    scores, labels = simulated()
    metric = metrics.cost(1, 5)

    value, threshold = best_instance_cut(labelled_logits(scores, labels), metric)

    def cost_of(cut):
        chosen = scores >= cut
        return -((chosen & ~labels).sum() + 5 * (~chosen & labels).sum()) / len(scores)

    best = max(cost_of(cut) for cut in np.unique(scores))
    assert value == pytest.approx(best)
    assert cost_of(threshold) == pytest.approx(best)


def test_a_function_of_ones_own_is_best_on_the_grid_and_around_it():
    scores, labels = simulated()

    def bumpy(tp, fp, fn, tn):
        return np.sin(2.0 * fp + tp) + 0.5 * tp

    value, threshold = best_instance_cut(labelled_logits(scores, labels), bumpy)

    def mean(cut):
        chosen = scores >= cut
        tp, k, n = ((a).sum(axis=1) for a in (chosen & labels, chosen, labels))
        return bumpy(tp, k - tp, n - tp, 12 - k - n + tp).mean()

    # the upper 16 bits of a float32, put in order
    bits = scores.view(np.int32)
    key = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF)) >> 16
    edges = [scores[key >= k].min() for k in np.unique(key)]
    assert mean(threshold) == pytest.approx(value)
    assert value >= max(mean(edge) for edge in edges) - 1e-9
    assert value > max(mean(edge) for edge in edges) - 1e-9


@pytest.mark.parametrize("min_k", [0, 1])
def test_low_scores_are_passed_over_only_where_that_is_safe(min_k, monkeypatch):
    scores, labels = simulated(400, 40)
    data = labelled_logits(scores, labels)
    # thresholds far below the sampled floor are best where recall is nearly all
    tried = [metrics.f_beta(1), metrics.f_beta(30), metrics.cost(1, 60)]
    wanted = [best_instance_cut(data, metric, min_k) for metric in tried]

    monkeypatch.setattr(instances, "_ALL_CELLS", 0)
    monkeypatch.setattr(instances, "_LABELS_TIMES", 1)
    monkeypatch.setattr(instances, "_SAMPLED_ROWS", 30)
    judge = instances._Judge.of(data, metrics.f_beta(1))
    floor = instances._floor(data, judge)
    found = [best_instance_cut(data, metric, min_k) for metric in tried]

    assert scores.min() < floor < np.median(scores) + 2
    assert found == wanted
    assert max(wanted[1][1], wanted[2][1]) < floor < wanted[0][1] + 3


def test_where_too_many_keys_stay_open_the_grid_is_fine(monkeypatch):
    scores, labels = simulated(decimals=7)
    data = labelled_logits(scores, labels)
    best, _ = best_instance_cut(data, metrics.f_beta(1))

    climb, climbed = instances._Staircase.climb, []
    monkeypatch.setattr(instances._Staircase, "climb", lambda s: climbed.append(s) or climb(s))
    monkeypatch.setattr(instances, "MOST_KEYS", 2 << 8)
    value, threshold = best_instance_cut(data, metrics.f_beta(1))

    reached = naive_sets.instance_mean(scores, labels, threshold, VALUES[metrics.f_beta(1)])
    assert reached == pytest.approx(value, abs=1e-9)
    assert best - 0.01 < value <= best
    assert len(climbed[0].live()) > 2
    assert max(staircase.n_keys for staircase in climbed[1:]) == 2 << 8


@pytest.mark.parametrize("n_threads", ["1", "4"])
def test_blocks_threads_and_the_order_of_rows_change_no_bit(n_threads, monkeypatch):
    scores, labels = simulated(300, 9)
    order = np.random.default_rng(3).permutation(300)
    expected = best_instance_cut(labelled_logits(scores, labels), metrics.f_beta(1), 1)

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", n_threads)
    monkeypatch.setattr(logits, "BLOCK_CELLS", 40)
    found = best_instance_cut(labelled_logits(scores[order], labels[order]), metrics.f_beta(1), 1)

    assert found == expected
    assert threading.active_count() == 1


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda tp, fp, fn, tn: 0.5, "a metric must return one real number per cut, got shape"),
        (lambda tp, fp, fn, tn: tp / (tp - tp), "a metric of rows must be finite for each"),
        (metrics.recall_at_precision(0.5), "must be finite for each of them, got -inf for tp, fp"),
        (lambda tp, fp, fn, tn: np.where((fp == 2) & (tp == 1), 1e6, 0.0), "hundreds of times"),
    ],
)
def test_a_metric_that_is_not_finite_for_rows_is_refused(metric, message):
    with pytest.raises(ValueError, match=message):
        best_instance_cut(labelled_logits(*simulated()), metric)


@quiet
@LAW
@given(rows(), st.sampled_from([-1.0, 0.0, 0.5, np.inf]))
def test_the_values_of_rows_are_those_whose_mean_is_judged(case, cut):
    scores, labels = case
    data = labelled_logits(scores, labels, nan="negative")

    for metric, value in VALUES.items():
        found = instance_values(data, metric, lambda block: labels_from_mask(block >= cut))

        expected = naive_sets.instance_mean(scores, labels, cut, value)
        assert found.shape == (len(scores),)
        assert found.mean() == pytest.approx(expected, abs=1e-12)
        one = naive_sets.instance_mean(scores[:1], labels[:1], cut, value)
        assert found[0] == pytest.approx(one, abs=1e-12)
