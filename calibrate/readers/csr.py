"""Sparse labels: whatever SciPy form was stored, a CSR matrix whose structure can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .source import check_matrix

if TYPE_CHECKING:
    from scipy import sparse


def as_csr(matrix: Any, where: str) -> sparse.csr_array:
    """Turn a stored sparse matrix into a CSR array.

    Compiled code walks the indices without looking, so that an index outside the matrix must be
    found here. The values are not looked at.

    Parameters
    ----------
    matrix : SciPy sparse matrix or array
        Of any format.
    where : str
        The file, and the array in it, for the message.

    Returns
    -------
    scipy.sparse.csr_array
        (n_rows, n_classes), of the stored dtype.

    Raises
    ------
    ValueError
        If it is no matrix of real numbers, or its indices do not fit its shape.
    """
    from scipy import sparse

    check_matrix(matrix.shape, matrix.dtype, where)
    try:
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)
        return sparse.csr_array(matrix)
    except ValueError as error:
        raise ValueError(f"{where} must be a valid sparse matrix: {error}") from None
