"""What the rules that choose the best set of a row share.

How often rows are empty, and how far their numbers of labels spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate import ops
from calibrate.base import Finding, Fitted, Report, require_positives
from calibrate.metrics import Metric
from calibrate.statistics import Evidence, best_instance_cut, instance_values

Floats = NDArray[np.float64]

MOST_DISPERSED = 50.0
"""Spread of the numbers of labels, in that of independent ones, up to which sets are chosen."""

_COMPARED_ROWS = 2048
"""Rows on which sets are compared with one threshold for all rows."""

_SURELY = 3.0
"""Standard errors by which one threshold must be better to take over: at 2 it would by chance."""

_FEWEST_EMPTY = 10
"""Empty rows, and others, from which on it is learned which rows are empty."""

_CONVERGED, _NO_LOSS = 1e-9, 1e-3
_MOST_STEPS = 50
_HALVINGS = 30


@dataclass(frozen=True)
class BestSetReport(Report):
    """What a rule that chooses the best set of each row found.

    Attributes
    ----------
    dispersion : float
        Mean squared distance of the number of labels of a row from the sum of its probabilities,
        over what it would be if labels were independent.
    n_rows, n_empty : int
        Rows fitted on, and how many of them have no label.
    empty_intercept : float, or None
    empty_slope : float
        The log odds that a row is empty are a line in those of the product of all ``1 - p``; None
        where no row is.
    threshold, value : float, or None
        Of the one threshold for all rows, where sets are not chosen row by row; and the mean of
        the metric that it reaches on the fitting rows.
    """

    dispersion: float
    n_rows: int
    n_empty: int
    empty_intercept: float | None
    empty_slope: float
    threshold: float | None = None
    value: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not finite is None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }

    def sentences(self) -> list[str]:
        """The same in words."""
        return [self._of_empty(), self._of_spread()]

    def _of_empty(self) -> str:
        if self.empty_intercept is None:
            return "no fitting row is empty: each row gets a label"
        share = f"{self.n_empty} of {self.n_rows} fitting rows are empty"
        if self.empty_slope == 0:
            return f"{share}: that share is taken for every row"
        return (
            f"{share}: log odds of it {self.empty_intercept:+.2f} {self.empty_slope:+.2f} times "
            "those of independent labels"
        )

    def _of_spread(self) -> str:
        spread = (
            f"the numbers of labels of rows spread {self.dispersion:.2f} times as much as those of "
            "independent labels"
        )
        if self.threshold is None:
            return spread
        return f"{spread}: one threshold for all rows, {self.threshold:.4g}, takes over"


def fit_best_sets(
    evidence: Evidence,
    make: Callable[[float | None, float], ops.BestSetOp],
    metric: Metric,
) -> Fitted:
    """The op of a rule that chooses the best set of each row, or one threshold for all rows.

    Parameters
    ----------
    evidence : Evidence
    make : callable
        The op, given intercept and slope of the log odds that a row is empty; None for an
        intercept: no row is.
    metric : callable ``(tp, fp, fn, tn) -> array``
        What the sets are chosen for, for the threshold.

    Raises
    ------
    TypeError
        If there is only a histogram.
    ValueError
        If no class has a positive.
    """
    require_positives(evidence)
    rows = evidence.rows
    n_labels = np.diff(rows.labels.indptr)
    empty = n_labels == 0

    def of_block(scores: NDArray[np.float32]) -> tuple[Floats, Floats, Floats]:
        p = ops.sigmoid(scores)
        total = ops.row_sums(p)
        variance = total - ops.row_sums(np.square(p))
        odds = ops.log_odds_of_none(p) if empty.any() else np.zeros(len(p))
        return total, variance.clip(0), odds

    parts = zip(*rows.each_block(lambda block: of_block(block.scores)), strict=True)
    total, variance, odds = (np.concatenate(part) for part in parts)
    intercept, slope = fit_empty(odds, empty)
    spread, expected = math.fsum((n_labels - total) ** 2), math.fsum(variance)
    dispersion = spread / expected if expected else (math.inf if spread else 0.0)
    report = BestSetReport(dispersion, len(empty), int(np.count_nonzero(empty)), intercept, slope)
    if dispersion > MOST_DISPERSED:
        message = (
            f"the numbers of labels of rows spread {dispersion:.0f} times as much as those of "
            f"independent labels, above {MOST_DISPERSED:.0f}: one threshold for all rows takes over"
        )
        known = (dispersion,) if math.isfinite(dispersion) else ()
        return _one_threshold(
            evidence, metric, report, Finding("over_dispersed", message, (), known)
        )
    op = make(intercept, slope)
    better = _better_by_one_threshold(evidence.thinned(_COMPARED_ROWS), op, metric, report)
    if better == 0:
        return Fitted(op, report=report)
    message = (
        f"on the fitting rows one threshold for all rows is better by {better:.4f} than the best "
        f"sets of independent labels, more than {_SURELY:g} standard errors: it takes over"
    )
    return _one_threshold(
        evidence, metric, report, Finding("one_threshold", message, (), (better,))
    )


def _better_by_one_threshold(
    some: Evidence, op: ops.BestSetOp, metric: Metric, report: BestSetReport
) -> float:
    """By how much one threshold is surely better than sets, on the mean of the metric; else 0.

    Both are fitted to the rows that they are compared on, by a number or two, so that neither is
    flattered by much.
    """
    min_k = int(report.n_empty == 0)
    _, threshold = best_instance_cut(some.rows, metric, min_k)
    by_sets, by_threshold = (
        instance_values(some.rows, metric, one.decide)
        for one in (op, threshold_op(threshold, min_k))
    )
    gains = by_threshold - by_sets
    error = float(gains.std()) / math.sqrt(len(gains))
    gain = math.fsum(gains) / len(gains)
    return gain if gain > _SURELY * error else 0.0


def _one_threshold(
    evidence: Evidence, metric: Metric, report: BestSetReport, finding: Finding
) -> Fitted:
    """One threshold instead: what is right for each row rests on a wrong law."""
    min_k = int(report.n_empty == 0)
    value, threshold = best_instance_cut(evidence.rows, metric, min_k)
    found = BestSetReport(
        report.dispersion, report.n_rows, report.n_empty, report.empty_intercept,
        report.empty_slope, float(threshold), value,
    )  # fmt: skip
    return Fitted(threshold_op(threshold, min_k), (finding,), found)


def threshold_op(threshold: np.float32, min_k: int) -> ops.DecisionOp:
    """One threshold for all classes, with at least `min_k` labels for each row."""
    if min_k == 0:
        return ops.Threshold(np.array(threshold))
    if threshold == np.inf:
        # above every threshold there is none to rank by
        return ops.TopK(min_k)
    return ops.BoundedThreshold(np.array(threshold), min_k, None)


def fit_empty(odds: Floats, empty: NDArray[np.bool_]) -> tuple[float | None, float]:
    """Intercept and slope of the log odds that a row is empty, in those of independent labels.

    A logistic regression; where there are fewer than 10 empty rows, or others, or it finds no
    rising line, the share of empty rows serves for all. None for the intercept if no row is empty.

    Parameters
    ----------
    odds : float64, (n_rows,)
    empty : bool, (n_rows,)
    """
    n, n_empty = len(empty), int(np.count_nonzero(empty))
    if n_empty == 0:
        return None, 0.0
    share = min(n_empty, n - 0.5) / n
    mean = math.log(share) - math.log1p(-share), 0.0
    if min(n_empty, n - n_empty) < _FEWEST_EMPTY:
        return mean
    line = _logistic(odds, empty)
    return mean if line is None else line


def _logistic(x: Floats, y: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Intercept and slope of highest likelihood, by damped Newton steps; None if none rises."""
    centre, width = float(x.mean()), float(x.std())
    if width == 0:
        return None
    features = np.stack([np.ones_like(x), (x - centre) / width])

    def loss(at: Floats) -> float:
        eta = at @ features
        return float(np.logaddexp(0, eta).sum() - eta[y].sum())

    at, value = np.zeros(2), loss(np.zeros(2))
    for _ in range(_MOST_STEPS):
        p = np.exp(-np.logaddexp(0, -(at @ features)))
        gradient = features @ (p - y)
        hessian = (features * (p * (1 - p))) @ features.T
        move = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        decrement = float(gradient @ move)
        if decrement < _CONVERGED:
            slope = float(at[1]) / width
            # a line that parts the rows without an error has no end
            rises = slope > 0 and value > _NO_LOSS
            return (float(at[0]) - slope * centre, slope) if rises else None
        for halved in range(_HALVINGS):
            new = at - move / 2**halved
            if loss(new) <= value - 1e-4 * decrement / 2**halved:
                break
        else:
            return None
        at, value = new, loss(new)
    return None
