"""A threshold for each class: together the highest micro-F that the fitting rows allow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate import ops
from calibrate.base import DecisionRule, Fitted, find, require_positives
from calibrate.metrics import cost, f_beta
from calibrate.statistics import Evidence, HullSteps, best_pooled_cut

_SAMPLED_ROWS = 2048
_BELOW_GUESS = 0.9
_CLEARLY = 1e-12


class MicroOptimalThreshold(DecisionRule):
    """Thresholds per class whose micro-F is the highest of all thresholds on the fitting rows.

    For comparison: it overfits as thousands of isotonic fits do, and one cut of calibrated logits,
    `SharedThreshold` after `HierarchicalScaling`, has a higher micro-F on new rows.

    Parameters
    ----------
    beta : float
        Recall counts `beta` times as much as precision; above 0.

    Notes
    -----
    At a price of a prediction, in true positives, each class has a best cut of its own: the end of
    those blocks of isotonic regression whose rate is above the price. Where the price is
    ``F / (1 + beta^2)`` for the F that is reached at it, no thresholds reach more (Dinkelbach's
    iteration finds it). Fitted from a histogram, the cuts lie between its bins.

    A class without positives gets ``+inf`` and is listed in ``findings_``.

    Raises
    ------
    ValueError
        On fit, if no class has a positive, or `beta` is not positive and finite.

    References
    ----------
    Pillai, Fumera and Roli (2013), Threshold optimisation for multi-label classifiers; Dinkelbach
    (1967), On nonlinear fractional programming.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[3.0, 0.0], [1.0, 2.0], [0.0, 1.5]])
    >>> labels = np.array([[1, 0], [0, 1], [0, 1]])
    >>> MicroOptimalThreshold().fit(logits, labels).op_.threshold
    array([2.  , 0.75], dtype=float32)
    """

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def _fit(self, evidence: Evidence) -> Fitted:
        metric = f_beta(self.beta)
        require_positives(evidence)
        positives = evidence.positives
        share = self.beta**2 * int(positives.sum())
        # predicting all is within reach, and so is nearly what one cut of a sample reaches
        price = int(positives.sum()) / (evidence.n_rows * evidence.n_classes + share)
        if evidence.has_rows:
            value, _ = best_pooled_cut(evidence.thinned(_SAMPLED_ROWS).rows, metric)
            price = max(price, _BELOW_GUESS * value / (1 + self.beta**2))
        while True:
            steps = evidence.hull_steps(cost(price, 1 - price))
            best = best_price(steps, share, price)
            # a price above the best one hides some steps; what was reached without them is none
            if best >= price * (1 - _CLEARLY):
                break
            price = best
        taken = _taken(steps, best)
        threshold = np.full(evidence.n_classes, np.inf, dtype=np.float32)
        threshold[steps.line[taken]] = steps.threshold[taken]  # of a class, the last one holds
        empty = positives == 0
        findings = find("no_positives", "have no positives: they are never predicted", empty)
        return Fitted(ops.Threshold(threshold), findings)


def best_price(steps: HullSteps, share: float, price: float) -> float:
    """The highest ``tp / (predicted + share)`` of all steps above some rate.

    Parameters
    ----------
    steps : HullSteps
    share : float
        ``beta^2`` times the positives of all classes.
    price : float
        Where Dinkelbach's iteration begins.
    """
    best = 0.0
    while True:
        taken = _taken(steps, price)
        reached = int(steps.tp[taken].sum()) / (int(steps.predicted[taken].sum()) + share)
        if reached <= best:
            return best
        best = price = reached


def _taken(steps: HullSteps, price: float) -> NDArray[np.bool_]:
    """The steps that gain more than they cost."""
    return np.asarray(steps.tp > price * steps.predicted)
