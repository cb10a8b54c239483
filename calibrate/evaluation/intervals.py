"""How far the figures of a decision can be trusted: intervals over the rows it is judged on.

All of them take the decision as given. They say what other rows of the same kind would show, not
what a decision fitted anew would, and are of use only on rows that it was not fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtri

from calibrate.data import LabelledLogits
from calibrate.evaluation.counts import Counts, Floats, Integers, Rates, mean, ratio
from calibrate.kernels.evaluation import add_row_weights
from calibrate.ops import RowLabels

Decided = Callable[[], Iterable[tuple[int, RowLabels]]]

BOUNDS = {
    "macro_f": (0.0, 1.0),
    "micro_f": (0.0, 1.0),
    "instance_f": (0.0, 1.0),
    "count_ratio": (0.0, math.inf),
}
"""Figures that get an interval over the rows, and the range they lie in."""


class Interval(NamedTuple):
    """A figure and the bounds of its confidence interval; nan where undefined."""

    estimate: float
    low: float
    high: float


def check_level(level: float) -> None:
    """Raise ValueError unless `level` lies between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")


def over_rows(
    estimate: float,
    influence: Floats,
    level: float,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """The normal interval of a figure from what each row adds to it; nan with a single row."""
    n_rows = len(influence)
    if n_rows < 2:
        return Interval(estimate, math.nan, math.nan)
    centre = mean(influence)
    variance = math.fsum((influence - centre) ** 2) / (n_rows - 1)
    reach = float(ndtri((1.0 + level) / 2.0)) * math.sqrt(variance / n_rows)
    if math.isnan(reach):
        return Interval(estimate, math.nan, math.nan)
    return Interval(estimate, max(estimate - reach, bounds[0]), min(estimate + reach, bounds[1]))


def influences(
    rows: LabelledLogits, decided: Decided, counts: Counts, beta: float
) -> dict[str, Floats]:
    """What each row adds to the figures of `BOUNDS`, float64, (n_rows,).

    `decided` gives the labels of all rows once more, as (first row, labels) of blocks.

    The influence of a row on a ratio of means is its top less the ratio times its bottom, over the
    mean bottom; macro-F is the mean of such ratios, one for each class with true labels. What the
    classes of a row have in common is in it, unlike in a sum of variances of the classes.
    """
    b = beta * beta
    n_rows = len(counts.row_tp)
    found: dict[str, Floats] = {"macro_f": _macro(rows, decided, counts, beta)}
    size = counts.row_predicted + b * counts.row_true
    total = math.fsum(size)
    f = ratio((1.0 + b) * float(counts.tp.sum()), total)
    with np.errstate(divide="ignore", invalid="ignore"):
        found["micro_f"] = n_rows * ((1.0 + b) * counts.row_tp - f * size) / total
        true = int(counts.row_true.sum())
        over = counts.row_predicted - counts.count_ratio() * counts.row_true
        found["count_ratio"] = n_rows * over / true
    if true == 0:
        found["micro_f"] = np.full(n_rows, math.nan)
    by_row = Rates.of(counts.row_tp, counts.row_predicted, counts.row_true, beta).f
    by_row = np.where(np.isnan(by_row), 1.0, by_row)
    found["instance_f"] = by_row - mean(by_row)
    return found


def of_groups(influence: Floats, groups: Integers) -> Floats:
    """What each group of rows adds to a figure, float64, (n_groups,), on the scale of `over_rows`.

    Parameters
    ----------
    influence : float64, (n_rows,)
    groups : int64, (n_rows,)
        The group of each row, numbered from 0 on.
    """
    added = np.bincount(groups, weights=influence)
    return np.asarray(added * (len(added) / len(groups)), dtype=np.float64)


def _macro(rows: LabelledLogits, decided: Decided, counts: Counts, beta: float) -> Floats:
    """Influence on macro-F: ``mean_c ((1 + b) y h - F_c (h + b y)) / mean(h + b y)``, b = beta^2.

    It needs the F of each class, so that the rows are decided a second time.
    """
    kept = counts.true > 0
    n_rows, n_kept = len(counts.row_tp), int(kept.sum())
    if n_kept == 0:
        return np.full(n_rows, math.nan)
    b = beta * beta
    size = counts.predicted + b * counts.true
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(kept, n_rows / (n_kept * size), 0.0)
        lost = np.where(kept, (1.0 + b) * counts.tp / size, 0.0) * weight
    influence = np.zeros(n_rows)
    for start, labels in decided():
        here = influence[start : start + len(labels.indptr) - 1]
        truth = rows.labels.rows(start, start + len(here))
        add_row_weights(*labels, *truth, (1.0 + b) * weight, lost, b * lost, here)
    return influence


def f_intervals(
    tp: Integers, predicted: Integers, true: Integers, beta: float, level: float
) -> tuple[Floats, Floats]:
    """Bounds of the F-beta of each class, float64, of the shape of the counts.

    Among the cells that are predicted or true, the true positives are binomial with the Jaccard
    index J, and F1 = 2 J / (1 + J): the exact interval of J, carried over, holds down to classes
    with no true positive, where the normal approximation fails (Lam, Gopal and Qian, 2023). For
    another beta, F depends also on the share q of missed labels among the errors,
    ``F = (1 + b) J / ((1 + b) J + (1 - J) (1 - q + b q))``, b = beta^2; q is binomial given the
    errors, and the two exact intervals are put together as the squares of the distances they reach
    (Newcombe, 1998; Zou and Donner, 2008). nan where nothing is predicted or true.
    """
    b = beta * beta
    missed = true - tp
    errors = predicted + missed - tp
    union = tp + errors
    with np.errstate(divide="ignore", invalid="ignore"):
        jaccard, share = tp / union, missed / errors

    def f(jaccard: Floats, share: Floats) -> Floats:
        top = (1.0 + b) * jaccard
        return top / (top + (1.0 - jaccard) * (1.0 - share + b * share))

    low, high = exact_interval(tp, union, level)
    best, worst = exact_interval(missed, errors, level)[:: 1 if b >= 1.0 else -1]
    share = np.where(errors > 0, share, worst)
    here = f(jaccard, share)
    down = np.hypot(here - f(low, share), here - f(jaccard, worst))
    up = np.hypot(f(high, share) - here, f(jaccard, best) - here)
    return np.maximum(here - down, 0.0), np.minimum(here + up, 1.0)


def exact_interval(successes: Integers, trials: Integers, level: float) -> tuple[Floats, Floats]:
    """Clopper and Pearson's bounds of a binomial rate; (0, 1) without trials."""
    tail = (1.0 - level) / 2.0
    failures = trials - successes
    low = betaincinv(np.maximum(successes, 1), failures + 1, tail)
    high = betaincinv(successes + 1, np.maximum(failures, 1), 1.0 - tail)
    return np.where(successes > 0, low, 0.0), np.where(failures > 0, high, 1.0)
