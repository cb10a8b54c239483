"""What a stored matrix looks like to its reader: a shape, and slices of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy import sparse

Array: TypeAlias = NDArray[Any]


class MatrixSource(Protocol):
    """Rows x classes that lie somewhere, read a block of rows at a time.

    ``source[start:stop]`` reads those rows and no others. The slice has step 1 and is clamped to
    the rows there are, as numpy does. What comes is a two-axis ndarray of any real dtype, byte
    order, memory order and alignment; it may be a read-only view of the file, and it may be
    changed by nobody.

    A source that must be read from front to back to be quick, such as a compressed one, says so by
    an attribute ``sequential`` that is true.

    The protocol is not checkable at run time on purpose: a SciPy matrix has a ``shape`` and slices
    of rows as well, and would pass for one.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and classes."""
        ...

    def __getitem__(self, rows: slice, /) -> Array:
        """Rows ``rows.start`` to ``rows.stop``, (n_rows, n_classes)."""
        ...


if TYPE_CHECKING:
    LabelFile: TypeAlias = sparse.csr_array | MatrixSource | list[list[int | str]]


class ArraySource:
    """A `MatrixSource` over an ndarray, most often a memory map: slices are views.

    Parameters
    ----------
    array : ndarray, (n_rows, n_classes), any real dtype
        Kept, not copied; the attribute of this name is the whole of it, to be looked at in place.
    """

    def __init__(self, array: Array) -> None:
        # A plain ndarray over the map keeps `np.memmap` out of everything computed from a slice.
        self.array: Array = np.asarray(array)
        self.shape: tuple[int, int] = (array.shape[0], array.shape[1])

    def __getitem__(self, rows: slice) -> Array:
        """Rows as a view."""
        start, stop = row_range(rows, self.shape[0])
        return self.array[start:stop]


def row_range(rows: slice, n_rows: int) -> tuple[int, int]:
    """Clamp a slice of rows as numpy does.

    Parameters
    ----------
    rows : slice
        With step 1.
    n_rows : int
        Rows that there are.

    Returns
    -------
    tuple[int, int]
        ``start, stop`` with ``0 <= start <= stop <= n_rows``.

    Raises
    ------
    TypeError
        If `rows` is no slice.
    ValueError
        If its step is not 1.

    Examples
    --------
    >>> row_range(slice(3840, 4096), 4000)
    (3840, 4000)
    """
    if not isinstance(rows, slice):
        raise TypeError(f"rows must be a slice, got {type(rows).__name__}")
    start, stop, step = rows.indices(n_rows)
    if step != 1:
        raise ValueError(f"a slice of rows must have step 1, got {step}")
    return start, max(start, stop)


def check_matrix(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> tuple[int, int]:
    """Shape of what is stored, if it is a matrix of real numbers.

    Parameters
    ----------
    shape : tuple of int
        Shape that the file declares.
    dtype : np.dtype
        Dtype that the file declares.
    where : str
        The file, and the array in it, for the message.

    Returns
    -------
    tuple[int, int]
        Numbers of rows and classes.

    Raises
    ------
    ValueError
        For Python objects, for any number of axes but two, and for a dtype that is not real.
    """
    if dtype.hasobject:
        raise pickled(where)
    if dtype.kind not in "fiub":
        raise ValueError(
            f"{where} must hold real numbers (float, integer or bool), got dtype {dtype}"
        )
    if len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"{where} must have two axes, rows x classes, got shape {shape}")
    return shape[0], shape[1]


def pickled(where: str) -> ValueError:
    """Make the refusal of pickled Python objects, with the way out.

    Parameters
    ----------
    where : str
        The file, and the array in it.

    Returns
    -------
    ValueError
        To be raised by the caller.
    """
    return ValueError(
        f"{where} holds Python objects (pickled), which are never loaded, because unpickling runs "
        "code from the file: save a CSR matrix with scipy.sparse.save_npz, or a numeric array with "
        "numpy.save"
    )


def sparse_scores(where: str) -> ValueError:
    """Make the refusal of a sparse matrix where logits are wanted.

    Parameters
    ----------
    where : str
        The file, and the array in it.

    Returns
    -------
    ValueError
        To be raised by the caller.
    """
    return ValueError(
        f"{where} is a sparse matrix: sparse scores are not dense logits, because the scores that "
        "are not stored are unknown, not 0; give the dense rows x classes matrix. (A sparse matrix "
        "is read as labels.)"
    )
