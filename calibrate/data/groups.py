"""Rows that belong together: those of a patient, of a document."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def numbered(groups: Any, n_rows: int) -> tuple[NDArray[np.int64], int]:
    """Ids as numbers from 0 on, in the order of the ids, and how many there are.

    Raises
    ------
    TypeError, ValueError
        If they are not one id per row.
    """
    ids = np.asarray(groups)
    if ids.dtype == object:
        # a column of a frame; text and whole numbers find a type of their own
        ids = np.asarray(ids.tolist())
    if ids.shape != (n_rows,):
        raise ValueError(f"groups must be one id per row, shape ({n_rows},), got shape {ids.shape}")
    if ids.dtype.kind not in "iubU":
        raise TypeError(f"groups must be whole numbers or text, got dtype {ids.dtype}")
    names, number = np.unique(ids, return_inverse=True)
    return number.astype(np.int64), len(names)


def drawn(group: NDArray[np.int64], n_rows: int, seed: int) -> NDArray[np.bool_]:
    """Which rows lie in groups drawn at random, as many as together have about so many rows.

    Parameters
    ----------
    group : int64, (n_rows,)
        Numbers of the groups.
    n_rows : int
        Groups are drawn until these many rows would be passed; at least one, and never all where
        there are two or more.
    seed : int

    Returns
    -------
    bool, (n_rows,)
    """
    found, group = np.unique(group, return_inverse=True)
    sizes = np.bincount(group, minlength=len(found))
    order = np.random.default_rng(seed).permutation(len(sizes))
    n_drawn = int(np.searchsorted(np.cumsum(sizes[order]), n_rows, side="right"))
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order[: min(max(n_drawn, 1), max(len(sizes) - 1, 1))]] = True
    return np.asarray(chosen[group])
