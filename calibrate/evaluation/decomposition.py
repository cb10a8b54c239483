"""Brier score and log loss taken apart, and how far sums of labels stray from those of p."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.data import ClassStrip, LabelledLogits
from calibrate.evaluation.brownian import brownian_exceeds
from calibrate.evaluation.counts import Floats
from calibrate.kernels.calibration import (
    KEY_STEPS,
    KEYS,
    KEYS_PER_LOGIT,
    N_FIGURES,
    walk_groups,
    walk_lines,
)
from calibrate.kernels.curves import gather_positives

MOST_SEEDS = 1 << 12
"""Seeds that draw different labels."""


@dataclass(frozen=True, eq=False)
class Walk:
    """Figures of sorted cells, and of the same cells with labels drawn as the probabilities say.

    Attributes
    ----------
    figures : float64, (n_lines, N_FIGURES)
        See `calibrate.kernels.calibration.N_FIGURES`; sums over the cells.
    drawn : float64, (n_lines, n_draws, N_FIGURES)
    """

    figures: Floats
    drawn: Floats

    def results(self, level: float) -> dict[str, Floats]:
        """Scores with their parts, and the Kolmogorov-Smirnov statistic; float64, (n_lines,).

        nan without cells. With drawn labels also the central `level` of what MCB would be if every
        probability were right, and the share of draws that reach the MCB found.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            cells, farthest, variance, *_ = self.figures.T
            found = {
                "ks": farthest / cells,
                "ks_p": brownian_exceeds(
                    np.where(variance > 0, farthest / np.sqrt(variance), np.nan)
                ),
            }
            for name, place in (("brier", 3), ("log_loss", 4)):
                score, recalibrated, base = (
                    self.figures[:, k] / cells for k in (place, place + 2, place + 4)
                )
                found |= {
                    name: score,
                    f"{name}_mcb": score - recalibrated,
                    f"{name}_dsc": base - recalibrated,
                    f"{name}_unc": base,
                }
                if self.drawn.shape[1]:
                    found |= self._null(name, place, level)
        return found

    def _null(self, name: str, place: int, level: float) -> dict[str, Floats]:
        n_draws = self.drawn.shape[1]
        mcb = self.figures[:, place] - self.figures[:, place + 2]
        null = self.drawn[:, :, place] - self.drawn[:, :, place + 2]
        tail = (1.0 - level) / 2.0
        cells = self.figures[:, 0]
        low, high = np.quantile(null, [tail, 1.0 - tail], axis=1) / cells
        reached = (null >= mcb[:, None]).sum(axis=1)
        return {
            f"{name}_mcb_null_low": low,
            f"{name}_mcb_null_high": high,
            f"{name}_mcb_p": np.where(cells > 0, (1 + reached) / (1 + n_draws), np.nan),
        }


def walk(rows: LabelledLogits, n_draws: int, seed: int) -> tuple[Walk, Walk]:
    """Walk over the sorted scores of each class, and over those of all classes pooled.

    One pass, by classes. Pooled cells are told apart to 1/1024 of a logit, and not at all beyond 32
    logits; their scores are exact all the same. The results do not depend on threads or strips.

    Parameters
    ----------
    rows : LabelledLogits
        Calibrated.
    n_draws : int
        How often labels are drawn anew from the probabilities.
    seed : int
        Of the draws, from 0 to `MOST_SEEDS` - 1.
    """
    n_classes = rows.shape[1]
    figures = np.empty((n_classes, N_FIGURES))
    drawn = np.empty((n_classes, n_draws, N_FIGURES))
    pooled, adding = np.zeros((3, KEYS), dtype=np.int64), threading.Lock()
    for strip in rows.strips():
        _walk_strip(strip, seed, figures, drawn, pooled, adding)
    return Walk(figures, drawn), _walk_pooled(pooled, figures, n_draws, seed)


def _walk_strip(
    strip: ClassStrip,
    seed: int,
    figures: Floats,
    drawn: Floats,
    pooled: NDArray[np.int64],
    adding: threading.Lock,
) -> None:
    """Fill the figures of the classes of a strip, whose scores are sorted in place."""
    positives = np.empty(len(strip.rows), dtype=np.float32)
    here = slice(strip.start, strip.start + len(strip.scores))

    def on_lines(first: int, last: int) -> None:
        gather_positives(strip.scores, strip.indptr, strip.rows, first, last, positives)
        for c in range(first, last):
            positives[strip.indptr[c] : strip.indptr[c + 1]].sort()
        strip.scores[first:last].sort(axis=1)
        own = np.zeros_like(pooled)
        walk_lines(
            strip.scores, strip.indptr, positives, first, last, strip.start, seed,
            figures[here], own, drawn[here],
        )  # fmt: skip
        with adding:
            np.add(pooled, own, out=pooled)

    threads.over_ranges(on_lines, len(strip.scores))


def _walk_pooled(pooled: NDArray[np.int64], by_class: Floats, n_draws: int, seed: int) -> Walk:
    found = np.flatnonzero(pooled[0])
    n, t, steps = (part[found] for part in pooled)
    logit = (found + steps / (n * KEY_STEPS) - KEYS // 2) / KEYS_PER_LOGIT
    figures, drawn = np.zeros((1, N_FIGURES)), np.empty((1, n_draws, N_FIGURES))
    walk_groups(logit, n, t, figures[0])
    random = np.random.default_rng([seed, KEYS])
    for k in range(n_draws):
        walk_groups(logit, n, random.binomial(n, 1 / (1 + np.exp(-logit))), drawn[0, k])
    # what needs no order is the sum over the classes
    for place in (2, 3, 4):
        figures[0, place] = math.fsum(by_class[:, place])
    return Walk(figures, drawn)
