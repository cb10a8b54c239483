"""The room for torch: a fitted decision inside a network, and fits inside a training loop.

``DecisionLayer`` labels behind the head of a network. ``HistogramAccumulator`` counts batches of
validation logits; ``best_cuts`` sweeps every class exactly where the logits lie. Names are found on
first use, so that each brings in only what it needs itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibrate.torch.accumulator import HistogramAccumulator
    from calibrate.torch.layer import DecisionLayer, Top
    from calibrate.torch.sweep import best_cuts

__all__ = ["DecisionLayer", "HistogramAccumulator", "Top", "best_cuts"]

_NAMES = {
    "DecisionLayer": "calibrate.torch.layer",
    "HistogramAccumulator": "calibrate.torch.accumulator",
    "Top": "calibrate.torch.layer",
    "best_cuts": "calibrate.torch.sweep",
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'calibrate.torch' has no attribute {name!r}")
    value = getattr(import_module(_NAMES[name]), name)
    globals()[name] = value
    return value
