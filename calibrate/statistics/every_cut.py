"""The best cut of every class for a metric that promises nothing: all cuts are tried.

No class is sorted. Its counts at the scores of positives say which pairs (tp, fp) it can pass
through in between; the metric judges them all, many at a time, and only the winner is looked for
among the scores. With ties there are pairs that no cut reaches: a class whose winner is one of
them is sorted after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import LabelledLogits
from calibrate.kernels import lattice as kernels
from calibrate.kernels.midway import settle
from calibrate.kernels.sweep import curves_at_positives, gather_positives
from calibrate.metrics import Metric
from calibrate.ops import LOWEST
from calibrate.statistics.curves import BestCuts, curves_everywhere, judged

GROUP_CELLS = 1 << 24
"""Cells that one thread holds at a time: 64 MiB of float32."""

_ROWS_AT_ONCE = 512
"""Rows of a group that stay in the cache while they are laid down."""

_POINTS_AT_ONCE = 1 << 14
"""Pairs of counts that are judged at once: with what a metric makes of them, they stay in it."""


_SORTED_CELLS = 1 << 18
"""Cells that are sorted at once; with the values of a metric, 30 MiB."""


class _Turns(NamedTuple):
    """Where the paths of some classes turn: their counts at the scores of positives.

    Each array but `length` and `ends` holds those of class c from ``indptr[c] + c`` on.
    """

    cut: NDArray[np.float32]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    indptr: NDArray[np.int64]
    length: NDArray[np.int64]
    ends: NDArray[np.int64]


def best_of_every_cut(data: LabelledLogits, metrics: Sequence[Metric]) -> list[list[BestCuts]]:
    """For consecutive groups of classes, the best cuts for each metric."""
    n_rows, n_classes = data.shape
    width = max(1, min(GROUP_CELLS // n_rows, -(-n_classes // threads.n_threads())))
    data.check_in_place()
    spare: list[NDArray[np.float32]] = []

    def best(first: int) -> list[BestCuts]:
        # memory is used again: to be given new pages takes as long as to fill them
        lines = spare.pop() if spare else np.empty((width, n_rows), dtype=np.float32)
        group = _Group(data, first, lines[: min(width, n_classes - first)])
        found = [group.best(metric) for metric in metrics]
        spare.append(lines)
        return found

    starts = range(0, n_classes, width)
    if data.source.sequential:
        return [best(first) for first in starts]
    return threads.each(best, starts)


class _Group:
    """Consecutive classes as lines, swept by one thread."""

    def __init__(self, data: LabelledLogits, first: int, lines: NDArray[np.float32]) -> None:
        self.n_rows, self.lines = data.shape[0], lines
        last = first + len(lines)
        self.indptr = np.concatenate([[0], np.cumsum(data.labels.positives[first:last])])
        self.positives = np.empty(self.indptr[-1], dtype=np.float32)
        place = self.indptr[:-1].copy()
        for piece in data.pieces(first, last):
            for start in range(0, len(piece.scores), _ROWS_AT_ONCE):
                stop = min(start + _ROWS_AT_ONCE, len(piece.scores))
                rows = piece.scores[start:stop]
                kernels.lay_down(rows, piece.column, piece.start + start, lines)
                gather_positives(
                    rows, piece.column, piece.indptr[start : stop + 1], piece.indices, first, last,
                    place, self.positives,
                )  # fmt: skip
        for c in range(len(lines)):
            self.positives[self.indptr[c] : self.indptr[c + 1]].sort()
        self.turns = self._turns()

    def _turns(self) -> _Turns:
        n_lines, size = len(self.lines), int(self.indptr[-1]) + len(self.lines)
        turns = _Turns(
            cut=np.empty(size, dtype=np.float32),
            tp=np.empty(size, dtype=np.int64),
            fp=np.empty(size, dtype=np.int64),
            indptr=self.indptr,
            length=np.empty(n_lines, dtype=np.int64),
            ends=np.empty(n_lines, dtype=np.int64),
        )
        start = self.n_rows * np.arange(n_lines)
        none = np.full(n_lines, -np.inf, dtype=np.float32)
        curves_at_positives(
            self.lines.reshape(-1), start, start + self.n_rows, none, self.indptr, self.positives,
            0, n_lines, False, LOWEST, turns.cut, turns.tp, turns.fp, turns.length,
        )  # fmt: skip
        kernels.count_points(self.lines, turns.tp, self.indptr, turns.length, turns.ends)
        return turns

    def best(self, metric: Metric) -> BestCuts:
        """The best cut of each class; among equals the one that predicts fewest."""
        n_lines = len(self.lines)
        _, tp, fp, indptr, length, ends = self.turns
        value, point = np.full(n_lines, -np.inf), np.zeros(n_lines, dtype=np.int64)
        room = np.empty((4, _POINTS_AT_ONCE))
        for begin in range(0, int(ends[-1]), _POINTS_AT_ONCE):
            n_points = min(_POINTS_AT_ONCE, int(ends[-1]) - begin)
            counts = [part[:n_points] for part in room]
            kernels.points(tp, fp, indptr, length, ends, self.n_rows, begin, *counts)
            kernels.judge(judged(metric, counts), ends, begin, value, point)
        best = BestCuts(
            np.empty(n_lines, dtype=np.float32), value, np.empty_like(point), np.empty_like(point)
        )
        level = np.empty_like(point)
        kernels.levels(fp, indptr, length, point, level)
        settle(self.lines, *self.turns[:5], LOWEST, point, level, best.threshold, best.tp, best.fp)
        unreached = np.isnan(best.threshold)
        if unreached.any():
            self._sort(np.flatnonzero(unreached), metric, best)
        return best

    def _sort(self, which: NDArray[np.intp], metric: Metric, best: BestCuts) -> None:
        """Put in the best cuts of some classes, from all of their scores in order."""
        height = max(1, _SORTED_CELLS // self.n_rows)
        for some in (which[at : at + height] for at in range(0, len(which), height)):
            positives = [self.positives[self.indptr[c] : self.indptr[c + 1]] for c in some]
            indptr = np.concatenate([[0], np.cumsum([len(part) for part in positives])])
            ordered = np.sort(self.lines[some], axis=1)
            curves = curves_everywhere(ordered, indptr, np.concatenate(positives), 0)
            best.put(some, curves.best(metric))
