"""Logit adjustment: one number between "is it likely?" and "is it likelier than usual?"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.base import Calibrator, Finding, Fitted, find, numbers_per_class
from calibrate.ops import Affine, number
from calibrate.statistics import Evidence


class LogitAdjustment(Calibrator):
    """``z - tau logit(prior)``: logits with a part of the class's own frequency taken off.

    On calibrated logits a cut at 0 then predicts what has ``logit P > tau logit(prior)``. With
    ``tau=0`` that is a probability above one half; with ``tau=1`` one above the prevalence, the
    rule of highest balanced accuracy, which is also the cut at one half of a network trained with
    ``pos_weight = negatives / positives``. What lies between is a family of rules with one number
    to choose, where thresholds of their own for thousands of classes would rest on luck.

    **What comes out is a score, not the logit of a probability, unless tau is 0**: cut it, rank it,
    but do not sum it or read it as a probability.

    Parameters
    ----------
    prior : float or array, (n_classes,), optional
        Prevalences, above 0 and below 1. None takes those of the fitting rows, cells without a
        score left out.
    tau : float
        At least 0.

    Raises
    ------
    TypeError
        On fit, if the arguments are no numbers.
    ValueError
        On fit, if one is out of its range, or there are not as many priors as classes.

    Notes
    -----
    A class without positives or without negatives in the fitting rows gets half a row more of both;
    it is listed in ``findings_``.

    References
    ----------
    Menon, Jayasumana, Rawat, Jain, Veit and Kumar (2021), Long-tail learning via logit adjustment,
    section 4, there for one label per row.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.array([[0.0, -2.0], [1.0, -4.0]])
    >>> adjusted = LogitAdjustment([0.5, 0.05]).fit(logits, np.array([[1, 0], [1, 0]]))
    >>> adjusted.transform(logits).round(3)
    array([[ 0.   ,  0.944],
           [ 1.   , -1.056]], dtype=float32)
    """

    def __init__(self, prior: Any = None, tau: float = 1.0) -> None:
        self.prior = prior
        self.tau = tau

    def _fit(self, evidence: Evidence) -> Fitted:
        tau = number(self.tau, "tau")
        findings: tuple[Finding, ...] = ()
        if self.prior is None:
            prior, findings = _prevalences(evidence)
        else:
            prior = numbers_per_class(self.prior, "prior", evidence.n_classes, below=1.0)
        # 0 is added so that no prior of one half gives -0, which would be saved
        shift = -tau * (np.log(prior) - np.log1p(-prior)) + 0.0
        return Fitted(Affine(np.array(1.0, np.float32), shift.astype(np.float32)), findings)


def _prevalences(evidence: Evidence) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """Shares of positives among the cells that have a score, above 0 and below 1."""
    histogram = evidence.histogram
    positives, cells = histogram.positives.sum(axis=1), histogram.counts.sum(axis=1)
    one_sided = (positives == 0) | (positives == cells)
    half = 0.5 * one_sided
    return (positives + half) / (cells + 2 * half), find(
        "one_sided",
        "have no positives or no negatives: their prior is that of half a row more of both",
        one_sided,
    )
