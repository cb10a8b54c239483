"""The pipelines that a choice usually lies between."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from calibrate.base import Calibrator, DecisionRule
from calibrate.calibrators.hierarchical_scaling import HierarchicalScaling
from calibrate.calibrators.platt_scaling import PlattScaling
from calibrate.calibrators.pos_weight_correction import PosWeightCorrection
from calibrate.calibrators.temperature_scaling import TemperatureScaling
from calibrate.metrics import f_beta
from calibrate.pipeline import Pipeline
from calibrate.rules.cardinality_matching import CardinalityMatching
from calibrate.rules.expected_count_top_k import ExpectedCountTopK
from calibrate.rules.expected_f_beta import ExpectedFBeta
from calibrate.rules.fixed_threshold import FixedThreshold
from calibrate.rules.instance_threshold import InstanceThreshold
from calibrate.rules.per_class_threshold import PerClassThreshold
from calibrate.rules.plug_in_threshold import PlugInThreshold
from calibrate.rules.prevalence_matching import PrevalenceMatching
from calibrate.rules.shared_threshold import SharedThreshold
from calibrate.rules.top_k import TopK


def standard_pipelines(
    mean_labels: float,
    pos_weight: NDArray[Any] | float | None = None,
    calibrators: Mapping[str, Calibrator] = MappingProxyType({}),
    rules: Mapping[str, DecisionRule] = MappingProxyType({}),
) -> dict[str, Pipeline]:
    """The pipelines that a choice usually lies between, by name.

    Parameters
    ----------
    mean_labels : float
        Labels per row, for the plain top-k.
    pos_weight : float or array, (n_classes,), optional
        Weights of the training; adds the corrected pipelines.
    calibrators : mapping of str to Calibrator, optional
        Others by their names; adds each of them, cut at 0.5.
    rules : mapping of str to DecisionRule, optional
        Others by their names; adds each of them, after the default calibrator.
    """
    f1, half = f_beta(1), FixedThreshold(0.0)
    layered = HierarchicalScaling(pos_weight)
    pipelines = {"raw, cut at 0.5": Pipeline([], half)}
    if pos_weight is not None:
        corrected = PosWeightCorrection(pos_weight)
        pipelines["z - log w, cut at 0.5"] = Pipeline([corrected], half)
    for name, calibrator in calibrators.items():
        pipelines[f"{name}, cut at 0.5"] = Pipeline([calibrator], half)
    pipelines |= {
        "temperature, cut at 0.5": Pipeline([TemperatureScaling()], half),
        "Platt, cut at 0.5": Pipeline([PlattScaling()], half),
        "hierarchical, cut at 0.5": Pipeline([layered], half),
        "swept per class, raw": Pipeline([], PerClassThreshold(f1)),
        "shared cut, raw": Pipeline([], SharedThreshold(f1)),
    }
    after_the_default: dict[str, DecisionRule] = {
        "plug-in per class": PlugInThreshold(f1),
        "shrunk per class": PerClassThreshold(f1, shrinkage="auto"),
        "prevalence matching": PrevalenceMatching(),
        "shared cut": SharedThreshold(f1, shrinkage="auto"),
        "shared cut by row": InstanceThreshold(f1),
        "expected F1": ExpectedFBeta(1),
        "cardinality matching": CardinalityMatching(),
        "expected k": ExpectedCountTopK(),
        "top-k": TopK(max(1, round(mean_labels))),
    }
    return pipelines | {
        name: Pipeline([layered], rule) for name, rule in (after_the_default | {**rules}).items()
    }
