"""Beta maps fitted to binned scores, one per class, by safeguarded Newton steps.

The log loss of ``c + a u + b v``, with ``u = -softplus(-x)`` and ``v = softplus(x)``, is made least
within ``0 <= a, b <= highest``. It is convex: the optimum lies inside, or on a bound that the free
optimum violates, so that at most two edges have to be tried, and on an edge a single bound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel

CONVERGED, AT_HIGHEST, STOPPED, STRAIGHT = 0, 2, 3, 4

_MOST_STEPS = 100
_ROUNDING = 1e-12
_LEAST_BEND = 1e-6


@kernel
def _evaluate(
    x: NDArray[np.float64], n: NDArray[np.float64], t: NDArray[np.float64], g: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """``sum n softplus(eta) - t eta``, ``eta = g[0] + g[1] x[0] + g[2] x[1]``; two derivatives."""
    value = 0.0
    d0 = d1 = d2 = h00 = h10 = h20 = h11 = h21 = h22 = 0.0
    for b in range(len(n)):
        if n[b] > 0.0:
            x1, x2 = x[0, b], x[1, b]
            eta = g[0] + g[1] * x1 + g[2] * x2
            tail = np.exp(-abs(eta))
            small = tail / (1.0 + tail)
            p = small if eta < 0.0 else 1.0 - small
            value += n[b] * np.log1p(tail)
            value += (n[b] - t[b]) * eta if eta > 0.0 else -t[b] * eta
            r = n[b] * p - t[b]
            w = n[b] * small * (1.0 - small)
            d0 += r
            d1 += r * x1
            d2 += r * x2
            h00 += w
            h10 += w * x1
            h20 += w * x2
            h11 += w * x1 * x1
            h21 += w * x2 * x1
            h22 += w * x2 * x2
    gradient = np.array([d0, d1, d2])
    hessian = np.array([[h00, h10, h20], [h10, h11, h21], [h20, h21, h22]])
    return value, gradient, hessian


@kernel
def _solve(
    h: NDArray[np.float64], d: NDArray[np.float64], free1: bool, free2: bool
) -> tuple[NDArray[np.float64], bool]:
    """The Newton step in the free coordinates, 0 in the others; whether there is one."""
    step = np.zeros(3)
    l00 = np.sqrt(h[0, 0])
    if not l00 > 0.0:
        return step, False
    l10 = h[1, 0] / l00 if free1 else 0.0
    l11 = np.sqrt(h[1, 1] - l10 * l10) if free1 else 1.0
    if not l11 > 0.0:
        return step, False
    l20 = h[2, 0] / l00 if free2 else 0.0
    l21 = (h[2, 1] - l20 * l10) / l11 if free1 and free2 else 0.0
    l22 = np.sqrt(h[2, 2] - l20 * l20 - l21 * l21) if free2 else 1.0
    if not l22 > 0.0:
        return step, False
    y0 = d[0] / l00
    y1 = (d[1] - l10 * y0) / l11 if free1 else 0.0
    y2 = (d[2] - l20 * y0 - l21 * y1) / l22 if free2 else 0.0
    step[2] = y2 / l22
    step[1] = (y1 - l21 * step[2]) / l11
    step[0] = (y0 - l10 * step[1] - l20 * step[2]) / l00
    return step, True


@kernel
def _newton(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    start: NDArray[np.float64],
    free1: bool,
    free2: bool,
) -> tuple[NDArray[np.float64], float, bool]:
    """Coefficients of least loss from `start` on, that loss, and whether it was reached."""
    g = start.copy()
    value, d, h = _evaluate(x, n, t, g)
    for _ in range(_MOST_STEPS):
        step, solved = _solve(h, d, free1, free2)
        if not solved:
            return g, value, False
        decrement = (step * d).sum()
        if decrement < 1e-11:
            return g - step, value, True
        share = 1.0
        while True:
            new, d, h = _evaluate(x, n, t, g - share * step)
            # as with lines: the sum is not known to the last digits
            if new <= value - 1e-4 * share * decrement + _ROUNDING * abs(value):
                break
            share *= 0.5
            if share < 1e-10:
                return g, value, False
        g, value = g - share * step, new
    return g, value, False


@kernel
def _softplus(z: float) -> float:
    return float(max(z, 0.0) + np.log1p(np.exp(-abs(z))))


@kernel
def _moments(n: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of the cells."""
    total = n.sum()
    mean = (n * x).sum() / total
    return mean, np.sqrt((n * (x - mean) ** 2).sum() / total)


@kernel
def _level(n: NDArray[np.float64], t: NDArray[np.float64]) -> float:
    """Logit of the rate of all cells: from there, with no slope, Newton steps stay in bounds."""
    rate = min(max(t.sum() / n.sum(), 1e-12), 1.0 - 1e-12)
    return float(np.log(rate / (1.0 - rate)))


