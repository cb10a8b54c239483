"""Logits of any container, read as blocks of rows, checked once."""

from __future__ import annotations

import copy
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibrate import readers, threads
from calibrate.data.names import as_class_names, describe_class
from calibrate.readers.source import ArraySource

NanPolicy = Literal["raise", "negative"]
Result = TypeVar("Result")

BLOCK_CELLS = 1 << 21
"""Cells in a block of rows: 8 MiB of float32, a few of which fit the last level of cache."""

LOOK_CELLS = 1 << 19
"""Cells in a block that is only looked at, by one thread: 2 MiB of float32."""

_SPARSE = 4
"""Where this many rows lie to each that is wanted, they are read one by one."""

_BATCH = 64
"""Blocks whose results may wait to be taken."""

LOWEST_PROBABILITY = float(np.finfo(np.float32).tiny)
HIGHEST_PROBABILITY = (1 + float(np.nextafter(np.float32(1), np.float32(0)))) / 2
"""0 and 1 stay below and above every other float32 probability, so that no order is lost."""


def logits_of_probabilities(probabilities: NDArray[np.float64]) -> NDArray[np.float32]:
    """Logits of probabilities, float32, a new array; ``-inf`` for nan."""
    p = np.clip(probabilities, LOWEST_PROBABILITY, HIGHEST_PROBABILITY)
    logits = (np.log(p) - np.log1p(-p)).astype(np.float32)
    logits[np.isnan(logits)] = -np.inf
    return logits


def warn_if_probabilities(low: float, high: float) -> bool:
    """Warn if logits from `low` to `high` look like probabilities; whether they do."""
    looks = 0 <= low < high <= 1
    if looks:
        warnings.warn(
            f"all logits lie in [{low:.3g}, {high:.3g}]: they look like probabilities. "
            "Give logits, the input of the sigmoid; or convert by log(p) - log1p(-p), as "
            "calibrate.as_logits(p, probabilities=True) and --probabilities do",
            UserWarning,
            stacklevel=3,
        )
    return looks


