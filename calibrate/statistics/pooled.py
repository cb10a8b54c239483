"""All cells of all classes as one line: the curve behind one shared threshold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import Block, LabelledLogits
from calibrate.kernels.curves import add_counts_above, cut_between
from calibrate.ops import LOWEST
from calibrate.statistics.curves import ThresholdCurves

_POOL_CELLS = 1 << 24


def pooled_curves(data: LabelledLogits, every_cut: bool = False) -> Iterator[ThresholdCurves]:
    """The curve of all cells as one line, in pieces from the highest cuts to the lowest.

    The thresholds are the scores themselves; `midway` moves one between its neighbours. At the
    scores of positives it takes two passes: one gathers them, one counts the cells above each. At
    every distinct score it takes one pass for each 16 million cells, whatever their number: the
    matrix is never held whole.
    """
    if every_cut:
        return _pooled_everywhere(data)
    return iter([_pooled_at_positives(data)])


def midway(data: LabelledLogits, score: np.float32) -> np.float32:
    """The threshold between `score` and the next lower score of all cells; one pass."""
    lower = np.float32(-np.inf)
    for block in data.blocks():
        below = block.scores[block.scores < score]
        lower = max(lower, below.max(initial=np.float32(-np.inf)))
    return LOWEST if lower == -np.inf else cut_between(lower, score)


def _positive_scores(block: Block) -> NDArray[np.float32]:
    rows = np.repeat(np.arange(len(block.scores)), np.diff(block.indptr))
    return block.scores[rows, block.indices]


def _one_line(
    data: LabelledLogits,
    threshold: NDArray[np.float32],
    tp: NDArray[np.int64],
    predicted: NDArray[np.int64],
) -> ThresholdCurves:
    return ThresholdCurves(
        indptr=np.array([0, len(threshold)]),
        threshold=threshold,
        tp=tp,
        fp=predicted - tp,
        positives=np.array([data.labels.n_labels]),
        cells=np.array([data.shape[0] * data.shape[1]]),
    )


_ABOVE_ALL = np.array([np.inf], dtype=np.float32)


def _pooled_at_positives(data: LabelledLogits) -> ThresholdCurves:
    scores = np.concatenate([_positive_scores(block) for block in data.blocks()])
    cuts, times = np.unique(scores[scores > -np.inf], return_counts=True)
    above = np.zeros(len(cuts), dtype=np.int64)

    def count(cells: NDArray[np.float32]) -> None:
        parts = np.array_split(cells, threads.n_threads())

        def order(first: int, last: int) -> None:
            for part in parts[first:last]:
                part.sort()

        def add(first: int, last: int) -> None:
            for part in parts:
                add_counts_above(part, cuts, first, last, above)

        threads.over_ranges(order, len(parts))
        threads.over_ranges(add, len(cuts))

    held: list[NDArray[np.float32]] = []
    for block in data.blocks():
        held.append(block.scores.ravel())
        if sum(len(cells) for cells in held) >= _POOL_CELLS:
            count(np.concatenate(held))
            held = []
    if held:
        count(np.concatenate(held))
    return _one_line(
        data,
        np.concatenate([_ABOVE_ALL, cuts[::-1]]),
        np.concatenate([[0], np.cumsum(times[::-1])]),
        np.concatenate([[0], above[::-1]]),
    )


def _pooled_everywhere(data: LabelledLogits) -> Iterator[ThresholdCurves]:
    yield _one_line(data, _ABOVE_ALL, np.zeros(1, np.int64), np.zeros(1, np.int64))
    tp, predicted = 0, 0
    for lowest, above in _bands(data):
        cells, hits = [], []
        for block in data.blocks():
            cells.append(block.scores[(block.scores >= lowest) & (block.scores < above)])
            positives = _positive_scores(block)
            hits.append(positives[(positives >= lowest) & (positives < above)])
        found, times = np.unique(np.concatenate(cells), return_counts=True)
        positive_times = np.zeros(len(found), dtype=np.int64)
        np.add.at(positive_times, np.searchsorted(found, np.concatenate(hits)), 1)
        tp_here = tp + np.cumsum(positive_times[::-1])
        predicted_here = predicted + np.cumsum(times[::-1])
        if len(found):
            yield _one_line(data, found[::-1], tp_here, predicted_here)
            tp, predicted = int(tp_here[-1]), int(predicted_here[-1])


def _bands(data: LabelledLogits) -> list[tuple[np.float32, np.float32]]:
    """Ranges ``lowest <= score < above``, highest first, of about ``_POOL_CELLS`` cells; one pass.

    The upper 16 bits of a float32, put in order, are a grid fine enough to part any scores that
    are not all equal to 1 in 128.
    """
    count = np.zeros(1 << 16, dtype=np.int64)
    for block in data.blocks():
        bits = block.scores[block.scores > -np.inf].view(np.int32)
        key = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF) - 1) >> 16
        count += np.bincount(key + (1 << 15), minlength=1 << 16)
    coarse = [int(n) for n in count]
    bands: list[tuple[np.float32, np.float32]] = []
    cells, above = 0, np.float32(np.inf)
    for place in range((1 << 16) - 1, -1, -1):
        cells += coarse[place]
        if cells and (place == 0 or cells + coarse[place - 1] > _POOL_CELLS):
            bands.append((_lowest_at(place), above))
            cells, above = 0, bands[-1][0]
    return bands


def _lowest_at(place: int) -> np.float32:
    """The lowest finite float32 whose upper bits have this place in their order."""
    ordered = (place - (1 << 15)) << 16
    bits = ordered if ordered >= 0 else (-(ordered + 1)) | 0x80000000
    value = np.array(bits, dtype=np.uint32).view(np.float32)[()]
    return np.float32(value) if np.isfinite(value) else LOWEST
