"""Counts above every cut that can be the best one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel


@kernel
def gather_positives(
    scores: NDArray[np.float32],
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    first: int,
    last: int,
    out: NDArray[np.float32],
) -> None:
    """Scores of the positives of each line, ``out[indptr[c]:indptr[c + 1]]``, in row order."""
    for c in range(first, last):
        for place in range(indptr[c], indptr[c + 1]):
            out[place] = scores[c, rows[place]]


@kernel
def cut_between(lower: np.float32, upper: np.float32) -> np.float32:
    """A float32 in ``(lower, upper]``, midway where there is room."""
    middle = np.float32(0.5 * (np.float64(lower) + np.float64(upper)))
    if middle > lower:
        return middle
    return upper


@kernel
def _first_at_least(line: NDArray[np.float32], value: np.float32, stop: int) -> int:
    """The first place of the sorted `line` whose score is at least `value`, searched in :stop."""
    low = 0
    high = stop
    while low < high:
        middle = (low + high) // 2
        if line[middle] >= value:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def curves_at_all(
    lines: NDArray[np.float32],
    indptr: NDArray[np.int64],
    positive_scores: NDArray[np.float32],
    first: int,
    last: int,
    lowest: np.float32,
    threshold: NDArray[np.float32],
    tp: NDArray[np.int64],
    fp: NDArray[np.int64],
    length: NDArray[np.int64],
) -> None:
    """Counts at the cut under each distinct score, highest first.

    Parameters
    ----------
    lines : float32, (n_lines, n_scores), each sorted ascending
    indptr : int64, (n_lines + 1,)
    positive_scores : float32, sorted ascending within each ``indptr[c]:indptr[c + 1]``
    lowest : float32
        The threshold of a cut below all scores.
    threshold, tp, fp
        Filled from ``c * (n_scores + 1)`` on: entry 0 is the cut above all scores, (inf, 0, 0).
    length : int64, (n_lines,)
        Entries filled for each line.
    """
    n_scores = lines.shape[1]
    for c in range(first, last):
        start = c * (n_scores + 1)
        threshold[start] = np.inf
        tp[start] = 0
        fp[start] = 0
        filled = 1
        place = indptr[c + 1] - 1
        edge = n_scores - 1
        while edge >= 0 and lines[c, edge] > -np.inf:
            score = lines[c, edge]
            while edge >= 0 and lines[c, edge] == score:
                edge -= 1
            while place >= indptr[c] and positive_scores[place] == score:
                place -= 1
            found = indptr[c + 1] - 1 - place
            at = start + filled
            tp[at] = found
            fp[at] = n_scores - 1 - edge - found
            if edge < 0 or lines[c, edge] == -np.inf:
                threshold[at] = lowest
            else:
                threshold[at] = cut_between(lines[c, edge], score)
            filled += 1
        length[c] = filled


@kernel
def add_counts_above(
    ordered: NDArray[np.float32],
    cuts: NDArray[np.float32],
    first: int,
    last: int,
    counts: NDArray[np.int64],
) -> None:
    """For each of the ascending `cuts` ``first:last``, add how many scores are at least the cut.

    `ordered` is sorted ascending.
    """
    n_scores = len(ordered)
    if first >= last:
        return
    edge = _first_at_least(ordered, cuts[first], n_scores)
    for place in range(first, last):
        cut = cuts[place]
        while edge < n_scores and ordered[edge] < cut:
            edge += 1
        counts[place] += n_scores - edge
