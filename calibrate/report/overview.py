"""What all classes and all rows show together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.evaluation.counts import Integers, mean, ratio
from calibrate.evaluation.diagrams import Diagrams

_STEPS = (1, 2, 5)
"""Bounds of groups of counts, times the powers of ten."""

_ROWS_EACH = 10
"""Up to here each number of true labels is a group of its own."""


def pooled_reliability(diagram: Diagrams) -> dict[str, list[float | int]]:
    """The groups of a diagram of one line that have cells, as lists."""
    some = diagram.cells[0] > 0
    columns = {name: values[0][some] for name, values in diagram._asdict().items()}
    return {
        **{name: values.tolist() for name, values in columns.items()},
        "rate": (columns["positives"] / columns["cells"]).tolist(),
    }


def by_frequency(per_class: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Figures of the classes of about the same number of true labels, the rarest first.

    F1 is the mean over the classes; the ratios are those of the sums.
    """
    support = per_class["support"]
    bounds = _bounds(int(support.max(initial=0)))
    groups = []
    for low, high in pairwise(bounds):
        here = (support >= low) & (support < high)
        if here.any():
            total = support[here].sum()
            groups.append(
                {
                    "from": low,
                    "to": high - 1,
                    "n_classes": int(here.sum()),
                    "f_before": _known(mean(per_class["f_before"][here])) if low else None,
                    "f": _known(mean(per_class["f"][here])) if low else None,
                    "count_ratio_before": _known(
                        ratio(per_class["predicted_before"][here].sum(), total)
                    ),
                    "count_ratio": _known(ratio(per_class["predicted"][here].sum(), total)),
                }
            )
    return groups


def labels_of_rows(true: Integers, before: Integers, after: Integers) -> list[dict[str, Any]]:
    """For the rows of about the same number of true labels, how many labels they get.

    Parameters
    ----------
    true, before, after : int64, (n_rows,)
        Numbers of labels.
    """
    most = int(true.max(initial=0))
    bounds = [*range(min(most, _ROWS_EACH) + 1), *(b for b in _bounds(most) if b > _ROWS_EACH)]
    bounds = bounds if bounds[-1] > most else [*bounds, most + 1]
    groups = []
    for low, high in pairwise(bounds):
        here = (true >= low) & (true < high)
        if here.any():
            tenth, middle, ninth = np.quantile(
                after[here], (0.1, 0.5, 0.9), method="inverted_cdf"
            ).tolist()
            groups.append(
                {
                    "from": low,
                    "to": high - 1,
                    "n_rows": int(here.sum()),
                    "true": float(true[here].mean()),
                    "before": float(before[here].mean()),
                    "after": float(after[here].mean()),
                    "after_10_percent": tenth,
                    "after_median": middle,
                    "after_90_percent": ninth,
                }
            )
    return groups


def _bounds(most: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50, ... up to the first beyond `most`."""
    bounds = [0]
    power = 1
    while True:
        for step in _STEPS:
            bounds.append(step * power)
            if bounds[-1] > most:
                return bounds
        power *= 10


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
