"""Rows dealt to folds."""

from __future__ import annotations

from heapq import heappop, heappush
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.data.groups import numbered


class FoldError(ValueError):
    """The rows cannot be dealt to folds that leave something to fit on."""


def deal_rows(
    n_rows: int, folds: int, *, groups: Any = None, seed: int = 0
) -> tuple[NDArray[np.int64], int | None]:
    """Deal rows to folds as cards are dealt: shuffled first, since files are often sorted.

    Groups are shuffled by `seed`, the largest then come first, and each goes to the fold that has
    the fewest rows so far; without groups every row is one, and folds differ by one row at most.
    The order of the rows on disk matters only where there are no groups, and neither the size of
    the blocks nor the number of threads ever does.

    Parameters
    ----------
    n_rows : int
    folds : int
    groups : array of int or str, (n_rows,), optional
    seed : int

    Returns
    -------
    fold : int64, (n_rows,)
        From 0 to ``folds - 1``; no fold is empty.
    n_groups : int, or None without groups

    Raises
    ------
    FoldError
        If there are fewer rows or groups than folds.
    TypeError, ValueError
        If `folds` is no whole number from 2 on, or `groups` is not one id per row.

    Examples
    --------
    >>> fold, n_groups = deal_rows(6, 2, groups=["a", "a", "a", "b", "b", "c"])
    >>> fold, n_groups
    (array([0, 0, 0, 1, 1, 1]), 3)
    """
    if isinstance(folds, bool) or not isinstance(folds, Integral):
        raise TypeError(f"folds must be a whole number, got {folds!r}")
    if folds < 2:
        raise ValueError(f"folds must be at least 2, got {folds}")
    if groups is None:
        group, n_groups = np.arange(n_rows), n_rows
    else:
        group, n_groups = numbered(groups, n_rows)
    if n_groups < folds:
        what = "rows" if groups is None else "groups of rows"
        among = "" if groups is None else f" among {n_rows} rows"
        raise FoldError(f"{folds} folds need at least as many {what}, got {n_groups}{among}")
    sizes = np.bincount(group, minlength=n_groups)
    shuffled = np.random.default_rng(seed).permutation(n_groups)
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    fold_of_group = np.empty(n_groups, dtype=np.int64)
    filled = [(0, number) for number in range(folds)]
    for one in order:
        n_there, number = heappop(filled)
        fold_of_group[one] = number
        heappush(filled, (n_there + int(sizes[one]), number))
    return fold_of_group[group], None if groups is None else n_groups
