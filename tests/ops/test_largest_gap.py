import itertools

import naive
import naive_counts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import ops

LAW = settings(derandomize=True, deadline=None, max_examples=200)

cells = st.one_of(
    st.integers(-4, 4).map(float),
    st.sampled_from([0.0, -0.0, 1.0000001, 40.0, -40.0, -np.inf, np.inf]),
)


def labels_of(op, logits):
    decided = op.decide(logits)
    mask = np.zeros(logits.shape, bool)
    rows = np.repeat(np.arange(len(logits)), np.diff(decided.indptr))
    mask[rows, decided.indices] = True
    return mask


@LAW
@given(st.lists(cells, min_size=1, max_size=9))
def test_a_row_is_cut_at_its_largest_gap(row):
    logits = np.array([row], np.float32)

    count = int(ops.LargestGap().counts(logits)[0])

    finite = [min(z, 60.0) for z in row]
    slow = naive_counts.largest_gap(finite)
    falling = sorted((naive.sigmoid(z) for z in finite if z > -np.inf), reverse=True)
    gaps = [a - b for a, b in itertools.pairwise(falling)]
    # gaps that differ by rounding alone may be told apart either way
    assert count == slow or gaps[count - 1] == pytest.approx(max(gaps), abs=1e-15)
    assert labels_of(ops.LargestGap(), logits)[0].sum() == count


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([2.0, 1.5, -1.0, -6.0], [1, 1, 0, 0]),
        ([-6.0, -1.0, 1.5, 2.0], [0, 0, 1, 1]),
        ([0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0]),
        ([0.0, -np.inf, -np.inf, -np.inf], [0, 0, 0, 0]),
        ([-np.inf, 1.0, -np.inf, 0.0], [0, 1, 0, 0]),
        ([3.0, 3.0, 3.0, 1.0], [1, 1, 1, 0]),
        ([-20.0, -30.0, -300.0, -3000.0], [1, 0, 0, 0]),
    ],
)
def test_rows_of_every_kind(row, expected):
    logits = np.array([row], np.float32)

    assert labels_of(ops.LargestGap(), logits)[0].astype(int).tolist() == expected


def test_of_equal_gaps_the_highest_is_taken():
    logits = np.array([[np.log(3.0), 0.0, -np.log(3.0)]], np.float64).astype(np.float32)
    probabilities = np.array([0.75, 0.5, 0.25])

    assert np.diff(probabilities).tolist() == [-0.25, -0.25]
    assert ops.LargestGap().counts(np.array([[40.0, 0.0, -800.0]], np.float32)).tolist() == [1]
    assert ops.LargestGap().counts(logits)[0] in (1, 2)


def test_one_class_leaves_no_gap():
    assert ops.LargestGap().counts(np.ones((3, 1), np.float32)).tolist() == [0, 0, 0]


def test_a_row_alone_is_cut_as_among_others():
    logits = np.random.default_rng(0).normal(size=(40, 131)).astype(np.float32)

    together = ops.LargestGap().counts(logits)

    alone = [int(ops.LargestGap().counts(row[None])[0]) for row in logits]
    assert together.tolist() == alone
