"""Isotonic calibration of every class at once, or of all cells together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.base import Calibrator, Fitted, find, require_positives
from calibrate.kernels.isotonic import pool_violators
from calibrate.ops import PiecewiseLinear
from calibrate.statistics import Evidence, TiedScores, pooled_ties

Knots = tuple[NDArray[np.float64], NDArray[np.float64]]


class IsotonicCalibration(Calibrator):
    """The rates of greatest likelihood among all that never fall with the score.

    Neighbouring scores whose rates would fall are pooled into blocks of one rate; the calibrated
    logit is that of the block's rate.

    Parameters
    ----------
    per_class : bool
        One map for each class; else one for all cells together.
    centered : bool
        Each block's value lies at the mean score of its cells, and between the blocks the map
        rises straight: no ties but at both ends. Else it is constant within a block and straight
        in the gap to the next one.
    min_positives : int
        A class with fewer positives, or fewer negatives, takes the map of all cells together and
        is listed in ``findings_``: a map fitted to less follows the luck of the rows.

    Notes
    -----
    Per class the fit is exact from rows, with equal scores taken together; from a histogram, and
    always for all cells together, each bin stands at its mean (512 bins for each class). Beyond
    the outermost blocks the map is constant.

    A block without positives or without negatives has no logit. It is given the rate that the rule
    of Laplace makes of its own cells, ``1 / (n + 2)`` or ``(n + 1) / (n + 2)``, and where that is
    beyond the rate of the block next to it the two are one block. Many cells may say that a rate
    is small, few cannot, and no later log loss is infinite.

    At the scores of the fit the values are those of scikit-learn's ``IsotonicRegression`` but for
    such blocks. In the gap between two blocks the logit is straight here and the probability is
    there; both stay between the two rates. Oron and Flournoy as well draw straight lines between
    probabilities.

    The pooled map knows nothing of ``pos_weight``: behind a network that was trained with weights,
    put `PosWeightCorrection` or `HierarchicalScaling` first, or classes below `min_positives` come
    out far too likely.

    The map is not strictly increasing: ties can change an average precision. A threshold that is
    best for F1 on these rates is the one found on the raw scores: fitted rates protect from no
    overfitting.

    Raises
    ------
    ValueError
        On fit, if no class has a positive, or `min_positives` is below 1.

    References
    ----------
    Ayer, Brunk, Ewing, Reid and Silverman (1955), An empirical distribution function for sampling
    with incomplete information; Zadrozny and Elkan (2002), Transforming classifier scores into
    accurate multiclass probability estimates, section 3.2; Oron and Flournoy (2017), Centered
    isotonic regression, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[-2.0], [-1.0], [0.0], [1.0], [2.0]])
    >>> labels = np.array([[0], [1], [0], [1], [1]])
    >>> isotonic = IsotonicCalibration(min_positives=1).fit(logits, labels)
    >>> (1 / (1 + np.exp(-isotonic.transform(logits)))).round(3).T
    array([[0.333, 0.5  , 0.5  , 0.75 , 0.75 ]], dtype=float32)
    """

    def __init__(
        self, per_class: bool = True, centered: bool = False, min_positives: int = 200
    ) -> None:
        self.per_class = per_class
        self.centered = centered
        self.min_positives = min_positives

    def _fit(self, evidence: Evidence) -> Fitted:
        if not self.min_positives >= 1:
            raise ValueError(f"min_positives must be at least 1, got {self.min_positives}")
        require_positives(evidence)
        if not self.per_class:
            return Fitted(PiecewiseLinear.flat_beyond([self._pooled(evidence)]))
        rarer = np.minimum(evidence.positives, evidence.n_rows - evidence.positives)
        maps = evidence.each_tied(rarer >= self.min_positives, self._own_knots)
        own = np.array([maps.get(c) is not None for c in range(evidence.n_classes)])
        constant = np.array([_is_constant(maps.get(c)) for c in range(len(own))])
        pooled = None if own.all() else self._pooled(evidence)
        knots = [maps.get(c) or pooled for c in range(len(own))] if own.any() else [pooled]
        return Fitted(
            PiecewiseLinear.flat_beyond([part for part in knots if part is not None]),
            (
                *find(
                    "pooled",
                    f"have fewer than {self.min_positives} positives or negatives: they take the "
                    "map of all cells together",
                    ~own,
                ),
                *find("constant", "have no rate that rises with the score", constant),
            ),
        )

    def _pooled(self, evidence: Evidence) -> Knots:
        return self._knots(pooled_ties(evidence.histogram))

    def _own_knots(self, ties: TiedScores) -> Knots | None:
        """The map of a class, or None if too few of its cells have a score."""
        n, y = int(ties.n.sum()), int(ties.y.sum())
        return self._knots(ties) if min(y, n - y) >= self.min_positives else None

    def _knots(self, ties: TiedScores) -> Knots:
        """Scores and calibrated logits of the map through these cells."""
        blocks = _blocks(ties)
        if len(blocks.cells) == 0:
            return np.zeros(1), np.zeros(1)
        blocks, rates = _without_certainty(blocks)
        values = np.log(rates) - np.log1p(-rates)
        if self.centered:
            return blocks.mean, values
        return (
            np.stack([blocks.lowest, blocks.highest], axis=1).reshape(-1),
            np.repeat(values, 2),
        )


def _is_constant(knots: Knots | None) -> bool:
    return knots is not None and bool(np.ptp(knots[1]) == 0)


class _Blocks(NamedTuple):
    """Scores of one rate: their range and mean, cells, positives; one entry for each block."""

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    mean: NDArray[np.float64]
    cells: NDArray[np.int64]
    hits: NDArray[np.int64]

    def pooled(self, first: int) -> _Blocks:
        """The blocks with `first` and the one after it as one."""
        two = slice(first, first + 2)
        mean = self.mean.copy()
        mean[first] = np.average(mean[two], weights=self.cells[two])
        starts = np.delete(np.arange(len(mean)), first + 1)
        return _Blocks(
            self.lowest[starts],
            np.delete(self.highest, first),
            mean[starts],
            np.add.reduceat(self.cells, starts),
            np.add.reduceat(self.hits, starts),
        )


def _blocks(ties: TiedScores) -> _Blocks:
    size = len(ties.score)
    stop, cells, hits = (np.empty(size, dtype=np.int64) for _ in range(3))
    mean = np.empty(size)
    count = pool_violators(ties.score, ties.n, ties.y, stop, cells, hits, mean)
    stop = stop[:count]
    start = np.concatenate([stop[:0], [0], stop[:-1]])[:count]
    return _Blocks(
        ties.score[start],
        ties.score[stop - 1],
        mean[:count].copy(),
        cells[:count].copy(),
        hits[:count].copy(),
    )


def _without_certainty(blocks: _Blocks) -> tuple[_Blocks, NDArray[np.float64]]:
    """The blocks and their rates, with those of 0 and 1 moved inwards or pooled with the next."""
    cells, hits = blocks.cells, blocks.hits
    rates = hits / cells
    if hits[-1] == cells[-1]:
        rates[-1] = (cells[-1] + 1) / (cells[-1] + 2)
        if len(rates) > 1 and rates[-1] <= rates[-2]:
            return _without_certainty(blocks.pooled(len(rates) - 2))
    if hits[0] == 0:
        rates[0] = 1 / (cells[0] + 2)
        if len(rates) > 1 and rates[0] >= rates[1]:
            return _without_certainty(blocks.pooled(0))
    return blocks, np.asarray(rates)
