"""Several files that are one matrix, or one set of labels, laid end to end along the rows."""

from __future__ import annotations

import glob
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .source import Array, MatrixSource, row_range

if TYPE_CHECKING:
    from .source import LabelFile

_KEPT_OPEN = 64  # a shard per batch makes thousands, more than the files a process may hold open


def is_pattern(path: str) -> bool:
    """Whether a path is a glob pattern: it has a wildcard, and no file of that very name exists.

    Parameters
    ----------
    path : str

    Returns
    -------
    bool
    """
    return any(wildcard in path for wildcard in "*?[") and not Path(path).exists()


def matching(pattern: str) -> list[Path]:
    """Files that match a pattern, in natural order: part2 comes before part10.

    Parameters
    ----------
    pattern : str
        As the shell's: ``*``, ``?``, ``[0-9]``, and ``**`` for folders at any depth.

    Returns
    -------
    list of Path
        At least one.

    Raises
    ------
    FileNotFoundError
        If nothing matches.
    """
    # Path.glob would also match hidden files, and wants the root apart from the pattern.
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207
    if not found:
        raise FileNotFoundError(f"no file matches {pattern}")
    return [Path(name) for name in sorted(found, key=_natural)]


def open_matrix(paths: Sequence[Path], open_one: Callable[[Path], MatrixSource]) -> MatrixSource:
    """Lay stored matrices end to end.

    Parameters
    ----------
    paths : sequence of Path
        At least one, in order.
    open_one : callable
        Opens one of them.

    Returns
    -------
    MatrixSource
        All rows. A slice within one shard is what the shard gives; one that crosses a border is
        a copy in a dtype that holds both.

    Raises
    ------
    ValueError
        If there are no paths, or a shard differs in its number of columns.
    """
    _check_any(paths)
    return ShardedSource(paths, open_one)


def open_labels(paths: Sequence[Path], open_one: Callable[[Path], LabelFile]) -> LabelFile:
    """Lay stored labels end to end; all of one kind.

    Parameters
    ----------
    paths : sequence of Path
        At least one, in order.
    open_one : callable
        Opens one of them.

    Returns
    -------
    scipy.sparse.csr_array, MatrixSource or list of list
        What the shards are.

    Raises
    ------
    ValueError
        If there are no paths, or a shard differs in kind or in its number of columns.
    """
    from scipy import sparse

    _check_any(paths)
    first = open_one(paths[0])
    if isinstance(first, list):
        lists = list(first)
        for path in paths[1:]:
            part = open_one(path)
            if not isinstance(part, list):
                raise _other_kind(path, "lists of labels")
            lists.extend(part)
        return lists
    if sparse.issparse(first):
        matrices = [first]
        for path in paths[1:]:
            part = open_one(path)
            if not sparse.issparse(part):
                raise _other_kind(path, "a sparse matrix")
            _check_columns(part.shape[1], first.shape[1], path, paths[0])
            matrices.append(part)
        return sparse.csr_array(sparse.vstack(matrices, format="csr"))

    def open_dense(path: Path) -> MatrixSource:
        part = open_one(path)
        if isinstance(part, list) or sparse.issparse(part):
            raise _other_kind(path, "a dense matrix")
        return part

    return ShardedSource(paths, open_dense)


class ShardedSource:
    """A `MatrixSource` over several, end to end; the shards last used are kept open.

    Parameters
    ----------
    paths : sequence of Path
        At least one, in order.
    open_one : callable
        Opens one of them.
    """

    def __init__(self, paths: Sequence[Path], open_one: Callable[[Path], MatrixSource]) -> None:
        self._paths = tuple(paths)
        self._open: Callable[[Path], MatrixSource] = lru_cache(maxsize=_KEPT_OPEN)(open_one)
        sources = [self._open(path) for path in self._paths]
        shapes = [source.shape for source in sources]
        self.sequential = any(getattr(source, "sequential", False) for source in sources)
        for path, shape in zip(self._paths, shapes, strict=True):
            _check_columns(shape[1], shapes[0][1], path, self._paths[0])
        self._begins = list(accumulate((shape[0] for shape in shapes), initial=0))
        self.shape: tuple[int, int] = (self._begins[-1], shapes[0][1])

    def __getitem__(self, rows: slice) -> Array:
        """Rows, from as many shards as they lie in."""
        start, stop = row_range(rows, self.shape[0])
        if start == stop:
            return self._open(self._paths[0])[0:0]
        parts = []
        shard = bisect_right(self._begins, start) - 1
        while shard < len(self._paths) and self._begins[shard] < stop:
            begin, end = self._begins[shard], self._begins[shard + 1]
            if begin < end:  # an empty shard's dtype says nothing
                source = self._open(self._paths[shard])
                parts.append(source[max(start, begin) - begin : stop - begin])
            shard += 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _natural(path: str) -> tuple[list[str | int], str]:
    # The pieces alternate between text and digits, so that only like is compared with like.
    pieces = re.split("([0-9]+)", path)
    return [int(piece) if odd % 2 else piece for odd, piece in enumerate(pieces)], path


def _check_any(paths: Sequence[Path]) -> None:
    if not paths:
        raise ValueError("a list of shards must name at least one file, got none")


def _check_columns(found: int, expected: int, path: Path, first: Path) -> None:
    if found != expected:
        raise ValueError(
            f"all shards must have {expected} columns, as {first} has, got {found} in {path}"
        )


def _other_kind(path: Path, expected: str) -> ValueError:
    return ValueError(f"all shards must be of one kind, {expected} as the first, got other {path}")
