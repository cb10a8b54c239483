"""One map for all cells: ``a z + b - kappa log w``, with the training's weights if known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.base import numbers_per_class
from calibrate.kernels.logistic import sums_on_lines
from calibrate.logistic import SLOPE_RANGE
from calibrate.ops import Affine
from calibrate.statistics import ScoreHistogram

MERGED = 8
"""Bins taken as one while a fit is still far from its end: it costs an eighth."""

_MOST_STEPS = 100
_RIDGE = 1e-9
_ROUNDING = 1e-12
_SAME_WEIGHT = 1e-9
_FARTHEST_START = 4.0


@dataclass(frozen=True, eq=False)
class PooledMap:
    """``slope z + intercept - kappa log_weight``, the same for all classes.

    Attributes
    ----------
    slope, intercept : float
    kappa : float or None
        None where no weights are given, or all are equal: the intercept takes them up.
    log_weight : float64, (n_classes,)
        0 without weights.
    """

    slope: float
    intercept: float
    kappa: float | None
    log_weight: NDArray[np.float64]

    @property
    def surviving(self) -> float | None:
        """The share of the weights' shift that the network still has, ``1 - (1 - kappa) / slope``.

        `kappa` alone is not that share: a network that is too sure stretches its logits around
        the mean of each class, and with them the shift.
        """
        return None if self.kappa is None else 1.0 - (1.0 - self.kappa) / self.slope

    @property
    def shift(self) -> NDArray[np.float64]:
        """What is added to ``slope z``, float64, (n_classes,)."""
        return np.asarray(self.intercept - (self.kappa or 0.0) * self.log_weight)

    @property
    def op(self) -> Affine:
        """The map as a step."""
        return Affine(np.array(self.slope, np.float32), self.shift.astype(np.float32))


def log_weights(pos_weight: Any, n_classes: int) -> NDArray[np.float64] | None:
    """``log(pos_weight)`` of each class, float64, (n_classes,); None for None.

    Raises
    ------
    TypeError, ValueError
        If a weight is no number, not positive or not finite, or there are not as many as classes.
    """
    if pos_weight is None:
        return None
    weight = numbers_per_class(pos_weight, "pos_weight", n_classes)
    return np.broadcast_to(np.log(weight), (n_classes,))


def merged(
    x: NDArray[np.float64], n: NDArray[Any], y: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Every few bins taken as one: mean scores, cells and positives, (n_classes, fewer)."""
    n_classes, n_bins = x.shape
    n_merged = n_bins // MERGED
    if n_bins % MERGED or n_merged < 2 * MERGED:
        return x, n.astype(np.float64), y.astype(np.float64)
    few = (np.empty((n_classes, n_merged)) for _ in range(3))
    means, cells, positives = few

    def fill(first: int, last: int) -> None:
        part, shape = slice(first, last), (last - first, n_merged, MERGED)
        own = n[part].reshape(shape)
        cells[part] = own.sum(axis=2)
        positives[part] = y[part].reshape(shape).sum(axis=2)
        np.einsum("ijk,ijk->ij", own, x[part].reshape(shape), out=means[part])
        means[part] /= np.maximum(cells[part], 1.0)

    threads.over_ranges(fill, n_classes)
    return means, cells, positives


def pooled_map(
    histogram: ScoreHistogram, log_weight: NDArray[np.float64] | None = None
) -> PooledMap:
    """The most probable map, by Newton steps on the likelihood of all cells.

    Parameters
    ----------
    histogram : ScoreHistogram
    log_weight : float64, (n_classes,), optional
        Logarithms of the training's ``pos_weight``.

    Notes
    -----
    The slope is kept between 0.05 and 50. A ridge of 1e-9 keeps the rest finite where the scores
    tell all positives from all negatives.
    """
    n_classes = histogram.n_classes
    weight = np.zeros(n_classes) if log_weight is None else log_weight
    middle = float(weight.mean())
    differing = bool(np.ptp(weight) > _SAME_WEIGHT)
    # columns of the classes' intercepts: the intercept, and the weights about their mean
    design = np.stack([np.ones(n_classes), middle - weight][: 1 + differing], axis=1)
    few = merged(histogram.scores, histogram.counts, histogram.positives)
    start = np.array([*_start(*few), 0.0][: 2 + differing])
    full = (
        histogram.scores,
        histogram.counts.astype(np.float64),
        histogram.positives.astype(np.float64),
    )
    for cells in (few, full):
        start = _newton(*cells, design, start, free_slope=True)
    if not SLOPE_RANGE[0] <= start[0] <= SLOPE_RANGE[1]:
        start[0] = np.clip(start[0], *SLOPE_RANGE)
        start = _newton(*full, design, start, free_slope=False)
    kappa = float(start[2]) if differing else None
    return PooledMap(
        float(start[0]), float(start[1]) + middle * (kappa or 0.0), kappa, np.asarray(weight)
    )


def _start(
    x: NDArray[np.float64], n: NDArray[np.float64], t: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and intercept that leave no cell so sure that nothing tells which way to go."""
    total = float(n.sum())
    if total == 0.0:
        return 1.0, 0.0
    mean = float((n * x).sum() / total)
    spread = float(np.sqrt((n * (x - mean) ** 2).sum() / total))
    slope = _FARTHEST_START / max(spread, _FARTHEST_START)
    rate = min(max(float(t.sum() / total), 1e-12), 1.0 - 1e-12)
    return slope, float(np.log(rate / (1.0 - rate))) - slope * mean


def _newton(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    design: NDArray[np.float64],
    start: NDArray[np.float64],
    *,
    free_slope: bool,
) -> NDArray[np.float64]:
    """Slope, and coefficients of the columns of `design`, that make the loss least."""
    free = slice(0 if free_slope else 1, len(start))

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        slope, intercept = np.full(len(x), at[0]), design @ at[1:]
        sums = np.empty((len(x), 6))
        threads.over_ranges(
            lambda a, b: sums_on_lines(x, n, t, slope, intercept, a, b, sums), len(x)
        )
        gradient = np.concatenate([[sums[:, 1].sum()], design.T @ sums[:, 2]])
        cross = design.T @ sums[:, 4]
        hessian = np.empty((len(at), len(at)))
        hessian[0, 0], hessian[0, 1:], hessian[1:, 0] = sums[:, 3].sum(), cross, cross
        hessian[1:, 1:] = design.T @ (sums[:, 5, None] * design)
        off = at - start
        value = float(sums[:, 0].sum() + 0.5 * _RIDGE * off @ off)
        return value, gradient + _RIDGE * off, hessian + _RIDGE * np.eye(len(at))

    at = start.copy()
    value, gradient, hessian = loss(at)
    for _ in range(_MOST_STEPS):
        move = np.zeros(len(at))
        move[free] = np.linalg.solve(hessian[free, free], gradient[free])
        decrement = float(gradient @ move)
        if decrement < 1e-9:
            break
        step = 1.0
        while step > 1e-8:
            new = loss(at - step * move)
            if new[0] <= value - 1e-4 * step * decrement + _ROUNDING * abs(value):
                break
            step *= 0.5
        else:
            break
        at = at - step * move
        value, gradient, hessian = new
    return at
