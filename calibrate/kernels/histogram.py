"""Counting scores on a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel

FRACTION = 1 << 20
"""Steps within a bin: offsets are whole numbers of them, so that sums are exact in any order."""

_FARTHEST = float(1 << 20)
_TILE = 64


@kernel
def _bin_of(position: float, n_bins: int) -> int:
    if position < 0.0:
        return 0
    return min(int(position), n_bins - 1)


@kernel
def count_scores(
    scores: NDArray[np.float32],
    low: NDArray[np.float64],
    bins_per_logit: NDArray[np.float64],
    first: int,
    last: int,
    counts: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> None:
    """Add the scores of the classes ``first:last`` to `counts` and `offsets` (n_classes, n_bins).

    The cells of a block are taken in tiles of few classes, whose histograms stay in cache. A cell
    without a score (``-inf``) is not counted.
    """
    n_rows = scores.shape[0]
    n_bins = counts.shape[1]
    for tile in range(first, last, _TILE):
        end = min(tile + _TILE, last)
        for i in range(n_rows):
            for c in range(tile, end):
                score = scores[i, c]
                if score == -np.inf:
                    continue
                position = (np.float64(score) - low[c]) * bins_per_logit[c]
                position = min(max(position, -_FARTHEST), _FARTHEST)
                b = _bin_of(position, n_bins)
                counts[c, b] += 1
                offsets[c, b] += np.int64(np.floor((position - b) * FRACTION + 0.5))


@kernel
def count_positives(
    scores: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    low: NDArray[np.float64],
    bins_per_logit: NDArray[np.float64],
    first: int,
    last: int,
    positives: NDArray[np.int64],
) -> None:
    """Add the positives of the classes ``first:last`` to `positives` (n_classes, n_bins)."""
    n_bins = positives.shape[1]
    for i in range(scores.shape[0]):
        for place in range(indptr[i], indptr[i + 1]):
            c = indices[place]
            if first <= c < last and scores[i, c] != -np.inf:
                position = (np.float64(scores[i, c]) - low[c]) * bins_per_logit[c]
                position = min(max(position, -_FARTHEST), _FARTHEST)
                positives[c, _bin_of(position, n_bins)] += 1
