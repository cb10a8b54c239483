"""What a cut is worth: plain numpy functions of ``(tp, fp, fn, tn)``, higher is better.

A metric is any callable that takes four float64 arrays of one shape and returns an array of that
shape; ``lambda tp, fp, fn, tn: tp - 5 * fp`` is one. It never sees logits and is never compiled.

The metrics made here also say that they cannot fall when a negative leaves the predictions
(``positives_suffice``). The best cut then ends on a positive, so that the sweeps look only at the
scores of positives. For a callable that does not say so, every distinct score is tried. And they
say that they cannot fall when a positive joins the predictions (``rises_with_tp``): then no cut
below a score can be worth more than all positives with the false positives found down to it, and
the sweeps need not look deeper than where that is too little.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
Metric = Callable[[Counts, Counts, Counts, Counts], Counts]


def check_metric(metric: object) -> None:
    """Raise TypeError unless `metric` can be called with counts."""
    if not callable(metric) or metric in _FACTORIES:
        made = " made with its number, as in f_beta(1)" if callable(metric) else ""
        raise TypeError(f"metric must be a function of (tp, fp, fn, tn){made}, got {metric!r}")


def beta_of(metric: object) -> float | None:
    """The beta of the F-measure that puts all cuts in the order in which `metric` does, or None.

    The Jaccard index J is ``F1 / (2 - F1)``, which rises with F1.
    """
    if isinstance(metric, _Jaccard):
        return 1.0
    return metric.beta if isinstance(metric, _FBeta) else None


def _ratio(top: Counts, bottom: Counts) -> Counts:
    """``top / bottom``, and 0 where both are 0."""
    return np.divide(top, bottom, out=np.zeros(np.shape(bottom)), where=np.asarray(bottom) != 0)


class CutMetric(ABC):
    """A metric that falls with false positives and rises with true ones, the other held fixed."""

    positives_suffice: ClassVar[bool] = True
    rises_with_tp: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> Counts:
        """Value of cuts with these counts, same shape."""


class RatioMetric(CutMetric):
    """A ratio of sums: ``a tp / (b tp + c predicted + d positives)``, 0 where nothing is below."""

    @property
    @abstractmethod
    def weights(self) -> tuple[float, float, float, float]:
        """``a, b, c, d``."""


@dataclass(frozen=True, repr=False)
class ConstrainedMetric(CutMetric):
    """A metric that is ``-inf`` where a cut breaks a bound.

    It keeps the promises of a `CutMetric`, since what is bounded keeps them: neither can fall when
    a negative leaves the predictions or a positive joins them.

    Attributes
    ----------
    metric : CutMetric
        Its value where the bound holds.
    constrained : CutMetric
        The quantity that is bounded, and
    constrained_name : str
        its name.
    bound : float
        What `constrained` must reach.
    said : str
        How it was made, for its repr.
    """

    metric: CutMetric
    constrained: CutMetric
    constrained_name: str
    bound: float
    said: str

    def __repr__(self) -> str:
        return self.said

    def __call__(self, tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> Counts:
        """Value of cuts with these counts, same shape."""
        kept = self.constrained(tp, fp, fn, tn) >= self.bound
        return np.where(kept, self.metric(tp, fp, fn, tn), -np.inf)


@dataclass(frozen=True, repr=False)
class _FBeta(RatioMetric):
    beta: float

    def __repr__(self) -> str:
        return f"f_beta({self.beta:g})"

    def __call__(self, tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> Counts:
        square = self.beta**2
        return _ratio((1 + square) * tp, (1 + square) * tp + square * fn + fp)

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """``1 + beta^2`` above, one for each prediction and ``beta^2`` for each positive below."""
        return 1 + self.beta**2, 0.0, 1.0, self.beta**2


def f_beta(beta: float = 1.0) -> CutMetric:
    """F-measure: recall counts `beta` times as much as precision (van Rijsbergen, 1979, ch. 7).

    Parameters
    ----------
    beta : float
        Positive and finite.

    Returns
    -------
    CutMetric
        ``(1 + beta^2) tp / ((1 + beta^2) tp + beta^2 fn + fp)``, 0 where nothing is true or
        predicted.

    Raises
    ------
    ValueError
        If `beta` is not positive and finite.

    Examples
    --------
    >>> import numpy as np
    >>> f_beta(1)(np.array([2.0]), np.array([1.0]), np.array([1.0]), np.array([6.0]))
    array([0.66666667])
    """
    if not 0 < beta < np.inf:
        raise ValueError(f"beta must be positive and finite, got {beta}")
    return _FBeta(float(beta))


@dataclass(frozen=True, repr=False)
class _Jaccard(RatioMetric):
    def __repr__(self) -> str:
        return "jaccard"

    def __call__(self, tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> Counts:
        return _ratio(tp, tp + fp + fn)

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """Predictions and positives below, and what they share not twice."""
        return 1.0, -1.0, 1.0, 1.0


jaccard = _Jaccard()
"""Intersection over union, ``tp / (tp + fp + fn)``; 0 where nothing is true or predicted."""


@dataclass(frozen=True, repr=False)
class _BalancedAccuracy(CutMetric):
    def __repr__(self) -> str:
        return "balanced_accuracy"

    def __call__(self, tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> Counts:
        return 0.5 * (_ratio(tp, tp + fn) + _ratio(tn, tn + fp))


balanced_accuracy = _BalancedAccuracy()
"""Mean of recall and specificity; its best cut is Youden's."""


