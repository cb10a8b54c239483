"""The exact sweep without a sort of the matrix: gather, estimate, collect, count.

Only scores of positives can be the best cut. A sample of the rows tells how deep the best cut can
lie; one pass collects the scores above that floor; each of them is counted into the interval
between two positives where it lies. All passes go along the rows, as the matrix lies in memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel
from calibrate.kernels.bits import pack_flags, trailing_zeros
from calibrate.kernels.csr import first_from

_CHUNK = 1024
_BUCKETS_PER_CUT = 16
_MOST_BUCKETS = 1 << 15
_FEW = 8


@kernel
def gather_positives(
    scores: NDArray[np.float32],
    column: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    first: int,
    last: int,
    place: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Append the scores of the positives of the classes ``first:last`` to `out`, in row order.

    Parameters
    ----------
    scores : float32, (n_rows, any)
        Class `first` is column `column`.
    indptr, indices
        Labels of these rows as CSR, the classes of a row sorted.
    place : int64, (last - first,)
        Where in `out` the next score of each class goes; moved on.
    """
    for i in range(scores.shape[0]):
        stop = indptr[i + 1]
        at = first_from(indices, indptr[i], stop, first)
        while at < stop and indices[at] < last:
            c = indices[at] - first
            out[place[c]] = scores[i, column + c]
            place[c] += 1
            at += 1


@kernel
def _add_passed(
    scores: NDArray[np.float32], cuts: NDArray[np.float32], counts: NDArray[np.int32]
) -> None:
    for c in range(len(scores)):
        counts[c] += np.int32(scores[c] >= cuts[c])


@kernel
def count_at_cuts(
    scores: NDArray[np.float32],
    column: int,
    start: int,
    every: int,
    cuts: NDArray[np.float32],
    counts: NDArray[np.int32],
) -> None:
    """Count, in every `every`-th row, the scores of each class that are at least its cuts.

    Parameters
    ----------
    scores : float32, (n_rows, any)
        Class 0 of `cuts` is column `column`; row 0 is row `start` of all.
    cuts : float32, (n_cuts, n_classes)
    counts : int32, (n_cuts, n_classes)
        Added to.
    """
    n_classes = cuts.shape[1]
    for i in range((-start) % every, scores.shape[0], every):
        row = scores[i, column : column + n_classes]
        for k in range(len(cuts)):
            _add_passed(row, cuts[k], counts[k])


@kernel
def _compare(
    scores: NDArray[np.float32], floors: NDArray[np.float32], passed: NDArray[np.uint8]
) -> None:
    for c in range(len(scores)):
        passed[c] = scores[c] >= floors[c]


@kernel
def collect(
    scores: NDArray[np.float32],
    column: int,
    floors: NDArray[np.float32],
    place: NDArray[np.int64],
    limit: NDArray[np.int64],
    out: NDArray[np.float32],
    steps: NDArray[np.float32],
    counts: NDArray[np.int32],
) -> None:
    """Append the scores of each class from its floor up to `out`, and count further down.

    Parameters
    ----------
    scores : float32, (n_rows, any)
        Class 0 of `floors` is column `column`.
    place, limit : int64, (n_classes,)
        Where in `out` the next score of each class goes, moved on; and where its room ends. What
        comes after that is counted by `place` and not kept.
    steps : float32, (n_steps, n_classes)
        Scores below the floors.
    counts : int32, (n_steps, n_classes)
        How many scores are at least a step; added to.
    """
    n_classes = len(floors)
    n_words = (n_classes + 63) // 64
    passed = np.zeros(64 * n_words, np.uint8)
    bits = np.empty(n_words, np.uint64)
    for i in range(scores.shape[0]):
        row = scores[i, column : column + n_classes]
        for k in range(len(steps)):
            _add_passed(row, steps[k], counts[k])
        _compare(row, floors, passed)
        pack_flags(passed, bits)
        for word in range(n_words):
            left = bits[word]
            while left != np.uint64(0):
                c = 64 * word + trailing_zeros(left)
                left &= left - np.uint64(1)
                at = place[c]
                if at < limit[c]:
                    out[at] = row[c]
                place[c] = at + 1


