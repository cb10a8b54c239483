"""Thresholds drawn from where a sweep puts them to where the probabilities do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CUBE_ROOT = 2.3
"""Variance of a swept threshold of highest F1, in logits: this times ``n^(-2/3)``, n positives."""

_FEWEST_FOR_OFFSET = 10
_GATE = 2.0
_LEAST_VARIANCE = 0.05
_FARTHEST = 3.0
_MOST_TURNS = 100
_SAME = 1e-9


class ShrunkThresholds(NamedTuple):
    """Thresholds between swept and plug-in ones, and how they came about.

    Attributes
    ----------
    threshold : float64, (n_classes,)
    weight : float64, (n_classes,)
        How far each is its own, 0 to 1: the share of the swept threshold.
    variance : float
        Of the classes' true thresholds around the plug-in ones, in squared logits.
    offset : float
        Added to all plug-in thresholds: 0 unless the gap is sure.
    gap, gap_error : float
        By how much swept thresholds lie above plug-in ones, and its standard error; 0 and ``inf``
        where no two classes have enough positives to tell.
    """

    threshold: Floats
    weight: Floats
    variance: float
    offset: float
    gap: float
    gap_error: float


def shrunk_thresholds(
    swept: Floats, plug_in: Floats, positives: NDArray[np.int64], variance: float | None = None
) -> ShrunkThresholds:
    """``w swept + (1 - w) (plug_in + offset)``, with ``w = variance / (variance + v)``.

    Parameters
    ----------
    swept, plug_in : float64, (n_classes,)
        Thresholds, in calibrated logits. Where one of them is infinite, the other teaches nothing,
        and the threshold is the plug-in one.
    positives : int64, (n_classes,)
        A class without any has the plug-in threshold.
    variance : float, optional
        Not negative; learned where not given.

    Notes
    -----
    The threshold of highest F of n positives is a maximum of a sum of steps: its error has the
    order ``n^(-1/3)``, not ``n^(-1/2)``, so that ``v = 2.3 n^(-2/3)``, the factor measured on
    simulated classes. What `swept` differs from `plug_in` beyond v, on average over the classes, is
    that the probabilities are wrong: the variance to be learned, by moments, with no gap counted as
    farther out than 3 standard deviations. One gap of all classes is found first, from those with
    10 positives or more, weighted by ``1 / (v + their own variance)``, and taken over if it is
    beyond 2 standard errors.

    References
    ----------
    Kim and Pollard (1990), Cube root asymptotics; Morris (1983), Parametric empirical Bayes
    inference, section 1; DerSimonian and Laird (1986), Meta-analysis in clinical trials, for the
    moments and the weights.
    """
    v = sweep_variance(positives)
    known = (positives > 0) & np.isfinite(swept) & np.isfinite(plug_in)
    gaps = np.where(known, np.where(known, swept, 0.0) - np.where(known, plug_in, 0.0), 0.0)
    many = known & (positives >= _FEWEST_FOR_OFFSET)
    gap, gap_error = _common_gap(gaps[many], v[many])
    offset = gap if abs(gap) > _GATE * gap_error else 0.0
    if variance is None:
        variance = _spread(gaps[known] - offset, v[known])
    weight = np.where(known, variance / (variance + v), 0.0)
    moved = plug_in + offset
    own = np.where(known, swept, moved)
    with np.errstate(invalid="ignore"):
        mixed = weight * own + (1 - weight) * moved
    return ShrunkThresholds(
        np.where(weight > 0, mixed, moved), weight, variance, offset, gap, gap_error
    )


def sweep_variance(positives: NDArray[np.int64]) -> Floats:
    """Variance of swept thresholds of highest F, in squared logits, by their positives.

    It has the order ``n^(-2/3)``, see `shrunk_thresholds`; a class without positives counts as one
    with one.
    """
    return CUBE_ROOT * np.maximum(positives, 1).astype(np.float64) ** (-2 / 3)


def _clipped(gaps: Floats, v: Floats, spread: float) -> Floats:
    """Gaps none of which is farther out than 3 standard deviations."""
    most = _FARTHEST * np.sqrt(v + spread)
    return np.clip(gaps, -most, most)


def _spread(gaps: Floats, v: Floats) -> float:
    """The variance of the gaps around 0 beyond v, by moments; not negative.

    What is clipped depends on the variance, which rises with what is let through: repeated until
    both agree.
    """
    weight = (v + _LEAST_VARIANCE) ** -2
    spread = 0.0
    for _ in range(_MOST_TURNS if len(gaps) else 0):
        beyond = _clipped(gaps, v, spread) ** 2 - v
        before, spread = spread, max(0.0, float((weight * beyond).sum() / weight.sum()))
        if abs(spread - before) <= _SAME * spread:
            break
    return spread


def _common_gap(gaps: Floats, v: Floats) -> tuple[float, float]:
    """Mean gap weighted by precision, and its standard error."""
    if len(gaps) < 2:
        return 0.0, np.inf
    spread = _spread(gaps, v)
    precision = 1 / (v + spread)
    total = precision.sum()
    return float((precision * _clipped(gaps, v, spread)).sum() / total), float(total**-0.5)
