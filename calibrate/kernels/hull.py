"""The cuts of a class that are best at some price of a prediction: its upper hull."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel


@kernel
def upper_hull(
    indptr: NDArray[np.int64],
    tp: NDArray[np.int64],
    fp: NDArray[np.int64],
    last_tp: NDArray[np.int64],
    last_fp: NDArray[np.int64],
    kept: NDArray[np.int64],
    length: NDArray[np.int64],
) -> None:
    """Entries of each line on the upper hull of its true positives over its predictions.

    These are the ends of the blocks of isotonic regression (Ayer et al., 1955): each entry gains
    true positives at a lower rate than the one before. Rates are compared as whole numbers.

    Parameters
    ----------
    indptr, tp, fp
        Curves, each from (0, 0) on.
    last_tp, last_fp : int64, (n_lines,)
        The entry of each line where its hull ends.
    kept : int64
        Filled from ``indptr[c]`` on with the places of the entries; the first is that of (0, 0).
    length : int64, (n_lines,)
        How many places were filled in.
    """
    for c in range(len(length)):
        begin = indptr[c]
        kept[begin] = begin
        top = 0
        at = begin
        while at + 1 < indptr[c + 1] and not (tp[at] == last_tp[c] and fp[at] == last_fp[c]):
            at += 1
            while top > 0:
                middle, low = kept[begin + top], kept[begin + top - 1]
                gained, cost = tp[middle] - tp[low], tp[middle] + fp[middle] - tp[low] - fp[low]
                more, price = tp[at] - tp[middle], tp[at] + fp[at] - tp[middle] - fp[middle]
                if gained * price > more * cost:
                    break
                top -= 1
            top += 1
            kept[begin + top] = at
        length[c] = top + 1