class LogitSource:
    """Rows of logits on demand: float32, C-contiguous, owned by the reader, finite or ``-inf``.

    Made by `as_logits`. ``read`` is the one way in.

    Attributes
    ----------
    shape : (n_rows, n_classes)
    class_names : tuple of str, or None
    probabilities : bool
        The container holds sigmoid outputs; ``read`` gives logits all the same.
    sequential : bool
        Rows are quick to read only from front to back.
    """

    def __init__(
        self,
        rows: Any,
        class_names: tuple[str, ...] | None,
        nan: NanPolicy,
        probabilities: bool,
    ) -> None:
        n_rows, n_classes = rows.shape
        self.shape = (int(n_rows), int(n_classes))
        self.class_names = class_names
        self.probabilities = probabilities
        self.sequential = bool(getattr(rows, "sequential", False))
        self._rows = rows
        self._nan = nan
        self._warned = False
        self._range = (math.inf, -math.inf)
        self._lock = threading.Lock()
        self._watcher: Callable[[int], object] | None = None
        self._in_place: NDArray[np.float32] | None = None
        self._looked = False

    def named(self, class_names: Any) -> LogitSource:
        """The same source with class names.

        Raises
        ------
        ValueError
            If it has others already, or they do not fit.
        """
        names = as_class_names(class_names, self.shape[1])
        if self.class_names not in (None, names):
            raise ValueError("class names must be those that the logits have already")
        source = copy.copy(self)
        source.class_names = names
        return source

    def watch(self, watcher: Callable[[int], object]) -> None:
        """Call `watcher` with the number of cells of every read from now on."""
        self._watcher = watcher

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> NDArray[np.float32]:
        """Rows ``start:stop`` of some classes, checked, as an array of the caller's own.

        Raises
        ------
        ValueError
            If a logit is not finite and the policy does not say what it means.
        """
        raw = _to_numpy(self._rows[start:stop], columns)
        if raw.shape[0] != min(stop, self.shape[0]) - start:
            raise ValueError(f"logits gave {raw.shape[0]} rows for rows {start}:{stop}")
        if self._watcher is not None:
            self._watcher(raw.size)
        if self.probabilities:
            return self._from_probabilities(raw, start, columns)
        if self._in_place is not None:
            return np.array(raw)
        with np.errstate(over="ignore", invalid="ignore"):
            block = np.array(raw, dtype=np.float32, order="C", copy=True)
        self._check(block, start, columns)
        return block

    @property
    def matrix(self) -> NDArray[np.float32] | None:
        """All logits where they lie, to be looked at only: checked once, never copied.

        None where `read` would have to convert, repair or gather them.
        """
        if not self._looked:
            self._in_place = self._checked_in_place()
            self._looked = True
        return self._in_place

    def _plain(self) -> NDArray[np.float32] | None:
        """The container itself if its rows need no work but a check."""
        rows = self._rows.array if isinstance(self._rows, ArraySource) else self._rows
        plain = (
            not self.probabilities
            and isinstance(rows, np.ndarray)
            and rows.dtype == np.float32
            and rows.flags.c_contiguous
            and rows.flags.aligned
        )
        if not plain:
            return None
        matrix = np.asarray(rows).view()
        matrix.flags.writeable = False
        return matrix

    def _is_finite(self, part: NDArray[np.float32]) -> bool:
        """Whether all logits of `part` are finite; their range is remembered if so."""
        from calibrate.kernels.finite import ordered_range

        ends = np.array(ordered_range(part.reshape(-1).view(np.int32)), dtype=np.int32)
        low, high = (ends ^ ((ends >> 31) & 0x7FFFFFFF)).view(np.float32).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            return False
        with self._lock:
            self._range = min(self._range[0], low), max(self._range[1], high)
        return True

    def _checked_in_place(self) -> NDArray[np.float32] | None:
        matrix = self._plain()
        if matrix is None or matrix.size == 0:
            return None
        height = max(1, BLOCK_CELLS // self.shape[1])

        def check(start: int) -> bool:
            part = matrix[start : start + height]
            if self._watcher is not None:
                self._watcher(part.size)
            return self._is_finite(part)

        if not all(threads.each(check, range(0, len(matrix), height))):
            return None
        self.warn_of_probabilities()
        return matrix

    def look(self, start: int, stop: int) -> NDArray[np.float32]:
        """As `read`, but the rows lie where they are if they can: not to be written to."""
        matrix = self._in_place if self._looked else self._plain()
        if matrix is not None:
            part = matrix[start:stop]
            if part.size and (self._looked or self._is_finite(part)):
                if self._watcher is not None:
                    self._watcher(part.size)
                return part
        block = self.read(start, stop)
        block.flags.writeable = False
        return block

    def each_block(self, work: Callable[[int, NDArray[np.float32]], Result]) -> Iterator[Result]:
        """``work(first row, logits)`` for all rows in blocks, on all threads; results in order.

        The logits are not to be written to.
        """
        n_rows, n_classes = self.shape
        step = max(1, LOOK_CELLS // n_classes)
        starts = range(0, n_rows, step)

        def looked(start: int) -> tuple[int, NDArray[np.float32]]:
            return start, self.look(start, min(start + step, n_rows))

        for batch in range(0, len(starts), _BATCH):
            some = starts[batch : batch + _BATCH]
            if self.sequential:
                # one thread at a time asks for the next block
                yield from threads.each(lambda block: work(*block), map(looked, some))
            else:
                yield from threads.each(lambda start: work(*looked(start)), some)
        self.warn_of_probabilities()

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All rows in blocks, as (first row, logits)."""
        n_rows, n_classes = self.shape
        step = max(1, BLOCK_CELLS // n_classes)
        for start in range(0, n_rows, step):
            yield start, self.read(start, min(start + step, n_rows))
        self.warn_of_probabilities()

    def take(self, rows: NDArray[np.int64]) -> LogitSource:
        """Some rows as a source of their own; nothing is read yet.

        Raises
        ------
        ValueError
            If `rows` are not increasing row numbers of this source.
        """
        if len(rows) and not (
            rows[0] >= 0 and rows[-1] < self.shape[0] and (np.diff(rows) > 0).all()
        ):
            raise ValueError(f"rows must be increasing numbers from 0 to {self.shape[0] - 1}")
        return _SomeRows(self, rows)

    def held(self) -> LogitSource:
        """The same rows, read once into memory."""
        matrix = np.empty(self.shape, dtype=np.float32)
        for start, block in self.blocks():
            matrix[start : start + len(block)] = block
        source = LogitSource(matrix, self.class_names, "negative", False)
        source._warned = True  # whoever read the container has been told
        return source

    def _check(self, block: NDArray[np.float32], start: int, columns: slice) -> None:
        if block.size == 0:
            return
        low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            self._repair(block, start, columns)
            scored = block[block > -np.inf]
            low, high = float(scored.min(initial=np.inf)), float(scored.max(initial=-np.inf))
        with self._lock:
            self._range = min(self._range[0], low), max(self._range[1], high)

    def _repair(self, block: NDArray[np.float32], start: int, columns: slice) -> None:
        """Apply the policy to the cells of `block` that are not finite, in place."""
        bad = ~np.isfinite(block)
        if self._nan == "negative":
            bad &= np.isposinf(block)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            what = describe_class(int(column) + (columns.start or 0), self.class_names)
            way_out = "" if self._nan == "negative" else "; nan='negative' decides nan as negative"
            raise ValueError(
                f"logits must be finite, got {block[row, column]} at row {start + row}, {what} "
                f"({int(bad.sum())} such in this block of rows{way_out})"
            )
        block[np.isnan(block)] = -np.inf

    def warn_of_probabilities(self) -> None:
        """Warn once if every logit read so far lay in [0, 1]; called when all rows have gone by."""
        if not self._warned:
            self._warned = warn_if_probabilities(*self._range)

    def _from_probabilities(
        self, raw: NDArray[Any], start: int, columns: slice
    ) -> NDArray[np.float32]:
        p = raw.astype(np.float64)
        with np.errstate(invalid="ignore"):
            bad = ~((p >= 0) & (p <= 1))
        if self._nan == "negative":
            bad &= ~np.isnan(p)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            what = describe_class(int(column) + (columns.start or 0), self.class_names)
            raise ValueError(
                f"probabilities must lie in [0, 1], got {p[row, column]:g} at row {start + row}, "
                f"{what}"
            )
        return logits_of_probabilities(p)


class _SomeRows(LogitSource):
    """Some rows of a source.

    Where they lie checked in memory they are gathered; else what lies between them is read too and
    passed over, unless it is much.
    """

    def __init__(self, source: LogitSource, rows: NDArray[np.int64]) -> None:
        self.shape = (len(rows), source.shape[1])
        self.class_names = source.class_names
        self.probabilities = source.probabilities
        self.sequential = source.sequential
        self._source = source
        self._chosen = rows
        self._in_place, self._looked = None, True

    def _plain(self) -> None:
        return None

    def watch(self, watcher: Callable[[int], object]) -> None:
        self._source.watch(watcher)

    def warn_of_probabilities(self) -> None:
        self._source.warn_of_probabilities()

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> NDArray[np.float32]:
        source, rows = self._source, self._chosen[start:stop]
        if len(rows) == 0:
            return source.read(0, 0, columns)
        if source._in_place is not None:
            # np.take would first copy these columns of all rows
            block = source._in_place[rows, columns]
            if source._watcher is not None:
                source._watcher(block.size)
            return block
        first, last = int(rows[0]), int(rows[-1]) + 1
        if last - first > _SPARSE * len(rows) and not self.sequential:
            return np.concatenate([source.read(int(r), int(r) + 1, columns) for r in rows])
        block = source.read(first, last, columns)
        return block if len(rows) == len(block) else block[rows - first]


def as_logits(
    logits: Any,
    *,
    class_names: Any = None,
    nan: NanPolicy = "raise",
    key: str | None = None,
    probabilities: bool = False,
) -> LogitSource:
    """Logits of any container as a source of checked rows; nothing is read yet.

    Parameters
    ----------
    logits : array, tensor, DataFrame, path, glob pattern, list of those, or LogitSource
        Shape (n_rows, n_classes), real. Anything with ``shape`` and row slices serves (memmap,
        h5py, zarr). A list is read as shards of consecutive rows. Paths: ``.npy``, ``.npz``,
        ``.safetensors``, ``.pt``.
    class_names : sequence of str, or path, optional
        Taken from the columns of a DataFrame where not given. A LogitSource keeps its own
        policies, whatever is given here.
    nan : {"raise", "negative"}
        ``"negative"``: a cell that is nan or ``-inf`` is always decided negative and left out of
        every fit of probabilities.
    key : str, optional
        Name of the array in a file that holds several.
    probabilities : bool
        The values are sigmoid outputs; they are turned into logits. Exact 0 and 1 keep their place
        beyond all others.

    Returns
    -------
    LogitSource

    Raises
    ------
    TypeError, ValueError
        If the container is not known, not two-dimensional, not real, or has no classes.

    Examples
    --------
    >>> source = as_logits([[0.5, -1.0], [2.0, 3.0]])
    >>> source.shape
    (2, 2)
    """
    if nan not in ("raise", "negative"):
        raise ValueError(f"nan must be 'raise' or 'negative', got {nan!r}")
    if isinstance(logits, LogitSource):
        return logits if class_names is None else logits.named(class_names)
    columns = None
    if hasattr(logits, "columns") and hasattr(logits, "to_numpy"):
        columns = as_class_names([str(name) for name in logits.columns])
    rows = _open(logits, key)
    if rows.shape[1] == 0:
        raise ValueError(f"logits must have at least one class, got shape {tuple(rows.shape)}")
    names = as_class_names(class_names, int(rows.shape[1]))
    if None not in (names, columns) and names != columns:
        raise ValueError("class names must be the columns of the logits in their order")
    names = names or columns
    return LogitSource(rows, names, nan, probabilities)


def _open(logits: Any, key: str | None) -> Any:
    """Something with a 2-D ``shape`` and row slices."""
    if isinstance(logits, str | os.PathLike):
        return readers.open_matrix(logits, key)
    if isinstance(logits, list | tuple):
        if not logits:
            raise ValueError("logits must not be an empty list")
        if all(isinstance(part, str | os.PathLike) for part in logits):
            return readers.open_matrix(logits, key)
        if any(hasattr(part, "shape") for part in logits):
            return _Stacked([_open(part, key) for part in logits])
        logits = _of_rows(logits)
    if hasattr(logits, "to_numpy"):
        logits = logits.to_numpy()
    if not hasattr(logits, "shape") or not hasattr(logits, "__getitem__"):
        raise TypeError(
            "logits must be an array, a tensor, a memmap or a path, got "
            f"{type(logits).__module__}.{type(logits).__qualname__}"
        )
    if hasattr(logits, "indptr") or hasattr(logits, "tocsr"):
        raise TypeError("logits must be dense, got a sparse matrix; are these the labels?")
    if len(logits.shape) != 2:
        raise ValueError(
            f"logits must have shape (n_rows, n_classes), got shape {tuple(logits.shape)}"
        )
    if getattr(logits, "is_complex", bool)():
        raise ValueError(f"logits must be real numbers, got dtype {logits.dtype}")
    kind = getattr(getattr(logits, "dtype", None), "kind", "f")
    if kind == "O":
        raise ValueError("logits must be numbers, got an array of Python objects")
    if kind not in "fiub":
        raise ValueError(f"logits must be real numbers, got dtype {logits.dtype}")
    return logits


def _of_rows(rows: Sequence[Any]) -> NDArray[Any]:
    """Rows of numbers, one below the other."""
    try:
        return np.asarray(rows)
    except ValueError as error:
        widths = [len(row) if isinstance(row, Sized) else 0 for row in rows]
        odd = next((place for place, width in enumerate(widths) if width != widths[0]), None)
        told = "" if odd is None else f", got {widths[0]} in row 0 and {widths[odd]} in row {odd}"
        raise ValueError(
            f"logits must be rows of numbers, of as many classes each{told}"
        ) from error


class _Stacked:
    """Arrays one below the other, read as one."""

    def __init__(self, parts: Sequence[Any]) -> None:
        widths = [int(part.shape[1]) for part in parts]
        for place, width in enumerate(widths):
            if width != widths[0]:
                raise ValueError(
                    f"shards must have the same number of classes, got {widths[0]} in shard 0 "
                    f"and {width} in shard {place}"
                )
        self._parts = parts
        self.sequential = any(getattr(part, "sequential", False) for part in parts)
        self._starts = np.cumsum([0, *(int(part.shape[0]) for part in parts)])
        self.shape = (int(self._starts[-1]), widths[0])

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        pieces = [
            _to_numpy(part[max(0, rows.start - first) : rows.stop - first])
            for part, first, last in zip(self._parts, self._starts, self._starts[1:], strict=False)
            if rows.start < last and rows.stop > first
        ]
        return np.concatenate(pieces) if pieces else np.empty((0, self.shape[1]), np.float32)


def _to_numpy(rows: Any, columns: slice = slice(None)) -> NDArray[Any]:
    """A slice of any container as a numpy array; only the slice is converted."""
    rows = rows[:, columns] if columns != slice(None) else rows
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(rows, torch.Tensor):
        # numpy has no bfloat16; float32 holds every bfloat16 and float16 exactly
        rows = rows.detach().float() if rows.is_floating_point() else rows.detach()
        return np.asarray(rows.cpu().numpy())
    return np.asarray(rows)
