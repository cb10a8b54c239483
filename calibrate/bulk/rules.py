"""Rules over many rows: what `rule.decide` says, compiled where that is far quicker."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.ops import DecisionOp, Float32, HighestOp, RowLabels, Threshold


def decided(rule: DecisionOp, logits: Float32) -> RowLabels:
    """What ``rule.decide(logits)`` says, on all threads."""
    parts: dict[int, RowLabels] = {}

    def work(first: int, last: int) -> None:
        parts[first] = compiled(rule, logits[first:last])

    threads.over_ranges(work, len(logits))
    found = [parts[first] for first in sorted(parts)]
    counts = np.concatenate([np.diff(part.indptr) for part in found])
    return RowLabels(_indptr(counts), np.concatenate([part.indices for part in found]))


def compiled(rule: DecisionOp, logits: Float32) -> RowLabels:
    """What ``rule.decide(logits)`` says, on one thread."""
    if isinstance(rule, Threshold):
        return _passing(rule.threshold, logits)
    if isinstance(rule, HighestOp):
        scores = rule.scores(logits)
        return highest(scores, rule.counts(scores))
    return rule.decide(logits)


def highest(scores: Float32, k: NDArray[np.int64]) -> RowLabels:
    """The ``k[i]`` highest scores of each row; among equals the lower class index wins.

    Parameters
    ----------
    scores : float32, (n_rows, n_classes)
        Without nan; ``-inf`` is never taken.
    k : int64, (n_rows,)
        From 0 to n_classes.
    """
    from calibrate.kernels.rows import highest as find

    counts, indices = np.empty_like(k), np.empty(int(k.sum()), dtype=np.int32)
    found = find(_not_to_be_written(scores).view(np.int32), k, counts, indices)
    return RowLabels(_indptr(counts), indices[:found])


def _passing(threshold: Float32, logits: Float32) -> RowLabels:
    from calibrate.kernels.rows import passing

    # a calibrated logit may overflow to inf, which passes inf, but nothing passes nan
    thresholds = np.empty(logits.shape[1], dtype=np.float32)
    thresholds[:] = np.where(np.isposinf(threshold), np.nan, threshold)
    counts = np.empty(len(logits), dtype=np.int64)
    indices = np.empty(logits.size // 8, dtype=np.int32)
    scores = _not_to_be_written(logits)
    found = passing(scores, thresholds, counts, indices)
    if found > len(indices):
        indices = np.empty(found, dtype=np.int32)
        passing(scores, thresholds, counts, indices)
    return RowLabels(_indptr(counts), indices[:found].copy())


def _indptr(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)])


def _not_to_be_written(scores: Float32) -> Float32:
    """The same scores: a kernel is compiled once for arrays of this kind, and not for both."""
    view = scores.view()
    view.flags.writeable = False
    return view
