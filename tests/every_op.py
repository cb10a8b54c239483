"""The one catalogue: steps of every kind, by name, and logits that are hard to decide."""

from __future__ import annotations

import numpy as np

from calibrate import ops

THRESHOLDS = np.array([-0.5, np.inf, 0.25, ops.LOWEST, 0.0, 3e38, -1.0], dtype=np.float32)


def calibration_steps(rng: np.random.Generator, n_classes: int) -> dict[str, ops.CalibrationOp]:
    """One step of each kind, and of most some more, by name."""

    def drawn(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, n_classes).astype(np.float32)

    def broken_lines(most_knots: int, spread: float) -> ops.PiecewiseLinear:
        """Maps that jump where two knots are equal."""
        sizes = rng.integers(1, most_knots + 1, n_classes)
        knots = [np.sort(rng.normal(0, spread, size).round(1)) for size in sizes]
        values = [np.sort(rng.normal(0, spread, size).round(1)) for size in sizes]
        return ops.PiecewiseLinear(
            np.cumsum([0, *sizes]),
            np.concatenate(knots),
            np.concatenate(values),
            drawn(0, 2),
            drawn(0, 2),
        )

    return {
        "affine": ops.Affine(drawn(0.3, 3), drawn(-2, 2)),
        "affine, one for all": ops.Affine(np.array(1.5), np.array(-0.25)),
        "affine, overflowing": ops.Affine(np.array(3e38), np.array(1.0)),
        "beta": ops.Beta(drawn(0, 2), drawn(0.1, 2), drawn(-1, 1)),
        "label_smoothing": ops.LabelSmoothing(0.1),
        "label_smoothing, none": ops.LabelSmoothing(0.0),
        "focal": ops.Focal(2.0, 0.25),
        "asymmetric_loss": ops.AsymmetricLoss(0.0, 4.0, 0.05, detached=True),
        "asymmetric_loss, attached": ops.AsymmetricLoss(0.0, 4.0, 0.05, detached=False),
        "asymmetric_loss, no clip": ops.AsymmetricLoss(1.0, 3.0, 0.0, detached=True),
        "asymmetric_loss, no clip, attached": ops.AsymmetricLoss(1.0, 3.0, 0.0, detached=False),
        "asymmetric_loss, symmetric": ops.AsymmetricLoss(2.0, 2.0, 0.0, detached=False),
        "row_affine": ops.RowAffine(drawn(0.5, 2), drawn(-1, 1), -0.5, 0.25, 0.125),
        "row_affine, count": ops.RowAffine(drawn(0.5, 2), drawn(-1, 1), 0.75),
        "row_affine, count falling": ops.RowAffine(drawn(0.5, 2), drawn(-1, 1), -0.6),
        "row_affine, one for all": ops.RowAffine(np.array(1.0), np.array(0.0), 0.0, -0.3, 0.4),
        "piecewise_linear": broken_lines(5, 2.0),
        "piecewise_linear, many knots": broken_lines(90, 2.0),
        "piecewise_linear, one for all": ops.PiecewiseLinear(
            [0, 4], [-1.0, 0.0, 0.0, 2.0], [-2.0, -0.5, 0.5, 0.75], [0.5], [0.0]
        ),
        "piecewise_linear, one knot": ops.PiecewiseLinear([0, 1], [0.5], [1.0], [2.0], [0.25]),
    }


def decision_steps(rng: np.random.Generator, n_classes: int) -> dict[str, ops.DecisionOp]:
    """One step of each kind that decides rows by themselves, and of most some more, by name."""
    threshold = np.resize(THRESHOLDS, n_classes)
    gain = rng.uniform(0, 3, n_classes).astype(np.float32)
    offset = rng.uniform(-1, 1, n_classes).astype(np.float32)
    return {
        "threshold": ops.Threshold(threshold),
        "threshold, one for all": ops.Threshold(np.array(-0.5)),
        "threshold, one for all, above": ops.Threshold(np.array(0.25)),
        "threshold, never": ops.Threshold(np.array(np.inf)),
        "threshold, lowest": ops.Threshold(np.array(-np.inf)),
        "bounded_threshold": ops.BoundedThreshold(threshold, 1, 3),
        "bounded_threshold, from below": ops.BoundedThreshold(threshold, 2, None),
        "bounded_threshold, one for all": ops.BoundedThreshold(np.array(0.25), 1, 3),
        "bounded_threshold, never": ops.BoundedThreshold(np.array(np.inf), 2, None),
        "top_k": ops.TopK(3),
        "top_k, none": ops.TopK(0),
        "top_k, all": ops.TopK(100_000),
        "expected_count_top_k": ops.ExpectedCountTopK(0.5, 0, None),
        "expected_count_top_k, bounded": ops.ExpectedCountTopK(-0.25, 1, 4),
        "mode_top_k": ops.ModeTopK(0, None),
        "mode_top_k, bounded": ops.ModeTopK(1, 4),
        "weighted_top_k": ops.WeightedTopK(2, gain, offset),
        "weighted_top_k, one for all": ops.WeightedTopK(3, np.array(1.0), np.array(0.0)),
        "largest_gap": ops.LargestGap(),
        "expected_f_beta": ops.ExpectedFBeta(False, None, 0.0, 1.0),
        "expected_f_beta, empty": ops.ExpectedFBeta(False, 0.3, 1.2, 2.0),
        "expected_f_beta, exact": ops.ExpectedFBeta(True, None, 0.0, 0.5),
        "expected_jaccard": ops.ExpectedJaccard(False, None, 0.0),
        "expected_jaccard, exact, empty": ops.ExpectedJaccard(True, -0.2, 0.7),
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


def ugly_rows(n_classes: int, seed: int = 0) -> np.ndarray:
    """Rows that are worse: in many the sum of the probabilities lies where its last bit decides."""
    random = np.random.default_rng(seed)
    near = np.float32(0.25)
    cells = np.array(
        [
            0.0, -0.0, 0.25, np.nextafter(near, np.float32(1)), np.nextafter(near, np.float32(-1)),
            0.5, -1.0, -0.25, 1e-45, -1e-45, 3e38, -3e38, -np.inf, -200.0, 88.8, -88.8, 17.0, 18.0,
        ],
        dtype=np.float32,
    )  # fmt: skip
    shape = (40, n_classes)
    return np.concatenate(
        [
            random.choice(cells, shape),
            random.choice(cells[:9], shape),
            np.round(random.normal(-1, 2, shape) * 2) / 2,
            random.normal(-1, 2, shape),
            np.full((1, n_classes), -np.inf),
            np.full((1, n_classes), -200.0),
            np.zeros((1, n_classes)),
            np.full((1, n_classes), 40.0),
        ]
    ).astype(np.float32)
