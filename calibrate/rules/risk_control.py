"""One threshold for all classes that keeps what a row loses, on average, below a level."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

import numpy as np

from calibrate import ops
from calibrate.base import DecisionRule, Finding, Fitted, Report
from calibrate.risks import Risk
from calibrate.statistics import (
    Evidence,
    RiskCurve,
    binomial_p_values,
    hoeffding_bentkus_p_values,
    risk_curve,
)


@dataclass(frozen=True)
class RiskReport(Report):
    """What was promised, and how near the fitting rows come to it.

    Attributes
    ----------
    risk : str
    level : float
        What the mean risk of new rows is held below.
    confidence : float or None
        How likely that is over the draw of the fitting rows; None: on average over them.
    bound : float
        What a row can lose at most.
    n_rows : int
    feasible : bool
        Whether any threshold keeps the promise.
    threshold : float or None
        In calibrated logits; None where all, or nothing, is predicted.
    empirical_risk : float
        Mean risk of the fitting rows at the threshold.
    statistic : float
        What was compared: with `level` the mean risk corrected for the number of rows, or with
        ``1 - confidence`` the p-value of a mean risk above the level.
    labels_per_row : float
        Predicted for the fitting rows.
    """

    risk: str
    level: float
    confidence: float | None
    bound: float
    n_rows: int
    feasible: bool
    threshold: float | None
    empirical_risk: float
    statistic: float
    labels_per_row: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """The same in words, without full stops."""
        sure = "on average over fitting rows" if self.confidence is None else (
            f"with confidence {self.confidence:g}"
        )  # fmt: skip
        promise = f"{self.risk} of new rows at most {self.level:g} {sure}"
        compared = "corrected for their number" if self.confidence is None else "p-value"
        return [
            promise if self.feasible else f"not promised: {promise}",
            f"{self.empirical_risk:.4g} on {self.n_rows:,} rows, {compared} {self.statistic:.4g}; "
            f"a row loses at most {self.bound:g}",
            f"{self.labels_per_row:.4g} labels predicted per row",
        ]


class RiskControl(DecisionRule):
    """The one threshold for all classes that keeps the mean risk of new rows below a level.

    Without `confidence` by conformal risk control: the mean over fitting rows and a new row is at
    most `level`. With it by learn-then-test: with that probability over the fitting rows, the mean
    over all new rows is at most `level`. Both hold for any network and any dependence between the
    classes of a row, if the fitting rows and the new ones are exchangeable (the former) or drawn
    independently from the same source (the latter), and nothing before this rule was fitted to the
    same rows. They hold on average over all rows, not for each class or kind of row.

    Calibrate first, on other rows: logits of different classes must mean the same for one threshold
    to be worth having. The promise does not depend on it.

    Parameters
    ----------
    risk : Risk
        What a row loses: `calibrate.risks.false_negative_rate`, `false_discovery_proportion`,
        `missed_any` or a `calibrate.risks.Risk` of your own.
    level : float
        Between 0 and what a row can lose at most.
    confidence : float, optional
        Between 0 and 1. Needed where the risk may rise when more is predicted.

    Raises
    ------
    TypeError, ValueError
        On fit, if an option is not what it must be, or conformal risk control is asked of a risk
        that may rise when more is predicted.

    Notes
    -----
    One pass over the rows. Thresholds are tried on a lattice fixed in advance: -16 to 16 logits in
    steps of 1/32, and all or nothing predicted; the promise holds on any such lattice.

    Conformal risk control takes the highest threshold at which ``(n R + B) / (n + 1) <= level``, R
    the mean over n rows and B the most that a row can lose: on average a risk between ``level - 2 B
    / (n + 1)`` and `level`, but for the step of the lattice. It is refused for a risk that is not
    monotone, because it can then fail by any amount.

    Learn-then-test goes along the lattice from the safe end, all predicted if the risk is monotone,
    else nothing, and stops before the first threshold where the p-value of a mean risk above
    `level` exceeds ``1 - confidence``: Hoeffding-Bentkus, or exactly binomial for losses of 0 and B
    alone. The order is fixed in advance, so that no correction for the number of thresholds is
    needed. A row for which nothing is predicted has no false discoveries.

    Where no threshold keeps the promise, all is predicted if the risk is monotone, else nothing,
    and a finding says so.

    References
    ----------
    Angelopoulos, Bates, Fisch, Lei and Schuster (2024), Conformal risk control, theorem 1 and
    section 2.1; Angelopoulos, Bates, Candès, Jordan and Lei (2025), Learn then test, sections 2 and
    3 (fixed-sequence testing).

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.risks import false_negative_rate
    >>> logits = np.linspace(-3, 3, 40).reshape(20, 2)
    >>> labels = logits > 0
    >>> rule = RiskControl(false_negative_rate, level=0.2).fit(logits, labels)
    >>> rule.report_.empirical_risk  # one row may lose 1: (20 * 0.15 + 1) / 21 <= 0.2
    0.15
    """

    needs_rows_apart: ClassVar[bool] = True

    def __init__(self, risk: Risk, level: float = 0.1, confidence: float | None = None) -> None:
        self.risk = risk
        self.level = level
        self.confidence = confidence

    def _fit(self, evidence: Evidence) -> Fitted:
        risk = self.risk
        if not isinstance(risk, Risk):
            raise TypeError(f"risk must be a Risk, as calibrate.risks makes them, got {risk!r}")
        level = ops.number(self.level, "level", above=0, below=risk.bound)
        if self.confidence is None and not risk.monotone:
            raise ValueError(
                f"{risk} may rise when more is predicted, and conformal risk control can then fail "
                "by any amount: give a confidence, for learn-then-test"
            )
        curve = risk_curve(evidence.rows, risk)
        if self.confidence is None:
            found = _conformal(curve, level)
        else:
            confidence = ops.number(self.confidence, "confidence", above=0, below=1)
            found = _learn_then_test(curve, level, confidence, from_below=risk.monotone)
        return self._fitted(curve, found, level)

    def _fitted(self, curve: RiskCurve, found: _Found, level: float) -> Fitted:
        threshold = curve.threshold[found.cut]
        inside = ops.LOWEST < threshold < np.inf
        report = RiskReport(
            risk=self.risk.name,
            level=level,
            confidence=None if self.confidence is None else float(self.confidence),
            bound=curve.bound,
            n_rows=curve.n_rows,
            feasible=found.feasible,
            threshold=float(threshold) if inside else None,
            empirical_risk=float(curve.mean[found.cut]),
            statistic=found.statistic,
            labels_per_row=float(curve.predicted[found.cut] / curve.n_rows),
        )
        return Fitted(ops.Threshold(np.array(threshold)), _findings(report), report)


class _Found(NamedTuple):
    """A threshold by its place on the lattice, and what was compared there."""

    cut: int
    feasible: bool
    statistic: float


def _conformal(curve: RiskCurve, level: float) -> _Found:
    """The highest threshold whose corrected mean is at most `level`; the lowest if none is."""
    # the decimal that was asked for, so that 9 rows without loss are enough for 0.1
    allowed = Fraction(repr(level)) / Fraction(repr(curve.bound)) * (curve.n_rows + 1) - 1
    kept = [cut for cut, total in enumerate(curve.least_sums) if total <= allowed]
    cut = kept[-1] if kept else 0
    corrected = (curve.mean[cut] * curve.n_rows + curve.bound) / (curve.n_rows + 1)
    return _Found(cut, bool(kept), float(corrected))


def _learn_then_test(
    curve: RiskCurve, level: float, confidence: float, *, from_below: bool
) -> _Found:
    """The last threshold before the first that is not certain, from the safe end on."""
    p_values = binomial_p_values if curve.binary else hoeffding_bentkus_p_values
    p = p_values(curve.least_sums, curve.n_rows, level / curve.bound)
    error = float(1 - Fraction(repr(confidence)))
    order = np.arange(len(p)) if from_below else np.arange(len(p))[::-1]
    certain = p[order] <= error
    n_certain = len(p) if certain.all() else int(np.argmin(certain))
    cut = int(order[max(n_certain - 1, 0)])
    return _Found(cut, n_certain > 0, float(p[cut]))


def _findings(report: RiskReport) -> tuple[Finding, ...]:
    everything = "all" if report.labels_per_row else "nothing"
    if not report.feasible:
        message = (
            f"no threshold keeps {report.risk} at most {report.level:g} as sure as asked from "
            f"{report.n_rows:,} rows: {everything} is predicted"
        )
        return (Finding("infeasible", message, (), (report.statistic,)),)
    if not report.labels_per_row:
        message = (
            f"only predicting nothing on the {report.n_rows:,} fitting rows keeps {report.risk} at "
            f"most {report.level:g}"
        )
        return (Finding("nothing_predicted", message, (), (report.statistic,)),)
    return ()
