"""`CrossFit`: figures of rows that were not fitted on, and how much better the others look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calibrate.decision import Decision
from calibrate.evaluation import Evaluation
from calibrate.evaluation.result import finite_or_none, plain


@dataclass(frozen=True, eq=False)
class CrossFit:
    """What `cross_fit` returns.

    Attributes
    ----------
    out_of_sample : Evaluation
        Every row judged by a decision that was fitted without its fold. Average precision is nan:
        scores of different fits are not one ranking. Intervals are over the groups if there are.
    in_sample : Evaluation
        The same rows judged by the decision that was fitted on them: too good.
    decision : Decision
        Fitted on all rows: the one to ship. Its provenance holds these figures as ``cross_fit``.
    folds : int
    n_groups : int or None
        Groups of rows that were kept together, or None if each row stood for itself.
    seed : int
    """

    out_of_sample: Evaluation
    in_sample: Evaluation
    decision: Decision
    folds: int
    n_groups: int | None
    seed: int

    @property
    def optimism(self) -> dict[str, float]:
        """In-sample minus out-of-sample, for each figure that is no count.

        Where more is better, above 0 is what the fit flatters itself with; for losses and errors
        it is below 0.
        """
        return optimism(self.in_sample.summary, self.out_of_sample.summary)

    def summary(self) -> dict[str, dict[str, float | int]]:
        """``out_of_sample`` and ``in_sample`` as in `Evaluation.summary`, and their ``optimism``.

        Examples
        --------
        >>> import numpy as np
        >>> import calibrate as cal
        >>> rng = np.random.default_rng(0)
        >>> labels = rng.random((200, 3)) < 0.2
        >>> rule = cal.PerClassThreshold(cal.metrics.f_beta(1))
        >>> found = cal.cross_fit(cal.Pipeline([], rule), rng.normal(size=labels.shape), labels)
        >>> {name: round(figures["macro_f"], 2) for name, figures in found.summary().items()}
        {'out_of_sample': 0.31, 'in_sample': 0.33, 'optimism': 0.02}
        """
        return {
            "out_of_sample": dict(self.out_of_sample.summary),
            "in_sample": dict(self.in_sample.summary),
            "optimism": dict(self.optimism),
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not a finite number becomes None."""
        figures = {
            name: {key: finite_or_none(value) for key, value in part.items()}
            for name, part in self.summary().items()
        }
        intervals = self.out_of_sample.intervals
        return {
            "folds": self.folds,
            "n_groups": self.n_groups,
            "seed": self.seed,
            **figures,
            "intervals": {name: plain(interval) for name, interval in intervals.items()},
        }


def optimism(
    in_sample: Mapping[str, float | int], out_of_sample: Mapping[str, float | int]
) -> dict[str, float]:
    """Difference of two summaries of `Evaluation`, without what is a count or an option."""
    return {
        name: float(value - out_of_sample[name])
        for name, value in in_sample.items()
        if name not in ("beta", "level") and not name.startswith("n_")
    }
