"""As many labels for each row as are most likely to be true."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import Float32
from calibrate.ops.decisions import HighestOp, check_count_bounds
from calibrate.ops.rows import expected_counts, sigmoid

SMALL = 1 / 16
"""Probabilities up to here come together as their sums of powers,"""

N_POWERS = 16
"""whose series, in steps of at most ``2 * SMALL``, ends here with 15 digits."""

LOG_ROUNDING = 32.0
"""Minus the logarithm of a probability that rounding hides."""

CLEARLY = 1e-12


@dataclass(frozen=True, eq=False)
class ModeTopK(HighestOp):
    """Predict the ``k`` highest logits of each row, ``k`` being the likeliest number of labels.

    That is the mode of the sum of independent labels, each with the probability of its logit (the
    Poisson-binomial law); of two modes the lower.

    Parameters
    ----------
    min_k, max_k : int, int or None
        Bounds on the labels of a row.
    """

    wire_name: ClassVar[str] = "mode_top_k"
    min_k: int
    max_k: int | None

    def __post_init__(self) -> None:
        check_count_bounds(self.min_k, self.max_k)
        object.__setattr__(self, "min_k", int(self.min_k))
        object.__setattr__(self, "max_k", None if self.max_k is None else int(self.max_k))

    def counts(self, scores: Float32) -> NDArray[np.int64]:
        """How many labels each row gets, shape (n_rows,)."""
        most = scores.shape[1] if self.max_k is None else min(self.max_k, scores.shape[1])
        least = min(self.min_k, most)
        return np.asarray(np.clip(likeliest_counts(scores), least, most), dtype=np.int64)


def likeliest_counts(logits: Float32) -> NDArray[np.int64]:
    """The mode of the number of labels of each row, (n_rows,); of two the lower.

    It is one of the whole numbers next to the mean, and the mean alone says which where it lies
    near enough to one of them (Darroch, 1964). Elsewhere the two are compared.
    """
    n_classes = logits.shape[1]
    mean = expected_counts(logits)
    below = np.floor(mean)
    surely_below = mean < below + 1 / (below + 2)
    surely_above = mean > below + 1 - 1 / (n_classes - below + 1)
    mode: NDArray[np.int64] = (below + (surely_above & ~surely_below)).astype(np.int64)
    for row in np.flatnonzero(~(surely_below | surely_above)):
        mode[row] += next_is_likelier(sigmoid(logits[row]).astype(np.float64), int(below[row]))
    return mode


def next_is_likelier(probabilities: NDArray[np.float64], k: int) -> bool:
    """Whether ``k + 1`` successes are likelier than ``k``, the trials being independent.

    By the discrete Fourier transform of the law, at as many points as the law is wide (Bernstein's
    bound on what lies outside); at all of them the small probabilities come in by the sums of
    their powers.

    Parameters
    ----------
    probabilities : float64, (n_trials,)
    k : int
        A whole number next to their sum.
    """
    variance = float((probabilities * (1 - probabilities)).sum())
    third = LOG_ROUNDING / 3
    reach = third + math.sqrt(third**2 + 2 * LOG_ROUNDING * variance)
    n_points = min(len(probabilities) + 1, math.ceil(reach) + 3)
    angle = 2 * np.pi / n_points * np.arange(1, n_points // 2 + 1)
    turn = np.exp(1j * angle)
    step = turn - 1
    large = probabilities > SMALL
    transform = np.prod(1 + step[:, None] * probabilities[large], axis=1)
    small = probabilities[~large]
    power, sums = np.ones_like(small), []
    for degree in range(1, N_POWERS + 1):
        power *= small
        sums.append(power.sum() / degree)
    transform *= np.exp(-np.polynomial.polynomial.polyval(-step, [0.0, *sums]))
    twice = np.where(2 * angle < 2 * np.pi * (1 - 1e-9), 2.0, 1.0)
    terms = twice * transform * turn**-k * (1 / turn - 1)
    return bool(terms.real.sum() > CLEARLY * np.abs(terms).sum())