@kernel
def _on_edge(
    free: NDArray[np.float64],
    fixed: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    at: float,
    highest: float,
) -> tuple[NDArray[np.float64], float, bool]:
    """Intercept, the free coefficient within its bounds and the fixed one; the loss; as above."""
    mean, scale = _moments(n, free)
    x = np.zeros((2, len(n)))
    if scale > 0.0:
        x[0] = (free - mean) / scale
    x[1] = fixed
    level = _level(n, t) - at * _moments(n, fixed)[0]
    start = np.array([level, 0.0, at])
    found, value, done = _newton(x, n, t, start, scale > 0.0, False)
    slope = found[1] / scale if scale > 0.0 else 0.0
    if not done or slope < 0.0 or slope > highest:
        slope = 0.0 if slope < 0.0 else highest if done else min(slope, highest)
        start[1] = slope * scale
        found, value, done = _newton(x, n, t, start, False, False)
    return np.array([found[0] - slope * mean, slope, at]), value, done


@kernel
def _fit_line(
    z: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    lowest: float,
    highest: float,
) -> tuple[float, float, bool]:
    """Slope within its bounds and intercept of ``slope z + intercept``; whether it was reached."""
    mean, scale = _moments(n, z)
    x = np.zeros((2, len(n)))
    x[0] = (z - mean) / scale
    start = np.array([_level(n, t), 0.0, 0.0])
    found, _, done = _newton(x, n, t, start, True, False)
    slope = found[1] / scale
    if not done or slope < lowest or slope > highest:
        slope = min(max(slope, lowest), highest)
        start[1] = slope * scale
        found, _, done = _newton(x, n, t, start, False, False)
    return slope, found[0] - slope * mean, done


@kernel
def fit_betas(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    lowest: float,
    highest: float,
    first: int,
    last: int,
    abc: NDArray[np.float64],
    status: NDArray[np.int64],
) -> None:
    """Fit ``P = sigmoid(c - a softplus(-x) + b softplus(x))`` for the classes ``first:last``.

    Parameters
    ----------
    x, n, t : float64, (n_classes, n_bins)
        Mean score, cells and target positives of each bin. Bins with ``n == 0`` are passed over.
    lowest, highest : float
        No slope is above `highest`; where both would be below `lowest`, both are `lowest`.
    abc : float64, (n_classes, 3)
        Filled. A class that is not to be fitted has ``n == 0`` throughout and keeps its values.
    status : int64, (n_classes,)
        Filled: CONVERGED; AT_HIGHEST, a slope at its bound; STOPPED, short of the optimum or with
        both slopes `lowest`; STRAIGHT, ``a = b``, where the scores allow no bend to be told.
    """
    for c in range(first, last):
        kept = np.flatnonzero(n[c] > 0.0)
        if len(kept) == 0:
            continue
        z, weight, target = x[c][kept], n[c][kept], t[c][kept]
        # a u + b v = m z + d q: on standard scales, q freed of what z says, Newton is well behaved
        u, v = np.empty(len(kept)), np.empty(len(kept))
        for place in range(len(kept)):
            u[place], v[place] = -_softplus(-z[place]), _softplus(z[place])
        mean, scale = _moments(weight, z)
        if not scale > 0.0:
            status[c] = STOPPED
            continue
        both = np.empty((2, len(kept)))
        both[0] = (z - mean) / scale
        q = v - u
        q_mean, _ = _moments(weight, q)
        q -= q_mean
        along = (weight * q * both[0]).sum() / weight.sum()
        q -= along * both[0]
        _, q_scale = _moments(weight, q)
        if q_scale < _LEAST_BEND * scale:
            slope, intercept, done = _fit_line(z, weight, target, lowest, highest)
            abc[c, 0] = abc[c, 1] = slope
            abc[c, 2] = intercept
            status[c] = STRAIGHT if done and lowest < slope < highest else STOPPED
            continue
        both[1] = q / q_scale
        start = np.array([_level(weight, target), 0.0, 0.0])
        found, value, done = _newton(both, weight, target, start, True, True)
        bend = found[2] / q_scale
        middle = (found[1] - bend * along) / scale
        a, b = middle - bend, middle + bend
        intercept = found[0] - middle * mean - bend * q_mean
        status[c] = CONVERGED
        if not (done and 0.0 <= a <= highest and 0.0 <= b <= highest):
            best, done = np.inf, False
            free_a, free_b = a, b
            for edge in range(2):
                mine = free_a if edge == 0 else free_b
                if 0.0 <= mine <= highest:
                    continue
                at = 0.0 if mine < 0.0 else highest
                fixed, free = (u, v) if edge == 0 else (v, u)
                coefficients, value, reached = _on_edge(free, fixed, weight, target, at, highest)
                if reached and value < best:
                    best, done = value, True
                    intercept = coefficients[0]
                    a, b = (at, coefficients[1]) if edge == 0 else (coefficients[1], at)
            if not done:
                a, intercept, _ = _fit_line(z, weight, target, lowest, highest)
                b = a
                status[c] = STOPPED
            elif a == highest or b == highest:
                status[c] = AT_HIGHEST
        if a < lowest and b < lowest:
            a, intercept, _ = _fit_line(z, weight, target, lowest, lowest)
            b = a
            status[c] = STOPPED
        abc[c, 0], abc[c, 1], abc[c, 2] = a, b, intercept
