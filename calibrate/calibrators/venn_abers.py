"""Inductive Venn-Abers prediction for every class at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.base import Calibrator, Fitted, require_positives
from calibrate.data import as_logits
from calibrate.data.logits import NanPolicy
from calibrate.kernels.venn_abers import rates_with_one_more, thin_steps
from calibrate.ops import LOWEST, PiecewiseLinear, sigmoid
from calibrate.statistics import Evidence, TiedScores

Map = tuple[NDArray[np.float32], NDArray[np.float64]]

_CERTAIN = 1e30
"""The logit of a rate of exactly 1: finite, and its sigmoid is 1."""


class VennAbers(Calibrator):
    """Two isotonic fits for each new score, one with it as a negative, one as a positive.

    They are the ends ``p0`` and ``p1`` of an interval: one of the two is a calibrated probability,
    whatever the distribution, if rows are exchangeable. As a calibrator it gives the merged
    probability ``p1 / (1 - p0 + p1)``, which minimises the regret in log loss.

    Parameters
    ----------
    resolution : float
        Steps of the merged map that differ by no more than this, in nats, are drawn as one, half of
        it off at most; intervals only grow by it. It bounds the size of the map: tens of thousands
        of rows may have as many steps. 0 keeps every step.

    Attributes
    ----------
    lower_, upper_ : PiecewiseLinear
        Logits of ``p0`` and of ``p1``; see `intervals`.

    Notes
    -----
    Fitted from rows it is exact up to `resolution`; from a histogram it takes the mean of each bin
    for its scores. A class without positives is no exception: its intervals are wide and its merged
    probabilities too high, about ``1 / (m + 2)`` for the m-th highest score.

    Raises
    ------
    ValueError
        On fit, if no class has a positive, or `resolution` is negative.

    References
    ----------
    Vovk and Petej (2014), Venn-Abers predictors, sections 2 to 4; Vovk, Petej and Fedorova (2015),
    Large-scale probabilistic predictors with and without guarantees of validity, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[-2.0], [-1.0], [0.0], [1.0], [2.0]])
    >>> venn_abers = VennAbers(resolution=0).fit(logits, np.array([[0], [0], [1], [0], [1]]))
    >>> p0, p1 = venn_abers.intervals(np.array([[-1.5], [0.5], [3.0]]))
    >>> np.hstack([p0, p1]).round(3)
    array([[0.   , 0.5  ],
           [0.333, 0.667],
           [0.5  , 1.   ]], dtype=float32)
    """

    def __init__(self, resolution: float = 0.05) -> None:
        self.resolution = resolution

    def _fit(self, evidence: Evidence) -> Fitted:
        if not self.resolution >= 0:
            raise ValueError(f"resolution must be at least 0, got {self.resolution}")
        require_positives(evidence)
        every = np.ones(evidence.n_classes, dtype=np.bool_)
        resolution = float(self.resolution)
        found = evidence.each_tied(every, lambda ties: _steps(ties, resolution))
        maps = [found[c] for c in range(evidence.n_classes)]
        merged, lower, upper = (_staircase([three[i] for three in maps]) for i in range(3))
        self.lower_, self.upper_ = lower, upper
        return Fitted(merged)

    def intervals(
        self, logits: Any, *, nan: NanPolicy = "raise"
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Both probabilities of each cell.

        Parameters
        ----------
        logits : array, tensor, path, ...
            Shape (n_rows, n_classes); see `calibrate.data.as_logits`.
        nan : {"raise", "negative"}

        Returns
        -------
        p0, p1 : float32, (n_rows, n_classes)
            Lower and upper end; both 0 for a cell without a score.

        Raises
        ------
        ValueError
            If the logits are not finite or of another number of classes.
        """
        op = self._fitted_op()
        source = as_logits(logits, nan=nan)
        if op.n_classes not in (None, source.shape[1]):
            raise ValueError(
                f"logits must have the {op.n_classes} classes of the fit, got {source.shape[1]}"
            )
        ends = np.empty((2, *source.shape), dtype=np.float32)
        for start, block in source.blocks():
            for end, step in zip(ends, (self.lower_, self.upper_), strict=True):
                end[start : start + len(block)] = sigmoid(step.apply(block))
        return ends[0], ends[1]


def _steps(ties: TiedScores, resolution: float) -> tuple[Map, Map, Map]:
    """Merged logit, logit of p0, logit of p1: edges of steps and their heights."""
    k = len(ties.score)
    cells, hits = np.empty(k + 1, np.int64), np.empty(k + 1, np.int64)
    rates_with_one_more(ties.n, ties.y, cells, hits)
    # p0 is the same thing seen from the other end: one more negative among flipped labels
    against, misses = np.empty(k + 1, np.int64), np.empty(k + 1, np.int64)
    rates_with_one_more(ties.n[::-1].copy(), (ties.n - ties.y)[::-1].copy(), against, misses)
    against, misses = against[::-1], misses[::-1]
    with np.errstate(divide="ignore"):
        log_p1, log_q0 = np.log(hits / cells), np.log(misses / against)
        upper = np.minimum(log_p1 - np.log((cells - hits) / cells), _CERTAIN)
        lower = np.maximum(np.log((against - misses) / against) - log_q0, -_CERTAIN)
    # p0 changes at a score, p1 just above it
    at = ties.score.astype(np.float32)
    with np.errstate(over="ignore"):
        above = np.minimum(np.nextafter(at, np.float32(np.inf)), -LOWEST)
    begin = np.array([-np.inf], dtype=np.float32)
    # means of bins may round to one float32
    ends = np.maximum.accumulate(np.stack([at, above], axis=1).reshape(-1))
    edges = np.concatenate([begin, ends])
    place = np.arange(2 * k + 1)
    merged = log_p1[place // 2] - log_q0[(place + 1) // 2]
    return (
        _thin(edges, merged, resolution, 0.5),
        _thin(np.concatenate([begin, at]), lower, resolution, 0.0),
        _thin(np.concatenate([begin, above]), upper, resolution, 1.0),
    )


def _thin(
    edges: NDArray[np.float32], values: NDArray[np.float64], resolution: float, share: float
) -> Map:
    edge, value = np.empty_like(edges), np.empty_like(values)
    kept = thin_steps(edges, np.maximum.accumulate(values), resolution, share, edge, value)
    return edge[:kept].copy(), value[:kept].copy()


def _staircase(maps: list[Map]) -> PiecewiseLinear:
    """Each height from its edge on, and the first from ever on."""
    return PiecewiseLinear.flat_beyond(
        [
            (
                np.repeat(edges[1:], 2) if len(edges) > 1 else np.zeros(1, np.float32),
                np.repeat(values, 2)[1:-1] if len(edges) > 1 else values,
            )
            for edges, values in maps
        ]
    )
