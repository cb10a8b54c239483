"""Steps of every kind with drawn numbers, and logits that are hard to decide."""

from __future__ import annotations

import numpy as np

from calibrate import ops


def calibration_steps(rng: np.random.Generator, n_classes: int) -> dict[str, ops.CalibrationOp]:
    """One step of each kind, and of some a second one, by name."""

    def drawn(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, n_classes).astype(np.float32)

    sizes = rng.integers(1, 5, n_classes)
    knots = [np.sort(rng.choice(np.arange(-4, 4, 0.5), size)) for size in sizes]
    rising = [np.sort(rng.normal(size=size)) for size in sizes]
    return {
        "affine": ops.Affine(drawn(0.3, 2), drawn(-2, 2)),
        "affine, one for all": ops.Affine(np.array(1.5), np.array(-0.25)),
        "beta": ops.Beta(drawn(0, 2), drawn(0.1, 2), drawn(-1, 1)),
        "label_smoothing": ops.LabelSmoothing(0.1),
        "focal": ops.Focal(2.0, 0.25),
        "asymmetric_loss": ops.AsymmetricLoss(0.0, 4.0, 0.05, detached=True),
        "asymmetric_loss, attached": ops.AsymmetricLoss(0.0, 4.0, 0.05, detached=False),
        "asymmetric_loss, no clip": ops.AsymmetricLoss(1.0, 2.0, 0.0, detached=False),
        "row_affine": ops.RowAffine(drawn(0.5, 2), drawn(-1, 1), -0.5, 0.25, 0.125),
        "row_affine, count": ops.RowAffine(drawn(0.5, 2), drawn(-1, 1), 0.75),
        "piecewise_linear": ops.PiecewiseLinear(
            np.cumsum([0, *sizes]),
            np.concatenate(knots),
            np.concatenate(rising),
            drawn(0, 2),
            drawn(0, 2),
        ),
        "piecewise_linear, one for all": ops.PiecewiseLinear(
            [0, 4], [-1.0, 0.0, 0.0, 2.0], [-2.0, -0.5, 0.5, 0.75], [0.5], [0.0]
        ),
    }


def decision_steps(rng: np.random.Generator, n_classes: int) -> dict[str, ops.DecisionOp]:
    """One step of each kind that decides rows by themselves, and of some a second one, by name."""
    threshold = rng.normal(-0.5, 1, n_classes).astype(np.float32).round(1)
    threshold[:: 1 + n_classes // 3] = np.inf
    gain = rng.uniform(0, 3, n_classes).astype(np.float32)
    offset = rng.uniform(-1, 1, n_classes).astype(np.float32)
    return {
        "threshold": ops.Threshold(threshold),
        "threshold, one for all": ops.Threshold(np.array(-0.5)),
        "threshold, lowest": ops.Threshold(np.array(-np.inf)),
        "bounded_threshold": ops.BoundedThreshold(threshold, 1, 3),
        "bounded_threshold, one for all": ops.BoundedThreshold(np.array(0.5), 2, None),
        "bounded_threshold, never": ops.BoundedThreshold(np.array(np.inf), 2, None),
        "top_k": ops.TopK(3),
        "top_k, none": ops.TopK(0),
        "expected_count_top_k": ops.ExpectedCountTopK(0.5, 0, None),
        "expected_count_top_k, bounded": ops.ExpectedCountTopK(-0.25, 1, 4),
        "mode_top_k": ops.ModeTopK(0, None),
        "weighted_top_k": ops.WeightedTopK(2, gain, offset),
        "largest_gap": ops.LargestGap(),
        "expected_f_beta": ops.ExpectedFBeta(False, 0.1, 0.9, 1.0),
        "expected_f_beta, exact": ops.ExpectedFBeta(True, None, 1.0, 2.0),
        "expected_jaccard": ops.ExpectedJaccard(False, None, 1.0),
    }


def hard_logits(rng: np.random.Generator, n_rows: int, n_classes: int) -> np.ndarray:
    """Ties, adjacent floats, both zeros, far ends, cells without a score, float32."""
    logits = rng.normal(-1, 2, (n_rows, n_classes)).astype(np.float32)
    kind = rng.integers(0, 8, logits.shape)
    logits = np.where(kind == 0, logits.round(), logits)
    logits = np.where(kind == 1, np.float32(-0.5), logits)
    logits = np.where(kind == 2, np.nextafter(np.float32(-0.5), np.float32(-1)), logits)
    logits = np.where(
        kind == 3, rng.choice(np.array([0.0, -0.0], np.float32), logits.shape), logits
    )
    rare = rng.random(logits.shape)
    logits[rare < 0.02] = -np.inf
    logits[(rare > 0.02) & (rare < 0.03)] = 3e38
    logits[(rare > 0.03) & (rare < 0.04)] = -3e38
    if n_rows > 2:
        logits[0], logits[1] = -0.5, -np.inf
    return logits
