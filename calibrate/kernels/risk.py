"""Counts of each row at many thresholds at once: its scores are counted between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel


@kernel
def _places(
    scores: NDArray[np.float32],
    per_unit: np.float32,
    lowest: np.float32,
    highest: np.float32,
    place: NDArray[np.int32],
) -> None:
    """How many points of the lattice each score reaches."""
    for c in range(len(scores)):
        # a power of two: the product is exact
        bounded = min(max(scores[c] * per_unit, lowest - np.float32(1)), highest)
        place[c] = np.int32(np.floor(bounded) - lowest) + np.int32(1)


@kernel
def _count_scored(scores: NDArray[np.float32]) -> int:
    found = np.int32(0)
    for c in range(len(scores)):
        found += np.int32(scores[c] > np.float32(-np.inf))
    return int(found)


@kernel
def counts_at_lattice(
    scores: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    per_unit: np.float32,
    lowest: np.float32,
    highest: np.float32,
    tp: NDArray[np.float64],
    predicted: NDArray[np.float64],
) -> None:
    """Predicted, and predicted and true, classes of each row at each threshold.

    Parameters
    ----------
    scores : float32, (n_rows, n_classes)
        ``-inf`` passes no threshold.
    indptr, indices : int64, int32
        Labels of the rows, as CSR.
    per_unit : float32
        Points of the lattice in a unit of the scores, a power of two.
    lowest, highest : float32
        The ends of the lattice, whole numbers, in steps of the lattice.
    tp, predicted : float64, (n_rows, n_points + 2)
        Filled: at a threshold that every score passes, at the points from the lowest on, at one
        that none passes.
    """
    n_classes = scores.shape[1]
    n_points = predicted.shape[1] - 2
    place = np.empty(n_classes, np.int32)
    counted = np.empty(n_points + 1, np.int32)
    for i in range(len(scores)):
        _places(scores[i], per_unit, lowest, highest, place)
        counted[:] = 0
        for c in range(n_classes):
            counted[place[c]] += 1
        _sum_down(counted, predicted[i])
        predicted[i, 0] = _count_scored(scores[i])
        counted[:] = 0
        scored = 0
        for at in range(indptr[i], indptr[i + 1]):
            c = indices[at]
            counted[place[c]] += 1
            scored += scores[i, c] > np.float32(-np.inf)
        _sum_down(counted, tp[i])
        tp[i, 0] = scored


@kernel
def _sum_down(counted: NDArray[np.int32], out: NDArray[np.float64]) -> None:
    """``out[k]`` becomes how many were counted at ``k`` or a higher place."""
    total = np.int32(0)
    out[len(counted)] = 0.0
    for k in range(len(counted) - 1, -1, -1):
        total += counted[k]
        out[k] = np.float64(total)
