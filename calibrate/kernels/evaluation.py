"""Counting right predictions, and summing what probabilities cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel
from calibrate.kernels.csr import first_from

_TILE = 64


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
    bin_cells: NDArray[np.int64],
    bin_positives: NDArray[np.int64],
    bin_gap: NDArray[np.float64],
    bin_variance: NDArray[np.float64],
    bins_per_logit: float,
) -> None:
    """Add the losses of the classes ``first:last``, cell by cell in the order of the rows.

    The order makes the sums the same in whatever blocks the rows come. A cell without a score
    (``-inf``) is left out.

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
    bin_cells, bin_positives, bin_gap, bin_variance : (n_classes, any)
        Cells, positives, sum of ``p - y`` and of ``p (1 - p)`` in bins of equal width in the logit;
        logit 0 lies at the lower edge of the middle one, and the outer bins take what lies beyond.
    """
    n_bins, n_logit_bins = gap.shape[1], bin_cells.shape[1]
    middle, farthest = n_logit_bins // 2, np.float64(n_logit_bins)
    for tile in range(first, last, _TILE):
        end = min(tile + _TILE, last)
        for i in range(scores.shape[0]):
            stop = indptr[i + 1]
            place = first_from(indices, indptr[i], stop, tile)
            for c in range(tile, end):
                positive = place < stop and indices[place] == c
                if positive:
                    place += 1
                logit = np.float64(scores[i, c])
                if logit == -np.inf:
                    continue
                # the smaller of p and 1 - p is computed as such, so that neither loses its digits
                tail = np.exp(-abs(logit))
                small = tail / (1.0 + tail)
                p = 1.0 - small if logit > 0.0 else small
                loss = np.log1p(tail)
                miss = small
                if (logit > 0.0) != positive:
                    loss += abs(logit)
                    miss = 1.0 - small
                b = max(int(np.ceil(p * n_bins)) - 1, 0)
                scored[c] += 1
                log_loss[c] += loss
                brier[c] += miss * miss
                gap[c, b] += -miss if positive else miss
                spot = min(max(logit * bins_per_logit, -farthest), farthest)
                b = min(max(int(np.floor(spot)) + middle, 0), n_logit_bins - 1)
                bin_cells[c, b] += 1
                bin_positives[c, b] += positive
                bin_gap[c, b] += -miss if positive else miss
                bin_variance[c, b] += small * (1.0 - small)


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
