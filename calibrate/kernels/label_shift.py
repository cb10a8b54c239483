"""Class prevalences of unlabelled rows, by likelihood, for many classes at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel

_MOST_STEPS = 100
_SAME = 1e-15


@kernel
def _probability(score: float) -> float:
    tail = np.exp(-abs(score))
    return float(tail / (1.0 + tail) if score < 0.0 else 1.0 / (1.0 + tail))


@kernel
def _slope(n: NDArray[np.int64], a: NDArray[np.float64], d: float) -> tuple[float, float]:
    """``sum n a / (1 + d a)``, and ``sum n a^2 / (1 + d a)^2``, by which it falls."""
    value = fall = 0.0
    for b in range(len(n)):
        if n[b] > 0:
            part = a[b] / (1.0 + d * a[b])
            value += n[b] * part
            fall += n[b] * part * part
    return value, fall


@kernel
def _root(n: NDArray[np.int64], a: NDArray[np.float64], low: float, high: float) -> float:
    """Where the slope is 0 between `low` and `high`, by Newton steps that stay in the bracket."""
    if not _slope(n, a, low)[0] > 0.0:
        return low
    if not _slope(n, a, high)[0] < 0.0:
        return high
    d = min(max(0.0, low), high)
    for _ in range(_MOST_STEPS):
        value, fall = _slope(n, a, d)
        if value > 0.0:
            low = d
        else:
            high = d
        new = d + value / fall
        if not low < new < high:
            new = 0.5 * (low + high)
        if abs(new - d) <= _SAME or value == 0.0:
            break
        d = new
    return d


@kernel
def mean_probabilities(
    x: NDArray[np.float64],
    n: NDArray[np.int64],
    first: int,
    last: int,
    mean: NDArray[np.float64],
) -> None:
    """Mean sigmoid of the scores of the classes ``first:last``, nan where there are none.

    Parameters
    ----------
    x, n : (n_classes, n_bins)
        Mean score and cells of each bin.
    mean : float64, (n_classes,)
        Filled.
    """
    for c in range(first, last):
        total = cells = 0.0
        for b in range(x.shape[1]):
            if n[c, b] > 0:
                total += n[c, b] * _probability(x[c, b])
                cells += n[c, b]
        mean[c] = total / cells if cells > 0.0 else np.nan


@kernel
def shifts(
    source_x: NDArray[np.float64],
    source_n: NDArray[np.int64],
    target_x: NDArray[np.float64],
    target_n: NDArray[np.int64],
    mean: NDArray[np.float64],
    first: int,
    last: int,
    shift: NDArray[np.float64],
    source_information: NDArray[np.float64],
    target_information: NDArray[np.float64],
) -> None:
    """By how much the prevalence of the target differs from that of the source.

    With ``a = (p - mean) / (mean (1 - mean))``, a target cell has the likelihood ``1 + d a`` if the
    prevalence is ``mean + d``, up to a factor without d: the same mixture that the usual form in
    two odds describes. Its logarithm is concave in d.

    Parameters
    ----------
    source_x, source_n, target_x, target_n : (n_classes, n_bins)
        Mean score and cells of each bin.
    mean : float64, (n_classes,)
        Mean probability of the source; a class where it is not inside (0, 1) keeps its values.
    shift : float64, (n_classes,)
        Filled with d; the prevalence stays half a cell away from 0 and 1, or as near as `mean` is.
    source_information, target_information : float64, (n_classes,)
        Filled with ``sum a^2 / (1 + d a)^2``: of the source at 0, of the target at d.
    """
    n_bins = target_x.shape[1]
    a, source_a = np.empty(n_bins), np.empty(source_x.shape[1])
    for c in range(first, last):
        cells = 0
        for b in range(n_bins):
            cells += target_n[c, b]
        spread = mean[c] * (1.0 - mean[c])
        if cells == 0 or not spread > 0.0:
            continue
        for b in range(n_bins):
            a[b] = (_probability(target_x[c, b]) - mean[c]) / spread
        for b in range(len(source_a)):
            source_a[b] = (_probability(source_x[c, b]) - mean[c]) / spread
        half = 0.5 / cells
        low, high = min(half, mean[c]) - mean[c], max(1.0 - half, mean[c]) - mean[c]
        shift[c] = _root(target_n[c], a, low, high)
        target_information[c] = _slope(target_n[c], a, shift[c])[1]
        source_information[c] = _slope(source_n[c], source_a, 0.0)[1]
