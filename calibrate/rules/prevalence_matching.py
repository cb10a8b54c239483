"""A threshold for each class so that as many rows are predicted as are expected to be positive."""

from __future__ import annotations

from typing import Any

import numpy as np

from calibrate import ops
from calibrate.base import DecisionRule, Fitted, find, numbers_per_class
from calibrate.statistics import Evidence

_FARTHEST_FROM_COUNT = 0.01


class PrevalenceMatching(DecisionRule):
    """For each class the cut that predicts as many of the fitting rows as are to be positive.

    How many are to be is what the probabilities of the class add up to, or a prevalence that is
    known. Labels play no part: the rows may be any whose logits are there. It answers "as many
    predictions as labels" class by class, so that rare classes get their share; calibrate first.

    Parameters
    ----------
    prevalence : float or array, (n_classes,), optional
        Share of the rows that is positive, above 0 and below 1; by default the mean of the
        calibrated probabilities.
    factor : float
        Predictions for each positive that is expected: the ``x`` of PCut, above 0.

    Notes
    -----
    The count is rounded, the threshold lies midway between the last score that is predicted and
    the first that is not, and equal scores stay together: of two counts as near, the smaller is
    taken. A class whose count rounds to 0 gets ``inf``, is never predicted, and is listed in
    ``findings_``; so is a class whose count comes out of reach by more than one row and one in a
    hundred. Fitted from a histogram, the cuts lie between its bins.

    Raises
    ------
    TypeError, ValueError
        On fit, if a number is none, or lies outside.

    References
    ----------
    Lewis (1992), An evaluation of phrasal and clustered representations on a text categorization
    task (proportional assignment); Yang (2001), A study on thresholding strategies for
    text categorization: PCut.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[3.0], [1.0], [0.0], [-4.0]])
    >>> labels = np.zeros((4, 1))
    >>> PrevalenceMatching().fit(logits, labels).op_.threshold  # 2.2 positives are expected
    array([0.5], dtype=float32)
    >>> PrevalenceMatching(prevalence=0.25).fit(logits, labels).op_.threshold
    array([2.], dtype=float32)
    """

    def __init__(self, prevalence: Any = None, factor: float = 1.0) -> None:
        self.prevalence = prevalence
        self.factor = factor

    def _fit(self, evidence: Evidence) -> Fitted:
        factor = ops.number(self.factor, "factor", above=0)
        if self.prevalence is None:
            expected = evidence.expected_positives()
        else:
            share = numbers_per_class(self.prevalence, "prevalence", evidence.n_classes, below=1)
            expected = np.broadcast_to(share * evidence.n_rows, evidence.n_classes)
        wanted = np.floor(np.minimum(factor * expected, evidence.n_rows) + 0.5).astype(np.int64)
        threshold, count = evidence.cuts_at_counts(wanted)
        off = np.abs(count - wanted) > np.maximum(1, _FARTHEST_FROM_COUNT * wanted)
        findings = find(
            "none_expected", "are expected in less than half a row: they are never predicted",
            wanted == 0, expected,
        )  # fmt: skip
        findings += find(
            "count",
            "get another number of rows than is wanted, since equal scores, or those of a bin, "
            "stay together; the values are predicted rows over wanted ones",
            off & (wanted > 0),
            count / np.maximum(wanted, 1),
        )
        return Fitted(ops.Threshold(threshold), findings)
