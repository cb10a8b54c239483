"""The scores of positives, class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibrate import threads
from calibrate.data import Block, LabelledLogits
from calibrate.kernels.pooled import positives_of


def positive_scores(data: LabelledLogits) -> NDArray[np.float32]:
    """Scores of all positives, in the order of the labels; one pass over the rows."""
    scores = np.empty(data.labels.n_labels, dtype=np.float32)

    def gather(block: Block) -> None:
        begin = data.labels.indptr[block.start]
        out = scores[begin : begin + len(block.indices)]
        positives_of(block.scores, block.indptr, block.indices, out)

    for _ in data.each_block(gather):
        pass
    return scores


def positive_scores_by_class(
    data: LabelledLogits,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The scores of the positives of each class, in rising order; one pass over the rows.

    Returns
    -------
    indptr : int64, (n_classes + 1,)
        Those of class c are ``scores[indptr[c]:indptr[c + 1]]``.
    scores : float32, (n_labels,)
    """
    labels = data.labels
    columns = sparse.csr_array(
        (positive_scores(data), labels.indices, labels.indptr), shape=data.shape
    ).tocsc()
    indptr, scores = columns.indptr.astype(np.int64), columns.data

    def sort(first: int, last: int) -> None:
        for c in range(first, last):
            scores[indptr[c] : indptr[c + 1]].sort()

    threads.over_ranges(sort, data.shape[1])
    return indptr, scores
