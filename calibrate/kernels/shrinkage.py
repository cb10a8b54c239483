"""Logistic lines drawn towards a common prior, and what each fit would say without one cell of it.

The lines are written ``eta = alpha + beta (x - centre)``, so that level and slope are nearly
orthogonal, and fitted by Newton steps on the penalised likelihood, halved until it falls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel

LEAST_DETERMINANT = 1e-15
"""Of two parameters, as a share of the product of the two second derivatives."""

_MOST_STEPS = 60
_ROUNDING = 1e-12
_LEAST_STEP = 1e-20
_HIGHEST_LEVERAGE = 0.9


@kernel
def _evaluate(
    d: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    level: float,
    slope: float,
    off_level: float,
    off_slope: float,
    precision: NDArray[np.float64],
) -> tuple[float, float, float, float, float, float]:
    """Penalised loss at ``level + slope d``, and its derivatives in level (0) and slope (1).

    `off_level` and `off_slope` are the distances from the mean of the prior.
    """
    p00, p01, p11 = precision
    g0 = p00 * off_level + p01 * off_slope
    g1 = p01 * off_level + p11 * off_slope
    value = 0.5 * (g0 * off_level + g1 * off_slope)
    h00, h01, h11 = p00, p01, p11
    for b in range(len(d)):
        if n[b] > 0.0:
            eta = level + slope * d[b]
            tail = np.exp(-abs(eta))
            small = tail / (1.0 + tail)
            p = small if eta < 0.0 else 1.0 - small
            value += n[b] * np.log1p(tail)
            value += (n[b] - t[b]) * eta if eta > 0.0 else -t[b] * eta
            r = n[b] * p - t[b]
            w = n[b] * small * (1.0 - small)
            g0 += r
            g1 += r * d[b]
            h00 += w
            h01 += w * d[b]
            h11 += w * d[b] * d[b]
    return value, g0, g1, h00, h01, h11


@kernel
def fit_shrunk(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    centre: NDArray[np.float64],
    mean: NDArray[np.float64],
    precision: NDArray[np.float64],
    lowest: float,
    first: int,
    last: int,
    level: NDArray[np.float64],
    slope: NDArray[np.float64],
    hessian: NDArray[np.float64],
) -> None:
    """Most probable line of each of the classes ``first:last`` under a normal prior.

    Parameters
    ----------
    x, n, t : float64, (n_classes, n_bins)
        Mean score, cells and positives of each bin. Bins with ``n == 0`` are passed over.
    centre : float64, (n_classes,)
    mean : float64, (2,)
        Prior mean of ``(level - centre, slope - 1)``.
    precision : float64, (3,)
        Inverse of the prior covariance: level-level, level-slope, slope-slope.
    lowest : float
        Bound of the slope; at the bound the level is fitted anew.
    level, slope : float64, (n_classes,)
        Where to start; replaced by the fit.
    hessian : float64, (n_classes, 3)
        Filled with the second derivatives of the penalised loss at the fit.
    """
    d = np.empty(x.shape[1])
    for c in range(first, last):
        for b in range(x.shape[1]):
            d[b] = x[c, b] - centre[c]
        prior_level, prior_slope = centre[c] + mean[0], 1.0 + mean[1]
        a, s = level[c], max(slope[c], lowest)
        value, g0, g1, h00, h01, h11 = _evaluate(
            d, n[c], t[c], a, s, a - prior_level, s - prior_slope, precision
        )
        for _ in range(_MOST_STEPS):
            determinant = max(h00 * h11 - h01 * h01, LEAST_DETERMINANT * h00 * h11)
            d0 = (h11 * g0 - h01 * g1) / determinant
            d1 = (h00 * g1 - h01 * g0) / determinant
            if s - d1 < lowest:
                # along the bound: the level alone moves, once the slope is there
                d1 = s - lowest
                d0 = (g0 - h01 * d1) / h00
            decrement = g0 * d0 + g1 * d1
            if decrement < 1e-10:
                break
            step = 1.0
            while step > _LEAST_STEP:
                new_a, new_s = a - step * d0, s - step * d1
                new, g0, g1, h00, h01, h11 = _evaluate(
                    d, n[c], t[c], new_a, new_s, new_a - prior_level, new_s - prior_slope, precision
                )
                if new <= value - 1e-4 * step * decrement + _ROUNDING * abs(value):
                    break
                step *= 0.5
            if step <= _LEAST_STEP:
                # no way down: the derivatives are those of a point that was refused
                value, g0, g1, h00, h01, h11 = _evaluate(
                    d, n[c], t[c], a, s, a - prior_level, s - prior_slope, precision
                )
                break
            a, s, value = new_a, new_s, new
        level[c], slope[c] = a, s
        hessian[c, 0], hessian[c, 1], hessian[c, 2] = h00, h01, h11


@kernel
def count_left_out(
    x: NDArray[np.float64],
    n: NDArray[np.int64],
    y: NDArray[np.int64],
    centre: NDArray[np.float64],
    level: NDArray[np.float64],
    slope: NDArray[np.float64],
    covariance: NDArray[np.float64],
    first: int,
    last: int,
    reach: float,
    counts: NDArray[np.int64],
    positives: NDArray[np.int64],
) -> None:
    """Count cells by the logit that their class would give them had it not been fitted to them.

    One Newton step away from the fit: leaving out a cell of score d moves its own logit by
    ``h / (1 - h p (1 - p))`` times its residual, ``h`` being the variance of the logit there.

    Parameters
    ----------
    n, y : int64, (n_classes, n_bins)
        Cells and positives of each bin.
    covariance : float64, (n_classes, 3)
        Of level and slope: level-level, level-slope, slope-slope.
    reach : float
        The grid goes from ``-reach`` to ``reach`` in equal bins; the outer ones take what lies
        beyond, and nothing is ever written elsewhere: nan goes to the first.
    counts, positives : int64, (n_grid,)
        Added to.
    """
    n_grid = len(counts)
    per_logit = n_grid / (2.0 * reach)
    for c in range(first, last):
        for b in range(x.shape[1]):
            if n[c, b] > 0:
                d = x[c, b] - centre[c]
                eta = level[c] + slope[c] * d
                tail = np.exp(-abs(eta))
                small = tail / (1.0 + tail)
                p = small if eta < 0.0 else 1.0 - small
                variance = covariance[c, 0] + d * (2.0 * covariance[c, 1] + d * covariance[c, 2])
                moved = variance / (1.0 - min(variance * small * (1.0 - small), _HIGHEST_LEVERAGE))
                if y[c, b] > 0:
                    place = (eta - moved * (1.0 - p) + reach) * per_logit
                    g = int(min(place, n_grid - 1.0)) if place > 0.0 else 0
                    counts[g] += y[c, b]
                    positives[g] += y[c, b]
                if n[c, b] > y[c, b]:
                    place = (eta + moved * p + reach) * per_logit
                    g = int(min(place, n_grid - 1.0)) if place > 0.0 else 0
                    counts[g] += n[c, b] - y[c, b]
