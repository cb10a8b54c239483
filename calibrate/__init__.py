"""From the logits of a trained multilabel network to decisions people can trust.

Public names are found on first use (PEP 562), so that ``import calibrate`` stays light: a
calibrator or a rule is looked up by the name of its file, everything else in the table below.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "CrossFit": "calibrate.crossfit",
    "Decision": "calibrate.decision",
    "FitWarning": "calibrate.base",
    "Pipeline": "calibrate.pipeline",
    "ScoreHistogram": "calibrate.statistics",
    "ThresholdCurves": "calibrate.statistics",
    "ThresholdReport": "calibrate.report",
    "block_coordinate_ascent": "calibrate.coordinate_ascent",
    "as_labels": "calibrate.data",
    "as_logits": "calibrate.data",
    "calibration_report": "calibrate.evaluation",
    "cross_fit": "calibrate.crossfit",
    "evaluate": "calibrate.evaluation",
    "general_f_maximizer": "calibrate.general_f",
    "labelled_logits": "calibrate.data",
    "load": "calibrate.decision",
    "paired_differences": "calibrate.evaluation",
    "threshold_curves": "calibrate.statistics",
    "threshold_report": "calibrate.report",
    "warmup": "calibrate.compilation",
}
_MODULES = ("corrections", "metrics", "objectives", "overrides", "plot", "risks")
_METHOD_ROOMS = ("calibrators", "rules")


def _methods() -> dict[str, str]:
    """Class name to module of every calibrator and rule, from their file names alone."""
    return {
        "".join(word.capitalize() for word in file.name.split("_")): f"calibrate.{room}.{file.name}"
        for room in _METHOD_ROOMS
        for file in iter_modules([f"{folder}/{room}" for folder in __path__])
    }


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"calibrate.{name}")
    module = _NAMES.get(name) or _methods().get(name)
    if module is None:
        raise AttributeError(f"module 'calibrate' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_NAMES, *_MODULES, *_methods(), "__version__"])
