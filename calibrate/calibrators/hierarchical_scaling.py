"""The default calibrator: one map for all, one number a row, a line a class, one bend."""

from __future__ import annotations

from typing import Any, Literal

from calibrate.base import Calibrator, Fitted, require_positives
from calibrate.hierarchy import LayersReport, fit_layers, log_weights
from calibrate.statistics import Evidence


class HierarchicalScaling(Calibrator):
    """Probabilities from logits, right without knowing how the network was trained.

    Four layers, each fitted on what the former leave:

    1. one map for all cells, ``a z + b - kappa log w``, in which the data say how much of the
       weights' shift the network still has (`pos_weight` may be None);
    2. a number for each row, ``g log(0.05 + sum of its probabilities)``: the labels of a row
       compete. Kept only where it lowers the log loss of rows it has not seen, by more than 2
       standard errors. It is the one step here that changes the order of rows within a class, and
       the one that can raise macro-average precision;
    3. a slope and an intercept for each class, drawn to those of all classes as far as its own
       data leave them open: a class with few positives sits on the pooled line, one with hundreds
       is free;
    4. one smooth monotone curve for all classes, where the evidence asks for one.

    Parameters
    ----------
    pos_weight : float or array, (n_classes,), optional
        Weights of ``BCEWithLogitsLoss``, positive.
    row_layer : {"auto", True, False}
        ``"auto"`` decides by the data, True keeps the layer whatever it gains, False leaves it out.
        A decision with a row layer needs the logits of all classes of a row.

    Attributes
    ----------
    report_ : LayersReport
        The share of the weights' shift that is left, the row layer and why it is on or off, how
        much the classes differ, and how far each is drawn to the others.

    Raises
    ------
    ValueError
        On fit, if no class has a positive, or a weight is not positive and finite.
    TypeError
        On fit, if ``row_layer=True`` and there is only a histogram.

    References
    ----------
    Platt (1999), Probabilistic outputs for support vector machines, for the lines; Morris (1983),
    Parametric empirical Bayes inference, for the prior that they share; Byrd and Lipton (2019),
    What is the effect of importance weighting in deep learning?, for weights that fade.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> weights = np.linspace(5, 50, 20)
    >>> truth = rng.normal(size=(2000, 20)) - np.log(weights)
    >>> labels = rng.random(truth.shape) < 1 / (1 + np.exp(-truth))
    >>> scaling = HierarchicalScaling(weights).fit(truth + 0.8 * np.log(weights), labels)
    >>> round(scaling.report_.pooled.surviving, 1)
    0.8
    >>> scaling.report_.row_layers[0].on
    False
    """

    report_: LayersReport

    def __init__(self, pos_weight: Any = None, row_layer: Literal["auto"] | bool = "auto") -> None:
        self.pos_weight = pos_weight
        self.row_layer = row_layer

    def _fit(self, evidence: Evidence) -> Fitted:
        if self.row_layer not in ("auto", True, False):
            raise ValueError(f"row_layer must be 'auto', True or False, got {self.row_layer!r}")
        log_weight = log_weights(self.pos_weight, evidence.n_classes)
        require_positives(evidence)
        return fit_layers(
            evidence,
            log_weight=log_weight,
            row_layer=None if self.row_layer == "auto" else bool(self.row_layer),
        )
