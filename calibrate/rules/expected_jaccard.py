"""For each row the set of labels of highest expected Jaccard index."""

from __future__ import annotations

from functools import partial

from calibrate import ops
from calibrate.base import DecisionRule, Fitted
from calibrate.best_sets import BestSetReport, fit_best_sets
from calibrate.metrics import jaccard
from calibrate.statistics import Evidence


class ExpectedJaccard(DecisionRule):
    """For each row the likeliest labels, as many as give the highest expected Jaccard index.

    `ExpectedFBeta` for intersection over union of true and predicted labels: all that is said
    there holds here.

    Parameters
    ----------
    exact : bool
        Judge every number of labels exactly. Else rows of 20 or more expected labels are judged
        by the ratio of expectations, and others to second order.

    Attributes
    ----------
    report_ : BestSetReport
        How many fitting rows are empty, the line that says which, and how the numbers of labels
        spread.

    Raises
    ------
    ValueError
        On fit, if no class has a positive.
    TypeError
        On fit, if there is only a histogram.

    References
    ----------
    Lewis (1995), Evaluating and optimizing autonomous text classification systems, section 4;
    Waegeman, Dembczynski, Jachnik, Cheng and Huellermeier (2014), On the Bayes-optimality of
    F-measure maximizers, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> p = np.array([[0.9, 0.6, 0.3, 0.2]])
    >>> logits = np.log(p / (1 - p))
    >>> rule = ExpectedJaccard().fit(logits, np.array([[1, 1, 0, 0]]))
    >>> rule.predict(logits).toarray().astype(int)
    array([[1, 1, 0, 0]])
    """

    report_: BestSetReport

    def __init__(self, exact: bool = False) -> None:
        self.exact = exact

    def _fit(self, evidence: Evidence) -> Fitted:
        return fit_best_sets(evidence, partial(ops.ExpectedJaccard, self.exact), jaccard)
