"""A threshold for each class below which few of its positives fall, on new rows too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from calibrate import ops
from calibrate.base import DecisionRule, Fitted, Report, find, require_positives
from calibrate.statistics import Evidence, positive_scores_by_class


@dataclass(frozen=True, eq=False)
class RecallReport(Report):
    """What is promised, and for how many classes.

    Attributes
    ----------
    recall : float
    confidence : float or None
        How likely the promise is kept over the draw of the fitting rows; None: on average over it.
    simultaneous : bool
        Whether `confidence` is that all promises are kept together.
    positives : int64, (n_classes,)
        Of the fitting rows.
    missed : int64, (n_classes,)
        One more than the fitting positives that may fall below the threshold; 0 where no promise
        can be made.
    """

    recall: float
    confidence: float | None
    simultaneous: bool
    positives: NDArray[np.int64]
    missed: NDArray[np.int64]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "recall": self.recall,
            "confidence": self.confidence,
            "simultaneous": self.simultaneous,
            "n_certified": int((self.missed > 0).sum()),
            "positives": self.positives.tolist(),
            "missed": self.missed.tolist(),
        }

    def sentences(self) -> list[str]:
        """The same in words, without full stops."""
        certified = self.missed > 0
        promise = f"a positive of a new row is found with probability {self.recall!r} or more"
        if self.confidence is not None:
            all_of_them = " for all classes together" if self.simultaneous else " for each class"
            promise = (
                f"recall on new rows is {self.recall!r} or more, with confidence "
                f"{self.confidence:g}{all_of_them}"
            )
        said = [f"{promise}: {certified.sum()} of {len(certified)} classes"]
        if certified.any():
            share = 1 - (self.missed / (self.positives + 1))[certified]
            said.append(
                f"expected recall of these is {np.median(share):.4g} in the middle, at most "
                f"{share.max():.4g}"
            )
        return said


class RecallGuarantee(DecisionRule):
    """For each class the highest threshold that finds its positives so often on new rows.

    Positives of a class that are exchangeable, those of the fitting rows and that of a new row,
    come in any order equally likely. So a new one falls below the l-th lowest of n with probability
    ``l / (n + 1)``; the largest l is taken for which that is at most ``1 - recall``. No assumption
    is made of the network, nor of how classes depend on each other. Calibrators before it change
    nothing of the promise if they were fitted to other rows; per class they change no label either.

    Parameters
    ----------
    recall : float
        Above 0 and below 1.
    confidence : float, optional
        By default the promise holds on average over the draw of the fitting rows. With a
        confidence, above 0 and below 1, it holds for the rows that were drawn, with that
        probability: the recall of the threshold follows Beta(n + 1 - l, l), and l is taken lower.
    simultaneous : bool
        Whether the confidence is that of all classes together: each is then given an equal share of
        the doubt.

    Attributes
    ----------
    report_ : RecallReport

    Notes
    -----
    The threshold is a score itself, not midway to the next. Fewer than ``1 / (1 - recall) - 1``
    positives can promise nothing (with a confidence, more are needed): such a class is predicted
    wherever it has a score, the only decision that keeps the promise, and is listed with how many
    positives it needs. So is a class of which a positive without a score would have to be found.
    One pass over the rows.

    Raises
    ------
    TypeError, ValueError
        On fit, if an option is not what it must be, or no class has a positive.

    References
    ----------
    Vovk (2012), Conditional validity of inductive conformal predictors (label-conditional, and the
    law of the recall given the fitting rows); Sadinle, Lei and Wasserman (2019), Least ambiguous
    set-valued classifiers with bounded error levels.

    Examples
    --------
    >>> import numpy as np
    >>> logits, labels = np.arange(20.0)[:, None], np.ones((20, 1))
    >>> rule = RecallGuarantee(0.9).fit(logits, labels)  # floor(0.1 * 21) = 2: the second lowest
    >>> rule.op_.threshold
    array([1.], dtype=float32)
    """

    needs_rows_apart: ClassVar[bool] = True

    def __init__(
        self, recall: float = 0.9, confidence: float | None = None, simultaneous: bool = False
    ) -> None:
        self.recall = recall
        self.confidence = confidence
        self.simultaneous = simultaneous

    def _fit(self, evidence: Evidence) -> Fitted:
        recall = ops.number(self.recall, "recall", above=0, below=1)
        doubt = None
        if self.confidence is not None:
            confidence = ops.number(self.confidence, "confidence", above=0, below=1)
            doubt = 1 - confidence
            if self.simultaneous:
                doubt /= evidence.n_classes
        elif self.simultaneous:
            raise ValueError("simultaneous needs a confidence, that all promises are kept together")
        require_positives(evidence)
        indptr, scores = positive_scores_by_class(evidence.rows)
        positives = np.diff(indptr)
        missed = _by_count(positives, recall, doubt)
        # where none may be missed, the place is that of another class and the score is not used
        place = np.minimum(indptr[:-1] + np.maximum(missed, 1) - 1, len(scores) - 1)
        lowest = scores[place]
        missed[np.isneginf(lowest)] = 0
        threshold = np.where(missed > 0, lowest, ops.LOWEST)
        needed = _fewest_positives(recall, doubt)
        findings = find(
            "uncertified",
            f"have too few positives to promise recall {recall!r}, or positives without a score: "
            "they are predicted wherever they have a score; the values are the positives needed",
            missed == 0,
            np.full(len(missed), needed),
        )
        report = RecallReport(
            recall,
            None if self.confidence is None else float(self.confidence),
            bool(self.simultaneous),
            positives,
            missed,
        )
        return Fitted(ops.Threshold(threshold), findings, report)


def _by_count(
    positives: NDArray[np.int64], recall: float, doubt: float | None
) -> NDArray[np.int64]:
    """`most_missed` of the number of positives of each class."""
    counts, where = np.unique(positives, return_inverse=True)
    found = [most_missed(int(n), recall, doubt) for n in counts]
    return np.asarray(found, dtype=np.int64)[where]


def most_missed(n: int, recall: float, doubt: float | None = None) -> int:
    """The largest l for which the l-th lowest of `n` positives is a threshold that may be promised.

    Parameters
    ----------
    n : int
    recall : float
    doubt : float, optional
        One less the confidence; without it the promise holds on average.

    Returns
    -------
    int
        0 where there is none.
    """
    if doubt is None:
        # by the decimal that was asked for: (1 - 0.9) * 10 is below 1 in floats
        return math.floor((1 - Fraction(repr(float(recall)))) * (n + 1))
    miss = 1 - recall
    # P(Beta(n + 1 - l, l) <= recall) = P(Binomial(n, miss) <= l - 1), which rises with l
    least = int(binom.ppf(doubt, n, miss))
    while least > 0 and binom.cdf(least - 1, n, miss) > doubt:
        least -= 1
    while least <= n and binom.cdf(least, n, miss) <= doubt:
        least += 1
    return min(least, n)


def _fewest_positives(recall: float, doubt: float | None) -> int:
    """How many positives there must be for any promise."""
    if doubt is None:
        return math.ceil(1 / (1 - Fraction(repr(float(recall))))) - 1
    n = math.ceil(math.log(doubt) / math.log(recall))
    return n if most_missed(n, recall, doubt) > 0 else n + 1
