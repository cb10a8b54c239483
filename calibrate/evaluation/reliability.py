"""`calibration_report`: whether the probabilities of a decision mean what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.data import LabelledLogits
from calibrate.data.logits import NanPolicy
from calibrate.evaluation.counts import Floats, Integers
from calibrate.evaluation.cox import CoxLines, adjusted_p_values, cox_lines
from calibrate.evaluation.decomposition import MOST_SEEDS, walk
from calibrate.evaluation.inputs import calibrated, check_rows, fitted, rows_for
from calibrate.evaluation.intervals import check_level
from calibrate.evaluation.probabilities import Losses
from calibrate.evaluation.result import finite_or_none
from calibrate.statistics import ScoreHistogram


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """What `calibration_report` returns.

    Attributes
    ----------
    summary : dict of str to float or int
        ``log_loss``, ``log_loss_per_row``, ``brier``, ``ece``, ``ece_classes``,
        ``debiased_squared_ece``, ``debiased_squared_ece_classes``, ``expected_ratio``,
        ``expected_count_mae``
            As in `calibrate.evaluation.Evaluation`.
        ``brier_mcb``, ``brier_dsc``, ``brier_unc``, and the same of ``log_loss``
            Miscalibration, discrimination and uncertainty of all cells pooled: the score is
            ``MCB - DSC + UNC``. MCB is what an increasing recalibration could save at most, DSC
            what the recalibrated probabilities save against the base rate, UNC the score of that.
        ``ks``, ``ks_p``
            Kolmogorov-Smirnov statistic of all cells pooled, and its p-value as if cells were
            independent, which those of one row are not.
        ``n_miscalibrated``, ``n_tested``
            Classes found miscalibrated, of those that could be tested.
        ``false_discovery_rate``, ``level``
            As given.
        ``n_rows``, ``n_classes``, ``n_labels``, ``n_classes_without_positives``
            Counts.
    per_class : dict of str to array, (n_classes,)
        int64 ``support``; float64, nan where undefined:

        ``expected``, ``expected_ratio``, ``expected_z``
            Sum of the probabilities, over the true count, and how many standard deviations above.
        ``ece``, ``debiased_squared_ece``, ``brier``, ``log_loss`` and their parts, ``ks``, ``ks_p``
            As in the summary.
        ``cox_slope``, ``cox_intercept``, ``cox_slope_se``, ``cox_intercept_se``
            Cox's line, ``logit P = slope logit + intercept``, and its standard errors. nan for a
            class that lacks positives or negatives, or whose labels a score parts.
        ``cox_p``, ``cox_q``
            Wald p-value of slope 1 and intercept 0, and the false discovery rate at which the class
            would be called miscalibrated.

        With `n_draws`, also in the summary: ``brier_mcb_null_low``, ``brier_mcb_null_high``,
        ``brier_mcb_p`` and the same of ``log_loss``: between which MCB would lie if every
        probability were right, and the share of draws that reach the MCB found.
    miscalibrated : int64, (n_miscalibrated,)
        Classes with ``cox_q`` at most the false discovery rate, the surest first.
    class_names : tuple of str, or None
    """

    summary: dict[str, float | int]
    per_class: dict[str, NDArray[Any]]
    miscalibrated: Integers
    class_names: tuple[str, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not a finite number becomes None."""
        return {
            "summary": {name: finite_or_none(value) for name, value in self.summary.items()},
            "per_class": {
                name: [finite_or_none(value) for value in values.tolist()]
                for name, values in self.per_class.items()
            },
            "miscalibrated": self.miscalibrated.tolist(),
            "class_names": None if self.class_names is None else list(self.class_names),
        }


