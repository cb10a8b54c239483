"""For the Trainer of Hugging Face's transformers: ``compute_metrics`` that fits as it goes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from calibrate.base import FitWarning
from calibrate.decision import Decision
from calibrate.metrics import f_beta
from calibrate.pipeline import Pipeline
from calibrate.statistics import Grid, ScoreHistogram, curves_at_bins
from calibrate.torch.accumulator import HistogramAccumulator


class FitMetrics:
    """``compute_metrics`` for ``TrainingArguments(batch_eval_metrics=True)``.

    The Trainer hands over each batch as it comes, gathered from all processes, and forgets it: an
    evaluation needs no more memory than a batch. At the last one the pipeline is fitted.

    Parameters
    ----------
    pipeline : Pipeline
        Cloned for each fit.
    accumulator : HistogramAccumulator
        Gathers the logits; with a reservoir if a step looks along rows.
    class_names : sequence of str, or path, optional
    regrid : bool
        After each evaluation, lay the grid of the next one around the logits that came.

    Attributes
    ----------
    decision : Decision or None
        Of the last evaluation. What its fit has to say is in its ``provenance``; no warnings are
        given.

    Notes
    -----
    ``Trainer.predict`` calls ``compute_metrics`` too if its rows have labels, and would fit to
    them: keep the `decision` of the validation rows before.

    Examples
    --------
    >>> import calibrate as cal
    >>> from calibrate.torch import HistogramAccumulator
    >>> pipeline = cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(cal.metrics.f_beta(1)))
    >>> metrics = FitMetrics(pipeline, HistogramAccumulator(50))  # Trainer(compute_metrics=metrics)
    """

    def __init__(
        self,
        pipeline: Pipeline,
        accumulator: HistogramAccumulator,
        *,
        class_names: Any = None,
        regrid: bool = True,
    ) -> None:
        self.pipeline = pipeline
        self.accumulator = accumulator
        self.class_names = class_names
        self.regrid = regrid
        self.decision: Decision | None = None

    def __call__(self, eval_pred: Any, compute_result: bool) -> dict[str, float]:
        """Count a batch; after the last one fit, and begin anew.

        Parameters
        ----------
        eval_pred : EvalPrediction
            ``predictions`` (logits, or a tuple led by them) and ``label_ids``, tensors or arrays of
            shape (n_rows, n_classes).
        compute_result : bool
            Whether the batch is the last one.

        Returns
        -------
        dict of str to float
            After the last batch ``macro_average_precision``, and ``macro_f1_at_best_cuts``: at the
            cuts that are best on these very rows, which flatters. Both over the classes that have
            positives. Empty before.
        """
        logits, targets = eval_pred.predictions, eval_pred.label_ids
        logits = logits[0] if isinstance(logits, tuple | list) else logits
        self.accumulator.update(torch.as_tensor(logits), torch.as_tensor(targets))
        if not compute_result:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)
            histogram = self.accumulator.histogram()
            fitted = self.accumulator.fit(clone(self.pipeline), class_names=self.class_names)
        self.decision = fitted.decision_
        self.accumulator.reset(grid=Grid.around(histogram) if self.regrid else None)
        return _figures(histogram)


def _figures(histogram: ScoreHistogram) -> dict[str, float]:
    """Figures of all cuts between bins."""
    curves = curves_at_bins(histogram)
    some = curves.positives > 0
    return {
        "macro_average_precision": float(np.mean(curves.average_precision()[some])),
        "macro_f1_at_best_cuts": float(np.mean(curves.best(f_beta(1)).value[some])),
    }
