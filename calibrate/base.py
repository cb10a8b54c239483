"""What calibrators and rules share: ``fit`` checks once, ``_fit`` makes one frozen op."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from calibrate.data import as_logits, labelled_logits
from calibrate.data.logits import NanPolicy
from calibrate.decision import Decision
from calibrate.ops import CalibrationOp, DecisionOp, Op
from calibrate.statistics import Evidence, RowsNeededError, ScoreHistogram


class FitWarning(UserWarning):
    """Something in the data that the fit went around; said once, with a count."""


@dataclass(frozen=True)
class Finding:
    """Something to know about some classes after a fit.

    Attributes
    ----------
    code : str
        A short name that does not change: ``no_positives``, ``infeasible``, ...
    message : str
        A sentence.
    classes : tuple of int
    values : tuple of float
        One per class where the message speaks of one, else empty.
    """

    code: str
    message: str
    classes: tuple[int, ...]
    values: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


class Report(ABC):
    """What a fit learned beside its op, for people and for files."""

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""

    @abstractmethod
    def sentences(self) -> list[str]:
        """The same in words, without full stops."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What ``_fit`` returns: the op, what went wrong, and what else the fit learned."""

    op: Op
    findings: tuple[Finding, ...] = ()
    report: Report | None = None


def find(
    code: str, message: str, where: NDArray[np.bool_], values: NDArray[Any] | None = None
) -> tuple[Finding, ...]:
    """A finding about the classes `where`, or none if there are no such classes.

    `message` is completed as ``"3 of 159 classes " + message``.
    """
    classes = np.flatnonzero(where)
    if len(classes) == 0:
        return ()
    at = () if values is None else tuple(float(v) for v in np.asarray(values)[classes])
    sentence = f"{len(classes)} of {len(where)} classes {message}"
    return (Finding(code, sentence, tuple(int(c) for c in classes), at),)


class _Step(BaseEstimator, ABC):  # type: ignore[misc]
    """A calibrator or a rule: ``__init__`` stores, ``fit`` returns self, ``op_`` is the state."""

    registry: ClassVar[dict[str, type[Any]]]
    op_: Op
    findings_: tuple[Finding, ...]
    report_: Report

    @abstractmethod
    def _fit(self, evidence: Evidence) -> Fitted:
        """Make the op; arguments are checked."""

    def fit(
        self,
        logits: Any,
        labels: Any,
        *,
        class_names: Any = None,
        nan: NanPolicy = "raise",
    ) -> Self:
        """Fit to rows of logits and labels.

        Parameters
        ----------
        logits : array, tensor, DataFrame, path, ...
            Shape (n_rows, n_classes); see `calibrate.data.as_logits`.
        labels : sparse matrix, array, lists of labels, path, ...
            Shape (n_rows, n_classes); see `calibrate.data.as_labels`.
        class_names : sequence of str, or path, optional
        nan : {"raise", "negative"}

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If the input is not what it must be; the message says where.
        """
        return self.fit_evidence(
            Evidence(labelled_logits(logits, labels, class_names=class_names, nan=nan))
        )

    def fit_from(self, histogram: ScoreHistogram) -> Self:
        """Fit to a histogram of scores.

        Raises
        ------
        TypeError
            If the step needs rows.
        """
        return self.fit_evidence(Evidence(histogram=histogram))

    def fit_evidence(self, evidence: Evidence) -> Self:
        """Fit to evidence that is already checked."""
        try:
            fitted = self._fit(evidence)
        except RowsNeededError as error:
            error.step = type(self).__name__
            raise
        self.op_, self.findings_ = fitted.op, fitted.findings
        if fitted.report is not None:
            self.report_ = fitted.report
        for finding in fitted.findings:
            warnings.warn(f"{type(self).__name__}: {finding.message}", FitWarning, stacklevel=3)
        return self

    def _fitted_op(self) -> Any:
        if not hasattr(self, "op_"):
            raise NotFittedError(f"this {type(self).__name__} must be fitted before it is used")
        return self.op_


class Calibrator(_Step):
    """Logits to better logits. A new one is one file with ``__init__`` and ``_fit``."""

    registry: ClassVar[dict[str, type[Any]]] = {}
    learns_from_rows: ClassVar[bool] = True
    """Whether the op depends on the rows at all; False where options alone make it."""
    op_: CalibrationOp

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Calibrator.registry[cls.__name__] = cls

    def transform(self, logits: Any, *, nan: NanPolicy = "raise") -> NDArray[np.float32]:
        """Calibrated logits, float32, (n_rows, n_classes), in nats."""
        op: CalibrationOp = self._fitted_op()
        source = as_logits(logits, nan=nan)
        if op.n_classes not in (None, source.shape[1]):
            raise ValueError(
                f"logits must have the {op.n_classes} classes of the fit, got {source.shape[1]}"
            )
        calibrated = np.empty(source.shape, dtype=np.float32)
        for start, block in source.blocks():
            calibrated[start : start + len(block)] = op.apply(block)
        return calibrated


class DecisionRule(_Step):
    """Logits to labels. A new one is one file with ``__init__`` and ``_fit``."""

    registry: ClassVar[dict[str, type[Any]]] = {}
    needs_rows_apart: ClassVar[bool] = False
    """Whether what it promises holds only on rows that no step before it has been fitted to."""
    op_: DecisionOp
    n_classes_: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        DecisionRule.registry[cls.__name__] = cls

    def fit_evidence(self, evidence: Evidence) -> Self:
        """Fit to evidence that is already checked."""
        self.n_classes_ = evidence.n_classes
        return super().fit_evidence(evidence)

    def wants_rows_apart(self) -> bool:
        """`needs_rows_apart` of this rule, or of the one that it is made around."""
        return self.needs_rows_apart

    def predict(self, logits: Any, *, nan: NanPolicy = "raise") -> Any:
        """Labels of the rows, scipy CSR, bool, (n_rows, n_classes)."""
        return Decision((), self._fitted_op(), self.n_classes_).predict(logits, nan=nan)


def require_positives(evidence: Evidence) -> None:
    """Raise ValueError where no class has a positive: nothing can be learned."""
    if not evidence.positives.any():
        raise ValueError(
            f"labels must hold at least one positive, got none in {evidence.n_rows} rows of "
            f"{evidence.n_classes} classes"
        )


def numbers_per_class(
    values: Any, name: str, n_classes: int | None = None, *, below: float = np.inf
) -> NDArray[np.float64]:
    """A number, or one per class, above 0 and below `below`, in float64.

    Raises
    ------
    TypeError
        If `values` are no numbers.
    ValueError
        If one lies outside, or there are not as many as classes.
    """
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number or one per class, got {values!r}") from error
    known = n_classes is not None and numbers.ndim == 1
    if numbers.ndim > 1 or (known and len(numbers) != n_classes):
        of = "" if n_classes is None else f" for {n_classes} classes"
        raise ValueError(f"{name} must be a number or one per class, got shape {numbers.shape}{of}")
    wrong = ~((numbers > 0) & (numbers < below))  # nan is neither
    if wrong.any():
        bounds = "positive and finite" if below == np.inf else f"above 0 and below {below:g}"
        where = f" at class {int(np.argmax(wrong))}" if numbers.ndim else ""
        raise ValueError(f"{name} must be {bounds}, got {numbers[wrong].flat[0]:g}{where}")
    return numbers
