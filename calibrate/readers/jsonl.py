"""`.jsonl`: the labels of one example a line, as ids or as names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_KEY = "labels"


def open_labels(path: Path, key: str | None = None) -> list[list[int | str]]:
    """Read label lists, one example a line.

    A line is a list (``[3, 17]``, ``["cat", "dog"]``) or an object that has one under `key`. An
    example without labels is ``[]``.

    Parameters
    ----------
    path : Path
        The file, in UTF-8, which is there.
    key : str, optional
        Where the list is when the lines are objects, "labels" by default.

    Returns
    -------
    list of list
        Ids (int) or names (str), never both.

    Raises
    ------
    ValueError
        Naming the line that is blank, is no JSON, or holds something else.
    """
    rows: list[list[int | str]] = []
    kind: type | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"line {number} of {path}"
            labels = _labels(_value(line, where), key or _KEY, where)
            for label in labels:
                if kind is None:
                    kind = type(label)
                elif type(label) is not kind:
                    raise ValueError(
                        f"{where} must keep to {_NAMES[kind]}, as the lines before, got {label!r}"
                    )
            rows.append(labels)
    return rows


_NAMES: dict[type, str] = {int: "ids (integers)", str: "names (strings)"}


def _value(line: bytes, where: str) -> Any:
    if line.isspace():
        raise ValueError(f"{where} must be a list of labels, got a blank line: no labels are []")
    try:
        # A byte order mark, as Windows editors write it, is no part of the first line.
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} must be JSON in UTF-8: {error}") from None


def _labels(value: Any, key: str, where: str) -> list[int | str]:
    if isinstance(value, dict):
        if key not in value:
            raise ValueError(f"{where} must have the key {key!r}, got {sorted(value)}")
        value = value[key]
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list of ids or names, got {value!r}")
    for label in value:
        if type(label) not in _NAMES:  # exactly: True is an int to isinstance
            raise ValueError(f"{where} must hold ids (integers) or names (strings), got {label!r}")
    return value
