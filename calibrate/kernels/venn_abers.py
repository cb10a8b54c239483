"""Both isotonic fits of an inductive Venn-Abers predictor, for every place of a new score.

Vovk, Petej and Fedorova (2015), section 3: the new cell is moved along the cumulative sum diagram,
and the facet of the greatest convex minorant that spans it is kept up to date, each corner entering
and leaving once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel


@kernel
def _steeper(n1: int, y1: int, n2: int, y2: int) -> bool:
    """Whether ``y1 / n1 >= y2 / n2``."""
    return y1 * n2 >= y2 * n1


@kernel
def rates_with_one_more(
    n: NDArray[np.int64], y: NDArray[np.int64], cells: NDArray[np.int64], hits: NDArray[np.int64]
) -> None:
    """Isotonic rate ``hits / cells`` of one more positive, at each place among the scores.

    Parameters
    ----------
    n, y : int64, (n_scores,)
        Cells and positives at each distinct score, ascending.
    cells, hits : int64, (n_scores + 1,)
        Filled. At ``i`` for a cell at score ``i``, or above score ``i - 1`` and below ``i``: the
        rate is the same. The last is that above all scores.

    Notes
    -----
    The positive is a step by (1, 1) in the diagram of cumulative cells and positives. Points to
    the left of it are taken one lower in both; those to the right stay. The spanning facet leads
    from `left` to the top of the stack of corners. When the cell moves past the next point, that
    point moves by (-1, -1), which never raises it above the facet's line, since no rate exceeds 1:
    it is still above the facet, or it is the new left end.
    """
    k = len(n)
    across, up = np.zeros(k + 1, np.int64), np.zeros(k + 1, np.int64)
    for place in range(k):
        across[place + 1] = across[place] + n[place]
        up[place + 1] = up[place] + y[place]
    corner = np.empty(k + 1, np.int64)
    top = -1
    for point in range(k, 0, -1):
        while top > 0 and _steeper(
            across[corner[top]] - across[point], up[corner[top]] - up[point],
            across[corner[top - 1]] - across[corner[top]], up[corner[top - 1]] - up[corner[top]],
        ):  # fmt: skip
            top -= 1
        top += 1
        corner[top] = point
    left_x, left_y = -1, -1
    for place in range(k):
        if place > 0:
            x, above = across[place] - 1, up[place] - 1
            at = corner[top]
            moves = at == place
            if moves:
                top -= 1
            else:
                # below the line from the left end to the corner?
                moves = (above - left_y) * (across[at] - left_x) < (up[at] - left_y) * (x - left_x)
            if moves:
                left_x, left_y = x, above
        while top > 0 and _steeper(
            across[corner[top]] - left_x, up[corner[top]] - left_y,
            across[corner[top - 1]] - left_x, up[corner[top - 1]] - left_y,
        ):  # fmt: skip
            top -= 1
        cells[place] = across[corner[top]] - left_x
        hits[place] = up[corner[top]] - left_y
    cells[k] = hits[k] = 1


@kernel
def thin_steps(
    edge: NDArray[np.float32],
    value: NDArray[np.float64],
    resolution: float,
    share: float,
    kept_edge: NDArray[np.float32],
    kept_value: NDArray[np.float64],
) -> int:
    """A rising staircase with fewer steps, none farther than `resolution` from what it was.

    Parameters
    ----------
    edge : float32, (n_steps,)
        Where each step begins, ascending.
    value : float64, (n_steps,)
        Its height, never falling.
    resolution : float
        Steps whose heights lie within it become one.
    share : float
        Where that one lies: 0 at the lowest of their heights, 1 at the highest.
    kept_edge, kept_value
        Filled, with room for all.

    Returns
    -------
    int
        How many steps are left.
    """
    kept = begin = 0
    for place in range(1, len(value) + 1):
        if place < len(value) and value[place] - value[begin] <= resolution:
            continue
        kept_edge[kept] = edge[begin]
        rise = value[place - 1] - value[begin]
        kept_value[kept] = value[begin] + share * rise if rise > 0.0 else value[begin]
        kept += 1
        begin = place
    return kept
