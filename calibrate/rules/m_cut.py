"""Each row cut at the largest gap between its probabilities."""

from __future__ import annotations

from calibrate import ops
from calibrate.base import DecisionRule, Fitted
from calibrate.statistics import Evidence


class MCut(DecisionRule):
    """Predict the classes above the largest gap between two neighbouring probabilities of the row.

    It has no parameter and learns nothing: each row is cut by itself, and gets at least one label
    and at most one less than there are classes; a row whose probabilities are all equal gets none.
    It knows nothing of how many labels are right, so that its total may be far off. Probabilities
    of different classes must mean the same: calibrate first.

    Notes
    -----
    The gap is that between probabilities, not between logits: among thousands of classes the
    largest gap between logits lies between two that are both hopeless.

    References
    ----------
    Largeron, Moulin and Géry (2012), MCut: a thresholding strategy for multi-label classification.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[2.0, 1.5, -1.0, -6.0], [0.0, -3.0, -3.5, -9.0]])
    >>> MCut().fit(logits, np.zeros((2, 4))).predict(logits).toarray().astype(int)
    array([[1, 1, 0, 0],
           [1, 0, 0, 0]])
    """

    def _fit(self, evidence: Evidence) -> Fitted:
        return Fitted(ops.LargestGap())
