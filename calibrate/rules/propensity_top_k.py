"""The k highest probabilities of each row, each divided by the propensity of its class."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calibrate import ops
from calibrate.base import DecisionRule, Fitted
from calibrate.statistics import Evidence


class PropensityTopK(DecisionRule):
    """Predict the `k` classes of each row of highest probability over propensity.

    The propensity is the chance that a label that holds was also written down. It is modelled as
    rising with how often the class occurs in the fitting rows, so that rare classes are lifted:
    the rule has the highest expected propensity-scored precision at `k`. Calibrate first.

    Parameters
    ----------
    k : int
        Labels per row, at least 1; a row of fewer classes gets all of them.
    a, b : float
        Of the propensity model, above 0. The authors fitted 0.55 and 1.5, which fit most sets,
        0.5 and 0.4 for Wikipedia, 0.6 and 2.6 for Amazon.

    Notes
    -----
    ``1 / (1 + c (n + b)^-a)`` with ``c = (log N - 1) (b + 1)^a``, for a class that occurs in n of
    N rows; where N is below e, and c with it below 0, all propensities are 1. That the model says
    anything about another set than those two it was fitted to has been doubted (Schultheis et al.,
    2022, On missing labels, long-tails and propensities in extreme multi-label classification).

    Raises
    ------
    TypeError, ValueError
        On fit, if `k` is not a positive integer, or `a` or `b` no number above 0.

    References
    ----------
    Jain, Prabhu and Varma (2016), Extreme multi-label loss functions for recommendation, tagging,
    ranking and other missing label applications.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[1.0, 0.5], [1.0, -4.0]])
    >>> labels = np.tile([[1, 0]], (40, 1))
    >>> rule = PropensityTopK(1).fit(np.tile(logits, (20, 1)), labels)
    >>> rule.predict(logits).toarray().astype(int)
    array([[0, 1],
           [1, 0]])
    """

    def __init__(self, k: int, a: float = 0.55, b: float = 1.5) -> None:
        self.k = k
        self.a = a
        self.b = b

    def _fit(self, evidence: Evidence) -> Fitted:
        k = ops.positive_integer(self.k, "k")
        a, b = ops.number(self.a, "a", above=0), ops.number(self.b, "b", above=0)
        gain = 1 / propensities(evidence.positives, evidence.n_rows, a, b)
        none = np.zeros((), np.float32)
        return Fitted(ops.WeightedTopK(k, gain.astype(np.float32), none))


def propensities(
    positives: NDArray[np.int64], n_rows: int, a: float = 0.55, b: float = 1.5
) -> NDArray[np.float64]:
    """The propensity of each class, (n_classes,), above 0 and at most 1."""
    c = max(0.0, (math.log(n_rows) - 1) * (b + 1) ** a)
    return np.asarray(1 / (1 + c * (positives + b) ** -a))
