"""Log loss, Brier score and calibration error: exact values and far ends."""

from __future__ import annotations

import numpy as np
import pytest

from calibrate.decision import Decision
from calibrate.evaluation import evaluate
from calibrate.kernels.evaluation import add_losses
from calibrate.ops import Affine, Threshold


def summary_of(logits, labels, steps=(), nan="raise"):
    decision = Decision(steps, Threshold(np.float32(0)), np.shape(logits)[1])
    return evaluate(decision, logits, labels, nan=nan).summary


def test_a_calibrated_constant_has_no_calibration_error():
    logits = np.full((10, 1), np.log(0.3 / 0.7))
    labels = np.arange(10)[:, None] < 3

    summary = summary_of(logits, labels)

    assert summary["ece"] == pytest.approx(0.0, abs=1e-8)
    assert summary["brier"] == pytest.approx(0.21)
    assert summary["log_loss"] == pytest.approx(-0.3 * np.log(0.3) - 0.7 * np.log(0.7))


def test_errors_of_opposite_sign_cancel_in_one_class_pooled_but_not_apart():
    logits = np.full((10, 2), np.log(0.5 / 0.5)) + 0.1
    labels = np.column_stack([np.arange(10) < 2, np.arange(10) < 8])

    summary = summary_of(logits, labels)

    p = 1 / (1 + np.exp(-0.1))
    assert summary["ece"] == pytest.approx(p - 0.5, abs=1e-7)
    assert summary["ece_classes"] == pytest.approx(0.3, abs=1e-7)


def test_probabilities_of_zero_and_one_fall_into_different_bins():
    logits = np.array([[-800.0], [800.0]])

    summary = summary_of(logits, np.array([[1], [0]]))

    assert summary["ece"] == 1.0
    assert summary["brier"] == 1.0
    assert summary["log_loss"] == 800.0


def test_a_loss_far_out_keeps_its_digits():
    summary = summary_of(np.array([[60.0], [-60.0]]), np.array([[1], [0]]))

    assert summary["log_loss"] == pytest.approx(np.exp(-60.0), rel=1e-12, abs=0)
    assert summary["brier"] == pytest.approx(np.exp(-120.0), rel=1e-12, abs=0)


def test_a_bin_has_its_upper_edge():
    scored, log_loss, brier = np.zeros(1, np.int64), np.zeros(1), np.zeros(1)
    gap = np.zeros((1, 2))
    true = np.array([0, 0, 0], dtype=np.int64), np.empty(0, dtype=np.int32)
    scores = np.float32([[0.0], [np.log(3)]])

    add_losses(scores, *true, 0, 1, scored, log_loss, brier, gap, np.zeros((1, 8, 4)), 4.0)

    np.testing.assert_allclose(gap, [[0.5, 0.75]], rtol=1e-7)
    np.testing.assert_array_equal(scored, [2])


def test_a_cell_without_a_score_costs_nothing():
    logits = np.array([[np.nan, 2.0], [1.0, -np.inf]])
    labels = np.array([[1, 1], [0, 0]])

    summary = summary_of(logits, labels, nan="negative")

    losses = np.log1p(np.exp([-2.0, 1.0]))
    assert summary["log_loss"] == pytest.approx(losses.mean())
    assert summary["log_loss_per_row"] == pytest.approx(losses.sum() / 2)
    assert summary["n_predicted"] == 2


def test_without_any_score_nothing_is_defined():
    summary = summary_of(np.full((2, 2), np.nan), np.eye(2), nan="negative")

    for name in ("log_loss", "log_loss_per_row", "brier", "ece", "ece_classes"):
        assert np.isnan(summary[name]), name


def test_a_class_without_scores_is_left_out_of_the_mean_over_classes():
    logits = np.array([[np.nan, 800.0], [np.nan, 800.0]])

    summary = summary_of(logits, np.array([[1, 1], [0, 0]]), nan="negative")

    assert summary["ece_classes"] == 0.5


def test_losses_are_those_of_the_calibrated_logits():
    raw, labels = np.array([[4.0], [-2.0]]), np.array([[1], [1]])

    calibrated = summary_of(raw, labels, (Affine(np.float32(0.5), np.float32(-1.0)),))

    assert calibrated["log_loss"] == summary_of(np.array([[1.0], [-2.0]]), labels)["log_loss"]
