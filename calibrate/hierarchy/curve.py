"""One bend of the scale for all classes: a smooth monotone curve in logits, or none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit

from calibrate import threads
from calibrate.hierarchy.classes import ShrunkLines
from calibrate.kernels.shrinkage import count_left_out
from calibrate.ops import PiecewiseLinear
from calibrate.statistics import ScoreHistogram

REACH = 40.0
"""The curve is fitted on logits between ``-REACH`` and ``REACH``."""

_N_GRID = 8192
_KNOTS_BY_INFORMATION, _KNOTS_EVEN = 16, 16
_LEAST_APART = 1e-2
_EXPECTED_BEYOND = 0.5
_TAIL_SLOPE = 0.25
_LEAST_SLOPE = 0.02
_FEWEST = 10
_VARIANCES = 10.0 ** np.arange(-6.0, 2.0, 0.5)
_RIDGE = 1e-6
_MOST_STEPS = 50


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve through knots, straight between them.

    Attributes
    ----------
    knots, values : float64, (n_knots,)
        Logits before and after.
    roughness : float
        Variance of the bends that the evidence asks for; the least one tried means none.
    """

    knots: NDArray[np.float64]
    values: NDArray[np.float64]
    roughness: float

    @property
    def op(self) -> PiecewiseLinear:
        """The curve as a step."""
        slope = np.array([_TAIL_SLOPE], np.float32)
        knots, values = self.knots.astype(np.float32), self.values.astype(np.float32)
        return PiecewiseLinear(np.array([0, len(knots)]), knots, values, slope, slope)


def pooled_curve(histogram: ScoreHistogram, lines: ShrunkLines) -> Curve | None:
    """The most probable curve given the logit that each cell would get had its class not seen it.

    Parameters
    ----------
    histogram : ScoreHistogram
        Of the scores that `lines` were fitted to.
    lines : ShrunkLines

    Returns
    -------
    Curve or None
        None where there are fewer than 10 positives or negatives.

    Notes
    -----
    Labels fitted once already would call for too steep a curve where classes are rare, so that
    each cell counts where the fit without it would have put it (`count_left_out`). The offset from
    the straight line is piecewise linear; bends of it are normal with one variance, chosen by the
    evidence (Laplace). Beyond the scores where less than half a positive, or half a negative, is
    expected in all rows, nothing tells how the odds go on: the curve goes on at a quarter of the
    slope.

    References
    ----------
    Eilers and Marx (1996), Flexible smoothing with B-splines and penalties; MacKay (1992), Bayesian
    interpolation, on choosing the variance; Rad and Maleki (2020), A scalable estimate of the
    out-of-sample prediction error via approximate leave-one-out cross-validation.
    """
    cells, positives = _left_out(histogram, lines)
    n_positives = int(positives.sum())
    if min(n_positives, int(cells.sum()) - n_positives) < _FEWEST:
        return None
    here = cells > 0
    centres = np.linspace(-REACH, REACH, _N_GRID, endpoint=False) + REACH / _N_GRID
    parts = (np.asarray(part[here], dtype=np.float64) for part in (centres, cells, positives))
    return _fit(*parts)


