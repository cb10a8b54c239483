"""The waist: the frozen steps that a fitted decision is made of. Imports numpy only.

A *calibration op* turns logits into logits: an *elementwise* one each cell by itself, never falling
within a class; a *row* one with a number that the whole row decides. A *decision op* turns logits
into labels; a *batch* one must first be adapted to the rows that are labelled together. Every
target (numpy, the rule file, later torch and ONNX) knows these ops and nothing else, so that
methods and targets multiply without meeting.

All arrays of logits here are float32, shape (n_rows, n_classes); ``-inf`` marks a cell that has no
score and is never predicted. Arguments are trusted: ``calibrate.data`` has checked them.
"""

from __future__ import annotations

from calibrate.ops.affine import Affine
from calibrate.ops.base import (
    LOWEST,
    CalibrationOp,
    Chain,
    DecisionOp,
    ElementwiseOp,
    Float32,
    Op,
    RowLabels,
    RowOp,
    flat,
    number,
    positive_integer,
)
from calibrate.ops.batch_plug_in import BatchOp, BatchPlugIn, EachBlock
from calibrate.ops.best_sets import BestSetOp, ExpectedFBeta, ExpectedJaccard
from calibrate.ops.beta import Beta
from calibrate.ops.decisions import (
    BoundedThreshold,
    ExpectedCountTopK,
    HighestOp,
    Threshold,
    TopK,
    check_count_bounds,
)
from calibrate.ops.expected_sets import log_odds_of_none, row_sums
from calibrate.ops.folding import fold, from_ordinal, ordinal
from calibrate.ops.largest_gap import LargestGap
from calibrate.ops.losses import AsymmetricLoss, Focal, LabelSmoothing
from calibrate.ops.mode_top_k import ModeTopK
from calibrate.ops.piecewise_linear import PiecewiseLinear
from calibrate.ops.row_affine import RowAffine
from calibrate.ops.rows import expected_counts, labels_from_mask, sigmoid, top_mask
from calibrate.ops.weighted_top_k import WeightedTopK

__all__ = [
    "LOWEST",
    "OPS",
    "Affine",
    "AsymmetricLoss",
    "BatchOp",
    "BatchPlugIn",
    "BestSetOp",
    "Beta",
    "BoundedThreshold",
    "CalibrationOp",
    "Chain",
    "DecisionOp",
    "EachBlock",
    "ElementwiseOp",
    "ExpectedCountTopK",
    "ExpectedFBeta",
    "ExpectedJaccard",
    "Float32",
    "Focal",
    "HighestOp",
    "LabelSmoothing",
    "LargestGap",
    "ModeTopK",
    "Op",
    "PiecewiseLinear",
    "RowAffine",
    "RowLabels",
    "RowOp",
    "Threshold",
    "TopK",
    "WeightedTopK",
    "check_count_bounds",
    "expected_counts",
    "flat",
    "fold",
    "from_ordinal",
    "labels_from_mask",
    "log_odds_of_none",
    "number",
    "ordinal",
    "positive_integer",
    "row_sums",
    "sigmoid",
    "top_mask",
]

OPS: dict[str, type[Op]] = {
    op.wire_name: op
    for op in (
        Affine,
        Beta,
        LabelSmoothing,
        Focal,
        AsymmetricLoss,
        RowAffine,
        PiecewiseLinear,
        Threshold,
        BoundedThreshold,
        TopK,
        ExpectedCountTopK,
        BatchPlugIn,
        ExpectedFBeta,
        ExpectedJaccard,
        ModeTopK,
        LargestGap,
        WeightedTopK,
    )
}
"""The closed set: a rule file that names anything else is refused."""
