"""The labels of a row compete: one number of each row, found from cells drawn from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import Block, LabelledLogits
from calibrate.kernels.sampling import draw_cells, row_gains, row_keys, weighted_logistic
from calibrate.logistic import SLOPE_RANGE
from calibrate.ops import RowAffine

Term = Literal["by_count", "by_largest", "by_log_sum"]
"""Which number of a row: see `calibrate.ops.RowAffine`."""

N_FOLDS = 5
"""Folds of rows for the gate."""

MOST_CELLS = 1 << 18
"""Positives, and negatives, that are drawn, about."""

_FEWEST_ROWS, _MOST_LOOKED = 1 << 12, 1 << 25

_STANDARD_ERRORS = 2.0
_SAME_IN_ALL_ROWS = 1e-2
_EDGES = np.arange(-10.0, 2.0, dtype=np.float32)
_EVERYTHING = np.uint32(0xFFFFFFFF)
_RAREST = 2.0**12
_MOST_STEPS = 100
_RIDGE = 1e-9
_PARTS = 16
_WORTH_THREADS = 1 << 15


@dataclass(frozen=True)
class RowLayer:
    """``intercept + slope x + sum of coefficient times term``, or nothing.

    Attributes
    ----------
    terms : tuple of str
    coefficients : tuple of float
    slope, intercept : float
    gain : float
        By how much the log loss of a row falls, in nats, on rows that the fit has not seen.
    standard_error : float
        Of the gain, rows being clusters.
    on : bool
        Whether the gain is beyond 2 standard errors, or the layer was asked for.
    """

    terms: tuple[Term, ...]
    coefficients: tuple[float, ...]
    slope: float
    intercept: float
    gain: float
    standard_error: float
    on: bool

    @property
    def op(self) -> RowAffine:
        """The layer as a step."""
        parts: dict[str, float] = dict(zip(self.terms, self.coefficients, strict=True))
        return RowAffine(
            np.array(self.slope, np.float32), np.array(self.intercept, np.float32), **parts
        )


@dataclass(frozen=True, eq=False)
class _Cells:
    """Cells drawn from rows, and the numbers of these rows."""

    x: NDArray[np.float64]
    rows: NDArray[np.int32]
    weight: NDArray[np.float64]
    positive: NDArray[np.uint8]
    terms: NDArray[np.float64]
    fold: NDArray[np.uint8]


def rows_enough(n_classes: int) -> int:
    """Rows that tell enough about a row layer: 4,096, or more if they have few cells."""
    return max(_FEWEST_ROWS, _MOST_LOOKED // n_classes)


def fit_row_layer(
    rows: LabelledLogits,
    terms: Sequence[Term],
    *,
    base: Sequence[float] | None = None,
    gated: bool = True,
) -> RowLayer:
    """The line in score and row terms, kept if it helps on rows that it has not seen.

    Parameters
    ----------
    rows : LabelledLogits
    terms : sequence of str
    base : sequence of float, (2 + n_terms,), optional
        Intercept, slope and coefficients that the layer is compared with; by default the scores
        as they are.
    gated : bool
        Else the layer is on whatever it gains.

    Notes
    -----
    All positives, or about 262,144 of them, are drawn, and as many negatives, the likelier ones
    more often; each counts for the cells it stands for. What is drawn depends on the scores alone,
    not on the order of rows or classes. The gain is cross-validated over 5 folds of rows, and its
    error is that of the mean over rows: the cells of a row are far from independent.

    References
    ----------
    Liang and Zeger (1986), Longitudinal data analysis using generalized linear models, section 2,
    on errors from clusters; King and Zeng (2001), Logistic regression in rare events data, section
    4.2, on weighting drawn negatives.
    """
    cells = _draw(rows, tuple(terms))
    start = np.array([0.0, 1.0, *(0.0 for _ in terms)] if base is None else base)
    whole = _fit(cells, N_FOLDS, start)
    # not from `whole`: what the other rows leave open would come from the rows left out
    lines = np.stack([_fit(cells, fold, start) for fold in range(N_FOLDS)])
    gains = np.zeros(rows.shape[0])
    _over_rows(
        cells,
        lambda a, b: row_gains(
            cells.x, cells.rows, cells.terms, cells.weight, cells.positive, cells.fold,
            start, lines, a, b, gains,
        ),
    )  # fmt: skip
    gain = float(gains.mean())
    error = float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else np.inf
    return RowLayer(
        terms=tuple(terms),
        coefficients=tuple(float(c) for c in whole[2:]),
        slope=float(whole[1]),
        intercept=float(whole[0]),
        gain=gain,
        standard_error=error,
        on=not gated or gain > _STANDARD_ERRORS * error,
    )


def _draw(rows: LabelledLogits, terms: tuple[Term, ...]) -> _Cells:
    """Cells of `rows`, each with the number of cells it stands for."""
    n_rows, n_classes = rows.shape
    n_positives = int(rows.labels.positives.sum())
    rate = MOST_CELLS / max(1, n_positives)
    prevalence = n_positives / (n_rows * n_classes)
    middle = np.concatenate([_EDGES[:1], (_EDGES[1:] + _EDGES[:-1]) / 2, _EDGES[-1:]])
    # likely negatives tell more; the least likely are drawn half as often as the mean one
    likely = 0.5 * rate * (1 / (1 + np.exp(-middle.astype(np.float64))) + prevalence)
    limits, positive_limit = _limits(likely), _limits(np.array([rate]))[0]
    share = np.concatenate([limits, [positive_limit]]).astype(np.float64)
    weights = 2.0**32 / (share + 1.0)
    one, none = np.array(1.0, np.float32), np.array(0.0, np.float32)
    ops = [RowAffine(one, none, **{term: 1.0}) for term in terms]

    def of_block(block: Block) -> tuple[NDArray[Any], ...]:
        scores = np.ascontiguousarray(block.scores)
        bits = scores.view(np.int32)
        keys = np.empty(len(scores), dtype=np.uint32)
        row_keys(bits, keys)
        room = scores.size if scores.size <= 1 << 16 else scores.size // 16
        while True:
            score, row = np.empty(room, np.float32), np.empty(room, np.int32)
            kind = np.empty(room, np.uint8)
            found = draw_cells(
                scores, bits, keys, block.indptr, block.indices, _EDGES, limits, positive_limit,
                score, row, kind,
            )  # fmt: skip
            if found <= room:
                break
            room = found
        known = np.stack([op.row_terms(scores) for op in ops], axis=1)
        return score[:found], row[:found] + np.int32(block.start), kind[:found], keys, known

    parts = [np.concatenate(part) for part in zip(*rows.each_block(of_block), strict=True)]
    score, row, kind, keys, known = parts
    known = known.astype(np.float64)
    # log sum exp of a normed softmax is 0 but for rounding, which no coefficient is to blow up
    same = np.ptp(known, axis=0) < _SAME_IN_ALL_ROWS
    known[:, same] = 0.5 * (known.min(axis=0) + known.max(axis=0))[same]
    return _Cells(
        x=score.astype(np.float64),
        rows=row,
        weight=weights[kind],
        positive=(kind == len(limits)).astype(np.uint8),
        terms=known,
        fold=(keys % np.uint32(N_FOLDS)).astype(np.uint8),
    )


def _limits(shares: NDArray[np.float64]) -> NDArray[np.uint32]:
    """The highest 32-bit number that a share of all such numbers does not exceed, never too low."""
    return np.clip(shares * 2.0**32, _RAREST, float(_EVERYTHING)).astype(np.uint32)


def _fit(cells: _Cells, left_out: int, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of 1, x and the terms, without the rows of one fold."""
    k = len(start)
    others = np.delete(np.arange(k), 1)
    cuts = [len(cells.x) * part // _PARTS for part in range(_PARTS + 1)]

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        sums = np.empty((_PARTS, 1 + k + k * k))

        def add(part: int) -> None:
            weighted_logistic(
                cells.x, cells.rows, cells.terms, cells.weight, cells.positive, cells.fold,
                left_out, at, cuts[part], cuts[part + 1], sums[part],
            )  # fmt: skip

        if len(cells.x) < _WORTH_THREADS:
            for part in range(_PARTS):
                add(part)
        else:
            threads.each(add, range(_PARTS))
        total = sums.sum(axis=0)
        lower = total[1 + k :].reshape(k, k)
        hessian = np.tril(lower) + np.tril(lower, -1).T
        off = at - start
        value = float(total[0] + 0.5 * _RIDGE * off @ off)
        return value, total[1 : 1 + k] + _RIDGE * off, hessian + _RIDGE * np.eye(k)

    at = start
    value, gradient, hessian = loss(at)
    for _ in range(_MOST_STEPS):
        move = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        if at[1] - move[1] < SLOPE_RANGE[0]:
            # along the bound: the others move as if the slope were there
            move[1] = at[1] - SLOPE_RANGE[0]
            rest = gradient[others] - hessian[others, 1] * move[1]
            move[others] = np.linalg.lstsq(hessian[np.ix_(others, others)], rest, rcond=None)[0]
        decrement = float(gradient @ move)
        if decrement < 1e-8:
            break
        step = 1.0
        while step > 1e-8:
            new = loss(at - step * move)
            if new[0] <= value - 1e-4 * step * decrement + 1e-12 * abs(value):
                break
            step *= 0.5
        else:
            break
        at = at - step * move
        value, gradient, hessian = new
    return at


def _over_rows(cells: _Cells, work: object) -> None:
    """Call ``work(first, last)`` for ranges of cells whose rows no other range shares."""
    ends = np.flatnonzero(np.diff(cells.rows)) + 1
    cuts = [0]
    for part in range(1, _PARTS):
        wanted = len(cells.x) * part // _PARTS
        place = int(np.searchsorted(ends, wanted))
        if place < len(ends) and ends[place] > cuts[-1]:
            cuts.append(int(ends[place]))
    cuts.append(len(cells.x))
    threads.each(lambda part: work(cuts[part], cuts[part + 1]), range(len(cuts) - 1))  # type: ignore[operator]
