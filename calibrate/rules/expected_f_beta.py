"""For each row the set of labels of highest expected F-beta."""

from __future__ import annotations

from functools import partial

from calibrate import ops
from calibrate.base import DecisionRule, Fitted
from calibrate.best_sets import BestSetReport, fit_best_sets
from calibrate.metrics import f_beta
from calibrate.statistics import Evidence


class ExpectedFBeta(DecisionRule):
    """For each row the likeliest labels, as many as give the highest expected F-beta of the row.

    For instance-F (F of each row, averaged), on calibrated logits: calibrate first. How likely a
    row is to be empty is learned from the fitting rows: independent labels would leave far more
    rows empty than there are. Where no fitting row is, each row gets a label.

    Parameters
    ----------
    beta : float
        Recall counts `beta` times as much as precision; positive and finite.
    exact : bool
        Judge every number of labels exactly. Else rows of 20 or more expected labels are judged
        by the ratio of expectations, and others to second order: a fifth to a twentieth of the
        time, and 1e-5 of the F-measure lost on average.

    Attributes
    ----------
    report_ : BestSetReport
        How many fitting rows are empty, the line that says which, and how the numbers of labels
        spread.

    Raises
    ------
    ValueError
        On fit, if `beta` is not positive and finite, or no class has a positive.
    TypeError
        On fit, if there is only a histogram.

    Notes
    -----
    Labels are taken for independent given the logits, so that the best set of a size holds the
    likeliest labels. A row is empty with its own probability e, and the labels of one that is not
    are those of an independent row that is not: each is then likelier, by one over the probability
    of that. So the empty set is worth e, and k labels are worth what they are worth under
    independence, times ``(1 - e) / (1 - product of all 1 - p)``; which k is best does not change.

    Labels that depend on each other can make other sets better. One threshold for all rows, that of
    highest mean F over the fitting rows, takes over where it is better than the sets on them (on
    2,048 of them) by more than three standard errors, or where the numbers of labels spread more
    than 50 times as much as those of independent labels; ``findings_`` says so.

    References
    ----------
    Lewis (1995), Evaluating and optimizing autonomous text classification systems, section 4 (the
    likeliest labels); Ye, Chai, Lee and Chieu (2012), Optimizing F-measure: a tale of two
    approaches, section 3 (the expected F of a set); Dinkelbach (1967), On nonlinear fractional
    programming (the ratio of expectations).

    Examples
    --------
    >>> import numpy as np
    >>> p = np.array([[0.9, 0.6, 0.3, 0.2], [0.4, 0.1, 0.1, 0.1]])
    >>> logits = np.log(p / (1 - p))
    >>> rule = ExpectedFBeta(exact=True).fit(logits, np.array([[1, 1, 0, 0], [1, 0, 0, 0]]))
    >>> rule.predict(logits).toarray().astype(int)
    array([[1, 1, 0, 0],
           [1, 0, 0, 0]])
    """

    report_: BestSetReport

    def __init__(self, beta: float = 1.0, exact: bool = False) -> None:
        self.beta = beta
        self.exact = exact

    def _fit(self, evidence: Evidence) -> Fitted:
        metric = f_beta(self.beta)
        make = partial(ops.ExpectedFBeta, self.exact, beta=self.beta)
        return fit_best_sets(evidence, make, metric)
