"""How many positives the scores themselves expect: sums of sigmoids, class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.data import Block, LabelledLogits
from calibrate.kernels.probabilities import WHOLE, add_probabilities
from calibrate.ops import sigmoid
from calibrate.statistics.histogram import ScoreHistogram

_CACHED_CELLS = 1 << 17
"""Cells that stay in the cache of a core from one operation to the next."""


def expected_positives(data: LabelledLogits) -> NDArray[np.float64]:
    """Sum of the sigmoids of each class over all rows, float64, (n_classes,); one pass.

    Each probability is rounded to a multiple of 2**-23, so that the sum is the same in any order of
    the rows.
    """
    n_classes = data.shape[1]
    height = max(1, _CACHED_CELLS // n_classes)

    def of_block(block: Block) -> NDArray[np.int64]:
        sums = np.zeros(n_classes, dtype=np.int64)
        for start in range(0, len(block.scores), height):
            add_probabilities(sigmoid(block.scores[start : start + height]), sums)
        return sums

    total = np.zeros(n_classes, dtype=np.int64)
    for sums in data.each_block(of_block):
        total += sums
    return total / WHOLE


def expected_in_bins(histogram: ScoreHistogram) -> NDArray[np.float64]:
    """The same from a histogram: each score taken for the mean of its bin."""
    with np.errstate(over="ignore"):
        probabilities = 1.0 / (1.0 + np.exp(-histogram.scores))
    return np.asarray((histogram.counts * probabilities).sum(axis=1))
