"""Cuts that predict a given number of rows: the k-th highest score of each class, exact.

A sample of the rows tells how deep the k-th highest score of a class lies at most; one pass
collects the scores from there up, along the rows, and only these are sorted. A class of which the
sample told too little is looked at whole.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import LabelledLogits
from calibrate.kernels.sweep import collect
from calibrate.ops import LOWEST
from calibrate.statistics.curves import curves_at_bins
from calibrate.statistics.histogram import ScoreHistogram
from calibrate.statistics.sweep import COLLECTED_CELLS, GROUP_CLASSES

_SAMPLED_ROWS = 1024
_DEVIATIONS = 3.0


class CountedCuts(NamedTuple):
    """Thresholds, and how many rows pass them, shape (n_classes,)."""

    threshold: NDArray[np.float32]
    predicted: NDArray[np.int64]


def cuts_at_counts(data: LabelledLogits, wanted: NDArray[np.int64]) -> CountedCuts:
    """For each class the cut that is nearest to predicting `wanted` rows.

    Equal scores stay together, so that not every number can be had: of two as near, the smaller.
    Thresholds lie midway between two scores; ``inf`` for no rows, and below all scores for all.

    Parameters
    ----------
    data : LabelledLogits
    wanted : int64, (n_classes,)
        At least 0.
    """
    n_classes = data.shape[1]
    rounds = -(-n_classes // (GROUP_CLASSES * threads.n_threads()))
    width = -(-n_classes // (rounds * threads.n_threads()))
    data.check_in_place()

    def cut(first: int) -> CountedCuts:
        return _Group(data, first, wanted[first : first + width]).cuts()

    starts = range(0, n_classes, width)
    one_by_one = data.source.sequential
    found = [cut(first) for first in starts] if one_by_one else threads.each(cut, starts)
    data.source.warn_of_probabilities()
    return CountedCuts(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def cuts_at_counts_of_bins(histogram: ScoreHistogram, wanted: NDArray[np.int64]) -> CountedCuts:
    """As `cuts_at_counts`, of the cuts between the filled bins of a histogram."""
    curves = curves_at_bins(histogram)
    predicted = curves.tp + curves.fp
    miss = np.abs(predicted - wanted[curves.line])
    nearest = np.minimum.reduceat(miss, curves.indptr[:-1])
    winners = np.flatnonzero(miss == nearest[curves.line])
    first = winners[np.searchsorted(winners, curves.indptr[:-1])]
    return CountedCuts(curves.threshold[first], predicted[first])


class _Group:
    """Consecutive classes, looked at by one thread."""

    def __init__(self, data: LabelledLogits, first: int, wanted: NDArray[np.int64]) -> None:
        self.data, self.first, self.wanted = data, first, np.minimum(wanted, data.shape[0])
        self.n_rows = data.shape[0]

    def cuts(self) -> CountedCuts:
        n_classes = len(self.wanted)
        made = CountedCuts(np.full(n_classes, np.inf, np.float32), np.zeros(n_classes, np.int64))
        left = np.flatnonzero(self.wanted > 0)
        if len(left):
            floor, room = self._floors()
            left = self._collected(left, floor, room, made)
        whole = np.full(n_classes, -np.inf, np.float32), np.full(n_classes, self.n_rows)
        if len(left):
            self._collected(left, *whole, made)
        return made

    def _floors(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """A score below which no cut will lie, and how many scores are expected above it."""
        every = max(1, self.n_rows // _SAMPLED_ROWS)
        some = self.data.take(np.arange(0, self.n_rows, every))
        last = self.first + len(self.wanted)
        pieces = [
            piece.scores[:, piece.column :][:, : len(self.wanted)]
            for piece in some.pieces(self.first, last)
        ]
        sample = np.concatenate(pieces)
        ordered = np.sort(sample.T, axis=1)
        rank = (self.wanted + 1) / every
        deep = np.ceil(rank + _DEVIATIONS * np.sqrt(rank) + _DEVIATIONS).astype(np.int64)
        known = (every > 1) & (deep <= len(sample))
        place = np.where(known, len(sample) - deep, 0)
        floor = np.where(known, ordered[np.arange(len(ordered)), place], np.float32(-np.inf))
        room = every * (deep + _DEVIATIONS * np.sqrt(deep) + _DEVIATIONS)
        return floor, np.where(floor > -np.inf, np.minimum(room, self.n_rows), self.n_rows).astype(
            np.int64
        )

    def _collected(
        self,
        which: NDArray[np.intp],
        floor: NDArray[np.float32],
        room: NDArray[np.int64],
        made: CountedCuts,
    ) -> NDArray[np.intp]:
        """Put in the cuts of some classes from their scores above the floors; what is left over."""
        left: list[int] = []
        begin = 0
        while begin < len(which):
            fits = int(np.searchsorted(np.cumsum(room[which[begin:]]), COLLECTED_CELLS, "right"))
            some = which[begin : begin + max(1, fits)]
            begin += len(some)
            first, last = int(some[0]), int(some[-1]) + 1
            floors = np.full(last - first, np.inf, np.float32)
            floors[some - first] = floor[some]
            rooms = np.zeros(last - first, np.int64)
            rooms[some - first] = room[some]
            for c, scores, complete in self._scores(first, floors, rooms, some):
                cut = _nearest(scores, int(self.wanted[c]), floor[c] == -np.inf)
                if cut is None or not complete:
                    left.append(c)
                else:
                    made.threshold[c], made.predicted[c] = cut
        return np.array(left, dtype=np.intp)

    def _scores(
        self,
        first: int,
        floors: NDArray[np.float32],
        rooms: NDArray[np.int64],
        some: NDArray[np.intp],
    ) -> list[tuple[int, NDArray[np.float32], bool]]:
        """Scores of some classes from their floors up, and whether there was room for all."""
        limit = np.cumsum(rooms)
        start = limit - rooms
        place, scores = start.copy(), np.empty(int(limit[-1]), dtype=np.float32)
        none = np.empty((0, len(floors)), np.float32), np.empty((0, len(floors)), np.int32)
        lowest = np.maximum(floors, LOWEST)
        for piece in self.data.pieces(self.first + first, self.first + first + len(floors)):
            collect(piece.scores, piece.column, lowest, place, limit, scores, *none)
        stop = np.minimum(place, limit)
        return [
            (c, scores[start[at] : stop[at]], bool(place[at] <= limit[at]))
            for c, at in zip(some.tolist(), (some - first).tolist(), strict=True)
        ]


def _nearest(
    scores: NDArray[np.float32], wanted: int, complete: bool
) -> tuple[np.float32, int] | None:
    """Threshold and count of the cut nearest to `wanted`, at least 1; None where it lies deeper.

    `scores`, in any order, are all of the class, or those above some floor unless `complete`.
    """
    if len(scores) <= wanted and not complete:
        return None
    if len(scores) == 0:
        return np.float32(np.inf), 0
    scores.sort()
    score = scores[max(0, len(scores) - wanted)]
    below = int(np.searchsorted(scores, score, "left"))
    with_it, without = (
        len(scores) - below,
        len(scores) - int(np.searchsorted(scores, score, "right")),
    )
    if abs(with_it - wanted) < abs(without - wanted):
        if below == 0:
            return (LOWEST, with_it) if complete else None
        return _midway(scores[below - 1], score), with_it
    if without == 0:
        return np.float32(np.inf), 0
    return _midway(score, scores[-without]), without


def _midway(lower: np.float32, upper: np.float32) -> np.float32:
    """A float32 in ``(lower, upper]``, midway where there is room."""
    middle = np.float32(0.5 * (float(lower) + float(upper)))
    return middle if middle > lower else upper
