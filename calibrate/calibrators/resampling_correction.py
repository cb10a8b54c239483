"""Undo over- and undersampling by its own arithmetic: no data needed."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from calibrate.base import Calibrator, Fitted, numbers_per_class
from calibrate.ops import Affine
from calibrate.statistics import Evidence


class ResamplingCorrection(Calibrator):
    """``z - log(keep_positives / keep_negatives)``: back from a resampled training set.

    A network that was trained on a part of the negatives, or on several copies of each positive,
    says what is probable in *its* rows: ``logit P(y = 1 | x) + log(keep_positives /
    keep_negatives)``. Subtracting the logarithm gives the probability in all rows.

    Parameters
    ----------
    keep_positives, keep_negatives : float or array, (n_classes,)
        How many times a positive, or a negative, was there in training on average: 0.1 where one
        in ten was kept, 3 where each was there three times. Positive.

    Raises
    ------
    TypeError
        On fit, if the arguments are no numbers.
    ValueError
        On fit, if one is not positive and finite, or there are not as many as classes.

    Notes
    -----
    The rows must have been chosen *for each class by its own label*, as where each class has a
    classifier of its own, or where cells and not rows are left out of the loss. Resampling whole
    multilabel rows (repeating rows that have a rare label) has no closed form: it shifts a class
    by ``log(E[n | y = 1, x] / E[n | y = 0, x])``, n being the copies of a row, and that depends on
    the other labels and so on x. Fit a calibrator there, such as ``PlattScaling``.

    Elkan's change of the base rate, the prior correction of King and Zeng and the formula of Dal
    Pozzolo et al. for undersampled negatives are all this shift, written for probabilities.

    References
    ----------
    Elkan (2001), The foundations of cost-sensitive learning, theorem 2; King and Zeng (2001),
    Logistic regression in rare events data, section 4.1; Dal Pozzolo, Caelen, Johnson and Bontempi
    (2015), Calibrating probability with undersampling for unbalanced classification.

    Examples
    --------
    One negative in a hundred was kept, and the network says one half:

    >>> import numpy as np
    >>> logits, labels = np.array([[0.0]]), np.array([[1]])
    >>> correction = ResamplingCorrection(keep_negatives=0.01).fit(logits, labels)
    >>> 1 / (1 + np.exp(-correction.transform(logits)))
    array([[0.00990099]], dtype=float32)
    """

    learns_from_rows: ClassVar[bool] = False

    def __init__(self, keep_positives: Any = 1.0, keep_negatives: Any = 1.0) -> None:
        self.keep_positives = keep_positives
        self.keep_negatives = keep_negatives

    @classmethod
    def from_prevalences(cls, before: Any, after: Any) -> Self:
        """The correction for classes that were `before` as frequent and are `after` in training.

        Parameters
        ----------
        before, after : float or array, (n_classes,)
            Share of positives in all rows, and in those of the training; above 0 and below 1.

        Raises
        ------
        TypeError
            If the arguments are no numbers.
        ValueError
            If a share is out of its range, or there are not as many of both.

        Examples
        --------
        >>> correction = ResamplingCorrection.from_prevalences(before=[0.2, 0.02], after=0.5)
        >>> correction.keep_positives / correction.keep_negatives
        array([ 4., 49.])
        """
        old = numbers_per_class(before, "before", below=1.0)
        new = numbers_per_class(after, "after", below=1.0)
        if old.ndim and new.ndim and len(old) != len(new):
            raise ValueError(
                f"before and after must be of the same classes, got {len(old)} and {len(new)}"
            )
        return cls(new / old, (1 - new) / (1 - old))

    @classmethod
    def from_counts(cls, positives: Any, n_rows: Any, kept_positives: Any, kept_rows: Any) -> Self:
        """The correction for counts of rows before the resampling and after it.

        Parameters
        ----------
        positives : array of int, (n_classes,)
            Positive rows of each class before.
        n_rows : int or array of int, (n_classes,)
            Rows before.
        kept_positives : array of int, (n_classes,)
            Positive rows in training, copies counted.
        kept_rows : int or array of int, (n_classes,)
            Rows in training, copies counted.

        Raises
        ------
        ValueError
            If a count is below 0 or there are more positives than rows, or counts of different
            numbers of classes.

        Notes
        -----
        Where a class has no positives (or no negatives) before or after, half a row is added to
        both counts of that side.

        Examples
        --------
        >>> undersampled = ResamplingCorrection.from_counts([20, 5], 1000, [20, 5], [40, 10])
        >>> undersampled.keep_negatives
        array([0.02040816, 0.00502513])
        """
        before = _both_sides("positives", positives, "n_rows", n_rows)
        after = _both_sides("kept_positives", kept_positives, "kept_rows", kept_rows)
        if before[0].shape != after[0].shape:
            raise ValueError(
                f"positives and kept_positives must be of the same classes, got "
                f"{len(before[0])} and {len(after[0])}"
            )
        kept = []
        for old, new in zip(before, after, strict=True):
            half = 0.5 * ((old == 0) | (new == 0))
            kept.append((new + half) / (old + half))
        return cls(*kept)

    def _fit(self, evidence: Evidence) -> Fitted:
        shift = np.zeros(())
        for name, sign in (("keep_positives", -1), ("keep_negatives", 1)):
            share = numbers_per_class(getattr(self, name), name, evidence.n_classes)
            shift = shift + sign * np.log(share)
        return Fitted(Affine(np.array(1.0, np.float32), shift.astype(np.float32)))


def _both_sides(
    name: str, positives: Any, rows_name: str, n_rows: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positives and negatives of each class, checked."""
    some = np.asarray(positives, dtype=np.float64)
    rows = np.asarray(n_rows, dtype=np.float64)
    if some.ndim != 1:
        raise ValueError(f"{name} must be one count per class, got shape {some.shape}")
    if rows.shape not in ((), some.shape):
        raise ValueError(
            f"{rows_name} must be a count or one per class, got shape {rows.shape} for "
            f"{len(some)} classes"
        )
    rows = np.broadcast_to(rows, some.shape)
    wrong = ~((some >= 0) & (some <= rows))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(
            f"{name} must be counts from 0 to {rows_name} = {rows[at]:g}, got {some[at]:g} at "
            f"class {at}"
        )
    return some, rows - some
