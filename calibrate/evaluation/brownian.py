"""How far sums of ``y - p`` stray from 0 when every p is right: as far as Brownian motion does."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from calibrate.evaluation.counts import Floats

_TERMS = 20


def brownian_exceeds(x: Floats) -> Floats:
    """P(max |B(t)| > x for t in [0, 1]), B standard Brownian motion; nan stays nan.

    Two series of the same number: below 1 ``1 - (4 / pi) sum (-1)^k / (2 k + 1) exp(-(2 k + 1)^2
    pi^2 / (8 x^2))``, above 1 ``4 sum (-1)^k P(Z > (2 k + 1) x)``, which keeps its digits far out.

    References
    ----------
    Feller (1971), An introduction to probability theory and its applications, volume 2, section
    X.5 (both series).
    """
    x = np.asarray(x, dtype=np.float64)
    k = np.arange(_TERMS)
    odd, sign = 2.0 * k + 1.0, (-1.0) ** k
    with np.errstate(divide="ignore", over="ignore"):
        rate = np.pi**2 / (8.0 * x[..., None] ** 2)
        near = 1.0 - 4.0 / np.pi * (sign / odd * np.exp(-(odd**2) * rate)).sum(axis=-1)
    far = 4.0 * (sign * ndtr(-odd * x[..., None])).sum(axis=-1)
    return np.asarray(np.where(x > 1.0, far, near))
