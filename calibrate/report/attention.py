"""What in a rule is still doubtful, and for which classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEW_POSITIVES = 20
"""A threshold that rests on fewer is mostly luck."""

_SAID_ANEW = ("no_positives",)
"""Findings of the fit that are found here from the counts."""


@dataclass(frozen=True)
class Doubt:
    """Something to look at.

    Attributes
    ----------
    code : str
        A short name that does not change: ``no_positives``, ``few_positives``, ``miscalibrated``,
        ``never_predicted``, or the code of a finding of the fit, such as ``infeasible`` or
        ``faded_weights``.
    message : str
        A sentence.
    classes : tuple of int
        Empty where it concerns no class in particular.
    """

    code: str
    message: str
    classes: tuple[int, ...]


def attention(
    provenance: Mapping[str, Any], per_class: Mapping[str, NDArray[Any]], rate: float
) -> Iterator[Doubt]:
    """Everything that needs attention, what concerns the labels first.

    Parameters
    ----------
    provenance : mapping
        Of the decision.
    per_class : mapping
        Columns of the class table.
    rate : float
        False discovery rate at which classes are called miscalibrated.
    """
    positives = per_class["rule_positives"]
    known = not np.isnan(positives).any()
    positives = positives if known else per_class["support"]
    rows = "that the rule was fitted to" if known else "judged here"
    yield from _doubt("no_positives", f"have no positives in the rows {rows}", positives == 0)
    yield from _doubt(
        "few_positives",
        f"have fewer than {FEW_POSITIVES} positives in the rows {rows}: what is decided for them "
        "rests on luck",
        (positives > 0) & (positives < FEW_POSITIVES),
    )
    yield from _doubt(
        "miscalibrated",
        f"have probabilities that are surely wrong here (false discovery rate {rate:.0%})",
        per_class["cox_q"] <= rate,
    )
    yield from _doubt(
        "never_predicted",
        "have true labels here and are never predicted",
        (per_class["support"] > 0) & (per_class["predicted"] == 0),
    )
    for part in provenance.get("pipeline", ()):
        for finding in part["findings"]:
            if finding["code"] not in _SAID_ANEW:
                yield Doubt(
                    finding["code"],
                    f"{part['step']}: {finding['message']}",
                    tuple(finding["classes"]),
                )


def _doubt(code: str, message: str, where: NDArray[np.bool_]) -> Iterator[Doubt]:
    classes = tuple(np.flatnonzero(where).tolist())
    if classes:
        yield Doubt(code, f"{len(classes):,} of {len(where):,} classes {message}", classes)
