import math

import naive
import naive_losses
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import PosWeightCorrection, ResamplingCorrection, ScoreHistogram
from calibrate.data import labelled_logits

LAW = settings(derandomize=True, deadline=None, max_examples=100)

LOGITS = np.array([[2.0, -1.0], [0.5, 3.0], [-4.0, 0.0]])
LABELS = np.array([[1, 0], [0, 1], [0, 0]])

shares = st.floats(0.001, 0.999)


def shift_of(correction, n_classes=1):
    """The shift of a correction, in float32."""
    return correction.fit(np.zeros((1, n_classes)), np.zeros((1, n_classes), int)).op_.shift


@LAW
@given(shares, shares, shares)
def test_target_10_elkan_king_zeng_and_the_shift_agree(probability, before, after):
    """All three change the base rate of one probability; to 1e-12."""
    learned = naive.logit(probability)
    ratio = (after / before) / ((1 - after) / (1 - before))

    shifted = learned - math.log(ratio)

    assert naive_losses.king_zeng(learned, after, before) == pytest.approx(
        shifted, rel=1e-12, abs=1e-12
    )
    by_elkan = naive_losses.elkan(naive.sigmoid(learned), after, before)
    assert by_elkan == pytest.approx(naive.sigmoid(shifted), rel=1e-12)
    correction = ResamplingCorrection.from_prevalences(before, after)
    assert shift_of(correction) == pytest.approx(-math.log(ratio), rel=1e-6, abs=1e-6)
    kept = correction.keep_positives / correction.keep_negatives
    assert -math.log(kept) == pytest.approx(shifted - learned, rel=1e-12, abs=1e-12)


@LAW
@given(shares, st.floats(0.001, 1.0))
def test_target_10_dal_pozzolo_is_the_shift_for_undersampled_negatives(probability, kept):
    """To 1e-12; all positives kept."""
    learned = naive.logit(probability)

    shifted = learned + math.log(kept)

    by_formula = naive_losses.dal_pozzolo(naive.sigmoid(learned), kept)
    assert by_formula == pytest.approx(naive.sigmoid(shifted), rel=1e-12)
    assert shift_of(ResamplingCorrection(keep_negatives=kept)) == np.float32(math.log(kept))


def test_a_network_that_saw_a_tenth_of_the_negatives_is_put_right():
    """Free logits of counted rows: 30 positives and 970 negatives, 97 of them seen."""
    learned = np.array([[naive.logit(30 / (30 + 97))]])

    undone = ResamplingCorrection(keep_negatives=0.1).fit(learned, [[0]]).transform(learned)

    assert naive.sigmoid(float(undone[0, 0])) == pytest.approx(0.03, rel=1e-6)


def test_positives_seen_three_times_weigh_as_a_weight_of_three_does():
    copies = ResamplingCorrection(keep_positives=[3.0, 1.0], keep_negatives=1.0)

    corrected = copies.fit(LOGITS, LABELS).transform(LOGITS)

    weighted = PosWeightCorrection([3.0, 1.0]).fit(LOGITS, LABELS)
    assert corrected.tolist() == weighted.transform(LOGITS).tolist()


def test_a_number_and_numbers_per_class_go_together():
    shift = shift_of(ResamplingCorrection(np.array([1.0, 2.0]), 0.5), 2)

    assert shift.tolist() == [np.float32(-math.log(2)), np.float32(-math.log(4))]
    assert shift_of(ResamplingCorrection(2.0, 0.5)).shape == ()


def test_labels_are_not_needed():
    without = ResamplingCorrection(2.0, [0.5, 0.1]).fit(LOGITS, np.zeros((3, 2), int))

    histogram = ScoreHistogram.of(labelled_logits(LOGITS, LABELS))
    assert without.op_.same_as(ResamplingCorrection(2.0, [0.5, 0.1]).fit_from(histogram).op_)
    assert without.findings_ == ()


def test_prevalences_before_and_after_say_what_was_kept():
    made = ResamplingCorrection.from_prevalences([0.01, 0.2], [0.5, 0.2])

    assert made.keep_positives == pytest.approx([50.0, 1.0])
    assert made.keep_negatives == pytest.approx([0.5 / 0.99, 1.0])


def test_counts_before_and_after_say_what_was_kept():
    made = ResamplingCorrection.from_counts([20, 10], 1000, [40, 10], [138, 109])

    assert made.keep_positives.tolist() == [2.0, 1.0]
    assert made.keep_negatives.tolist() == [98 / 980, 99 / 990]


def test_rows_may_be_counted_per_class():
    made = ResamplingCorrection.from_counts([20, 10], [1000, 110], [20, 10], [510, 60])

    assert made.keep_negatives.tolist() == [0.5, 0.5]


def test_an_empty_side_counts_as_half_a_row_before_and_after():
    made = ResamplingCorrection.from_counts([0, 8, 100, 0], 100, [0, 0, 50, 3], [10, 46, 50, 13])

    assert made.keep_positives.tolist() == [1.0, 0.5 / 8.5, 0.5, 7.0]
    assert made.keep_negatives.tolist() == [0.1, 0.5, 1.0, 0.1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"keep_negatives": [0.5, 0.0]},
            ValueError,
            "keep_negatives must be positive and finite, got 0 at class 1",
        ),
        (
            {"keep_positives": -1.0},
            ValueError,
            "keep_positives must be positive and finite, got -1",
        ),
        (
            {"keep_positives": [1.0, 2.0, 3.0]},
            ValueError,
            r"keep_positives must be a number or one per class, got shape \(3,\) for 2 classes",
        ),
        (
            {"keep_positives": "all"},
            TypeError,
            "keep_positives must be a number or one per class, got 'all'",
        ),
    ],
)
def test_shares_that_are_none_are_refused(options, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        ResamplingCorrection(**options).fit(LOGITS, LABELS)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([0.1, 1.0], 0.5, "before must be above 0 and below 1, got 1 at class 1"),
        (0.1, 0.0, "after must be above 0 and below 1, got 0"),
        ([0.1, 0.2], [0.5] * 3, "before and after must be of the same classes, got 2 and 3"),
        ([[0.1]], 0.5, r"before must be a number or one per class, got shape \(1, 1\)"),
    ],
)
def test_prevalences_that_are_none_are_refused(before, after, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ResamplingCorrection.from_prevalences(before, after)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (([1, 11], 10, [1, 1], 2), "positives must be counts from 0 to n_rows = 10, got 11 at cl"),
        (([1, 1], 10, [1, -1], 2), "kept_positives must be counts from 0 to kept_rows = 2, got -1"),
        (([1, np.nan], 10, [1, 1], 2), "positives must be counts from 0 to n_rows = 10, got nan "),
        ((1, 10, [1], 2), r"positives must be one count per class, got shape \(\)"),
        (([1, 1], [9], [1, 1], 2), r"n_rows must be a count or one per class, got shape \(1,\) fo"),
        (([1, 1], 9, [1], 2), "positives and kept_positives must be of the same classes, got 2 an"),
    ],
)
def test_counts_that_cannot_be_are_refused(counts, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ResamplingCorrection.from_counts(*counts)
