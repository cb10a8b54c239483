"""Steps that the processor takes by kernels and numpy, as on disk; a compiler does not look in.

Compiled for a processor, a comparison that ends in a mask takes many times as long as the same
comparison in torch itself (inductor stores booleans one by one), and the cut of a row is found in a
fraction of the time that ``torch.topk`` takes. Exported programs keep to plain operations, where
there are any, so that they run without this package.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from calibrate import ops
from calibrate.bulk import rules


def by_kernels(logits: Tensor) -> bool:
    """Whether the steps below may be taken for these logits, and are the quicker way."""
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return logits.device.type == "cpu" and not (traced or torch.compiler.is_exporting())


@torch.library.custom_op("calibrate::at_least", mutates_args=())
def at_least(logits: Tensor, threshold: Tensor) -> Tensor:
    """``logits >= threshold``."""
    return logits >= threshold


@at_least.register_fake
def _(logits: Tensor, threshold: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(logits, dtype=torch.bool)


@torch.library.custom_op("calibrate::highest", mutates_args=())
def highest(scores: Tensor, k: Tensor) -> Tensor:
    """The ``k[i]`` highest scores of each row; among equals the lower class index wins.

    As `calibrate.bulk.rules.highest`, to a mask of bool, (n_rows, n_classes).
    """
    given = np.ascontiguousarray(scores.detach().numpy())
    labels = rules.highest(given, np.ascontiguousarray(k.numpy()))
    mask = np.zeros(given.shape, dtype=np.bool_)
    mask[np.repeat(np.arange(len(mask)), np.diff(labels.indptr)), labels.indices] = True
    return torch.from_numpy(mask)


@highest.register_fake
def _(scores: Tensor, k: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(scores, dtype=torch.bool)


@torch.library.custom_op("calibrate::counts_by_law", mutates_args=())
def counts_by_law(scores: Tensor, step: str) -> Tensor:
    """How many labels each row gets by a step of `calibrate.ops`, given as JSON; int64, (n_rows,).

    Scores on another device go to the processor and back.
    """
    counts = _step_of(step).counts(scores.detach().cpu().numpy())
    return torch.from_numpy(counts).to(scores.device)


@counts_by_law.register_fake
def _(scores: Tensor, step: str) -> Tensor:  # noqa: ARG001
    return scores.new_empty((scores.shape[0],), dtype=torch.int64)


def step_text(op: ops.Op) -> str:
    """A step as the text that `counts_by_law` takes."""
    return json.dumps({"op": op.wire_name, **op.numbers()}, sort_keys=True)


@lru_cache
def _step_of(text: str) -> ops.HighestOp:
    numbers = json.loads(text)
    op = ops.OPS[numbers.pop("op")](**numbers)
    assert isinstance(op, ops.HighestOp)
    return op
