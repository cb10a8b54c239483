"""What `evaluate` and `calibration_report` are given: a fitted decision, rows of its classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.data import LabelledLogits, as_labels, labelled_logits
from calibrate.data.logits import NanPolicy
from calibrate.decision import Decision


def fitted(decision: Any) -> Decision:
    """The `Decision` itself, or that of a fitted pipeline.

    Raises
    ------
    TypeError
        If it is neither.
    """
    found = getattr(decision, "decision_", decision)
    if not isinstance(found, Decision):
        raise TypeError(
            f"decision must be a Decision or a fitted Pipeline, got {type(decision).__name__}"
        )
    return found


def rows_for(decision: Decision, logits: Any, labels: Any, nan: NanPolicy) -> LabelledLogits:
    """Uncalibrated rows with their labels, of the classes of the decision.

    Raises
    ------
    TypeError, ValueError
        If an input is not what it must be.
    """
    if isinstance(logits, LabelledLogits):
        if labels is not None:
            raise TypeError("rows that are already checked have their labels: give no others")
        return logits
    source = decision.source(logits, nan=nan)
    names = source.class_names or decision.class_names
    truth = as_labels(labels, source.shape[1], class_names=names)
    return labelled_logits(source, truth, nan=nan)


def check_rows(decision: Decision, rows: LabelledLogits) -> None:
    """Refuse rows of other classes, rows with steps of their own, and none at all.

    Raises
    ------
    ValueError
    """
    decision.source(rows.source)
    if rows.steps:
        raise ValueError(
            "rows must come without calibration steps, which the decision brings, got "
            f"{len(rows.steps)}"
        )
    if rows.shape[0] == 0:
        raise ValueError(f"an evaluation needs at least one row, got shape {rows.shape}")


def calibrated(decision: Decision, rows: LabelledLogits) -> LabelledLogits:
    """The rows after the calibration steps of the decision."""
    for step in decision.steps:
        rows = rows.after(step)
    return rows


def frequency_counts(frequency: Any, n_classes: int) -> NDArray[np.int64]:
    """Counts by which classes are called rare or frequent, int64, (n_classes,).

    Raises
    ------
    TypeError, ValueError
        If they are not whole numbers, not one per class, or negative.
    """
    counts = np.asarray(frequency)
    if counts.shape != (n_classes,):
        raise ValueError(
            f"frequency must be one count per class, shape ({n_classes},), got shape {counts.shape}"
        )
    if counts.dtype.kind not in "iu":
        raise TypeError(f"frequency must be whole numbers, got dtype {counts.dtype}")
    if (counts < 0).any():
        c = int((counts < 0).argmax())
        raise ValueError(f"frequency must not be negative, got {counts[c]} at class {c}")
    return counts.astype(np.int64)
