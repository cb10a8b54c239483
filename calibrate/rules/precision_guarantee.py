"""A threshold for each class above which most are positive, on new rows too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv

from calibrate import ops
from calibrate.base import DecisionRule, Fitted, Report, find, require_positives
from calibrate.corrections import Correction, holm, none
from calibrate.statistics import Evidence, Grid, ScoreHistogram

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FARTHEST, N_CUTS = 16.0, 512
"""The cuts that are tried: -16 to 16 logits by 1/16, fixed before any row is seen."""


@dataclass(frozen=True, eq=False)
class PrecisionReport(Report):
    """What is promised, and for which classes.

    Attributes
    ----------
    precision, confidence : float
    correction : str
    predicted, tp : int64, (n_classes,)
        Fitting rows above the threshold, and how many of them are positive; 0 where nothing is
        certified.
    level : float64, (n_classes,)
        The p-value that each class had to keep.
    lower_bound : float64, (n_classes,)
        Clopper and Pearson's bound of the precision at that level, for a cut known beforehand; nan
        where none is certified. It describes the rows: what is promised is `precision`.
    """

    precision: float
    confidence: float
    correction: str
    predicted: Integers
    tp: Integers
    level: Floats
    lower_bound: Floats

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "precision": self.precision,
            "confidence": self.confidence,
            "correction": self.correction,
            "n_certified": int((self.predicted > 0).sum()),
            "predicted": self.predicted.tolist(),
            "tp": self.tp.tolist(),
            "level": self.level.tolist(),
            "lower_bound": [None if math.isnan(b) else b for b in self.lower_bound.tolist()],
        }

    def sentences(self) -> list[str]:
        """The same in words, without full stops."""
        certified = self.predicted > 0
        sure = {
            "none": f"with confidence {self.confidence:g} for each class",
            "holm": f"with confidence {self.confidence:g} for all classes together",
        }.get(
            self.correction,
            f"but for an expected share of {1 - self.confidence:.3g} of the classes certified",
        )
        said = [
            f"precision on new rows is above {self.precision!r}, {sure}: {certified.sum()} of "
            f"{len(certified)} classes, as long as precision does not fall where scores rise"
        ]
        if certified.any():
            share = (self.tp[certified] / self.predicted[certified]).min()
            said.append(
                f"of these {self.tp.sum():,} of {self.predicted.sum():,} predictions on the rows "
                f"kept apart are right, in the worst class {share:.4g}"
            )
        return said


class PrecisionGuarantee(DecisionRule):
    """For each class the lowest threshold whose precision on new rows is surely high enough.

    Cuts are tested from the highest down, each by the exact binomial p-value of "no more than
    `precision` of what lies above is positive", until one is not rejected; the last that is, is
    the threshold. Their order is fixed in advance, so that no correction is needed for how many are
    tested within a class. Where no cut is certified the class is never predicted, and listed.

    Parameters
    ----------
    precision : float
        Above 0 and below 1.
    confidence : float
        Above 0 and below 1.
    correction : Correction
        Of `calibrate.corrections`, for the number of classes: `none` (each class for itself: of n
        promises ``(1 - confidence) n`` may be broken), `holm` (all hold together), `bh` and `by`
        (of those made, an expected share of at most ``1 - confidence`` is broken).

    Attributes
    ----------
    report_ : PrecisionReport

    Notes
    -----
    Cuts lie between -16 and 16 logits in steps of 1/16, whatever the rows: calibrate first. At the
    last one everything is predicted. Each
    class begins at its first cut with as many predictions above it as could be certified if all
    were right, which the scores say without the labels. Given how many rows lie above a cut that is
    fixed, those that are positive follow a binomial law; that a class begins where enough rows lie
    above adds no error where precision does not fall as the cut rises, and simulation finds none
    (``tests/benchmarks/guarantees.py``).

    With `bh` and `by` the p-value of a class is that of the cut where it begins; R classes being
    certified of n, each goes on to lower cuts at ``R / n`` of the error (with `by`, divided by the
    sum of 1 to 1 / n), as intervals after a selection do (Benjamini and Yekutieli, 2005). Classes
    share rows, so that their tests depend on each other; `bh` needs that dependence to be positive,
    `by` and `holm` do not. One histogram of the rows.

    Raises
    ------
    TypeError, ValueError
        On fit, if an option is not what it must be, or no class has a positive.

    References
    ----------
    Clopper and Pearson (1934), The use of confidence or fiducial limits illustrated in the case of
    the binomial; Angelopoulos, Bates, Candès, Jordan and Lei (2025), Learn then test
    (fixed-sequence testing); Holm (1979), A simple sequentially rejective multiple test procedure;
    Benjamini and Yekutieli (2005), False discovery rate-adjusted multiple confidence intervals for
    selected parameters.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.linspace(-4, 4, 400)[:, None]
    >>> labels = logits > 0
    >>> rule = PrecisionGuarantee(0.9, 0.95).fit(logits, labels)
    >>> rule.op_.threshold  # 200 of the 212 above are right: p = 0.041
    array([-0.25], dtype=float32)
    """

    needs_rows_apart: ClassVar[bool] = True

    def __init__(
        self, precision: float = 0.9, confidence: float = 0.9, correction: Correction = none
    ) -> None:
        self.precision = precision
        self.confidence = confidence
        self.correction = correction

    def _fit(self, evidence: Evidence) -> Fitted:
        precision = ops.number(self.precision, "precision", above=0, below=1)
        error = 1 - ops.number(self.confidence, "confidence", above=0, below=1)
        if not isinstance(self.correction, Correction):
            raise TypeError(
                "correction must be one of calibrate.corrections: none, holm, bh, by, got "
                f"{self.correction!r}"
            )
        require_positives(evidence)
        counts = _Counts.of(evidence, precision)
        least = fewest_predictions(
            precision, self.correction.first_level(error, evidence.n_classes)
        )
        first = counts.first_with(least)
        level = self.correction.levels(counts.p_values(first), error)
        last = counts.last_certified(first, level)
        if self.correction == holm:
            last, level = _handed_on(counts, first, last, error)
        return _fitted(counts, last, level, self)


class _Counts(NamedTuple):
    """Rows above each cut, from the highest cut down, (n_classes, N_CUTS)."""

    predicted: Integers
    tp: Integers
    precision: float

    @classmethod
    def of(cls, evidence: Evidence, precision: float) -> _Counts:
        ends = np.full(evidence.n_classes, FARTHEST)
        histogram = ScoreHistogram.of(evidence.rows, Grid(-ends, ends, N_CUTS))
        predicted, tp = (
            np.cumsum(table[:, ::-1], axis=1) for table in (histogram.counts, histogram.positives)
        )
        return cls(predicted, tp, precision)

    def first_with(self, least: int) -> Integers:
        """The first cut of each class with so many rows above it; N_CUTS where there is none."""
        enough = self.predicted >= least
        return np.where(enough.any(axis=1), enough.argmax(axis=1), N_CUTS)

    def p_values(self, cut: Integers) -> Floats:
        """Of "precision is no higher" at a cut of each class; 1 where there is none."""
        there = cut < N_CUTS
        rows, cut = np.arange(len(cut)), np.minimum(cut, N_CUTS - 1)
        predicted, tp = self.predicted[rows, cut], self.tp[rows, cut]
        return np.where(there, binomial_tail(tp, predicted, self.precision), 1.0)

    def last_certified(self, first: Integers, level: Floats) -> Integers:
        """The last cut before the first whose p-value is above the level; -1 where it is the first.

        A cut with the same rows above it as the one before has the same p-value.
        """
        last = np.full(len(first), -1)
        for cut in range(int(first.min()), N_CUTS):
            going = np.flatnonzero((first == cut) | ((first < cut) & (last == cut - 1)))
            if len(going) == 0 and cut > first.max():
                break
            p = binomial_tail(self.tp[going, cut], self.predicted[going, cut], self.precision)
            last[going[p <= level[going]]] = cut
        return last


def _handed_on(
    counts: _Counts, first: Integers, last: Integers, error: float
) -> tuple[Integers, Floats]:
    """Holm's step: the level of a class that is certified to its last cut goes to the others."""
    n_left = len(last)
    while True:
        n_done = int((last == N_CUTS - 1).sum())
        if n_done in (len(last) - n_left, len(last)):
            return last, np.full(len(last), error / n_left)
        n_left = len(last) - n_done
        last = counts.last_certified(first, np.full(len(last), error / n_left))


