"""The k highest logits of each row."""

from __future__ import annotations

from calibrate import ops
from calibrate.base import DecisionRule, Fitted
from calibrate.statistics import Evidence


class TopK(DecisionRule):
    """Predict the `k` highest logits of each row; among equals the lower class index wins.

    Also known as RCut. It ignores how sure the network is.

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
