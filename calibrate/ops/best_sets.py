"""The steps that choose for each row the set of labels that is worth most on average."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from calibrate.ops.base import Float32, number
from calibrate.ops.decisions import HighestOp
from calibrate.ops.expected_sets import (
    N_NODES,
    SMALL,
    Flags,
    Floats,
    Likely,
    Sizes,
    exact_f,
    exact_jaccard,
    f_ratio,
    jaccard_ratio,
    log_odds_of_none,
    powers_of_others,
    row_sums,
    second_order_f,
    second_order_jaccard,
)
from calibrate.ops.rows import sigmoid

_CACHED_CELLS = 1 << 17
"""Cells that stay in the cache of a core from one operation to the next."""

_JUDGED_CELLS = 1 << 16
"""Numbers that the judging of a few rows holds in each of its arrays."""

MANY = 20.0
"""Expected labels of a row from which on its number of labels is as good as known."""

FIRST_CUT = 0.1
ROUNDING = 1e-12
HIGHEST_ODDS = 700.0

BELOW = 0.5, 0.06, 0.0
"""Parts of the first cut down to which classes are called likely, if it must be, all."""


@dataclass(frozen=True, eq=False)
class BestSetOp(HighestOp):
    """Predict of each row the likeliest labels, as many as are worth most on average.

    The logits are taken for calibrated ones and the labels of a row for independent, but for one
    thing: whether there are any at all. A row is empty with the probability
    ``e = sigmoid(empty_intercept + empty_slope * log odds of the product of all 1 - p)``; the
    labels of a row that is not are those of an independent one that is not. Where the empty set
    is worth as much as any other, it is taken.

    Parameters
    ----------
    exact : bool
        Whether each size is judged exactly. Else to second order, and rows of 20 or more expected
        labels as if the numbers of hits and of labels were their means.
    empty_intercept : float, or None
        None: no row is empty, and each gets a label.
    empty_slope : float
    """

    exact: bool
    empty_intercept: float | None
    empty_slope: float

    def _check(self) -> None:
        """Raise unless the fields are what they must be, and make plain numbers of them."""
        if not isinstance(self.exact, bool | np.bool_):
            raise TypeError(f"exact must be true or false, got {self.exact!r}")
        object.__setattr__(self, "exact", bool(self.exact))
        for name in ("empty_intercept", "empty_slope"):
            value = getattr(self, name)
            if value is None and name == "empty_intercept":
                continue
            plain = number(value, name, above=-np.inf)
            object.__setattr__(self, name, plain)

    def counts(self, scores: Float32) -> Sizes:
        """How many labels each row gets, shape (n_rows,)."""
        n_rows, n_classes = scores.shape
        height = max(1, _CACHED_CELLS // max(1, n_classes))
        k = np.empty(n_rows, dtype=np.int64)
        for start in range(0, n_rows, height):
            part = slice(start, start + height)
            k[part] = self._sizes(sigmoid(scores[part]))
        return k

    def _sizes(self, p: Float32) -> Sizes:
        """Labels of each row of some rows of probabilities."""
        total = row_sums(p)
        k, value = np.zeros(len(p), dtype=np.int64), np.zeros(len(p))
        known = (total >= MANY) & (not self.exact)
        for rows, find in ((known, self.by_means), (~known & (total > 0), self.by_law)):
            if rows.all():
                k, value = find(p, total)
            elif rows.any():
                k[rows], value[rows] = find(p[rows], total[rows])
        if self.empty_intercept is None:
            return np.maximum(k, min(1, p.shape[1]))
        odds = log_odds_of_none(p)
        with np.errstate(over="ignore"):
            own = np.minimum(self.empty_intercept + self.empty_slope * odds, HIGHEST_ODDS)
        # the empty set and others, both over the probability that the row is not empty
        return np.where(np.exp(own) >= value * (1 + np.exp(odds)), 0, k)

    def by_means(self, p: Float32, total: Floats) -> tuple[Sizes, Floats]:
        """Best number of labels and its value, hits and labels being as many as expected.

        Parameters
        ----------
        p : float32, (n_rows, n_classes)
        total : float64, (n_rows,)
            Its sums, above 0.
        """
        floor = 0.99 * self._floor(p, total)
        likely = Likely.above(floor, p, total)
        size = np.arange(1, likely.p.shape[1] + 1)
        values = self._ratio(np.cumsum(likely.p, axis=1), size, total[:, None])
        return _highest(self._factor * values)

    def by_law(self, p: Float32, total: Floats) -> tuple[Sizes, Floats]:
        """Best number of labels and its value, by the law of the numbers of hits and of labels.

        The likely classes are judged. That no other number is better is proven by a bound, or
        else more classes are.
        """
        k, value = np.zeros(len(p), dtype=np.int64), np.zeros(len(p))
        start, open_rows = self._floor(p, total), np.arange(len(p))
        for below in BELOW:
            floor = below * start[open_rows]
            if self.exact:
                floor = np.minimum(floor, SMALL)
            floor = floor.astype(np.float32).astype(np.float64)
            here = p[open_rows]
            likely = Likely.above(floor, here, total[open_rows])
            k[open_rows], value[open_rows] = self._judged(likely, here, floor)
            open_rows = open_rows[~self._proven(likely, floor, value[open_rows])]
            if len(open_rows) == 0:
                break
        return k, value

    def _judged(self, likely: Likely, p: Float32, floor: Floats) -> tuple[Sizes, Floats]:
        """Best of the numbers of likely classes of each row and its value, a few rows at once."""
        first, width = self._worth_judging(likely)
        k, value = np.empty(len(p), dtype=np.int64), np.empty(len(p))
        across = N_NODES if self.exact else int(width.max())
        height = max(1, _JUDGED_CELLS // (likely.p.shape[1] * across))
        judge = self._exactly if self.exact else self._second_order
        for start in range(0, len(p), height):
            part = slice(start, start + height)
            some = Likely(likely.p[part], likely.n[part], likely.total[part])
            tried = first[part, None] + np.arange(int(width[part].max()))
            tried = np.minimum(tried, likely.p.shape[1])
            values = judge(some, tried, p[part], floor[part])
            best = values.argmax(axis=1)[:, None]
            k[part] = np.take_along_axis(tried, best, axis=1)[:, 0]
            value[part] = np.take_along_axis(values, best, axis=1)[:, 0]
        return k, value

    def _worth_judging(self, likely: Likely) -> tuple[Sizes, Sizes]:
        """The first number of likely classes that can be the best one, and how many to try."""
        hits, size = np.cumsum(likely.p, axis=1), np.arange(1, likely.p.shape[1] + 1)
        total = likely.total[:, None]
        most = self._ratio(hits, size, total) * self._excess(size, hits, total)
        least = self._surely(hits, size, total).max(axis=1, keepdims=True)
        can = (most >= (1 - ROUNDING) * least) & (size <= np.maximum(likely.n, 1)[:, None])
        first = can.argmax(axis=1)
        last = can.shape[1] - 1 - can[:, ::-1].argmax(axis=1)
        return first + 1, last - first + 1

    def _floor(self, p: Float32, total: Floats) -> Floats:
        """What all classes of the best set by means lie above: two steps of Dinkelbach's."""
        cut = np.full(len(p), FIRST_CUT)
        for _ in range(2):
            mask = p > cut.astype(np.float32)[:, None]
            hits = row_sums(p * mask)
            cut = self._cut(self._ratio(hits, np.count_nonzero(mask, axis=1), total))
        return cut

    def _proven(self, likely: Likely, floor: Floats, value: Floats) -> Flags:
        """Whether no more labels than the likely ones can be worth more.

        Of a denominator D of mean m and variance v that is at least d, the mean of 1 / D is at
        most ``(1 + v / (m d)) / m``; the expected hits grow by no more than the floor a label.
        """
        hits, n = np.cumsum(likely.p, axis=1)[:, -1], np.maximum(likely.n, 1)
        ratio = self._ratio(hits, n, likely.total)
        bound = self._factor * ratio * self._excess(n, hits, likely.total)
        proven: Flags = (floor == 0) | ((floor <= self._cut(ratio)) & (bound <= value))
        return proven

    @property
    def _factor(self) -> float:
        """What the ratio of means is multiplied by."""
        return 1.0

    @abstractmethod
    def _ratio(self, hits: Floats, k: Sizes, total: Floats) -> Floats:
        """Ratio of the means behind the value."""

    @abstractmethod
    def _surely(self, hits: Floats, k: Sizes, total: Floats) -> Floats:
        """What the value is at least, without its factor."""

    @abstractmethod
    def _cut(self, ratio: Floats) -> Floats:
        """The probability from which on a label raises a ratio."""

    @abstractmethod
    def _excess(self, k: Sizes, hits: Floats, total: Floats) -> Floats:
        """Bound on what the law of the denominator makes of the ratio of means."""

    @abstractmethod
    def _second_order(self, likely: Likely, k: Sizes, p: Float32, floor: Floats) -> Floats:
        """Values of the k likeliest labels, shape of `k`, to second order."""

    @abstractmethod
    def _exactly(self, likely: Likely, k: Sizes, p: Float32, floor: Floats) -> Floats:
        """Values of the k likeliest labels, shape of `k`."""


