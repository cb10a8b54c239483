"""The best cut of every class, exact, with most of the matrix looked at once and never sorted.

A class is swept in two looks. The first estimates its curve from all of its positives and a sample
of the rows, and puts a floor so deep that every cut below must be worse: down there, even if all
positives were found at no further cost, the metric would stay below what is reached above. The
second collects the scores above the floor and counts them exactly. Then the promise is checked
with exact counts, and a class for which it does not hold is swept again without a floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import LabelledLogits
from calibrate.kernels import sweep as kernels
from calibrate.kernels.midway import move_midway
from calibrate.metrics import Metric
from calibrate.ops import LOWEST
from calibrate.statistics.curves import BestCuts, ThresholdCurves, curves_of_scores
from calibrate.statistics.every_cut import best_of_every_cut

GROUP_CLASSES = 1536
"""Classes that one thread looks at together, at most: 6 KiB of each row, which is quick to read."""

COLLECTED_CELLS = 3 << 23
"""Scores that a thread has room for at once: 96 MiB, of which what is not used costs nothing."""

_N_CUTS = 16
"""Cuts at which a class is estimated, at even shares of its positives."""

_N_STEPS = 3
"""Cuts below the floor at which each class is counted: with three, half as much lies above it."""

_NEAR_CELLS = 1 << 20
"""Cells between two classes that are looked at again rather than begun anew for."""

_SAMPLED_ROWS = 4096
_DEVIATIONS = 3.0
_SPARE_ROOM = 64
_CLEARLY = 1e-9
"""Share of a value by which another must be lower, so that no rounding of a metric decides."""


Watch = Callable[[ThresholdCurves, BestCuts], None]


def best_cuts(data: LabelledLogits, *metrics: Metric) -> list[BestCuts]:
    """For each metric the best cut of every class, as if all cuts had been tried.

    A metric that promises ``positives_suffice`` (`calibrate.metrics.CutMetric`) is swept without a
    sort, and down to a floor; with any other, every cut of every class is tried.
    """
    if all(getattr(metric, "positives_suffice", False) for metric in metrics):
        found = _of_groups(data, metrics)
    else:
        found = best_of_every_cut(data, metrics)
    data.source.warn_of_probabilities()
    return [BestCuts.joined([parts[place] for parts in found]) for place in range(len(metrics))]


def watched_cuts(data: LabelledLogits, metric: Metric, watch: Watch) -> None:
    """The best cuts for a metric that promises ``positives_suffice``, with the curves above them.

    ``watch(curves, best)`` is called for some consecutive classes at a time, from any thread, with
    thresholds midway. A class may come more than once: the last curve of more than one entry holds.
    """
    _of_groups(data, [metric], watch)
    data.source.warn_of_probabilities()


def _of_groups(
    data: LabelledLogits, metrics: Sequence[Metric], watch: Watch | None = None
) -> list[list[BestCuts]]:
    n_classes = data.shape[1]
    # as many groups for one thread as for the others
    rounds = -(-n_classes // (GROUP_CLASSES * threads.n_threads()))
    width = -(-n_classes // (rounds * threads.n_threads()))
    # done here, once, and not by each thread for itself
    data.check_in_place()
    positives = data.labels.positives

    def best(first: int) -> list[BestCuts]:
        last = min(first + width, n_classes)
        return _Group(data, first, last, positives[first:last], watch).best(metrics)

    starts = range(0, n_classes, width)
    if data.source.sequential:
        return [best(first) for first in starts]
    return threads.each(best, starts)


class _Group:
    """Consecutive classes, swept by one thread."""

    def __init__(
        self,
        data: LabelledLogits,
        first: int,
        last: int,
        positives: NDArray[np.int64],
        watch: Watch | None = None,
    ) -> None:
        self.data, self.first, self.last, self.watch = data, first, last, watch
        self.n_rows, self.n_positives = data.shape[0], positives
        self.indptr = np.concatenate([[0], np.cumsum(self.n_positives)])

    def best(self, metrics: Sequence[Metric]) -> list[BestCuts]:
        """The best cuts of the group, for each metric."""
        positives = self._sorted_positives()
        found, proven = self._above(self._floors(positives, metrics), positives, metrics)
        if not proven.all():
            for a, b in self._runs(~proven):
                doubtful = _Group(
                    self.data, self.first + a, self.first + b, self.n_positives[a:b], self.watch
                )
                own = positives[self.indptr[a] : self.indptr[b]]
                again = doubtful._exhaustive(~proven[a:b], own, metrics)
                for cuts, exact in zip(found, again, strict=True):
                    here = np.flatnonzero(~proven[a:b])
                    cuts.put(a + here, exact.of(here))
        return found

    def _exhaustive(
        self,
        which: NDArray[np.bool_],
        positives: NDArray[np.float32],
        metrics: Sequence[Metric],
    ) -> list[BestCuts]:
        """The best cuts of some classes of the group, from all of their scores."""
        return self._above(_Floors.none(which, self.n_rows), positives, metrics)[0]

    def _runs(self, which: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
        """Ranges that hold the classes in `which`, none begun where it costs more than it spares.

        One, if each costs a pass over all rows.
        """
        places = np.flatnonzero(which)
        if not self.data.check_in_place():
            yield int(places[0]), int(places[-1]) + 1
            return
        near = max(1, _NEAR_CELLS // self.n_rows)
        for run in np.split(places, np.flatnonzero(np.diff(places) > near) + 1):
            yield int(run[0]), int(run[-1]) + 1

    def _sorted_positives(self) -> NDArray[np.float32]:
        """Scores of the positives, ascending within each ``indptr[c]:indptr[c + 1]``."""
        scores = np.empty(self.indptr[-1], dtype=np.float32)
        place = self.indptr[:-1].copy()
        for piece in self.data.pieces(self.first, self.last):
            kernels.gather_positives(
                piece.scores, piece.column, piece.indptr, piece.indices, self.first, self.last,
                place, scores,
            )  # fmt: skip
        for start, stop in pairwise(self.indptr):
            scores[start:stop].sort()
        return scores

    def _floors(self, positives: NDArray[np.float32], metrics: Sequence[Metric]) -> _Floors:
        """How deep each class has to be looked at, as a sample of the rows tells it."""
        n = self.n_positives[:, None]
        if not all(getattr(metric, "rises_with_tp", False) for metric in metrics):
            return _Floors.none(np.ones(len(n), dtype=np.bool_), self.n_rows)
        tp = -(-n * np.arange(1, _N_CUTS + 1) // _N_CUTS)
        places = (self.indptr[1:, None] - tp).clip(0)
        cuts = np.where(n > 0, np.append(positives, np.inf)[places], np.float32(np.inf))
        every = max(1, self.n_rows // _SAMPLED_ROWS)
        by_cut, counts = np.ascontiguousarray(cuts.T), np.zeros(cuts.T.shape, dtype=np.int32)
        for piece in self.data.pieces(self.first, self.last):
            kernels.count_at_cuts(piece.scores, piece.column, piece.start, every, by_cut, counts)
        above = every * counts.T.astype(np.float64)
        error = np.sqrt((every - 1.0) * np.maximum(above, every))
        fewest = np.maximum(above - _DEVIATIONS * error - tp, 0)
        most = np.minimum(np.maximum(above + error - tp, 0), self.n_rows - n)
        reached = [self._values(m, tp, most).max(axis=1, keepdims=True) for m in metrics]
        # from a step to the one below it, no cut has more positives than down to that one, nor
        # fewer false positives than down to this one: each step lies where that is too little
        most_tp = np.broadcast_to(n, tp.shape)
        levels: list[NDArray[np.float64]] = []
        for _ in range(_N_STEPS + 1):
            level = np.zeros(len(n))
            for metric, value in zip(metrics, reached, strict=True):
                beyond = self._values(metric, most_tp, fewest)
                level = np.maximum(level, _falls_below(beyond, value[:, 0]))
            levels.append(np.minimum(level, levels[-1]) if levels else level)
            most_tp = np.broadcast_to(_at_level(tp, np.ceil(levels[-1]))[:, None], tp.shape)
        *steps, floor = (_at_level(cuts, level).astype(np.float32) for level in levels)
        room = _at_level(above + _DEVIATIONS * error, np.ceil(levels[-1])) + _SPARE_ROOM
        room = np.where(self.n_positives > 0, np.minimum(room, self.n_rows), 0)
        return _Floors(floor, room.astype(np.int64), np.stack(steps[::-1]))

    def _values(
        self,
        metric: Metric,
        tp: NDArray[Any],
        fp: NDArray[Any],
        part: slice = slice(None),
    ) -> NDArray[np.float64]:
        """The metric of some classes at counts of shape (n_classes, any); nan becomes ``-inf``."""
        n = self.n_positives[part, None].astype(np.float64)
        counts = tp, fp, n - tp, (self.n_rows - n) - fp
        with np.errstate(divide="ignore", invalid="ignore"):
            values = metric(*(np.asarray(part, dtype=np.float64).ravel() for part in counts))
        return np.where(np.isnan(values), -np.inf, values).reshape(tp.shape)

    def _above(
        self, floors: _Floors, positives: NDArray[np.float32], metrics: Sequence[Metric]
    ) -> tuple[list[BestCuts], NDArray[np.bool_]]:
        """The best cuts above the floors, and for which classes none below can be better."""
        found: list[list[BestCuts]] = []
        proven: list[NDArray[np.bool_]] = []
        for first, last in _parts(floors.room):
            part = slice(first, last)
            curves, scores, tp, above = self._curves(part, floors, positives)
            n = self.n_positives[part]
            here = [curves.best(metric) for metric in metrics]
            if self.watch is not None:
                self.watch(curves, here[0])
            else:
                for best in here:
                    move_midway(*scores, LOWEST, best.threshold)
            del scores  # room for those of the next part
            kept = above[0] <= floors.room[part]
            next_tp = np.vstack([tp[1:], n])
            for metric, best in zip(metrics, here, strict=True):
                beyond = self._values(metric, next_tp.T, (above - tp).T, part)
                lower = _clearly_below(beyond, best.value[:, None]) | (next_tp == tp).T
                kept &= lower.all(axis=1) | (floors.floor[part] == -np.inf)
                kept &= ~np.isnan(best.threshold)
            found.append(here)
            proven.append(kept)
        joined = [BestCuts.joined([here[place] for here in found]) for place in range(len(metrics))]
        return joined, np.concatenate(proven)

    def _curves(
        self, part: slice, floors: _Floors, positives: NDArray[np.float32]
    ) -> tuple[ThresholdCurves, _Collected, NDArray[np.int64], NDArray[np.int64]]:
        """Exact curves of some classes above their floors; thresholds are scores of positives.

        They are midway if somebody watches.

        Also the scores, and how many positives and scores lie from the floor up, and from each
        step below it up, shape (1 + n_steps, n_classes). A curve is of no use where more scores
        lie above the floor than there is room for.
        """
        floor, room = floors.floor[part], floors.room[part]
        steps = np.ascontiguousarray(floors.steps[:, part])
        limit = np.cumsum(room)
        start = limit - room
        place, scores = start.copy(), np.empty(int(limit[-1]), dtype=np.float32)
        counts = np.zeros(steps.shape, dtype=np.int32)
        for piece in self.data.pieces(self.first + part.start, self.first + part.stop):
            kernels.collect(
                piece.scores, piece.column, np.maximum(floor, LOWEST), place, limit, scores,
                steps, counts,
            )  # fmt: skip
        indptr = self.indptr[part.start : part.stop + 1]
        own = positives[indptr[0] : indptr[-1]]
        indptr = indptr - indptr[0]
        tp = np.empty((1 + len(steps), len(floor)), dtype=np.int64)
        kernels.count_sorted(own, indptr, np.vstack([floor[None], steps]), tp)
        collected = _Collected(scores, start, np.minimum(place, limit), floor)
        curves = curves_of_scores(
            *collected, indptr, own, self.n_rows, self.first + part.start,
            midway=self.watch is not None,
        )  # fmt: skip
        return curves, collected, tp, np.vstack([(place - start)[None], counts])


class _Collected(NamedTuple):
    """Scores from the floor of each class up: those of class c are ``scores[start[c]:stop[c]]``."""

    scores: NDArray[np.float32]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    floor: NDArray[np.float32]


class _Floors(NamedTuple):
    """How deep classes are looked at.

    Attributes
    ----------
    floor : float32, (n_classes,)
        Scores from here up are collected; ``inf``: none are.
    room : int64, (n_classes,)
        For how many of them there is room.
    steps : float32, (n_steps, n_classes)
        Descending scores below, from which up the scores are only counted.
    """

    floor: NDArray[np.float32]
    room: NDArray[np.int64]
    steps: NDArray[np.float32]

    @classmethod
    def none(cls, which: NDArray[np.bool_], n_rows: int) -> _Floors:
        """All scores of the classes in `which`."""
        floor = np.where(which, -np.inf, np.inf).astype(np.float32)
        return cls(floor, np.where(which, n_rows, 0), np.empty((0, len(which)), np.float32))


def _falls_below(values: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place in each falling row of `values` where it falls below `target`; the last if none.

    Between two entries the place is interpolated.
    """
    below = _clearly_below(values, target[:, None])
    below[:, -1] = True
    place = below.argmax(axis=1)
    row = np.arange(len(values))
    low, high = values[row, place], values[row, np.maximum(place - 1, 0)]
    with np.errstate(divide="ignore", invalid="ignore"):
        back = (target - low) / (high - low)
    inside = (place > 0) & np.isfinite(back)
    return np.asarray(place - np.where(inside, np.clip(0.9 * back, 0.0, 1.0), 0.0))


def _at_level(values: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row of `values` at a place, interpolated between its entries."""
    row, low = np.arange(len(values)), np.floor(level).astype(np.int64)
    share = level - low
    a, b = values[row, low], values[row, np.minimum(low + 1, values.shape[1] - 1)]
    between = (share > 0) & np.isfinite(a) & np.isfinite(b)
    found = np.where(share > 0, b, a).astype(np.float64)
    found[between] += (share[between] - 1.0) * (b[between] - a[between])
    return found


def _parts(room: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of classes that together need no more room than there is."""
    first = 0
    while first < len(room):
        fits = int(np.searchsorted(np.cumsum(room[first:]), COLLECTED_CELLS, side="right"))
        last = first + max(1, fits)
        yield first, min(last, len(room))
        first = last


def _clearly_below(value: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether `value` is lower than `other` by more than rounding, or both are ``-inf``."""
    with np.errstate(invalid="ignore"):
        lower = value < other - _CLEARLY * np.abs(other)
    return np.asarray(lower | (value == -np.inf))
