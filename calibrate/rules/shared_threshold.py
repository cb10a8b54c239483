"""One threshold for all classes: the exact optimum of a metric of the pooled counts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from calibrate import ops
from calibrate.base import DecisionRule, Finding, Fitted, Report, require_positives
from calibrate.metrics import ConstrainedMetric, Metric, beta_of, check_metric
from calibrate.statistics import (
    Evidence,
    best_expected_pooled_cut,
    best_pooled_cut,
    sweep_variance,
)

_FARTHEST = 3.0
"""Standard errors of a swept threshold up to which the plug-in one is taken."""


@dataclass(frozen=True)
class SharedThresholdReport(Report):
    """Where the probabilities and the labels put the threshold.

    Attributes
    ----------
    swept, plug_in : float
        Best for the labels, and best if the probabilities are right, in calibrated logits.
    swept_error : float
        Standard error of the former.
    plug_in_taken : bool
        Whether the former lies no farther from the latter than by chance.
    """

    swept: float
    plug_in: float
    swept_error: float
    plug_in_taken: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = asdict(self)
        return {k: v if isinstance(v, bool) or math.isfinite(v) else None for k, v in found.items()}

    def sentences(self) -> list[str]:
        """The same in words, without full stops."""
        taken = "plug-in one is taken" if self.plug_in_taken else "swept one is taken"
        return [
            f"plug-in threshold {self.plug_in:.3f}, swept {self.swept:.3f} with standard error "
            f"{self.swept_error:.3f}: the {taken}"
        ]


class SharedThreshold(DecisionRule):
    """The one threshold for all classes that is best on the pooled (micro) counts.

    Parameters
    ----------
    metric : callable ``(tp, fp, fn, tn) -> array``
        Judges the counts summed over all classes: ``f_beta(1)`` here is micro-F1.
    shrinkage : {None, "auto"}
        None takes the best cut of the fitting rows as it is. ``"auto"`` takes the one that
        calibrated probabilities let expect to be best, half of the highest expected F for F1,
        unless the best cut lies farther from it than luck explains: calibrate first. For F-beta
        and Jaccard.

    Attributes
    ----------
    report_ : SharedThresholdReport
        Both thresholds; only with `shrinkage`.

    Notes
    -----
    Logits of different classes must mean the same for one threshold to serve them: calibrate
    first. On calibrated logits one threshold is optimal for micro-F and does not overfit, since
    it rests on all positives of all classes. Where no cut keeps the constraint of the metric,
    nothing is predicted, and ``findings_`` says how near the best one comes.

    The best cut of n positives has a standard error of about ``1.5 n^(-1/3)`` logits, since it is a
    maximum of a sum of steps; probabilities know the cut better, if they are right. What lies
    beyond three of these errors is taken for a sign that they are not.

    Raises
    ------
    ValueError
        On fit, if no class has a positive, or `shrinkage` is none of the above or does not go with
        the metric.

    References
    ----------
    Pillai, Fumera and Roli (2013), Threshold optimisation for multi-label classifiers, section 3;
    Kim and Pollard (1990), Cube root asymptotics, for the error of a best cut.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.metrics import f_beta
    >>> logits = np.array([[3.0, 0.0], [1.0, 2.0]])
    >>> rule = SharedThreshold(f_beta(1)).fit(logits, np.array([[1, 0], [0, 1]]))
    >>> rule.op_.threshold
    array(1.5, dtype=float32)
    """

    report_: SharedThresholdReport

    def __init__(self, metric: Metric, shrinkage: Literal["auto"] | None = None) -> None:
        self.metric = metric
        self.shrinkage = shrinkage

    def _fit(self, evidence: Evidence) -> Fitted:
        check_metric(self.metric)
        if self.shrinkage is not None:
            self._check_shrinkage()
        require_positives(evidence)
        if self.shrinkage is not None:
            return self._shrunk(evidence)
        rows = evidence.rows
        value, threshold = best_pooled_cut(rows, self.metric)
        findings: tuple[Finding, ...] = ()
        if value == -np.inf:
            threshold = np.float32(np.inf)
            reached = 0.0
            if isinstance(self.metric, ConstrainedMetric):
                reached, _ = best_pooled_cut(rows, self.metric.constrained)
            findings = (self._infeasible(reached),)
        return Fitted(ops.Threshold(np.array(threshold)), findings)

    def _check_shrinkage(self) -> None:
        if not isinstance(self.shrinkage, str) or self.shrinkage != "auto":
            raise ValueError(f"shrinkage must be None or 'auto', got {self.shrinkage!r}")
        if beta_of(self.metric) is None:
            raise ValueError(
                f"shrinkage goes with f_beta and jaccard, got the metric {self.metric!r}"
            )

    def _shrunk(self, evidence: Evidence) -> Fitted:
        """The plug-in threshold, unless the swept one lies too far from it."""
        _, swept = best_pooled_cut(evidence.rows, self.metric)
        plug_in, _ = best_expected_pooled_cut(evidence.histogram, self.metric)
        n = int(evidence.positives.sum())
        error = float(np.sqrt(sweep_variance(np.array(n))))
        by_chance = bool(abs(float(swept) - plug_in) <= _FARTHEST * error)
        report = SharedThresholdReport(float(swept), plug_in, error, by_chance)
        threshold = np.float32(plug_in) if by_chance else swept
        return Fitted(ops.Threshold(np.array(threshold)), report=report)

    def _infeasible(self, reached: float) -> Finding:
        if isinstance(self.metric, ConstrainedMetric):
            name = self.metric.constrained_name
            message = (
                f"no cut reaches {name} {self.metric.bound:g}, the best reaches {reached:.4g}: "
                "nothing is predicted"
            )
            return Finding("infeasible", message, (), (reached,))
        return Finding("undefined", "the metric is nan at every cut: nothing is predicted", ())
