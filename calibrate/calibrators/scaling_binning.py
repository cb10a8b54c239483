"""Scaling-binning: a line, and then the means of its bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate import logistic
from calibrate.base import Calibrator, Fitted, find, require_positives
from calibrate.ops import PiecewiseLinear
from calibrate.statistics import Evidence, TiedScores

_FARTHEST = 700.0
"""Logits beyond, in nats, have probabilities that float64 cannot tell from 0 or 1."""


class ScalingBinning(Calibrator):
    """Platt's line for each class, cut into bins that each give the mean of the line within.

    Few distinct probabilities come out, so that what calibration error is left can be measured.
    The mean is of the fitted probabilities, not of the labels: it has less variance than that of a
    histogram binning.

    Parameters
    ----------
    n_bins : int
        Bins of each class, at least 2.
    min_per_bin : int
        Positives that a bin holds at least; a class with fewer than it needs for `n_bins` gets
        fewer bins.

    Notes
    -----
    Bins hold equal numbers of positives, or of negatives where those are the rarer: with equal
    numbers of cells, all but the last bin of a rare class would hold next to nothing. They are cut
    between the bins of the score histogram. A class with too few positives or negatives for two
    bins is put together with the others of that kind: their calibrated logits are binned as those
    of one class. They are listed in ``findings_``.

    Kumar, Liang and Ma prove their bound for three parts of the data: one to fit the line, one to
    cut the bins, one to take the means. Here, as in their own program, one set of rows does all
    three: the bins and the means use no labels but for how many positives lie where.

    Raises
    ------
    ValueError
        On fit, if no class has a positive, `n_bins` is below 2 or `min_per_bin` below 1.

    References
    ----------
    Kumar, Liang and Ma (2019), Verified uncertainty calibration, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.linspace(-4, 4, 400)[:, None]
    >>> labels = np.arange(400)[:, None] % 8 < logits + 4
    >>> calibrated = ScalingBinning(n_bins=4).fit(logits, labels).transform(logits)
    >>> np.unique(1 / (1 + np.exp(-calibrated))).round(2)
    array([0.13, 0.23, 0.42, 0.8 ], dtype=float32)
    """

    def __init__(self, n_bins: int = 10, min_per_bin: int = 10) -> None:
        self.n_bins = n_bins
        self.min_per_bin = min_per_bin

    def _fit(self, evidence: Evidence) -> Fitted:
        for name, least in (("n_bins", 2), ("min_per_bin", 1)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        require_positives(evidence)
        histogram = evidence.histogram
        fitted = logistic.platt_lines(histogram)
        slope, shift = fitted.slope[:, None], fitted.intercept[:, None]
        logits = slope * histogram.scores + shift

        def binned(which: int | NDArray[np.bool_]) -> _Staircase:
            score, n, y = logits[which], histogram.counts[which], histogram.positives[which]
            return self._binned(TiedScores.of(score.reshape(-1), n.reshape(-1), y.reshape(-1)))

        maps = [binned(c) for c in range(histogram.n_classes)]
        few = np.array([len(edges) == 0 for edges, _ in maps])
        edges, values = binned(few)
        if len(edges) == 0:
            edges, values = binned(np.ones_like(few))
        together = [(edges, values) if alone else own for own, alone in zip(maps, few, strict=True)]
        return Fitted(
            PiecewiseLinear.flat_beyond(
                [
                    _staircase((edges - shift) / slope, values)
                    for (edges, values), slope, shift in zip(
                        together, fitted.slope, fitted.intercept, strict=True
                    )
                ]
            ),
            (
                *find(
                    "pooled",
                    "have too few positives or negatives for two bins: they are binned together",
                    few,
                ),
                *find(
                    "slope_bound",
                    "have a fit that stopped at the bound of the slope",
                    fitted.bounded,
                    fitted.slope,
                ),
            ),
        )

    def _binned(self, cells: TiedScores) -> _Staircase:
        """Edges between the bins, in calibrated logits, and the calibrated logit of each bin."""
        if len(cells.score) == 0:
            return np.empty(0), np.zeros(1)
        negatives = cells.n - cells.y
        rarer = cells.y if cells.y.sum() <= negatives.sum() else negatives
        cuts = _cuts(rarer, int(self.n_bins), int(self.min_per_bin))
        starts = np.concatenate([[0], cuts])
        # both sums are of positive numbers: neither probability loses its digits
        logit = np.clip(cells.score, -_FARTHEST, _FARTHEST)
        up = np.add.reduceat(cells.n * np.exp(-np.logaddexp(0.0, -logit)), starts)
        down = np.add.reduceat(cells.n * np.exp(-np.logaddexp(0.0, logit)), starts)
        return 0.5 * (cells.score[cuts - 1] + cells.score[cuts]), np.log(up) - np.log(down)


_Staircase = tuple[NDArray[np.float64], NDArray[np.float64]]


def _cuts(mass: NDArray[np.int64], n_bins: int, fewest: int) -> NDArray[np.int64]:
    """Where bins begin, but for the first: of about equal `mass`, each of at least `fewest`."""
    total = np.cumsum(mass)
    n_bins = min(n_bins, int(total[-1]) // fewest)
    wanted = total[-1] * np.arange(1, n_bins) / max(n_bins, 1)
    cuts, before = [], 0
    for cut in np.searchsorted(total, wanted) + 1:
        if total[cut - 1] - before >= fewest and total[-1] - total[cut - 1] >= fewest:
            cuts.append(cut)
            before = total[cut - 1]
    return np.array(cuts, dtype=np.int64)


def _staircase(edges: NDArray[np.float64], values: NDArray[np.float64]) -> _Staircase:
    """Knots and values of a map that jumps at each edge."""
    if len(edges) == 0:
        return np.zeros(1), values
    return np.repeat(edges, 2), np.repeat(values, 2)[1:-1]
