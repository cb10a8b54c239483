"""Counting right predictions, and summing what probabilities cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel
from calibrate.kernels.csr import first_from

_TILE = 64

_LEAST = -708.0
"""Below, an exponential has fewer digits and then none; it is taken for 0."""

_PER_HALF = 1.4426950408889634
_HALF_HIGH, _HALF_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""1 / log 2, and log 2 in two parts: whole multiples of the first are exact."""

_WHOLE = 6755399441055744.0
_WHOLE_BITS = np.int64(np.array(_WHOLE).view(np.int64))
"""1.5 * 2^52: a number added to it is rounded to a whole one."""


@kernel
def mark_hits(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    true_indptr: NDArray[np.int64],
    true_indices: NDArray[np.int32],
    first: int,
    last: int,
    hit: NDArray[np.bool_],
    row_tp: NDArray[np.int64],
) -> None:
    """Which predictions of the rows ``first:last`` are true, and how many in each row.

    Parameters
    ----------
    indptr, indices, true_indptr, true_indices
        Predicted and true labels as CSR, the classes of a row sorted.
    hit : bool, (n_predictions,)
    row_tp : int64, (n_rows,)
        Both filled for the rows of the range.
    """
    for i in range(first, last):
        place = true_indptr[i]
        stop = true_indptr[i + 1]
        found = 0
        for at in range(indptr[i], indptr[i + 1]):
            while place < stop and true_indices[place] < indices[at]:
                place += 1
            hit[at] = place < stop and true_indices[place] == indices[at]
            if hit[at]:
                found += 1
        row_tp[i] = found


@kernel
def _halved(logits: NDArray[np.float32], powers: NDArray[np.float64]) -> None:
    """``-|z| / log 2`` plus a number so large that the sum is whole, in its lowest bits."""
    for c in range(len(logits)):
        against = max(-abs(np.float64(logits[c])), _LEAST)
        powers[c] = against * _PER_HALF + _WHOLE


@kernel
def _exponentials(
    logits: NDArray[np.float32],
    powers: NDArray[np.float64],
    bits: NDArray[np.int64],
    rest: NDArray[np.float64],
) -> None:
    """The factors of ``e^-|z|``: `bits` those of a power of 2 or of 0, `rest` a number near 1.

    Parameters
    ----------
    powers, bits : float64 and int64
        The same memory, as `_halved` leaves it.
    """
    for c in range(len(logits)):
        against = max(-abs(np.float64(logits[c])), _LEAST)
        n = powers[c] - _WHOLE
        r = (against - n * _HALF_HIGH) - n * _HALF_LOW
        q = 1.0 / 6227020800.0
        q = q * r + 1.0 / 479001600.0
        q = q * r + 1.0 / 39916800.0
        q = q * r + 1.0 / 3628800.0
        q = q * r + 1.0 / 362880.0
        q = q * r + 1.0 / 40320.0
        q = q * r + 1.0 / 5040.0
        q = q * r + 1.0 / 720.0
        q = q * r + 1.0 / 120.0
        q = q * r + 1.0 / 24.0
        q = q * r + 1.0 / 6.0
        q = q * r + 0.5
        q = q * r + 1.0
        rest[c] = q * r + 1.0
    for c in range(len(logits)):
        power = (bits[c] - _WHOLE_BITS + np.int64(1023)) << np.int64(52)
        bits[c] = power if -abs(np.float64(logits[c])) >= _LEAST else np.int64(0)


@kernel
def _tails(
    powers: NDArray[np.float64],
    rest: NDArray[np.float64],
    small: NDArray[np.float64],
    soft: NDArray[np.float64],
) -> None:
    """The smaller of p and 1 - p, which so keeps its digits, and ``log(1 + e^-|z|)``."""
    for c in range(len(rest)):
        tail = powers[c] * rest[c]
        small[c] = tail / (1.0 + tail)
        # log(1 + t) = 2 artanh(t / (2 + t)), by its series
        s = tail / (2.0 + tail)
        w = s * s
        q = 1.0 / 33.0
        q = q * w + 1.0 / 31.0
        q = q * w + 1.0 / 29.0
        q = q * w + 1.0 / 27.0
        q = q * w + 1.0 / 25.0
        q = q * w + 1.0 / 23.0
        q = q * w + 1.0 / 21.0
        q = q * w + 1.0 / 19.0
        q = q * w + 1.0 / 17.0
        q = q * w + 1.0 / 15.0
        q = q * w + 1.0 / 13.0
        q = q * w + 1.0 / 11.0
        q = q * w + 1.0 / 9.0
        q = q * w + 1.0 / 7.0
        q = q * w + 1.0 / 5.0
        q = q * w + 1.0 / 3.0
        soft[c] = 2.0 * (s * w * q + s)


