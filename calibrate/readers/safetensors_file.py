"""`.safetensors`: named tensors, validated by the safetensors library, then mapped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .keys import LABELS_KEYS, LOGITS_KEYS, choose_key
from .npy_format import ArrayHeader, map_matrix, refuse_pickle
from .source import Array, MatrixSource, check_matrix

_DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "BF16": "<u2",  # the upper half of a float32; see Bfloat16Source
}


def open_matrix(path: Path, key: str | None = None) -> MatrixSource:
    """Open the logits of a `.safetensors` file.

    Parameters
    ----------
    path : Path
        The file, which is there.
    key : str, optional
        The tensor's name; without it a usual name, or the only matrix.

    Returns
    -------
    MatrixSource
        Views of the file; float32 copies of the rows asked for where it holds bfloat16.

    Raises
    ------
    ValueError
        If the file is damaged, the key is not clear, or the tensor is no matrix of real numbers.
    """
    return _open(path, key, LOGITS_KEYS)


def open_labels(path: Path, key: str | None = None) -> MatrixSource:
    """Open the dense labels of a `.safetensors` file; as `open_matrix`, with the labels' names.

    Parameters
    ----------
    path : Path
        The file, which is there.
    key : str, optional
        The tensor's name; without it a usual name, or the only matrix.

    Returns
    -------
    MatrixSource
        Views of the file.

    Raises
    ------
    ValueError
        If the file is damaged, the key is not clear, or the tensor is no matrix of real numbers.
    """
    return _open(path, key, LABELS_KEYS)


def _open(path: Path, key: str | None, known: tuple[str, ...]) -> MatrixSource:
    tensors, begin = _tensors(path)
    name = choose_key(
        list(tensors), key, known, lambda member: tuple(tensors[member]["shape"]), str(path)
    )
    where = f"{name!r} in {path}"
    tensor = tensors[name]
    if tensor["dtype"] not in _DTYPES:
        raise ValueError(
            f"{where} must be float16, bfloat16, float32, float64, integer or bool, "
            f"got {tensor['dtype']}"
        )
    header = ArrayHeader(tuple(tensor["shape"]), np.dtype(_DTYPES[tensor["dtype"]]), False, 0)
    check_matrix(header.shape, header.dtype, where)
    source = map_matrix(path, header, begin + tensor["data_offsets"][0], where)
    return Bfloat16Source(source) if tensor["dtype"] == "BF16" else source


def _tensors(path: Path) -> tuple[dict[str, Any], int]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):  # compares header, offsets and length of the file
            pass
    except (SafetensorError, OSError) as error:
        # only now: a whole file may begin as a pickle does, with a header of 128 bytes, say
        refuse_pickle(path)
        raise ValueError(
            f"{path} must be a whole .safetensors file, it is truncated or damaged: {error}"
        ) from None
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        tensors: dict[str, Any] = json.loads(file.read(size))
    tensors.pop("__metadata__", None)
    return tensors, 8 + size


class Bfloat16Source:
    """A `MatrixSource` that gives stored bfloat16 as float32, exactly.

    A bfloat16 is the upper half of the float32 of the same value.

    Parameters
    ----------
    halves : MatrixSource
        uint16, (n_rows, n_classes), the stored bits.
    """

    def __init__(self, halves: MatrixSource) -> None:
        self._halves = halves
        self.shape: tuple[int, int] = halves.shape

    def __getitem__(self, rows: slice) -> Array:
        """Rows as float32."""
        bits = self._halves[rows].astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
