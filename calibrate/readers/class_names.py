"""Names of the classes: a `.txt` file with one a line, or a `.json` list."""

from __future__ import annotations

import json
from pathlib import Path


def read_text(path: Path) -> tuple[str, ...]:
    """Read one name a line.

    Parameters
    ----------
    path : Path
        The file, in UTF-8, which is there.

    Returns
    -------
    tuple of str
        Names as they stand, blanks and all; one empty line at the end is not a name.

    Raises
    ------
    ValueError
        If the file is not UTF-8.
    """
    # Not splitlines, which also breaks a name at characters that only look like a line's end.
    lines = _decoded(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    return tuple(line.removesuffix("\r") for line in lines)


def read_json(path: Path) -> tuple[str, ...]:
    """Read a JSON list of names.

    Parameters
    ----------
    path : Path
        The file, in UTF-8, which is there.

    Returns
    -------
    tuple of str
        Names as they stand.

    Raises
    ------
    ValueError
        If the file is no list of strings.
    """
    try:
        names = json.loads(_decoded(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} must be a JSON list of class names: {error}") from None
    if not isinstance(names, list):
        raise ValueError(f"{path} must be a JSON list of class names, got a {type(names).__name__}")
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise ValueError(f"{path} must hold strings only, got {name!r} at class {index}")
    return tuple(names)


def _decoded(path: Path) -> str:
    try:
        # A byte order mark, as Windows editors write it, is no part of the first name.
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8: {error}") from None
