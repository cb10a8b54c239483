"""The threshold of a cut that was judged best: midway to the next lower score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel
from calibrate.kernels.bits import pack_flags, trailing_zeros

_CHUNK = 4096
_NO_SCORE = np.int32(-0x7F800000)
"""The place of ``-inf``."""
_BEYOND = 1 << 31
_SIGN = np.int32(-0x80000000)


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
    level: NDArray[np.int64],
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
    point, level : int64, (n_lines,)
        The level as `calibrate.kernels.lattice.levels` leaves it.
    threshold, best_tp, best_fp : (n_lines,)
        Filled.
    """
    places = np.empty(lines.shape[1], np.int32)
    for c in range(len(lines)):
        turn = indptr[c] + c + level[c]
        best_tp[c] = tp[turn]
        best_fp[c] = point[c] - level[c]
        beyond = best_fp[c] - fp[turn]
        if beyond == 0:
            upper = cuts[turn]
            lower = _highest_below(lines[c], upper)
            threshold[c] = (
                _cut_between(lower, upper, lowest) if level[c] > 0 else np.float32(np.inf)
            )
            continue
        next_turn = cuts[turn + 1] if level[c] + 1 < length[c] else np.float32(-np.inf)
        # infinite scores lie above the first turn too
        ceiling = cuts[turn] if level[c] > 0 else np.float32(np.nan)
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


@kernel
def move_midway(
    scores: NDArray[np.float32],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    floors: NDArray[np.float32],
    lowest: np.float32,
    threshold: NDArray[np.float32],
) -> None:
    """Each threshold, a score or ``inf`` above them all, moves midway to the next lower score.

    Parameters
    ----------
    scores : float32
        The scores of line c from its floor up are ``scores[start[c]:stop[c]]``, in any order.
    floors : float32, (n_lines,)
        ``-inf``: all scores of the line are there. Else a threshold becomes nan where the next
        lower score lies below.
    lowest : float32
        The threshold of a cut below all scores.
    threshold : float32, (n_lines,)
        Written over.
    """
    for c in range(len(threshold)):
        if threshold[c] == np.inf:
            continue
        lower = _highest_below(scores[start[c] : stop[c]], threshold[c])
        if lower == -np.inf and floors[c] > -np.inf:
            threshold[c] = np.nan
        else:
            threshold[c] = _cut_between(lower, threshold[c], lowest)
