"""`.npy`: one array, mapped into memory."""

from __future__ import annotations

from pathlib import Path

from .keys import refuse_key
from .npy_format import check_size, map_matrix, read_header, refuse_pickle
from .source import MatrixSource, check_matrix


def open_matrix(path: Path, key: str | None = None) -> MatrixSource:
    """Open a `.npy` file: C or Fortran order, any byte order, never a pickle.

    Parameters
    ----------
    path : Path
        The file, which is there.
    key : None
        The array has no name.

    Returns
    -------
    MatrixSource
        Slices of rows are views of the file.

    Raises
    ------
    ValueError
        If the file is truncated, pickled, or no matrix of real numbers.
    """
    where = str(path)
    refuse_key(key, where)
    refuse_pickle(path)
    with path.open("rb") as file:
        header = read_header(file, where)
    check_matrix(header.shape, header.dtype, where)
    check_size(header, path.stat().st_size, where)
    return map_matrix(path, header, header.size, where)


open_labels = open_matrix
