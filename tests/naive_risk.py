"""The slow, obvious way to control risks: loops over thresholds and rows, nothing of ours."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def lattice():
    """All, -16 to 16 by 1/32, nothing."""
    return [-math.inf, *(k / 32 for k in range(-512, 513)), math.inf]


def predicted_at(scores, threshold):
    """Classes of a row; a cell without a score never, and none at an infinite threshold."""
    if threshold == math.inf:
        return set()
    return {c for c, s in enumerate(scores) if s > -math.inf and float(s) >= threshold}


def false_negative_rate(predicted, true):
    return Fraction(len(true - predicted), len(true)) if true else Fraction(0)


def false_discovery_proportion(predicted, true):
    return Fraction(len(predicted - true), len(predicted)) if predicted else Fraction(0)


def missed_any(predicted, true):
    return Fraction(1 if true - predicted else 0)


def losses(risk, scores, labels, threshold):
    """Of each row, exact."""
    return [
        risk(predicted_at(row, threshold), set(np.flatnonzero(true).tolist()))
        for row, true in zip(scores, labels, strict=True)
    ]


def conformal(risk, scores, labels, level):
    """The highest threshold whose corrected mean is at most `level` (a string), or None."""
    kept = None
    for threshold in lattice():
        total = sum(losses(risk, scores, labels, threshold))
        if (total + 1) / Fraction(len(scores) + 1) <= Fraction(level):
            kept = threshold
    return kept


def learn_then_test(risk, scores, labels, level, error, order, p_value):
    """The last of `order` before the first that is not rejected, or None."""
    kept = None
    for threshold in order:
        total = sum(losses(risk, scores, labels, threshold))
        if p_value(total, len(scores), level) > error:
            break
        kept = threshold
    return kept


def binomial(total, n, level):
    """P(Bin(n, level) <= total), term by term."""
    return math.fsum(
        math.comb(n, k) * level**k * (1 - level) ** (n - k) for k in range(math.ceil(total) + 1)
    )


def hoeffding(total, n, level):
    """exp(-n h(min(mean, level), level)), with 0 log 0 = 0."""
    mean = min(float(Fraction(total) / n), level)
    entropy = sum(a * math.log(a / b) for a, b in ((mean, level), (1 - mean, 1 - level)) if a > 0)
    return math.exp(-n * entropy)


def hoeffding_bentkus(total, n, level):
    return min(hoeffding(total, n, level), math.e * binomial(total, n, level), 1.0)
