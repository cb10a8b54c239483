"""Counting scores on a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel
from calibrate.kernels.bits import pack_flags, trailing_zeros
from calibrate.kernels.csr import first_from

MOST_FRACTION_BITS = 20

HELD_ROWS = (1 << 13) - 1
"""Rows whose words may be held: one bit fewer than fit, so that words are positive as int64 too."""

COUNT_AT, POSITIVES_AT = 36, 50
"""The bits of a word from which on its cells and its positives are counted; below: the places."""

FARTHEST = float(1 << 20)
"""Bins beyond which a score counts as if it lay there."""

# a word of the table: 36 bits of places, 14 of cells, 14 of positives
_COUNT_AT, _POSITIVES_AT = np.uint64(COUNT_AT), np.uint64(POSITIVES_AT)
_ONE, _ONE_POSITIVE = np.uint64(1 << COUNT_AT), np.uint64(1 << POSITIVES_AT)
_SUM_MASK, _COUNT_MASK = np.uint64((1 << 36) - 1), np.uint64((1 << 14) - 1)
_HELD_ROWS = (1 << 14) - 1


@kernel
def _entries(
    scores: NDArray[np.float32],
    low: NDArray[np.float64],
    bins_per_logit: NDArray[np.float64],
    n_bins: int,
    fraction_bits: int,
    cell: NDArray[np.uint32],
    entry: NDArray[np.uint64],
    outside: NDArray[np.uint8],
) -> int:
    """For each score of a row the cell of the table, and what to add there: one, and its place.

    A score outside the grid adds nothing; it is marked, and how many there are is returned.
    """
    steps = np.float64(1 << fraction_bits)
    end = n_bins * steps
    shift, width = np.int32(fraction_bits), np.int32(n_bins)
    found = np.int32(0)
    for c in range(len(scores)):
        place = (np.float64(scores[c]) - low[c]) * bins_per_logit[c] * steps
        far = (place < 0.0) | (place >= end)
        inside = min(max(place, 0.0), end)
        b = np.int32(min(inside, end - 1.0)) >> shift
        cell[c] = np.uint32(np.int32(c) * width + b)
        offset = np.int32(inside + 0.5) - (b << shift)
        entry[c] = np.uint64(0) if far else _ONE + np.uint64(offset)
        outside[c] = far
        found += np.int32(far)
    return int(found)


@kernel
def _add(table: NDArray[np.uint64], cell: NDArray[np.uint32], entry: NDArray[np.uint64]) -> None:
    for c in range(len(cell)):
        table[cell[c]] += entry[c]


@kernel
def _unload(
    table: NDArray[np.uint64],
    counts: NDArray[np.int64],
    positives: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> None:
    for place in range(len(table)):
        word = table[place]
        counts[place] += np.int64((word >> _COUNT_AT) & _COUNT_MASK)
        positives[place] += np.int64(word >> _POSITIVES_AT)
        offsets[place] += np.int64(word & _SUM_MASK)
        table[place] = 0


@kernel
def unload_words(
    table: NDArray[np.uint64],
    first: int,
    last: int,
    counts: NDArray[np.int64],
    positives: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> None:
    """Add the words of the classes ``first:last`` to three tables, and leave zeros in their place.

    All of shape (n_classes, n_bins).
    """
    for c in range(first, last):
        _unload(table[c], counts[c], positives[c], offsets[c])


@kernel
def _hold_row(
    row: NDArray[np.float32],
    low: NDArray[np.float64],
    bins_per_logit: NDArray[np.float64],
    n_bins: int,
    fraction_bits: int,
    labels: NDArray[np.int32],
    first: int,
    cell: NDArray[np.uint32],
    entry: NDArray[np.uint64],
    outside: NDArray[np.uint8],
    bits: NDArray[np.uint64],
    table: NDArray[np.uint64],
    counts: NDArray[np.int64],
    positives: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> None:
    """Add one row to the words of the table, and what lies outside the grid to the other three.

    `labels` are the classes of the row from `first` on, and maybe some beyond the last one here.
    """
    last = first + len(row)
    n_outside = _entries(row, low, bins_per_logit, n_bins, fraction_bits, cell, entry, outside)
    _add(table, cell, entry)
    at = 0
    while at < len(labels) and labels[at] < last:
        c = labels[at] - first
        if not outside[c]:
            table[cell[c]] += _ONE_POSITIVE
        elif row[c] != -np.inf:
            positives[first + c, 0 if np.float64(row[c]) < low[c] else n_bins - 1] += 1
        at += 1
    if n_outside:
        steps = np.float64(1 << fraction_bits)
        pack_flags(outside, bits)
        for word in range(len(bits)):
            left = bits[word]
            while left != np.uint64(0):
                c = 64 * word + trailing_zeros(left)
                left &= left - np.uint64(1)
                if row[c] != -np.inf:
                    position = (np.float64(row[c]) - low[c]) * bins_per_logit[c]
                    position = min(max(position, -FARTHEST), FARTHEST)
                    b = 0 if position < 0.0 else n_bins - 1
                    counts[first + c, b] += 1
                    offsets[first + c, b] += np.int64(np.floor((position - b) * steps + 0.5))


@kernel
def hold_scores(
    scores: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    low: NDArray[np.float64],
    bins_per_logit: NDArray[np.float64],
    first: int,
    last: int,
    fraction_bits: int,
    table: NDArray[np.uint64],
    counts: NDArray[np.int64],
    positives: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> None:
    """As `count_scores` with all rows, but the words stay in `table` for the rows still to come.

    So few rows cost no pass over the tables. The caller unloads the words before `HELD_ROWS` rows
    have come.

    Parameters
    ----------
    table : uint64, (n_classes, n_bins)
        Added to, for the classes ``first:last``; what lies outside the grid goes into the others.
    """
    width = last - first
    n_words = (width + 63) // 64
    cell, entry = np.empty(width, np.uint32), np.empty(width, np.uint64)
    outside, bits = np.zeros(64 * n_words, np.uint8), np.empty(n_words, np.uint64)
    words = table[first:last].reshape(-1)
    for i in range(len(scores)):
        begin = first_from(indices, indptr[i], indptr[i + 1], first)
        _hold_row(
            scores[i, first:last], low[first:last], bins_per_logit[first:last], counts.shape[1],
            fraction_bits, indices[begin : indptr[i + 1]], first, cell, entry, outside, bits,
            words, counts, positives, offsets,
        )  # fmt: skip


@kernel
def count_scores(
    scores: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    chosen: NDArray[np.int64],
    low: NDArray[np.float64],
    bins_per_logit: NDArray[np.float64],
    first: int,
    last: int,
    fraction_bits: int,
    counts: NDArray[np.int64],
    positives: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> None:
    """Add the scores of the classes ``first:last`` to three tables of shape (n_classes, n_bins).

    One word takes the count, the positives and the sum of the places within the bin, so that a
    score costs one addition; the words are unloaded before a part of them can overflow. A cell
    without a score (``-inf``) is not counted.

    Parameters
    ----------
    indptr, indices
        Labels of the rows as CSR, the classes of a row sorted.
    chosen : int64
        The rows that are counted, where they lie.
    fraction_bits : int
        Places within a bin are rounded to ``2**-fraction_bits`` of it; at most 20.
    """
    n_bins = counts.shape[1]
    width = last - first
    n_words = (width + 63) // 64
    table = np.zeros((width, n_bins), np.uint64)
    words = table.reshape(-1)
    cell, entry = np.empty(width, np.uint32), np.empty(width, np.uint64)
    outside, bits = np.zeros(64 * n_words, np.uint8), np.empty(n_words, np.uint64)
    own_low, own_per = low[first:last], bins_per_logit[first:last]
    for start in range(0, len(chosen), _HELD_ROWS):
        for i in chosen[start : start + _HELD_ROWS]:
            begin = first_from(indices, indptr[i], indptr[i + 1], first)
            _hold_row(
                scores[i, first:last], own_low, own_per, n_bins, fraction_bits,
                indices[begin : indptr[i + 1]], first, cell, entry, outside, bits,
                words, counts, positives, offsets,
            )  # fmt: skip
        for c in range(width):
            _unload(table[c], counts[first + c], positives[first + c], offsets[first + c])
