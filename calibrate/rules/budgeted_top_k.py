"""Exactly k labels for each row, chosen for a macro metric."""

from __future__ import annotations

import numpy as np

from calibrate import ops
from calibrate.base import DecisionRule, Fitted
from calibrate.coordinate_ascent import Ascent, Candidates, check_macro_metric
from calibrate.metrics import Metric
from calibrate.statistics import Evidence

_MOST_PASSES = 20
_TOLERANCE = 1e-7


class BudgetedTopK(DecisionRule):
    """Predict the `k` classes of each row that add most to a macro metric.

    The fitting rows are decided together by block coordinate ascent on their calibrated
    probabilities; labels play no part. What one more prediction would then add to the metric of
    its class, ``gain * p + offset``, is kept, and any row gets its `k` highest. Classes that are
    seldom predicted gain more, so that rare ones get a share of the budget that `TopK` denies
    them. Calibrate first.

    Parameters
    ----------
    k : int
        Labels per row, at least 1; a row of fewer classes gets all of them.
    metric : callable ``(tp, fp, fn, tn) -> array``
        Of a class; the macro metric is its mean over the classes. `calibrate.metrics.f_beta`,
        `jaccard`, `precision` and `recall` are quick, any other function is called once for each
        row and pass. A value of nan is taken for 0.
    n_candidates : int
        Labels of a fitting row come from so many classes, or `k` if that is more: half of them its
        likeliest, the others those that are most likelier in it than elsewhere.

    Notes
    -----
    The ascent decides a row given all others of its batch, a rule decides it alone: on the fitting
    rows the rule is a little below the ascent. `calibrate.block_coordinate_ascent` labels a batch
    jointly.

    Raises
    ------
    TypeError, ValueError
        On fit, if `k` is not a positive integer, or the metric has a bound or returns something
        else than one finite real number per class.

    References
    ----------
    Schultheis, Wydmuch, Kotłowski, Babbar and Dembczyński (2023), Generalized test utilities for
    long-tail performance in extreme multi-label classification; Schultheis, Kotłowski,
    Wydmuch, Babbar, Borman and Dembczyński (2024), Consistent algorithms for multi-label
    classification with macro-at-k metrics (the best rule is a weighted top-k).

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.metrics import recall
    >>> logits = np.array([[2.0, -1.0], [1.5, -2.0], [1.0, -4.0], [2.5, -6.0]])
    >>> rule = BudgetedTopK(1, recall).fit(logits, np.zeros((4, 2)))
    >>> rule.predict(logits).toarray().astype(int)
    array([[0, 1],
           [0, 1],
           [1, 0],
           [1, 0]])
    """

    def __init__(self, k: int, metric: Metric, n_candidates: int = 400) -> None:
        self.k = k
        self.metric = metric
        self.n_candidates = n_candidates

    def _fit(self, evidence: Evidence) -> Fitted:
        k = ops.positive_integer(self.k, "k")
        n = max(k, ops.positive_integer(self.n_candidates, "n_candidates"))
        check_macro_metric(self.metric)
        positives, most = evidence.expected_positives(), min(k, evidence.n_classes)
        candidates = Candidates.of_rows(evidence.rows, n, most, positives)
        ascent = Ascent(candidates, positives, most, self.metric)
        ascent.run(_MOST_PASSES, _TOLERANCE)
        gain, offset = ascent.line()
        return Fitted(ops.WeightedTopK(k, gain.astype(np.float32), offset.astype(np.float32)))
