"""Guarantees by counting, one class at a time."""

from __future__ import annotations

import math
from fractions import Fraction


def most_missed(n, recall, doubt=None):
    """The largest l that the l-th lowest of n may be, by trying each."""
    found = 0
    for place in range(1, n + 1):
        if doubt is None:
            kept = Fraction(place, n + 1) <= 1 - Fraction(str(recall))
        else:
            kept = binomial_at_most(place - 1, n, 1 - recall) <= doubt
        if kept:
            found = place
    return found


def binomial_at_most(k, n, p):
    """P(Binomial(n, p) <= k)."""
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


def binomial_at_least(k, n, p):
    """P(Binomial(n, p) >= k)."""
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


def certified_cut(scores, positive, cuts, precision, level, least):
    """The lowest of the falling `cuts` that is certified, or inf."""
    found = math.inf
    for cut in cuts:
        above = [bool(y) for z, y in zip(scores, positive, strict=True) if z >= cut]
        if len(above) < least:
            continue
        if binomial_at_least(sum(above), len(above), precision) > level:
            break
        found = cut
    return found


def first_p_value(scores, positive, cuts, precision, least):
    """That of the first of the falling `cuts` with enough above it; 1 where there is none."""
    for cut in cuts:
        above = [bool(y) for z, y in zip(scores, positive, strict=True) if z >= cut]
        if len(above) >= least:
            return binomial_at_least(sum(above), len(above), precision)
    return 1.0
