"""Lines broken at knots: the form that every monotone map without a formula takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import ElementwiseOp, Float32

_FARTHEST = np.float32(1e38)
"""Logits beyond are taken as this: the distance to a knot stays finite."""


@dataclass(frozen=True, eq=False)
class PiecewiseLinear(ElementwiseOp):
    """Straight between the knots, straight on beyond the first and the last, never falling.

    One map for all classes, or one for each.

    Parameters
    ----------
    indptr : int64, (n_maps + 1,)
        The knots of map ``m`` are those from ``indptr[m]`` to ``indptr[m + 1]``: at least one.
    knots : float32, (n_knots,)
        Logits, increasing within a map. Where two are equal the map jumps: the second value holds
        from there on.
    values : float32, (n_knots,)
        Calibrated logits, never falling within a map.
    below, above : float32, (n_maps,)
        Slopes before the first knot and after the last, at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> bend = PiecewiseLinear([0, 2], [0.0, 1.0], [0.0, 3.0], [1.0], [0.5])
    >>> bend.apply(np.array([[-1.0, 0.5, 3.0]], dtype=np.float32))
    array([[-1. ,  1.5,  4. ]], dtype=float32)
    """

    wire_name: ClassVar[str] = "piecewise_linear"
    indptr: NDArray[np.int64]
    knots: NDArray[np.float32]
    values: NDArray[np.float32]
    below: NDArray[np.float32]
    above: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name in ("indptr", "knots", "values", "below", "above"):
            dtype = np.int64 if name == "indptr" else np.float32
            array = np.array(getattr(self, name), dtype=dtype)
            if array.ndim != 1 or not np.isfinite(array).all():
                raise ValueError(f"{name} of a piecewise linear step must be a finite vector")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        n_knots, n_maps = len(self.knots), len(self.indptr) - 1
        sizes = np.diff(self.indptr)
        if n_maps < 1 or self.indptr[0] != 0 or self.indptr[-1] != n_knots or (sizes < 1).any():
            raise ValueError(f"indptr must lead from 0 to the {n_knots} knots, each map with one")
        if len(self.values) != n_knots or len(self.below) != n_maps or len(self.above) != n_maps:
            raise ValueError(
                f"there must be {n_knots} values and {n_maps} slopes on each side, got "
                f"{len(self.values)}, {len(self.below)} and {len(self.above)}"
            )
        inner = np.ones(n_knots, dtype=bool)
        inner[self.indptr[:-1]] = False
        for name in ("knots", "values"):
            steps = np.diff(getattr(self, name), prepend=np.float32(0))
            if (steps[inner] < 0).any():
                raise ValueError(f"{name} must not fall within a map")
        if (self.below < 0).any() or (self.above < 0).any():
            raise ValueError("slopes must be at least 0")

    @property
    def n_classes(self) -> int | None:
        """Number of classes that have a map each, or None where one serves all."""
        n_maps = len(self.indptr) - 1
        return None if n_maps == 1 else n_maps

    def apply(self, logits: Float32) -> Float32:
        """Calibrated logits, a new array."""
        if len(self.below) == 1:
            return np.asarray(self._mapped(0, logits))
        calibrated = np.empty_like(logits)
        for c in range(logits.shape[1]):
            calibrated[:, c] = self._mapped(c, np.ascontiguousarray(logits[:, c]))
        return calibrated

    def apply_float64(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same map in float64, for the means of a histogram."""
        if len(self.below) == 1:
            return np.asarray(self._mapped(0, logits))
        columns = [self._mapped(c, column) for c, column in enumerate(logits.T)]
        return np.asarray(np.stack(columns, axis=1))

    def _mapped(self, place: int, logits: Any) -> Any:
        """One map, in the precision of `logits`."""
        part, dtype = slice(*self.indptr[place : place + 2]), logits.dtype
        knots, values = self.knots[part].astype(dtype), self.values[part].astype(dtype)
        # segment s lies before knot s; each is held by the knot at its one end, clipped at both
        rise, run = np.diff(values), np.diff(knots)
        with np.errstate(divide="ignore", invalid="ignore"):
            inner = np.where(run > 0, rise / run, 0)
        slopes = np.concatenate([self.below[[place]], inner, self.above[[place]]]).astype(dtype)
        start = np.concatenate([knots[:1], knots])
        at = np.concatenate([values[:1], values])
        lowest = np.concatenate([np.array([-np.inf], dtype), values])
        highest = np.concatenate([values, np.array([np.inf], dtype)])
        segment = np.searchsorted(knots, logits, side="right")
        with np.errstate(over="ignore"):
            held = np.clip(logits, -_FARTHEST, _FARTHEST) - start[segment]
            held *= slopes[segment]
            held += at[segment]
        np.clip(held, lowest[segment], highest[segment], out=held)
        held[np.isneginf(logits)] = -np.inf
        return held

    def columns(self, start: int, stop: int) -> PiecewiseLinear:
        """The same step for the classes ``start:stop`` alone."""
        if len(self.below) == 1:
            return self
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        return PiecewiseLinear(
            self.indptr[start : stop + 1] - first,
            self.knots[first:last],
            self.values[first:last],
            self.below[start:stop],
            self.above[start:stop],
        )
