"""The parts of NumPy's file format that `.npy` and `.npz` share, and mapping at an offset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy

from .source import ArraySource, pickled

_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class ArrayHeader:
    """What the first bytes of a stored array declare.

    Attributes
    ----------
    shape : tuple of int
    dtype : np.dtype
    fortran : bool
        Whether the first axis runs fastest.
    size : int
        Bytes of the header; the numbers begin there.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    size: int

    @property
    def n_bytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], where: str) -> ArrayHeader:
    """Read the header of a stored array.

    Parameters
    ----------
    file : binary file
        That holds the array alone, at its start; left where the numbers begin.
    where : str
        The file, and the array in it, for the message.

    Returns
    -------
    ArrayHeader
        What is declared, not yet checked.

    Raises
    ------
    ValueError
        If the bytes are no such header.
    """
    try:
        version = npy.read_magic(file)
        if version not in _READ_HEADER:
            raise ValueError(f"format version {version} is for arrays of records")
        shape, fortran, dtype = _READ_HEADER[version](file)
    except (ValueError, SyntaxError, TypeError, TokenError) as error:
        raise ValueError(f"{where} must begin with a whole NumPy array header: {error}") from None
    return ArrayHeader(shape, dtype, fortran, file.tell())


def check_size(header: ArrayHeader, found: int, where: str) -> None:
    """Compare the bytes that a header declares with those that there are.

    Parameters
    ----------
    header : ArrayHeader
    found : int
        Bytes from the start of the header to the end of the array's room.
    where : str
        The file, and the array in it, for the message.

    Raises
    ------
    ValueError
        If there are fewer (a truncated file) or more (several arrays in one file).
    """
    expected = header.size + header.n_bytes
    if found != expected:
        kind = "is truncated" if found < expected else "holds more than one array"
        raise ValueError(
            f"{where} {kind}: {header.shape} of {header.dtype} must take {expected} bytes, "
            f"got {found}"
        )


def map_matrix(path: Path, header: ArrayHeader, offset: int, where: str) -> ArraySource:
    """Map a stored matrix into memory, read-only, without reading it.

    Parameters
    ----------
    path : Path
        The file.
    header : ArrayHeader
        What is stored, checked to be a matrix of real numbers.
    offset : int
        Where the numbers begin in the file.
    where : str
        The file, and the array in it, for the message.

    Returns
    -------
    ArraySource
        Slices of rows are views of the file, unaligned where the file is.

    Raises
    ------
    ValueError
        If the file ends before it does.
    """
    order: Literal["F", "C"] = "F" if header.fortran else "C"
    if header.n_bytes == 0:  # nothing to map, and an empty map is an error
        return ArraySource(np.empty(header.shape, header.dtype))
    if offset + header.n_bytes > path.stat().st_size:
        raise ValueError(f"{where} is truncated: its numbers end after the file does")
    return ArraySource(
        np.memmap(
            path, dtype=header.dtype, mode="r", offset=offset, shape=header.shape, order=order
        )
    )


def refuse_pickle(path: Path) -> None:
    """Refuse a pickle that carries the suffix of something else.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ValueError
        If it begins as a pickle does (protocol 2 and later).
    """
    with path.open("rb") as file:
        if file.read(1) == b"\x80":
            raise pickled(str(path))
