"""Arithmetic along rows of logits, as in `calibrate.ops.rows`, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from calibrate.torch.processor import by_kernels, highest

LOWEST = torch.finfo(torch.float32).min


def expected_counts(logits: Tensor) -> Tensor:
    """Sum of the sigmoids of each row, float64, (n_rows,)."""
    return torch.sigmoid(logits).sum(dim=1, dtype=torch.float64)


def largest_logits(logits: Tensor) -> Tensor:
    """The highest logit of each row, (n_rows,); ``-inf`` for a row without scores."""
    if logits.shape[1] == 0:
        return logits.new_full((logits.shape[0],), -torch.inf)
    return logits.amax(dim=1)


def log_sums_of_exp(logits: Tensor, largest: Tensor) -> Tensor:
    """``log sum exp`` of each row, float64, (n_rows,), given its highest logit."""
    finite = torch.where(torch.isfinite(largest), largest, 0.0)
    sums = torch.exp(logits - finite[:, None]).sum(dim=1, dtype=torch.float64)
    return torch.log(sums) + finite


def ordinal(values: Tensor) -> Tensor:
    """Place of float32 numbers among the float32 numbers, int64; both zeros have place 0."""
    bits = values.contiguous().view(torch.int32).to(torch.int64)
    return torch.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))


def top_mask(scores: Tensor, k: Tensor, most: int | None) -> Tensor:
    """The ``k[i]`` highest scores of each row; among equals the lower class index wins.

    Parameters
    ----------
    scores : float32, (n_rows, n_classes)
        Without nan; ``-inf`` is never taken.
    k : int64, (n_rows,)
        At most n_classes.
    most : int, or None
        A bound on all ``k`` that is known beforehand.

    Returns
    -------
    bool, (n_rows, n_classes)
    """
    if by_kernels(scores):
        mask: Tensor = highest(scores, k)
        return mask
    lowest = _lowest_kept(scores, k, most)[:, None]
    above, tied = scores > lowest, scores == lowest
    room = k - above.sum(dim=1)
    return above | (tied & (tied.cumsum(dim=1, dtype=torch.int32) <= room[:, None]))


def without_nan(logits: Tensor) -> Tensor:
    """The logits with ``-inf`` for nan."""
    looked_at = by_kernels(logits) and not torch.compiler.is_compiling() and logits.numel() > 0
    # the highest of all is nan if any is; as a rule none is, and there is nothing to copy
    if looked_at and not logits.detach().amax().isnan():
        return logits
    return torch.where(logits.isnan(), -torch.inf, logits)


def _lowest_kept(scores: Tensor, k: Tensor, most: int | None) -> Tensor:
    """The lowest of the ``k`` highest scores of each row; nan, which none is, for k = 0."""
    n_classes = scores.shape[1]
    width = n_classes if most is None else min(most, n_classes)
    if width == 0:
        return scores.new_full((scores.shape[0],), torch.nan)
    ranked = torch.topk(scores, width, dim=1).values
    place = (k - 1).clamp(min=0)[:, None]
    lowest = ranked.gather(1, place)[:, 0].clamp(min=LOWEST)
    return torch.where(k > 0, lowest, torch.nan)
