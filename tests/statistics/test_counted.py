import math

import naive_counts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.data import labelled_logits
from calibrate.ops import sigmoid
from calibrate.statistics import ScoreHistogram, counted, pooled_cut_at_count
from calibrate.statistics.counted import cuts_at_counts, cuts_at_counts_of_bins
from calibrate.statistics.expected_positives import expected_in_bins, expected_positives

LAW = settings(derandomize=True, deadline=None, max_examples=150)

cells = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1.0000001, 0.99999994, -1e30, 1e30, 1e-45, -1e-45, -math.inf]),
)


@st.composite
def rows(draw):
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    size = shape[0] * shape[1]
    scores = draw(st.lists(cells, min_size=size, max_size=size))
    return np.array(scores, np.float32).reshape(shape)


def unlabelled(scores):
    scores = np.where(np.isneginf(scores), np.nan, scores).astype(np.float32)
    return labelled_logits(scores, np.zeros(scores.shape), nan="negative")


def simulated(n_rows, n_classes=9, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n_rows, n_classes)) * 2 - np.linspace(0, 5, n_classes)
    return (np.round(scores, 1) if ties else scores).astype(np.float32)


pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")


@LAW
@given(rows(), st.data())
def test_each_class_gets_the_cut_nearest_to_its_count(scores, data):
    wanted = np.array([data.draw(st.integers(0, 14)) for _ in scores.T])

    threshold, count = cuts_at_counts(unlabelled(scores), wanted)

    for c, column in enumerate(scores.T):
        expected = naive_counts.cut_at_count(column, min(wanted[c], len(scores)))
        assert (threshold[c], count[c]) == expected
        assert np.count_nonzero(column >= threshold[c]) == count[c]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("room", [1 << 23, 2000])
def test_a_sample_of_the_rows_leads_to_the_same_cuts(ties, room, monkeypatch):
    scores = simulated(5000, ties=ties)
    wanted = np.array([0, 1, 2, 7, 40, 300, 2500, 4999, 5000])
    monkeypatch.setattr(counted, "COLLECTED_CELLS", room)

    threshold, count = cuts_at_counts(unlabelled(scores), wanted)

    for c, column in enumerate(scores.T):
        ordered = np.unique(column)[::-1]
        counts = np.append(0, [np.count_nonzero(column >= s) for s in ordered])
        best = int(np.abs(counts - wanted[c]).argmin())
        assert count[c] == counts[best]
        assert np.count_nonzero(column >= threshold[c]) == count[c]


def test_a_sample_that_misleads_costs_another_look_and_no_more():
    scores = np.full((4096, 3), -9.0, np.float32)
    scores[1::4] = np.arange(1024)[:, None]  # every fourth row is sampled, and these are not
    scores[:, 1] = -scores[:, 1]

    threshold, count = cuts_at_counts(unlabelled(scores), np.array([500, 900, 1024]))

    assert count.tolist() == [500, 0, 1024]
    assert threshold.tolist() == [523.5, np.inf, -4.5]


def test_more_than_a_sample_promises_is_found_all_the_same():
    scores = np.zeros((4096, 2), np.float32)
    scores[::4] = 1 + np.arange(1024)[:, None]  # what is sampled is all there is above
    wanted = np.array([2000, 1000])

    threshold, count = cuts_at_counts(unlabelled(scores), wanted)

    assert count.tolist() == [1024, 1000]
    assert threshold.tolist() == [0.5, 24.5]


def test_threads_and_steps_change_no_cut(monkeypatch):
    from calibrate.ops import Affine

    scores, wanted = simulated(3000), np.arange(9) * 60
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    one = cuts_at_counts(unlabelled(scores), wanted)

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "4")
    four = cuts_at_counts(unlabelled(scores), wanted)
    stepped = cuts_at_counts(unlabelled(scores).after(Affine(2.0, 1.0)), wanted)

    assert one.threshold.tolist() == four.threshold.tolist()
    assert stepped.predicted.tolist() == one.predicted.tolist() == wanted.tolist()
    np.testing.assert_allclose(stepped.threshold, 2 * one.threshold + 1, rtol=1e-5)


def test_a_histogram_cuts_between_its_bins():
    scores = simulated(4000)
    histogram = ScoreHistogram.of(unlabelled(scores))
    wanted = np.array([0, 1, 30, 100, 300, 1000, 2000, 3999, 4000])

    threshold, count = cuts_at_counts_of_bins(histogram, wanted)

    exact = [np.count_nonzero(column >= t) for column, t in zip(scores.T, threshold, strict=True)]
    assert count.tolist() == exact
    assert np.abs(count - wanted).max() <= 0.02 * 4000
    assert count[[0, 8]].tolist() == [0, 4000]


# all cells as one line


@LAW
@given(rows(), st.integers(0, 50))
def test_the_one_cut_of_all_cells_is_nearest_to_the_total(scores, wanted):
    found = pooled_cut_at_count(unlabelled(scores), wanted)

    scored = int((scores > -np.inf).sum())
    assert found == naive_counts.cut_at_count(scores.ravel(), min(wanted, scored))


@pytest.mark.parametrize("wanted", [1, 17, 1000, 20_000, 44_999, 45_000])
def test_without_ties_every_total_is_met(wanted):
    scores = simulated(5000)

    threshold, count = pooled_cut_at_count(unlabelled(scores), wanted)

    assert count == wanted == np.count_nonzero(scores >= threshold)


# sums of sigmoids


@LAW
@given(rows())
def test_each_class_expects_the_sum_of_its_sigmoids(scores):
    expected = expected_positives(unlabelled(scores))

    with np.errstate(over="ignore"):
        exact = (1 / (1 + np.exp(-scores.astype(np.float64)))).sum(axis=0)
    np.testing.assert_allclose(expected, exact, atol=1e-7 * len(scores), rtol=1e-6)


def test_the_sum_does_not_depend_on_the_order_of_the_rows_or_on_blocks(monkeypatch):
    scores = simulated(3000)
    expected = expected_positives(unlabelled(scores))

    monkeypatch.setattr("calibrate.data.logits.LOOK_CELLS", 300)
    again = expected_positives(unlabelled(scores[::-1]))

    assert again.tolist() == expected.tolist()
    exact = sigmoid(scores).sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(expected, exact, atol=3000 * 2**-24)


def test_rows_of_certain_cells_count_as_wholes():
    scores = np.full((1000, 2), 90.0, np.float32)
    scores[:, 1] = -200.0

    assert expected_positives(unlabelled(scores)).tolist() == [1000.0, 0.0]


def test_rows_that_no_cache_holds_are_counted_one_by_one(monkeypatch):
    scores = simulated(50)
    expected = expected_positives(unlabelled(scores))

    monkeypatch.setattr("calibrate.statistics.expected_positives._CACHED_CELLS", 2)

    assert expected_positives(unlabelled(scores)).tolist() == expected.tolist()


def test_the_means_of_bins_expect_nearly_the_same():
    scores = simulated(4000)

    exact = expected_positives(unlabelled(scores))

    np.testing.assert_allclose(expected_in_bins(ScoreHistogram.of(unlabelled(scores))), exact,
                               rtol=1e-3)  # fmt: skip
