"""Thresholds between swept and plug-in ones, beside loops over plain numbers."""

from __future__ import annotations

import math

import naive_rules
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.statistics import shrunk_thresholds

LAW = settings(derandomize=True, deadline=None, max_examples=100)

thresholds = st.one_of(st.floats(-12, 12), st.just(math.inf))
classes = st.lists(
    st.tuples(thresholds, thresholds, st.integers(0, 3000) | st.sampled_from([0, 1, 9, 10, 11])),
    min_size=1,
    max_size=12,
)


def drawn(variance, n_classes, seed, gap=0.0):
    """Gaps of classes whose true thresholds vary by `variance`, and their positives."""
    rng = np.random.default_rng(seed)
    positives = np.exp(rng.uniform(0, math.log(2000), n_classes)).astype(np.int64)
    own = np.array([naive_rules.variance_of_sweep(n) for n in positives])
    return gap + rng.normal(size=n_classes) * np.sqrt(own + variance), positives


@LAW
@given(classes, st.none() | st.floats(0, 5))
def test_the_thresholds_are_those_of_the_slow_way(case, variance):
    swept, plug_in, positives = map(list, zip(*case, strict=True))

    found = shrunk_thresholds(np.array(swept), np.array(plug_in), np.array(positives), variance)

    expected, spread, offset = naive_rules.shrunk(swept, plug_in, positives, variance)
    assert found.variance == pytest.approx(spread, rel=1e-6, abs=1e-9)
    assert found.offset == pytest.approx(offset, rel=1e-6, abs=1e-9)
    assert found.threshold == pytest.approx(np.array(expected), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("gap", [-1.0, 0.7])
@pytest.mark.parametrize(
    "positives", [[10, 10], [3, 10, 9], [9, 10, 400], [9, 11, 10, 30, 2000], [0, 70, 900]]
)
def test_what_all_classes_share_is_that_of_the_slow_way(gap, positives):
    swept = [3 * gap + 0.1 * place for place in range(len(positives))]
    plug_in = [0.0] * len(positives)

    found = shrunk_thresholds(np.array(swept), np.array(plug_in), np.array(positives))

    expected, variance, offset = naive_rules.shrunk(swept, plug_in, positives)
    assert np.isfinite(found.gap_error) == (sum(n >= 10 for n in positives) > 1)
    assert (found.offset != 0) == (offset != 0)
    assert found.offset == pytest.approx(offset, rel=1e-9)
    assert found.variance == pytest.approx(variance, rel=1e-9)
    assert found.threshold == pytest.approx(np.array(expected), rel=1e-9)


@pytest.mark.parametrize("gap", [-0.8, 0.8])
def test_offset_and_variance_are_found_side_by_side(gap):
    gaps, positives = drawn(0.05, 300, seed=5, gap=gap)

    found = shrunk_thresholds(gaps, np.zeros(300), positives)

    _, variance, offset = naive_rules.shrunk(gaps.tolist(), [0.0] * 300, positives.tolist())
    assert found.offset == pytest.approx(offset, rel=1e-9)
    assert offset == pytest.approx(gap, abs=0.1)
    assert found.variance == pytest.approx(variance, rel=1e-9)
    assert variance == pytest.approx(0.05, abs=0.04)


@pytest.mark.parametrize("variance", [0.02, 0.1, 0.5])
def test_the_variance_that_is_learned_is_the_one_that_there_is(variance):
    found = [
        shrunk_thresholds(gaps, np.zeros(len(gaps)), positives).variance
        for gaps, positives in (drawn(variance, 300, seed) for seed in range(60))
    ]

    assert np.mean(found) == pytest.approx(variance, rel=0.05, abs=0.003)


def test_with_right_probabilities_nothing_is_learned_and_the_plug_in_thresholds_stay():
    found = [
        shrunk_thresholds(gaps, np.zeros(len(gaps)), positives)
        for gaps, positives in (drawn(0.0, 300, seed) for seed in range(60))
    ]

    assert np.mean([one.variance for one in found]) < 0.004
    assert np.mean([one.offset != 0 for one in found]) < 0.15
    assert np.median([np.abs(one.threshold).max() for one in found]) < 0.05


def test_a_gap_that_all_classes_share_is_taken_over_even_by_those_without_positives():
    gaps, positives = drawn(0.0, 200, seed=1, gap=0.8)
    positives[7] = 0
    gaps[7] = math.inf

    found = shrunk_thresholds(gaps, np.full(200, -2.0), positives)

    found_gap = shrunk_thresholds(gaps - 2.0, np.full(200, -2.0), positives)
    assert found_gap.offset == pytest.approx(0.8, abs=0.1)
    assert found_gap.threshold[7] == pytest.approx(-2 + found_gap.offset)
    assert found.offset == pytest.approx(2.8, abs=0.1)


@pytest.mark.parametrize("far", [5.0, 500.0])
def test_one_class_that_lies_far_off_moves_the_others_little(far):
    gaps, positives = drawn(0.05, 300, seed=2)
    before = shrunk_thresholds(gaps, np.zeros(300), positives)
    gaps[np.argmax(positives)] = far

    after = shrunk_thresholds(gaps, np.zeros(300), positives)

    assert before.variance < after.variance < before.variance + 0.03


def test_a_given_variance_spans_from_the_plug_in_to_the_swept_threshold():
    swept, plug_in = np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0])
    positives = np.array([1, 50, 9])

    none, all_of_it = (shrunk_thresholds(swept, plug_in, positives, v) for v in (0.0, 1e12))

    assert none.threshold.tolist() == plug_in.tolist()
    assert all_of_it.threshold == pytest.approx(swept, abs=1e-9)


def test_the_more_positives_the_more_of_the_class_itself():
    found = shrunk_thresholds(np.ones(5), np.zeros(5), np.array([0, 1, 10, 100, 1000]), 0.1)

    assert (np.diff(found.weight) > 0).all()
    assert found.weight[0] == 0
    assert found.weight[3] == pytest.approx(0.1 / (0.1 + 2.3 * 100 ** (-2 / 3)))


def test_the_order_of_the_classes_changes_nothing():
    gaps, positives = drawn(0.1, 40, seed=3)
    order = np.random.default_rng(0).permutation(40)

    found = shrunk_thresholds(gaps, np.zeros(40), positives)
    moved = shrunk_thresholds(gaps[order], np.zeros(40), positives[order])

    assert moved.threshold == pytest.approx(found.threshold[order], rel=1e-9)
