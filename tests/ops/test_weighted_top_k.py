import naive
import naive_counts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import ops
from calibrate.decision import Decision, load

LAW = settings(derandomize=True, deadline=None, max_examples=150)

pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")


def labels_of(op, logits):
    return Decision((), op, logits.shape[1]).predict(logits, nan="negative").toarray()


@LAW
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_each_row_gets_its_k_highest_gains(n_rows, n_classes, k, seed):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 4, (n_rows, n_classes)).astype(np.float32)
    gain = rng.integers(0, 4, n_classes).astype(np.float32)
    offset = (rng.integers(-2, 3, n_classes) / 4).astype(np.float32)

    mask = labels_of(ops.WeightedTopK(k, gain, offset), logits)

    # equals are told by their index only if the numbers are those that are compared
    for row, chosen in zip(ops.sigmoid(logits), mask, strict=True):
        assert chosen.tolist() == naive_counts.weighted_top_k(row, k, gain, offset)


def test_with_equal_weights_it_is_the_top_k():
    logits = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32)

    weighted = labels_of(ops.WeightedTopK(3, np.float32(2.0), np.float32(0.5)), logits)

    assert weighted.tolist() == [naive.top_k(row, 3) for row in logits]


def test_a_cell_without_a_score_is_never_predicted_whatever_its_offset():
    logits = np.array([[np.nan, -3.0, np.nan]])

    mask = labels_of(ops.WeightedTopK(2, np.ones(3), np.array([9.0, 0.0, 9.0])), logits)

    assert mask.tolist() == [[False, True, False]]


def test_gains_may_all_be_negative_and_still_k_are_predicted():
    logits = np.array([[0.0, 1.0, 2.0]])

    mask = labels_of(ops.WeightedTopK(2, np.ones(3), np.array([-5.0, -9.0, -7.0])), logits)

    assert mask.tolist() == [[True, False, True]]


def test_it_comes_back_from_its_file(tmp_path):
    op = ops.WeightedTopK(2, np.array([1.0, 2.0, 0.5]), np.array([0.0, -0.1, 0.25]))

    Decision((), op, 3).save(tmp_path / "rule.safetensors")

    assert load(tmp_path / "rule.safetensors").rule.same_as(op)


@pytest.mark.parametrize(
    ("k", "gain", "offset", "message"),
    [
        (-1, 1.0, 0.0, "max_k must be at least min_k = 0, got -1"),
        (1.5, 1.0, 0.0, "max_k must be a whole number, got 1.5"),
        (None, 1.0, 0.0, "k must be a whole number, got None"),
        (1, [1.0, np.nan], 0.0, "gain must not hold nan, got nan at class 1"),
        (1, [1.0, np.inf], 0.0, "gain must be finite"),
        (1, 1.0, [-np.inf, 0.0], "offset must be finite"),
        (1, [1.0, -0.5], 0.0, "gain must not be negative, got -0.5"),
        (1, [[1.0]], 0.0, r"gain must be a number or one per class, got shape \(1, 1\)"),
    ],
)
def test_hostile_numbers_are_refused(k, gain, offset, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ops.WeightedTopK(k, gain, offset)
