"""`Evaluation`: plain numbers about one decision on one set of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.evaluation.intervals import Interval


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` returns.

    Attributes
    ----------
    summary : dict of str to float or int
        ``macro_f``, ``macro_precision``, ``macro_recall``
            Means over the classes with true labels; ``n_classes_without_positives`` were left out.
            The precision of a class that is never predicted counts as 0.
        ``micro_f``, ``micro_precision``, ``micro_recall``
            Of the counts summed over all classes.
        ``instance_f``, ``instance_precision``, ``instance_recall``
            Means over all rows. A row with neither true nor predicted labels counts as 1; where
            only one of the two is empty, 0.
        ``count_ratio``, ``count_ratio_rare``, ``count_ratio_middle``, ``count_ratio_frequent``
            Predicted over true labels, in all and in each third of the classes by frequency.
        ``count_mae``
            Mean over the rows of the distance between predicted and true number of labels.
        ``expected_ratio``, ``expected_count_mae``
            The same two for the sum of the probabilities in place of the predictions.
        ``macro_ap``, ``micro_ap``, ``instance_ap``
            Average precision of the calibrated logits: mean over the classes with true labels, of
            all cells in one ranking, mean over the rows with true labels. nan if not asked for.
        ``log_loss``, ``log_loss_per_row``
            In nats: mean over the cells; summed over the classes, mean over the rows.
        ``brier``
            Mean of ``(p - y)^2`` over the cells.
        ``ece``, ``ece_classes``
            Expected calibration error: of all cells pooled; mean of the errors of the classes.
        ``debiased_squared_ece``, ``debiased_squared_ece_classes``
            The same two for the squared error less what noise alone adds to it: 0 on average if the
            probabilities are right, and possibly negative. In squared probability, on bins that
            follow the scores (see `calibrate.evaluation.debiased`).
        ``n_rows``, ``n_classes``, ``n_labels``, ``n_predicted``, ``n_classes_without_positives``
            Counts.
        ``beta``
            Of the F-measures.
        ``level``
            Of the intervals.
    per_class : dict of str to array, (n_classes,)
        int64 ``support``, ``predicted``, ``tp``; float64 ``precision``, ``recall``, ``f`` and its
        bounds ``f_low`` and ``f_high``, ``count_ratio``, ``expected`` (sum of the probabilities),
        ``expected_ratio``, ``expected_z`` (how many standard deviations ``expected`` lies above the
        true count), ``ece``, ``debiased_squared_ece``, ``average_precision``, nan where 0 / 0.
    class_names : tuple of str, or None
    intervals : dict of str to Interval
        Of ``macro_f``, ``micro_f``, ``instance_f`` and ``count_ratio``, over the rows and with the
        decision as it is; nan with a single row.
    influence : dict of str to float64, (n_rows,)
        What each row adds to the same figures, which `paired_differences` needs; of each group,
        (n_groups,), where `calibrate.cross_fit` was given groups.
    row_predicted : int64, (n_rows,)
        How many labels each row got.
    """

    summary: dict[str, float | int]
    per_class: dict[str, NDArray[Any]]
    class_names: tuple[str, ...] | None = None
    intervals: dict[str, Interval] = field(default_factory=dict)
    influence: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    row_predicted: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values without the influences; what is not a finite number becomes None."""
        return {
            "summary": {name: finite_or_none(value) for name, value in self.summary.items()},
            "per_class": {
                name: [finite_or_none(value) for value in np.asarray(values).tolist()]
                for name, values in self.per_class.items()
            },
            "intervals": {name: plain(interval) for name, interval in self.intervals.items()},
            "class_names": None if self.class_names is None else list(self.class_names),
        }


def plain(interval: Interval) -> dict[str, float | None]:
    """An interval as JSON values, by name."""
    return {name: finite_or_none(value) for name, value in interval._asdict().items()}


def finite_or_none(value: float | int) -> float | int | None:
    """A number for JSON, which has no nan and no infinity."""
    return value if math.isfinite(value) else None
