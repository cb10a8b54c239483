"""Block coordinate ascent: the labels of one row at a time, given those of all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel

_CLEARLY = 1e-12


@kernel
def _mixed(bits: np.uint64) -> np.uint64:
    """A number that looks like chance (Steele, Lea and Flood, 2014: the finaliser of SplitMix)."""
    bits += np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@kernel
def row_keys(
    indptr: NDArray[np.int64], probabilities: NDArray[np.float32], keys: NDArray[np.uint64]
) -> None:
    """A number for each row that its probabilities decide, in whatever order they come."""
    bits = probabilities.view(np.uint32)
    for i in range(len(keys)):
        total = np.uint64(0)
        for at in range(indptr[i], indptr[i + 1]):
            total += _mixed(np.uint64(bits[at]))
        keys[i] = total


@kernel
def take_highest(
    gains: NDArray[np.float64], k: int, order: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> None:
    """Choose the `k` highest of `gains`, the first among equals; `order` is room for k places."""
    found = 0
    for at in range(len(gains)):
        chosen[at] = False
        place = found
        while place > 0 and gains[at] > gains[order[place - 1]]:
            place -= 1
        if place == k:
            continue
        last = min(found, k - 1)
        for moved in range(last, place, -1):
            order[moved] = order[moved - 1]
        order[place] = at
        found = min(found + 1, k)
    for place in range(found):
        chosen[order[place]] = True


@kernel
def _ratio(tp: float, predicted: float, positives: float, weights: NDArray[np.float64]) -> float:
    below = weights[1] * tp + weights[2] * predicted + weights[3] * positives
    return weights[0] * tp / below if below > 0.0 else 0.0


@kernel
def ascend(
    order: NDArray[np.int64],
    indptr: NDArray[np.int64],
    classes: NDArray[np.int32],
    probabilities: NDArray[np.float32],
    k: int,
    weights: NDArray[np.float64],
    positives: NDArray[np.float64],
    chosen: NDArray[np.bool_],
    tp: NDArray[np.float64],
    predicted: NDArray[np.int64],
) -> float:
    """Go over the rows once and give each the labels that are best given those of all others.

    A row changes its labels only where that clearly gains.

    Parameters
    ----------
    order : int64, (n_rows,)
        The rows, in the order in which they are looked at.
    indptr, classes, probabilities
        The candidates of each row, as in CSR, the classes of a row sorted.
    k : int
        Labels of a row, at least 1.
    weights : float64, (4,)
        The metric is ``w0 tp / (w1 tp + w2 predicted + w3 positives)``, 0 where nothing is below.
    positives : float64, (n_classes,)
        Expected positives of all rows.
    chosen : bool
        The candidates that are labels; changed.
    tp, predicted : float64, int64, (n_classes,)
        Their expected true positives and their number; changed.

    Returns
    -------
    float
        By how much the sum of the metric over the classes has risen.
    """
    widest = 0
    for i in range(len(indptr) - 1):
        widest = max(widest, indptr[i + 1] - indptr[i])
    gains, better = np.empty(widest), np.empty(widest, np.bool_)
    places = np.empty(k, np.int64)
    risen = 0.0
    for i in order:
        begin = indptr[i]
        n_here = indptr[i + 1] - begin
        before = 0.0
        for at in range(n_here):
            c = classes[begin + at]
            p = np.float64(probabilities[begin + at])
            here_tp, here_predicted = tp[c], predicted[c]
            if chosen[begin + at]:
                here_tp -= p
                here_predicted -= 1
            gains[at] = _ratio(here_tp + p, here_predicted + 1.0, positives[c], weights) - _ratio(
                here_tp, float(here_predicted), positives[c], weights
            )
            if chosen[begin + at]:
                before += gains[at]
        take_highest(gains[:n_here], k, places, better)
        after = 0.0
        for at in range(n_here):
            if better[at]:
                after += gains[at]
        if not after > before + _CLEARLY:
            continue
        risen += after - before
        for at in range(n_here):
            if better[at] == chosen[begin + at]:
                continue
            c = classes[begin + at]
            sign = 1 if better[at] else -1
            tp[c] += sign * np.float64(probabilities[begin + at])
            predicted[c] += sign
            chosen[begin + at] = better[at]
    return risen
