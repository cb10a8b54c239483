"""Swept thresholds of several folds, averaged, with a way out for bad ones: for comparison."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import ops
from calibrate.base import DecisionRule, Fitted, find, require_positives
from calibrate.data import Block, LabelledLogits
from calibrate.kernels.sampling import row_keys
from calibrate.metrics import Metric, check_metric
from calibrate.statistics import Evidence, best_cuts

_FOLDS = 3


class SCutFbr(DecisionRule):
    """SCutFBR.1: per class the mean of three folds' best cuts, or of their highest scores.

    For comparison: it is what others do against thresholds that follow the luck of a rare class.
    Where the best cut of a fold reaches no more than `fbr`, the highest score of the fold takes its
    place. ``PerClassThreshold(metric, shrinkage="auto")`` and `PlugInThreshold` after a calibrator
    serve better.

    Parameters
    ----------
    metric : callable ``(tp, fp, fn, tn) -> array``
        One of `calibrate.metrics` or your own; F1 in the papers.
    fbr : float
        A value of the metric, 0 to 1.

    Notes
    -----
    The rows are dealt to folds by what they hold, so that neither their order nor a seed matters;
    rows of equal scores stay together. Each fold's cut is found on the fold itself: the network has
    not seen any of these rows, as in the papers the rows that the cut is found on are held out from
    training. Of several values of `fbr` the papers choose by one more cross-validation; here it is
    given.

    Raises
    ------
    ValueError
        On fit, if no class has a positive, or `fbr` does not lie between 0 and 1.
    TypeError
        On fit, if there is only a histogram.

    References
    ----------
    Yang (2001), A study on thresholding strategies for text categorization, section 2 (SCut with
    the floor ``fbr``, and the highest score in its place); Lewis, Yang, Rose and Li (2004), RCV1: a
    new benchmark collection, section 6 (SCutFBR.1); Fan and Lin (2007), A study on threshold
    selection for multi-label classification (the mean over three folds).

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.metrics import f_beta
    >>> logits = np.linspace(-3, 3, 60)[:, None]
    >>> rule = SCutFbr(f_beta(1)).fit(logits, logits > 0.5)
    >>> bool(0.3 < rule.op_.threshold[0] < 0.7)
    True
    """

    def __init__(self, metric: Metric, fbr: float = 0.1) -> None:
        self.metric = metric
        self.fbr = fbr

    def _fit(self, evidence: Evidence) -> Fitted:
        check_metric(self.metric)
        if not 0 <= self.fbr <= 1:
            raise ValueError(f"fbr must lie between 0 and 1, got {self.fbr}")
        require_positives(evidence)
        rows = evidence.rows
        fold = np.concatenate(list(rows.each_block(_folds)))
        found = [self._of_fold(rows.take(np.flatnonzero(fold == f))) for f in np.unique(fold)]
        cuts, kept = np.stack([f.cut for f in found]), np.stack([f.kept for f in found])
        n_failed = np.count_nonzero(~kept, axis=0)
        scored = np.isfinite(cuts)
        with np.errstate(invalid="ignore"):
            mean = np.where(scored, cuts, 0.0).sum(axis=0) / scored.sum(axis=0)
        threshold = np.where(scored.any(axis=0), mean, np.inf).astype(np.float32)
        findings = find(
            "below_fbr",
            f"reach no more than {self.fbr:g} in some fold: the highest score there is their cut; "
            "the values are the numbers of such folds",
            n_failed > 0,
            n_failed,
        )
        return Fitted(ops.Threshold(threshold), findings)

    def _of_fold(self, rows: LabelledLogits) -> _Fold:
        ranges = list(rows.each_block(_range))
        low = np.min([r[0] for r in ranges], axis=0)
        high = np.max([r[1] for r in ranges], axis=0)
        (best,) = best_cuts(rows, self.metric)
        kept = best.value > self.fbr
        # a cut below all scores is as good just at the lowest
        cut = np.where(kept, np.maximum(best.threshold, low), high)
        return _Fold(np.where(kept & (best.threshold == np.inf), high, cut), kept)


class _Fold(NamedTuple):
    """The cut of each class, ``-inf`` or ``inf`` without scores, and whether it was swept."""

    cut: NDArray[np.float32]
    kept: NDArray[np.bool_]


def _folds(block: Block) -> NDArray[np.int64]:
    """The fold of each row."""
    keys = np.empty(len(block.scores), dtype=np.uint32)
    # all zeros are one zero
    row_keys((block.scores + np.float32(0)).view(np.int32), keys)
    return (keys % _FOLDS).astype(np.int64)


def _range(block: Block) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest score of each class; ``inf`` and ``-inf`` without scores."""
    scored = np.where(block.scores > -np.inf, block.scores, np.float32(np.inf))
    return scored.min(axis=0), block.scores.max(axis=0)
