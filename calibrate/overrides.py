"""Decisions about single classes that people make themselves, by class name, pattern or number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral, Real
from typing import Any

import numpy as np

from calibrate.data.names import describe_class


@dataclass(frozen=True)
class Override:
    """What is to be done with some classes; made by the functions and names below.

    Attributes
    ----------
    threshold : float or None
        In calibrated logits; ``-inf`` is always, ``inf`` never.
    min_precision, min_recall : float or None
        A bound that the fitted threshold must keep on the fitting rows.
    """

    threshold: float | None = None
    min_precision: float | None = None
    min_recall: float | None = None

    @property
    def is_bound(self) -> bool:
        """Whether it leaves the threshold to the fit, within a bound."""
        return self.threshold is None

    def as_json(self) -> Any:
        """The same as `from_json` takes it."""
        if self == always:
            return "always"
        if self == never:
            return "never"
        parts = {name: getattr(self, name) for name in _KEYS if name != "probability"}
        return {name: value for name, value in parts.items() if value is not None}


always = Override(threshold=-math.inf)
"""Predict the class for every row (not for a cell without a score)."""

never = Override(threshold=math.inf)
"""Predict the class for no row."""

_KEYS = ("threshold", "probability", "min_precision", "min_recall")


def at_threshold(logit: float) -> Override:
    """Predict where the calibrated logit is at least `logit`.

    Raises
    ------
    TypeError, ValueError
        If it is not a finite number.
    """
    value = _number("threshold", logit)
    if not math.isfinite(value):
        raise ValueError(f"threshold must be finite, got {logit}: take always or never")
    return Override(threshold=value)


def at_probability(probability: float) -> Override:
    """Predict where the calibrated probability is at least so much.

    Raises
    ------
    TypeError, ValueError
        If it is not a number above 0 and below 1.
    """
    value = _number("probability", probability)
    if not 0 < value < 1:
        raise ValueError(
            f"probability must be above 0 and below 1, got {probability}: take always or never"
        )
    return Override(threshold=math.log(value) - math.log1p(-value))


def with_min_precision(precision: float) -> Override:
    """Take the best threshold whose precision on the fitting rows is at least so much.

    Raises
    ------
    TypeError, ValueError
        If it is not a number above 0 and at most 1.
    """
    return Override(min_precision=_share("min_precision", precision))


def with_min_recall(recall: float) -> Override:
    """Take the best threshold whose recall on the fitting rows is at least so much.

    Raises
    ------
    TypeError, ValueError
        If it is not a number above 0 and at most 1.
    """
    return Override(min_recall=_share("min_recall", recall))


def from_json(value: Any) -> Override:
    """An override from its form in a file.

    Parameters
    ----------
    value : str or dict
        ``"always"``, ``"never"``, or a dict of exactly one of ``threshold`` (in calibrated logits),
        ``probability``, ``min_precision``, ``min_recall``.

    Raises
    ------
    TypeError, ValueError
        If it is anything else.

    Examples
    --------
    >>> from_json({"probability": 0.5})
    Override(threshold=0.0, min_precision=None, min_recall=None)
    """
    words = {"always": always, "never": never}
    if isinstance(value, str) and value in words:
        return words[value]
    makers = dict(
        zip(_KEYS, (at_threshold, at_probability, with_min_precision, with_min_recall), strict=True)
    )
    if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in makers:
        raise ValueError(
            f'an override must be "always", "never" or one of {", ".join(_KEYS)} with its number, '
            f"got {value!r}"
        )
    ((name, number),) = value.items()
    return makers[name](number)


def matched(
    overrides: Mapping[Any, Override], n_classes: int, class_names: tuple[str, ...] | None
) -> dict[int, Override]:
    """The override of each class that has one.

    A key is a class number, a class name, or a pattern of names as in a shell (``"rock*"``). A name
    that is there is that class alone, even if it reads as a pattern. Where classes have no names, a
    number may come as text. Where several keys match a class, the last one holds.

    Raises
    ------
    TypeError
        If a key is neither a number nor text, or a value is no `Override`.
    ValueError
        If a key matches no class.

    Examples
    --------
    >>> found = matched({"rock*": never, "rock 2": always}, 3, ("jazz", "rock 1", "rock 2"))
    >>> found == {1: never, 2: always}
    True
    """
    found: dict[int, Override] = {}
    for key, override in overrides.items():
        if not isinstance(override, Override):
            raise TypeError(
                f"the override of {key!r} must be made by calibrate.overrides, got {override!r}"
            )
        found.update(dict.fromkeys(_classes_of(key, n_classes, class_names), override))
    return dict(sorted(found.items()))


def _classes_of(key: Any, n_classes: int, class_names: tuple[str, ...] | None) -> list[int]:
    if class_names is None and isinstance(key, str) and key.isdecimal():
        key = int(key)
    if isinstance(key, Integral) and not isinstance(key, bool):
        place = int(key)
        if not 0 <= place < n_classes:
            raise ValueError(f"overridden classes must be from 0 to {n_classes - 1}, got {key}")
        return [place]
    if not isinstance(key, str):
        raise TypeError(f"an overridden class must be a number, a name or a pattern, got {key!r}")
    if class_names is None:
        raise ValueError(f"classes have no names, so that {key!r} matches none: give class names")
    if key in class_names:
        return [class_names.index(key)]
    places = [place for place, name in enumerate(class_names) if fnmatchcase(name, key)]
    if not places:
        raise ValueError(f"no class is named {key!r} or like it, as {_some_names(class_names)} are")
    return places


def _some_names(class_names: tuple[str, ...]) -> str:
    return " and ".join(describe_class(i, class_names) for i in range(min(2, len(class_names))))


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real | np.number):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def _share(name: str, value: Any) -> float:
    number = _number(name, value)
    if not 0 < number <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    return number
