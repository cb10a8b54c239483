"""Drawing cells by what they hold: the same cells in whatever order rows and classes come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel


@kernel
def row_keys(bits: NDArray[np.int32], keys: NDArray[np.uint32]) -> None:
    """A number of each row that its scores decide, in whatever order they are.

    Parameters
    ----------
    bits : int32, (n_rows, n_classes)
        Bits of the scores.
    keys : uint32, (n_rows,)
        Filled; evenly spread over all values.
    """
    for i in range(len(bits)):
        total = np.int64(0)
        for c in range(bits.shape[1]):
            total += bits[i, c]
        word = np.uint64(total)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys[i] = np.uint32((word ^ (word >> np.uint64(31))) & np.uint64(0xFFFFFFFF))


@kernel
def _number(word: np.uint32) -> np.uint32:
    """A word scrambled, so that near ones come to lie anywhere."""
    # products of 32-bit words are 64 bits wide here: each is cut back
    word = np.uint32(word * np.uint32(0x9E3779B1))
    word = np.uint32((word ^ (word >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    word = np.uint32((word ^ (word >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(word ^ (word >> np.uint32(16)))


@kernel
def draw_cells(
    scores: NDArray[np.float32],
    bits: NDArray[np.int32],
    keys: NDArray[np.uint32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    edges: NDArray[np.float32],
    limits: NDArray[np.uint32],
    positive_limit: np.uint32,
    out_score: NDArray[np.float32],
    out_row: NDArray[np.int32],
    out_kind: NDArray[np.uint8],
) -> int:
    """Draw cells of a block of rows; how many there are, which may be more than there is room for.

    Parameters
    ----------
    scores, bits : float32 and int32, (n_rows, n_classes)
        Scores, and their bits. A cell without a score (``-inf``) is never drawn.
    keys : uint32, (n_rows,)
    indptr, indices
        Labels as CSR, the classes of a row sorted.
    edges : float32, (n_bands - 1,)
        Rising scores between the bands.
    limits : uint32, (n_bands,)
        A negative is drawn if its number is at most that of its band.
    positive_limit : uint32
        The same for positives.
    out_score, out_row, out_kind
        Filled as far as they go: score, row in the block, and the band of a negative or
        ``n_bands`` for a positive.
    """
    drawn = 0
    n_bands = len(limits)
    # most cells are passed over by one comparison
    highest = limits.max()
    for i in range(len(scores)):
        at, stop = indptr[i], indptr[i + 1]
        for c in range(scores.shape[1]):
            positive = at < stop and indices[at] == c
            at += positive
            number = _number(np.uint32(bits[i, c]) ^ keys[i])
            if positive:
                band = n_bands
                taken = number <= positive_limit
            else:
                band = 0
                taken = number <= highest
                if taken:
                    while band < n_bands - 1 and scores[i, c] >= edges[band]:
                        band += 1
                    taken = number <= limits[band]
            if taken and scores[i, c] > -np.inf:
                if drawn < len(out_score):
                    out_score[drawn] = scores[i, c]
                    out_row[drawn] = i
                    out_kind[drawn] = band
                drawn += 1
    return drawn


@kernel
def weighted_logistic(
    x: NDArray[np.float64],
    rows: NDArray[np.int32],
    terms: NDArray[np.float64],
    weight: NDArray[np.float64],
    positive: NDArray[np.uint8],
    fold: NDArray[np.uint8],
    left_out: int,
    at: NDArray[np.float64],
    first: int,
    last: int,
    sums: NDArray[np.float64],
) -> None:
    """Loss of ``at[0] + at[1] x + terms @ at[2:]`` over the cells ``first:last``, and derivatives.

    Parameters
    ----------
    x, weight, positive : (n_cells,)
    rows : int32, (n_cells,)
    terms : float64, (n_rows, n_terms)
    fold : uint8, (n_rows,)
        Cells of rows whose fold is `left_out` do not count.
    at : float64, (2 + n_terms,)
    sums : float64, (1 + k + k * k,), k = 2 + n_terms
        Filled with the value, the first and the second derivatives.
    """
    k = len(at)
    sums[:] = 0.0
    feature = np.empty(k)
    feature[0] = 1.0
    for j in range(first, last):
        i = rows[j]
        if fold[i] == left_out:
            continue
        feature[1] = x[j]
        eta = at[0] + at[1] * x[j]
        for m in range(2, k):
            feature[m] = terms[i, m - 2]
            eta += at[m] * feature[m]
        tail = np.exp(-abs(eta))
        small = tail / (1.0 + tail)
        p = small if eta < 0.0 else 1.0 - small
        loss = np.log1p(tail)
        if (eta > 0.0) != (positive[j] == 1):
            loss += abs(eta)
        sums[0] += weight[j] * loss
        r = weight[j] * (p - positive[j])
        w = weight[j] * small * (1.0 - small)
        for m in range(k):
            sums[1 + m] += r * feature[m]
            for q in range(m + 1):
                sums[1 + k + m * k + q] += w * feature[m] * feature[q]


@kernel
def _loss_at(
    j: int,
    x: NDArray[np.float64],
    rows: NDArray[np.int32],
    terms: NDArray[np.float64],
    positive: NDArray[np.uint8],
    line: NDArray[np.float64],
) -> float:
    eta = line[0] + line[1] * x[j]
    for m in range(2, len(line)):
        eta += line[m] * terms[rows[j], m - 2]
    loss = float(np.log1p(np.exp(-abs(eta))))
    return loss + abs(eta) if (eta > 0.0) != (positive[j] == 1) else loss


@kernel
def row_gains(
    x: NDArray[np.float64],
    rows: NDArray[np.int32],
    terms: NDArray[np.float64],
    weight: NDArray[np.float64],
    positive: NDArray[np.uint8],
    fold: NDArray[np.uint8],
    base: NDArray[np.float64],
    lines: NDArray[np.float64],
    first: int,
    last: int,
    gains: NDArray[np.float64],
) -> None:
    """Add to `gains`, (n_rows,), what each row's loss falls by: from `base` to its fold's line.

    ``base`` is float64, (2 + n_terms,), ``lines`` (n_folds, 2 + n_terms), as in
    `weighted_logistic`; the cells ``first:last`` are of rows that no other range of cells touches.
    """
    for j in range(first, last):
        before = _loss_at(j, x, rows, terms, positive, base)
        after = _loss_at(j, x, rows, terms, positive, lines[fold[rows[j]]])
        gains[rows[j]] += weight[j] * (before - after)
