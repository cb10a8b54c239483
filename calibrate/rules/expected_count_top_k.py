"""As many labels for each row as its probabilities add up to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate import ops
from calibrate.base import DecisionRule, Finding, Fitted, require_positives
from calibrate.statistics import Evidence

_FARTHEST_FROM_TOTAL = 0.01
_SAME_PLACE = 1e-12


class ExpectedCountTopK(DecisionRule):
    """The ``k`` highest logits of each row, ``k = floor(sum of probabilities + offset)``.

    The offset is fitted so that the total over the fitting rows is the true one; rounding, an
    offset of 1/2, is biased where the sums crowd just above or below a half. It answers "as many
    predictions as labels", which is another goal than the highest F1. Calibrate first.

    Rare classes seldom reach the top of a row: their own counts come out too low. After
    `HierarchicalScaling`, the third of the classes that is rarest gets 0.40, 0.57 and 0.08
    predictions for each true label on new rows of bibtex, GoEmotions and delicious, where
    `PrevalenceMatching` gives 0.84, 1.09 and 0.95 (networks trained with weights; printed by
    ``tests/benchmarks/counts.py``).

    Parameters
    ----------
    min_k, max_k : int or None
        Bounds on the labels of a row. ``min_k=None`` asks for at least one label if each of the
        fitting rows has one, and for none otherwise.
    mode : bool
        Take for ``k`` the likeliest number of labels of the row instead, as if its labels were
        independent: nothing is fitted, and since it lies below the mean where labels are rare, so
        does the total.

    Raises
    ------
    ValueError
        On fit, if the bounds are not ``0 <= min_k <= max_k``, or no class has a positive.

    References
    ----------
    Darroch (1964), On the distribution of the number of successes in independent trials (the mode).

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[2.0, 2.0, -9.0], [-1.0, 2.0, -9.0]])
    >>> rule = ExpectedCountTopK().fit(logits, np.array([[1, 1, 0], [0, 1, 0]]))
    >>> rule.predict(logits).toarray().astype(int)
    array([[1, 1, 0],
           [0, 1, 0]])
    """

    def __init__(self, min_k: int | None = 0, max_k: int | None = None, mode: bool = False) -> None:
        self.min_k = min_k
        self.max_k = max_k
        self.mode = mode

    def _fit(self, evidence: Evidence) -> Fitted:
        ops.check_count_bounds(0 if self.min_k is None else self.min_k, self.max_k)
        require_positives(evidence)
        rows = evidence.rows
        min_k = self.min_k
        if min_k is None:
            some_empty = bool((np.diff(rows.labels.indptr) == 0).any())
            min_k = 0 if some_empty or self.max_k == 0 else 1
        wanted = rows.labels.n_labels
        if self.mode:
            likeliest = ops.ModeTopK(min_k, self.max_k)
            total = sum(rows.each_block(lambda b: int(likeliest.counts(b.scores).sum())))
            why = "the likeliest counts are no unbiased ones"
            return Fitted(likeliest, _unless_near(total, wanted, why))
        sums = np.concatenate(list(rows.each_block(lambda b: ops.expected_counts(b.scores))))
        most = evidence.n_classes if self.max_k is None else min(self.max_k, evidence.n_classes)
        least = min(min_k, most)
        offset = fit_offset(sums, wanted, least, most)
        total = int(np.clip(np.floor(sums + offset), least, most).sum())
        why = "min_k, max_k or equal sums allow no nearer total"
        made = ops.ExpectedCountTopK(offset, min_k, self.max_k)
        return Fitted(made, _unless_near(total, wanted, why))


def _unless_near(total: int, wanted: int, why: str) -> tuple[Finding, ...]:
    """A finding if the total is another than is wanted, by more than a label and one in 100."""
    if abs(total - wanted) <= max(1, _FARTHEST_FROM_TOTAL * wanted):
        return ()
    message = f"the fitting rows get {total} labels in all instead of {wanted}: {why}"
    return (Finding("total", message, (), (total / wanted,)),)


def fit_offset(sums: NDArray[np.float64], wanted: int, least: int, most: int) -> float:
    """The offset whose total of ``clip(floor(sums + offset), least, most)`` is nearest `wanted`.

    The total is a rising staircase in the offset; the middle of the best step is taken, so that
    no row rests on the last digit of its sum.

    Parameters
    ----------
    sums : float64, (n_rows,)
    wanted : int
    least, most : int
        Bounds on the labels of a row.
    """

    def total(offset: float) -> int:
        return int(np.clip(np.floor(sums + offset), least, most).sum())

    low, high = float(least - sums.max() - 1), float(most - sums.min() + 1)
    while True:
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (low, middle) if total(middle) >= wanted else (middle, high)
    # the staircase passes `wanted` at the jump: take the nearer of the steps on its two sides
    jump, same = high, _SAME_PLACE * (1 + float(np.abs(sums).max()))
    before = np.minimum(np.floor(sums + (jump - same)), most)
    after = np.maximum(np.ceil(sums + (jump + same)), least + 1)
    down = (before - sums)[before > least]
    up = (after - sums)[after <= most]
    below = 0.5 * (jump + (float(down.max()) if len(down) else jump - 1))
    above = 0.5 * (jump + (float(up.min()) if len(up) else jump + 1))
    misses = abs(total(below) - wanted), abs(total(above) - wanted)
    out_of_reach = len(up) == 0
    return below if misses[0] < misses[1] + out_of_reach else above
