import itertools
from functools import partial

import naive_sets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import general_f_maximizer

LAW = settings(derandomize=True, deadline=None, max_examples=80)

DEPENDENT = {(1, 1, 0): 0.3, (0, 0, 1): 0.3, (0, 0, 0): 0.2, (1, 1, 1): 0.2}
"""Three labels of even odds that depend on each other."""


def joint_of(law, n, most=None):
    """P(y_c = 1, |Y| = s) in column s - 1, and P(Y empty)."""
    table = np.zeros((n, most or n))
    for truth, probability in law.items():
        for c in np.flatnonzero(truth):
            table[c, sum(truth) - 1] += probability
    return table, law.get((0,) * n, 0.0)


@st.composite
def laws(draw):
    n = draw(st.integers(1, 4))
    cases = list(itertools.product((0, 1), repeat=n))
    weights = np.array(draw(st.lists(st.integers(0, 9), min_size=len(cases), max_size=len(cases))))
    weights[draw(st.integers(0, len(cases) - 1))] += 1
    return dict(zip(cases, (weights / weights.sum()).tolist(), strict=True)), n


def test_dependent_labels_are_not_the_sum_of_their_marginals():
    """Target 19."""
    f1 = partial(naive_sets.f_beta, beta=1)
    worth = {
        chosen: naive_sets.expected(np.flatnonzero(chosen), DEPENDENT.items(), f1)
        for chosen in itertools.product((0, 1), repeat=3)
    }
    joint, empty = joint_of(DEPENDENT, 3)

    found = general_f_maximizer(joint, empty)

    assert joint.sum(axis=1).tolist() == [0.5] * 3
    assert worth[0, 0, 0] == pytest.approx(0.2)
    assert worth[0, 0, 1] == pytest.approx(0.4)
    assert worth[0, 1, 0] == pytest.approx(0.3)
    assert worth[0, 1, 1] == pytest.approx(0.51)
    assert worth[1, 1, 0] == pytest.approx(0.46)
    assert worth[1, 1, 1] == pytest.approx(0.59)
    assert naive_sets.of_highest([0.5] * 3, f1)[3] == pytest.approx(0.6125)
    assert found.tolist() == [True, True, True]


@LAW
@given(laws(), st.sampled_from([0.5, 1.0, 2.0, 3.3]))
def test_no_set_has_a_higher_expected_f(case, beta):
    law, n = case
    f = partial(naive_sets.f_beta, beta=beta)
    joint, empty = joint_of(law, n)

    found = np.flatnonzero(general_f_maximizer(joint, empty, beta))

    best, _ = naive_sets.best_joint(joint.tolist(), empty, beta)
    everything = max(
        naive_sets.expected(chosen, law.items(), f)
        for k in range(n + 1)
        for chosen in itertools.combinations(range(n), k)
    )
    assert best == pytest.approx(everything, abs=1e-12)
    assert naive_sets.expected(found, law.items(), f) == pytest.approx(best, abs=1e-12)


def test_rows_are_decided_one_by_one():
    one, other = joint_of(DEPENDENT, 3, 4), (np.array([[0.1, 0], [0.0, 0], [0.05, 0]]), 0.85)
    both = np.zeros((2, 3, 4))
    both[0], both[1, :, :2] = one[0], other[0]

    found = general_f_maximizer(both, np.array([one[1], other[1]]))

    assert found.tolist() == [[True, True, True], [False, False, False]]


def test_among_equals_the_smaller_set_wins():
    assert general_f_maximizer(np.array([[0.5], [0.25]]), 0.25).tolist() == [True, False]
    assert general_f_maximizer(np.array([[0.25]]), 0.25).tolist() == [False]


@pytest.mark.parametrize(
    ("joint", "empty", "beta", "message"),
    [
        (np.zeros(3), 0.1, 1.0, r"joint must be of shape .* got \(3,\) and \(\)"),
        (np.zeros((2, 3, 3)), np.zeros(3), 1.0, r"one per row, got \(2, 3, 3\) and \(3,\)"),
        (np.zeros((3, 3)), np.zeros(3), 1.0, r"got \(3, 3\) and \(3,\)"),
        (np.full((2, 2), np.nan), 0.1, 1.0, "joint must hold probabilities, got nan"),
        (np.full((2, 2), -0.1), 0.1, 1.0, "joint must hold probabilities, got -0.1"),
        (np.zeros((2, 2)), 1.5, 1.0, "empty must hold probabilities, got 1.5"),
        (np.full((2, 1), 0.5), 0.1, 1.0, "must add up to at most 1, got 1.1"),
        (np.zeros((2, 2)), 0.1, 0.0, "beta must be positive and finite, got 0"),
        (np.zeros((2, 2)), 0.1, 1e300, r"beta must be positive and finite, got 1e\+300"),
    ],
)
def test_what_is_no_law_is_refused(joint, empty, beta, message):
    with pytest.raises(ValueError, match=message):
        general_f_maximizer(joint, empty, beta)
