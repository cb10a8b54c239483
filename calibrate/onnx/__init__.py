"""Decisions as ONNX graphs: the only room that imports onnx.

Graphs are built node by node, without an exporter: nothing of this machine gets into a file.
"""

from __future__ import annotations

try:
    import onnx as _onnx  # noqa: F401
except ImportError as error:
    raise ImportError(
        "ONNX graphs need the package onnx: pip install 'calibrate-multilabel[onnx]'"
    ) from error

from calibrate.onnx.appended import Appended, append
from calibrate.onnx.check import Checked
from calibrate.onnx.file import save
from calibrate.onnx.model import to_model

__all__ = ["Appended", "Checked", "append", "save", "to_model"]
