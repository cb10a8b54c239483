"""`Pipeline`: calibrators, each fitted on what the former leave, and one rule at the end."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError

import calibrate
from calibrate.base import Calibrator, DecisionRule
from calibrate.data import LabelledLogits, as_class_names, labelled_logits
from calibrate.data.groups import drawn, numbered
from calibrate.data.logits import NanPolicy
from calibrate.decision import Decision
from calibrate.overrides import Override
from calibrate.statistics import Evidence, RowsNeededError, ScoreHistogram

if TYPE_CHECKING:
    from calibrate.report import ThresholdReport


class Pipeline(BaseEstimator):  # type: ignore[misc]
    """Calibrate logits, then decide.

    Parameters
    ----------
    calibrators : sequence of Calibrator
        Fitted in turn; may be empty.
    rule : DecisionRule
        Fitted on the calibrated logits.
    share_apart : float
        Share of the rows, between 0 and 1, that is kept apart for a rule whose promise needs rows
        that no calibrator was fitted to (`RecallGuarantee`, `PrecisionGuarantee`, `RiskControl`).
        They are drawn at random, whole groups where `fit` is told of groups; where there are
        enough, give them to `fit` yourself. For other rules, and where no calibrator learns from
        rows, all rows serve all steps.
    seed : int
        Of the draw.

    Attributes
    ----------
    decision_ : Decision
        The frozen result. The steps given to the pipeline are cloned, never changed.
    calibrators_, rule_
        The fitted clones, with their ``findings_``.

    Examples
    --------
    >>> import numpy as np
    >>> import calibrate as cal
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.random((200, 3)) < [0.5, 0.2, 0.1]
    >>> logits = 2.0 * labels + rng.normal(size=labels.shape) + 1.0
    >>> pipeline = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK())
    >>> pipeline.fit(logits, labels).predict(logits).sum() == labels.sum()
    np.True_
    """

    def __init__(
        self,
        calibrators: Sequence[Calibrator],
        rule: DecisionRule,
        *,
        share_apart: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.calibrators = calibrators
        self.rule = rule
        self.share_apart = share_apart
        self.seed = seed

    def fit(
        self,
        logits: Any,
        labels: Any,
        *,
        class_names: Any = None,
        nan: NanPolicy = "raise",
        apart: tuple[Any, Any] | None = None,
        groups: Any = None,
    ) -> Self:
        """Fit all steps to rows of logits and labels.

        Parameters
        ----------
        logits : array, tensor, DataFrame, path, ...
            Shape (n_rows, n_classes); see `calibrate.data.as_logits`.
        labels : sparse matrix, array, lists of labels, path, ...
            Shape (n_rows, n_classes); see `calibrate.data.as_labels`.
        class_names : sequence of str, or path, optional
        nan : {"raise", "negative"}
        apart : tuple of logits and labels, optional
            Other rows, to fit the rule to, in the place of a share of these.
        groups : array of int or str, (n_rows,), optional
            One id per row: of a group, all rows are kept apart or none.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If the input is not what it must be; the message says where.
        """
        rows = labelled_logits(logits, labels, class_names=class_names, nan=nan)
        together = None if groups is None else numbered(groups, rows.shape[0])[0]
        if apart is None:
            return self.fit_evidence(Evidence(rows), groups=together)
        others = labelled_logits(*apart, class_names=class_names, nan=nan)
        if others.shape[1] != rows.shape[1]:
            raise ValueError(
                f"rows apart must have the {rows.shape[1]} classes of the others, got "
                f"{others.shape[1]}"
            )
        return self.fit_evidence(Evidence(rows), apart=Evidence(others))

    def fit_from(
        self,
        histogram: ScoreHistogram,
        *,
        rows: LabelledLogits | None = None,
        class_names: Any = None,
    ) -> Self:
        """Fit all steps to a histogram of scores; thresholds are exact up to its grid.

        Parameters
        ----------
        histogram : ScoreHistogram
            Without steps, if there are rows beside it.
        rows : LabelledLogits, optional
            Some of the rows that the histogram counts, drawn at random, for steps that look along
            rows: what `calibrate.labelled_logits` gives. A rule that looks along rows is fitted to
            them alone; so is what follows a row layer. All else is fitted to the histogram.
        class_names : sequence of str, or path, optional
            Those of `rows` where not given.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If a step needs rows, and there are none.
        ValueError
            If the rows and the histogram, or the names, are not of the same classes.
        """
        names = as_class_names(class_names, histogram.n_classes)
        if rows is not None:
            _check_beside(rows, histogram)
        return self.fit_evidence(Evidence(histogram=histogram, sample=rows, class_names=names))

    def fit_evidence(
        self,
        evidence: Evidence,
        shared: FittedOnce | None = None,
        apart: Evidence | None = None,
        groups: NDArray[np.int64] | None = None,
    ) -> Self:
        """Fit all steps to evidence that is already checked.

        Parameters
        ----------
        evidence : Evidence
        shared : FittedOnce, optional
            Calibrators that other pipelines have fitted to the same evidence.
        apart : Evidence, optional
            Other rows, to fit the rule to.
        groups : int64, (n_rows,), optional
            Numbers of the groups of the rows, as `calibrate.data.groups.numbered` gives them.

        Raises
        ------
        TypeError, ValueError
            If the steps are not what they must be, or there are no rows to keep apart.
        """
        self._check_steps()
        fit_once = FittedOnce() if shared is None else shared
        n_rows, positives = evidence.n_rows, int(evidence.positives.sum())
        names, probabilities = evidence.class_names, evidence.from_probabilities
        given = [part.rows for part in (evidence, apart) if part is not None and part.has_rows]
        told: dict[str, Any] = {}
        if evidence.sampled:
            told["n_rows_sampled"] = evidence.rows.shape[0]
        if apart is not None:
            told["n_rows_apart"] = apart.n_rows
        elif self._keeps_rows_apart():
            evidence, apart = self._dealt(evidence, groups)
            told |= {"n_rows_apart": apart.n_rows, "seed": int(self.seed)}
        self.calibrators_: list[Calibrator] = []
        for step in self.calibrators:
            fitted, evidence = fit_once(step, evidence)
            self.calibrators_.append(fitted)
            apart = None if apart is None else apart.after(fitted.op_)
        last = evidence if apart is None else apart
        self.rule_ = self._fitted_rule(last)
        self.decision_ = Decision(
            tuple(step.op_ for step in self.calibrators_),
            self.rule_.op_,
            evidence.n_classes,
            names,
            {
                "calibrate": calibrate.__version__,
                "pipeline": [_describe(step) for step in (*self.calibrators_, self.rule_)],
                "n_rows": n_rows,
                "n_positives": positives,
                "rule_positives": last.positives.tolist(),
                "rows_sha256": [rows.fingerprint() for rows in given],
                "input": "probabilities" if probabilities else "logits",
                **told,
            },
        )
        return self

    def _fitted_rule(self, evidence: Evidence) -> DecisionRule:
        """The rule, fitted to all rows where a histogram of them is enough, else to the sample."""
        rule: DecisionRule = clone(self.rule)
        if evidence.sampled:
            try:
                return rule.fit_evidence(evidence.counted())
            except RowsNeededError:
                evidence = evidence.seen()
        return rule.fit_evidence(evidence)

    def _keeps_rows_apart(self) -> bool:
        learning = any(step.learns_from_rows for step in self.calibrators)
        return learning and self.rule.wants_rows_apart()

    def _dealt(
        self, evidence: Evidence, groups: NDArray[np.int64] | None
    ) -> tuple[Evidence, Evidence]:
        """Evidence for the calibrators, and that of the rows kept apart for the rule."""
        name = type(self.rule).__name__
        if not 0 < self.share_apart < 1:
            raise ValueError(f"share_apart must be above 0 and below 1, got {self.share_apart}")
        if not evidence.has_rows:
            raise TypeError(
                f"{name} needs rows that the calibrators were not fitted to, got a histogram of all"
            )
        n_rows = evidence.rows.shape[0]
        n_apart = round(n_rows * self.share_apart)
        if not 0 < n_apart < n_rows:
            raise ValueError(
                f"{name} needs rows that the calibrators were not fitted to, got {n_rows} rows in "
                f"all, of which {n_apart} are to be kept apart"
            )
        group = np.arange(n_rows) if groups is None else groups
        kept_apart = drawn(group, n_apart, self.seed)
        if kept_apart.all():
            raise ValueError(
                f"{name} needs rows that the calibrators were not fitted to, but all rows are of "
                "one group"
            )
        return evidence.split(np.flatnonzero(~kept_apart), np.flatnonzero(kept_apart))

    def _check_steps(self) -> None:
        if not isinstance(self.calibrators, Sequence):
            raise TypeError(f"calibrators must be a list, got {self.calibrators!r}")
        for step in self.calibrators:
            if not isinstance(step, Calibrator):
                raise TypeError(f"calibrators must be Calibrator objects, got {step!r}")
        if not isinstance(self.rule, DecisionRule):
            raise TypeError(f"rule must be a DecisionRule object, got {self.rule!r}")

    def _decision(self) -> Decision:
        if not hasattr(self, "decision_"):
            raise NotFittedError("this Pipeline must be fitted before it is used")
        return self.decision_

    def predict(self, logits: Any, *, nan: NanPolicy = "raise") -> Any:
        """Labels of the rows, scipy CSR, bool, (n_rows, n_classes)."""
        return self._decision().predict(logits, nan=nan)

    def predict_proba(self, logits: Any, *, nan: NanPolicy = "raise") -> NDArray[np.float32]:
        """Calibrated probabilities, float32, (n_rows, n_classes)."""
        return self._decision().predict_proba(logits, nan=nan)

    def report(
        self,
        logits: Any,
        labels: Any,
        path: str | os.PathLike[str] | None = None,
        *,
        nan: NanPolicy = "raise",
    ) -> ThresholdReport:
        """What the fitted decision does to labelled rows, as numbers and as a page.

        Parameters
        ----------
        logits, labels, nan
            As in `calibrate.threshold_report`: rows that the pipeline was not fitted to, best.
        path : path, optional
            Where to write the page, one ``.html`` file that opens offline.

        Returns
        -------
        ThresholdReport

        Raises
        ------
        TypeError, ValueError
            If the input is not what it must be; the message says where.
        OSError
            If `path` cannot be written.
        """
        from calibrate.report import threshold_report

        found = threshold_report(self._decision(), logits, labels, nan=nan)
        if path is not None:
            found.save_page(path)
        return found

    def _repr_html_(self) -> str:
        """What was fitted, for a notebook."""
        from calibrate.report import notebook

        if not hasattr(self, "decision_"):
            return f"<pre>{escape(repr(self))}</pre>"
        return notebook.fitted(self.decision_.header()["provenance"])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        # the base class draws a diagram of its parameters here
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted decision to a rule file; see `Decision.save`."""
        self._decision().save(path)


