"""Maps that are straight between knots, for many cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel


@kernel
def _held(
    logit: np.float32,
    place: int,
    start: NDArray[np.float32],
    at: NDArray[np.float32],
    slope: NDArray[np.float32],
    lowest: NDArray[np.float32],
    highest: NDArray[np.float32],
    farthest: np.float32,
) -> np.float32:
    """The map at a logit that lies in the segment `place`."""
    if logit == -np.inf:
        return logit
    value = min(max(logit, -farthest), farthest) - start[place]
    value = value * slope[place] + at[place]
    return min(max(value, lowest[place]), highest[place])


@kernel
def map_all(
    logits: NDArray[np.float32],
    bits: NDArray[np.uint32],
    fewest: NDArray[np.int32],
    most: NDArray[np.int32],
    knots: NDArray[np.float32],
    start: NDArray[np.float32],
    at: NDArray[np.float32],
    slope: NDArray[np.float32],
    lowest: NDArray[np.float32],
    highest: NDArray[np.float32],
    farthest: np.float32,
    out: NDArray[np.float32],
) -> None:
    """One map for all cells.

    Parameters
    ----------
    logits : float32, (n_cells,)
        Without nan.
    bits : uint32, (n_cells,)
        The same.
    fewest, most : int32, (262_144,)
        How many knots lie at or below the logits that begin with these 18 bits.
    knots : float32, (n_knots,)
        Rising.
    start, at, slope, lowest, highest : float32, (n_knots + 1,)
        The segments, see `calibrate.ops.PiecewiseLinear`.
    farthest : float32
        Logits beyond are taken as this.
    out : float32, (n_cells,)
        Filled.
    """
    for cell in range(len(logits)):
        logit = logits[cell]
        key = bits[cell] >> np.uint32(14)
        low, high = fewest[key], most[key]
        while low < high:
            middle = (low + high) >> 1
            if knots[middle] <= logit:
                low = middle + 1
            else:
                high = middle
        out[cell] = _held(logit, low, start, at, slope, lowest, highest, farthest)


@kernel
def map_by_class(
    logits: NDArray[np.float32],
    indptr: NDArray[np.int64],
    knots: NDArray[np.float32],
    start: NDArray[np.float32],
    at: NDArray[np.float32],
    slope: NDArray[np.float32],
    lowest: NDArray[np.float32],
    highest: NDArray[np.float32],
    farthest: np.float32,
    out: NDArray[np.float32],
) -> None:
    """A map for each class, logits and `out` of shape (n_rows, n_classes); see `map_all`.

    Parameters
    ----------
    indptr : int64, (n_classes + 1,)
        Where the knots of each class lie.
    start, at, slope, lowest, highest : float32, (n_knots + n_classes,)
    """
    for i in range(logits.shape[0]):
        for c in range(logits.shape[1]):
            logit = logits[i, c]
            low, high = indptr[c], indptr[c + 1]
            while low < high:
                middle = (low + high) >> 1
                if knots[middle] <= logit:
                    low = middle + 1
                else:
                    high = middle
            out[i, c] = _held(logit, low + c, start, at, slope, lowest, highest, farthest)
