"""Decisions by other libraries, each at its best: scores in, labels of the test rows out.

Thresholds that look for the labels of one class know nothing of a class without fitting labels:
some would then predict it for every row. All are given the other classes alone, and such a class is
never predicted.
"""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from suite.given import Given, Scores, mean_count
from suite.kept import Outcome
from suite.peers import libmultilabel
from suite.peers.batch import Lines
from suite.peers.shared_threshold import (
    MAPIE_PRECISION,
    MAPIE_RECALL,
    mapie_in_batches,
    scikit_learn_flat,
)
from suite.peers.thresholds import (
    as_probabilities,
    optimal_cutoffs,
    scikit_learn_pr_loop,
    scikit_learn_tuned,
    xcolumns_frank_wolfe,
)

Labels = NDArray[np.bool_]

MOST_STEPS = 100


class OutOfTimeError(BaseException):
    """The time of a peer is over; no ``except Exception`` of its own may catch this."""


@dataclass(frozen=True)
class PeerDecider:
    """One way of a library to decide.

    Attributes
    ----------
    decide : callable
        ``decide(scores)``: labels of the test rows, (n_test, n_classes).
    package : str or None
        The distribution that it comes from; None for `suite.peers.libmultilabel`.
    calibrated : bool
        Whether it is given our calibrated log-odds in place of the network's.
    promise : (figure, level), optional
        What it promises instead of a high F1.
    together : bool
        Whether it decides all test rows together, so that none could be decided alone.
    """

    decide: Callable[[Scores], Labels]
    package: str | None
    calibrated: bool = False
    promise: tuple[str, float] | None = None
    together: bool = False

    def scores(self, given: Given) -> Scores:
        """What it is given: the classes with fitting labels."""
        scores = given.calibrated if self.calibrated else given.raw
        return scores.of(scores.labels.any(axis=0))

    def version(self) -> str:
        """Of the package, or a hash of what is written down here.

        Raises ImportError where the package is not installed.
        """
        if self.package is not None:
            return f"{self.package} {metadata.version(self.package)}"
        return hashlib.sha256(Path(libmultilabel.__file__).read_bytes()).hexdigest()

    def run(self, given: Given, budget: float) -> Outcome:
        """Decide, or give up after so many seconds of processor time."""
        scores = self.scores(given)
        start = time.process_time()
        try:
            with _at_most(budget):
                made = self.decide(scores)
        except OutOfTimeError:
            return Outcome(None, budget)
        seconds = time.process_time() - start
        every = given.raw
        labels = np.zeros(every.test.shape, dtype=bool)
        labels[:, every.labels.any(axis=0)] = made
        return Outcome(sparse.csr_array(labels), seconds)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _lines(scores: Scores) -> Lines:
    return Lines(np.ascontiguousarray(scores.fit.T), np.ascontiguousarray(scores.labels.T))


def _probabilities(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(expit(scores.astype(np.float64)))


def by_scores(thresholds: Callable[[Lines], NDArray[np.float64]]) -> Callable[[Scores], Labels]:
    """Thresholds per class on log-odds."""
    return lambda scores: scores.test >= thresholds(_lines(scores))


def optimal_cutoffs_swept(scores: Scores) -> Labels:
    thresholds = optimal_cutoffs("f1")(as_probabilities(_lines(scores)))
    return _probabilities(scores.test) >= thresholds


def optimal_cutoffs_expected(average: str) -> Callable[[Scores], Labels]:
    """Thresholds of highest expected F1, from probabilities alone."""

    def decide(scores: Scores) -> Labels:
        from optimal_cutoffs.expected import dinkelbach_expected_fbeta_multilabel

        found = dinkelbach_expected_fbeta_multilabel(_probabilities(scores.fit), average=average)
        return _probabilities(scores.test) > found.thresholds

    return decide


def shared_cut(scores: Scores) -> Labels:
    threshold = scikit_learn_flat((scores.fit.ravel(), scores.labels.ravel()))
    return scores.test >= threshold


def frank_wolfe(average: str) -> Callable[[Scores], Labels]:
    """A random mixture of classifiers: the classifier of each row is drawn."""

    def decide(scores: Scores) -> Labels:
        truth, p = scores.labels.astype(np.float64), _probabilities(scores.fit)
        mixture = xcolumns_frank_wolfe(average, MOST_STEPS)((truth, p))
        return np.asarray(mixture.predict(_probabilities(scores.test), seed=0)) > 0

    return decide


def block_coordinate(at_mean_count: bool) -> Callable[[Scores], Labels]:
    """The highest expected macro-F1 of the very test rows, all looked at together."""

    def decide(scores: Scores) -> Labels:
        from xcolumns.block_coordinate import predict_using_bc_with_0approx
        from xcolumns.metrics import binary_f1_score_on_conf_matrix

        made = predict_using_bc_with_0approx(
            _probabilities(scores.test),
            binary_f1_score_on_conf_matrix,
            k=mean_count(scores.labels) if at_mean_count else 0,
            seed=0,
        )
        return np.asarray(made) > 0

    return decide


def above(
    thresholds: Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[np.floating[Any]]],
) -> Callable[[Scores], Labels]:
    """What lies above a threshold per class on log-odds."""
    return lambda scores: scores.test > thresholds(scores.fit, scores.labels)