def calibration_report(
    decision: Any,
    logits: Any,
    labels: Any = None,
    *,
    false_discovery_rate: float = 0.05,
    n_draws: int = 0,
    seed: int = 0,
    level: float = 0.95,
    nan: NanPolicy = "raise",
) -> CalibrationReport:
    """Whether the probabilities of a decision mean what they say, by class and for all cells.

    Parameters
    ----------
    decision : Decision or fitted Pipeline
        Its calibration steps are judged; its rule plays no part.
    logits : array, tensor, DataFrame, path, ..., or LabelledLogits
        Uncalibrated, shape (n_rows, n_classes), as in `calibrate.evaluate`; rows that the decision
        was not fitted on.
    labels : sparse matrix, array, lists of labels, path, ...
        Shape (n_rows, n_classes).
    false_discovery_rate : float
        Among the classes listed as miscalibrated, the expected share of those that are not;
        between 0 and 1.
    n_draws : int
        How often labels are drawn anew from the probabilities, to show how large MCB is by chance
        alone. Each draw takes about as long as the rest of the walk over the sorted scores.
    seed : int
        Of the draws, from 0 to 4095.
    level : float
        Of the band of MCB under chance, between 0 and 1.
    nan : {"raise", "negative"}
        ``"negative"``: a cell that is nan or ``-inf`` is left out.

    Returns
    -------
    CalibrationReport

    Raises
    ------
    TypeError, ValueError
        If the decision is not fitted, an input is not what it must be or not of the decision's
        classes, or a number is out of its range.

    Notes
    -----
    One pass over the rows for losses and counts, about one for the bins of Cox's lines (see
    `calibrate.ScoreHistogram`), one by classes that sorts their scores, strip by strip. The results
    do not depend on threads, blocks or strips. Equal scores of a class are recalibrated together
    and count at once in the Kolmogorov-Smirnov statistic. Pooled cells are told apart to 1/1024 of
    a logit.

    MCB is never negative, and with few rows it is large by chance alone: compare it with what
    `n_draws` gives. The p-values hold for a single class; how often each test rejects what is right
    is printed by ``tests/benchmarks/interval_coverage.py``.

    References
    ----------
    Dimitriadis, Gneiting and Jordan (2021), Stable reliability diagrams for probabilistic
    classifiers (MCB, DSC, UNC); Gupta et al. (2021), Calibration of neural networks using splines,
    section 3 (Kolmogorov-Smirnov statistic); Cox (1958), Two further applications of a model for
    binary regression; Benjamini and Hochberg (1995), Controlling the false discovery rate; Kumar,
    Liang and Ma (2019), Verified uncertainty calibration, section 4 (debiased error).

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.decision import Decision
    >>> from calibrate.ops import Threshold
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(2000, 3)).astype(np.float32)
    >>> labels = rng.random(logits.shape) < 1 / (1 + np.exp(-logits * [1.0, 1.0, 0.3]))
    >>> report = calibration_report(Decision((), Threshold(np.float32(0)), 3), logits, labels)
    >>> report.miscalibrated, report.per_class["cox_slope"][2].round(1)
    (array([2]), np.float64(0.3))
    >>> parts = [report.summary[f"brier_{part}"] for part in ("mcb", "dsc", "unc")]
    >>> abs(parts[0] - parts[1] + parts[2] - report.summary["brier"]) < 1e-12
    True
    """
    _check_options(false_discovery_rate, n_draws, seed, level)
    decision = fitted(decision)
    rows = rows_for(decision, logits, labels, nan)
    check_rows(decision, rows)
    scores = calibrated(decision, rows)
    losses = Losses.zero(*rows.shape)
    for block in scores.blocks():
        losses.add(block)
    by_class, pooled = walk(scores, n_draws, seed)
    cox = cox_lines(ScoreHistogram.of(scores))
    adjusted = adjusted_p_values(cox.p)
    listed = np.flatnonzero(adjusted <= false_discovery_rate)
    miscalibrated = listed[np.argsort(cox.p[listed], kind="stable")]
    counts = {
        "n_miscalibrated": len(miscalibrated),
        "n_tested": int((~np.isnan(adjusted)).sum()),
        "false_discovery_rate": float(false_discovery_rate),
        "level": float(level),
    }
    whole = {name: float(values[0]) for name, values in pooled.results(level).items()}
    return CalibrationReport(
        whole | losses.summary(np.diff(rows.labels.indptr)) | counts | _sizes(rows),
        {"support": rows.labels.positives.copy()}
        | losses.per_class()
        | by_class.results(level)
        | _named(cox, adjusted),
        miscalibrated,
        rows.class_names or decision.class_names,
    )


def _named(cox: CoxLines, adjusted: Floats) -> dict[str, Floats]:
    return {f"cox_{name}": values for name, values in cox._asdict().items()} | {"cox_q": adjusted}


def _sizes(rows: LabelledLogits) -> dict[str, float | int]:
    n_rows, n_classes = rows.shape
    return {
        "n_rows": n_rows,
        "n_classes": n_classes,
        "n_labels": rows.labels.n_labels,
        "n_classes_without_positives": int((rows.labels.positives == 0).sum()),
    }


def _check_options(rate: float, n_draws: int, seed: int, level: float) -> None:
    if not 0.0 < rate < 1.0:
        raise ValueError(f"false_discovery_rate must lie between 0 and 1, got {rate}")
    for name, value, most in (("n_draws", n_draws, None), ("seed", seed, MOST_SEEDS - 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be a whole number, got {value!r}")
        if value < 0 or (most is not None and value > most):
            limit = "at least 0" if most is None else f"from 0 to {most}"
            raise ValueError(f"{name} must be {limit}, got {value}")
    check_level(level)