@dataclass(frozen=True, repr=False)
class _MCC(CutMetric):
    def __repr__(self) -> str:
        return "mcc"

    def __call__(self, tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> Counts:
        # the square root is taken of each factor, since the product of the four overflows no
        # float64 but loses digits that ties depend on
        scale = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
        return _ratio(tp * tn - fp * fn, scale)


mcc = _MCC()
"""Matthews correlation coefficient (Matthews, 1975); 0 where a margin is empty.

At fixed true positives it cannot rise with the false positives: with k = tp + fp of n predicted,
its slope in k has the sign of ``2 tp k - P k - n tp``, and ``tp <= P``, ``k <= n``. At fixed false
positives it cannot fall with the true ones: swapping the classes and the decisions changes neither
its value nor the first statement, which then is the second.
"""


@dataclass(frozen=True, repr=False)
class _Cost(CutMetric):
    false_positive: float
    false_negative: float

    def __repr__(self) -> str:
        return f"cost({self.false_positive:g}, {self.false_negative:g})"

    def __call__(self, tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> Counts:
        return -(self.false_positive * fp + self.false_negative * fn)


def cost(false_positive: float, false_negative: float) -> CutMetric:
    """Minus the total cost of the errors (Elkan, 2001, section 1).

    Parameters
    ----------
    false_positive, false_negative : float
        Cost of one error of each kind, not negative, not both 0.

    Raises
    ------
    ValueError
        If a cost is negative or not finite, or both are 0.

    Examples
    --------
    >>> import numpy as np
    >>> cost(1, 10)(np.array([2.0]), np.array([3.0]), np.array([1.0]), np.array([4.0]))
    array([-13.])
    """
    for value in (false_positive, false_negative):
        if not 0 <= value < np.inf:
            raise ValueError(f"a cost must be finite and not negative, got {value}")
    if false_positive == 0 and false_negative == 0:
        raise ValueError("one of the two costs must be positive, got 0 and 0")
    return _Cost(float(false_positive), float(false_negative))


class _Precision(RatioMetric):
    def __repr__(self) -> str:
        return "precision"

    def __call__(self, tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> Counts:
        return _ratio(tp, tp + fp)

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """The predictions below."""
        return 1.0, 0.0, 1.0, 0.0


class _Recall(RatioMetric):
    def __repr__(self) -> str:
        return "recall"

    def __call__(self, tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> Counts:
        return _ratio(tp, tp + fn)

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """The positives below."""
        return 1.0, 0.0, 0.0, 1.0


precision = _Precision()
"""Share of the predictions that is true, ``tp / (tp + fp)``; 0 where nothing is predicted.

By itself it is highest where almost nothing is predicted: for rules with a budget.
"""

recall = _Recall()
"""Share of the positives that is predicted, ``tp / (tp + fn)``; 0 where nothing is true.

By itself it is highest where everything is predicted: for rules with a budget.
"""


def _check_bound(name: str, value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    return float(value)


def precision_at_recall(min_recall: float) -> ConstrainedMetric:
    """Precision where recall is at least `min_recall`, ``-inf`` elsewhere.

    Raises
    ------
    ValueError
        If `min_recall` is not in (0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> tp, fp = np.array([1.0, 2.0]), np.array([0.0, 2.0])
    >>> precision_at_recall(0.9)(tp, fp, 2 - tp, 8 - fp)
    array([-inf,  0.5])
    """
    bound = _check_bound("min_recall", min_recall)
    return ConstrainedMetric(precision, recall, "recall", bound, f"precision_at_recall({bound:g})")


def recall_at_precision(min_precision: float) -> ConstrainedMetric:
    """Recall where precision is at least `min_precision`, ``-inf`` elsewhere.

    Raises
    ------
    ValueError
        If `min_precision` is not in (0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> tp, fp = np.array([1.0, 2.0]), np.array([0.0, 2.0])
    >>> recall_at_precision(0.8)(tp, fp, 2 - tp, 8 - fp)
    array([ 0.5, -inf])
    """
    bound = _check_bound("min_precision", min_precision)
    return ConstrainedMetric(
        recall, precision, "precision", bound, f"recall_at_precision({bound:g})"
    )


def constrained(
    metric: CutMetric, *, min_precision: float | None = None, min_recall: float | None = None
) -> ConstrainedMetric:
    """`metric` where precision or recall is at least so much, ``-inf`` elsewhere.

    Parameters
    ----------
    metric : CutMetric
    min_precision, min_recall : float, optional
        One of the two, above 0 and at most 1.

    Raises
    ------
    TypeError
        If the metric is none of those made here, or not exactly one bound is given.
    ValueError
        If the bound is not in (0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> tp, fp = np.array([1.0, 2.0]), np.array([0.0, 2.0])
    >>> constrained(f_beta(1), min_precision=0.8)(tp, fp, 2 - tp, 8 - fp)
    array([0.66666667,       -inf])
    """
    if not isinstance(metric, CutMetric):
        raise TypeError(f"a metric with a bound must be one of calibrate.metrics, got {metric!r}")
    bounds: list[tuple[str, CutMetric, float]] = []
    if min_precision is not None:
        bounds.append(("precision", precision, min_precision))
    if min_recall is not None:
        bounds.append(("recall", recall, min_recall))
    if len(bounds) != 1:
        raise TypeError("give exactly one of min_precision and min_recall")
    name, quantity, value = bounds[0]
    bound = _check_bound(f"min_{name}", value)
    said = f"constrained({metric!r}, min_{name}={bound:g})"
    return ConstrainedMetric(metric, quantity, name, bound, said)


_FACTORIES = (f_beta, cost, precision_at_recall, recall_at_precision, constrained)