def _left_out(
    histogram: ScoreHistogram, lines: ShrunkLines
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells and positives on the grid of the curve."""
    x, n, y = histogram.scores, histogram.counts, histogram.positives
    width = -(-len(x) // (2 * threads.n_threads()))

    def count(first: int) -> NDArray[np.int64]:
        both = np.zeros((2, _N_GRID), dtype=np.int64)
        count_left_out(
            x, n, y, lines.centre, lines.level, lines.slope, lines.covariance,
            first, min(first + width, len(x)), REACH, both[0], both[1],
        )  # fmt: skip
        return both

    parts = threads.each(count, range(0, len(x), width))
    both = np.sum(parts, axis=0)
    return both[0], both[1]


def _fit(x: NDArray[np.float64], n: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    low, high = _ends(x, n)
    held = np.where(x < low, low + _TAIL_SLOPE * (x - low), x)
    held = np.where(x > high, high + _TAIL_SLOPE * (x - high), held)
    knots = _knots(held, n, low, high)
    if len(knots) < 3:
        return Curve(knots, knots.copy(), 0.0)
    spline = _Spline(held, n, y, knots)
    offset, best, evidence = np.zeros(len(knots)), (0.0, np.zeros(len(knots))), -np.inf
    for variance in _VARIANCES:
        offset, found = spline.fit(variance, offset)
        if found > evidence:
            evidence, best = found, (float(variance), offset)
    variance, offset = best
    # no flat part: the order within a class is kept
    free = (1 - _LEAST_SLOPE) * knots + offset
    rising = isotonic_regression(free, weights=spline.information(offset)).x
    return Curve(knots, rising + _LEAST_SLOPE * knots, variance)


def _ends(x: NDArray[np.float64], n: NDArray[np.float64]) -> tuple[float, float]:
    """The scores beyond which half a positive, or half a negative, is expected."""
    rising, falling = np.cumsum(n * expit(x)), np.cumsum((n * expit(-x))[::-1])
    low = x[min(int(np.searchsorted(rising, _EXPECTED_BEYOND)), len(x) - 1)]
    high = x[::-1][min(int(np.searchsorted(falling, _EXPECTED_BEYOND)), len(x) - 1)]
    return (float(low), float(high)) if low < high else (float(x[0]), float(x[-1]))


def _knots(
    x: NDArray[np.float64], n: NDArray[np.float64], low: float, high: float
) -> NDArray[np.float64]:
    """Half of them where the cells tell most, half evenly spaced, and the two ends."""
    weight = n * expit(x) * expit(-x)
    share = np.cumsum(weight) / weight.sum()
    wanted = (np.arange(_KNOTS_BY_INFORMATION) + 0.5) / _KNOTS_BY_INFORMATION
    inner = np.concatenate([np.interp(wanted, share, x), np.linspace(low, high, _KNOTS_EVEN)])
    chosen = [low]
    for knot in np.sort(inner):
        if chosen[-1] + _LEAST_APART < knot < high - _LEAST_APART:
            chosen.append(float(knot))
    return np.array([*chosen, high] if high > low else [low])


class _Spline:
    """Offsets at knots, straight between them, fitted to binned cells under a prior on bends."""

    def __init__(
        self,
        x: NDArray[np.float64],
        n: NDArray[np.float64],
        y: NDArray[np.float64],
        knots: NDArray[np.float64],
    ) -> None:
        self._x, self._n, self._y = x, n, y
        inside = np.clip(x, knots[0], knots[-1])
        self._left = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
        gaps = np.diff(knots)
        self._share = (inside - knots[self._left]) / gaps[self._left]
        bends = np.zeros((len(knots) - 2, len(knots)))
        place = np.arange(len(bends))
        bends[place, place] = 1 / gaps[:-1]
        bends[place, place + 2] = 1 / gaps[1:]
        bends[place, place + 1] = -1 / gaps[:-1] - 1 / gaps[1:]
        self._penalty = bends.T @ (bends * (2 / (gaps[:-1] + gaps[1:]))[:, None])
        self._penalty += _RIDGE * np.eye(len(knots))

    def _at(self, offset: NDArray[np.float64]) -> NDArray[np.float64]:
        rise = offset[self._left + 1] - offset[self._left]
        return np.asarray(self._x + offset[self._left] + self._share * rise)

    def _to_knots(self, values: NDArray[np.float64], power: int = 1) -> NDArray[np.float64]:
        """Sums over the cells, each shared between the two knots beside it."""
        size = len(self._penalty)
        to_left, to_right = values * (1 - self._share) ** power, values * self._share**power
        left = np.bincount(self._left, to_left, size)
        return np.asarray(left + np.bincount(self._left + 1, to_right, size))

    def information(self, offset: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the cells tell about each knot, positive."""
        eta = self._at(offset)
        return self._to_knots(self._n * expit(eta) * expit(-eta)) + _RIDGE

    def fit(
        self, variance: float, offset: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """The most probable offsets, from `offset` on, and the logarithm of the evidence."""
        precision = self._penalty / variance

        def loss(at: NDArray[np.float64]) -> float:
            eta = self._at(at)
            fit = (self._n * np.logaddexp(0, eta) - self._y * eta).sum()
            return float(fit + 0.5 * at @ precision @ at)

        value = loss(offset)
        for _ in range(_MOST_STEPS):
            eta = self._at(offset)
            p = expit(eta)
            gradient = self._to_knots(self._n * p - self._y) + precision @ offset
            weight = self._n * p * expit(-eta)
            between = np.bincount(
                self._left, weight * self._share * (1 - self._share), len(offset) - 1
            )
            hessian = precision + np.diag(self._to_knots(weight, power=2))
            hessian += np.diag(between, 1) + np.diag(between, -1)
            move = np.linalg.solve(hessian, gradient)
            if gradient @ move < 1e-8:
                break
            step = 1.0
            while step > 1e-8 and loss(offset - step * move) > value + 1e-12 * abs(value):
                step *= 0.5
            offset = offset - step * move
            value = loss(offset)
        determinants = np.linalg.slogdet(precision)[1] - np.linalg.slogdet(hessian)[1]
        return offset, float(0.5 * determinants - value)
