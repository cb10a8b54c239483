import numpy as np
import pytest

from calibrate import ops
from calibrate.best_sets import threshold_op


def logits_of(n_rows=20, n_classes=9):
    return np.random.default_rng(0).normal(size=(n_rows, n_classes)).astype(np.float32)


def test_a_lower_bound_adds_the_highest_to_what_passes_one_threshold():
    logits = np.array([[3, 2, 1, -1], [-5, -4, -6, -4], [-np.inf] * 4], np.float32)

    labels = ops.BoundedThreshold(np.array(1.5), 1, None).decide(logits)

    assert np.diff(labels.indptr).tolist() == [2, 1, 0]
    assert labels.indices.tolist() == [0, 1, 1]


def test_one_threshold_ranks_logits_that_lie_equally_far_above_it_in_float32():
    logits = np.array([[0.0, 1e-9]], np.float32)

    labels = ops.BoundedThreshold(np.array(-1e8), 0, 1).decide(logits)

    assert labels.indices.tolist() == [1]


def test_a_threshold_that_is_never_passed_lets_no_bound_add_a_label():
    logits = np.where(logits_of() > 1, np.inf, logits_of())

    labels = ops.BoundedThreshold(np.array(np.inf), 2, None).decide(logits)

    assert labels.indices.tolist() == []


def test_a_cut_above_all_scores_with_a_lower_bound_is_top_k():
    op = threshold_op(np.float32(np.inf), 2)

    assert isinstance(op, ops.TopK)
    assert op.k == 2
    assert isinstance(threshold_op(np.float32(np.inf), 0), ops.Threshold)


def test_a_lower_bound_beyond_the_classes_takes_all():
    op = ops.BoundedThreshold(np.array(0.5), 30, None)

    assert np.array_equal(op.counts(logits_of()), [9] * 20)


@pytest.mark.parametrize(
    ("threshold", "bounds", "message"),
    [
        (
            np.zeros((2, 2)),
            (0, 1),
            r"threshold must be a number or one per class, got shape \(2, 2\)",
        ),
        ([0.0, np.nan], (0, 1), "threshold must not hold nan, got nan at class 1"),
        (0.0, (-1, None), "min_k must be at least 0, got -1"),
        (0.0, (1.5, None), "min_k must be a whole number, got 1.5"),
        (0.0, (2, 1), "max_k must be at least min_k = 2, got 1"),
    ],
)
def test_bounds_and_thresholds_that_make_no_sense_are_refused(threshold, bounds, message):
    with pytest.raises(ValueError, match=message):
        ops.BoundedThreshold(threshold, *bounds)
