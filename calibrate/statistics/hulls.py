"""Where each class gains most for each prediction more: the steps of its upper hull."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.data import LabelledLogits
from calibrate.kernels.hull import upper_hull
from calibrate.metrics import CutMetric
from calibrate.statistics.curves import BestCuts, ThresholdCurves, curves_at_bins
from calibrate.statistics.histogram import ScoreHistogram
from calibrate.statistics.sweep import watched_cuts


class HullSteps(NamedTuple):
    """Steps down the upper hulls of all classes, each class from the highest cut on.

    Within a class, ``tp / predicted`` falls from step to step.

    Attributes
    ----------
    line : int64, (n_steps,)
        The class.
    threshold : float32
        Of the cut below the step.
    tp, predicted : int64
        True positives, and predictions, that the step adds.
    """

    line: NDArray[np.int64]
    threshold: NDArray[np.float32]
    tp: NDArray[np.int64]
    predicted: NDArray[np.int64]

    def part(self, first: int, last: int, start: int) -> HullSteps:
        """Some of the steps, of classes that are counted from `start`."""
        here = slice(first, last)
        line = self.line[here] + start
        return HullSteps(line, self.threshold[here], self.tp[here], self.predicted[here])

    @classmethod
    def joined(cls, parts: Sequence[HullSteps]) -> HullSteps:
        """The steps of consecutive classes together."""
        return cls(
            np.concatenate([np.empty(0, np.int64), *(part.line for part in parts)]),
            np.concatenate([np.empty(0, np.float32), *(part.threshold for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.tp for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.predicted for part in parts)]),
        )


def steps_of_rows(data: LabelledLogits, metric: CutMetric) -> HullSteps:
    """Steps of all classes down to their best cut for `metric`, which promises what sweeps need."""
    found: dict[int, HullSteps] = {}
    adding = threading.Lock()

    def watch(curves: ThresholdCurves, best: BestCuts) -> None:
        steps = _steps(curves, best)
        ends = np.searchsorted(steps.line, np.arange(len(best.tp) + 1))
        some = np.diff(curves.indptr) > 1
        with adding:
            for c in np.flatnonzero(some).tolist():
                found[curves.start + c] = steps.part(ends[c], ends[c + 1], curves.start)

    watched_cuts(data, metric, watch)
    return HullSteps.joined([found[c] for c in sorted(found)])


def steps_of_bins(histogram: ScoreHistogram, metric: CutMetric) -> HullSteps:
    """As `steps_of_rows`, of the cuts between the filled bins of a histogram."""
    curves = curves_at_bins(histogram)
    return _steps(curves, curves.best(metric))


def _steps(curves: ThresholdCurves, best: BestCuts) -> HullSteps:
    kept, length = np.empty(len(curves.tp), np.int64), np.empty(len(best.tp), np.int64)
    upper_hull(curves.indptr, curves.tp, curves.fp, best.tp, best.fp, kept, length)
    line = np.repeat(np.arange(len(length)), length)
    places = np.arange(len(line)) - np.repeat(np.cumsum(length) - length, length)
    entry = kept[curves.indptr[line] + places]
    tp, predicted = curves.tp[entry], curves.tp[entry] + curves.fp[entry]
    later = places > 0
    return HullSteps(
        line[later],
        curves.threshold[entry][later],
        np.diff(tp, prepend=0)[later],
        np.diff(predicted, prepend=0)[later],
    )
