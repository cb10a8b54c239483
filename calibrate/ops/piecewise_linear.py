"""Lines broken at knots: the form that every monotone map without a formula takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibrate.ops.base import ElementwiseOp, Float32

Real = TypeVar("Real", np.float32, np.float64)

FARTHEST = np.float32(1e38)
"""Logits and knots beyond are taken as this: the distance between two stays finite."""

_STEEPEST = np.float32(1e38)
"""Slopes beyond are taken as this."""

_CACHED_CELLS = 1 << 15


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
            with np.errstate(invalid="ignore"):  # places that are none are refused below
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
            array = getattr(self, name)
            # compared, not subtracted: the distance of two floats may be none
            if (inner[1:] & (array[1:] < array[:-1])).any():
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
        parts = self.segments
        if len(self.below) == 1:
            return parts.mapped(logits, np.searchsorted(self.knots, logits, side="right"))
        calibrated = np.empty_like(logits)
        height = max(1, _CACHED_CELLS // len(self.below))
        places = np.arange(len(self.below), dtype=np.int64)
        # with the class above the place among the float32 numbers, all knots are one rising line
        keys = _keys(np.repeat(places, np.diff(self.indptr)), self.knots)
        for start in range(0, len(logits), height):
            some = logits[start : start + height]
            found = np.searchsorted(keys, _keys(places, some), side="right")
            calibrated[start : start + height] = parts.mapped(some, found + places)
        return calibrated

    def apply_float64(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same map in float64, for the means of a histogram."""
        parts = _Segments.of(self, np.float64)
        knots = self.knots.astype(np.float64)
        if len(self.below) == 1:
            return parts.mapped(logits, np.searchsorted(knots, logits, side="right"))
        found = np.empty(logits.shape, dtype=np.int64)
        for c, (first, last) in enumerate(pairwise(self.indptr)):
            place = np.searchsorted(knots[first:last], logits[:, c], side="right")
            found[:, c] = place + (first + c)
        return parts.mapped(logits, found)

    @cached_property
    def segments(self) -> _Segments[np.float32]:
        """What `apply` does between each knot and the next."""
        return _Segments.of(self, np.float32)

    @cached_property
    def knots_by_key(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """How many knots lie at or below the logits that begin with the same 18 bits.

        The fewest and the most, int32, (262_144,) each, for a map that serves all classes.
        """
        heads = np.arange(1 << 18, dtype=np.uint32) << np.uint32(14)
        ends = heads.view(np.float32), (heads | np.uint32(0x3FFF)).view(np.float32)
        fewest, most = (np.searchsorted(self.knots, end, side="right") for end in ends)
        # the bits of negative numbers rise as the numbers fall
        fewest, most = np.minimum(fewest, most), np.maximum(fewest, most)
        # infinity and what is no number begin alike
        fewest[~np.isfinite(ends[0])], most[~np.isfinite(ends[0])] = 0, len(self.knots)
        return fewest.astype(np.int32), most.astype(np.int32)

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

    @classmethod
    def flat_beyond(cls, maps: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> PiecewiseLinear:
        """One map for each ``(knots, values)``, constant before its first knot and after its last.

        Rounded to float32; a knot that repeats the one before it, value and all, is left out, and
        so is one between two of the same value.
        """
        lean = [_without_idle(*(np.asarray(part, dtype=np.float32) for part in m)) for m in maps]
        flat = np.zeros(len(lean), dtype=np.float32)
        return cls(
            np.cumsum([0, *(len(knots) for knots, _ in lean)]),
            np.concatenate([knots for knots, _ in lean]),
            np.concatenate([values for _, values in lean]),
            flat,
            flat,
        )


class _Segments(NamedTuple, Generic[Real]):
    """Segment ``k + m`` lies before knot ``k`` of map ``m``; one more lies after its last knot.

    Each is held by the knot at its one end and clipped at both, so that no rounding makes it fall.
    """

    start: NDArray[Real]
    at: NDArray[Real]
    slope: NDArray[Real]
    lowest: NDArray[Real]
    highest: NDArray[Real]

    @classmethod
    def of(cls, op: PiecewiseLinear, dtype: type[Real]) -> _Segments[Real]:
        """The segments of a step in the precision that its map is to be followed in."""
        knots = np.clip(op.knots, -FARTHEST, FARTHEST).astype(dtype)
        values = op.values.astype(dtype)
        n_maps = len(op.below)
        first, last = op.indptr[:-1], op.indptr[1:]
        # where each knot's own segment, the one after it, lies
        after = np.arange(len(knots)) + np.repeat(np.arange(n_maps), np.diff(op.indptr)) + 1
        head, tail = first + np.arange(n_maps), last + np.arange(n_maps)
        size = len(knots) + n_maps
        start, at, slope = (np.empty(size, dtype=dtype) for _ in range(3))
        lowest, highest = np.full(size, -np.inf, dtype), np.full(size, np.inf, dtype)
        start[after], at[after], lowest[after] = knots, values, values
        start[head], at[head], highest[after - 1] = knots[first], values[first], values
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            rise, run = np.diff(values, append=dtype(0)), np.diff(knots, append=dtype(0))
            # knots may be so close, or values so far apart, that the slope between them overflows,
            # and 0 times inf is nan
            slope[after] = np.where(run > 0, np.minimum(rise / run, _STEEPEST), 0)
        slope[head], slope[tail] = op.below, op.above
        return cls(start, at, slope, lowest, highest)

    def mapped(self, logits: NDArray[Real], segment: NDArray[np.int64]) -> NDArray[Real]:
        """The map at logits that lie in these segments."""
        with np.errstate(over="ignore"):
            held = np.clip(logits, -FARTHEST, FARTHEST) - self.start[segment]
            held *= self.slope[segment]
            held += self.at[segment]
        np.clip(held, self.lowest[segment], self.highest[segment], out=held)
        held[np.isneginf(logits)] = -np.inf
        return held


def _keys(places: NDArray[np.int64], values: Float32) -> NDArray[np.int64]:
    """Whole numbers in the order of the classes, and within a class of the float32 values."""
    bits = np.ascontiguousarray(values).view(np.int32).astype(np.int64)
    # both zeros are equal
    order = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))
    return np.asarray((places << 33) + order)


def _without_idle(knots: Float32, values: Float32) -> tuple[Float32, Float32]:
    """Knots that change the map, where it is constant beyond them."""
    same = values[1:] == values[:-1]
    idle = np.append(True, same) & np.append(same, True)
    if idle.all():
        idle[0] = False
    return knots[~idle], values[~idle]
