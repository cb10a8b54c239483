"""The decisions that the simulation compares, each from the fitting rows alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import logit

import calibrate as cal
from calibrate.data import labelled_logits
from calibrate.decision import Decision
from calibrate.hierarchy.pooled import log_weights, pooled_map
from calibrate.ops import CalibrationOp
from calibrate.statistics import ScoreHistogram

F1 = cal.metrics.f_beta(1)
DEFAULT = "default, plug-in"


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """What may be known to a method.

    Attributes
    ----------
    logits : float32, (n_rows, n_classes)
    labels : bool, (n_rows, n_classes)
    pos_weight : float64, (n_classes,)
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.bool_]
    pos_weight: NDArray[np.float64]


def plug_in(steps: Sequence[CalibrationOp], rows: Rows) -> Decision:
    """The plug-in cuts after some steps."""
    return _after(tuple(steps), cal.PlugInThreshold(F1), rows)


def decisions(rows: Rows) -> dict[str, Decision]:
    """All practical methods by name."""
    weight = rows.pos_weight
    corrected = _steps(cal.PosWeightCorrection(weight), rows)
    default = _steps(cal.HierarchicalScaling(weight), rows)
    histogram = ScoreHistogram.of(labelled_logits(rows.logits, rows.labels))
    pooled = pooled_map(histogram, log_weights(weight, histogram.n_classes)).op
    with_bias = [cal.PosWeightCorrection(weight), cal.TemperatureScaling(bias=True)]
    without = _steps(cal.HierarchicalScaling(weight, row_layer=False), rows)
    unguarded = _steps(cal.IsotonicCalibration(min_positives=1), rows)
    return {
        "raw, 0.5": _decided([], cal.FixedThreshold(), rows),
        "z - log w, 0.5": _decided([cal.PosWeightCorrection(weight)], cal.FixedThreshold(), rows),
        "z - log w, T, b, 0.5": _decided(with_bias, cal.FixedThreshold(), rows),
        "z - log w, plug-in": plug_in(corrected, rows),
        "pooled, plug-in": plug_in([pooled], rows),
        "swept": _decided([], cal.PerClassThreshold(F1), rows),
        "Platt, plug-in": plug_in(_steps(cal.PlattScaling(), rows), rows),
        "isotonic, plug-in": plug_in(_steps(cal.IsotonicCalibration(), rows), rows),
        "isotonic of every class, plug-in": plug_in(unguarded, rows),
        "default without row layer, plug-in": plug_in(without, rows),
        DEFAULT: plug_in(default, rows),
        "default, plug-in of the batch": _after(default, cal.PlugInThreshold(F1, batch=True), rows),
        "default, swept": _after(default, cal.PerClassThreshold(F1), rows),
        "default, shrunk": _after(default, cal.PerClassThreshold(F1, shrinkage="auto"), rows),
        "default, one threshold": _after(default, cal.SharedThreshold(F1), rows),
        "default, expected count": _after(default, cal.ExpectedCountTopK(), rows),
    }


def oracle(p: NDArray[np.float64]) -> Decision:
    """The plug-in cuts of the true probabilities, for their logits."""
    nothing = sparse.csr_array(p.shape, dtype=np.bool_)
    rule = cal.PlugInThreshold(F1).fit(logit(p).astype(np.float32), nothing)
    return Decision((), rule.op_, p.shape[1])


def _steps(calibrator: Any, rows: Rows) -> tuple[CalibrationOp, ...]:
    return (calibrator.fit(rows.logits, rows.labels).op_,)


def _decided(calibrators: list[Any], rule: Any, rows: Rows) -> Decision:
    return cal.Pipeline(calibrators, rule).fit(rows.logits, rows.labels).decision_


def _after(steps: tuple[CalibrationOp, ...], rule: Any, rows: Rows) -> Decision:
    calibrated = rows.logits
    for step in steps:
        calibrated = step.apply(calibrated)
    fitted = rule.fit(calibrated, rows.labels)
    return Decision(steps, fitted.op_, rows.logits.shape[1])
