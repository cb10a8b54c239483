import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from calibrate import PosWeightCorrection, ScoreHistogram
from calibrate.data import labelled_logits

LAW = settings(derandomize=True, deadline=None, max_examples=60)

LOGITS = np.array([[2.0, -1.0], [0.5, 3.0], [-4.0, 0.0]])
LABELS = np.array([[1, 0], [0, 1], [0, 0]])


def test_the_weight_of_a_rare_class_inflates_a_fifth_to_almost_one():
    weight = PosWeightCorrection.from_counts([1125], 100_000).pos_weight

    learned = naive.logit(0.2) + math.log(weight[0])

    assert weight[0] == pytest.approx(87.889, abs=5e-4)
    assert math.log(weight[0]) == pytest.approx(4.4761, abs=5e-5)
    assert naive.sigmoid(learned) == pytest.approx(0.9565, abs=5e-5)


@LAW
@given(st.floats(1e-4, 1 - 1e-4), st.floats(1e-3, 1e4))
def test_what_a_weighted_network_learns_comes_back_as_the_probability(probability, weight):
    learned = np.array([[naive.logit(probability) + math.log(weight)], [-1.0]])

    corrected = PosWeightCorrection(weight).fit(learned, [[0], []]).transform(learned)

    assert naive.sigmoid(float(corrected[0, 0])) == pytest.approx(probability, rel=5e-6)


@pytest.mark.parametrize("prevalence", [0.01125, 0.15, 0.5])
def test_a_learned_logit_above_zero_means_a_probability_above_the_prevalence(prevalence):
    p = np.linspace(0.001, 0.999, 1500)
    weight = (1 - prevalence) / prevalence
    learned = np.array([naive.logit(value) for value in p]) + math.log(weight)

    assert ((learned > 1e-9) == (p > prevalence + 1e-9)).all()
    correction = PosWeightCorrection([weight]).fit(learned[:, None], np.eye(1500, 1))
    assert correction.op_.shift[0] == np.float32(naive.logit(prevalence))


def test_each_class_is_moved_by_the_logarithm_of_its_own_weight():
    corrected = PosWeightCorrection([math.e, 1.0]).fit(LOGITS, LABELS).transform(LOGITS)

    assert corrected.tolist() == [[1.0, -1.0], [-0.5, 3.0], [-5.0, 0.0]]


def test_one_weight_serves_all_classes():
    correction = PosWeightCorrection(math.e).fit(LOGITS, LABELS)

    assert correction.transform(LOGITS).tolist() == (LOGITS - 1).tolist()
    assert correction.op_.n_classes is None


def test_labels_are_not_needed_to_undo_a_weight():
    without = PosWeightCorrection([2.0, 3.0]).fit(LOGITS, np.zeros((3, 2), int))

    histogram = ScoreHistogram.of(labelled_logits(LOGITS, LABELS))
    from_histogram = PosWeightCorrection([2.0, 3.0]).fit_from(histogram)
    assert without.op_.shift.tolist() == from_histogram.op_.shift.tolist()
    assert without.findings_ == ()


def test_fitting_leaves_the_weights_and_the_logits_alone():
    weight, logits = np.array([2.0, 3.0]), LOGITS.copy()
    correction = PosWeightCorrection(weight)

    correction.fit(logits, LABELS).transform(logits)

    assert correction.pos_weight is weight
    assert weight.tolist() == [2.0, 3.0]
    assert logits.tolist() == LOGITS.tolist()


def test_a_clone_is_unfitted_and_has_the_same_weights():
    fitted = PosWeightCorrection([2.0, 3.0]).fit(LOGITS, LABELS)

    copy = clone(fitted)

    assert copy.get_params() == {"pos_weight": [2.0, 3.0]}
    assert not hasattr(copy, "op_")


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 0.0], "pos_weight must be positive and finite, got 0 at class 1"),
        ([-2.0, 1.0], "pos_weight must be positive and finite, got -2 at class 0"),
        ([1.0, np.nan], "pos_weight must be positive and finite, got nan at class 1"),
        ([np.inf, 1.0], "pos_weight must be positive and finite, got inf at class 0"),
        (0.0, "pos_weight must be positive and finite, got 0"),
        (
            [1.0, 2.0, 3.0],
            r"pos_weight must be a number or one per class, got shape \(3,\) for 2 classes",
        ),
        (
            [[1.0, 2.0]],
            r"pos_weight must be a number or one per class, got shape \(1, 2\) for 2 classes",
        ),
    ],
)
def test_weights_that_are_not_weights_are_refused(weight, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        PosWeightCorrection(weight).fit(LOGITS, LABELS)


def test_weights_from_counts_are_negatives_over_positives():
    weight = PosWeightCorrection.from_counts([20, 50, 80], 100).pos_weight

    assert weight.tolist() == [4.0, 1.0, 0.25]


def test_an_empty_side_counts_as_half_a_row():
    weight = PosWeightCorrection.from_counts([0, 100, 1], 100).pos_weight

    assert weight.tolist() == [100.5 / 0.5, 0.5 / 100.5, 99.0]


@pytest.mark.parametrize(
    ("counts", "named"),
    [([3, -1], "-1 at class 1"), ([101, 5], "101 at class 0"), ([1, np.nan], "nan at class 1")],
)
def test_counts_that_cannot_be_are_refused(counts, named):
    message = f"^positives must be counts from 0 to n_rows = 100, got {named}$"

    with pytest.raises(ValueError, match=message):
        PosWeightCorrection.from_counts(counts, 100)


def test_counts_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"^positives must be one count per class, got \(1, 2\)$"):
        PosWeightCorrection.from_counts([[1, 2]], 9)
