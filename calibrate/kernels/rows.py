"""Labels of rows: what passes its threshold, and the highest of each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel
from calibrate.kernels.bits import pack_flags, trailing_zeros

_NO_SCORE = -0x7F800000
_BEYOND = 1 << 31
_FIRST_STEP = 1 << 20


@kernel
def _passes(
    scores: NDArray[np.float32], thresholds: NDArray[np.float32], flag: NDArray[np.uint8]
) -> None:
    for c in range(len(scores)):
        flag[c] = scores[c] >= thresholds[c]


@kernel
def passing(
    scores: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    counts: NDArray[np.int64],
    out: NDArray[np.int32],
) -> int:
    """The classes of each row whose score is at least their threshold, and how many in all.

    Parameters
    ----------
    thresholds : float32, (n_classes,)
    counts : int64, (n_rows,)
        Filled: classes of each row.
    out : int32
        Filled with the classes, row after row, as far as there is room.
    """
    n_classes = len(thresholds)
    n_words = (n_classes + 63) // 64
    flag, bits = np.zeros(64 * n_words, np.uint8), np.empty(n_words, np.uint64)
    found = 0
    for i in range(scores.shape[0]):
        _passes(scores[i], thresholds, flag)
        pack_flags(flag, bits)
        before = found
        for word in range(n_words):
            left = bits[word]
            while left != np.uint64(0):
                if found < len(out):
                    out[found] = 64 * word + trailing_zeros(left)
                found += 1
                left &= left - np.uint64(1)
        counts[i] = found - before
    return found


@kernel
def _places(bits: NDArray[np.int32], place: NDArray[np.int32]) -> None:
    """Places of float32 numbers, given as their bits, in their order; both zeros have place 0."""
    for c in range(len(bits)):
        ordered = bits[c] ^ ((bits[c] >> np.int32(31)) & np.int32(0x7FFFFFFF))
        place[c] = ordered - (ordered >> np.int32(31))


@kernel
def _count_from(place: NDArray[np.int32], cut: int) -> int:
    found = np.int32(0)
    at_least = np.int32(cut)
    for c in range(len(place)):
        found += np.int32(place[c] >= at_least)
    return int(found)


@kernel
def _flag_from(place: NDArray[np.int32], cut: int, flag: NDArray[np.uint8]) -> None:
    at_least = np.int32(cut)
    for c in range(len(place)):
        flag[c] = place[c] >= at_least


@kernel
def highest(
    bits: NDArray[np.int32],
    k: NDArray[np.int64],
    counts: NDArray[np.int64],
    out: NDArray[np.int32],
) -> int:
    """The ``k[i]`` highest scores of each row; among equals the lower class wins.

    The cut of a row is found by halving over the float32 numbers, from where that of the row
    before was: first among all classes, then among the few that are left.

    Parameters
    ----------
    bits : int32, (n_rows, n_classes)
        float32 scores as their bits; ``-inf`` is never taken.
    k : int64, (n_rows,)
        From 0 to n_classes.
    counts : int64, (n_rows,)
        Filled: classes of each row.
    out : int32, at least the sum of `k`
        Filled with the classes, row after row, sorted.

    Returns
    -------
    int
        How many classes were filled in.
    """
    n_rows, n_classes = bits.shape
    n_words = (n_classes + 63) // 64
    place = np.empty(n_classes, np.int32)
    flag, words = np.zeros(64 * n_words, np.uint8), np.empty(n_words, np.uint64)
    few, which = np.empty(n_classes, np.int32), np.empty(n_classes, np.int32)
    guess = 0
    found = 0
    for i in range(n_rows):
        counts[i] = 0
        if k[i] == 0:
            continue
        _places(bits[i], place)
        # from `low` on there are at least k scores, from `high` on there are fewer
        low, high = _NO_SCORE, _BEYOND
        n_low = n_classes
        step = _FIRST_STEP
        cut = guess
        wanted = int(k[i])
        enough = wanted + wanted // 2 + 32
        while n_low > enough and high - low > 1:
            here = _count_from(place, cut)
            if here >= wanted:
                low, n_low = cut, here
            else:
                high = cut
            # outwards from the guess in doubled steps, then halfway
            if high == _BEYOND:
                cut = min(low + step, high - 1)
            elif low == _NO_SCORE:
                cut = max(high - step, low + 1)
            else:
                cut = (low + high) // 2
            step *= 2
        _flag_from(place, low, flag)
        pack_flags(flag, words)
        n_few = 0
        for word in range(n_words):
            left = words[word]
            while left != np.uint64(0):
                c = 64 * word + trailing_zeros(left)
                few[n_few] = place[c]
                which[n_few] = c
                n_few += 1
                left &= left - np.uint64(1)
        while high - low > 1:
            cut = (low + high) // 2
            if _count_from(few[:n_few], cut) >= wanted:
                low = cut
            else:
                high = cut
        guess = low
        room = wanted - (_count_from(few[:n_few], low + 1) if low + 1 < _BEYOND else 0)
        begin = found
        for at in range(n_few):
            if few[at] > low:
                out[found] = which[at]
                found += 1
            elif few[at] == low and room > 0 and low > _NO_SCORE:
                out[found] = which[at]
                found += 1
                room -= 1
        counts[i] = found - begin
    return found
