"""`.pt` and `.pth`: tensors saved by torch, mapped into memory; no pickle is trusted.

The one reader that imports torch, and only when such a file is opened.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .csr import as_csr
from .keys import LABELS_KEYS, LOGITS_KEYS, choose_key, refuse_key
from .source import Array, ArraySource, MatrixSource, check_matrix, row_range, sparse_scores

if TYPE_CHECKING:
    import torch

    from .source import LabelFile


def open_matrix(path: Path, key: str | None = None) -> MatrixSource:
    """Open the logits that ``torch.save`` wrote: a tensor, or a dict with one.

    Parameters
    ----------
    path : Path
        The file, which is there.
    key : str, optional
        The tensor's name in the dict; without it a usual name, or the only matrix.

    Returns
    -------
    MatrixSource
        Slices of rows are views of the file; float32 copies where it holds bfloat16.

    Raises
    ------
    ValueError
        If the file is damaged, legacy, or wants Python objects; if the key is not clear, or the
        tensor is no dense matrix of real numbers.
    """
    value, where = _chosen(path, key, LOGITS_KEYS)
    if _is_sparse(value):
        raise sparse_scores(where)
    return _dense(value, where)


def open_labels(path: Path, key: str | None = None) -> LabelFile:
    """Open the labels that ``torch.save`` wrote: dense, or sparse CSR, CSC or COO.

    Parameters
    ----------
    path : Path
        The file, which is there.
    key : str, optional
        The tensor's name in the dict; without it a usual name, or the only matrix.

    Returns
    -------
    scipy.sparse.csr_array or MatrixSource
        As `open_matrix` where the labels are dense.

    Raises
    ------
    ValueError
        If the file is damaged, legacy, or wants Python objects; if the key is not clear, or the
        tensor is no matrix of real numbers.
    """
    value, where = _chosen(path, key, LABELS_KEYS)
    if _is_sparse(value):
        return as_csr(_scipy(value, where), where)
    return _dense(value, where)


def _chosen(path: Path, key: str | None, known: tuple[str, ...]) -> tuple[Any, str]:
    saved = load_checked(path)
    if not isinstance(saved, dict):
        refuse_key(key, str(path))
        return saved, str(path)
    members = {name: value for name, value in saved.items() if isinstance(name, str)}
    name = choose_key(list(members), key, known, lambda member: _shape(members[member]), str(path))
    return members[name], f"{name!r} in {path}"


def _shape(value: Any) -> tuple[int, ...] | None:
    shape = getattr(value, "shape", None)
    return None if shape is None else tuple(shape)


def load_checked(path: Path) -> Any:
    """Whatever a file holds, mapped and not read, with nothing executed.

    Raises
    ------
    ValueError
        If the file is damaged, of the older form, or needs more than tensors.
    """
    import torch

    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise ValueError(
                f"{path} must be a zip file, as torch.save writes since torch 1.6: the older form "
                "is a pickle, which is never loaded; load it where you trust it and save it again"
            )
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("the zip's directory is missing")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CS[RC] tensor support is in beta")
            return torch.load(str(path), mmap=True, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        # torch's own text advises weights_only=False, and is therefore not shown.
        raise _unsafe(path, error) from None
    except Exception as error:  # a damaged file can fail anywhere in the unpickler
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _damaged(path, reason) from None


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} must be a whole .pt file, it is truncated or damaged: {reason}")


def _unsafe(path: Path, error: Exception) -> ValueError:
    import torch

    try:
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # it reads the same bytes, and fails on the same damage
        wanted = []
    if not wanted:  # a class reached by way of an allowed global is named by the refusal alone
        wanted = re.findall("but got <class '(.+?)'>", str(error))
    if not wanted:
        return _damaged(path, "its pickle has operations that no file of tensors has")
    return ValueError(
        f"{path} must hold tensors only; it wants the Python globals {', '.join(sorted(wanted))}. "
        "They are never loaded by themselves, because unpickling runs code from the file. Save the "
        "numbers as tensors, torch.save({'logits': torch.from_numpy(logits)}, path), or with "
        "numpy.save. Or, if you know each of these globals and trust the file, open it under "
        "torch.serialization.safe_globals([...]) with them listed (for NumPy arrays also the dtype "
        "class, such as numpy.dtypes.Float32DType)"
    )


def _is_sparse(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.layout != torch.strided


def _dense(value: Any, where: str) -> MatrixSource:
    import torch

    if isinstance(value, np.ndarray):  # its globals were allow-listed by the user
        check_matrix(value.shape, value.dtype, where)
        return ArraySource(value)
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{where} must be a tensor, got {type(value).__name__}")
    if value.device.type != "cpu":
        raise ValueError(f"{where} must hold numbers, got a tensor on device {value.device.type}")
    check_matrix(tuple(value.shape), _dtype(value, where), where)
    return TensorSource(value)


def _dtype(tensor: torch.Tensor, where: str) -> np.dtype[Any]:
    import torch

    try:
        return _numpy(torch.empty(0, dtype=tensor.dtype)).dtype
    except (TypeError, RuntimeError):
        raise ValueError(
            f"{where} must hold float16, bfloat16, float32, float64, integers or bools, "
            f"got {tensor.dtype}"
        ) from None


def _numpy(tensor: torch.Tensor) -> Array:
    import torch

    plain = tensor.detach()
    if plain.dtype == torch.bfloat16:  # numpy has no such dtype; float32 holds it exactly
        plain = plain.float()
    array: Array = plain.numpy()
    return array


def _scipy(tensor: torch.Tensor, where: str) -> Any:
    import torch
    from scipy import sparse

    if tensor.ndim != 2:
        check_matrix(tuple(tensor.shape), np.dtype(bool), where)
    shape = (tensor.shape[0], tensor.shape[1])
    if tensor.layout == torch.sparse_coo:
        stored = tensor.coalesce()
        rows, columns = _numpy(stored.indices())
        return sparse.coo_array((_numpy(stored.values()), (rows, columns)), shape=shape)
    if tensor.layout == torch.sparse_csr:
        columns, begins = _numpy(tensor.col_indices()), _numpy(tensor.crow_indices())
        return sparse.csr_array((_numpy(tensor.values()), columns, begins), shape=shape)
    if tensor.layout == torch.sparse_csc:
        rows, begins = _numpy(tensor.row_indices()), _numpy(tensor.ccol_indices())
        return sparse.csc_array((_numpy(tensor.values()), rows, begins), shape=shape)
    raise ValueError(f"{where} must be a dense, CSR, CSC or COO tensor, got {tensor.layout}")


class TensorSource:
    """A `MatrixSource` over a tensor on the CPU, most often one mapped from its file.

    Parameters
    ----------
    tensor : torch.Tensor, (n_rows, n_classes)
        Kept, not copied.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self.shape: tuple[int, int] = (tensor.shape[0], tensor.shape[1])

    def __getitem__(self, rows: slice) -> Array:
        """Rows as a view; bfloat16 as a float32 copy."""
        start, stop = row_range(rows, self.shape[0])
        return _numpy(self._tensor[start:stop])