@kernel
def _places(
    logits: NDArray[np.float32],
    small: NDArray[np.float64],
    n_bins: int,
    bins_per_logit: float,
    n_logit_bins: int,
    of_p: NDArray[np.int64],
    of_logit: NDArray[np.int64],
) -> None:
    """The bin of each probability, and of each logit."""
    middle, farthest = np.int64(n_logit_bins // 2), np.float64(n_logit_bins)
    for c in range(len(logits)):
        p = 1.0 - small[c] if logits[c] > 0 else small[c]
        spot = p * n_bins
        above = np.int64(spot)
        above -= np.int64(np.float64(above) == spot)
        of_p[c] = above if above > 0 else 0
        spot = min(max(np.float64(logits[c]) * bins_per_logit, -farthest), farthest)
        below = np.int64(spot)
        below += middle - np.int64(np.float64(below) > spot)
        below = below if below > 0 else np.int64(0)
        of_logit[c] = below if below < n_logit_bins else n_logit_bins - 1


@kernel
def _without_labels(
    logits: NDArray[np.float32],
    small: NDArray[np.float64],
    soft: NDArray[np.float64],
    miss: NDArray[np.float64],
    loss: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> None:
    """``p``, ``-log(1 - p)`` and ``p (1 - p)`` of each cell."""
    for c in range(len(logits)):
        logit = np.float64(logits[c])
        miss[c] = 1.0 - small[c] if logit > 0 else small[c]
        loss[c] = soft[c] + max(logit, 0.0)
        spread[c] = small[c] * (1.0 - small[c])


@kernel
def _sum_up(
    logits: NDArray[np.float32],
    miss: NDArray[np.float64],
    loss: NDArray[np.float64],
    scored: NDArray[np.int64],
    log_loss: NDArray[np.float64],
    brier: NDArray[np.float64],
) -> None:
    for c in range(len(logits)):
        there = logits[c] > -np.inf
        scored[c] += np.int64(there)
        log_loss[c] += loss[c] if there else 0.0
        brier[c] += miss[c] * miss[c] if there else 0.0


@kernel
def add_losses(
    scores: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    first: int,
    last: int,
    scored: NDArray[np.int64],
    log_loss: NDArray[np.float64],
    brier: NDArray[np.float64],
    gap: NDArray[np.float64],
    bins: NDArray[np.float64],
    bins_per_logit: float,
) -> None:
    """Add the losses of the classes ``first:last``, cell by cell in the order of the rows.

    The order makes the sums the same in whatever blocks the rows come. A cell without a score
    (``-inf``) is left out. All that needs an exponential is computed for some classes of a row at
    once, without labels, in loops that the compiler turns into vectors.

    Parameters
    ----------
    scores : float32, (n_rows, n_classes)
        Calibrated logits.
    indptr, indices
        True labels as CSR, the classes of a row sorted.
    scored, log_loss, brier : (n_classes,)
        Cells, sum of ``-log`` of the probability of what came (nats), sum of ``(p - y)^2``.
    gap : float64, (n_classes, n_bins)
        Sum of ``p - y`` over the cells with p in bin b, which is ``(b / n_bins, (b + 1) / n_bins]``
        and has 0 in the first.
    bins : float64, (n_classes, any, 4)
        Cells, positives, sum of ``p - y`` and of ``p (1 - p)`` in bins of equal width in the logit;
        logit 0 lies at the lower edge of the middle one, and the outer bins take what lies beyond.
    """
    n_bins, n_logit_bins = gap.shape[1], bins.shape[1]
    powers, rest = np.empty(_TILE, np.float64), np.empty(_TILE, np.float64)
    small, soft = np.empty(_TILE, np.float64), np.empty(_TILE, np.float64)
    miss, loss = np.empty(_TILE, np.float64), np.empty(_TILE, np.float64)
    spread = np.empty(_TILE, np.float64)
    of_p, of_logit = np.empty(_TILE, np.int64), np.empty(_TILE, np.int64)
    bits = powers.view(np.int64)
    for tile in range(first, last, _TILE):
        end = min(tile + _TILE, last)
        n = end - tile
        for i in range(scores.shape[0]):
            logits = scores[i, tile:end]
            _halved(logits, powers)
            _exponentials(logits, powers, bits, rest)
            _tails(powers[:n], rest[:n], small, soft)
            _places(logits, small, n_bins, bins_per_logit, n_logit_bins, of_p, of_logit)
            _without_labels(logits, small, soft, miss, loss, spread)
            stop = indptr[i + 1]
            for place in range(first_from(indices, indptr[i], stop, tile), stop):
                c = indices[place] - tile
                if c >= n:
                    break
                logit = np.float64(logits[c])
                if logit == -np.inf:
                    continue
                miss[c] = -small[c] if logit > 0.0 else -(1.0 - small[c])
                loss[c] = soft[c] + max(-logit, 0.0)
                bins[tile + c, of_logit[c], 1] += 1.0
            _sum_up(logits, miss, loss, scored[tile:end], log_loss[tile:end], brier[tile:end])
            for c in range(n):
                if logits[c] > -np.inf:
                    gap[tile + c, of_p[c]] += miss[c]
                    bins[tile + c, of_logit[c], 0] += 1.0
                    bins[tile + c, of_logit[c], 2] += miss[c]
                    bins[tile + c, of_logit[c], 3] += spread[c]


@kernel
def add_row_weights(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    true_indptr: NDArray[np.int64],
    true_indices: NDArray[np.int32],
    hit: NDArray[np.float64],
    predicted: NDArray[np.float64],
    true: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """For each row the sum over its classes of ``hit``, less ``predicted``, less ``true``.

    The first counts for classes that are both predicted and true, the others for those that are
    predicted, and for those that are true.

    Parameters
    ----------
    indptr, indices, true_indptr, true_indices
        Predicted and true labels as CSR, the classes of a row sorted.
    hit, predicted, true : float64, (n_classes,)
    out : float64, (n_rows,)
        Added to.
    """
    for i in range(len(out)):
        place = true_indptr[i]
        stop = true_indptr[i + 1]
        total = 0.0
        for at in range(place, stop):
            total -= true[true_indices[at]]
        for at in range(indptr[i], indptr[i + 1]):
            c = indices[at]
            total -= predicted[c]
            while place < stop and true_indices[place] < c:
                place += 1
            if place < stop and true_indices[place] == c:
                total += hit[c]
        out[i] += total
