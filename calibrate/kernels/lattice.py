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
from calibrate.kernels.bits import pack_flags, trailing_zeros

_TILE = 16
_CHUNK = 4096
_JUDGED = 64
_NO_SCORE = np.int32(-0x7F800000)
"""The place of ``-inf``."""
_BEYOND = 1 << 31
_SIGN = np.int32(-0x80000000)


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
def _place(bits: np.int32) -> np.int32:
    """The place of a float32 number, given as its bits, in their order; both zeros have place 0."""
    ordered = bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))
    return ordered - (ordered >> np.int32(31))


@kernel
def _score_at(place: np.int32) -> np.float32:
    """The float32 number at a place."""
    bits = np.empty(1, np.int32)
    bits[0] = place if place >= 0 else (-place) ^ _SIGN
    return np.float32(bits.view(np.float32)[0])


@kernel
def _highest_below(scores: NDArray[np.float32], cut: np.float32) -> np.float32:
    """The highest score below `cut`; ``-inf`` if there is none."""
    bits = scores.view(np.int32)
    highest = _NO_SCORE
    for i in range(len(bits)):
        # whole numbers are compared many at a time, which a rule about nan forbids for floats
        highest = max(highest, _place(bits[i]) if scores[i] < cut else _NO_SCORE)
    return _score_at(highest)


@kernel
def _flag_between(
    scores: NDArray[np.float32], low: np.float32, high: np.float32, flags: NDArray[np.uint8]
) -> None:
    for i in range(len(scores)):
        flags[i] = (scores[i] > low) & (not (scores[i] >= high))


@kernel
def _gather_between(
    scores: NDArray[np.float32], low: np.float32, high: np.float32, places: NDArray[np.int32]
) -> int:
    """Places of the scores above `low` and below `high`, in any order; how many. nan: no bound."""
    bits = scores.view(np.int32)
    flags, words = np.zeros(_CHUNK, np.uint8), np.empty(_CHUNK // 64, np.uint64)
    found = 0
    for start in range(0, len(scores), _CHUNK):
        stop = min(start + _CHUNK, len(scores))
        flags[stop - start :] = 0
        _flag_between(scores[start:stop], low, high, flags)
        pack_flags(flags, words)
        for word in range(len(words)):
            left = words[word]
            while left != np.uint64(0):
                places[found] = _place(bits[start + 64 * word + trailing_zeros(left)])
                found += 1
                left &= left - np.uint64(1)
    return found


@kernel
def _count_from(places: NDArray[np.int32], cut: int) -> int:
    found = np.int32(0)
    at_least = np.int32(cut)
    for i in range(len(places)):
        found += np.int32(places[i] >= at_least)
    return int(found)


@kernel
def _nth_highest(places: NDArray[np.int32], n: int) -> int:
    """The highest number that at least `n` of `places` reach."""
    low, high = int(_NO_SCORE), _BEYOND
    while high - low > 1:
        middle = (low + high) // 2
        if _count_from(places, middle) >= n:
            low = middle
        else:
            high = middle
    return low


@kernel
def _cut_between(lower: np.float32, upper: np.float32, lowest: np.float32) -> np.float32:
    """A float32 in ``(lower, upper]``, midway where there is room; `lowest` below all scores."""
    if lower == -np.inf:
        return lowest
    middle = np.float32(0.5 * (np.float64(lower) + np.float64(upper)))
    if middle > lower:
        return middle
    return upper


@kernel
def settle(
    lines: NDArray[np.float32],
    cuts: NDArray[np.float32],
    tp: NDArray[np.int64],
    fp: NDArray[np.int64],
    indptr: NDArray[np.int64],
    length: NDArray[np.int64],
    lowest: np.float32,
    point: NDArray[np.int64],
    threshold: NDArray[np.float32],
    best_tp: NDArray[np.int64],
    best_fp: NDArray[np.int64],
) -> None:
    """The counts of one point of each line, and the threshold of the cut that reaches it.

    The threshold is nan where none does.

    Parameters
    ----------
    lines : float32, (n_lines, n_rows)
    cuts, tp, fp, indptr, length
        The turns of each line, from ``indptr[c] + c`` on, as `curves_at_positives` leaves them: at
        the scores of positives.
    lowest : float32
        The threshold of a cut below all scores.
    point : int64, (n_lines,)
    threshold, best_tp, best_fp : (n_lines,)
        Filled.
    """
    places = np.empty(lines.shape[1], np.int32)
    for c in range(len(lines)):
        first = indptr[c] + c
        level = _level_of(fp[first : first + length[c]], point[c])
        turn = first + level
        best_tp[c] = tp[turn]
        best_fp[c] = point[c] - level
        beyond = best_fp[c] - fp[turn]
        if beyond == 0:
            upper = cuts[turn]
            lower = _highest_below(lines[c], upper)
            threshold[c] = _cut_between(lower, upper, lowest) if level > 0 else np.float32(np.inf)
            continue
        next_turn = cuts[turn + 1] if level + 1 < length[c] else np.float32(-np.inf)
        # infinite scores lie above the first turn too
        ceiling = cuts[turn] if level > 0 else np.float32(np.nan)
        found = _gather_between(lines[c], next_turn, ceiling, places)
        here = places[:found]
        upper_place = _nth_highest(here, beyond)
        above = _count_from(here, upper_place)
        if above != beyond:
            threshold[c] = np.nan
            continue
        lower = next_turn
        if found > beyond:
            lower = _score_at(np.int32(_nth_highest(here, beyond + 1)))
        threshold[c] = _cut_between(lower, _score_at(np.int32(upper_place)), lowest)
