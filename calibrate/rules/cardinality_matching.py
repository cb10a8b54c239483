"""One threshold for all classes so that as many labels are predicted as are expected in all."""

from __future__ import annotations

import numpy as np

from calibrate import ops
from calibrate.base import DecisionRule, Finding, Fitted
from calibrate.statistics import Evidence, pooled_cut_at_count

_FARTHEST_FROM_TOTAL = 0.01


class CardinalityMatching(DecisionRule):
    """The one cut of all classes that predicts as many labels of the fitting rows as are expected.

    How many are expected is what all probabilities add up to, or a number of labels per row that
    is known. Labels play no part: the rows may be any whose logits are there. Logits of different
    classes must mean the same for one threshold to serve them: calibrate first. Rare classes seldom
    pass a cut that frequent ones share: after `HierarchicalScaling`, the third of the classes that
    is rarest gets 0.41, 0.54 and 0.14 predictions for each true label on new rows of bibtex,
    GoEmotions and delicious, where `PrevalenceMatching` gives 0.84, 1.09 and 0.95 (networks trained
    with weights; printed by ``tests/benchmarks/counts.py``).

    Parameters
    ----------
    cardinality : float, optional
        Labels per row, above 0; by default the mean sum of the calibrated probabilities.

    Notes
    -----
    The threshold is exact to the score, midway between the last that is predicted and the first
    that is not. Equal scores stay together: of two totals as near, the smaller is taken, and one
    farther off than one label and one in a hundred is a finding.

    Raises
    ------
    TypeError, ValueError
        On fit, if `cardinality` is no number above 0.

    References
    ----------
    Read, Pfahringer, Holmes and Frank (2011), Classifier chains for multi-label classification (the
    threshold that keeps the label cardinality).

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[3.0, 0.5], [1.0, -4.0]])
    >>> labels = np.zeros((2, 2))
    >>> CardinalityMatching().fit(logits, labels).op_.threshold  # 2.3 labels are expected
    array(0.75, dtype=float32)
    >>> CardinalityMatching(cardinality=0.5).fit(logits, labels).op_.threshold
    array(2., dtype=float32)
    """

    def __init__(self, cardinality: float | None = None) -> None:
        self.cardinality = cardinality

    def _fit(self, evidence: Evidence) -> Fitted:
        rows = evidence.rows
        if self.cardinality is None:
            expected = float(evidence.expected_positives().sum())
        else:
            expected = ops.number(self.cardinality, "cardinality", above=0) * evidence.n_rows
        wanted = int(np.floor(min(expected, rows.shape[0] * rows.shape[1]) + 0.5))
        threshold, total = pooled_cut_at_count(rows, wanted)
        findings: tuple[Finding, ...] = ()
        if abs(total - wanted) > max(1, _FARTHEST_FROM_TOTAL * wanted):
            message = (
                f"the fitting rows get {total} labels in all instead of {wanted}: equal scores "
                "stay together"
            )
            findings = (Finding("total", message, (), (total / max(wanted, 1),)),)
        return Fitted(ops.Threshold(np.array(threshold)), findings)
