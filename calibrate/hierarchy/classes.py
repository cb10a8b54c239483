"""A line of its own for each class, drawn towards the others as far as its data leave it open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.hierarchy.pooled import merged
from calibrate.kernels.shrinkage import LEAST_DETERMINANT, fit_shrunk
from calibrate.logistic import SLOPE_RANGE
from calibrate.statistics import ScoreHistogram

_START = np.diag([0.25, 0.05])
_LEAST_VARIANCE = 1e-4
_HIGHEST_CORRELATION = 1 - 1e-6
_MOST_ROUNDS = 12
_SETTLED = 0.01


@dataclass(frozen=True, eq=False)
class ShrunkLines:
    """``level + slope (x - centre)`` of each class, ``x`` being the pooled logit.

    Attributes
    ----------
    level, slope, centre : float64, (n_classes,)
        The centre is the mean of ``x`` where the class tells most: weighted by ``p (1 - p)``.
    covariance : float64, (n_classes, 3)
        Of level and slope given the data: level-level, level-slope, slope-slope.
    prior_mean : float64, (2,)
        Of ``(level - centre, slope - 1)``: how the classes differ from the pooled map on average.
    prior_covariance : float64, (2, 2)
        How much they differ from each other.
    """

    level: NDArray[np.float64]
    slope: NDArray[np.float64]
    centre: NDArray[np.float64]
    covariance: NDArray[np.float64]
    prior_mean: NDArray[np.float64]
    prior_covariance: NDArray[np.float64]

    @property
    def intercept(self) -> NDArray[np.float64]:
        """Of the line in ``x``, float64, (n_classes,)."""
        return np.asarray(self.level - self.slope * self.centre)

    @property
    def shrinkage(self) -> NDArray[np.float64]:
        """How far the level of each class is drawn to the prior: 0 not at all, 1 all the way."""
        return np.asarray(np.clip(self.covariance[:, 0] / self.prior_covariance[0, 0], 0.0, 1.0))


def shrunk_lines(
    histogram: ScoreHistogram, prior: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
) -> ShrunkLines:
    """The most probable line of each class under a normal prior that all classes share.

    Parameters
    ----------
    histogram : ScoreHistogram
        Of pooled logits: the lines that the classes are drawn to have slope 1 and intercept 0.
    prior : (mean, covariance), float64, (2,) and (2, 2), optional
        By default it is learned from the classes, by expectation and maximisation.

    Notes
    -----
    All classes take part in learning the prior; one without positives has its place in it. A class
    without positives, or without negatives, is put at the mean of the prior. Slopes are kept at or
    above 0.05.

    References
    ----------
    Morris (1983), Parametric empirical Bayes inference; Laird (1978), Empirical Bayes methods for
    two-way contingency tables, on normal priors for log-odds.
    """
    coarse = merged(histogram.scores, histogram.counts, histogram.positives)
    centre = _centres(*coarse[:2])
    level, slope = centre.copy(), np.ones(len(centre))
    mean, covariance = (np.zeros(2), _START) if prior is None else prior
    for _ in range(0 if prior is not None else _MOST_ROUNDS):
        hessian = _fit(*coarse, centre, mean, covariance, level, slope)
        spread = _inverse(hessian)
        away = np.stack([level - centre, slope - 1.0], axis=1)
        new_mean = away.mean(axis=0)
        off = away - new_mean
        new = off.T @ off / len(off) + _matrix(spread.mean(axis=0))
        new[[0, 1], [0, 1]] = np.maximum(new[[0, 1], [0, 1]], _LEAST_VARIANCE)
        # one class of logits near the end of float32 must not make the others follow exactly
        most = _HIGHEST_CORRELATION * np.sqrt(new[0, 0] * new[1, 1])
        new[[0, 1], [1, 0]] = np.clip(new[0, 1], -most, most)
        settled = bool((np.abs(np.diag(new) - np.diag(covariance)) < _SETTLED * np.diag(new)).all())
        mean, covariance = new_mean, new
        if settled:
            break
    full = (
        histogram.scores,
        histogram.counts.astype(np.float64),
        histogram.positives.astype(np.float64),
    )
    spread = _inverse(_fit(*full, centre, mean, covariance, level, slope))
    n_positives, n_cells = histogram.positives.sum(axis=1), histogram.counts.sum(axis=1)
    one_sided = (n_positives == 0) | (n_positives == n_cells)
    level[one_sided], slope[one_sided] = centre[one_sided] + mean[0], 1.0 + mean[1]
    spread[one_sided] = covariance[[0, 0, 1], [0, 1, 1]]
    return ShrunkLines(level, slope, centre, spread, mean, covariance)


def _centres(x: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean score of each class, weighted by what the pooled map says a score there tells."""
    tail = np.exp(-np.abs(x))
    weight = n * tail / (1.0 + tail) ** 2
    total = weight.sum(axis=1)
    # far from 0 the weights vanish: the plain mean then
    plain = (n * x).sum(axis=1) / np.maximum(n.sum(axis=1), 1.0)
    centre = (weight * x).sum(axis=1) / np.maximum(total, 1e-200)
    return np.asarray(np.where(total > 1e-200, centre, plain))


def _fit(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    t: NDArray[np.float64],
    centre: NDArray[np.float64],
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    level: NDArray[np.float64],
    slope: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Fit `level` and `slope` in place; the second derivatives at the fit, (n_classes, 3)."""
    inverse = np.linalg.inv(covariance)
    precision = np.array([inverse[0, 0], inverse[0, 1], inverse[1, 1]])
    hessian = np.empty((len(x), 3))

    def fit(first: int, last: int) -> None:
        fit_shrunk(
            x, n, t, centre, mean, precision, SLOPE_RANGE[0], first, last, level, slope, hessian
        )

    threads.over_ranges(fit, len(x))
    return hessian


def _inverse(symmetric: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverses of matrices given by their three parts, (n, 3)."""
    a, b, c = symmetric.T
    # of scores near the end of float32 all digits of the determinant may cancel
    determinant = np.maximum(a * c - b * b, LEAST_DETERMINANT * a * c)
    return np.asarray(np.stack([c, -b, a], axis=1) / determinant[:, None])


def _matrix(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([[parts[0], parts[1]], [parts[1], parts[2]]])
