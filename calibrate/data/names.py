"""Class names: as many as there are classes, and no two alike."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

from calibrate import readers


def as_class_names(names: Any, n_classes: int | None = None) -> tuple[str, ...] | None:
    """Checked class names from a sequence of strings or the path of a file of them.

    Parameters
    ----------
    names : sequence of str, path of a ``.txt`` or ``.json`` file, or None
    n_classes : int or None
        How many there must be.

    Returns
    -------
    tuple of str, or None

    Raises
    ------
    ValueError
        If names repeat, are not strings, or are not `n_classes` many.

    Examples
    --------
    >>> as_class_names(["rock", "jazz"], 2)
    ('rock', 'jazz')
    """
    if names is None:
        return None
    if isinstance(names, str | os.PathLike):
        found = readers.read_class_names(names)
    elif isinstance(names, Iterable):
        found = tuple(names)
    else:
        raise TypeError(f"class names must be a sequence of strings, got {type(names).__name__}")
    for place, name in enumerate(found):
        if not isinstance(name, str):
            raise TypeError(f"class names must be strings, got {name!r} for class {place}")
    if n_classes is not None and len(found) != n_classes:
        raise ValueError(
            f"class names must be as many as the classes, got {len(found)} names "
            f"for {n_classes} classes"
        )
    try:
        "".join(found).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"class names must be text that has a form in UTF-8: {error}") from error
    repeated = [name for name, times in Counter(found).items() if times > 1]
    if repeated:
        name = repeated[0]
        raise ValueError(
            f"class names must differ, got {name!r} for classes "
            f"{', '.join(str(i) for i, other in enumerate(found) if other == name)}"
        )
    return tuple(str(name) for name in found)


def names_hash(names: tuple[str, ...] | None) -> str | None:
    """SHA-256 of the class names in their order, or None without names."""
    if names is None:
        return None
    return hashlib.sha256(json.dumps(names, ensure_ascii=True).encode()).hexdigest()


def describe_class(index: int, names: tuple[str, ...] | None) -> str:
    """``class 2`` or ``class 2 ('jazz')``, for messages."""
    return f"class {index}" if names is None else f"class {index} ({names[index]!r})"
