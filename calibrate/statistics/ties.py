"""The distinct scores of a class with their counts: what isotonic fits are made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import ClassStrip, LabelledLogits
from calibrate.kernels.isotonic import group_ties
from calibrate.statistics.histogram import ScoreHistogram

Result = TypeVar("Result")


class TiedScores(NamedTuple):
    """Distinct scores, ascending: float64; cells and positives at each: int64."""

    score: NDArray[np.float64]
    n: NDArray[np.int64]
    y: NDArray[np.int64]

    @classmethod
    def of(
        cls, score: NDArray[np.float64], n: NDArray[np.int64], y: NDArray[np.int64]
    ) -> TiedScores:
        """Scores in any order, equal ones taken together and those without cells left out."""
        order = np.argsort(score, kind="stable")
        order = order[n[order] > 0]
        score, n, y = score[order], n[order], y[order]
        if len(score) == 0:
            return cls(score, n, y)
        starts = np.flatnonzero(np.append(True, score[1:] != score[:-1]))
        return cls(score[starts], np.add.reduceat(n, starts), np.add.reduceat(y, starts))


def ties_of_rows(
    data: LabelledLogits, which: NDArray[np.bool_], work: Callable[[TiedScores], Result]
) -> dict[int, Result]:
    """``work(ties)`` for each class of `which`, exact, strip by strip on all threads."""
    found: dict[int, Result] = {}
    if not which.any():
        return found
    for strip in data.strips():
        lines = np.flatnonzero(which[strip.start : strip.start + len(strip.scores)]).tolist()

        def of_line(line: int, strip: ClassStrip = strip) -> Result:
            return work(_ties_of_line(strip, line))

        results = threads.each(of_line, lines)
        found |= {strip.start + line: result for line, result in zip(lines, results, strict=True)}
    return found


def _ties_of_line(strip: ClassStrip, line: int) -> TiedScores:
    """The ties of one class; its line of the strip is sorted in place."""
    ordered = strip.scores[line]
    hits = np.sort(ordered[strip.rows[strip.indptr[line] : strip.indptr[line + 1]]])
    ordered.sort()
    score = np.empty(len(ordered))
    n, y = np.empty(len(ordered), dtype=np.int64), np.empty(len(ordered), dtype=np.int64)
    found = group_ties(ordered, hits, score, n, y)
    return TiedScores(score[:found], n[:found], y[:found])


def ties_of_bins(
    histogram: ScoreHistogram, which: NDArray[np.bool_], work: Callable[[TiedScores], Result]
) -> dict[int, Result]:
    """``work(ties)`` for each class of `which`, each bin at the mean of its scores."""
    scores, classes = histogram.scores, np.flatnonzero(which).tolist()
    results = threads.each(
        lambda c: work(TiedScores.of(scores[c], histogram.counts[c], histogram.positives[c])),
        classes,
    )
    return dict(zip(classes, results, strict=True))


def pooled_ties(histogram: ScoreHistogram) -> TiedScores:
    """The bins of all classes as one line."""
    # the mean of a bin of equal scores is not known to the last digits: in float32 it is that score
    return TiedScores.of(
        histogram.scores.reshape(-1).astype(np.float32).astype(np.float64),
        histogram.counts.reshape(-1),
        histogram.positives.reshape(-1),
    )