@dataclass(frozen=True, eq=False)
class ExpectedFBeta(BestSetOp):
    """Predict of each row the set of highest expected F-beta; see `BestSetOp`.

    Parameters
    ----------
    exact : bool
    empty_intercept : float, or None
    empty_slope : float
    beta : float
        Above 0.
    """

    wire_name: ClassVar[str] = "expected_f_beta"
    beta: float

    def __post_init__(self) -> None:
        self._check()
        object.__setattr__(self, "beta", number(self.beta, "beta", above=0.0))
        if not (self._square > 0 and self._square * self._square < np.inf):
            raise ValueError(
                "the square of beta must be above 0 and its fourth power finite, got "
                f"beta = {self.beta}"
            )

    @property
    def _square(self) -> float:
        return self.beta * self.beta

    @property
    def _factor(self) -> float:
        return 1 + self._square

    def _ratio(self, hits: Floats, k: Sizes, total: Floats) -> Floats:
        return f_ratio(hits, k, total, self._square)

    def _surely(self, hits: Floats, k: Sizes, total: Floats) -> Floats:
        return f_ratio(hits, k, total + 1, self._square)

    def _cut(self, ratio: Floats) -> Floats:
        return ratio

    def _excess(self, k: Sizes, hits: Floats, total: Floats) -> Floats:
        mean = k + self._square * total
        spread = self._square**2 * total / (mean * np.minimum(mean, k + self._square))
        return np.asarray(1 + spread)

    def _second_order(self, likely: Likely, k: Sizes, p: Float32, floor: Floats) -> Floats:
        return second_order_f(likely, k, _variance(p, likely.total), self._square)

    def _exactly(self, likely: Likely, k: Sizes, p: Float32, floor: Floats) -> Floats:
        return exact_f(likely, k, powers_of_others(p, floor), self._square)


