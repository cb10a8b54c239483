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
    """
    n_bins = gap.shape[1]
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
