"""What a decision is to be good at, and the pipeline to take for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from calibrate.base import Calibrator, DecisionRule
from calibrate.calibrators.hierarchical_scaling import HierarchicalScaling
from calibrate.metrics import f_beta
from calibrate.pipeline import Pipeline
from calibrate.rules.expected_count_top_k import ExpectedCountTopK
from calibrate.rules.expected_f_beta import ExpectedFBeta
from calibrate.rules.per_class_threshold import PerClassThreshold
from calibrate.rules.precision_guarantee import PrecisionGuarantee
from calibrate.rules.recall_guarantee import RecallGuarantee
from calibrate.rules.shared_threshold import SharedThreshold

Summary = Mapping[str, float]


@dataclass(frozen=True)
class Objective:
    """A goal, how near figures come to it, and the rule that we would take for it.

    Attributes
    ----------
    name : str
        As on the command line.
    figure : str
        Key of the figure of an evaluation that tells, see `calibrate.evaluation`.
    order : callable
        ``order(summary)``: numbers that sort evaluations from the best to the worst.
    make_rule : callable
        ``make_rule()``: the rule for it, unfitted.
    is_bound : bool
        Whether it is a bound to be kept, for which there is a rule of its own.
    """

    name: str
    figure: str
    order: Callable[[Summary], tuple[float, ...]]
    make_rule: Callable[[], DecisionRule]
    is_bound: bool = False

    def pipeline(self, calibrator: Calibrator | None = None) -> Pipeline:
        """The pipeline to take, unfitted.

        Parameters
        ----------
        calibrator : Calibrator, optional
            By default `HierarchicalScaling()`; give one that knows the weights of the training, or
            ``SoftmaxInclusion()`` for a network that was trained with softmax.
        """
        first = HierarchicalScaling() if calibrator is None else calibrator
        return Pipeline([first], self.make_rule())


def _highest(key: str) -> Callable[[Summary], tuple[float, ...]]:
    return lambda summary: (_last_if_nan(-summary[key]),)


def _nearest_to_one(summary: Summary) -> tuple[float, ...]:
    ratio = summary["count_ratio"]
    return (abs(math.log(ratio)) if ratio > 0 else math.inf,)


def _reached(key: str, least: float, then: str) -> Callable[[Summary], tuple[float, ...]]:
    """Whether and how nearly a bound is reached, and then another figure."""

    def order(summary: Summary) -> tuple[float, ...]:
        missed = _last_if_nan(least - summary[key])
        return max(0.0, missed), _last_if_nan(-summary[then])

    return order


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value


macro_f1 = Objective(
    "macro-f1",
    "macro_f",
    _highest("macro_f"),
    lambda: PerClassThreshold(f_beta(1), shrinkage="auto"),
)
"""The mean of the F1 of the classes, each weighing alike."""

micro_f1 = Objective(
    "micro-f1", "micro_f", _highest("micro_f"), lambda: SharedThreshold(f_beta(1), shrinkage="auto")
)
"""F1 of all labels together, each weighing alike."""

instance_f1 = Objective(
    "instance-f1", "instance_f", _highest("instance_f"), lambda: ExpectedFBeta(1)
)
"""The mean of the F1 of the rows, each weighing alike."""

count = Objective("count", "count_ratio", _nearest_to_one, ExpectedCountTopK)
"""As many predicted labels as true ones."""


def recall(least: float) -> Objective:
    """Every class found at least so often, with as few false alarms as that allows.

    Raises
    ------
    ValueError
        If `least` does not lie between 0 and 1.
    """
    least = _share("recall", least)
    order = _reached("macro_recall", least, "macro_precision")
    return Objective(
        f"recall={least}", "macro_recall", order, lambda: RecallGuarantee(least), is_bound=True
    )


def precision(least: float) -> Objective:
    """Predictions that are right at least so often, as many as that allows.

    Raises
    ------
    ValueError
        If `least` does not lie between 0 and 1.
    """
    least = _share("precision", least)
    order = _reached("micro_precision", least, "micro_recall")
    return Objective(
        f"precision={least}",
        "micro_precision",
        order,
        lambda: PrecisionGuarantee(least),
        is_bound=True,
    )


def by_name(text: str) -> Objective:
    """An objective from its name on the command line.

    Parameters
    ----------
    text : str
        ``macro-f1``, ``micro-f1``, ``instance-f1``, ``count``, ``recall=0.9``, ``precision=0.9``.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    plain = {one.name: one for one in ALL}
    if text in plain:
        return plain[text]
    name, _, number = text.partition("=")
    bounded = {"recall": recall, "precision": precision}
    if name not in bounded or not number:
        raise ValueError(f"an objective must be one of {NAMES}, got {text!r}")
    try:
        least = float(number)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {number!r}") from None
    return bounded[name](least)


ALL = (macro_f1, micro_f1, instance_f1, count)
"""The objectives without a number."""

NAMES = ", ".join([*(one.name for one in ALL), "recall=R", "precision=P"])


def _share(name: str, value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be above 0 and below 1, got {value}")
    return float(value)
