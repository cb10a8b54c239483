"""Calibrators, ours and others', as one function each: logits of a network in, log-odds out.

A softmax is no set of probabilities of labels, but that is what a user has: every method but ours
for it is given the log-odds of the softmax.

The others know one class at a time and refuse a class of which all rows are positive, or none. It
then gets its smoothed frequency, (n_positives + 1/2) / (n_rows + 1). Probabilities of exactly 0 and
1 cost an infinite log loss at the first surprise, so that theirs are kept within [1e-7, 1 - 1e-7].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, logit

import calibrate as cal
from suite.peers.scores_classifier import frozen
from suite.saved import SavedNetwork

LEAST_PROBABILITY = 1e-7

Floats = NDArray[np.floating[Any]]
Column = Callable[[Floats, NDArray[np.bool_], Floats], Floats]
"""Fitting scores, fitting labels and test scores of a class in, test probabilities out."""

OURS = "hierarchical"


def scores(network: SavedNetwork, part: str) -> NDArray[np.float32]:
    """What the network gives for log-odds."""
    logits = network.logits(part)
    if not network.is_softmax:
        return logits
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    return (log_p - np.log(-np.expm1(log_p))).astype(np.float32)


def raw(network: SavedNetwork) -> Floats:
    return scores(network, "test")


def corrected(network: SavedNetwork) -> Floats | None:
    """``z - log w``; None where there are no weights to undo."""
    weight = network.pos_weight
    return None if weight is None else _transformed(cal.PosWeightCorrection(weight), network)


def default(network: SavedNetwork) -> Any:
    """What the library offers for a network of this kind, fitted to its validation logits."""
    by_loss = cal.HierarchicalScaling(network.pos_weight)
    calibrator = cal.SoftmaxInclusion() if network.is_softmax else by_loss
    return calibrator.fit(network.logits("val"), network.labels("val"))


def hierarchical(network: SavedNetwork) -> Floats:
    """The default."""
    return default(network).transform(network.logits("test"))


def plain(calibrator: type[Any]) -> Callable[[SavedNetwork], Floats]:
    """One of our calibrators without options."""

    def run(network: SavedNetwork) -> Floats:
        return _transformed(calibrator(), network)

    return run


def _transformed(calibrator: Any, network: SavedNetwork) -> Floats:
    fitted = calibrator.fit(scores(network, "val"), network.labels("val"))
    return fitted.transform(scores(network, "test"))


def scikit_learn(method: str) -> Column:
    def column(z: Floats, y: NDArray[np.bool_], test: Floats) -> Floats:
        from sklearn.calibration import CalibratedClassifierCV

        fitted = CalibratedClassifierCV(frozen(), method=method).fit(z[:, None], y)
        return fitted.predict_proba(test[:, None])[:, 1]

    return column


def netcal(z: Floats, y: NDArray[np.bool_], test: Floats) -> Floats:
    from netcal.scaling import LogisticCalibration

    fitted = LogisticCalibration()
    fitted.fit(expit(z), y.astype(np.int64))
    return np.asarray(fitted.transform(expit(test))).ravel()


def probmetrics(z: Floats, y: NDArray[np.bool_], test: Floats) -> Floats:
    from probmetrics.calibrators import get_calibrator

    fitted = get_calibrator("affine-scaling")
    fitted.fit(_both_sides(z), y.astype(np.int64))
    return fitted.predict_proba(_both_sides(test))[:, 1]


def _both_sides(z: Floats) -> Floats:
    return np.stack([expit(-z), expit(z)], axis=1)


def each_class(column: Column) -> Callable[[SavedNetwork], Floats]:
    """A calibrator of one class, run over all of them."""

    def run(network: SavedNetwork) -> Floats:
        fit, test = (scores(network, part).astype(np.float64) for part in ("val", "test"))
        labels = network.labels("val")
        p = np.empty(test.shape)
        p[:] = (labels.sum(axis=0) + 0.5) / (len(labels) + 1)
        for c in np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0)):
            p[:, c] = column(fit[:, c], labels[:, c], test[:, c])
        return logit(np.clip(p, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))

    return run


METHODS: dict[str, Callable[[SavedNetwork], Floats | None]] = {
    "raw": raw,
    "corrected": corrected,
    "temperature": plain(cal.TemperatureScaling),
    "Platt": plain(cal.PlattScaling),
    "isotonic": plain(cal.IsotonicCalibration),
    "beta": plain(cal.BetaCalibration),
    OURS: hierarchical,
}
"""Ours, in the order of the table."""

PEERS: dict[str, Callable[[SavedNetwork], Floats | None]] = {
    "probmetrics affine": each_class(probmetrics),
    "netcal logistic": each_class(netcal),
    "scikit-learn sigmoid": each_class(scikit_learn("sigmoid")),
    "scikit-learn isotonic": each_class(scikit_learn("isotonic")),
}
