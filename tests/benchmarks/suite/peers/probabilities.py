"""Peers that fit a map from scores to probabilities, class by class, or count scores for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from suite.jobs import Result
from suite.peers.batch import Columns
from suite.peers.peer import Peer
from suite.peers.scores_classifier import frozen
from suite.peers.verdict import Differences


def scikit_learn_loop(method: str) -> Callable[[Columns], list[Any]]:
    """``CalibratedClassifierCV`` on one frozen column after the other."""

    def run(batch: Columns) -> list[Any]:
        from sklearn.calibration import CalibratedClassifierCV

        return [
            CalibratedClassifierCV(frozen(), method=method).fit(z[:, None], y)
            for y, z in zip(batch.truth, batch.scores, strict=True)
        ]

    return run


def _judge_scikit_learn(batch: Columns, made: list[Any], ours: Result) -> Differences:
    theirs = [
        fitted.predict_proba(z[:, None])[:, 1] for fitted, z in zip(made, batch.scores, strict=True)
    ]
    return _differences(batch, np.stack(theirs), ours)


def _probabilities(batch: Columns) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return batch.probabilities, batch.truth.astype(np.int64)


def netcal_loop(inputs: tuple[NDArray[np.float64], NDArray[np.int64]]) -> list[Any]:
    """Its logistic calibration of one class after the other."""
    from netcal.scaling import LogisticCalibration

    made = []
    for p, y in zip(*inputs, strict=True):
        made.append(LogisticCalibration())
        made[-1].fit(p, y)
    return made


def _judge_netcal(batch: Columns, made: list[Any], ours: Result) -> Differences:
    pairs = zip(made, batch.probabilities, strict=True)
    return _differences(batch, np.stack([fitted.transform(p) for fitted, p in pairs]), ours)


def _differences(batch: Columns, theirs: NDArray[np.float64], ours: Result) -> Differences:
    slope, shift = (ours[name][batch.first : batch.last, None] for name in ("scale", "shift"))
    return Differences.between("probabilities", theirs, special.expit(batch.scores * slope + shift))


def numpy_histograms(batch: Columns) -> list[Any]:
    """Counts of all scores and of the positives, one class after the other."""
    made = []
    for y, z in zip(batch.truth, batch.scores, strict=True):
        counts, edges = np.histogram(z, 512)
        made.append((counts, np.histogram(z[y], edges)[0]))
    return made


PEERS = (
    Peer(
        "numpy.histogram loop",
        Columns,
        numpy_histograms,
        {"histogram": None},
        note="counts alone, no means of bins",
        same_job=False,
    ),
    Peer(
        "scikit-learn sigmoid loop",
        Columns,
        scikit_learn_loop("sigmoid"),
        {"platt": _judge_scikit_learn, "temperature": _judge_scikit_learn},
        note="targets smoothed as Platt's",
    ),
    Peer(
        "netcal LogisticCalibration loop",
        Columns,
        netcal_loop,
        {"platt": _judge_netcal, "temperature": _judge_netcal},
        _probabilities,
        note="targets 0 and 1",
    ),
    Peer(
        "scikit-learn isotonic loop",
        Columns,
        scikit_learn_loop("isotonic"),
        {"isotonic": None},
    ),
)
