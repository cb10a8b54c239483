"""Sums of probabilities over rows, in whole numbers, so that no order of the rows shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel

_ROWS = 128
"""Rows whose whole numbers, each at most `WHOLE`, an int32 holds the sum of."""

WHOLE = 1 << 23
"""The whole number that stands for a probability of 1."""


@kernel
def _add(probabilities: NDArray[np.float32], sums: NDArray[np.int32]) -> None:
    for c in range(len(probabilities)):
        sums[c] += np.int32(probabilities[c] * np.float32(1 << 23) + np.float32(0.5))


@kernel
def _move(some: NDArray[np.int32], sums: NDArray[np.int64]) -> None:
    for c in range(len(some)):
        sums[c] += np.int64(some[c])
        some[c] = np.int32(0)


@kernel
def add_probabilities(probabilities: NDArray[np.float32], sums: NDArray[np.int64]) -> None:
    """Add the probabilities of each class, each rounded to a multiple of ``1 / WHOLE``, to `sums`.

    Parameters
    ----------
    probabilities : float32, (n_rows, n_classes)
    sums : int64, (n_classes,)
        In units of ``1 / WHOLE``; added to.
    """
    some = np.zeros(len(sums), np.int32)
    for start in range(0, len(probabilities), _ROWS):
        for i in range(start, min(start + _ROWS, len(probabilities))):
            _add(probabilities[i], some)
        _move(some, sums)
