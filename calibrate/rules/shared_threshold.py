"""One threshold for all classes: the exact optimum of a metric of the pooled counts."""

from __future__ import annotations

import numpy as np

from calibrate import ops
from calibrate.base import DecisionRule, Finding, Fitted, require_positives
from calibrate.metrics import ConstrainedMetric, Metric, check_metric
from calibrate.statistics import Evidence, best_pooled_cut


class SharedThreshold(DecisionRule):
    """The one threshold for all classes that is best on the pooled (micro) counts.

    Parameters
    ----------
    metric : callable ``(tp, fp, fn, tn) -> array``
        Judges the counts summed over all classes: ``f_beta(1)`` here is micro-F1.

    Notes
    -----
    Logits of different classes must mean the same for one threshold to serve them: calibrate
    first. On calibrated logits one threshold is optimal for micro-F and does not overfit, since
    it rests on all positives of all classes. Where no cut keeps the constraint of the metric,
    nothing is predicted, and ``findings_`` says how near the best one comes.

    Raises
    ------
    ValueError
        On fit, if no class has a positive.

    References
    ----------
    Pillai, Fumera and Roli (2013), Threshold optimisation for multi-label classifiers, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.metrics import f_beta
    >>> logits = np.array([[3.0, 0.0], [1.0, 2.0]])
    >>> rule = SharedThreshold(f_beta(1)).fit(logits, np.array([[1, 0], [0, 1]]))
    >>> rule.op_.threshold
    array(1.5, dtype=float32)
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def _fit(self, evidence: Evidence) -> Fitted:
        check_metric(self.metric)
        require_positives(evidence)
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

    def _infeasible(self, reached: float) -> Finding:
        if isinstance(self.metric, ConstrainedMetric):
            name = self.metric.constrained_name
            message = (
                f"no cut reaches {name} {self.metric.bound:g}, the best reaches {reached:.4g}: "
                "nothing is predicted"
            )
            return Finding("infeasible", message, (), (reached,))
        return Finding("undefined", "the metric is nan at every cut: nothing is predicted", ())
