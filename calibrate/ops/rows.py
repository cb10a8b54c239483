"""Arithmetic along rows of logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import Float32, RowLabels

_CACHED_CELLS = 1 << 17
"""Cells that stay in the cache of a core from one operation to the next."""


def labels_from_mask(mask: NDArray[np.bool_]) -> RowLabels:
    """Labels of rows from a boolean mask, shape (n_rows, n_classes)."""
    indptr = np.zeros(len(mask) + 1, dtype=np.int64)
    np.cumsum(np.count_nonzero(mask, axis=1), out=indptr[1:])
    return RowLabels(indptr, np.nonzero(mask)[1].astype(np.int32))


def expected_counts(logits: Float32) -> NDArray[np.float64]:
    """Sum of the sigmoids of each row: how many labels to expect. Shape (n_rows,), float64."""
    n_rows, n_classes = logits.shape
    height = max(1, _CACHED_CELLS // max(1, n_classes))
    counts, odds = np.empty(n_rows), np.empty((min(height, n_rows), n_classes), dtype=np.float32)
    for start in range(0, n_rows, height):
        part = logits[start : start + height]
        against = odds[: len(part)]
        with np.errstate(over="ignore"):
            np.exp(np.negative(part, out=against), out=against)
        against += np.float32(1.0)
        np.reciprocal(against, out=against)
        np.sum(against, axis=1, dtype=np.float64, out=counts[start : start + height])
    return counts


def sigmoid(logits: Float32) -> Float32:
    """Probabilities of logits, float32, without overflow warnings."""
    with np.errstate(over="ignore"):
        return np.asarray(np.float32(1.0) / (np.float32(1.0) + np.exp(-logits)), dtype=np.float32)


def largest_logits(logits: Float32) -> Float32:
    """The highest logit of each row, (n_rows,); ``-inf`` for a row without scores."""
    return np.asarray(logits.max(axis=1, initial=-np.inf))


def log_sums_of_exp(logits: Float32, largest: Float32) -> NDArray[np.float64]:
    """``log sum exp`` of each row, (n_rows,), float64, given its highest logit.

    ``-inf`` for a row without scores, ``inf`` where a logit is.
    """
    n_rows, n_classes = logits.shape
    height = max(1, _CACHED_CELLS // max(1, n_classes))
    sums = np.empty(n_rows)
    finite = np.where(np.isfinite(largest), largest, np.float32(0))
    for start in range(0, n_rows, height):
        part = slice(start, start + height)
        with np.errstate(over="ignore"):
            powers = np.exp(logits[part] - finite[part, None])
        np.sum(powers, axis=1, dtype=np.float64, out=sums[part])
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(sums) + finite)


def top_mask(logits: Float32, k: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The ``k[i]`` highest logits of each row; among equals the lower class index wins."""
    n_rows, n_classes = logits.shape
    ordered = np.sort(logits, axis=1)
    lowest_kept = np.full(n_rows, np.inf, dtype=np.float32)
    some = k > 0
    lowest_kept[some] = ordered[some, n_classes - k[some]]
    above = logits > lowest_kept[:, None]
    tied = (logits == lowest_kept[:, None]) & (logits > -np.inf)
    room = k - np.count_nonzero(above, axis=1)
    tied &= np.cumsum(tied, axis=1, dtype=np.int32) <= room[:, None]
    return np.asarray(above | tied)
