"""Counting rows that come a few at a time, with no pass over the tables for each few."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.kernels.histogram import hold_scores, unload_words
from calibrate.ops import Float32
from calibrate.statistics.histogram import Grid

_GROUP_CLASSES = 1024
_WORTH_THREADS = 1 << 17
"""Cells from which on threads gain more than it takes to start them."""


class StreamedTables(NamedTuple):
    """The tables of a histogram, each (n_classes, n_bins), to which rows are added in place.

    Attributes
    ----------
    words : uint64
        What has come since the words were last unloaded; see `calibrate.kernels.histogram`.
    counts, positives, offsets : int64
        As in `ScoreHistogram`, all the rest.
    """

    words: NDArray[np.uint64]
    counts: NDArray[np.int64]
    positives: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def empty(cls, grid: Grid) -> StreamedTables:
        """Tables of no rows."""
        shape = len(grid.low), grid.n_bins
        return cls(np.zeros(shape, np.uint64), *(np.zeros(shape, np.int64) for _ in range(3)))

    def add(
        self, grid: Grid, scores: Float32, indptr: NDArray[np.int64], indices: NDArray[np.int32]
    ) -> None:
        """Add checked rows, with their labels as CSR.

        At most `calibrate.kernels.histogram.HELD_ROWS` of them may come before `unload`.
        """
        n_classes, per_logit = len(self.words), 1.0 / grid.width

        def hold(first: int) -> None:
            last = min(first + width, n_classes)
            hold_scores(
                scores, indptr, indices, grid.low, per_logit, first, last, grid.fraction_bits, *self
            )

        parts = threads.n_threads() if scores.size >= _WORTH_THREADS else 1
        width = max(1, min(_GROUP_CLASSES, -(-n_classes // parts)))
        starts = range(0, n_classes, width)
        if parts > 1:
            threads.each(hold, starts)
        else:
            for first in starts:
                hold(first)

    def unload(self) -> None:
        """Move what the words hold to the other tables."""
        threads.over_ranges(
            lambda first, last: unload_words(self.words, first, last, *self[1:]), len(self.words)
        )
