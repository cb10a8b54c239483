"""Average precision by class, over all cells, and by row: how well scores rank the true labels.

Each is exact, with equal scores kept together, and a cell without a score is never retrieved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.data import ClassStrip, LabelledLogits
from calibrate.evaluation.counts import mean
from calibrate.statistics import curves_of_lines, pooled_curves, threshold_curves


def average_precision_by_class(data: LabelledLogits) -> NDArray[np.float64]:
    """Average precision of each class, (n_classes,); nan without positives."""
    parts = [curves.average_precision() for curves in threshold_curves(data)]
    return np.concatenate(parts)


def micro_average_precision(data: LabelledLogits) -> float:
    """Average precision of all cells in one ranking; nan without positives."""
    (curve,) = pooled_curves(data)
    return float(curve.average_precision()[0])


def instance_average_precision(data: LabelledLogits) -> float:
    """Mean over the rows with true labels of the average precision of the row's classes."""
    parts = []
    for block in data.blocks():
        # the rows of a block are lines of scores, as the classes of a strip are
        lines = ClassStrip(block.start, block.scores, block.indptr, block.indices)
        parts += [curves.average_precision() for curves in curves_of_lines(lines)]
    by_row = np.concatenate(parts)
    return mean(by_row[~np.isnan(by_row)])
