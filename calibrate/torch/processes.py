"""What several processes must do together."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def rank_here() -> int:
    """Number of this process in the process group; 0 where there is none."""
    return dist.get_rank() if together() else 0


def together() -> bool:
    """Whether there is a process group."""
    return dist.is_available() and dist.is_initialized()


def sum_in_place(tensors: Iterable[Tensor], group: dist.ProcessGroup | None) -> None:
    """Add up the tensors of all processes."""
    for tensor in tensors:
        dist.all_reduce(tensor, group=group)


def require_same(
    numbers: Tensor, what: str, device: torch.device, group: dist.ProcessGroup | None
) -> None:
    """Raise ValueError on every process unless all have the same numbers."""
    least, most = (numbers.to(device, copy=True) for _ in range(2))
    dist.all_reduce(least, op=dist.ReduceOp.MIN, group=group)
    dist.all_reduce(most, op=dist.ReduceOp.MAX, group=group)
    if not torch.equal(least, most):
        raise ValueError(f"accumulators of all processes must have the same {what}")