def _fitted(counts: _Counts, last: Integers, level: Floats, rule: PrecisionGuarantee) -> Fitted:
    certified, rows = last >= 0, np.arange(len(last))
    precision = counts.precision
    predicted, tp = (
        np.where(certified, table[rows, last], 0) for table in (counts.predicted, counts.tp)
    )
    threshold = np.where(certified, cuts()[::-1][last], np.inf).astype(np.float32)
    with np.errstate(invalid="ignore"):
        bound = np.where(certified, lower_bound(tp, predicted, level), np.nan)
    needed = np.array([fewest_predictions(precision, one) for one in level])
    findings = find(
        "uncertified",
        f"cannot be certified to have precision {precision!r}: they are never predicted; the "
        "values are how many predictions, all right, would be enough",
        ~certified,
        needed,
    )
    report = PrecisionReport(
        precision, float(rule.confidence), rule.correction.name, predicted, tp, level,
        bound,
    )  # fmt: skip
    return Fitted(ops.Threshold(threshold), findings, report)


def cuts() -> NDArray[np.float32]:
    """The thresholds that are tried, in rising order, float32, (N_CUTS,)."""
    found = (-FARTHEST + 2 * FARTHEST / N_CUTS * np.arange(N_CUTS)).astype(np.float32)
    # a logit nearer to 0 than that is counted above the cut at 0, whatever its sign
    found[N_CUTS // 2] = -(2.0**-50)
    # what lies below the lowest cut is counted there
    found[0] = ops.LOWEST
    return found


def binomial_tail(tp: Integers, n: Integers, p: float) -> Floats:
    """``P(Binomial(n, p) >= tp)``, float64; 1 where `tp` is 0."""
    some = np.maximum(tp, 1)
    return np.where(tp > 0, betainc(some, np.maximum(n - some, 0) + 1, p), 1.0)


def lower_bound(tp: Integers, n: Integers, error: Floats) -> Floats:
    """Clopper and Pearson's lower bound of a share, 0 without a hit."""
    some = np.maximum(tp, 1)
    return np.where(tp > 0, betaincinv(some, np.maximum(n - some, 0) + 1, error), 0.0)


def fewest_predictions(precision: float, error: float) -> int:
    """How many predictions, all right, are certified at this level: ``precision^n <= error``."""
    n = max(1, math.ceil(math.log(error) / math.log(precision)))
    # the quotient of two logarithms may be off by its last digit
    while n > 1 and precision ** (n - 1) <= error:
        n -= 1
    while precision**n > error:
        n += 1
    return n
