import math

import naive
import naive_losses
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from calibrate import PosWeightCorrection, ScoreHistogram
from calibrate.data import labelled_logits

LAW = settings(derandomize=True, deadline=None, max_examples=60)

LOGITS = np.array([[2.0, -1.0], [0.5, 3.0], [-4.0, 0.0]])
LABELS = np.array([[1, 0], [0, 1], [0, 0]])


def test_target_8_the_weight_of_a_rare_class_inflates_a_fifth_to_almost_one():
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


def test_target_8_there_and_back_again_to_1e_12():
    shift = np.float32(4.4761)  # a logarithm that float32 holds, so that nothing is rounded
    probability = np.array([1e-6, 0.01125, 0.2, 0.999])
    learned = np.array([[naive.logit(p) + float(shift)] for p in probability])

    correction = PosWeightCorrection(math.exp(shift)).fit(learned, np.zeros((4, 1), int))

    back = [naive.sigmoid(z) for z in correction.op_.apply_float64(learned)[:, 0]]
    assert back == pytest.approx(probability.tolist(), rel=1e-12)


@pytest.mark.parametrize("prevalence", [0.01125, 0.15, 0.5])
def test_target_8_a_learned_logit_above_0_means_a_probability_above_the_prevalence(prevalence):
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

    assert copy.get_params() == {"pos_weight": [2.0, 3.0], "label_smoothing": 0.0}
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


# label smoothing


@LAW
@given(st.floats(1e-3, 1 - 1e-3), st.floats(1e-2, 1e3), st.floats(0, 0.5))
def test_what_is_learned_from_weighted_smoothed_targets_comes_back(probability, weight, smoothing):
    slopes = naive_losses.smoothed_slopes(weight, smoothing)
    learned = np.array([[naive_losses.learned_logit(probability, *slopes)]])

    undone = PosWeightCorrection(weight, smoothing).fit(learned, [[0]]).transform(learned)

    assert naive.sigmoid(float(undone[0, 0])) == pytest.approx(probability, rel=2e-4, abs=2e-6)


def test_free_logits_trained_by_torch_give_the_frequencies_back():
    weight, smoothing = torch.tensor([6.0, 0.5, 1.0], dtype=torch.float64), 0.1
    frequency = torch.tensor([[0.02, 0.3, 0.97]], dtype=torch.float64)
    logits = torch.zeros((1, 3), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=300, tolerance_grad=1e-12)
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=weight, reduction="none")

    def expected_loss():
        optimiser.zero_grad()
        positive = loss(logits, torch.full_like(logits, 1 - smoothing / 2))
        negative = loss(logits, torch.full_like(logits, smoothing / 2))
        total = (frequency * positive + (1 - frequency) * negative).sum()
        total.backward()
        return total

    optimiser.step(expected_loss)
    learned = logits.detach().numpy()
    undone = PosWeightCorrection(weight, smoothing).fit(learned, [[0]]).transform(learned)

    found = [naive.sigmoid(float(z)) for z in undone[0]]
    assert found == pytest.approx([0.02, 0.3, 0.97], abs=1e-5)


def test_a_logit_that_smoothed_targets_never_ask_for_stays_finite():
    logits = np.array([[-3e38, -800.0, 800.0, 3e38]])

    undone = PosWeightCorrection(5.0, 0.1).fit(logits, [[0]]).transform(logits)

    far = [naive.logit(1e-7)] * 2 + [naive.logit(1 - 1e-7)] * 2
    assert undone[0] == pytest.approx(far, rel=1e-7)


def test_without_smoothing_the_step_is_a_line_and_nothing_else():
    assert PosWeightCorrection(2.0).fit(LOGITS, LABELS).op_.wire_name == "affine"


@pytest.mark.parametrize(
    ("smoothing", "error", "message"),
    [
        (1.0, ValueError, "label_smoothing must be at least 0 and below 1, got 1.0"),
        (-0.1, ValueError, "label_smoothing must be at least 0 and below 1, got -0.1"),
        ("a", TypeError, "label_smoothing must be a number, got 'a'"),
    ],
)
def test_a_smoothing_that_is_none_is_refused(smoothing, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        PosWeightCorrection(2.0, smoothing).fit(LOGITS, LABELS)


def test_weights_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match=r"^pos_weight must be a number or one per class, got 'w'$"):
        PosWeightCorrection("w").fit(LOGITS, LABELS)
