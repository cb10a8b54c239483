"""The exact best cut of every class where the logits lie: blocks of classes, each sorted.

Counts at the cuts of a class are running sums along its scores in falling order. The device makes
them, and for ratios of counts says which cuts could be the best; numpy judges those, so that the
values, and who wins among equals, are what they are on the host.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrate.data.logits import NanPolicy
from calibrate.metrics import Metric, RatioMetric, check_metric
from calibrate.ops import LOWEST
from calibrate.statistics import BestCuts, ThresholdCurves

BLOCK_CELLS = 1 << 24
"""Cells that are sorted at once; sorting holds about 40 bytes for each."""

_NEAR = 1e-9
"""Share of a value by which the formula of a device may differ from numpy's, and far more."""


@torch.no_grad()
def best_cuts(
    logits: Tensor, targets: Tensor, metric: Metric, *, nan: NanPolicy = "raise"
) -> BestCuts:
    """The best cut of each class, as if all cuts had been tried.

    Parameters
    ----------
    logits : floating point, (n_rows, n_classes)
        Of any device and precision; compared in float32.
    targets : bool, integers or floats, (n_rows, n_classes)
        0 or 1, on the same device; dense, or sparse in any of torch's layouts.
    metric : callable ``(tp, fp, fn, tn) -> array``
        As for `calibrate.PerClassThreshold`. Ratios (F-beta, Jaccard, precision, recall) are
        weighed on the device; for any other, the counts at all cuts go to the host, class block by
        class block.
    nan : {"raise", "negative"}
        ``"negative"``: a cell that is nan or ``-inf`` is never predicted.

    Returns
    -------
    BestCuts
        ``threshold`` (float32), ``value``, ``tp`` and ``fp`` of each class, on the host: the very
        numbers that `calibrate.statistics.best_cuts` gives. A threshold lies midway between two
        scores; among equals the cut that predicts fewest wins, so that a class without positives
        has ``inf``.

    Raises
    ------
    TypeError, ValueError
        If the shapes differ, a logit is not finite, a target is neither 0 nor 1, or the metric
        does not give one number for each cut.

    Examples
    --------
    >>> import torch
    >>> from calibrate.metrics import f_beta
    >>> logits = torch.tensor([[3.0, 0.0], [1.0, 2.0], [0.0, 1.0]])
    >>> best_cuts(logits, torch.tensor([[1, 0], [0, 0], [0, 0]]), f_beta(1)).threshold
    array([ 2., inf], dtype=float32)
    """
    check_metric(metric)
    if logits.ndim != 2 or targets.shape != logits.shape or 0 in logits.shape:
        raise ValueError(
            "logits and targets must have one shape (n_rows, n_classes), got "
            f"{tuple(logits.shape)} and {tuple(targets.shape)}"
        )
    n_rows, n_classes = logits.shape
    dense = targets.detach() if targets.layout == torch.strided else targets.detach().to_dense()
    width = max(1, BLOCK_CELLS // n_rows)
    parts = []
    for first in range(0, n_classes, width):
        columns = slice(first, min(first + width, n_classes))
        scores, positive = _lines(logits.detach()[:, columns], dense[:, columns], nan)
        parts.append(_curves(_cuts(scores, positive, metric), first, n_rows).best(metric))
    return BestCuts.joined(parts)


def _lines(logits: Tensor, targets: Tensor, nan: NanPolicy) -> tuple[Tensor, Tensor]:
    """Some classes as contiguous lines, checked: scores, finite or ``-inf``, and positives."""
    scores = logits.float().t().contiguous()
    lines = targets.t().contiguous()
    positive = lines != 0
    finite = scores.isfinite()
    n_cells = int((scores.isposinf() if nan == "negative" else ~finite).sum())
    if n_cells:
        raise ValueError(f"logits must be finite, got {n_cells} that are not")
    n_targets = int((positive & (lines != 1)).sum())
    if n_targets:
        raise ValueError(f"targets must be 0 or 1, got {n_targets} that are not")
    return scores.masked_fill_(~finite, -torch.inf), positive


class _Cuts(NamedTuple):
    """Cuts of some classes that may be the best, those of a class from the highest to the lowest.

    Attributes
    ----------
    line : int64, (n_cuts,)
    score, lower : float32, (n_cuts,)
        The last score that passes, and the next lower one; ``-inf`` where there is none.
    tp, fp : int64, (n_cuts,)
    positives : int64, (n_lines,)
    """

    line: Tensor
    score: Tensor
    lower: Tensor
    tp: Tensor
    fp: Tensor
    positives: Tensor


def _cuts(scores: Tensor, positive: Tensor, metric: Metric) -> _Cuts:
    ordered, order = scores.sort(dim=1, descending=True)
    tp = positive.gather(1, order).cumsum(dim=1)
    del order
    n_rows, n_positives = scores.shape[1], positive.sum(dim=1)
    fp = torch.arange(1, n_rows + 1, device=scores.device) - tp
    lower = torch.full_like(ordered, -torch.inf)
    lower[:, :-1] = ordered[:, 1:]
    # equal scores pass together, and -inf never does
    may_win = ordered > lower
    if getattr(metric, "positives_suffice", False):
        may_win &= _after_a_positive(tp, may_win)
    if isinstance(metric, RatioMetric):
        may_win &= _near_the_best(metric, tp, fp, n_positives, may_win)
    at = may_win.nonzero(as_tuple=True)
    return _Cuts(at[0], ordered[at], lower[at], tp[at], fp[at], n_positives)


def _after_a_positive(tp: Tensor, cut: Tensor) -> Tensor:
    """Where there is one among the scores since the cut before."""
    # running, since the cuts before it have no more
    before = tp.masked_fill(~cut, 0).cummax(dim=1).values
    since = torch.zeros_like(tp)
    since[:, 1:] = before[:, :-1]
    return tp > since


def _near_the_best(
    metric: RatioMetric, tp: Tensor, fp: Tensor, n_positives: Tensor, cut: Tensor
) -> Tensor:
    """Where the metric is as high as at any cut of the class, up to rounding."""
    # the factor above the fraction changes no order
    _, b, c, d = metric.weights
    # whole numbers times a number would be float32
    hits, predicted, positives = tp.double(), (tp + fp).double(), n_positives[:, None].double()
    below = b * hits + c * predicted + d * positives
    value = torch.where(below == 0, 0.0, hits / below).masked_fill_(~cut, -torch.inf)
    best = value.amax(dim=1, keepdim=True)
    return value >= best - _NEAR * best.abs()


def _curves(cuts: _Cuts, first: int, n_rows: int) -> ThresholdCurves:
    """The cuts as curves on the host, each led by the cut above all scores."""
    line, score, lower, tp, fp, positives = (_to_host(tensor) for tensor in cuts)
    n_lines = len(positives)
    length = np.bincount(line, minlength=n_lines) + 1
    indptr = np.concatenate([[0], np.cumsum(length)])
    middle = (0.5 * (lower.astype(np.float64) + score.astype(np.float64))).astype(np.float32)
    threshold = np.where(middle > lower, middle, score)
    threshold[lower == -np.inf] = LOWEST
    at = np.arange(len(line)) + line + 1

    def led_by(above: float, values: NDArray[Any]) -> NDArray[Any]:
        entries = np.full(indptr[-1], above, dtype=values.dtype)
        entries[at] = values
        return entries

    return ThresholdCurves(
        indptr,
        led_by(np.inf, threshold),
        led_by(0, tp),
        led_by(0, fp),
        positives,
        np.full(n_lines, n_rows, dtype=np.int64),
        first,
    )


def _to_host(tensor: Tensor) -> Any:
    return tensor.cpu().numpy()
