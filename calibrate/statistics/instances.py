"""The threshold that is best on the mean of a metric over rows.

Each row's metric is a staircase in the threshold, and the mean of all is one with a step at every
cell. Steps are added up by the key of their score, the place of the score among the float32
numbers without its lowest bits, first 16 of them, then 8, then none, each time only where the best
cut can lie. Values are whole multiples of a small number, so that sums do not depend on the order
of rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calibrate.data import Block, LabelledLogits
from calibrate.kernels.rows import highest
from calibrate.metrics import CutMetric, Metric
from calibrate.ops import LOWEST, RowLabels, from_ordinal, ordinal
from calibrate.statistics.curves import judged
from calibrate.statistics.pooled import midway

Integers = NDArray[np.int64]

MOST_KEYS = 1 << 20
_ALL_CELLS = 1 << 22
_SAMPLED_ROWS = 256
_LABELS_TIMES = 8
_PRECISION = 2.0**52
_HEADROOM = 2.0**9


def best_instance_cut(
    data: LabelledLogits, metric: Metric, min_k: int = 0
) -> tuple[float, np.float32]:
    """Mean over the rows of `metric` at the best threshold, and that threshold.

    Among thresholds of equal value the highest wins; ``inf`` where none is better than predicting
    nothing (or no more than `min_k`).

    Parameters
    ----------
    data : LabelledLogits
    metric : callable ``(tp, fp, fn, tn) -> array``
        Judges the counts of each row. A row with neither true nor predicted labels is worth as
        much as one whose only label is found, if the metric is one of `calibrate.metrics`.
    min_k : int
        At least so many labels are predicted for each row, its highest.

    Raises
    ------
    ValueError
        If the metric does not return one finite number for each row.

    Notes
    -----
    Three passes, or two more for each further stretch of keys that stay open, such as on the other
    side of zero. For a `CutMetric` no cut within a key is worth more than all of the key's
    positives and none of its negatives, row by row; where that is no better than the best edge of
    a key, nothing is looked at again. The result is the best of all thresholds but where more than
    1,048,576 neighbouring keys stay open: then it is the best of a grid on which a score lies
    within 1 part in 32,768 of the next, and of all thresholds about its best point. For a metric
    that promises nothing the first grid is one of 1 part in 128.
    """
    data.check_in_place()
    judge = _Judge.of(data, metric)
    staircase = _Staircase(data, judge, min_k, 16, -(1 << 15), 1 << 16, _floor(data, judge))
    staircase.climb()
    if staircase.floor > -np.inf and staircase.below >= staircase.reached.max():
        staircase = _Staircase(data, judge, min_k, 16, -(1 << 15), 1 << 16)
        staircase.climb()
    nothing = value = staircase.base
    place = 0
    for span in staircase.spans():
        near = staircase.nearer(span, 8)
        if judge.promises and not len(near.live()):
            continue
        near = near.nearer(near.worth_a_look(), 0)
        best = int(near.reached.argmax())
        if near.reached[best] > value:
            value, place = int(near.reached[best]), near.first + near.n_keys - 1 - best
    if value <= nothing:
        return judge.mean(nothing), np.float32(np.inf)
    return judge.mean(value), midway(data, np.float32(from_ordinal(np.array(place))[()]))


def instance_values(
    data: LabelledLogits, metric: Metric, decide: Callable[[NDArray[np.float32]], RowLabels]
) -> NDArray[np.float64]:
    """The metric of each row, as `best_instance_cut` judges it, float64, (n_rows,).

    Parameters
    ----------
    data : LabelledLogits
        A few thousand rows.
    metric : callable ``(tp, fp, fn, tn) -> array``
    decide : callable
        Labels of rows of scores.
    """
    judge = _Judge.of(data, metric)

    def of_block(block: Block) -> NDArray[np.float64]:
        n_rows, n_classes = block.scores.shape

        def cells(labels: RowLabels) -> Integers:
            rows = np.repeat(np.arange(n_rows), np.diff(labels.indptr))
            return np.asarray(rows * n_classes + labels.indices)

        true, decided = RowLabels(block.indptr, block.indices), decide(block.scores)
        hits = np.intersect1d(cells(true), cells(decided), assume_unique=True) // n_classes
        tp = np.bincount(hits, minlength=n_rows)
        return judge._raw(tp, np.diff(decided.indptr), np.diff(true.indptr))

    return np.concatenate([of_block(block) for block in data.blocks()])


@dataclass(frozen=True, eq=False)
class _Judge:
    """The metric of rows, as whole multiples of ``1 / scale``."""

    metric: Metric
    n_rows: int
    n_classes: int
    scale: float

    @classmethod
    def of(cls, data: LabelledLogits, metric: Metric) -> _Judge:
        n_rows, n_classes = data.shape
        corners = np.meshgrid([0, 1, n_classes], [0, n_classes], [0, n_classes])
        tp, fp, fn = (np.minimum(c.ravel(), n_classes) for c in corners)
        fits = tp + fp + fn <= n_classes
        plain = cls(metric, n_rows, n_classes, 1.0)
        most = np.abs(plain._raw(tp[fits], (tp + fp)[fits], (tp + fn)[fits])).max(initial=1.0)
        finest = np.floor(np.log2(_PRECISION / n_rows / most))
        return cls(metric, n_rows, n_classes, float(2.0**finest))

    @property
    def promises(self) -> bool:
        names = ("positives_suffice", "rises_with_tp")
        return all(getattr(self.metric, name, False) for name in names)

    def values(self, tp: Integers, predicted: Integers, true: Integers) -> Integers:
        """Of rows with these counts."""
        scaled = self._raw(tp, predicted, true) * self.scale
        if len(scaled) and np.abs(scaled).max() * self.n_rows > _PRECISION * _HEADROOM:
            raise ValueError(
                "the metric of a row must not be hundreds of times what it is where all or none "
                f"are predicted, got {np.abs(scaled).max() / self.scale:g}"
            )
        return np.rint(scaled).astype(np.int64)

    def mean(self, total: int) -> float:
        return total / self.scale / self.n_rows

    def _raw(self, tp: Integers, predicted: Integers, true: Integers) -> NDArray[np.float64]:
        counts = np.stack([tp, predicted - tp, true - tp, self.n_classes - predicted - true + tp])
        if isinstance(self.metric, CutMetric):
            counts[0, (predicted == 0) & (true == 0)] = 1
        found = judged(self.metric, list(counts.astype(np.float64)))
        if not np.isfinite(found).all():
            at = int(np.argmin(np.isfinite(found)))
            raise ValueError(
                "a metric of rows must be finite for each of them, got "
                f"{found[at]} for tp, fp, fn, tn = {', '.join(str(c) for c in counts[:, at])}"
            )
        return found


def _floor(data: LabelledLogits, judge: _Judge) -> np.float32:
    """A score below which the best cut hardly lies."""
    if not judge.promises or data.shape[0] * data.shape[1] <= _ALL_CELLS:
        return np.float32(-np.inf)
    some = data.thinned(_SAMPLED_ROWS)
    scores = np.concatenate([block.scores.ravel() for block in some.blocks()])
    wanted = _LABELS_TIMES * (some.labels.n_labels + some.shape[0])
    if wanted >= len(scores):
        return np.float32(-np.inf)
    return np.float32(np.partition(scores, len(scores) - wanted)[len(scores) - wanted])


@dataclass(eq=False)
class _Staircase:
    """Sums over the rows of their values at cuts, by key, from the highest on.

    Attributes
    ----------
    base : int
        Of a cut above all keys.
    reached : int64, (n_keys,)
        Of a cut below each key, the highest first.
    within : int64, (n_keys,)
        What no cut within the key exceeds.
    filled : bool, (n_keys,)
        Whether the key has cells.
    below : int
        What no cut below the floor exceeds.
    """

    data: LabelledLogits
    judge: _Judge
    min_k: int
    shift: int
    first: int
    n_keys: int
    floor: np.float32 = np.float32(-np.inf)  # noqa: RUF009
    base: int = 0
    below: int = 0
    reached: Integers = field(init=False)
    within: Integers = field(init=False)
    filled: NDArray[np.bool_] = field(init=False)

    def climb(self) -> None:
        """Go over the rows."""
        steps, tops = np.zeros(self.n_keys, np.int64), np.zeros(self.n_keys, np.int64)
        self.filled, adding = np.zeros(self.n_keys, np.bool_), threading.Lock()

        def add(block: Block) -> None:
            base, below, keys, step, top = self._of_block(block)
            with adding:
                self.base += base
                self.below += below
                np.add.at(steps, keys, step)
                np.add.at(tops, keys, top)
                self.filled[keys] = True

        for _ in self.data.each_block(add):
            pass
        self.reached = self.base + np.cumsum(steps)
        self.within = self.reached - steps + tops

    def live(self) -> Integers:
        """The keys in which a cut may be better than the best edge, or as good."""
        best = max(self.base, int(self.reached.max()))
        # a rounding for each row
        return np.flatnonzero(self.filled & (self.within >= best - self.judge.n_rows))

    def nearer(self, span: tuple[int, int], shift: int) -> _Staircase:
        """The keys from the first to the last of the span, each taken apart into 256."""
        top, bottom = span
        first, n_keys = (self.first + self.n_keys - 1 - bottom) << 8, (bottom - top + 1) << 8
        found = _Staircase(self.data, self.judge, self.min_k, shift, first, n_keys)
        found.climb()
        return found

    def spans(self) -> list[tuple[int, int]]:
        """All keys to look at closer, the highest first, as few spans as there is room for.

        Keys about zero are many: the small numbers of both signs.
        """
        if not self.judge.promises:
            return [self.worth_a_look()]
        live, found = self.live(), []
        while len(live):
            n = int(np.searchsorted(live, live[0] + (MOST_KEYS >> 8)))
            found.append((int(live[0]), int(live[n - 1])))
            live = live[n:]
        return found

    def worth_a_look(self) -> tuple[int, int]:
        """The first and the last key to look at closer."""
        best = int(self.reached.argmax())
        if not self.judge.promises:
            return max(0, best - 1), min(self.n_keys - 1, best + 1)
        live, half = self.live(), MOST_KEYS >> 9
        top, bottom = int(live[0]), int(live[-1])
        best = min(max(best, top), bottom)
        return max(top, best - half), min(bottom, best + half - 1)

    def _of_block(self, block: Block) -> tuple[int, int, Integers, Integers, Integers]:
        scores, true = block.scores, np.diff(block.indptr)
        n_rows = len(scores)
        positive = np.zeros(scores.shape, dtype=np.bool_)
        row_of_label = np.repeat(np.arange(n_rows), true)
        positive[row_of_label, block.indices] = True
        always = scores >= self.above
        always[self._highest(scores)] = True
        inside = (scores >= self.lowest) & ~always
        predicted = np.count_nonzero(always, axis=1)
        tp = np.bincount(row_of_label, always[row_of_label, block.indices], n_rows)
        row, bits = np.nonzero(inside)[0], scores[inside].view(np.int32).astype(np.int64)
        place = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))
        key = self.first + self.n_keys - 1 - (place >> self.shift)
        ordered = np.sort((row * self.n_keys + key) << 1 | positive[inside])
        return self._steps(ordered, tp.astype(np.int64), predicted, true)

    @cached_property
    def above(self) -> np.float32:
        """The score from which on cells lie above all keys; nan if none does."""
        place = (self.first + self.n_keys) << self.shift
        if place > ordinal(np.float32(np.inf)):
            return np.float32(np.nan)
        return np.float32(from_ordinal(np.array(place))[()])

    @cached_property
    def lowest(self) -> np.float32:
        """The score below which cells lie below all keys."""
        place = max(self.first << self.shift, ordinal(LOWEST))
        return max(self.floor, np.float32(from_ordinal(np.array(place))[()]))

    def _highest(self, scores: NDArray[np.float32]) -> tuple[Integers, NDArray[np.int32]]:
        """Rows and classes that are predicted at any cut."""
        k = np.full(len(scores), min(self.min_k, scores.shape[1]))
        counts, columns = np.empty_like(k), np.empty(int(k.sum()), dtype=np.int32)
        found = highest(scores.view(np.int32), k, counts, columns)
        return np.repeat(np.arange(len(k)), counts), columns[:found]

    def _steps(
        self, ordered: Integers, tp: Integers, predicted: Integers, true: Integers
    ) -> tuple[int, int, Integers, Integers, Integers]:
        """Sums and steps of rows, given their counts above all keys and the cells of the keys."""
        at_start = self.judge.values(tp, predicted, true)
        ends = np.flatnonzero(np.append(ordered[1:] >> 1 != ordered[:-1] >> 1, len(ordered) > 0))
        row, key = np.divmod(ordered[ends] >> 1, self.n_keys)
        own_start = np.searchsorted(ordered, row * self.n_keys << 1)
        hits = np.append(0, np.cumsum(ordered & 1))
        tp_after = tp[row] + hits[ends + 1] - hits[own_start]
        predicted_after = predicted[row] + ends + 1 - own_start
        value = self.judge.values(tp_after, predicted_after, true[row])
        new_row = np.append(True, row[1:] != row[:-1])[: len(row)]
        before = np.where(new_row, at_start[row], np.roll(value, 1))
        fp_before = np.where(new_row, (predicted - tp)[row], np.roll(predicted_after - tp_after, 1))
        top = self.judge.values(tp_after, tp_after + fp_before, true[row])
        fp = predicted - tp
        last = np.append(row[1:] != row[:-1], True)[: len(row)]
        fp[row[last]] = (predicted_after - tp_after)[last]
        below = self.judge.values(true, true + fp, true) if self.floor > -np.inf else at_start
        return int(at_start.sum()), int(below.sum()), key, value - before, top - before
