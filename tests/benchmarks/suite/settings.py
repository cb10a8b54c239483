"""Simulated logits of which the true probabilities are known, in six settings.

For row r and class c::

    L[r, c] = a[c] + s[c] * (richness * f[r, 0] + sqrt(1 - richness^2) * direction[c] . f[r, 1:])
    q[r, c] = sigmoid(L[r, c]),  p[r, c] = ceiling[c] * q[r, c]
    y[r, c] = 1 with probability p[r, c]
    z[r, c] = bent[c](T[c] * (L[r, c] + kappa * log w[c]) + delta[c] + noise[r, c])

``f`` are standard normal and shared by all classes; the first of them is the richness of the row,
which every class follows alike. Directions have length one, so that L is normal within a class,
and ``a`` is solved for, so that the mean of p is the prevalence. Prevalences are log-uniform, at
evenly spaced quantiles, in random order. The network has learned q: where there is a ceiling, the
rows at hand lack a part of the labels that its training had, and ``w = (1 - mean q) / mean q`` are
the weights of that training. T is log-normal with median 1.3 and log-sd 0.2, noise is normal with
sd 0.4. Labels depend on each other beyond what p says: a normal number of the row, which no logit
shows, moves all of its labels (a Gaussian copula, which leaves every p as it is).

What had no given value was chosen so that the figures of the six settings come out near those in
`suite.reference`: the law of s (log-normal; median 1.5 and log-sd 0.35, median 1.17 in E, 2.5 in
F), the 16 factors beside the richness, the correlations 0.2 with the richness and 0.02 through the
unseen number, the sd 0.3 of delta, the bends of Cn (e uniform up to 0.3 either way, `sinh` or its
inverse), and the ceilings of F (uniform from 0.2 to 0.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

N_FACTORS = 16
SLOPE = (1.3, 0.2)
NOISE = 0.4


@dataclass(frozen=True)
class Setting:
    """One way to make logits.

    Attributes
    ----------
    name, title : str
    kappa : float
        The share of the weights' shift that the network still has.
    prevalence : (float, float)
        Of the rarest and the most frequent class.
    signal : (float, float)
        Median and log-sd of ``s``.
    richness : float
        Correlation of every class's signal with the richness of the row.
    unseen : float
        Correlation of what moves the labels of a row and no logit shows.
    shift : float
        Sd of ``delta``.
    bend : float
        Logits become ``sinh(e z) / e``, or ``asinh(e z) / e``, with e up to this.
    ceiling : (float, float), optional
        Range of the highest probability that a label can have.
    fit_rows : int
    """

    name: str
    title: str
    kappa: float = 1.0
    prevalence: tuple[float, float] = (0.0005, 0.15)
    signal: tuple[float, float] = (1.5, 0.35)
    richness: float = 0.2
    unseen: float = 0.02
    shift: float = 0.3
    bend: float = 0.0
    ceiling: tuple[float, float] | None = None
    fit_rows: int = 10_000


@dataclass(frozen=True, eq=False)
class Simulated:
    """Rows to fit and rows to test.

    Attributes
    ----------
    logits, labels, probability : (fitting rows, test rows), each (n_rows, n_classes)
        float32, bool, and the true probability as float64.
    pos_weight : float64, (n_classes,)
    """

    logits: tuple[NDArray[np.float32], NDArray[np.float32]]
    labels: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    probability: tuple[NDArray[np.float64], NDArray[np.float64]]
    pos_weight: NDArray[np.float64]


def simulate(setting: Setting, seed: int, test_rows: int, n_classes: int) -> Simulated:
    """Logits and labels; settings that differ in the logits alone have the same labels."""
    random = np.random.default_rng(seed)
    n_rows = setting.fit_rows + test_rows
    low, high = np.log(setting.prevalence)
    quantile = (np.arange(n_classes) + 0.5) / n_classes
    prevalence = random.permutation(np.exp(low + (high - low) * quantile))
    spread = setting.signal[0] * np.exp(setting.signal[1] * random.standard_normal(n_classes))
    direction = random.standard_normal((N_FACTORS, n_classes))
    direction *= np.sqrt((1 - setting.richness**2) / (direction**2).sum(axis=0))
    slope = SLOPE[0] * np.exp(SLOPE[1] * random.standard_normal(n_classes))
    shift = setting.shift * random.standard_normal(n_classes)
    bend = setting.bend * random.uniform(-1, 1, n_classes)
    ceiling = random.uniform(*(setting.ceiling or (1.0, 1.0)), n_classes)

    factors = random.standard_normal((n_rows, N_FACTORS + 1))
    weights = np.vstack([np.full(n_classes, setting.richness), direction])
    log_odds = factors @ (spread * weights) + _intercepts(prevalence / ceiling, spread)
    probability = ceiling * expit(log_odds)
    unseen = np.sqrt(setting.unseen) * random.standard_normal((n_rows, 1))
    unseen = unseen + np.sqrt(1 - setting.unseen) * random.standard_normal(log_odds.shape)
    labels = ndtr(unseen) < probability
    weight = (ceiling - prevalence) / prevalence
    z = slope * (log_odds + setting.kappa * np.log(weight)) + shift
    z += NOISE * random.standard_normal(z.shape)
    z = _bent(z, bend).astype(np.float32)
    cut = setting.fit_rows
    return Simulated(
        (z[:cut], z[cut:]),
        (labels[:cut], labels[cut:]),
        (probability[:cut], probability[cut:]),
        weight,
    )


def _intercepts(
    prevalence: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve E[sigmoid(a + spread * normal)] = prevalence for a, by halving; (n_classes,)."""
    node, weight = np.polynomial.hermite_e.hermegauss(64)
    weight = weight / weight.sum()
    middle = np.zeros(len(prevalence))
    for step in 32.0 / 2.0 ** np.arange(40):
        mean = expit(middle[:, None] + spread[:, None] * node) @ weight
        middle += np.where(mean < prevalence, step, -step)
    return middle


def _bent(z: NDArray[np.float64], bend: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sinh(e z) / e`` where e is positive, its inverse where it is negative: 0 stays 0."""
    if not bend.any():
        return z
    size = np.abs(bend)
    return np.where(bend > 0, np.sinh(size * z), np.arcsinh(size * z)) / size


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("A", "the network has learned what the weighted loss asks for"),
        Setting("B", "the weights have faded", kappa=0.4),
        Setting("Cn", "every class is bent in its own way", bend=0.3),
        Setting("D", "few rows to fit", fit_rows=2_000),
        Setting(
            "E", "no rare classes, weak signal", kappa=0.75, prevalence=(0.011, 0.15),
            signal=(1.17, 0.35),
        ),
        Setting(
            "F", "no label is ever sure", signal=(2.5, 0.35), ceiling=(0.2, 0.4)
        ),
    )
}  # fmt: skip
