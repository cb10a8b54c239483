"""The k highest logits of each row."""

from __future__ import annotations

from calibrate import ops
from calibrate.base import DecisionRule, Fitted
from calibrate.statistics import Evidence


class TopK(DecisionRule):
    """Predict the `k` highest logits of each row; among equals the lower class index wins.

    Also known as RCut. It ignores how sure the network is, and it starves rare classes, which
    seldom reach the top of a row: after `HierarchicalScaling`, the third of the classes that is
    rarest gets 0.36, 0.52 and 0.12 predictions for each true label on new rows of bibtex,
    GoEmotions and delicious, where `PrevalenceMatching` gives 0.84, 1.09 and 0.95, and
    `BudgetedTopK` for F1 0.76, 0.71 and 9.5 (networks trained with weights; printed by
    ``tests/benchmarks/counts.py``).

    Parameters
    ----------
    k : int
        Labels per row, at least 1; a row of fewer classes gets all of them.

    Raises
    ------
    ValueError
        On fit, if `k` is not a positive integer.

    References
    ----------
    Yang (2001), A study on thresholding strategies for text categorization: RCut.

    Examples
    --------
    >>> import numpy as np
    >>> rule = TopK(1).fit(np.array([[0.0, 2.0], [1.0, 1.0]]), np.array([[0, 1], [1, 0]]))
    >>> rule.predict(np.array([[0.0, 2.0], [1.0, 1.0]])).toarray()
    array([[False,  True],
           [ True, False]])
    """

    def __init__(self, k: int) -> None:
        self.k = k

    def _fit(self, evidence: Evidence) -> Fitted:
        return Fitted(ops.TopK(ops.positive_integer(self.k, "k")))
