"""`Evaluation`: plain numbers about one decision on one set of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        ``macro_ap``, ``micro_ap``, ``instance_ap``
            Average precision of the calibrated logits: mean over the classes with true labels, of
            all cells in one ranking, mean over the rows with true labels. nan if not asked for.
        ``log_loss``, ``log_loss_per_row``
            In nats: mean over the cells; summed over the classes, mean over the rows.
        ``brier``
            Mean of ``(p - y)^2`` over the cells.
        ``ece``, ``ece_classes``
            Expected calibration error: of all cells pooled; mean of the errors of the classes.
        ``n_rows``, ``n_classes``, ``n_labels``, ``n_predicted``, ``n_classes_without_positives``
            Counts.
        ``beta``
            Of the F-measures.
    per_class : dict of str to array, (n_classes,)
        int64 ``support``, ``predicted``, ``tp``; float64 ``precision``, ``recall``, ``f``,
        ``count_ratio``, ``ece``, ``average_precision``, nan where 0 / 0.
    class_names : tuple of str, or None
    """

    summary: dict[str, float | int]
    per_class: dict[str, NDArray[Any]]
    class_names: tuple[str, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not a finite number becomes None."""
        return {
            "summary": {name: finite_or_none(value) for name, value in self.summary.items()},
            "per_class": {
                name: [finite_or_none(value) for value in np.asarray(values).tolist()]
                for name, values in self.per_class.items()
            },
            "class_names": None if self.class_names is None else list(self.class_names),
        }


def finite_or_none(value: float | int) -> float | int | None:
    """A number for JSON, which has no nan and no infinity."""
    return value if math.isfinite(value) else None