def _check_beside(rows: LabelledLogits, histogram: ScoreHistogram) -> None:
    n_rows, n_classes = rows.shape
    if n_classes != histogram.n_classes:
        raise ValueError(
            f"rows must have the {histogram.n_classes} classes of the histogram, got {n_classes}"
        )
    if n_rows > histogram.n_rows:
        raise ValueError(
            f"rows must be some of the {histogram.n_rows} of the histogram, got {n_rows}"
        )
    if histogram.steps:
        raise ValueError(
            f"a histogram with rows beside it must have no steps, got {len(histogram.steps)}"
        )


class FittedOnce:
    """Calibrators, each fitted once to the same evidence for all pipelines that begin with it."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int], tuple[Calibrator, Evidence, Calibrator, Evidence]] = {}

    def __call__(self, step: Calibrator, evidence: Evidence) -> tuple[Calibrator, Evidence]:
        """The fitted clone of a step, and the evidence after it."""
        key = id(step), id(evidence)
        if key not in self._made:
            fitted = clone(step).fit_evidence(evidence)
            # what the key stands for is kept, so that it stands for nothing else later
            self._made[key] = step, evidence, fitted, evidence.after(fitted.op_)
        return self._made[key][2:]


def _describe(step: Calibrator | DecisionRule) -> dict[str, Any]:
    """Name, options, findings and report of a fitted step, as plain JSON values."""
    described: dict[str, Any] = {
        "step": type(step).__name__,
        "options": _options(step),
        "findings": [finding.as_dict() for finding in step.findings_],
    }
    if hasattr(step, "report_"):
        described["report"] = {**step.report_.as_dict(), "in_words": step.report_.sentences()}
    return described


def _options(step: Calibrator | DecisionRule) -> dict[str, Any]:
    return {name: _plain(value) for name, value in step.get_params(deep=False).items()}


def _plain(value: Any) -> Any:
    """A JSON value that says what the option was; long arrays by their shape."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Override):
        return value.as_json()
    if isinstance(value, Calibrator | DecisionRule):
        return {"step": type(value).__name__, "options": _options(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "shape"):
        return f"array of shape {tuple(value.shape)}"
    if hasattr(value, "__len__"):
        return f"{type(value).__name__} of length {len(value)}"
    # the default repr of a function holds its address, which would change the bytes of the file
    return getattr(value, "__name__", None) or repr(value)
