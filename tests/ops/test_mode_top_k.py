import itertools

import naive
import naive_counts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson_binom

from calibrate import ops
from calibrate.ops import mode_top_k
from calibrate.ops.mode_top_k import likeliest_counts, next_is_likelier

LAW = settings(derandomize=True, deadline=None, max_examples=300)


@LAW
@given(st.integers(1, 30), st.floats(0.0, 4.0), st.floats(-5.0, 3.0), st.integers(0, 2**32 - 1))
def test_target_17_the_mode_is_that_of_the_whole_law(n_classes, spread, centre, seed):
    logits = np.random.default_rng(seed).normal(centre, spread, (1, n_classes)).astype(np.float32)

    count = int(likeliest_counts(logits)[0])

    assert count in naive_counts.likeliest_count(ops.sigmoid(logits)[0])


@LAW
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 2))
def test_the_likelier_of_two_counts_is_found(probabilities, beside):
    law = naive_counts.poisson_binomial(probabilities)
    k = min(len(probabilities) - 1, int(sum(probabilities)) + beside)
    low, high = law[k], law[k + 1]

    found = next_is_likelier(np.array(probabilities), k)

    if abs(high - low) > 1e-9:
        assert found == (high > low)


@pytest.mark.parametrize("n_classes", [1, 2, 3, 4])
def test_the_mode_of_few_labels_is_that_of_the_whole_law(n_classes):
    grid = np.array([0.1, 0.3, 0.45, 0.5, 0.55, 0.7, 0.9])
    rows = np.array(list(itertools.combinations_with_replacement(grid, n_classes)))
    logits = np.log(rows / (1 - rows)).astype(np.float32)

    mode = likeliest_counts(logits)

    for row, count in zip(ops.sigmoid(logits), mode, strict=True):
        assert count in naive_counts.likeliest_count(row)


def test_target_17_the_law_of_four_labels():
    """Target 17: Poisson-binomial pmf of (.9, .6, .3, .2)."""
    probabilities = [0.9, 0.6, 0.3, 0.2]

    law = naive_counts.poisson_binomial(probabilities)

    expected = [0.0224, 0.2504, 0.4644, 0.2304, 0.0324]
    assert law == pytest.approx(expected, abs=1e-12)
    assert poisson_binom(probabilities).pmf(np.arange(5)) == pytest.approx(expected, abs=1e-12)
    assert likeliest_counts(np.float32([[naive.logit(p) for p in probabilities]])).tolist() == [2]


@pytest.mark.parametrize("n_classes", [2, 50, 7900])
def test_target_17_darrochs_bounds_are_never_broken(n_classes):
    """Target 17: the mode is next to the mean, on the side that the bounds say."""
    rng = np.random.default_rng(n_classes)
    n_rows = 1000 if n_classes < 1000 else 40
    logits = rng.normal(rng.uniform(-7, 0, (n_rows, 1)), 1.5, (n_rows, n_classes))
    logits = logits.astype(np.float32)

    mode, mean = likeliest_counts(logits), ops.expected_counts(logits)

    k = np.floor(mean)
    assert (np.abs(mode - mean) < 1).all()
    assert (mode == k)[mean < k + 1 / (k + 2)].all()
    assert (mode == k + 1)[mean > k + 1 - 1 / (n_classes - k + 1)].all()


def test_at_thousands_of_classes_the_mode_is_that_of_the_law():
    rng = np.random.default_rng(1)
    logits = (rng.normal(size=(12, 3000)) * 1.6 - rng.uniform(3, 6, (12, 1))).astype(np.float32)

    mode = likeliest_counts(logits)

    for row, count in zip(ops.sigmoid(logits).astype(np.float64), mode, strict=True):
        around = poisson_binom(row).pmf(np.arange(count - 1, count + 2))
        assert around[1] >= around.max() * (1 - 1e-9)


def test_many_rare_labels_are_counted_as_a_poisson_law_counts():
    p = np.full(5000, 3.95 / 5000)  # the mode of a Poisson law is the floor of its mean

    assert not next_is_likelier(p, 3)
    assert next_is_likelier(p * 4.05 / 3.95, 3)


def test_of_two_modes_the_lower_is_taken():
    fair = np.zeros((1, 3), np.float32)

    assert likeliest_counts(fair).tolist() == [1]
    assert not next_is_likelier(np.full(3, 0.5), 1)


def test_only_rows_that_the_mean_leaves_open_are_looked_at(monkeypatch):
    asked = []
    monkeypatch.setattr(mode_top_k, "next_is_likelier", lambda p, k: asked.append(k) or False)
    logits = np.float32([[-3.0, -3.0], [0.3, 0.0], [9.0, 9.0]])

    likeliest_counts(logits)

    assert asked == []
    likeliest_counts(np.full((1, 8), -1.2, np.float32))
    assert asked == [1]


def test_bounds_hold():
    logits = np.float32([[5.0, 5.0, 5.0, 5.0], [-5.0, -5.0, -5.0, -5.0]])

    assert ops.ModeTopK(1, 3).counts(logits).tolist() == [3, 1]
    assert ops.ModeTopK(0, None).counts(logits).tolist() == [4, 0]
    assert ops.ModeTopK(9, None).counts(logits).tolist() == [4, 4]


def test_a_cell_without_a_score_is_no_trial():
    logits = np.float32([[0.5, -np.inf, 0.5, -np.inf, 0.5]])

    assert ops.ModeTopK(0, None).counts(logits).tolist() == [2]


@pytest.mark.parametrize("bounds", [(None, None), (1.5, None), (2, 1), (-1, None), (True, None)])
def test_hostile_bounds_are_refused(bounds):
    with pytest.raises(ValueError, match=r"^(min_k|max_k) must be "):
        ops.ModeTopK(*bounds)
