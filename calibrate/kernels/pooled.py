"""All cells in one line: counting them by the place of their score among the float32 numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel
from calibrate.kernels.bits import pack_flags, trailing_zeros

_CHUNK = 1024
_NO_SCORE = np.int32(-0x7F800000)


@kernel
def _keys(
    bits: NDArray[np.int32], shift: int, first: int, n_keys: int, key: NDArray[np.uint32]
) -> None:
    """Key of each cell, counted from `first`; ``n_keys`` for one outside or without a score."""
    by = np.int32(shift)
    for i in range(len(bits)):
        place = bits[i] ^ ((bits[i] >> np.int32(31)) & np.int32(0x7FFFFFFF))
        place -= place >> np.int32(31)
        here = min(np.uint32((place >> by) - np.int32(first)), np.uint32(n_keys))
        key[i] = here if place > _NO_SCORE else np.uint32(n_keys)


@kernel
def count_all(bits: NDArray[np.int32], shift: int, first: int, n_keys: int) -> NDArray[np.uint32]:
    """Cells of each key, for keys that take in most of the cells.

    Parameters
    ----------
    bits : int32, (n_cells,)
        float32 numbers as their bits; fewer than 2**32.
    shift, first, n_keys : int
        The key of a number is its place among the float32 numbers without the lowest `shift` bits;
        those from `first` on are counted.

    Returns
    -------
    uint32, (n_keys + 1,)
        At the end, how many cells have another key.
    """
    counts = np.zeros(n_keys + 1, np.uint32)
    key = np.empty(_CHUNK, np.uint32)
    for start in range(0, len(bits), _CHUNK):
        part = bits[start : start + _CHUNK]
        _keys(part, shift, first, n_keys, key)
        for i in range(len(part)):
            counts[key[i]] += np.uint32(1)
    return counts


@kernel
def _flags(key: NDArray[np.uint32], n_keys: int, flag: NDArray[np.uint8]) -> None:
    for i in range(len(key)):
        flag[i] = key[i] < np.uint32(n_keys)


@kernel
def count_few(bits: NDArray[np.int32], shift: int, first: int, n_keys: int) -> NDArray[np.uint32]:
    """As `count_all`, for keys that few of the cells have; the last entry stays 0."""
    counts = np.zeros(n_keys + 1, np.uint32)
    key = np.empty(_CHUNK, np.uint32)
    flag, words = np.zeros(_CHUNK, np.uint8), np.empty(_CHUNK // 64, np.uint64)
    for start in range(0, len(bits), _CHUNK):
        part = bits[start : start + _CHUNK]
        _keys(part, shift, first, n_keys, key)
        key[len(part) :] = n_keys
        _flags(key, n_keys, flag)
        pack_flags(flag, words)
        for word in range(len(words)):
            left = words[word]
            while left != np.uint64(0):
                counts[key[64 * word + trailing_zeros(left)]] += np.uint32(1)
                left &= left - np.uint64(1)
    return counts


@kernel
def highest_below(bits: NDArray[np.int32], limit: int) -> int:
    """The highest place of the cells whose place is below `limit`; that of ``-inf`` if none."""
    highest = _NO_SCORE
    for i in range(len(bits)):
        place = bits[i] ^ ((bits[i] >> np.int32(31)) & np.int32(0x7FFFFFFF))
        place -= place >> np.int32(31)
        highest = max(highest, place if place < np.int32(limit) else _NO_SCORE)
    return int(highest)


@kernel
def positives_of(
    scores: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    out: NDArray[np.float32],
) -> None:
    """Scores of the positives, in the order of the rows."""
    for i in range(scores.shape[0]):
        for at in range(indptr[i], indptr[i + 1]):
            out[at] = scores[i, indices[at]]
