"""The row layer alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calibrate.base import Calibrator, Fitted, require_positives
from calibrate.hierarchy import RowReport, fit_row_layer
from calibrate.ops import Affine
from calibrate.statistics import Evidence


class RowScaling(Calibrator):
    """``a z + b + g log(0.05 + sum of the row's sigmoids)``: the labels of a row compete.

    A network that scores each label by itself leaves rows on different scales: where the
    probabilities of a row add up to much, each of them is too high. One number for all rows, `g`,
    usually between -2 and 0, repairs that. It changes the order of rows within a class, so that it
    can raise macro-average precision, which no map of each class alone can.

    Calibrate first (`PosWeightCorrection`, `TemperatureScaling` with bias): the sums must mean
    something. `HierarchicalScaling` holds this layer in its place.

    Parameters
    ----------
    gated : bool
        Keep the layer only if it lowers the log loss of rows that it has not seen, by more than 2
        standard errors; else the logits stay as they are.

    Attributes
    ----------
    report_ : RowReport
        Coefficient, gain and its error.

    Raises
    ------
    ValueError
        On fit, if no class has a positive.
    TypeError
        On fit, if there is only a histogram.

    References
    ----------
    Liang and Zeger (1986), Longitudinal data analysis using generalized linear models, section 2,
    on the errors of the gate.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.eye(4, dtype=bool)[rng.integers(4, size=1000)]
    >>> logits = 2.0 * labels + rng.normal(size=labels.shape) - 2.0
    >>> scaling = RowScaling().fit(logits, labels)
    >>> scaling.report_.layer.on, scaling.report_.layer.coefficients[0] < -0.5
    (True, True)
    """

    report_: RowReport

    def __init__(self, gated: bool = True) -> None:
        self.gated = gated

    def _fit(self, evidence: Evidence) -> Fitted:
        require_positives(evidence)
        layer = fit_row_layer(evidence.rows, ("by_count",), gated=self.gated)
        if not layer.on:
            same = Affine(np.array(1.0, np.float32), np.array(0.0, np.float32))
            return Fitted(same, report=RowReport(layer))
        # one shift for each class: rows of other classes have other sums, and are refused
        shift = np.full(evidence.n_classes, layer.op.shift)
        return Fitted(replace(layer.op, shift=shift), report=RowReport(layer))
