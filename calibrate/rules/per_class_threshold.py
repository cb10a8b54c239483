"""A threshold for each class: the exact optimum of a metric, or drawn to the plug-in one."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibrate import ops
from calibrate.base import DecisionRule, Finding, Fitted, Report, find, require_positives
from calibrate.metrics import ConstrainedMetric, Metric, beta_of, check_metric
from calibrate.statistics import (
    Evidence,
    ShrunkThresholds,
    best_expected_cuts,
    shrunk_thresholds,
)

_SUPPORTS = (1, 5, 20, 100, 500)
"""From how many positives on a class belongs to another line of the report."""


@dataclass(frozen=True, eq=False)
class ShrinkageReport(Report):
    """How far thresholds are the classes' own, and how far those of the probabilities.

    Attributes
    ----------
    shrunk : ShrunkThresholds
    positives : int64, (n_classes,)
    learned : bool
        Whether the variance was learned, not given.
    """

    shrunk: ShrunkThresholds
    positives: NDArray[np.int64]
    learned: bool

    @property
    def weights(self) -> dict[int, float]:
        """Mean share of the swept threshold, by the least number of positives of such classes."""
        place = np.searchsorted(_SUPPORTS, self.positives, side="right") - 1
        return {
            least: float(self.shrunk.weight[place == number].mean())
            for number, least in enumerate(_SUPPORTS)
            if (place == number).any()
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        shrunk = self.shrunk
        return {
            "variance": shrunk.variance,
            "learned": self.learned,
            "gap": shrunk.gap,
            "gap_standard_error": shrunk.gap_error if np.isfinite(shrunk.gap_error) else None,
            "offset": shrunk.offset,
            "mean_weight_from_positives": {str(k): v for k, v in self.weights.items()},
            "weight": np.round(shrunk.weight, 4).tolist(),
        }

    def sentences(self) -> list[str]:
        """The same in words."""
        shrunk = self.shrunk
        how = "found" if self.learned else "given"
        return [
            f"thresholds of the classes differ from the plug-in ones by {shrunk.variance**0.5:.2f} "
            f"({how}) beside the luck of their positives",
            f"swept thresholds lie {shrunk.gap:+.3f} from plug-in ones, standard error "
            f"{shrunk.gap_error:.3f}: " + ("taken over" if shrunk.offset else "left alone"),
            "share of the swept threshold by positives: "
            + ", ".join(f"from {least} {weight:.2f}" for least, weight in self.weights.items()),
        ]


class PerClassThreshold(DecisionRule):
    """For each class the threshold that is best on the fitting rows, over all possible cuts.

    Parameters
    ----------
    metric : callable ``(tp, fp, fn, tn) -> array``
        One of `calibrate.metrics` or your own; higher is better.
    shrinkage : {None, "auto"} or float
        None takes the best cut as it is. Else it is drawn to the one that calibrated probabilities
        let expect to be best (`PlugInThreshold`), the more the fewer positives the class has:
        calibrate first. ``"auto"`` learns from all classes how far their own thresholds are to be
        trusted, a number says it: the variance of true thresholds around the plug-in ones, in
        squared logits. For F-beta and Jaccard.
    batch : bool
        With `shrinkage`: find the plug-in thresholds anew on the rows that are labelled together,
        each time they are. See `PlugInThreshold`.

    Attributes
    ----------
    report_ : ShrinkageReport
        What was learned; only with `shrinkage`.

    Notes
    -----
    Equal scores stay together, the threshold lies midway between two neighbouring scores, and
    among cuts of equal value the one that predicts fewest wins. A class without positives gets
    ``+inf``, is never predicted, and is listed in ``findings_``; so is a class in which no cut
    keeps a constraint, with the best it reaches.

    The best cut of a class with few positives is a matter of luck: its value on new rows is lower
    than on the fitting rows, by about 0.14 of F1 at 5 positives, 0.07 at 20 and 0.007 at 500.
    Its threshold in logits has a standard error of about ``1.5 n^(-1/3)``. Shrinkage weighs that
    against how far the classes' thresholds lie from the plug-in ones beyond it: where the
    probabilities are right, nothing, and the plug-in thresholds are taken. A class without
    positives then takes its plug-in threshold; one of equal scores is never predicted.

    Raises
    ------
    ValueError
        On fit, if no class has a positive, the metric returns something else than one real
        number per cut, or `shrinkage` is none of the above or does not go with the metric.

    References
    ----------
    Lipton, Elkan and Naryanaswamy (2014), Optimal thresholding of classifiers to maximize F1
    measure; Koyejo, Natarajan, Ravikumar and Dhillon (2014), Consistent binary classification
    with generalized performance metrics; Kim and Pollard (1990), Cube root asymptotics, for the
    error of a best cut; Morris (1983), Parametric empirical Bayes inference, for the shrinkage.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.metrics import f_beta
    >>> logits = np.array([[3.0], [2.0], [1.0], [0.0]])
    >>> rule = PerClassThreshold(f_beta(1)).fit(logits, np.array([[1], [0], [1], [0]]))
    >>> rule.op_.threshold
    array([0.5], dtype=float32)
    """

    report_: ShrinkageReport

    def __init__(
        self,
        metric: Metric,
        shrinkage: Literal["auto"] | float | None = None,
        batch: bool = False,
    ) -> None:
        self.metric = metric
        self.shrinkage = shrinkage
        self.batch = batch

    def _fit(self, evidence: Evidence) -> Fitted:
        check_metric(self.metric)
        variance = self._check_shrinkage()
        require_positives(evidence)
        if self.shrinkage is not None:
            return self._shrunk(evidence, variance)
        metrics = [self.metric]
        if isinstance(self.metric, ConstrainedMetric):
            metrics.append(self.metric.constrained)
        best, *reached = evidence.best_cuts(*metrics)
        threshold, value = best.threshold.copy(), best.value
        empty = evidence.positives == 0
        infeasible = ~empty & (value == -np.inf)
        threshold[empty | infeasible] = np.inf
        findings = find("no_positives", "have no positives: they are never predicted", empty)
        if isinstance(self.metric, ConstrainedMetric):
            findings += find(
                "infeasible",
                f"reach {self.metric.constrained_name} {self.metric.bound:g} at no cut: they are "
                f"never predicted; the values are the best {self.metric.constrained_name}",
                infeasible,
                reached[0].value,
            )
        else:
            findings += find(
                "undefined", "have a metric of nan at every cut: they are never predicted",
                infeasible,
            )  # fmt: skip
        return Fitted(ops.Threshold(threshold), findings)

    def _check_shrinkage(self) -> float | None:
        """The variance that is given, or None.

        Raises
        ------
        ValueError
            If the options do not go together.
        """
        if self.shrinkage is None:
            if self.batch:
                raise ValueError("batch=True needs shrinkage: a swept threshold knows no batch")
            return None
        if beta_of(self.metric) is None:
            why = ": between two thresholds a bound is kept by neither"
            constrained = isinstance(self.metric, ConstrainedMetric)
            raise ValueError(
                f"shrinkage goes with f_beta and jaccard, got the metric {self.metric!r}"
                + (why if constrained else "")
            )
        if isinstance(self.shrinkage, str) and self.shrinkage == "auto":
            return None
        if (
            isinstance(self.shrinkage, bool)
            or not isinstance(self.shrinkage, Real)
            or not 0 <= self.shrinkage < np.inf
        ):
            raise ValueError(
                "shrinkage must be None, 'auto' or a finite number that is not negative, got "
                f"{self.shrinkage!r}"
            )
        return float(self.shrinkage)

    def _shrunk(self, evidence: Evidence, variance: float | None) -> Fitted:
        """Thresholds between the swept and the plug-in ones."""
        histogram, positives = evidence.histogram, evidence.positives
        expected = best_expected_cuts(histogram, self.metric)
        (best,) = evidence.best_cuts(self.metric)
        # above or below all scores, any threshold is as good
        swept = np.clip(best.threshold.astype(np.float64), *histogram.range)
        plug_in = np.where(expected.constant, np.inf, expected.threshold)
        shrunk = shrunk_thresholds(swept, plug_in, positives, variance)
        empty = ~expected.constant & (positives == 0)
        findings: tuple[Finding, ...] = (
            *find("no_positives", "have no positives: they take the plug-in threshold", empty),
            *find("uninformative", "have equal scores: they are never predicted", expected.constant)
        )  # fmt: skip
        report = ShrinkageReport(shrunk, positives, variance is None)
        beta = beta_of(self.metric)
        if not self.batch or beta is None:
            threshold = ops.Threshold(shrunk.threshold.astype(np.float32))
            return Fitted(threshold, findings, report)
        own = np.where(shrunk.weight > 0, swept, 0.0)
        op = ops.BatchPlugIn(
            beta, own.astype(np.float32), shrunk.weight.astype(np.float32), shrunk.offset
        )
        return Fitted(op, findings, report)