@kernel
def count_sorted(
    ordered: NDArray[np.float32],
    indptr: NDArray[np.int64],
    cuts: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> None:
    """How many scores of each line are at least its cuts.

    Parameters
    ----------
    ordered : float32, ascending within each ``indptr[c]:indptr[c + 1]``
    cuts : float32, (n_cuts, n_lines)
    counts : int64, (n_cuts, n_lines)
        Filled.
    """
    for c in range(cuts.shape[1]):
        for k in range(len(cuts)):
            low = indptr[c]
            high = indptr[c + 1]
            while low < high:
                middle = (low + high) // 2
                if ordered[middle] >= cuts[k, c]:
                    high = middle
                else:
                    low = middle + 1
            counts[k, c] = indptr[c + 1] - low


@kernel
def _cut_between(lower: np.float32, upper: np.float32) -> np.float32:
    """A float32 in ``(lower, upper]``, midway where there is room."""
    middle = np.float32(0.5 * (np.float64(lower) + np.float64(upper)))
    if middle > lower:
        return middle
    return upper


@kernel
def _buckets(
    scores: NDArray[np.float32], low: float, per_score: float, last: int, out: NDArray[np.int32]
) -> None:
    """The bucket of each score: whole, from 0 to `last`, rising with the score."""
    for place in range(len(scores)):
        position = (np.float64(scores[place]) - low) * per_score
        out[place] = np.int32(min(max(position, 0.0), np.float64(last)))


@kernel
def _count_intervals(
    scores: NDArray[np.float32],
    cuts: NDArray[np.float32],
    n_cuts: int,
    counts: NDArray[np.int32],
    highest: NDArray[np.float32],
) -> None:
    """Count the scores in ``cuts[j - 1] <= score < cuts[j]`` at place j, and find their highest.

    `cuts` are distinct and ascending, `n_cuts` of them with nan behind. A table of buckets
    says where among them to begin; it only has to rise with the score to be right. With `highest`
    empty the scores are only counted, in half the time.
    """
    low = np.float64(cuts[0]) if cuts[0] < np.inf else 0.0
    top = n_cuts - 1 if cuts[n_cuts - 1] < np.inf else n_cuts - 2
    span = np.float64(cuts[top]) - low if top >= 0 else 0.0
    n_buckets = min(_BUCKETS_PER_CUT * n_cuts, _MOST_BUCKETS)
    per_score = (n_buckets - 1) / span if span > 0.0 else 1.0
    of_cut = np.empty(n_cuts, np.int32)
    _buckets(cuts[:n_cuts], low, per_score, n_buckets - 1, of_cut)
    # cuts in lower buckets, for each bucket
    before = np.zeros(n_buckets + 1, np.int32)
    for j in range(n_cuts):
        before[of_cut[j] + 1] += 1
    crowded = before.max() > _FEW
    for b in range(n_buckets):
        before[b + 1] += before[b]
    bucket = np.empty(_CHUNK, np.int32)
    for start in range(0, len(scores), _CHUNK):
        stop = min(start + _CHUNK, len(scores))
        _buckets(scores[start:stop], low, per_score, n_buckets - 1, bucket)
        for place in range(start, stop):
            score = scores[place]
            here = np.uint32(bucket[place - start])
            j = before[here]
            if crowded:
                end = before[here + np.uint32(1)]
                while j < end:
                    middle = (j + end) // 2
                    if cuts[np.uint32(middle)] <= score:
                        j = middle + 1
                    else:
                        end = middle
            else:
                # seldom more than one cut to a bucket: a step without a branch, then a safe guess
                j += np.int32(cuts[np.uint32(j)] <= score)
                while cuts[np.uint32(j)] <= score:
                    j += 1
            counts[np.uint32(j)] += 1
            if len(highest) and score > highest[np.uint32(j)]:
                highest[np.uint32(j)] = score


@kernel
def curves_at_positives(
    scores: NDArray[np.float32],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    floors: NDArray[np.float32],
    indptr: NDArray[np.int64],
    positives: NDArray[np.float32],
    first: int,
    last: int,
    midway: bool,
    lowest: np.float32,
    threshold: NDArray[np.float32],
    tp: NDArray[np.int64],
    fp: NDArray[np.int64],
    length: NDArray[np.int64],
) -> None:
    """Counts at the cut under each distinct score of a positive from the floor up, highest first.

    Parameters
    ----------
    scores : float32
        The scores of line c from its floor up are ``scores[start[c]:stop[c]]``, in any order.
    floors : float32, (n_lines,)
        ``-inf``: all scores of the line are there.
    indptr : int64, (n_lines + 1,)
    positives : float32, sorted ascending within each ``indptr[c]:indptr[c + 1]``
    midway : bool
        Else the thresholds are the scores of the positives, and it takes half the time.
    lowest : float32
        The threshold of a cut below all scores.
    threshold, tp, fp
        Filled from ``indptr[c] + c`` on: entry 0 is the cut above all scores, (inf, 0, 0). A
        threshold midway is nan where the next lower score lies below the floor.
    length : int64, (n_lines,)
        Entries filled for each line.
    """
    for c in range(first, last):
        at = indptr[c] + c
        threshold[at] = np.inf
        tp[at] = 0
        fp[at] = 0
        length[c] = 1
        begin = indptr[c]
        end = indptr[c + 1]
        while begin < end and (positives[begin] < floors[c] or positives[begin] == -np.inf):
            begin += 1
        if begin == end:
            continue
        cuts = np.full(end - begin + 2, np.nan, np.float32)
        times = np.zeros(end - begin, np.int64)
        n_cuts = 0
        for place in range(begin, end):
            if n_cuts == 0 or positives[place] != cuts[n_cuts - 1]:
                cuts[n_cuts] = positives[place]
                n_cuts += 1
            times[n_cuts - 1] += 1
        counts = np.zeros(n_cuts + 1, np.int32)
        highest = np.full(n_cuts + 1 if midway else 0, -np.inf, np.float32)
        _count_intervals(scores[start[c] : stop[c]], cuts, n_cuts, counts, highest)
        above = 0
        found = 0
        for j in range(n_cuts - 1, -1, -1):
            above += counts[j + 1]
            found += times[j]
            at += 1
            tp[at] = found
            fp[at] = above - found
            if not midway:
                threshold[at] = cuts[j]
            elif highest[j] > -np.inf:
                threshold[at] = _cut_between(highest[j], cuts[j])
            elif floors[c] == -np.inf:
                threshold[at] = lowest
            else:
                threshold[at] = np.nan
        length[c] = n_cuts + 1
