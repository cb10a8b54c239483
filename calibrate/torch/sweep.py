"""The exact best cut of every class where the logits lie, block of classes by block.

For a metric that promises ``positives_suffice`` only the scores of positives are sorted, and every
score is counted into the interval between two of them; for any other all scores are sorted. The
device counts, and for ratios of counts says which cuts could be the best; numpy judges those, so
that the values, and who wins among equals, are what they are on the host.
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
"""Cells that are looked at together; sorting holds about 40 bytes for each."""

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
        best = _curves(_cuts(scores, positive, metric), first, n_rows).best(metric)
        parts.append(best._replace(threshold=_midway(scores, best.threshold)))
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
    score : float32, (n_cuts,)
        The last one that passes.
    tp, fp : int64, (n_cuts,)
    positives : int64, (n_lines,)
    """

    line: Tensor
    score: Tensor
    tp: Tensor
    fp: Tensor
    positives: Tensor


def _cuts(scores: Tensor, positive: Tensor, metric: Metric) -> _Cuts:
    n_positives = positive.sum(dim=1)
    if getattr(metric, "positives_suffice", False):
        ordered, tp, fp = _at_positives(scores, positive, n_positives)
    else:
        ordered, tp, fp = _everywhere(scores, positive)
    # equal scores pass together, and -inf never does; inf is the cut above all scores
    lower = torch.full_like(ordered, -torch.inf)
    lower[:, :-1] = ordered[:, 1:]
    may_win = ordered > lower
    if isinstance(metric, RatioMetric):
        may_win &= _near_the_best(metric, tp, fp, n_positives, may_win)
    at = may_win.nonzero(as_tuple=True)
    return _Cuts(at[0], ordered[at], tp[at], fp[at], n_positives)


def _everywhere(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All scores of each class, falling, with the true and false positives down to each."""
    ordered, order = scores.sort(dim=1, descending=True)
    tp = positive.gather(1, order).cumsum(dim=1)
    return ordered, tp, torch.arange(1, scores.shape[1] + 1, device=tp.device) - tp


def _at_positives(
    scores: Tensor, positive: Tensor, n_positives: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The scores of the positives alone, falling, with ``inf`` before the first of a class.

    Of equal scores the last one has the right counts.
    """
    n_lines, most = len(scores), max(1, int(n_positives.max()))
    line, row = positive.nonzero(as_tuple=True)
    place = torch.arange(len(line), device=line.device)
    place -= (n_positives.cumsum(dim=0) - n_positives)[line]
    rising = torch.full((n_lines, most), torch.inf, device=scores.device)
    rising[line, place] = scores[line, row]
    rising = rising.sort(dim=1).values
    # how many positives lie no higher than each score, and then how many scores above so many
    reached = torch.searchsorted(rising, scores, right=True)
    counts = reached.new_zeros((n_lines, most + 1))
    counts.scatter_add_(1, reached, reached.new_ones(()).expand_as(reached))
    passed = counts.flip(1).cumsum(dim=1)[:, :-1]
    tp = torch.arange(1, most + 1, device=line.device) - (most - n_positives)[:, None]
    return rising.flip(1), tp, passed - tp


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
    line, score, tp, fp, positives = (tensor.cpu().numpy() for tensor in cuts)
    n_lines = len(positives)
    length = np.bincount(line, minlength=n_lines) + 1
    indptr = np.concatenate([[0], np.cumsum(length)])
    at = np.arange(len(line)) + line + 1

    def led_by(above: float, values: NDArray[Any]) -> NDArray[Any]:
        entries = np.full(indptr[-1], above, dtype=values.dtype)
        entries[at] = values
        return entries

    return ThresholdCurves(
        indptr,
        led_by(np.inf, score),
        led_by(0, tp),
        led_by(0, fp),
        positives,
        np.full(n_lines, n_rows, dtype=np.int64),
        first,
    )


def _midway(scores: Tensor, cut: NDArray[np.float32]) -> NDArray[np.float32]:
    """From the last score that passes of each class, halfway down to the next one."""
    last = torch.from_numpy(cut).to(scores.device)[:, None]
    lower = scores.masked_fill(scores >= last, -torch.inf).amax(dim=1).cpu().numpy()
    with np.errstate(invalid="ignore"):
        middle = (0.5 * (lower.astype(np.float64) + cut.astype(np.float64))).astype(np.float32)
    threshold = np.where(middle > lower, middle, cut)
    threshold[(lower == -np.inf) & (cut < np.inf)] = LOWEST
    return threshold
