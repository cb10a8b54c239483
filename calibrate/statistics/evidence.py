"""`Evidence`: what a fit may ask for, each part built when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from calibrate.data import LabelledLogits
from calibrate.data.dataset import KnownTerms
from calibrate.metrics import CutMetric, Metric
from calibrate.ops import CalibrationOp, ElementwiseOp, flat
from calibrate.statistics.counted import CountedCuts, cuts_at_counts, cuts_at_counts_of_bins
from calibrate.statistics.curves import BestCuts, curves_at_bins
from calibrate.statistics.expected_positives import expected_in_bins, expected_positives
from calibrate.statistics.histogram import ScoreHistogram
from calibrate.statistics.hulls import HullSteps, steps_of_bins, steps_of_rows
from calibrate.statistics.sweep import best_cuts
from calibrate.statistics.ties import TiedScores, ties_of_bins, ties_of_rows

Result = TypeVar("Result")


class RowsNeededError(TypeError):
    """A step looks along rows, and there is only a histogram.

    Attributes
    ----------
    step : str or None
        Its name, once it is known.
    """

    step: str | None = None

    def __str__(self) -> str:
        return (
            f"{self.step or 'this step'} is fitted from rows of logits, got a histogram alone: "
            "give some of its rows beside it, fit_from(histogram, rows=...)"
        )


class Evidence:
    """Scores and labels after some steps, as rows, as a histogram, as exact curves.

    Made from rows, it builds the histogram on first use, once for all steps: a later step only
    moves the means of the bins. Made from a histogram, it has no rows to give, unless a sample of
    them was kept.

    Parameters
    ----------
    rows : LabelledLogits, optional
    histogram : ScoreHistogram, or function that makes it, optional
        One of the two must be given; beside rows, the histogram of just these rows, for where there
        is a cheaper way to it than to count them. A function is called when first needed.
    sample : LabelledLogits, optional
        Beside a histogram alone: some of the rows that it counts, for what looks along the rows.
    class_names : tuple of str, optional
        Those of the rows, where not given.
    """

    def __init__(
        self,
        rows: LabelledLogits | None = None,
        histogram: ScoreHistogram | Callable[[], ScoreHistogram] | None = None,
        *,
        sample: LabelledLogits | None = None,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        if rows is None and histogram is None:
            raise TypeError("evidence needs rows of logits or a histogram, got neither")
        self._rows = rows
        self._sample = sample
        self._make = histogram if callable(histogram) else None
        self._histogram = None if callable(histogram) else histogram
        known = rows if sample is None else sample
        own = None if known is None else known.class_names
        self.class_names = own if class_names is None else class_names

    def after(self, step: CalibrationOp) -> Evidence:
        """The same evidence with one more step applied.

        A step that looks along the rows moves each of them by its own number: the histogram is
        counted anew.

        Raises
        ------
        TypeError
            If such a step comes and there is only a histogram.
        """
        names = self.class_names
        parts = [part for part in flat((step,)) if isinstance(part, ElementwiseOp)]
        if len(parts) < len(flat((step,))):
            return Evidence(self.rows.after(step), class_names=names)

        def moved() -> ScoreHistogram:
            histogram = self.histogram
            for part in parts:
                histogram = histogram.after(part)
            return histogram

        rows, sample = (
            None if some is None else some.after(step) for some in (self._rows, self._sample)
        )
        histogram = moved if self._histogram is None else moved()
        return Evidence(rows, histogram, sample=sample, class_names=names)

    def thinned(self, n_rows: int) -> Evidence:
        """Evidence of about `n_rows` rows, evenly spaced; this one if there are no more."""
        some = self.rows.thinned(n_rows)
        return self if some is self._rows else Evidence(some, class_names=self.class_names)

    @property
    def sampled(self) -> bool:
        """Whether the rows are a sample of those that the histogram counts."""
        return self._sample is not None

    def counted(self) -> Evidence:
        """The histogram alone, without the rows beside it."""
        return Evidence(histogram=self.histogram, class_names=self.class_names)

    def seen(self) -> Evidence:
        """The rows alone, of which everything is then counted anew."""
        return Evidence(self.rows, class_names=self.class_names)

    def split(self, part: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[Evidence, Evidence]:
        """Two parts of the rows as evidence; what only the histogram counts goes with the first.

        Raises
        ------
        ValueError
            If the rows are not among those that the histogram counts.
        """
        names, (one, another) = self.class_names, (self.rows.take(p) for p in (part, other))
        if not self.sampled:
            return Evidence(one, class_names=names), Evidence(another, class_names=names)
        rest = self.histogram - ScoreHistogram.of(another, self.histogram.grid)
        if (rest.counts < 0).any() or (rest.positives < 0).any():
            raise ValueError("the rows must be some of those that the histogram counts")
        first = Evidence(histogram=rest, sample=one, class_names=names)
        return first, Evidence(another, class_names=names)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self._rows.shape[1] if self._rows is not None else self.histogram.n_classes

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self._rows.shape[0] if self._rows is not None else self.histogram.n_rows

    @property
    def steps(self) -> tuple[CalibrationOp, ...]:
        """What was applied to the logits so far, in turn."""
        if self._rows is None:
            return self.histogram.steps
        return tuple(s.step if isinstance(s, KnownTerms) else s for s in self._rows.steps)

    @property
    def from_probabilities(self) -> bool:
        """Whether the rows were given as sigmoid outputs."""
        return self._rows is not None and self._rows.source.probabilities

    @property
    def positives(self) -> NDArray[np.int64]:
        """Positive rows of each class, (n_classes,)."""
        if self._rows is not None:
            return self._rows.labels.positives
        return np.asarray(self.histogram.positives.sum(axis=1))

    @property
    def histogram(self) -> ScoreHistogram:
        """Counts of the scores on a grid; one pass over the rows when first asked for."""
        if self._histogram is None:
            self._histogram = ScoreHistogram.of(self.rows) if self._make is None else self._make()
            # with it goes what it was made from
            self._make = None
        return self._histogram

    def build_histogram(self) -> None:
        """Make the histogram now, so that what comes `after` shares it."""
        self._histogram = self.histogram

    @property
    def has_rows(self) -> bool:
        """Whether there are rows, not a histogram alone."""
        return self._rows is not None or self._sample is not None

    @property
    def rows(self) -> LabelledLogits:
        """The rows themselves, or the sample of them that was kept.

        Raises
        ------
        RowsNeededError
            If there is only a histogram.
        """
        rows = self._sample if self._rows is None else self._rows
        if rows is None:
            raise RowsNeededError
        return rows

    def best_cuts(self, *metrics: Metric) -> list[BestCuts]:
        """For each metric the best cut of each class: exact, or between bins without rows."""
        if self._rows is None:
            curves = curves_at_bins(self.histogram)
            return [curves.best(metric) for metric in metrics]
        return best_cuts(self._rows, *metrics)

    def hull_steps(self, metric: CutMetric) -> HullSteps:
        """The steps of the upper hull of each class down to its best cut: exact, or of the bins."""
        if self._rows is None:
            return steps_of_bins(self.histogram, metric)
        return steps_of_rows(self._rows, metric)

    def expected_positives(self) -> NDArray[np.float64]:
        """Sum of the sigmoids of each class, (n_classes,): of its scores, or at means of bins."""
        if self._rows is None:
            return expected_in_bins(self.histogram)
        return expected_positives(self._rows)

    def cuts_at_counts(self, wanted: NDArray[np.int64]) -> CountedCuts:
        """For each class the cut nearest to predicting `wanted` rows: exact, or between bins."""
        if self._rows is None:
            return cuts_at_counts_of_bins(self.histogram, wanted)
        return cuts_at_counts(self._rows, wanted)

    def each_tied(
        self, which: NDArray[np.bool_], work: Callable[[TiedScores], Result]
    ) -> dict[int, Result]:
        """``work(ties)`` for each class of `which`, on all threads: exact, or of the bins."""
        if self._rows is None:
            return ties_of_bins(self.histogram, which, work)
        return ties_of_rows(self._rows, which, work)
