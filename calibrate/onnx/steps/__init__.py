"""One function for each kind of step, found by its wire name: the closed set of what ONNX says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calibrate.onnx.graph import Graph, Value
from calibrate.onnx.steps.affine import affine
from calibrate.onnx.steps.best_sets import expected_f_beta, expected_jaccard
from calibrate.onnx.steps.beta import beta
from calibrate.onnx.steps.decisions import (
    bounded_threshold,
    expected_count_top_k,
    threshold,
    top_k,
)
from calibrate.onnx.steps.largest_gap import largest_gap
from calibrate.onnx.steps.losses import asymmetric_loss, focal, label_smoothing
from calibrate.onnx.steps.mode_top_k import mode_top_k
from calibrate.onnx.steps.piecewise_linear import piecewise_linear
from calibrate.onnx.steps.probabilities import FromProbabilities, from_probabilities
from calibrate.onnx.steps.row_affine import row_affine
from calibrate.onnx.steps.weighted_top_k import weighted_top_k
from calibrate.ops import (
    Affine,
    AsymmetricLoss,
    Beta,
    BoundedThreshold,
    ExpectedCountTopK,
    ExpectedFBeta,
    ExpectedJaccard,
    Focal,
    LabelSmoothing,
    LargestGap,
    ModeTopK,
    PiecewiseLinear,
    RowAffine,
    Threshold,
    TopK,
    WeightedTopK,
)

Write = Callable[[Graph, Any, Value], Value]
"""Adds the nodes of a step behind a value, (n_rows, n_classes), float32."""

CALIBRATIONS: dict[str, Write] = {
    FromProbabilities.wire_name: from_probabilities,
    Affine.wire_name: affine,
    Beta.wire_name: beta,
    LabelSmoothing.wire_name: label_smoothing,
    Focal.wire_name: focal,
    AsymmetricLoss.wire_name: asymmetric_loss,
    RowAffine.wire_name: row_affine,
    PiecewiseLinear.wire_name: piecewise_linear,
}
"""Logits to logits."""

DECISIONS: dict[str, Write] = {
    Threshold.wire_name: threshold,
    BoundedThreshold.wire_name: bounded_threshold,
    TopK.wire_name: top_k,
    ExpectedCountTopK.wire_name: expected_count_top_k,
    ExpectedFBeta.wire_name: expected_f_beta,
    ExpectedJaccard.wire_name: expected_jaccard,
    ModeTopK.wire_name: mode_top_k,
    LargestGap.wire_name: largest_gap,
    WeightedTopK.wire_name: weighted_top_k,
}
"""Logits to labels."""

EXACT = {
    Affine.wire_name,
    PiecewiseLinear.wire_name,
    Threshold.wire_name,
    BoundedThreshold.wire_name,
    TopK.wire_name,
}
"""Steps of additions, products and comparisons alone, which every runtime rounds alike."""
