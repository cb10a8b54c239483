"""`ThresholdCurves`: the exact counts at every cut that can be the best one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import ClassStrip, LabelledLogits
from calibrate.kernels.curves import curves_at_all, gather_positives
from calibrate.kernels.sweep import curves_at_positives
from calibrate.metrics import Metric
from calibrate.ops import LOWEST
from calibrate.statistics.histogram import ScoreHistogram

_EVERY_CUT_CELLS = 1 << 22
"""Cells whose cuts are held at once: with every distinct score, 20 bytes and the metric's own."""

_JUDGED_ENTRIES = 1 << 18
"""Entries that are judged at once, about: with the values of a metric, 30 MiB."""


class BestCuts(NamedTuple):
    """The best cut of each line, shape (n_lines,)."""

    threshold: NDArray[np.float32]
    value: NDArray[np.float64]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[BestCuts]) -> BestCuts:
        """The best cuts of lines one after the other."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def of(self, lines: NDArray[np.intp]) -> BestCuts:
        """The cuts of some lines."""
        return BestCuts(self.threshold[lines], self.value[lines], self.tp[lines], self.fp[lines])

    def put(self, lines: NDArray[np.intp], others: BestCuts) -> None:
        """The cuts of `others` take the place of those of these lines."""
        mine: tuple[NDArray[Any], ...] = tuple(self)
        theirs: tuple[NDArray[Any], ...] = tuple(others)
        for values, new in zip(mine, theirs, strict=True):
            values[lines] = new


def judged(metric: Metric, counts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """`metric` at these tp, fp, fn, tn, float64; nan where it has no value.

    Raises
    ------
    ValueError
        If the metric does not return one real number per cut.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.asarray(metric(*counts))
    if values.shape != counts[0].shape or values.dtype.kind not in "fiub":
        raise ValueError(
            f"a metric must return one real number per cut, got shape {values.shape} and "
            f"dtype {values.dtype} for {len(counts[0])} cuts"
        )
    return np.ascontiguousarray(values, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class ThresholdCurves:
    """Per line (a class, or all classes pooled), counts at cuts from the highest to the lowest.

    Line i has the entries ``indptr[i]:indptr[i + 1]``; its first is the cut above all scores,
    ``(inf, 0, 0)``.

    Attributes
    ----------
    indptr : int64, (n_lines + 1,)
    threshold : float32, (n_entries,)
        Midway between two neighbouring distinct scores; the decision is ``score >= threshold``.
    tp, fp : int64, (n_entries,)
    positives, cells : int64, (n_lines,)
        How many cells are positive, and how many there are.
    start : int
        The class of line 0.
    """

    indptr: NDArray[np.int64]
    threshold: NDArray[np.float32]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    positives: NDArray[np.int64]
    cells: NDArray[np.int64]
    start: int = 0

    @property
    def line(self) -> NDArray[np.int64]:
        """The line of each entry, (n_entries,)."""
        return np.repeat(np.arange(len(self.positives)), np.diff(self.indptr))

    @property
    def fn(self) -> NDArray[np.int64]:
        """False negatives at each entry."""
        return self.positives[self.line] - self.tp

    @property
    def tn(self) -> NDArray[np.int64]:
        """True negatives at each entry."""
        return (self.cells - self.positives)[self.line] - self.fp

    def values(self, metric: Metric) -> NDArray[np.float64]:
        """`metric` at each entry; nan becomes ``-inf``.

        Raises
        ------
        ValueError
            If the metric does not return one real number per entry.
        """
        counts = [c.astype(np.float64) for c in (self.tp, self.fp, self.fn, self.tn)]
        values = judged(metric, counts)
        return np.where(np.isnan(values), -np.inf, values)

    def lines(self, first: int, last: int) -> ThresholdCurves:
        """The curves of some lines, where they lie."""
        here, lines = slice(self.indptr[first], self.indptr[last]), slice(first, last)
        return ThresholdCurves(
            self.indptr[first : last + 1] - self.indptr[first],
            self.threshold[here],
            self.tp[here],
            self.fp[here],
            self.positives[lines],
            self.cells[lines],
            self.start + first,
        )

    def best(self, metric: Metric) -> BestCuts:
        """The cut of highest value of each line; among equals the one that predicts fewest."""
        n_parts = min(len(self.positives), -(-len(self.tp) // _JUDGED_ENTRIES))
        ends = [len(self.positives) * part // n_parts for part in range(n_parts + 1)]
        return BestCuts.joined([self.lines(*part)._best(metric) for part in pairwise(ends)])

    def _best(self, metric: Metric) -> BestCuts:
        values = self.values(metric)
        highest = np.maximum.reduceat(values, self.indptr[:-1])
        winners = np.flatnonzero(values == highest[self.line])
        first = winners[np.searchsorted(winners, self.indptr[:-1])]
        return BestCuts(self.threshold[first], highest, self.tp[first], self.fp[first])

    def average_precision(self) -> NDArray[np.float64]:
        """Area under the precision-recall steps of each line; nan without positives.

        As scikit-learn's ``average_precision_score``: the sum over the cuts of the gain in recall
        times the precision there.
        """
        gain = np.diff(self.tp, prepend=0)
        gain[self.indptr[:-1]] = 0
        precision = self.tp / np.maximum(self.tp + self.fp, 1)
        total = np.add.reduceat(gain * precision, self.indptr[:-1])
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / np.where(self.positives > 0, self.positives, np.nan)


def threshold_curves(data: LabelledLogits, every_cut: bool = False) -> Iterator[ThresholdCurves]:
    """The curves of all classes, strip by strip.

    Parameters
    ----------
    data : LabelledLogits
    every_cut : bool
        Take every distinct score as a candidate, not only those of positives. A metric that does
        not promise to fall with the false positives needs it.
    """
    for strip in data.strips():
        yield from curves_of_lines(strip, every_cut)


def curves_of_lines(strip: ClassStrip, every_cut: bool = False) -> Iterator[ThresholdCurves]:
    """The curves of the lines of a strip; with `every_cut` its scores are sorted in place."""
    n_lines, n_scores = strip.scores.shape
    positives = np.empty(len(strip.rows), dtype=np.float32)

    def order(first: int, last: int) -> None:
        gather_positives(strip.scores, strip.indptr, strip.rows, first, last, positives)
        for c in range(first, last):
            positives[strip.indptr[c] : strip.indptr[c + 1]].sort()
        if every_cut:
            strip.scores[first:last].sort(axis=1)

    threads.over_ranges(order, n_lines)
    if not every_cut:
        start = n_scores * np.arange(n_lines)
        yield curves_of_scores(
            strip.scores.reshape(-1), start, start + n_scores,
            np.full(n_lines, -np.inf, dtype=np.float32), strip.indptr, positives, n_scores,
            strip.start,
        )  # fmt: skip
        return
    width = max(1, _EVERY_CUT_CELLS // n_scores)
    for first in range(0, n_lines, width):
        last = min(first + width, n_lines)
        part = strip.indptr[first : last + 1]
        yield curves_everywhere(
            strip.scores[first:last],
            part - part[0],
            positives[part[0] : part[-1]],
            strip.start + first,
        )


def curves_of_scores(
    scores: NDArray[np.float32],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    floors: NDArray[np.float32],
    indptr: NDArray[np.int64],
    positives: NDArray[np.float32],
    n_rows: int,
    first_class: int,
    midway: bool = True,
) -> ThresholdCurves:
    """Curves at the positives, above a floor; see `calibrate.kernels.sweep.curves_at_positives`.

    The threshold of the lowest cut is nan where it depends on what lies below the floor. If they
    are not to be midway, the thresholds are the scores of the positives.
    """
    n_lines = len(start)
    size = int(indptr[-1]) + n_lines
    entries = np.empty(size, np.float32), np.empty(size, np.int64), np.empty(size, np.int64)
    length = np.empty(n_lines, dtype=np.int64)
    threads.over_ranges(
        lambda first, last: curves_at_positives(
            scores, start, stop, floors, indptr, positives, first, last, midway, LOWEST,
            *entries, length,
        ),
        n_lines,
    )  # fmt: skip
    places = indptr[:-1] + np.arange(n_lines)
    return _filled(places, length, entries, np.diff(indptr), n_rows, first_class)


def curves_everywhere(
    lines: NDArray[np.float32],
    indptr: NDArray[np.int64],
    positives: NDArray[np.float32],
    start: int,
) -> ThresholdCurves:
    """Curves at every distinct score of sorted lines; see `calibrate.kernels.curves`."""
    n_lines, n_scores = lines.shape
    size = n_lines * (n_scores + 1)
    entries = np.empty(size, np.float32), np.empty(size, np.int64), np.empty(size, np.int64)
    length = np.empty(n_lines, dtype=np.int64)
    threads.over_ranges(
        lambda first, last: curves_at_all(
            lines, indptr, positives, first, last, LOWEST, *entries, length
        ),
        n_lines,
    )
    places = np.arange(n_lines) * (n_scores + 1)
    return _filled(places, length, entries, np.diff(indptr), n_scores, start)


def _filled(
    places: NDArray[np.int64],
    length: NDArray[np.int64],
    entries: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]],
    positives: NDArray[np.int64],
    n_rows: int,
    start: int,
) -> ThresholdCurves:
    """Curves of the first ``length[c]`` entries from ``places[c]`` on."""
    indptr = np.zeros(len(length) + 1, dtype=np.int64)
    np.cumsum(length, out=indptr[1:])
    kept = np.arange(indptr[-1]) + np.repeat(places - indptr[:-1], length)
    threshold, tp, fp = (values[kept] for values in entries)
    cells = np.full(len(length), n_rows, dtype=np.int64)
    return ThresholdCurves(indptr, threshold, tp, fp, positives, cells, start)


def curves_at_bins(histogram: ScoreHistogram) -> ThresholdCurves:
    """The curves at the cuts between the filled bins of a histogram: exact up to its grid."""
    filled = histogram.counts > 0
    length = filled.sum(axis=1) + 1
    indptr = np.zeros(len(length) + 1, dtype=np.int64)
    np.cumsum(length, out=indptr[1:])
    threshold = np.full(indptr[-1], np.inf, dtype=np.float32)
    tp, predicted = np.zeros(indptr[-1], np.int64), np.zeros(indptr[-1], np.int64)
    for c, (start, stop) in enumerate(pairwise(indptr)):
        bins = np.flatnonzero(filled[c])[::-1]
        scores = histogram.scores[c, bins]
        middle = 0.5 * (scores[:-1] + scores[1:])
        threshold[start + 1 : stop] = np.append(middle, LOWEST)[: len(bins)]
        tp[start + 1 : stop] = np.cumsum(histogram.positives[c, bins])
        predicted[start + 1 : stop] = np.cumsum(histogram.counts[c, bins])
    return ThresholdCurves(
        indptr=indptr,
        threshold=threshold,
        tp=tp,
        fp=predicted - tp,
        positives=np.asarray(histogram.positives.sum(axis=1)),
        cells=np.asarray(histogram.counts.sum(axis=1)),
    )
