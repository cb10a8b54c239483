"""How good calibrated log-odds are, and whether one method's are better than another's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from calibrate.data import labelled_logits
from calibrate.evaluation.ranking import average_precision_by_class, micro_average_precision

N_BINS = 15
STANDARD_ERRORS = 2.0

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.bool_]


@dataclass(frozen=True)
class Figures:
    """Of one method on test rows.

    Attributes
    ----------
    log_loss : float
        Per row, in nats.
    ece : float
        Root of the debiased squared calibration error of all cells, with the sign of the square:
        at or below 0 where nothing but noise is left.
    count_ratio : float
        Sum of all probabilities over the number of labels.
    micro_ap, macro_ap : float
        Average precision of all cells, and mean over the classes that have test labels.
    """

    log_loss: float
    ece: float
    count_ratio: float
    micro_ap: float
    macro_ap: float

    @classmethod
    def of(cls, log_odds: Floats, labels: Labels) -> Figures:
        p = expit(log_odds.astype(np.float64))
        squared = debiased_squared_error(p.ravel(), labels.ravel())
        rows = labelled_logits(log_odds.astype(np.float32), labels)
        return cls(
            float(row_losses(log_odds, labels).mean()),
            math.copysign(math.sqrt(abs(squared)), squared),
            float(p.sum() / labels.sum()),
            micro_average_precision(rows),
            float(np.nanmean(average_precision_by_class(rows))),
        )


def row_losses(log_odds: Floats, labels: Labels) -> NDArray[np.float64]:
    """Log loss of each row, summed over its classes, in nats."""
    z = log_odds.astype(np.float64)
    return np.logaddexp(0, np.where(labels, -z, z)).sum(axis=1)


def debiased_squared_error(p: Floats, y: Labels) -> float:
    """``sum n_b / n ((mean p - rate)^2 - rate (1 - rate) / (n_b - 1))`` over 15 bins of cells.

    The bins hold equal parts of ``sum p (1 - p)``. Equal numbers of cells would put all but the
    last one where nothing happens, and bins made by the labels would bring back the bias that is
    taken off.
    """
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order].astype(np.float64)
    information = np.cumsum(p * (1 - p))
    place = np.minimum((N_BINS * information / information[-1]).astype(np.int64), N_BINS - 1)
    n, in_p, in_y = (np.bincount(place, values, N_BINS) for values in (np.ones_like(p), p, y))
    n, in_p, in_y = (values[n > 1] for values in (n, in_p, in_y))
    rate = in_y / n
    return float((n * ((in_p / n - rate) ** 2 - rate * (1 - rate) / (n - 1))).sum() / len(p))


@dataclass(frozen=True)
class Difference:
    """Log loss per row of ours minus that of another method, on the same rows.

    Attributes
    ----------
    mean, standard_error : float
        Paired over rows.
    verdict : str
        ``best`` or ``worse`` if the difference is beyond two standard errors, else ``tied``.
    """

    mean: float
    standard_error: float
    verdict: str

    @classmethod
    def between(cls, ours: Floats, other: Floats) -> Difference:
        """Of the losses of the rows."""
        differences = ours - other
        mean = float(differences.mean())
        error = float(differences.std(ddof=1) / math.sqrt(len(differences)))
        if abs(mean) <= STANDARD_ERRORS * error:
            return cls(mean, error, "tied")
        return cls(mean, error, "best" if mean < 0 else "worse")