@dataclass(frozen=True, eq=False)
class ExpectedJaccard(BestSetOp):
    """Predict of each row the set of highest expected Jaccard index; see `BestSetOp`.

    Parameters
    ----------
    exact : bool
    empty_intercept : float, or None
    empty_slope : float
    """

    wire_name: ClassVar[str] = "expected_jaccard"

    def __post_init__(self) -> None:
        self._check()

    def _ratio(self, hits: Floats, k: Sizes, total: Floats) -> Floats:
        return jaccard_ratio(hits, k, total)

    def _surely(self, hits: Floats, k: Sizes, total: Floats) -> Floats:
        return jaccard_ratio(hits, k, total)

    def _cut(self, ratio: Floats) -> Floats:
        return ratio / (1 + ratio)

    def _excess(self, k: Sizes, hits: Floats, total: Floats) -> Floats:
        others = (total - hits).clip(0)
        return np.asarray(1 + others / ((k + others) * k))

    def _second_order(self, likely: Likely, k: Sizes, p: Float32, floor: Floats) -> Floats:
        return second_order_jaccard(likely, k, _variance(p, likely.total))

    def _exactly(self, likely: Likely, k: Sizes, p: Float32, floor: Floats) -> Floats:
        return exact_jaccard(likely, k, powers_of_others(p, floor))


def _variance(p: Float32, total: Floats) -> Floats:
    """Variance of the number of labels of each row, the labels being independent."""
    return (total - row_sums(np.square(p))).clip(0)


def _highest(values: Floats) -> tuple[Sizes, Floats]:
    """Number of labels of highest value in each row, the fewest among equals, and the value."""
    place = values.argmax(axis=1)
    return place + 1, values[np.arange(len(values)), place]
