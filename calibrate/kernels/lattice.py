"""Every cut of every class, without a sort: by its counts first, by its score last.

From the top down, a class passes through its cuts as a path passes through points (tp, fp): each
score moves it on by one. Where the path turns up is told by the positives alone, and between two
turns it goes along tp, so that all of its points are known from the ranks of the positives. Scores
are looked at again for the one point that was judged best: whether a cut reaches it, and which.
Ties are the reason why one may not: equal scores go by together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel

_TILE = 16
_JUDGED = 64


@kernel
def _lay_tile(scores: NDArray[np.float32], lines: NDArray[np.float32]) -> None:
    # of a size that the compiler knows: the loop is unrolled and stores a cache line at once
    for c in range(_TILE):
        for i in range(_TILE):
            lines[c, i] = scores[i, c]


@kernel
def lay_down(
    scores: NDArray[np.float32], column: int, start: int, lines: NDArray[np.float32]
) -> None:
    """Columns of `scores`, from `column` on, become ``lines[:, start : start + len(scores)]``."""
    n_rows, n_classes = len(scores), len(lines)
    for i in range(0, n_rows, _TILE):
        for c in range(0, n_classes, _TILE):
            if i + _TILE <= n_rows and c + _TILE <= n_classes:
                _lay_tile(
                    scores[i : i + _TILE, column + c : column + c + _TILE],
                    lines[c : c + _TILE, start + i : start + i + _TILE],
                )
            else:
                for k in range(c, min(c + _TILE, n_classes)):
                    for r in range(i, min(i + _TILE, n_rows)):
                        lines[k, start + r] = scores[r, column + k]


@kernel
def _count_without(scores: NDArray[np.float32]) -> int:
    found = np.int32(0)
    for i in range(len(scores)):
        found += np.int32(scores[i] == np.float32(-np.inf))
    return int(found)


@kernel
def count_points(
    lines: NDArray[np.float32],
    tp: NDArray[np.int64],
    indptr: NDArray[np.int64],
    length: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> None:
    """Points of each line and of those before it: one for each negative, one for each turn."""
    total = 0
    for c in range(len(lines)):
        turns = length[c]
        scored = len(lines[c]) - _count_without(lines[c])
        total += scored - tp[indptr[c] + c + turns - 1] + turns
        ends[c] = total


@kernel
def _fill(counts: NDArray[np.float64], first: float, step: float) -> None:
    for i in range(len(counts)):
        counts[i] = first + step * np.float64(np.int32(i))


@kernel
def _take_from(whole: float, counts: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for i in range(len(counts)):
        out[i] = whole - counts[i]


@kernel
def _level_of(fp: NDArray[np.int64], point: int) -> int:
    """The last turn at or before a point of a line; the turn e is the point ``fp[e] + e``."""
    low = 0
    high = len(fp)
    while high - low > 1:
        middle = (low + high) // 2
        if fp[middle] + middle <= point:
            low = middle
        else:
            high = middle
    return low


@kernel
def _line_of(ends: NDArray[np.int64], point: int) -> int:
    """The first line that ends behind a point."""
    low = 0
    high = len(ends)
    while low < high:
        middle = (low + high) // 2
        if ends[middle] > point:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def points(
    tp: NDArray[np.int64],
    fp: NDArray[np.int64],
    indptr: NDArray[np.int64],
    length: NDArray[np.int64],
    ends: NDArray[np.int64],
    n_rows: int,
    begin: int,
    out_tp: NDArray[np.float64],
    out_fp: NDArray[np.float64],
    out_fn: NDArray[np.float64],
    out_tn: NDArray[np.float64],
) -> None:
    """Counts of the points from `begin` on, numbered through all lines.

    Parameters
    ----------
    tp, fp, indptr, length
        The turns of each line, from ``indptr[c] + c`` on, as `curves_at_positives` leaves them.
    ends : int64, (n_lines,)
        As `count_points` leaves them.
    out_tp, out_fp, out_fn, out_tn : float64, (n_points,)
        Filled.
    """
    at = 0
    c = _line_of(ends, begin)
    while at < len(out_tp):
        before = ends[c - 1] if c > 0 else 0
        n_positives = indptr[c + 1] - indptr[c]
        first = indptr[c] + c
        own_tp, own_fp = tp[first : first + length[c]], fp[first : first + length[c]]
        point = begin + at - before
        stop = min(ends[c] - before, point + len(out_tp) - at)
        here = slice(at, at + stop - point)
        level = _level_of(own_fp, point)
        while point < stop:
            turn = own_fp[level + 1] + level + 1 if level + 1 < len(own_fp) else stop
            run = min(turn, stop) - point
            _fill(out_tp[at : at + run], np.float64(own_tp[level]), 0.0)
            _fill(out_fp[at : at + run], np.float64(point - level), 1.0)
            at += run
            point += run
            level += 1
        _take_from(np.float64(n_positives), out_tp[here], out_fn[here])
        _take_from(np.float64(n_rows - n_positives), out_fp[here], out_tn[here])
        c += 1


@kernel
def _count_above(values: NDArray[np.float64], least: float) -> int:
    found = np.int64(0)
    for i in range(len(values)):
        found += np.int64(values[i] > least)
    return int(found)


@kernel
def _first_highest(values: NDArray[np.float64], least: float) -> tuple[float, int]:
    """The highest value above `least` and its first place; -1 where there is none."""
    place = -1
    for start in range(0, len(values), _JUDGED):
        some = values[start : start + _JUDGED]
        # many at a time are compared with the highest so far; few hold a higher one
        if _count_above(some, least) > 0:
            for i in range(len(some)):
                if some[i] > least:
                    least = some[i]
                    place = start + i
    return least, place


@kernel
def judge(
    values: NDArray[np.float64],
    ends: NDArray[np.int64],
    begin: int,
    best: NDArray[np.float64],
    point: NDArray[np.int64],
) -> None:
    """Keep the first highest value of each line, and which of its points that was.

    `values` are those of the points from `begin` on; nan is never kept.
    """
    at = 0
    c = _line_of(ends, begin)
    while at < len(values):
        before = ends[c - 1] if c > 0 else 0
        stop = min(len(values), ends[c] - begin)
        best[c], place = _first_highest(values[at:stop], best[c])
        if place >= 0:
            point[c] = begin + at + place - before
        at = stop
        c += 1


@kernel
def levels(
    fp: NDArray[np.int64],
    indptr: NDArray[np.int64],
    length: NDArray[np.int64],
    point: NDArray[np.int64],
    level: NDArray[np.int64],
) -> None:
    """After which of its turns each line comes to a point; `level` is filled."""
    for c in range(len(point)):
        first = indptr[c] + c
        level[c] = _level_of(fp[first : first + length[c]], point[c])
