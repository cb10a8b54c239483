"""Decisions, ours and the plain ones that everybody knows, as one function each.

Each takes what is known of a network and gives the labels of its test rows; None where it does not
apply. A rule of ours is one line of `OURS`; the one that the library offers for an objective is
named in `OBJECTIVES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone

import calibrate as cal
from suite.given import Given, Scores

Decider = Callable[[Given], Any]
"""Labels of the test rows as a matrix of bool, sparse or dense."""

F1 = cal.metrics.f_beta(1)


@dataclass(frozen=True)
class Objective:
    """What a user may want, and our default for it.

    Attributes
    ----------
    name : str
    figure : str
        Of an `Evaluation`; the count ratio is best at 1, all others at their highest.
    default : str
        A method of `OURS`.
    together : bool
        Whether all rows may be decided together. If not, others that do so are no rivals.
    """

    name: str
    figure: str
    default: str
    together: bool = False


def raw(rule: Any) -> Decider:
    """A rule of ours on what the network gives."""
    return lambda given: _decided(rule, given.raw)


def calibrated(rule: Any) -> Decider:
    """A rule of ours after our default calibrator."""
    return lambda given: _decided(rule, given.calibrated)


def _decided(rule: Any, scores: Scores) -> sparse.csr_array:
    return clone(rule).fit(scores.fit, scores.labels).predict(scores.test)


def cut_at_half(given: Given) -> NDArray[np.bool_]:
    return given.raw.test >= 0


def corrected_cut_at_half(given: Given) -> NDArray[np.bool_] | None:
    """``z - log w``; None where there are no weights to undo."""
    weight = given.network.pos_weight
    return None if weight is None else given.raw.test >= np.log(weight)


PLAIN: dict[str, Decider] = {
    "raw cut at 0.5": cut_at_half,
    "z - log w cut at 0.5": corrected_cut_at_half,
    "one cut (raw)": raw(cal.SharedThreshold(F1)),
    "top-k (raw)": lambda given: raw(cal.TopK(given.mean_count))(given),
}
"""What is done without any library."""

OURS: dict[str, Decider] = {
    "swept cut per class (raw)": raw(cal.PerClassThreshold(F1)),
    "swept cut per class": calibrated(cal.PerClassThreshold(F1)),
    "plug-in cut per class": calibrated(cal.PlugInThreshold(F1)),
    "plug-in of the batch": calibrated(cal.PlugInThreshold(F1, batch=True)),
    "shrunk cut per class": calibrated(cal.PerClassThreshold(F1, shrinkage="auto")),
    "shrunk, of the batch": calibrated(cal.PerClassThreshold(F1, shrinkage="auto", batch=True)),
    "SCutFBR (raw)": raw(cal.SCutFbr(F1)),
    "prevalence matching": calibrated(cal.PrevalenceMatching()),
    "swept one cut": calibrated(cal.SharedThreshold(F1)),
    "one cut": calibrated(cal.SharedThreshold(F1, shrinkage="auto")),
    "one cut by row": calibrated(cal.InstanceThreshold(F1)),
    "best set": calibrated(cal.ExpectedFBeta()),
    "cardinality matching": calibrated(cal.CardinalityMatching()),
    "expected count": calibrated(cal.ExpectedCountTopK()),
    "top-k": lambda given: calibrated(cal.TopK(given.mean_count))(given),
}
"""Ours, after the default calibrator unless the name says raw."""

OBJECTIVES = (
    Objective("macro-F1", "macro_f", "shrunk cut per class"),
    Objective("macro-F1, rows together", "macro_f", "shrunk, of the batch", together=True),
    Objective("micro-F1", "micro_f", "one cut"),
    Objective("instance-F1", "instance_f", "best set"),
    Objective("count", "count_ratio", "expected count"),
)
"""The defaults are chosen by what the documentation says of them, never by these tables."""