def mapie(options: dict[str, Any]) -> Callable[[Scores], Labels]:
    """One threshold on probabilities; it refuses fitting rows without labels."""

    def decide(scores: Scores) -> Labels:
        some = scores.labels.any(axis=1)
        inputs = scores.fit[some], scores.labels[some].astype(np.int64)
        (threshold,) = np.ravel(mapie_in_batches(options)(inputs))
        return _probabilities(scores.test) > threshold

    return decide


def mapie_of(risk: str, options: dict[str, Any]) -> dict[str, PeerDecider]:
    """On the network's scores and on the calibrated ones."""
    raw = PeerDecider(
        mapie(options), "mapie", promise=(f"instance_{risk}", float(options["target_level"]))
    )
    return {
        f"MAPIE {risk}": raw,
        f"MAPIE {risk} (calibrated)": replace(raw, calibrated=True),
    }


_OPTIMAL_CUTOFFS = "optimal-classification-cutoffs"

PEERS: dict[str, PeerDecider] = {
    "scikit-learn PR-curve loop": PeerDecider(by_scores(scikit_learn_pr_loop), "scikit-learn"),
    "scikit-learn TunedThresholdClassifierCV": PeerDecider(
        by_scores(scikit_learn_tuned), "scikit-learn"
    ),
    "scikit-learn PR curve of all cells": PeerDecider(shared_cut, "scikit-learn"),
    "optimal-cutoffs sort and scan": PeerDecider(optimal_cutoffs_swept, _OPTIMAL_CUTOFFS),
    "optimal-cutoffs expected macro-F1 (calibrated)": PeerDecider(
        optimal_cutoffs_expected("macro"), _OPTIMAL_CUTOFFS, calibrated=True
    ),
    "optimal-cutoffs expected micro-F1 (calibrated)": PeerDecider(
        optimal_cutoffs_expected("micro"), _OPTIMAL_CUTOFFS, calibrated=True
    ),
    "LibMultiLabel SCutFBR": PeerDecider(above(libmultilabel.scut_fbr), None),
    "LibMultiLabel micromacro": PeerDecider(above(libmultilabel.micro_macro), None),
    "LibMultiLabel micromacro (calibrated)": PeerDecider(
        above(libmultilabel.micro_macro), None, calibrated=True
    ),
    "xCOLUMNs Frank-Wolfe macro-F1": PeerDecider(frank_wolfe("macro"), "xcolumns"),
    "xCOLUMNs Frank-Wolfe macro-F1 (calibrated)": PeerDecider(
        frank_wolfe("macro"), "xcolumns", calibrated=True
    ),
    "xCOLUMNs Frank-Wolfe micro-F1": PeerDecider(frank_wolfe("micro"), "xcolumns"),
    "xCOLUMNs Frank-Wolfe micro-F1 (calibrated)": PeerDecider(
        frank_wolfe("micro"), "xcolumns", calibrated=True
    ),
    "xCOLUMNs block coordinate": PeerDecider(block_coordinate(False), "xcolumns", together=True),
    "xCOLUMNs block coordinate (calibrated)": PeerDecider(
        block_coordinate(False), "xcolumns", calibrated=True, together=True
    ),
    "xCOLUMNs block coordinate at k": PeerDecider(
        block_coordinate(True), "xcolumns", together=True
    ),
    "xCOLUMNs block coordinate at k (calibrated)": PeerDecider(
        block_coordinate(True), "xcolumns", calibrated=True, together=True
    ),
    **mapie_of("recall", MAPIE_RECALL),
    **mapie_of("precision", MAPIE_PRECISION),
}
"""By name; calibrated: given what our default calibrator makes of the scores."""
