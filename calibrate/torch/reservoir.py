"""A sample of rows that comes out the same in whatever batches they came, and merges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from calibrate.torch import counting

_EMPTY = (1 << 63) - 1
_WORD = (1 << 64) - 1
_FACTORS = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_RANK_AT = 48

Take = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Scores and labels of rows by their places, float32 and bool, (any, n_classes)."""


def row_numbers(rank: int, first: int, n_rows: int, device: torch.device) -> Tensor:
    """Numbers, int64, that no other row has: the running ones of this rank."""
    start = (rank << _RANK_AT) + first
    return torch.arange(start, start + n_rows, device=device)


def row_keys(numbers: Tensor, seed: int) -> Tensor:
    """Keys of rows: as if drawn at random, but decided by number and seed.

    Parameters
    ----------
    numbers : int64, (n_rows,)
    seed : int

    Returns
    -------
    int64, (n_rows,)
        At least 0, and below that of an empty place.

    References
    ----------
    Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators, section 3.
    """
    golden, first, second = (_signed(factor) for factor in _FACTORS)
    # one more, since what is nought stays nought
    word = (numbers + _signed((seed * _FACTORS[0] + 1) & _WORD)) * golden
    word = (word ^ _shifted(word, 30)) * first
    word = (word ^ _shifted(word, 27)) * second
    return _shifted(word ^ _shifted(word, 31), 1).clamp(max=_EMPTY - 1)


def _signed(word: int) -> int:
    """The int64 of the same bits."""
    return word - (1 << 64) if word >> 63 else word


def _shifted(word: Tensor, by: int) -> Tensor:
    """Shifted to the right as if there were no sign."""
    return (word >> by) & ((1 << 64 - by) - 1)


@dataclass(frozen=True, eq=False)
class Reservoir:
    """The rows of smallest keys of all that came: a simple random sample of them.

    Attributes
    ----------
    keys : int64, (size,)
        In no order; the highest number there is where the place is empty.
    logits : float32, (size, n_classes)
    labels : bool, (size, n_classes)

    References
    ----------
    Efraimidis and Spirakis (2006), Weighted random sampling with a reservoir, section 3, with equal
    weights.
    """

    keys: Tensor
    logits: Tensor
    labels: Tensor

    @classmethod
    def empty(cls, size: int, n_classes: int, device: torch.device) -> Reservoir:
        """A reservoir with room for `size` rows."""
        return cls(
            torch.full((size,), _EMPTY, dtype=torch.int64, device=device),
            torch.zeros((size, n_classes), dtype=torch.float32, device=device),
            torch.zeros((size, n_classes), dtype=torch.bool, device=device),
        )

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All that it holds."""
        return self.keys, self.logits, self.labels

    def to(self, device: torch.device) -> Reservoir:
        """The same rows on another device."""
        return Reservoir(*(tensor.to(device) for tensor in self.tensors))

    def offer(self, keys: Tensor, take: Take) -> None:
        """Let rows in whose keys are smaller than those of rows that are there.

        Parameters
        ----------
        keys : int64, (n_rows,)
        take : callable
            Gives the rows at some places among those that are offered.
        """
        new, row = keys.sort()
        old, place = self.keys.sort(descending=True)
        n_most = min(len(new), len(old))
        # the smallest takes the place of the largest, and so on as long as that helps
        enters = new[:n_most] < old[:n_most]
        if counting.on_host(enters.device):
            # elsewhere to count them would be to wait for the device
            n_most = int(enters.sum())
        enters, row, place = enters[:n_most], row[:n_most], place[:n_most]
        logits, labels = take(row)
        self.keys[place] = torch.where(enters, new[:n_most], old[:n_most])
        self.logits[place] = torch.where(enters[:, None], logits, self.logits[place])
        self.labels[place] = torch.where(enters[:, None], labels, self.labels[place])

    def merge(self, other: Reservoir) -> None:
        """Take in the rows of another one, as if they had come here."""
        keys, logits, labels = other.to(self.keys.device).tensors
        self.offer(keys, lambda rows: (logits[rows], labels[rows]))

    def reduced(self, group: dist.ProcessGroup | None) -> Reservoir:
        """The reservoir of the rows of all processes; only those that stay are sent around."""
        size, n_processes = len(self.keys), dist.get_world_size(group)
        own, order = self.keys.sort()
        found = [torch.empty_like(own) for _ in range(n_processes)]
        dist.all_gather(found, own, group=group)
        keys, place = torch.cat(found).sort(stable=True)
        keys, place = keys[:size], place[:size]
        mine = place.div(size, rounding_mode="floor") == dist.get_rank(group)
        rows = order[place % size]
        # each row is nought in all processes but one; bits, for the sign of zero
        logits = self.logits[rows].view(torch.int32).masked_fill_(~mine[:, None], 0)
        labels = self.labels[rows].to(torch.uint8).masked_fill_(~mine[:, None], 0)
        for part in (logits, labels):
            dist.all_reduce(part, group=group)
        return Reservoir(keys, logits.view(torch.float32), labels.bool())

    def rows(self) -> tuple[Tensor, Tensor]:
        """Logits and labels of the rows, in the order of their keys, on the host."""
        keys, order = self.keys.sort(stable=True)
        order = order[: int((keys < _EMPTY).sum())]
        return self.logits[order].cpu(), self.labels[order].cpu()
