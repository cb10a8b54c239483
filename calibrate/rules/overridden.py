"""The thresholds of another rule, but for what people decide themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate import ops
from calibrate.base import DecisionRule, Finding, Fitted, find
from calibrate.metrics import CutMetric, constrained, f_beta
from calibrate.overrides import Override, matched
from calibrate.statistics import Evidence


class Overridden(DecisionRule):
    """The thresholds of another rule, with classes set by hand and bounds on the labels of a row.

    Parameters
    ----------
    rule : DecisionRule
        One that makes thresholds.
    classes : mapping of int or str to Override, optional
        By class number, class name or pattern of names (``"rock*"``), see
        `calibrate.overrides.matched`; the values are made by `calibrate.overrides`. Where a
        precision or recall is demanded, the threshold is the best one, by the metric of `rule` (F1
        if it has none), that keeps the bound on the fitting rows.
    min_labels, max_labels : int, int or None
        Bounds on the labels of a row; labels are added or left out in the order of how far their
        logits lie above their thresholds. What is never predicted is not added either.

    Notes
    -----
    Thresholds are those of calibrated logits, since they are what the rule gets. A class that keeps
    its bound at no cut is never predicted, and listed in ``findings_`` with the best it reaches. A
    guarantee does not survive: with any override, or a bound on the labels of a row, the rule's
    promise is withdrawn, and ``findings_`` says so in the place of its report.

    Raises
    ------
    TypeError
        On fit, if `rule` makes no thresholds, or a key or a value is not what it must be.
    ValueError
        On fit, if a key matches no class, or the bounds are not ``0 <= min_labels <= max_labels``.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from calibrate import FixedThreshold, overrides
    >>> logits, labels = np.array([[2.0, -1.0, 0.5]]), np.array([[1, 0, 1]])
    >>> rule = Overridden(FixedThreshold(), {"spam": overrides.never, 1: overrides.always})
    >>> with warnings.catch_warnings():  # it says how many are given by hand
    ...     warnings.simplefilter("ignore")
    ...     fitted = rule.fit(logits, labels, class_names=["spam", "news", "sport"])
    >>> fitted.predict(logits).toarray()
    array([[False,  True,  True]])
    """

    def __init__(
        self,
        rule: DecisionRule,
        classes: Mapping[Any, Override] | None = None,
        min_labels: int = 0,
        max_labels: int | None = None,
    ) -> None:
        self.rule = rule
        self.classes = classes
        self.min_labels = min_labels
        self.max_labels = max_labels

    def wants_rows_apart(self) -> bool:
        """Whether the rule does."""
        return isinstance(self.rule, DecisionRule) and self.rule.wants_rows_apart()

    def _fit(self, evidence: Evidence) -> Fitted:
        ops.check_count_bounds(self.min_labels, self.max_labels, "labels")
        if not isinstance(self.rule, DecisionRule):
            raise TypeError(f"rule must be a DecisionRule object, got {self.rule!r}")
        n_classes = evidence.n_classes
        by_class = matched(self.classes or {}, n_classes, evidence.class_names)
        fitted = self.rule._fit(evidence)
        if not isinstance(fitted.op, ops.Threshold):
            raise TypeError(
                "classes and labels per row can be overridden where a rule makes thresholds; "
                f"{type(self.rule).__name__} does not"
            )
        thresholds = np.array(np.broadcast_to(fitted.op.threshold, (n_classes,)))
        for place, override in by_class.items():
            if override.threshold is not None:
                thresholds[place] = override.threshold
        bounded = {place: o for place, o in by_class.items() if o.is_bound}
        findings = (*fitted.findings, *_by_hand(by_class, n_classes))
        findings += self._keep_bounds(bounded, evidence, thresholds)
        op: ops.DecisionOp = ops.Threshold(thresholds)
        bounds_rows = bool(self.min_labels) or self.max_labels is not None
        if bounds_rows:
            op = ops.BoundedThreshold(thresholds, self.min_labels, self.max_labels)
        if self.wants_rows_apart() and (by_class or bounds_rows):
            message = f"nothing that {type(self.rule).__name__} promises holds any more"
            return Fitted(op, (*findings, Finding("promise_withdrawn", message, ())))
        return Fitted(op, findings, fitted.report)

    def _keep_bounds(
        self, bounded: dict[int, Override], evidence: Evidence, thresholds: NDArray[np.float32]
    ) -> tuple[Finding, ...]:
        """Put the best thresholds within their bounds; all bounds share the looks at the rows."""
        metric = getattr(self.rule, "metric", f_beta(1))
        wanted = list(dict.fromkeys(bounded.values()))
        kinds = [_with_bound(metric, override) for override in wanted]
        both = [m for kind in kinds for m in (kind, kind.constrained)]
        cuts = iter(evidence.best_cuts(*both) if both else [])
        findings: tuple[Finding, ...] = ()
        for override, kind in zip(wanted, kinds, strict=True):
            best, reached = next(cuts), next(cuts)
            here = np.isin(
                np.arange(len(thresholds)), [c for c in bounded if bounded[c] == override]
            )
            feasible = best.value > -np.inf
            thresholds[here] = np.where(feasible, best.threshold, np.inf)[here]
            findings += find(
                "infeasible",
                f"reach {kind.constrained_name} {kind.bound:g} at no cut: they are never "
                f"predicted; the values are the best {kind.constrained_name}",
                here & ~feasible,
                reached.value,
            )
        return findings


def _with_bound(metric: CutMetric, override: Override) -> Any:
    return constrained(metric, min_precision=override.min_precision, min_recall=override.min_recall)


def _by_hand(by_class: dict[int, Override], n_classes: int) -> tuple[Finding, ...]:
    where = np.zeros(n_classes, dtype=bool)
    where[[place for place, override in by_class.items() if not override.is_bound]] = True
    return find("overridden", "have a threshold given by hand, whatever else is said", where)
