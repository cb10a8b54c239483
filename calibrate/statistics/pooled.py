"""All cells of all classes as one line: the curve behind one shared threshold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import Block, LabelledLogits
from calibrate.kernels.curves import add_counts_above, cut_between
from calibrate.kernels.pooled import count_all, count_few, highest_below
from calibrate.metrics import Metric
from calibrate.ops import LOWEST, from_ordinal, ordinal
from calibrate.statistics.curves import ThresholdCurves
from calibrate.statistics.positives import positive_scores

_POOL_CELLS = 1 << 24
_MOST_KEYS = 1 << 20
_CLEARLY = 1e-9


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


def best_pooled_cut(data: LabelledLogits, metric: Metric) -> tuple[float, np.float32]:
    """Value and threshold of the best cut of all cells as one line, as if all had been tried.

    Among cuts of equal value the one that predicts fewest wins. For a metric that promises
    ``positives_suffice`` and ``rises_with_tp`` (`calibrate.metrics.CutMetric`) it is found by
    looking closer and closer, one pass each, at where a cut could still be better.
    """
    promised = all(getattr(metric, name, False) for name in ("positives_suffice", "rises_with_tp"))
    found = _closer_and_closer(data, metric) if promised else None
    value, score = found or _best_of(pooled_curves(data, every_cut=not promised), metric)
    return value, midway(data, score) if score < np.inf else score


def _best_of(curves: Iterator[ThresholdCurves], metric: Metric) -> tuple[float, np.float32]:
    value, score = -np.inf, np.float32(np.inf)
    for curve in curves:
        best = curve.best(metric)
        if best.value[0] > value:
            value, score = float(best.value[0]), best.threshold[0]
    return value, score


def _closer_and_closer(data: LabelledLogits, metric: Metric) -> tuple[float, np.float32] | None:
    """Value and lowest score of the best cut; None where the keys do not part the cells.

    Cells are counted by key: the place of their score among the float32 numbers, first without
    the lowest 16 bits, then without 8, then whole. The counts are exact at the edges of the keys.
    Within a key no cut is worth more than all of its positives and none of its negatives: only
    keys in which that beats the best edge are looked at again.
    """
    data.check_in_place()
    positives = positive_scores(data)
    none = np.zeros(1, dtype=np.int64)
    nothing = float(_value(data, metric, none, none)[0])
    first, n_keys, tp_above, above = -(1 << 15), 1 << 16, 0, 0
    for shift in (16, 8, 0):
        count = count_all if shift == 16 else count_few
        if n_keys > _MOST_KEYS:
            return None
        counts = _counted(data, count, shift, first, n_keys)
        hits = count(_bits(positives), shift, first, n_keys)[:-1]
        predicted = above + np.cumsum(counts[::-1])
        tp = tp_above + np.cumsum(hits[::-1], dtype=np.int64)
        fp_above = predicted - counts[::-1] - (tp - hits[::-1])
        reached = _value(data, metric, tp, predicted)
        best = int(reached.argmax())
        if shift == 0:
            break
        within = _value(data, metric, tp, tp + fp_above)
        hopeless = within < reached[best] - _CLEARLY * abs(reached[best])
        live = np.flatnonzero((counts[::-1] > 0) & ~hopeless)
        if len(live) == 0:
            return nothing, np.float32(np.inf)
        top, bottom = int(live[0]), int(live[-1])
        tp_above, above = int(tp[top] - hits[::-1][top]), int(predicted[top] - counts[::-1][top])
        first, n_keys = (first + n_keys - 1 - bottom) << 8, (bottom - top + 1) << 8
    value = float(reached[best])
    if not value > nothing:
        return nothing, np.float32(np.inf)
    return value, np.float32(from_ordinal(np.array(first + n_keys - 1 - best))[()])


def pooled_cut_at_count(data: LabelledLogits, wanted: int) -> tuple[np.float32, int]:
    """Threshold and count of the one cut of all cells that is nearest to predicting `wanted`.

    Equal scores stay together: of two counts as near, the smaller is taken. Four passes: three that
    count cells by key, as in `best_pooled_cut`, each within the key of the last one wanted, and one
    for the score on the other side of the cut.

    Parameters
    ----------
    data : LabelledLogits
    wanted : int
        At least 0.
    """
    data.check_in_place()
    first, n_keys, above, at = -(1 << 15), 1 << 16, 0, 0
    for shift in (16, 8, 0):
        counts = _counted(data, count_all if shift == 16 else count_few, shift, first, n_keys)
        reached = above + np.cumsum(counts[::-1])
        if shift == 16:
            wanted = min(wanted, int(reached[-1]))
            if wanted == 0:
                return np.float32(np.inf), 0
        at = int(np.searchsorted(reached, wanted))
        above = int(reached[at] - counts[::-1][at])
        first, n_keys = (first + n_keys - 1 - at) << (8 if shift else 0), 1 << 8
    score, with_it = np.float32(from_ordinal(np.array(first))[()]), int(reached[at])
    if with_it - wanted < wanted - above:
        return midway(data, score), with_it
    if above == 0:
        return np.float32(np.inf), 0
    return cut_between(score, _lowest_above(data, score)), above


def _lowest_above(data: LabelledLogits, score: np.float32) -> np.float32:
    """The lowest score above `score`, which is not the highest; one pass."""
    limit = ordinal(-score)
    lowest = max(data.each_block(lambda block: highest_below(_bits(-block.scores), limit)))
    return np.float32(-from_ordinal(np.array(lowest, dtype=np.int64))[()])


def midway(data: LabelledLogits, score: np.float32) -> np.float32:
    """The threshold between `score` and the next lower score of all cells; one pass."""
    limit = ordinal(score)
    highest = max(data.each_block(lambda block: highest_below(_bits(block.scores), limit)))
    lower = np.float32(from_ordinal(np.array(highest, dtype=np.int64))[()])
    return LOWEST if lower == -np.inf else cut_between(lower, score)


def _counted(
    data: LabelledLogits,
    count: Callable[..., NDArray[np.uint32]],
    shift: int,
    first: int,
    n_keys: int,
) -> NDArray[np.int64]:
    counts, adding = np.zeros(n_keys, dtype=np.int64), threading.Lock()

    def add(block: Block) -> None:
        here = count(_bits(block.scores), shift, first, n_keys)[:-1]
        with adding:
            np.add(counts, here, out=counts)

    for _ in data.each_block(add):
        pass
    return counts


def _bits(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    return scores.reshape(-1).view(np.int32)


def _value(
    data: LabelledLogits, metric: Metric, tp: NDArray[np.int64], predicted: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The metric of cuts of all cells; nan becomes ``-inf``."""
    cells, n = data.shape[0] * data.shape[1], data.labels.n_labels
    fp = predicted - tp
    counts = (c.astype(np.float64) for c in (tp, fp, n - tp, cells - n - fp))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.asarray(metric(*counts), dtype=np.float64)
    return np.where(np.isnan(values), -np.inf, values)


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
