import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import calibrate as cal
from calibrate import LogitAdjustment, PosWeightCorrection, ScoreHistogram
from calibrate.data import labelled_logits

LAW = settings(derandomize=True, deadline=None, max_examples=60)

PROBABILITIES = np.linspace(0.005, 0.995, 199)
CALIBRATED = np.array([[naive.logit(p)] for p in PROBABILITIES])
NONE = np.zeros((199, 1), int)


@LAW
@given(st.floats(0.01, 0.99), st.floats(0, 3))
def test_a_cut_at_0_is_a_threshold_on_the_probability(prior, tau):
    threshold = naive.sigmoid(tau * naive.logit(prior))

    adjusted = LogitAdjustment(prior, tau).fit(CALIBRATED, NONE).transform(CALIBRATED)[:, 0]

    clear = abs(PROBABILITIES - threshold) > 1e-6
    likelier = threshold < PROBABILITIES
    assert ((adjusted > 0) == likelier)[clear].all()


@pytest.mark.parametrize("prior", [0.01125, 0.15, 0.6])
def test_target_8_with_tau_1_it_is_the_rule_of_a_weighted_network_cut_at_one_half(prior):
    weighted = CALIBRATED + math.log((1 - prior) / prior)

    adjusted = LogitAdjustment([prior]).fit(CALIBRATED, NONE).transform(CALIBRATED)

    assert adjusted == pytest.approx(weighted, rel=1e-5, abs=1e-5)
    undone = PosWeightCorrection([prior / (1 - prior)]).fit(CALIBRATED, NONE)
    assert undone.op_.shift == pytest.approx(-naive.logit(prior), rel=1e-6)


def test_with_tau_0_nothing_moves():
    adjusted = LogitAdjustment([0.01], tau=0.0).fit(CALIBRATED, NONE)

    assert (adjusted.transform(CALIBRATED) == CALIBRATED.astype(np.float32)).all()


def test_a_prior_of_one_half_changes_nothing_whatever_tau():
    shift = LogitAdjustment(0.5, tau=2.0).fit(CALIBRATED, NONE).op_.shift

    assert shift == 0
    assert not np.signbit(shift)


def test_without_a_prior_the_prevalences_of_the_fitting_rows_are_taken():
    labels = np.zeros((10, 2), int)
    labels[:3, 0] = labels[:8, 1] = 1

    shift = LogitAdjustment(tau=0.5).fit(np.zeros((10, 2)), labels).op_.shift

    assert shift == pytest.approx([-0.5 * naive.logit(0.3), -0.5 * naive.logit(0.8)], rel=1e-6)


def test_a_class_of_which_one_side_is_empty_gets_half_a_row_more_of_both():
    labels = np.zeros((9, 3), int)
    labels[:, 1] = labels[:3, 2] = 1
    adjustment = LogitAdjustment()

    with pytest.warns(cal.FitWarning, match="2 of 3 classes have no positives or no negatives"):
        adjustment.fit(np.zeros((9, 3)), labels)

    priors = [0.5 / 10, 9.5 / 10, 1 / 3]
    assert adjustment.op_.shift == pytest.approx([-naive.logit(p) for p in priors], rel=1e-6)
    assert adjustment.findings_[0].code == "one_sided"
    assert adjustment.findings_[0].classes == (0, 1)


def test_cells_without_a_score_are_not_counted():
    logits, labels = np.zeros((8, 1)), np.zeros((8, 1), int)
    labels[:2], logits[4:] = 1, np.nan

    rows = labelled_logits(logits, labels, nan="negative")
    adjusted = LogitAdjustment().fit(logits, labels, nan="negative")

    assert adjusted.op_.shift.tolist() == [0.0]
    assert LogitAdjustment().fit_from(ScoreHistogram.of(rows)).op_.same_as(adjusted.op_)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prior": [0.0]}, ValueError, "prior must be above 0 and below 1, got 0 at class 0"),
        ({"prior": 1.0}, ValueError, "prior must be above 0 and below 1, got 1"),
        (
            {"prior": [0.1, 0.2]},
            ValueError,
            r"prior must be a number or one per class, got shape \(2,\) for 1 classes",
        ),
        ({"prior": 0.1, "tau": -1}, ValueError, "tau must be at least 0 and finite, got -1"),
        ({"tau": "1"}, TypeError, "tau must be a number, got '1'"),
    ],
)
def test_what_is_no_prior_or_no_tau_is_refused(options, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        LogitAdjustment(**options).fit(CALIBRATED, NONE)
