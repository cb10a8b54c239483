"""Isotonic regression of 0/1 labels: ties grouped, adjacent violators pooled, in whole numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel


@kernel
def group_ties(
    ordered: NDArray[np.float32],
    positives: NDArray[np.float32],
    score: NDArray[np.float64],
    n: NDArray[np.int64],
    y: NDArray[np.int64],
) -> int:
    """The distinct scores of a class, how many cells have each, and how many of those are positive.

    Parameters
    ----------
    ordered : float32, sorted ascending
        Scores of all cells; ``-inf`` is passed over.
    positives : float32, sorted ascending
        Scores of the positive ones.
    score, n, y
        Filled, ascending.

    Returns
    -------
    int
        How many distinct scores there are.
    """
    found = place = begin = 0
    while begin < len(ordered) and ordered[begin] == -np.inf:
        begin += 1
    while place < len(positives) and positives[place] == -np.inf:
        place += 1
    while begin < len(ordered):
        here, hits = begin, place
        while begin < len(ordered) and ordered[begin] == ordered[here]:
            begin += 1
        while place < len(positives) and positives[place] == ordered[here]:
            place += 1
        score[found] = ordered[here]
        n[found] = begin - here
        y[found] = place - hits
        found += 1
    return found


@kernel
def pool_violators(
    score: NDArray[np.float64],
    n: NDArray[np.int64],
    y: NDArray[np.int64],
    stop: NDArray[np.int64],
    cells: NDArray[np.int64],
    hits: NDArray[np.int64],
    mean: NDArray[np.float64],
) -> int:
    """Blocks of least squares (and of greatest likelihood) among all rates that never fall.

    Ayer, Brunk, Ewing, Reid and Silverman (1955). Rates are compared as whole numbers, so that
    neighbours of equal rate are one block, whatever the order of the sums.

    Parameters
    ----------
    score : float64, rising
    n, y : int64
        Cells at each score, at least 1, and positives among them.
    stop, cells, hits, mean
        Filled, with room for as many blocks as scores: where each block ends, its cells, its
        positives and the mean score of its cells.

    Returns
    -------
    int
        How many blocks there are.
    """
    blocks = 0
    for place in range(len(score)):
        stop[blocks], cells[blocks], hits[blocks] = place + 1, n[place], y[place]
        while blocks > 0 and hits[blocks - 1] * cells[blocks] >= hits[blocks] * cells[blocks - 1]:
            blocks -= 1
            stop[blocks] = place + 1
            cells[blocks] += cells[blocks + 1]
            hits[blocks] += hits[blocks + 1]
        blocks += 1
    start = 0
    for block in range(blocks):
        # from the lowest on: a sum of large scores loses nothing that the mean would show
        total = 0.0
        for place in range(start, stop[block]):
            total += n[place] * (score[place] - score[start])
        mean[block] = score[start] + total / cells[block]
        start = stop[block]
    return blocks
