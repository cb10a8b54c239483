"""ONNX files: written when they are checked, or not at all."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import DTypeLike
from onnx import ModelProto

from calibrate.decision import Decision
from calibrate.onnx.appended import append
from calibrate.onnx.check import Checked, check, check_appended
from calibrate.onnx.model import to_model
from calibrate.storage import write_atomically

LARGEST = (1 << 31) - 1
"""Bytes that one file of protocol buffers may have."""


def save(
    decision: Decision,
    path: str | os.PathLike[str],
    *,
    behind: str | os.PathLike[str] | None = None,
    output_name: str | None = None,
    probabilities: bool = False,
    dtype: DTypeLike = np.float32,
    sample: Any = None,
) -> Checked:
    """Write the decision to an ``.onnx`` file, all or nothing, once it has been checked.

    The graph must pass ONNX's own check, and give the labels of the decision on a sample of rows:
    in the reference evaluator of ONNX, and in onnxruntime if that is installed.

    Parameters
    ----------
    decision : Decision
    path : path
    behind : path, optional
        An ``.onnx`` file of the user's, to put the decision behind; see `append`.
    output_name : str, optional
        Its output that holds the logits.
    probabilities : bool
        Give calibrated probabilities, too.
    dtype : dtype
        Of the logits: float16, float32 or float64. Behind a model its own.
    sample : array, path, ..., optional
        Logits to check on, at most 1,024 rows; made up if none are given.

    Returns
    -------
    Checked

    Raises
    ------
    ValueError
        If the rule cannot be said in ONNX, the model in front does not fit, or a check fails.
    OSError
        If a file cannot be read or written.
    """
    model = to_model(decision, probabilities=probabilities, dtype=dtype)
    checked = check(model, decision, sample)
    if behind is not None:
        theirs = load_model(behind)
        appended = append(theirs, decision, output_name=output_name, probabilities=probabilities)
        model = appended.model
        checked = replace(checked, whole_model=check_appended(appended, theirs, decision))
    if model.ByteSize() > LARGEST:
        raise ValueError(
            f"an ONNX file must be smaller than 2 GiB, this one would have {model.ByteSize():,} "
            "bytes: append the decision to the part of the model that gives the logits"
        )
    data = model.SerializeToString(deterministic=True)
    write_atomically(path, lambda file: file.write(data))
    return checked


def load_model(path: str | os.PathLike[str]) -> ModelProto:
    """A user's model, with all its weights.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no ONNX model.
    """
    try:
        model = onnx.load(os.fspath(path))
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ValueError(f"{os.fspath(path)} must be an ONNX model: {error}") from error
    if not model.graph.output:
        raise ValueError(f"{os.fspath(path)} must be an ONNX model with outputs, it has none")
    return model
