"""The mean of a risk over rows at every threshold of a lattice, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from calibrate.data import Block, LabelledLogits
from calibrate.kernels.risk import counts_at_lattice
from calibrate.ops import LOWEST
from calibrate.risks import Risk

PER_UNIT = 32
"""Points of the lattice in one logit."""

FARTHEST = 16
"""Its ends, in logits."""

_AT_ONCE = 1 << 18
_FINEST = 44
_MOST = 62


def lattice() -> NDArray[np.float32]:
    """The thresholds, from the lowest: all is predicted, -16 to 16 by 1/32, nothing is predicted.

    Fixed before any data is seen, and the same for all data.
    """
    points = np.arange(-FARTHEST * PER_UNIT, FARTHEST * PER_UNIT + 1) / PER_UNIT
    return np.concatenate([[LOWEST], points, [np.inf]]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class RiskCurve:
    """Sums over the rows at each threshold.

    Losses are added as whole multiples of ``bound / scale``, each rounded to the nearest, so that
    sums do not depend on the order of rows; losses of 0 and `bound` are exact.

    Attributes
    ----------
    threshold : float32, (n_cuts,)
        In rising order: the first lets all pass, the last, ``inf``, none.
    total : int64, (n_cuts,)
        Losses of all rows.
    scale : int
    predicted : int64, (n_cuts,)
        Labels predicted in all.
    n_rows : int
    bound : float
        What a row can lose at most.
    binary : bool
        Whether losses are 0 or `bound` alone.
    """

    threshold: NDArray[np.float32]
    total: NDArray[np.int64]
    scale: int
    predicted: NDArray[np.int64]
    n_rows: int
    bound: float
    binary: bool

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean loss of a row at each threshold."""
        return self.total / self.scale / self.n_rows * self.bound

    @property
    def least_sums(self) -> list[Fraction]:
        """Losses of all rows in units of `bound`; as low as rounding allows where it rounds."""
        slack = 0 if self.binary else self.n_rows
        return [
            Fraction(max(2 * total - slack, 0), 2 * self.scale) for total in self.total.tolist()
        ]


def risk_curve(data: LabelledLogits, risk: Risk) -> RiskCurve:
    """Losses of all rows at each threshold of the `lattice`.

    Raises
    ------
    ValueError
        If the risk is not what it says.

    Notes
    -----
    One pass. The scores of a row are counted between the points of the lattice, so that a row costs
    its classes and the points, not their product; counts are kept for some hundred rows at a time.
    """
    threshold = lattice()
    n_rows = data.shape[0]
    scale = 1 << min(_FINEST, _MOST - n_rows.bit_length())
    total, predicted = np.zeros(len(threshold), np.int64), np.zeros(len(threshold), np.int64)
    data.check_in_place()
    for losses, counts in data.each_block(lambda block: _of_block(block, risk, scale)):
        total += losses
        predicted += counts
    if risk.monotone and (total[1:] < total[:-1]).any():
        at = int(np.argmax(total[1:] < total[:-1]))
        raise ValueError(
            f"{risk} must not rise when more is predicted, as it says; its mean is "
            f"{total[at] / scale / n_rows * risk.bound:g} at the threshold {threshold[at]:g} and "
            f"{total[at + 1] / scale / n_rows * risk.bound:g} at {threshold[at + 1]:g}"
        )
    return RiskCurve(threshold, total, scale, predicted, n_rows, float(risk.bound), risk.binary)


def _of_block(block: Block, risk: Risk, scale: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Losses, in whole units, and predicted labels of the rows of a block at each threshold."""
    n_rows, n_cuts = len(block.scores), 2 * FARTHEST * PER_UNIT + 3
    height = min(n_rows, max(1, _AT_ONCE // n_cuts))
    room = np.empty((2, height, n_cuts))
    total, counts = np.zeros(n_cuts, np.int64), np.zeros(n_cuts, np.int64)
    end = np.float32(FARTHEST * PER_UNIT)
    for start in range(0, n_rows, height):
        stop = min(start + height, n_rows)
        tp, predicted = room[:, : stop - start]
        indptr = block.indptr[start : stop + 1]
        counts_at_lattice(
            block.scores[start:stop], indptr, block.indices, np.float32(PER_UNIT), -end, end,
            tp, predicted,
        )  # fmt: skip
        true = np.broadcast_to(np.diff(indptr).astype(np.float64)[:, None], tp.shape)
        units = risk(tp, predicted, true) / risk.bound * scale
        # whole numbers below 2**53 in all: the sum is exact in any order
        total += np.rint(units).sum(axis=0).astype(np.int64)
        counts += predicted.sum(axis=0).astype(np.int64)
    return total, counts
