"""A threshold for each class from the probabilities alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate import ops
from calibrate.base import DecisionRule, Finding, Fitted, Report, find
from calibrate.metrics import CutMetric, Metric, beta_of, check_metric
from calibrate.statistics import Evidence, ExpectedCuts, best_expected_cuts

_FAR_ABOVE = 4.0
"""Standard deviations by which a promise must be missed to be called too high."""


@dataclass(frozen=True, eq=False)
class PlugInReport(Report):
    """What the probabilities promise, and what the labels of the fitting rows say of it.

    Attributes
    ----------
    metric : str
    predicted : float64, (n_classes,)
        The metric of the expected counts at the threshold; ``-inf`` where it has no value.
    realised : float64, (n_classes,)
        The metric of the counts; nan without positives.
    error : float64, (n_classes,)
        Standard deviation of their difference were the probabilities right; nan where unknown.
    """

    metric: str
    predicted: NDArray[np.float64]
    realised: NDArray[np.float64]
    error: NDArray[np.float64]

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which classes can be judged: those with positives and a value, (n_classes,)."""
        return np.asarray(np.isfinite(self.predicted) & np.isfinite(self.realised))

    @property
    def macro(self) -> tuple[float, float]:
        """Mean of the predicted values and of the realised ones, over the classes judged."""
        judged = self.judged
        if not judged.any():
            return math.nan, math.nan
        return float(self.predicted[judged].mean()), float(self.realised[judged].mean())

    @property
    def too_high(self) -> NDArray[np.bool_]:
        """Where the labels fall short of the promise by more than 4 deviations, (n_classes,)."""
        missing = np.where(self.judged, self.predicted, 0) - np.where(self.judged, self.realised, 0)
        with np.errstate(invalid="ignore"):
            return np.asarray(self.judged & (missing > _FAR_ABOVE * self.error))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        predicted, realised = (None if math.isnan(value) else value for value in self.macro)
        return {
            "metric": self.metric,
            "predicted_macro": predicted,
            "realised_macro": realised,
            "n_judged": int(self.judged.sum()),
            "n_too_high": int(self.too_high.sum()),
        }

    def sentences(self) -> list[str]:
        """The same in words."""
        predicted, realised = self.macro
        if math.isnan(predicted):
            return [f"no class has labels to hold the promised {self.metric} against"]
        return [
            f"the probabilities promise a mean {self.metric} of {predicted:.4f} over the "
            f"{int(self.judged.sum()):,} classes with positives, the fitting rows have "
            f"{realised:.4f}"
        ]


class PlugInThreshold(DecisionRule):
    """For each class the threshold that is best if its probabilities are right.

    No label is looked at, so that a class with few positives, or none, is not at the mercy of
    their luck: calibrate first. For F-beta the threshold is ``F / (1 + beta^2)`` as a logit, F
    being the highest expected one; for a cost it is the false positive's share of the two costs;
    for balanced accuracy the prevalence. For any other metric the best of all cuts is found, each
    judged by its expected counts.

    Parameters
    ----------
    metric : callable ``(tp, fp, fn, tn) -> array``
        One of `calibrate.metrics` or your own, which must take counts that are not whole; higher
        is better.
    batch : bool
        Find the cuts anew on the rows that are labelled together, each time they are: of use where
        their probabilities are spread unlike those of the fitting rows. Labels then depend on the
        batch, a row by itself is refused, and each class is predicted at least once. Only for
        F-beta and Jaccard; give hundreds of rows.

    Attributes
    ----------
    report_ : PlugInReport
        The metric that the probabilities promise beside that of the fitting rows.

    Notes
    -----
    Fitted from a histogram: bins count with the mean of their logits. A class of equal scores, for
    which F-beta would have everything predicted, is never predicted and listed in ``findings_``.
    So are classes whose promise is far above what the fitting rows hold: the probabilities are too
    high there, or the labels of another kind.

    Raises
    ------
    TypeError, ValueError
        On fit, if `metric` is not callable or returns something else than one real number per cut,
        or does not go with `batch`.

    References
    ----------
    Lipton, Elkan and Naryanaswamy (2014), Optimal thresholding of classifiers to maximize F1
    measure, theorem 1; Koyejo, Natarajan, Ravikumar and Dhillon (2014), Consistent binary
    classification with generalized performance metrics, section 3; Elkan (2001), The foundations of
    cost-sensitive learning, section 2; Ye, Chai, Lee and Chieu (2012), Optimizing F-measures: a
    tale of two approaches, for `batch`.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.metrics import f_beta
    >>> logits = np.array([[3.0], [1.0], [-1.0], [-3.0]])
    >>> rule = PlugInThreshold(f_beta(1)).fit(logits, np.array([[1], [1], [0], [0]]))
    >>> expected = 1 / (1 + np.exp(-logits))
    >>> f = 2 * expected[:2].sum() / (2 + expected.sum())
    >>> np.isclose(1 / (1 + np.exp(-rule.op_.threshold[0])), f / 2)
    np.True_
    """

    report_: PlugInReport

    def __init__(self, metric: Metric, batch: bool = False) -> None:
        self.metric = metric
        self.batch = batch

    def _fit(self, evidence: Evidence) -> Fitted:
        check_metric(self.metric)
        beta = beta_of(self.metric)
        if self.batch and beta is None:
            raise ValueError(
                f"batch=True goes with f_beta and jaccard, got the metric {_name(self.metric)}"
            )
        cuts = best_expected_cuts(evidence.histogram, self.metric)
        report = PlugInReport(_name(self.metric), cuts.value, cuts.realised, cuts.error)
        findings = _of_classes(cuts, report)
        if self.batch and beta is not None:
            none = np.array(0.0, np.float32)
            return Fitted(ops.BatchPlugIn(beta, none, none), findings, report)
        threshold = np.where(cuts.constant, np.inf, cuts.threshold)
        return Fitted(ops.Threshold(threshold.astype(np.float32)), findings, report)


def _name(metric: Metric) -> str:
    # the default repr of an object holds its address, which would change the bytes of a rule file
    own = repr(metric) if isinstance(metric, CutMetric) else type(metric).__name__
    return getattr(metric, "__name__", own)


def _of_classes(cuts: ExpectedCuts, report: PlugInReport) -> tuple[Finding, ...]:
    lost = ~cuts.constant & (cuts.value == -np.inf)
    short = np.where(report.judged, report.predicted, 0) - np.where(
        report.judged, report.realised, 0
    )
    return (
        *find("uninformative", "have equal scores: they are never predicted", cuts.constant),
        *find(
            "undefined", "have no cut at which the metric has a value: they are never predicted",
            lost,
        ),
        *find(
            "promise_too_high",
            f"promise far more {report.metric} than the fitting rows hold; the values are the "
            "differences: calibrate first, or look at their labels",
            report.too_high,
            short,
        ),
    )  # fmt: skip
