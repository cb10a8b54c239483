"""`paired_differences`: one decision against another on the same rows."""

from __future__ import annotations

import numpy as np

from calibrate.evaluation.intervals import BOUNDS, Interval, check_level, over_rows
from calibrate.evaluation.result import Evaluation


def paired_differences(
    evaluation: Evaluation, reference: Evaluation, *, level: float = 0.95
) -> dict[str, Interval]:
    """Figures of one evaluation less those of another of the same rows, with intervals.

    What the rows have in common cancels, so that the interval of a difference is mostly far
    narrower than those of the two figures: whether one decision is better than another is to be
    read here, not from two intervals that overlap.

    Parameters
    ----------
    evaluation, reference : Evaluation
        From `evaluate`, of the same rows in the same order, with the same beta; or
        ``out_of_sample`` of `calibrate.cross_fit` with the same groups.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    dict of str to Interval
        Of ``macro_f``, ``micro_f``, ``instance_f`` and ``count_ratio``; nan where one of the two
        figures is, and bounds of nan with a single row.

    Raises
    ------
    ValueError
        If rows, groups, classes, true counts or betas differ, or `level` does not lie between 0
        and 1.

    Notes
    -----
    Both decisions are taken as given, as in `evaluate`; where they are cross-fitted, those of each
    fold.

    References
    ----------
    Hampel (1974), The influence curve and its role in robust estimation, section 2; Takahashi,
    Yamamoto, Kuchiba and Koyama (2022), Confidence interval for micro-averaged F1 and
    macro-averaged F1 scores (the delta method for one multiclass decision).

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.evaluation import evaluate
    >>> from calibrate.decision import Decision
    >>> from calibrate.ops import Threshold
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.random((500, 3)) < 0.3
    >>> logits = 2 * labels + rng.normal(size=labels.shape)
    >>> low, high = (Decision((), Threshold(np.float32(t)), 3) for t in (0.0, 1.0))
    >>> judged = [evaluate(decision, logits, labels) for decision in (high, low)]
    >>> difference = paired_differences(*judged)["micro_f"]
    >>> 0 < difference.low < difference.estimate < difference.high < 0.2
    True
    """
    check_level(level)
    for name in ("n_rows", "n_classes", "beta"):
        one, other = evaluation.summary[name], reference.summary[name]
        if one != other:
            raise ValueError(
                f"paired differences need evaluations of the same {name}, got {one} and {other}"
            )
    n_parts, n_others = len(evaluation.influence["macro_f"]), len(reference.influence["macro_f"])
    if n_parts != n_others:
        raise ValueError(
            f"paired differences need evaluations over the same groups of rows, got {n_parts} and "
            f"{n_others} of them"
        )
    support, others = evaluation.per_class["support"], reference.per_class["support"]
    if not np.array_equal(support, others):
        c = int((support != others).argmax())
        raise ValueError(
            "paired differences need evaluations of the same rows, got "
            f"{support[c]} and {others[c]} true labels of class {c}"
        )
    return {
        name: over_rows(
            evaluation.summary[name] - reference.summary[name],
            evaluation.influence[name] - reference.influence[name],
            level,
        )
        for name in BOUNDS
    }
