"""What calibrated probabilities cost: log loss, Brier score, calibration error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import Block
from calibrate.evaluation.counts import mean, ratio
from calibrate.kernels.evaluation import add_losses

N_BINS = 15
"""Bins of the calibration error, of equal width in probability as in Guo et al., 2017."""


@dataclass(frozen=True, eq=False)
class Losses:
    """Sums over the cells that have a score, by class.

    Attributes
    ----------
    scored : int64, (n_classes,)
    log_loss, brier : float64, (n_classes,)
    gap : float64, (n_classes, N_BINS)
        Sum of ``p - y`` in each bin of p.
    """

    scored: NDArray[np.int64]
    log_loss: NDArray[np.float64]
    brier: NDArray[np.float64]
    gap: NDArray[np.float64]

    @classmethod
    def zero(cls, n_classes: int) -> Losses:
        """Sums over no rows."""
        scored = np.zeros(n_classes, dtype=np.int64)
        return cls(scored, np.zeros(n_classes), np.zeros(n_classes), np.zeros((n_classes, N_BINS)))

    def add(self, block: Block) -> None:
        """Add the cells of a block of calibrated logits."""
        sums = (self.scored, self.log_loss, self.brier, self.gap)

        def add(first: int, last: int) -> None:
            add_losses(block.scores, block.indptr, block.indices, first, last, *sums)

        threads.over_ranges(add, len(self.scored))

    def ece_by_class(self) -> NDArray[np.float64]:
        """Calibration error of each class, (n_classes,); nan where no cell has a score."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(self.gap).sum(axis=1) / self.scored)

    def summary(self, n_rows: int) -> dict[str, float]:
        """Log loss, Brier score and calibration errors of all cells; nan without scores."""
        n_scored = int(self.scored.sum())
        by_class = self.ece_by_class()
        pooled = math.fsum(abs(math.fsum(gap)) for gap in self.gap.T)
        log_loss = math.fsum(self.log_loss)
        return {
            "log_loss": ratio(log_loss, n_scored),
            "log_loss_per_row": ratio(log_loss, n_rows if n_scored else 0),
            "brier": ratio(math.fsum(self.brier), n_scored),
            "ece": ratio(pooled, n_scored),
            "ece_classes": mean(by_class[self.scored > 0]),
        }
