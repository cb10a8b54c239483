"""Rule files: one safetensors file, its metadata one key of canonical JSON.

Nothing is executed on load: arrays are arrays, ops are looked up in the closed set of
`calibrate.ops`. One metadata key, since the bytes of a file with several differ from run to run.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy

from calibrate.ops import OPS, Op

FORMAT = 1
"""Version of the file format; a reader refuses a newer one."""

_KEY = "calibrate"


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: all or nothing.

    A link is followed: the file it leads to is replaced, and the link stays.

    Raises
    ------
    OSError
        If the folder cannot be written to, the disk is full, or `path` is there and is no file;
        nothing half-written is left behind.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise OSError(f"{os.fspath(path)} must be a file to be overwritten, it is something else")
    try:
        _write_beside(target, write)
    except OSError as error:
        if error.errno is None:
            raise
        # the temporary name means nothing to the caller
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _write_beside(target: Path, write: Callable[[BinaryIO], object]) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101
        os.replace(temporary, target)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_ops(path: str | os.PathLike[str], ops: tuple[Op, ...], header: dict[str, Any]) -> None:
    """Write ops and a JSON header to `path`.

    Raises
    ------
    OSError
        If `path` cannot be written; nothing half-written is left.
    """
    data = packed_ops(ops, header)
    write_atomically(path, lambda file: file.write(data))


def packed_ops(ops: tuple[Op, ...], header: dict[str, Any]) -> bytes:
    """The content of the file that holds ops and a JSON header."""
    arrays = {
        f"{place}.{name}": np.array(array, order="C")
        for place, op in enumerate(ops)
        for name, array in op.arrays().items()
    }
    content = {
        **header,
        "format": FORMAT,
        "ops": [
            {"op": op.wire_name, "arrays": sorted(op.arrays()), "numbers": op.numbers()}
            for op in ops
        ],
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return bytes(safetensors.numpy.save(arrays, metadata={_KEY: text}))


def load_ops(path: str | os.PathLike[str]) -> tuple[tuple[Op, ...], dict[str, Any]]:
    """Ops and JSON header of a rule file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, not a rule file, of a newer format, or names an unknown op.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"no rule file at {os.fspath(path)}")
    try:
        with safetensors.safe_open(os.fspath(path), framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, TypeError) as error:
        raise ValueError(
            f"{os.fspath(path)} must be a whole safetensors rule file, but reading it failed: "
            f"{error}"
        ) from error
    return _ops(metadata, arrays, path)


def unpacked_ops(data: bytes) -> tuple[tuple[Op, ...], dict[str, Any]]:
    """Ops and JSON header in the content of a rule file.

    Raises
    ------
    ValueError
        As `load_ops` does.
    """
    try:
        arrays = safetensors.numpy.load(data)
        # what was just read is sound: a length, and a header of so many bytes
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise ValueError(
            "the content must be that of a whole safetensors rule file, but reading it failed: "
            f"{error}"
        ) from error
    return _ops(header.get("__metadata__", {}), arrays, "the content")


def _ops(
    metadata: dict[str, str], arrays: dict[str, Any], path: str | os.PathLike[str]
) -> tuple[tuple[Op, ...], dict[str, Any]]:
    if _KEY not in metadata:
        raise ValueError(f"{os.fspath(path)} is a safetensors file, but not a rule of calibrate")
    content = _content(metadata[_KEY], path)
    if content["format"] > FORMAT:
        raise ValueError(
            f"{os.fspath(path)} has format {content['format']}, this version reads up to "
            f"{FORMAT}: upgrade calibrate-multilabel"
        )
    ops = tuple(_op(place, entry, arrays, path) for place, entry in enumerate(content["ops"]))
    return ops, {k: v for k, v in content.items() if k not in ("ops", "format")}


_TYPES: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "ops": list,
    "n_classes": int,
    "class_names": (list, type(None)),
    "class_names_sha256": (str, type(None)),
    "provenance": dict,
}


def _content(text: str, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON content of a rule file, its parts of the types they must have."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{os.fspath(path)}: the rule's content must be JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{os.fspath(path)}: the rule's content must be a JSON object")
    if isinstance(content.get("format"), int) and content["format"] > FORMAT:
        return content
    for name, expected in _TYPES.items():
        if name not in content or not isinstance(content[name], expected):
            raise ValueError(
                f"{os.fspath(path)}: the rule's {name!r} is missing or not what it must be"
            )
    return content


def _op(
    place: int, entry: dict[str, Any], arrays: dict[str, Any], path: str | os.PathLike[str]
) -> Op:
    name = entry.get("op") if isinstance(entry, dict) else None
    known = OPS.get(str(name))
    if known is None:
        raise ValueError(
            f"{os.fspath(path)}: the rule holds the unknown step {name!r}; known are "
            f"{', '.join(sorted(OPS))}"
        )
    try:
        parts = {part: arrays[f"{place}.{part}"] for part in entry["arrays"]}
        return known(**parts, **entry["numbers"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{os.fspath(path)}: the parts of step {name!r} do not fit: {error}"
        ) from error


def is_rule(path: str | os.PathLike[str]) -> bool:
    """Whether a safetensors file says that it is a rule of calibrate."""
    try:
        with safetensors.safe_open(os.fspath(path), framework="np") as file:
            return _KEY in (file.metadata() or {})
    except safetensors.SafetensorError:
        return False
