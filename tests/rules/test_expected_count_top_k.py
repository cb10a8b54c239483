import math

import naive
import naive_counts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import ExpectedCountTopK, FitWarning, ScoreHistogram
from calibrate.data import labelled_logits, logits
from calibrate.rules.expected_count_top_k import fit_offset

LAW = settings(derandomize=True, deadline=None, max_examples=150)

sums = st.one_of(
    st.floats(0, 12).map(lambda s: round(s, 6)),
    st.integers(0, 8).map(float),
    st.integers(0, 60).map(lambda i: i / 10),
    st.sampled_from([0.5, 1.5, float(np.nextafter(1.5, 2)), float(np.nextafter(0.5, 0)), 2.5]),
)


def total(values, offset, least, most):
    return naive.total_count(list(values), offset, least, most)


def simulated(n_rows=400, n_classes=20, seed=0):
    """Calibrated logits: labels are drawn from their sigmoids."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n_rows, n_classes)) * 1.5 - 2
    return scores, rng.random(scores.shape) < 1 / (1 + np.exp(-scores))


# the offset


@LAW
@given(st.lists(sums, min_size=1, max_size=8), st.integers(0, 60), st.data())
def test_no_other_offset_comes_nearer_to_the_wanted_total(values, wanted, data):
    least = data.draw(st.integers(0, 3))
    most = data.draw(st.integers(least, 9))

    offset = fit_offset(np.array(values), wanted, least, most)

    assert math.isfinite(offset)
    assert total(values, offset, least, most) == naive.nearest_total(values, wanted, least, most)


@LAW
@given(st.lists(sums, min_size=1, max_size=8), st.integers(0, 60), st.integers(1, 9))
def test_no_row_rests_on_the_last_digits_of_its_sum(values, wanted, most):
    offset = fit_offset(np.array(values), wanted, 0, most)

    at = total(values, offset, 0, most)
    assert total(values, offset - 1e-10, 0, most) == at
    assert total(values, offset + 1e-10, 0, most) == at


@LAW
@given(st.lists(sums, min_size=1, max_size=8), st.integers(0, 60), st.integers(1, 9))
def test_the_offset_lies_in_the_middle_of_its_step_or_half_a_label_inside(values, wanted, most):
    offset = fit_offset(np.array(values), wanted, 0, most)

    steps = naive.count_steps(values, 0, most)
    lower, upper, _ = next(s for s in steps if s[0] <= offset < s[1])
    if upper - lower <= 1:
        assert offset == pytest.approx((lower + upper) / 2, abs=1e-8)
    else:
        assert min(offset - lower, upper - offset) >= 0.5 - 1e-8


def test_equal_fractions_of_saturated_rows_round_to_no_lucky_total():
    values = np.array([0.0, 1.0])

    offset = fit_offset(values, 2, 0, 2)

    assert total(values, offset, 0, 2) == total(values, offset + 0.2, 0, 2) == 3


def test_sums_of_halves_are_not_rounded_up_together():
    values = np.array([0.4, 0.45, 0.48, 0.49] * 10)

    offset = fit_offset(values, 18, 0, 5)

    assert total(values, offset, 0, 5) == 20
    assert total(values, 0.5, 0, 5) == 0


def test_of_two_totals_as_near_the_larger_wins():
    values = np.full(4, 1.25)

    offset = fit_offset(values, 6, 0, 5)

    assert total(values, offset, 0, 5) == 8


@pytest.mark.parametrize(
    ("values", "wanted", "least", "most", "offset"),
    [
        # the row of 0.1 changes no count between -0.9 and 0.1, whatever its floor does
        ([0.1, 2.9, 2.9, 2.9], 7, 0, 5, -0.4),
        # the row of 5.9 is held at 5 from -0.9 on, the others get theirs at 0.5
        ([5.9, 0.5, 0.5], 5, 0, 5, -0.2),
        # the same step, found from above
        ([5.9, 0.5, 0.5, 0.5], 6, 0, 5, -0.2),
        # no row changes for half a label below and above
        ([0.25, 0.25, 0.25, 0.25], 1, 0, 5, 0.25),
        ([3.25, 3.25, 3.25, 3.25], 13, 0, 3, 0.25),
    ],
)
def test_only_rows_that_change_their_count_bound_the_step(values, wanted, least, most, offset):
    found = fit_offset(np.array(values), wanted, least, most)

    assert found == pytest.approx(offset, abs=1e-8)


@pytest.mark.parametrize(("wanted", "expected"), [(0, 4), (1000, 12)])
def test_a_total_out_of_reach_ends_at_the_bound(wanted, expected):
    values = np.array([0.3, 1.7, 2.2, 5.0])

    offset = fit_offset(values, wanted, 1, 3)

    assert total(values, offset, 1, 3) == expected
    assert total(values, offset - 0.2, 1, 3) == total(values, offset + 0.2, 1, 3) == expected


def test_bounds_that_leave_no_choice_need_no_offset():
    offset = fit_offset(np.array([0.3, 7.0]), 5, 2, 2)

    assert math.isfinite(offset)
    assert total([0.3, 7.0], offset, 2, 2) == 4


def test_a_hundred_thousand_rows_reach_the_exact_total():
    values = np.random.default_rng(2).gamma(3.0, 2.0, size=100_000)

    offset = fit_offset(values, 612_345, 0, 1000)

    assert np.floor(values + offset).clip(0, 1000).sum() == 612_345


# the rule


@pytest.mark.parametrize("seed", range(3))
def test_the_fitting_rows_get_as_many_labels_as_there_are(seed):
    scores, labels = simulated(seed=seed)

    fitted = ExpectedCountTopK().fit(scores, labels)

    assert fitted.predict(scores).nnz == labels.sum()
    assert fitted.findings_ == ()


def test_new_rows_get_about_as_many_labels_as_there_are():
    scores, labels = simulated(n_rows=4000)

    fitted = ExpectedCountTopK().fit(scores[:2000], labels[:2000])

    ratio = fitted.predict(scores[2000:]).nnz / labels[2000:].sum()
    assert ratio == pytest.approx(1.0, abs=0.03)


def test_each_row_gets_its_best_classes_up_to_the_floor_of_its_sum_and_the_offset():
    scores, labels = simulated(n_rows=50)

    fitted = ExpectedCountTopK().fit(scores, labels)

    predicted = fitted.predict(scores).toarray()
    for row, chosen in zip(scores.astype(np.float32), predicted, strict=True):
        k = math.floor(naive.expected_count(row) + fitted.op_.offset)
        assert chosen.tolist() == naive.top_k(row, k)


def test_bounds_hold_for_every_row_and_the_rest_makes_up_the_total():
    scores, labels = simulated(n_classes=8)

    fitted = ExpectedCountTopK(min_k=1, max_k=3).fit(scores, labels)

    counts = fitted.predict(scores).sum(axis=1)
    assert (counts.min(), counts.max()) == (1, 3)
    assert counts.sum() == labels.sum()
    assert (fitted.op_.min_k, fitted.op_.max_k) == (1, 3)


def test_bounds_beyond_the_classes_mean_all_of_them():
    scores, labels = simulated(n_classes=3)

    with pytest.warns(FitWarning, match=r"the fitting rows get 1200 labels in all instead of"):
        fitted = ExpectedCountTopK(min_k=5, max_k=9).fit(scores, labels)

    assert fitted.predict(scores).nnz == 1200


def test_a_total_that_the_bounds_forbid_is_said_once_with_the_ratio():
    scores, labels = np.zeros((10, 4)), np.zeros((10, 4), int)
    labels[:, 0] = 1

    with pytest.warns(FitWarning) as given:
        fitted = ExpectedCountTopK(min_k=2).fit(scores, labels)

    assert [(f.code, f.classes, f.values) for f in fitted.findings_] == [("total", (), (2.0,))]
    assert [str(w.message) for w in given] == [
        "ExpectedCountTopK: the fitting rows get 20 labels in all instead of 10: min_k, max_k or "
        "equal sums allow no nearer total"
    ]


@pytest.mark.parametrize(("n_positive", "said"), [(98, True), (99, False), (101, False)])
def test_a_total_within_one_in_a_hundred_is_near_enough(n_positive, said):
    scores, labels = np.zeros((100, 2)), np.zeros((100, 2), int)
    labels[:n_positive, 0] = 1
    labels[: max(0, n_positive - 100), 1] = 1
    rule = ExpectedCountTopK()

    if said:
        with pytest.warns(FitWarning, match="get 100 labels in all instead of 98"):
            rule.fit(scores, labels)
    else:
        rule.fit(scores, labels)

    assert rule.predict(scores).nnz == 100
    assert len(rule.findings_) == said


def test_one_in_a_hundred_is_one_of_those_that_are_wanted():
    scores, labels = np.zeros((200, 2)), np.zeros((200, 2), int)
    labels[:198, 0] = 1

    with pytest.warns(FitWarning, match="get 200 labels in all instead of 198"):
        ExpectedCountTopK().fit(scores, labels)


def test_cells_without_a_score_are_not_counted_on():
    scores, labels = simulated()
    holes = np.random.default_rng(1).random(scores.shape) < 0.3
    labels &= ~holes

    fitted = ExpectedCountTopK().fit(np.where(holes, np.nan, scores), labels, nan="negative")

    predicted = fitted.predict(np.where(holes, np.nan, scores), nan="negative")
    assert predicted.nnz == labels.sum()
    assert not predicted.toarray()[holes].any()


def test_threads_and_blocks_change_no_decision(monkeypatch):
    scores, labels = simulated()
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    one = ExpectedCountTopK().fit(scores, labels)
    expected = one.predict(scores).toarray()

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "4")
    monkeypatch.setattr(logits, "BLOCK_CELLS", 70)
    other = ExpectedCountTopK().fit(scores, labels)

    assert other.op_.offset == one.op_.offset
    assert (other.predict(scores).toarray() == expected).all()


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"min_k": -1}, "min_k must be at least 0, got -1"),
        ({"min_k": 3, "max_k": 2}, "max_k must be at least min_k = 3, got 2"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(bounds, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ExpectedCountTopK(**bounds).fit(np.zeros((2, 2)), np.eye(2))


def test_a_histogram_does_not_say_what_a_row_expects():
    histogram = ScoreHistogram.of(labelled_logits(*simulated()))

    with pytest.raises(TypeError, match=r"^ExpectedCountTopK is fitted from rows of logits, got"):
        ExpectedCountTopK().fit_from(histogram)


def test_without_any_positive_there_is_nothing_to_fit():
    message = "^labels must hold at least one positive, got none in 3 rows of 2 classes$"

    with pytest.raises(ValueError, match=message):
        ExpectedCountTopK().fit(np.ones((3, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"min_k": 1.5}, "min_k must be a whole number, got 1.5"),
        ({"min_k": True}, "min_k must be a whole number, got True"),
        ({"max_k": "a"}, "max_k must be a whole number, got 'a'"),
    ],
)
def test_bounds_that_are_no_whole_numbers_are_refused(bounds, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ExpectedCountTopK(**bounds).fit(np.zeros((2, 2)), np.eye(2))


# the likeliest count, and a least count that the rows decide


def test_the_mode_takes_the_likeliest_count_of_each_row():
    scores, labels = simulated(n_rows=60, n_classes=9)

    with pytest.warns(FitWarning, match="the likeliest counts are no unbiased ones"):
        fitted = ExpectedCountTopK(mode=True).fit(scores, labels)

    for row, chosen in zip(
        scores.astype(np.float32), fitted.predict(scores).toarray(), strict=True
    ):
        law = naive_counts.likeliest_count([naive.sigmoid(float(z)) for z in row])
        assert chosen.tolist() == naive.top_k(row, int(chosen.sum()))
        assert chosen.sum() in law


def test_the_mode_keeps_the_bounds_too():
    scores, labels = simulated(n_rows=60, n_classes=9)

    with pytest.warns(FitWarning):
        fitted = ExpectedCountTopK(min_k=1, max_k=2, mode=True).fit(scores, labels)

    counts = fitted.predict(scores).sum(axis=1)
    assert (counts.min(), counts.max()) == (1, 2)


@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.filterwarnings("ignore::calibrate.FitWarning")
def test_at_least_one_label_where_no_fitting_row_is_empty(mode):
    scores, labels = simulated(n_classes=8)
    empty = labels.sum(axis=1) == 0
    rule = ExpectedCountTopK(min_k=None, mode=mode)

    assert empty.any()
    assert rule.fit(scores, labels).op_.min_k == 0
    assert rule.fit(scores[~empty], labels[~empty]).op_.min_k == 1
    assert ExpectedCountTopK(None, 0).fit(scores[~empty], labels[~empty]).op_.min_k == 0
