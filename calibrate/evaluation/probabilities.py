"""What calibrated probabilities cost and how far they are off, summed up by class in one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import Block
from calibrate.evaluation.counts import mean, ratio
from calibrate.evaluation.debiased import BINS_PER_LOGIT, N_LOGIT_BINS, debiased_squared_ece
from calibrate.kernels.evaluation import add_losses
from calibrate.ops import expected_counts

N_BINS = 15
"""Bins of the calibration error, of equal width in probability as in Guo et al., 2017."""

_APART = 8


@dataclass(frozen=True, eq=False)
class Losses:
    """Sums over the cells that have a score, by class, and the expected count of each row.

    Attributes
    ----------
    scored : int64, (n_classes,)
    log_loss, brier : float64, (n_classes,)
    gap : float64, (n_classes, N_BINS)
        Sum of ``p - y`` in each bin of p.
    bins : float64, (n_classes, N_LOGIT_BINS, 4)
        Cells, positives, sum of ``p - y`` and of ``p (1 - p)`` in each bin of the logit.
    row_expected : float64, (n_rows,)
        Sum of the probabilities of the row.
    """

    scored: NDArray[np.int64]
    log_loss: NDArray[np.float64]
    brier: NDArray[np.float64]
    gap: NDArray[np.float64]
    bins: NDArray[np.float64]
    row_expected: NDArray[np.float64]

    @classmethod
    def zero(cls, n_rows: int, n_classes: int) -> Losses:
        """Sums over no rows, with room for the counts of `n_rows`."""
        # classes that lie a power of 2 apart would take each other's place in the cache
        apart = np.zeros((n_classes, N_LOGIT_BINS + _APART, 4))
        return cls(
            scored=np.zeros(n_classes, dtype=np.int64),
            log_loss=np.zeros(n_classes),
            brier=np.zeros(n_classes),
            gap=np.zeros((n_classes, N_BINS)),
            bins=apart[:, :N_LOGIT_BINS],
            row_expected=np.zeros(n_rows),
        )

    def add(self, block: Block) -> None:
        """Add the cells of a block of calibrated logits."""

        def add(first: int, last: int) -> None:
            add_losses(
                block.scores, block.indptr, block.indices, first, last,
                self.scored, self.log_loss, self.brier, self.gap, self.bins, BINS_PER_LOGIT,
            )  # fmt: skip

        def count(first: int, last: int) -> None:
            here = slice(block.start + first, block.start + last)
            self.row_expected[here] = expected_counts(block.scores[first:last])

        threads.over_ranges(add, len(self.scored))
        threads.over_ranges(count, len(block.scores))

    def ece_by_class(self) -> NDArray[np.float64]:
        """Calibration error of each class, (n_classes,); nan where no cell has a score."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(self.gap).sum(axis=1) / self.scored)

    def debiased_by_class(self) -> NDArray[np.float64]:
        """Debiased squared calibration error of each class, (n_classes,); nan where undefined."""
        return debiased_squared_ece(*np.moveaxis(self.bins, -1, 0))

    def per_class(self) -> dict[str, NDArray[Any]]:
        """Expected counts and calibration errors by class, float64, nan where undefined."""
        _, positives, gap, variance = self.bins.sum(axis=1).T
        expected = positives + gap
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "expected": expected,
                "expected_ratio": np.where(positives > 0, expected / positives, np.nan),
                "expected_z": np.where(variance > 0, gap / np.sqrt(variance), np.nan),
                "ece": self.ece_by_class(),
                "debiased_squared_ece": self.debiased_by_class(),
            }

    def summary(self, row_true: NDArray[np.int64]) -> dict[str, float]:
        """Log loss, Brier score and calibration errors of all cells; nan without scores.

        Parameters
        ----------
        row_true : int64, (n_rows,)
            True labels of each row.
        """
        n_scored, positives = int(self.scored.sum()), int(self.bins[..., 1].sum())
        by_class, debiased = self.ece_by_class(), self.debiased_by_class()
        pooled = math.fsum(abs(math.fsum(gap)) for gap in self.gap.T)
        cells, positives_of, bin_gap, bin_variance = (
            np.array([math.fsum(sums) for sums in table.T])
            for table in np.moveaxis(self.bins, -1, 0)
        )
        bins = (part[None] for part in (cells, positives_of, bin_gap, bin_variance))
        log_loss = math.fsum(self.log_loss)
        return {
            "log_loss": ratio(log_loss, n_scored),
            "log_loss_per_row": ratio(log_loss, len(row_true) if n_scored else 0),
            "brier": ratio(math.fsum(self.brier), n_scored),
            "ece": ratio(pooled, n_scored),
            "ece_classes": mean(by_class[self.scored > 0]),
            "debiased_squared_ece": float(debiased_squared_ece(*bins)[0]),
            "debiased_squared_ece_classes": mean(debiased[~np.isnan(debiased)]),
            "expected_ratio": ratio(positives + math.fsum(bin_gap), positives),
            "expected_count_mae": mean(np.abs(self.row_expected - row_true)),
        }
