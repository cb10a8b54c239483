"""Logistic lines fitted to binned scores, one per class, by safeguarded Newton steps.

Platt (1999) with the care of Lin, Lin and Weng (2007): Newton steps on the two-parameter logistic
likelihood, halved until the objective falls, stopped by the Newton decrement.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel

CONVERGED, AT_LOWEST, AT_HIGHEST, STOPPED = 0, 1, 2, 3

_MOST_STEPS = 100
_ROUNDING = 1e-12
_MERGED = 8
_FEWEST_MERGED = 32


@kernel
def _evaluate(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    slope: float,
    intercept: float,
) -> tuple[float, float, float, float, float, float]:
    """``sum n softplus(eta) - t eta``, and its derivatives in slope (1) and intercept (0)."""
    value = g1 = g0 = h11 = h10 = h00 = 0.0
    for b in range(len(x)):
        if n[b] > 0.0:
            eta = slope * x[b] + intercept
            # the smaller of p and 1 - p is computed as such, so that neither loses its digits
            tail = np.exp(-abs(eta))
            small = tail / (1.0 + tail)
            p = small if eta < 0.0 else 1.0 - small
            # each part is positive, so that no large ones cancel
            value += n[b] * np.log1p(tail)
            value += (n[b] - t[b]) * eta if eta > 0.0 else -t[b] * eta
            r = n[b] * p - t[b]
            w = n[b] * small * (1.0 - small)
            g1 += r * x[b]
            g0 += r
            h11 += w * x[b] * x[b]
            h10 += w * x[b]
            h00 += w
    return value, g1, g0, h11, h10, h00


@kernel
def _newton(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    slope: float,
    intercept: float,
    free_slope: bool,
    free_intercept: bool,
) -> tuple[float, float, bool]:
    """Minimise ``sum n softplus(eta) - t eta`` over the free ones of slope and intercept."""
    value, g1, g0, h11, h10, h00 = _evaluate(x, n, t, slope, intercept)
    for _ in range(_MOST_STEPS):
        if free_slope and free_intercept:
            determinant = h11 * h00 - h10 * h10
            if not determinant > 0.0:
                return slope, intercept, False
            d1 = (h00 * g1 - h10 * g0) / determinant
            d0 = (h11 * g0 - h10 * g1) / determinant
        elif free_slope:
            if not h11 > 0.0:
                return slope, intercept, False
            d1, d0 = g1 / h11, 0.0
        else:
            if not h00 > 0.0:
                return slope, intercept, False
            d1, d0 = 0.0, g0 / h00
        decrement = g1 * d1 + g0 * d0
        if decrement < 1e-11:
            return slope - d1, intercept - d0, True
        step = 1.0
        while True:
            new_slope, new_intercept = slope - step * d1, intercept - step * d0
            new, g1, g0, h11, h10, h00 = _evaluate(x, n, t, new_slope, new_intercept)
            # the sum of millions of terms is not known to the last digits: without the slack, a
            # step near the optimum is refused over and over
            if new <= value - 1e-4 * step * decrement + _ROUNDING * abs(value):
                break
            step *= 0.5
            if step < 1e-10:
                return slope, intercept, False
        slope, intercept, value = new_slope, new_intercept, new
    return slope, intercept, False


@kernel
def _start(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    slope: float,
    intercept: float,
    free_intercept: bool,
) -> tuple[float, float]:
    """A start for the fit: the fit of every eight bins taken as one, which costs an eighth."""
    n_merged = len(x) // _MERGED
    if n_merged < _FEWEST_MERGED:
        return slope, intercept
    sums = np.zeros((3, n_merged + 1))
    for b in range(len(x)):
        sums[0, b // _MERGED] += n[b]
        sums[1, b // _MERGED] += n[b] * x[b]
        sums[2, b // _MERGED] += t[b]
    for m in range(n_merged + 1):
        if sums[0, m] > 0.0:
            sums[1, m] /= sums[0, m]
    a, b0, done = _newton(sums[1], sums[0], sums[2], slope, intercept, True, free_intercept)
    if done and a > 0.0:
        return a, b0
    return slope, intercept


@kernel
def _parted(
    x: NDArray[np.float64], n: NDArray[np.float64], t: NDArray[np.float64], free_intercept: bool
) -> bool:
    """Whether no negative lies above a positive, so that the best slope is infinite."""
    highest_negative, lowest_positive = -np.inf, np.inf
    for b in range(len(x)):
        if t[b] < n[b]:
            highest_negative = max(highest_negative, x[b])
        if t[b] > 0.0:
            lowest_positive = min(lowest_positive, x[b])
    if free_intercept:
        return highest_negative <= lowest_positive
    return highest_negative <= 0.0 <= lowest_positive


@kernel
def fit_lines(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    free_intercept: bool,
    lowest: float,
    highest: float,
    first: int,
    last: int,
    slope: NDArray[np.float64],
    intercept: NDArray[np.float64],
    status: NDArray[np.int64],
) -> None:
    """Fit ``P = sigmoid(slope x + intercept)`` for the classes ``first:last``.

    Parameters
    ----------
    x, n, t : float64, (n_classes, n_bins)
        Mean score, cells and target positives of each bin. Bins with ``n == 0`` are passed over.
    free_intercept : bool
        Else the intercept is 0.
    lowest, highest : float
        Bounds of the slope; at a bound the intercept is fitted anew.
    slope, intercept, status
        Filled. A class that is not to be fitted has ``n == 0`` throughout and keeps its values.
    """
    for c in range(first, last):
        total = mean = spread = 0.0
        for b in range(x.shape[1]):
            total += n[c, b]
            mean += n[c, b] * x[c, b]
        if total == 0.0:
            continue
        mean = mean / total if free_intercept else 0.0
        for b in range(x.shape[1]):
            spread += n[c, b] * (x[c, b] - mean) ** 2
        scale = np.sqrt(spread / total)
        if not scale > 0.0:
            status[c] = STOPPED
            continue
        standard = (x[c] - mean) / scale
        a, b0 = _start(standard, n[c], t[c], scale, mean * free_intercept, free_intercept)
        a, b0, done = _newton(standard, n[c], t[c], a, b0, True, free_intercept)
        if not done:
            a, b0, done = _newton(standard, n[c], t[c], 0.0, 0.0, True, free_intercept)
        status[c] = CONVERGED if done else STOPPED
        if _parted(x[c], n[c], t[c], free_intercept):
            status[c] = AT_HIGHEST
        if a < lowest * scale or a > highest * scale:
            status[c] = AT_LOWEST if a < lowest * scale else AT_HIGHEST
            a = scale * (lowest if a < lowest * scale else highest)
            if free_intercept:
                a, b0, done = _newton(standard, n[c], t[c], a, b0, False, True)
        slope[c] = a / scale
        intercept[c] = b0 - a * mean / scale


@kernel
def fit_intercepts(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    slope: float,
    first: int,
    last: int,
    intercept: NDArray[np.float64],
) -> None:
    """Fit the intercept alone, at a given slope; classes with ``n == 0`` keep theirs."""
    for c in range(first, last):
        total = n[c].sum()
        if total > 0.0:
            # the start is exact where all scores are equal, however far from 0 they are
            rate = min(max(t[c].sum() / total, 1e-12), 1.0 - 1e-12)
            start = np.log(rate / (1.0 - rate)) - slope * (n[c] * x[c]).sum() / total
            _, intercept[c], _ = _newton(x[c], n[c], t[c], slope, start, False, True)


@kernel
def sums_on_lines(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    slope: NDArray[np.float64],
    intercept: NDArray[np.float64],
    first: int,
    last: int,
    sums: NDArray[np.float64],
) -> None:
    """Loss of given lines and its derivatives, for the classes ``first:last``.

    Parameters
    ----------
    slope, intercept : float64, (n_classes,)
    sums : float64, (n_classes, 6)
        Filled with the value, its derivatives in slope (1) and intercept (0), and the second ones
        in (1, 1), (1, 0), (0, 0).
    """
    for c in range(first, last):
        value, g1, g0, h11, h10, h00 = _evaluate(x[c], n[c], t[c], slope[c], intercept[c])
        sums[c, 0], sums[c, 1], sums[c, 2] = value, g1, g0
        sums[c, 3], sums[c, 4], sums[c, 5] = h11, h10, h00


@kernel
def curvatures(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    slope: NDArray[np.float64],
    intercept: NDArray[np.float64],
    centre: NDArray[np.float64],
    first: int,
    last: int,
    out: NDArray[np.float64],
) -> None:
    """Second derivatives of the log loss of the classes ``first:last`` at their lines.

    Parameters
    ----------
    x, n, t : float64, (n_classes, n_bins)
    centre : float64, (n_classes,)
        The score at which the line is taken to have its intercept, so that the derivatives of
        scores far from 0 keep their digits.
    out : float64, (n_classes, 3)
        Filled: by the slope twice, by both, by the intercept at `centre` twice.
    """
    for c in range(first, last):
        at_centre = intercept[c] + slope[c] * centre[c]
        _, _, _, h11, h10, h00 = _evaluate(x[c] - centre[c], n[c], t[c], slope[c], at_centre)
        out[c, 0], out[c, 1], out[c, 2] = h11, h10, h00
