"""What sets of labels of a row are worth on average, the labels being independent.

The best set of a size holds the likeliest labels, so that a row is a matter of how many. Arrays
of probabilities are laid out as (n_rows, n_likely), each row falling and filled up with zeros,
which change no result: every sum over labels adds one after the other.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import Float32

Floats = NDArray[np.float64]
Sizes = NDArray[np.int64]
Flags = NDArray[np.bool_]

ALMOST_ONE = 1 - 2.0**-53
N_NODES = 64
SMALL = 1 / 50
N_POWERS = 6
"""Of a class below `SMALL` the logarithm is six powers, right to 1e-11 of its probability."""

LOWEST_ODDS_OF_NONE, HIGHEST_ODDS_OF_NONE = -700.0, 50.0


class Likely(NamedTuple):
    """The likely classes of rows.

    Attributes
    ----------
    p : float64, (n_rows, n_likely)
        Probabilities of the classes above the floor, falling, then zeros.
    n : int64, (n_rows,)
        How many there are.
    total : float64, (n_rows,)
        Sum over all classes.
    """

    p: Floats
    n: Sizes
    total: Floats

    @classmethod
    def above(cls, floor: Floats, p: Float32, total: Floats) -> Likely:
        """The classes of probability above the floor of their row."""
        mask = p > floor.astype(np.float32)[:, None]
        n = np.count_nonzero(mask, axis=1)
        found = np.zeros((len(p), max(1, int(n.max(initial=0)))), dtype=np.float32)
        found[np.arange(found.shape[1]) < n[:, None]] = p[mask]
        return cls(-np.sort(-found, axis=1).astype(np.float64), n, total)


def row_sums(values: Float32) -> Floats:
    """Sum of each row, (n_rows,), float64."""
    return np.asarray(values.sum(axis=1, dtype=np.float64))


def powers_of_others(p: Float32, floor: Floats) -> Floats:
    """Sums of the first six powers of the classes up to the floor, (n_rows, 6), float64."""
    others = np.where(p > floor.astype(np.float32)[:, None], np.float32(0), p).astype(np.float64)
    power, sums = others.copy(), np.empty((len(p), N_POWERS))
    for place in range(N_POWERS):
        np.sum(power, axis=1, out=sums[:, place])
        power *= others
    return sums


def log_odds_of_none(p: Float32) -> Floats:
    """Log odds of no label at all, the labels being independent, (n_rows,), float64.

    The sum of the logarithms of ``1 - p`` is that of the logarithm of the probability; the odds
    are held between -700 and 50.
    """
    log_none = np.log1p(-np.minimum(p.astype(np.float64), ALMOST_ONE)).sum(axis=1)
    with np.errstate(divide="ignore"):
        odds = log_none - np.log(-np.expm1(log_none))
    return np.asarray(np.clip(odds, LOWEST_ODDS_OF_NONE, HIGHEST_ODDS_OF_NONE))


def f_ratio(hits: Floats, k: Sizes, total: Floats, square: float) -> Floats:
    """Expected hits over the expected denominator of F-beta, without its factor."""
    return hits / (k + square * total)


def jaccard_ratio(hits: Floats, k: Sizes, total: Floats) -> Floats:
    """Expected hits over the expected size of the union."""
    return hits / (k + total - hits)


def second_order_f(likely: Likely, k: Sizes, variance: Floats, square: float) -> Floats:
    """Expected F-beta of the k likeliest labels, shape of `k`, to second order.

    Of each label the mean of one over the denominator, given that it is true, is taken from the
    mean and the variance of the number of the others.

    Parameters
    ----------
    likely : Likely
    k : int64, (n_rows, any)
        From 1 to the number of likely classes.
    variance : float64, (n_rows,)
        Of the number of true labels.
    square : float
        ``beta^2``.
    """
    top = likely.p[:, : int(k.max())]
    others = (variance[:, None] - top * (1 - top)).clip(0)
    value = k[:, :, None] + (square * (1 + likely.total[:, None] - top))[:, None, :]
    np.reciprocal(value, out=value)
    spread = value * value
    spread *= (square * square * others)[:, None, :]
    spread += 1
    value *= spread
    value *= top[:, None, :]
    up_to = np.add.accumulate(value, axis=2, out=value)
    here = np.take_along_axis(up_to, k[:, :, None] - 1, axis=2)[:, :, 0]
    return np.asarray((1 + square) * here)


def second_order_jaccard(likely: Likely, k: Sizes, variance: Floats) -> Floats:
    """Expected Jaccard index of the k likeliest labels, shape of `k`, to second order.

    Parameters are those of `second_order_f`.
    """
    hits = _up_to(likely.p, k)
    others = (variance[:, None] - _up_to(likely.p * (1 - likely.p), k)).clip(0)
    union = k + (likely.total[:, None] - hits).clip(0)
    return np.asarray(hits / union * (1 + others / union**2))


def exact_f(likely: Likely, k: Sizes, others: Floats, square: float) -> Floats:
    """Expected F-beta of the k likeliest labels, shape of `k`.

    One over the denominator is an integral of a power, and the mean of a power over independent
    labels is a product: with ``t = exp(-s)``, ``x = 1 - t^(beta^2)``,

        f(k) = (1 + beta^2) int t^(k + beta^2) prod_j (1 - x p_j) sum_{i<=k} p_i / (1 - x p_i) ds,

    taken at 64 nodes; right to 1e-10 and mostly more.

    Parameters
    ----------
    likely : Likely
    k : int64, (n_rows, any)
        From 1 to the number of likely classes.
    others : float64, (n_rows, 6)
        Of the classes that are not likely, each at most 1/50: `powers_of_others`.
    square : float
        ``beta^2``.
    """
    s, weight = _along(1 + square * (1 + likely.total))
    x = np.minimum(-np.expm1(-square * s), ALMOST_ONE)
    left = 1 - likely.p[:, :, None] * x[:, None, :]
    none = np.log(left).sum(axis=1) + _log_of_others(others, x)
    top = slice(int(k.max()))
    of_top = np.cumsum(likely.p[:, top, None] / left[:, top], axis=1)
    power = np.exp(none[:, None, :] - s[:, None, :] * (k[:, :, None] + square))
    power *= weight[:, None, :]
    power *= np.take_along_axis(of_top, k[:, :, None] - 1, axis=1)
    return np.asarray((1 + square) * power.sum(axis=2))


def exact_jaccard(likely: Likely, k: Sizes, others: Floats) -> Floats:
    """Expected Jaccard index of the k likeliest labels, shape of `k`.

    With ``t = exp(-s)``: ``sum_{i<=k} p_i int t^k prod_{j>k} (1 - (1 - t) p_j) ds``. Parameters are
    those of `exact_f`.
    """
    s, weight = _along(1 + likely.total)
    x = np.minimum(-np.expm1(-s), ALMOST_ONE)
    logs = np.log(1 - likely.p[:, :, None] * x[:, None, :])
    # those after the k-th, added from the last on
    after = np.zeros_like(logs)
    np.cumsum(logs[:, :0:-1], axis=1, out=after[:, -2::-1])
    power = np.take_along_axis(after, k[:, :, None] - 1, axis=1)
    power += _log_of_others(others, x)[:, None, :] - s[:, None, :] * k[:, :, None]
    np.exp(power, out=power)
    power *= weight[:, None, :]
    return np.asarray(_up_to(likely.p, k) * power.sum(axis=2))


def _up_to(values: Floats, k: Sizes) -> Floats:
    """Sums of the first k values of each row, shape of `k`."""
    return np.take_along_axis(np.cumsum(values, axis=1), k - 1, axis=1)


def _along(rate: Floats) -> tuple[Floats, Floats]:
    """Nodes and weights for an integral from 0 on of what falls at about this rate."""
    s, weight = nodes_at_rate_one()
    return s / rate[:, None], weight / rate[:, None]


@cache
def nodes_at_rate_one() -> tuple[Floats, Floats]:
    """Those of Gauss and Legendre, carried over from ``v`` in (0, 1) to ``v / (1 - v)``."""
    nodes, weights = np.polynomial.legendre.leggauss(N_NODES)
    v = 0.5 * (nodes + 1)
    return v / (1 - v), 0.5 * weights / (1 - v) ** 2


def _log_of_others(powers: Floats, x: Floats) -> Floats:
    """Sum of ``log(1 - x p)`` over classes known by the sums of their powers."""
    found, x_to = np.zeros_like(x), np.ones_like(x)
    for place in range(N_POWERS):
        x_to *= x
        found -= powers[:, place : place + 1] / (place + 1) * x_to
    return found
