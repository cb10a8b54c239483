"""Labels of any container, as checked rows of a CSR matrix."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate import readers
from calibrate.data.names import as_class_names, describe_class

_BLOCK_CELLS = 1 << 22
_TAKEN_ROWS = 1 << 12


@dataclass(frozen=True, eq=False)
class Labels:
    """True labels: row i has the classes ``indices[indptr[i]:indptr[i + 1]]``, sorted.

    Attributes
    ----------
    indptr : int64, (n_rows + 1,)
    indices : int32, (n_labels,)
    n_classes : int
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    n_classes: int

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_classes)."""
        return len(self.indptr) - 1, self.n_classes

    @property
    def n_labels(self) -> int:
        """How many labels there are in all rows."""
        return int(self.indptr[-1])

    @cached_property
    def positives(self) -> NDArray[np.int64]:
        """Positive rows of each class, shape (n_classes,)."""
        return np.bincount(self.indices, minlength=self.n_classes).astype(np.int64)

    @cached_property
    def by_class(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The same labels by class: ``indptr`` (n_classes + 1,) and the sorted rows of each."""
        indptr = np.zeros(self.n_classes + 1, dtype=np.int64)
        np.cumsum(self.positives, out=indptr[1:])
        from scipy import sparse

        ones = np.ones(self.n_labels, dtype=np.bool_)
        columns = sparse.csr_array((ones, self.indices, self.indptr), shape=self.shape).tocsc()
        return indptr, np.asarray(columns.indices, dtype=np.int32)

    def rows(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """``indptr`` and ``indices`` of the rows ``start:stop`` alone."""
        indptr = self.indptr[start : stop + 1]
        return indptr - indptr[0], self.indices[indptr[0] : indptr[-1]]

    def take(self, rows: NDArray[np.int64]) -> Labels:
        """The labels of some rows, in the order given."""
        lengths = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        indices = np.empty(indptr[-1], dtype=np.int32)
        # the places of all labels at once would take six times the room of the labels
        for first in range(0, len(rows), _TAKEN_ROWS):
            part = slice(first, first + _TAKEN_ROWS)
            to = indptr[first : first + _TAKEN_ROWS + 1]
            moved = np.repeat(self.indptr[rows[part]] - to[:-1], lengths[part])
            indices[to[0] : to[-1]] = self.indices[np.arange(to[0], to[-1]) + moved]
        return Labels(indptr, indices, self.n_classes)


def as_labels(
    labels: Any,
    n_classes: int | None = None,
    *,
    class_names: tuple[str, ...] | None = None,
    key: str | None = None,
) -> Labels:
    """Checked labels from any container.

    Parameters
    ----------
    labels : sparse matrix, array, tensor, DataFrame, list of label lists, path or list of paths
        0/1 of shape (n_rows, n_classes), or for each row the list of its class ids or names.
        Paths: ``.npz`` (SciPy sparse, or dense), ``.npy``, ``.jsonl``, ``.pt``, ``.safetensors``.
    n_classes : int, optional
        Classes of the logits; needed for lists of labels without `class_names`.
    class_names : tuple of str, optional
        For lists of names, and for the columns of a DataFrame, which must agree.
    key : str, optional
        Name of the array in a file that holds several.

    Returns
    -------
    Labels

    Raises
    ------
    TypeError, ValueError
        If an entry is not 0 or 1, an id is out of range, a name is unknown or repeated, or the
        number of classes disagrees.

    Examples
    --------
    >>> as_labels([[0, 2], [], [1]], n_classes=3).positives
    array([1, 1, 1])
    """
    if isinstance(labels, Labels):
        return _fitting(labels, n_classes)
    if n_classes is None and class_names is not None:
        n_classes = len(class_names)
    if isinstance(labels, str | os.PathLike) or _is_list_of_paths(labels):
        labels = readers.open_label_file(labels, key)
    if hasattr(labels, "columns") and hasattr(labels, "to_numpy"):
        _check_columns([str(name) for name in labels.columns], class_names)
        labels = labels.to_numpy()
    if getattr(getattr(labels, "dtype", None), "kind", "") == "O" and len(labels.shape) == 1:
        labels = list(labels)
    labels = _from_torch(labels)
    if _is_sparse(labels):
        return _fitting(_from_sparse(labels), n_classes)
    if isinstance(labels, list | tuple):
        return _from_lists(labels, n_classes, class_names)
    if not hasattr(labels, "shape"):
        raise TypeError(
            "labels must be a sparse matrix, an array, a list of label lists or a path, got "
            f"{type(labels).__module__}.{type(labels).__qualname__}"
        )
    return _fitting(_from_dense(labels, class_names), n_classes)


def _is_sparse(labels: Any) -> bool:
    """Whether it is a SciPy sparse matrix, which it cannot be before SciPy is imported."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(labels))


def _is_list_of_paths(labels: Any) -> bool:
    return (
        isinstance(labels, list | tuple)
        and len(labels) > 0
        and all(isinstance(part, str | os.PathLike) for part in labels)
    )


def _fitting(labels: Labels, n_classes: int | None) -> Labels:
    if n_classes is not None and labels.n_classes != n_classes:
        raise ValueError(
            f"labels must have as many classes as the logits, got {labels.n_classes} classes of "
            f"labels for {n_classes} classes of logits"
        )
    return labels


def _check_columns(columns: list[str], class_names: tuple[str, ...] | None) -> None:
    as_class_names(columns)
    if class_names is None or tuple(columns) == class_names:
        return
    if len(columns) == len(class_names):
        place = next(i for i, (a, b) in enumerate(zip(columns, class_names, strict=True)) if a != b)
        raise ValueError(
            "columns of the labels must be the class names in their order, got "
            f"{columns[place]!r} for {describe_class(place, class_names)}"
        )


def _from_torch(labels: Any) -> Any:
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(labels, torch.Tensor):
        return labels
    if labels.layout == torch.strided:
        return _TorchRows(labels)
    from scipy import sparse

    shape = tuple(labels.shape)
    labels = labels.detach().cpu()
    if labels.layout == torch.sparse_csr:
        parts = (labels.values(), labels.col_indices(), labels.crow_indices())
        return sparse.csr_array(tuple(part.numpy() for part in parts), shape=shape)
    labels = labels.to_sparse_coo().coalesce()
    rows, columns = labels.indices().numpy()
    return sparse.coo_array((labels.values().numpy(), (rows, columns)), shape=shape)


class _TorchRows:
    """A dense tensor whose row slices are numpy arrays."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor.detach()
        self.shape = tuple(tensor.shape)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        part = self._tensor[rows]
        part = part.float() if part.is_floating_point() else part
        return np.asarray(part.cpu().numpy())


def _from_sparse(matrix: Any) -> Labels:
    from scipy import sparse

    if matrix.ndim != 2:
        raise ValueError(f"labels must have shape (n_rows, n_classes), got {matrix.shape}")
    rows = sparse.csr_array(matrix)
    try:
        rows.check_format(full_check=True)
    except ValueError as error:
        raise ValueError(f"labels must be a sound sparse matrix: {error}") from None
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    if (rows.data != 1).any():
        wrong = np.flatnonzero((rows.data != 1) & (rows.data != 0))
        if len(wrong):
            place = int(wrong[0])
            row = int(np.searchsorted(rows.indptr, place, side="right")) - 1
            raise ValueError(
                f"labels must be 0 or 1, got {rows.data[place]} at row {row}, "
                f"class {rows.indices[place]}"
            )
        rows = rows.copy()
        rows.eliminate_zeros()
    return Labels(
        np.asarray(rows.indptr, dtype=np.int64),
        np.asarray(rows.indices, dtype=np.int32),
        int(rows.shape[1]),
    )


def _from_dense(rows: Any, class_names: tuple[str, ...] | None) -> Labels:
    if len(rows.shape) != 2:
        raise ValueError(
            f"labels must have shape (n_rows, n_classes), got shape {tuple(rows.shape)}"
        )
    n_rows, n_classes = (int(size) for size in rows.shape)
    counts, columns = [np.zeros(1, dtype=np.int64)], [np.empty(0, dtype=np.int32)]
    for start, block in _dense_blocks(rows, n_rows, n_classes):
        if block.dtype.kind not in "fiub":
            raise ValueError(f"labels must be 0 or 1, got an array of dtype {block.dtype}")
        positive = block != 0
        if block.dtype.kind != "b" and ((block != 1) & positive).any():
            row, column = np.argwhere((block != 1) & positive)[0]
            raise ValueError(
                f"labels must be 0 or 1, got {block[row, column]} at row {start + row}, "
                f"{describe_class(int(column), class_names)}"
            )
        counts.append(np.count_nonzero(positive, axis=1).astype(np.int64))
        columns.append(np.nonzero(positive)[1].astype(np.int32))
    return Labels(np.cumsum(np.concatenate(counts)), np.concatenate(columns), n_classes)


def _dense_blocks(rows: Any, n_rows: int, n_classes: int) -> Iterator[tuple[int, NDArray[Any]]]:
    step = max(1, _BLOCK_CELLS // max(1, n_classes))
    for start in range(0, n_rows, step):
        yield start, np.asarray(rows[start : min(start + step, n_rows)])


def _from_lists(
    rows: Sequence[Any], n_classes: int | None, class_names: tuple[str, ...] | None
) -> Labels:
    if n_classes is None:
        raise ValueError("lists of labels need the number of classes: give n_classes or names")
    places = {} if class_names is None else {name: i for i, name in enumerate(class_names)}
    _refuse_indicator_lists(rows, n_classes)
    indptr = np.zeros(len(rows) + 1, dtype=np.int64)
    indices: list[int] = []
    for number, row in enumerate(rows):
        if isinstance(row, str) or not hasattr(row, "__iter__"):
            raise TypeError(f"labels of a row must be a list of ids or names, got {row!r}")
        found = sorted(_class_of(label, number, n_classes, places) for label in row)
        for one, other in pairwise(found):
            if one == other:
                raise ValueError(
                    "labels of a row must differ, got "
                    f"{describe_class(one, class_names)} twice at row {number}"
                )
        indices.extend(found)
        indptr[number + 1] = len(indices)
    return Labels(indptr, np.array(indices, dtype=np.int32), n_classes)


def _class_of(label: Any, row: int, n_classes: int, places: dict[str, int]) -> int:
    if isinstance(label, str):
        if not places:
            raise ValueError(f"labels by name need class names, got {label!r} at row {row}")
        if label not in places:
            raise ValueError(f"labels must be class names, got {label!r} at row {row}")
        return places[label]
    if isinstance(label, bool | np.bool_) or not isinstance(label, int | np.integer):
        raise TypeError(f"labels must be class ids or names, got {label!r} at row {row}")
    if not 0 <= label < n_classes:
        raise ValueError(
            f"labels must be class ids from 0 to {n_classes - 1}, got {label} at row {row}"
        )
    return int(label)


def _refuse_indicator_lists(rows: Sequence[Any], n_classes: int) -> None:
    """Lists that may be a 0/1 matrix as well as ids: never guess."""
    looks_dense = (
        len(rows) > 0
        and n_classes > 1
        and all(
            isinstance(row, list | tuple | np.ndarray)
            and len(row) == n_classes
            and all(value in (0, 1) for value in row)
            for row in rows
        )
    )
    if looks_dense:
        raise ValueError(
            "labels given as lists must be ids or names, got lists that look like a 0/1 matrix; "
            "give numpy.asarray(labels) if they are one"
        )
