"""Stored forms of logits, labels and class names: opened here, validated a room above.

One file per form, each imported when the first such file is opened, so that torch comes in only
with a `.pt` file. Nothing here looks at values; nothing here unpickles.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

from .source import MatrixSource, pickled

if TYPE_CHECKING:
    from .source import LabelFile

__all__ = ["MatrixSource", "open_label_file", "open_matrix", "read_class_names"]

PathLike: TypeAlias = str | os.PathLike[str]
Paths: TypeAlias = PathLike | Sequence[PathLike]

_MATRICES = {
    ".npy": "npy",
    ".npz": "npz",
    ".safetensors": "safetensors_file",
    ".pt": "pt",
    ".pth": "pt",
}
_LABELS = {**_MATRICES, ".jsonl": "jsonl"}
_CLASS_NAMES = {".txt": "read_text", ".json": "read_json"}
_PICKLES = frozenset({".pkl", ".pickle", ".joblib"})


def open_matrix(path: Paths, key: str | None = None) -> MatrixSource:
    """Open a dense matrix, rows x classes, without reading it.

    Parameters
    ----------
    path : path, glob pattern, or list of paths
        A `.npy`, `.npz`, `.safetensors`, `.pt` or `.pth` file. A string with ``*``, ``?`` or ``[``
        is a pattern, whose files are laid end to end in natural order (part2 before part10); a
        list is laid end to end as it stands.
    key : str, optional
        The array to take where a file holds several. Without it: ``logits``, ``scores``,
        ``preds`` or ``predictions``, in this order, else the only matrix.

    Returns
    -------
    MatrixSource
        ``shape``, and slices of rows of any real dtype and memory order.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or nothing matches the pattern.
    ValueError
        If the file cannot be read, is damaged or pickled, holds no matrix of real numbers, or
        several and no key says which.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/logits.npy"
    >>> np.save(path, np.arange(6, dtype=np.float16).reshape(3, 2))
    >>> source = open_matrix(path)
    >>> source.shape
    (3, 2)
    >>> source[1:100]
    array([[2., 3.],
           [4., 5.]], dtype=float16)
    >>> folder.cleanup()
    """
    from . import shards

    open_one = partial(_open_one_matrix, key=key)
    located = _located(path)
    if isinstance(located, Path):
        return open_one(located)
    return shards.open_matrix(located, open_one)


def open_label_file(path: Paths, key: str | None = None) -> LabelFile:
    r"""Open labels in whatever form they are stored.

    Parameters
    ----------
    path : path, glob pattern, or list of paths
        A sparse or dense `.npz`, a dense `.npy` or `.safetensors`, a sparse or dense `.pt` or
        `.pth`, or `.jsonl` with one example a line. Patterns and lists as in `open_matrix`; all
        files must be of one kind.
    key : str, optional
        The array to take where a file holds several, or where a `.jsonl` line keeps its list.
        Without it: ``labels``, ``targets`` or ``y_true``, in this order, else the only matrix.

    Returns
    -------
    scipy.sparse.csr_array, MatrixSource or list of list
        Sparse, dense, or lists of ids (int) or names (str). Values are not looked at, and a
        sparse matrix may hold an entry twice, or a stored zero.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or nothing matches the pattern.
    ValueError
        If the file cannot be read, is damaged or pickled, holds no matrix of real numbers, or
        several and no key says which.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "labels.jsonl"
    >>> _ = path.write_text('["cat", "dog"]\n[]\n')
    >>> open_label_file(path)
    [['cat', 'dog'], []]
    >>> folder.cleanup()
    """
    from . import shards

    open_one = partial(_open_one_label_file, key=key)
    located = _located(path)
    if isinstance(located, Path):
        return open_one(located)
    return shards.open_labels(located, open_one)


def read_class_names(path: PathLike) -> tuple[str, ...]:
    r"""Read class names: `.txt` with one a line, or a `.json` list of strings.

    Parameters
    ----------
    path : path
        In UTF-8.

    Returns
    -------
    tuple of str
        Names as they stand, in order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of another form.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "names.txt"
    >>> _ = path.write_text("cat\nbig dog\n")
    >>> read_class_names(path)
    ('cat', 'big dog')
    >>> folder.cleanup()
    """
    from . import class_names

    file = Path(path)
    reader = _looked_up(file, _CLASS_NAMES, "class names")
    names: tuple[str, ...] = getattr(class_names, reader)(file)
    return names


def _located(path: Paths) -> Path | list[Path]:
    from . import shards

    if isinstance(path, str) and shards.is_pattern(path):
        return shards.matching(path)
    if isinstance(path, str | os.PathLike):
        return Path(path)
    return [Path(shard) for shard in path]


def _open_one_matrix(path: Path, key: str | None) -> MatrixSource:
    source: MatrixSource = _module(path, _MATRICES, "a matrix").open_matrix(path, key)
    return source


def _open_one_label_file(path: Path, key: str | None) -> LabelFile:
    labels: LabelFile = _module(path, _LABELS, "labels").open_labels(path, key)
    return labels


def _module(path: Path, readers: dict[str, str], what: str) -> ModuleType:
    return import_module(f".{_looked_up(path, readers, what)}", __name__)


def _looked_up(path: Path, readers: dict[str, str], what: str) -> str:
    suffix = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name its files, such as '{path}/*.npy'")
    if suffix in _PICKLES:
        raise pickled(str(path))
    if suffix not in readers:
        raise ValueError(
            f"{what} can be read from {', '.join(readers)}, got the suffix {suffix!r} of {path}"
        )
    return readers[suffix]
