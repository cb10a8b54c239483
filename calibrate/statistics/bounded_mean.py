"""How sure it is that the mean of a bounded loss lies below a level: p-values for finite rows."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]


def binomial_p_values(sums: Sequence[Fraction], n: int, level: float) -> Floats:
    """``P(Bin(n, level) <= sum)``: exact where each loss is 0 or 1.

    Parameters
    ----------
    sums : sequence of Fraction
        Sums of `n` losses.
    n : int
    level : float
        Between 0 and 1: what the mean is tested against.

    Returns
    -------
    float64, (n_sums,)
    """
    whole = np.array([ceil(total) for total in sums], dtype=np.float64)
    return np.asarray(special.bdtr(whole, n, level), dtype=np.float64)


def hoeffding_p_values(sums: Sequence[Fraction], n: int, level: float) -> Floats:
    """``exp(-n h(min(mean, level), level))``, h the relative entropy of two coins.

    Parameters and returns are those of `binomial_p_values`; losses lie between 0 and 1.

    References
    ----------
    Hoeffding (1963), Probability inequalities for sums of bounded random variables, theorem 1.
    """
    mean = np.array([min(float(total / n), level) for total in sums])
    entropy = special.rel_entr(mean, level) + special.rel_entr(1 - mean, 1 - level)
    return np.asarray(np.exp(-n * entropy), dtype=np.float64)


def hoeffding_bentkus_p_values(sums: Sequence[Fraction], n: int, level: float) -> Floats:
    """The smaller of Hoeffding's p-value and Bentkus's, which is e times the binomial one.

    Parameters and returns are those of `binomial_p_values`; losses lie between 0 and 1.

    References
    ----------
    Bates, Angelopoulos, Lei, Malik and Jordan (2021), Distribution-free, risk-controlling
    prediction sets, section 3.1; Bentkus (2004), On Hoeffding's inequalities, theorem 1.2.
    """
    bentkus = np.e * binomial_p_values(sums, n, level)
    return np.asarray(np.minimum(hoeffding_p_values(sums, n, level), np.minimum(bentkus, 1.0)))
