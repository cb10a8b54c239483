"""All layers in turn, and what to know about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate import logistic
from calibrate.base import Finding, Fitted, Report, find
from calibrate.hierarchy.classes import ShrunkLines, shrunk_lines
from calibrate.hierarchy.curve import Curve, pooled_curve
from calibrate.hierarchy.pooled import PooledMap, pooled_map
from calibrate.hierarchy.rows import RowLayer, fit_row_layer, rows_enough
from calibrate.ops import Affine, CalibrationOp, Chain, RowAffine
from calibrate.statistics import Evidence, ScoreHistogram

_MOST_ROW_LAYERS = 2
_FADED = 0.7
_FAR_FROM_ONE = 0.3


@dataclass(frozen=True, eq=False)
class LayersReport(Report):
    """What the layers found.

    Attributes
    ----------
    pooled : PooledMap
        Slope, intercept, and the share of the weights' shift that is still there.
    row_layers : tuple of RowLayer
        Those tried, in turn, on or off; none where it was not asked for or there were no rows.
    lines : ShrunkLines or None
        None where there are too few classes or rows to learn how classes differ.
    curve : Curve or None
        None where there are too few positives or negatives.
    """

    pooled: PooledMap
    row_layers: tuple[RowLayer, ...]
    lines: ShrunkLines | None
    curve: Curve | None

    @property
    def shrinkage(self) -> NDArray[np.float64]:
        """How far each class is drawn to what all have in common, 0 to 1, (n_classes,)."""
        if self.lines is None:
            return np.ones(len(self.pooled.log_weight))
        return self.lines.shrinkage

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        lines, curve = self.lines, self.curve
        return {
            "slope": self.pooled.slope,
            "intercept": self.pooled.intercept,
            "kappa": self.pooled.kappa,
            "surviving_share_of_weights": self.pooled.surviving,
            "row_layers": [_plain(layer) for layer in self.row_layers],
            "prior_mean": None if lines is None else lines.prior_mean.tolist(),
            "prior_covariance": None if lines is None else lines.prior_covariance.tolist(),
            "shrinkage_quartiles": np.quantile(self.shrinkage, [0, 0.25, 0.5, 0.75, 1]).tolist(),
            "shrinkage": np.round(self.shrinkage, 4).tolist(),
            "curve_roughness": None if curve is None else curve.roughness,
        }

    def sentences(self) -> list[str]:
        """The same in words."""
        pooled = self.pooled
        said = [f"pooled slope {pooled.slope:.2f}, intercept {pooled.intercept:.2f}"]
        if pooled.surviving is not None:
            said.append(_left_of_weights(pooled.surviving))
        if not self.row_layers:
            said.append("row layer not tried")
        said += [_in_words(layer) for layer in self.row_layers]
        if self.lines is not None:
            spread = np.sqrt(np.diag(self.lines.prior_covariance))
            middle = float(np.median(self.shrinkage))
            said.append(
                f"classes differ by {spread[0]:.2f} in level and {spread[1]:.2f} in slope; the "
                f"median class is drawn {100 * middle:.0f} % of the way to the others"
            )
        return said


@dataclass(frozen=True)
class RowReport(Report):
    """What a row layer found.

    Attributes
    ----------
    layer : RowLayer
    """

    layer: RowLayer

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return _plain(self.layer)

    def sentences(self) -> list[str]:
        """The same in words."""
        return [_in_words(self.layer)]


def _plain(layer: RowLayer) -> dict[str, Any]:
    return {
        "terms": list(layer.terms),
        "coefficients": list(layer.coefficients),
        "gain_per_row": layer.gain,
        "standard_error": layer.standard_error if np.isfinite(layer.standard_error) else None,
        "on": layer.on,
    }


def _in_words(layer: RowLayer) -> str:
    terms = ", ".join(
        f"{name.removeprefix('by_').replace('_', ' ')} {value:+.2f}"
        for name, value in zip(layer.terms, layer.coefficients, strict=True)
    )
    return (
        f"row layer {'on' if layer.on else 'off'} ({terms}): it gains {layer.gain:.3f} nats a row, "
        f"standard error {layer.standard_error:.3f}"
    )


def fit_layers(
    evidence: Evidence, *, log_weight: NDArray[np.float64] | None, row_layer: bool | None
) -> Fitted:
    """Fit all layers to the logits of a network with a sigmoid for each class.

    Parameters
    ----------
    evidence : Evidence
    log_weight : float64, (n_classes,), or None
        Logarithms of the training's weights.
    row_layer : bool or None
        None decides by whether it helps.

    Notes
    -----
    What all cells share, the map and the row layer, is found from some of the rows where there are
    very many; if the layer is off the map is fitted to all of them.
    """
    pooled, tried = _shared(evidence, log_weight, row_layer)
    ops = [pooled.op, *(layer.op for layer in tried if layer.on)]
    return _with_classes(evidence, ops, pooled, tried, _of_map(pooled, log_weight))


def _shared(
    evidence: Evidence, log_weight: NDArray[np.float64] | None, row_layer: bool | None
) -> tuple[PooledMap, list[RowLayer]]:
    """What all cells share; the rows looked at are let go before the classes are fitted."""
    if row_layer is False or not (row_layer or evidence.has_rows):
        return pooled_map(evidence.histogram, log_weight), []
    some = evidence.thinned(rows_enough(evidence.n_classes))
    pooled = pooled_map(some.histogram, log_weight)
    tried = _row_layers(some.after(pooled.op), row_layer)
    if some is not evidence and not any(layer.on for layer in tried):
        pooled = pooled_map(evidence.histogram, log_weight)
    return pooled, tried


def fit_softmax_layers(evidence: Evidence, *, row_layer: bool | None) -> Fitted:
    """Fit all layers to logits of a softmax, with or without a count of the row's labels in them.

    Parameters
    ----------
    evidence : Evidence
        With rows.
    row_layer : bool or None
        None decides by whether it helps.

    Notes
    -----
    The first step is ``b + a log s + h log max s``, or with a coefficient of its own for the
    logarithm of ``sum exp``, each where it helps on rows that the fit has not seen. It is one line
    in the logit and two numbers of its row.
    """
    ops, pooled, tried = _of_softmax(evidence, row_layer)
    return _with_classes(evidence, ops, pooled, tried)


def _of_softmax(
    evidence: Evidence, row_layer: bool | None
) -> tuple[list[RowAffine], PooledMap, list[RowLayer]]:
    """What all cells share; the rows looked at are let go before the classes are fitted."""
    log_softmax = RowAffine(np.array(1.0, np.float32), np.array(0.0, np.float32), by_log_sum=-1.0)
    some = evidence.thinned(rows_enough(evidence.n_classes))
    normed = some.after(log_softmax)
    pooled = pooled_map(normed.histogram)
    tried = []
    line = [pooled.intercept, pooled.slope, 0.0]
    if row_layer is not False:
        layer = fit_row_layer(normed.rows, ("by_largest",), base=line)
        tried.append(layer)
        if layer.on:
            line = [layer.intercept, layer.slope, *layer.coefficients]
    # max log s = max z - log sum exp z
    line = [line[0], line[1], -line[1] - line[2], line[2]]
    if row_layer is not False:
        layer = fit_row_layer(some.rows, ("by_log_sum", "by_largest"), base=line)
        tried.append(layer)
        if layer.on:
            line = [layer.intercept, layer.slope, *layer.coefficients]
    first = RowAffine(
        np.array(line[1], np.float32),
        np.array(line[0], np.float32),
        by_log_sum=line[2],
        by_largest=line[3],
    )
    counted = [] if row_layer is False else _row_layers(some.after(first), row_layer)
    ops = [first, *(layer.op for layer in counted if layer.on)]
    return ops, pooled, [*tried, *counted]


def _row_layers(evidence: Evidence, row_layer: bool | None) -> list[RowLayer]:
    """Row layers as long as they help, each on what the former leaves; all that were tried."""
    tried: list[RowLayer] = []
    while len(tried) < _MOST_ROW_LAYERS and (not tried or tried[-1].on):
        if tried:
            evidence = evidence.after(tried[-1].op)
        gated = bool(tried) or not row_layer
        tried.append(fit_row_layer(evidence.rows, ("by_count",), gated=gated))
    return tried


def _with_classes(
    evidence: Evidence,
    before: Sequence[CalibrationOp],
    pooled: PooledMap,
    tried: list[RowLayer],
    findings: tuple[Finding, ...] = (),
) -> Fitted:
    """The layers that follow, and everything put together."""
    ops = list(before)
    histogram = evidence.after(Chain(tuple(ops))).histogram
    report = LayersReport(pooled, tuple(tried), None, None)
    if histogram.n_classes > 1 and histogram.n_rows > 1:
        lines = shrunk_lines(histogram)
        slope, intercept = lines.slope, lines.intercept
        if isinstance(ops[-1], Affine):
            # two straight lines are one
            ops.pop()
            slope, intercept = slope * pooled.slope, intercept + slope * pooled.shift
        ops.append(Affine(slope.astype(np.float32), intercept.astype(np.float32)))
        curve = pooled_curve(histogram, lines)
        ops += [] if curve is None else [curve.op]
        report = LayersReport(pooled, tuple(tried), lines, curve)
    return Fitted(Chain(tuple(ops)), (*_of_classes(histogram), *findings), report)


def _of_classes(histogram: ScoreHistogram) -> tuple[Finding, ...]:
    both_sides, differing = logistic.can_fit(histogram)
    return (
        *find(
            "one_sided",
            "have no positives or no negatives: they take the line that all classes share",
            ~both_sides,
        ),
        *find(
            "constant_scores",
            "have equal scores: they take the slope that all classes share",
            both_sides & ~differing,
        ),
    )


def _left_of_weights(share: float) -> str:
    if share > 0:
        return f"{100 * share:.0f} % of the weights' shift is still there"
    return f"nothing of the weights' shift is left ({100 * share:.0f} %)"


def _of_map(pooled: PooledMap, log_weight: NDArray[np.float64] | None) -> tuple[Finding, ...]:
    found = []
    if pooled.surviving is not None and pooled.surviving < _FADED:
        message = f"{_left_of_weights(pooled.surviving)}: z - log w alone would overshoot"
        found.append(Finding("faded_weights", message, (), (pooled.surviving,)))
    if abs(pooled.slope - 1) > _FAR_FROM_ONE:
        way = "too sure" if pooled.slope < 1 else "not sure enough"
        message = f"the network is {way}: its logits are multiplied by {pooled.slope:.2f}"
        found.append(Finding("slope", message, (), (pooled.slope,)))
    if log_weight is not None and pooled.kappa is None:
        message = "all weights are equal: what is left of them cannot be told from the intercept"
        found.append(Finding("equal_weights", message, ()))
    return tuple(found)
