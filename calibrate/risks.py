"""What the labels of a row may cost: plain numpy functions of ``(tp, predicted, true)``.

A risk judges each row by itself, 0 where nothing is wrong; `calibrate.RiskControl` keeps its mean
over rows below a level. Beside the function it says how much a row can lose at most, and whether
predicting more can ever cost more: what is promised rests on both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
Losses = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Risk:
    """What a row loses.

    Parameters
    ----------
    function : callable ``(tp, predicted, true) -> array``
        Takes three float64 arrays of one shape, not to be written to: of each row how many labels
        are predicted and true, how many are predicted, how many are true. Returns the losses,
        finite, from 0 to `bound`, same shape.
    bound : float
        What a row can lose at most, above 0.
    monotone : bool
        Whether a row can never lose more when more of its classes are predicted.
    binary : bool
        Whether a row loses nothing or `bound`, and never something in between: tests are then
        exact.
    name : str, optional
        What it is called in reports; by default the name of the function.

    Raises
    ------
    TypeError, ValueError
        If `function` cannot be called, or `bound` is not positive and finite.

    Examples
    --------
    >>> def two_missed(tp, predicted, true):
    ...     return (true - tp >= 2).astype(float)
    >>> Risk(two_missed, bound=1, monotone=True, binary=True)
    two_missed
    """

    function: Callable[[Counts, Counts, Counts], Losses]
    bound: float = 1.0
    monotone: bool = False
    binary: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(
                f"a risk must be a function of (tp, predicted, true), got {self.function!r}"
            )
        if not 0 < self.bound < np.inf:
            raise ValueError(
                f"what a row can lose at most must be above 0 and finite, got {self.bound!r}"
            )
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", "a risk"))

    def __repr__(self) -> str:
        return self.name

    def __call__(self, tp: Counts, predicted: Counts, true: Counts) -> Losses:
        """Losses of rows with these counts, float64, same shape.

        Raises
        ------
        ValueError
            If the function does not return what it must.
        """
        losses = np.asarray(self.function(tp, predicted, true), dtype=np.float64)
        if losses.shape != np.shape(tp):
            raise ValueError(
                f"{self.name} must return a loss for each of its counts, shape {np.shape(tp)}, "
                f"got shape {losses.shape}"
            )
        low, high = losses.min(initial=0.0), losses.max(initial=0.0)
        if not (low >= 0 and high <= self.bound):  # nan is neither
            wrong = ~((losses >= 0) & (losses <= self.bound))
            self._refuse(f"from 0 to {self.bound:g}", losses, wrong, (tp, predicted, true))
        if self.binary:
            between = (losses > 0) & (losses < self.bound)
            if between.any():
                self._refuse(f"0 or {self.bound:g}", losses, between, (tp, predicted, true))
        return losses

    def _refuse(
        self, allowed: str, losses: Losses, where: NDArray[np.bool_], counts: tuple[Counts, ...]
    ) -> None:
        at = np.unravel_index(int(np.argmax(where)), losses.shape)
        given = ", ".join(f"{count[at]:g}" for count in counts)
        raise ValueError(
            f"{self.name} must be {allowed}, got {losses[at]} for tp, predicted, true = {given}"
        )


def _false_negative_rate(tp: Counts, predicted: Counts, true: Counts) -> Losses:  # noqa: ARG001
    return np.where(true > 0, 1 - tp / np.maximum(true, 1), 0.0)


def _false_discovery_proportion(tp: Counts, predicted: Counts, true: Counts) -> Losses:  # noqa: ARG001
    return np.asarray((predicted - tp) / np.maximum(predicted, 1))


def _missed_any(tp: Counts, predicted: Counts, true: Counts) -> Losses:  # noqa: ARG001
    return (tp < true).astype(np.float64)


false_negative_rate = Risk(_false_negative_rate, monotone=True, name="false_negative_rate")
"""The share of a row's true labels that is not predicted: 1 - recall; 0 where none is true."""

false_discovery_proportion = Risk(_false_discovery_proportion, name="false_discovery_proportion")
"""The share of a row's predicted labels that is not true: 1 - precision; 0 where none is predicted.

It may rise and fall as more is predicted.
"""

missed_any = Risk(_missed_any, monotone=True, binary=True, name="missed_any")
"""1 where a true label of the row is not predicted, else 0."""

NAMED = {
    risk.name.replace("_", "-"): risk
    for risk in (false_negative_rate, false_discovery_proportion, missed_any)
}
"""Risks by their name on the command line."""
