"""Folding steps into the threshold behind them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import LOWEST, CalibrationOp, DecisionOp, ElementwiseOp
from calibrate.ops.decisions import Threshold


def fold(
    steps: tuple[CalibrationOp, ...], decision: DecisionOp, n_classes: int
) -> tuple[tuple[CalibrationOp, ...], DecisionOp]:
    """As few steps and one decision that decide exactly as all steps do one after the other.

    An elementwise step never falls in float32, so the logits that pass a cut behind it are exactly
    those from some smallest float32 on; it is found by bisection over the ordered float32 numbers.
    A step that looks along the row stays, and so does what comes before it. A decision other than
    a threshold needs all steps.

    Parameters
    ----------
    steps : tuple of CalibrationOp
    decision : DecisionOp
    n_classes : int

    Returns
    -------
    steps : tuple of CalibrationOp
        Those that stay.
    decision : DecisionOp
        What comes after them.
    """
    n_kept = len(steps)
    while n_kept and isinstance(steps[n_kept - 1], ElementwiseOp):
        n_kept -= 1
    if n_kept == len(steps) or not isinstance(decision, Threshold):
        return steps, decision
    target = np.broadcast_to(decision.threshold, (n_classes,))
    low = np.full(n_classes, ordinal(LOWEST), dtype=np.int64)
    high = np.full(n_classes, ordinal(np.float32(np.inf)), dtype=np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        scores = from_ordinal(middle)[None, :]
        for step in steps[n_kept:]:
            scores = step.apply(scores)
        passes = scores[0] >= target
        high = np.where(passes, middle, high)
        low = np.where(passes, low, np.minimum(middle + 1, high))
    lowest = from_ordinal(high)
    lowest[np.isposinf(target)] = np.inf
    return steps[:n_kept], Threshold(lowest)


def ordinal(value: np.float32) -> int:
    """Place of a float32 among the float32 numbers, in their order; both zeros have place 0."""
    bits = int(np.asarray(value, dtype=np.float32).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def from_ordinal(place: NDArray[np.int64]) -> NDArray[np.float32]:
    """The float32 numbers at these places."""
    bits = np.where(place >= 0, place, -place | 0x80000000).astype(np.uint32)
    return bits.view(np.float32)
