"""The set of highest expected F-beta under any law of the labels of a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SLACK = 1e-6


def general_f_maximizer(joint: Any, empty: Any, beta: float = 1.0) -> NDArray[np.bool_]:
    """The set of labels of highest expected F-beta, the labels depending on each other at will.

    All that matters of their law is how likely each label is true together with how many there
    are: ``P(y_c = 1, s labels are true)``. For each size of the predicted set the best labels are
    found at once, and the best size is taken. Among equals the lower class index wins, and the
    smaller set.

    Parameters
    ----------
    joint : array, (n_classes, most_labels) or (n_rows, n_classes, most_labels)
        In column s - 1 the probability that the label is true and s labels are. Sizes beyond the
        last column are taken to be impossible.
    empty : float or array, () or (n_rows,)
        Probability that no label is true: what the empty set is worth.
    beta : float
        Positive and finite.

    Returns
    -------
    bool, (n_classes,) or (n_rows, n_classes)

    Raises
    ------
    ValueError
        If the shapes do not fit, `beta` is not positive and finite, or the numbers are no
        probabilities.

    References
    ----------
    Dembczynski, Waegeman, Cheng and Huellermeier (2011), An exact algorithm for F-measure
    maximization, section 3; Waegeman, Dembczynski, Jachnik, Cheng and Huellermeier (2014), On the
    Bayes-optimality of F-measure maximizers, section 5.

    Examples
    --------
    Either the first two labels, or the third, or all or none:

    >>> import numpy as np
    >>> joint = np.array([[0.0, 0.3, 0.2], [0.0, 0.3, 0.2], [0.3, 0.0, 0.2]])
    >>> general_f_maximizer(joint, empty=0.2)
    array([ True,  True,  True])
    """
    if not (0 < beta < np.inf and 0 < beta * beta < np.inf):
        raise ValueError(f"beta must be positive and finite, got {beta}")
    table, none = np.asarray(joint, dtype=np.float64), np.asarray(empty, dtype=np.float64)
    if table.ndim not in (2, 3) or none.shape not in ((), table.shape[:-2]):
        raise ValueError(
            "joint must be of shape (n_classes, most_labels) or (n_rows, n_classes, most_labels) "
            f"and empty a number or one per row, got {table.shape} and {none.shape}"
        )
    _check_law(table, none)
    rows = table.reshape(-1, *table.shape[-2:])
    chosen = np.zeros(rows.shape[:2], dtype=np.bool_)
    for row, law, worth in zip(chosen, rows, np.broadcast_to(none, len(rows)), strict=True):
        row[_best_of_row(law, float(worth), beta * beta)] = True
    return chosen.reshape(table.shape[:-1])


def _best_of_row(law: NDArray[np.float64], best: float, square: float) -> NDArray[np.intp]:
    """The classes of the best set, given what the empty one is worth."""
    sizes = np.arange(1, law.shape[1] + 1)
    chosen = np.empty(0, dtype=np.intp)
    for k in range(1, len(law) + 1):
        gain = law @ ((1 + square) / (k + square * sizes))
        highest = np.argsort(-gain, kind="stable")[:k]
        value = float(gain[highest].sum())
        if value > best:
            best, chosen = value, highest
    return chosen


def _check_law(table: NDArray[np.float64], none: NDArray[np.float64]) -> None:
    for name, values in (("joint", table), ("empty", none)):
        wrong = ~((values >= -_SLACK) & (values <= 1 + _SLACK))  # nan is neither
        if wrong.any():
            raise ValueError(f"{name} must hold probabilities, got {values[wrong].flat[0]:g}")
    # s labels are true in as many cases as their classes' shares add up to, over s
    sizes = np.arange(1, table.shape[-1] + 1)
    whole = none + (table.sum(axis=-2) / sizes).sum(axis=-1)
    if (whole > 1 + _SLACK).any():
        raise ValueError(
            "the probabilities of all numbers of labels must add up to at most 1, got "
            f"{float(np.max(whole)):g}"
        )
