"""One threshold for all classes: the optimum of the mean of a metric over rows."""

from __future__ import annotations

from calibrate import ops
from calibrate.base import DecisionRule, Fitted, require_positives
from calibrate.best_sets import threshold_op
from calibrate.metrics import Metric, check_metric
from calibrate.statistics import Evidence, best_instance_cut


class InstanceThreshold(DecisionRule):
    """The one threshold for all classes that is best on the metric of a row, averaged over rows.

    Calibrate first: logits of different classes, and of different rows, must mean the same.
    `ExpectedFBeta` decides row by row instead, and is better where the labels of a row say how
    many there are.

    Parameters
    ----------
    metric : callable ``(tp, fp, fn, tn) -> array``
        Judges the counts of each row: ``f_beta(1)`` here is instance-F1. A row with neither true
        nor predicted labels is worth as much as one whose only label is found.
    min_k : int
        Each row gets at least so many labels, its highest: 1 where no row is empty.

    Raises
    ------
    TypeError, ValueError
        On fit, if the metric or `min_k` is not what it must be, the metric is not finite for each
        row, or no class has a positive.

    Notes
    -----
    Three passes over the rows, whose memory does not grow with them. The threshold is the best of
    all, unless more than a million float32 numbers stay open after two of them, or the metric is a
    function of your own: `calibrate.statistics.best_instance_cut` says how fine the grid is then.

    References
    ----------
    Koyejo, Natarajan, Ravikumar and Dhillon (2015), Consistent multilabel classification, section
    4 (one threshold for an instance-averaged metric).

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.metrics import f_beta
    >>> logits = np.array([[3.0, 0.0], [1.0, 2.0]])
    >>> rule = InstanceThreshold(f_beta(1)).fit(logits, np.array([[1, 0], [0, 1]]))
    >>> rule.op_.threshold
    array(1.5, dtype=float32)
    """

    def __init__(self, metric: Metric, min_k: int = 0) -> None:
        self.metric = metric
        self.min_k = min_k

    def _fit(self, evidence: Evidence) -> Fitted:
        check_metric(self.metric)
        ops.check_count_bounds(self.min_k, None)
        require_positives(evidence)
        _, threshold = best_instance_cut(evidence.rows, self.metric, self.min_k)
        return Fitted(threshold_op(threshold, self.min_k))
