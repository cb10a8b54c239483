"""Thresholding as LibMultiLabel defines it, on given scores.

The library trains a linear model for each fold and has no way in for scores. Here the scores of
the fitting rows are given and the folds only part the rows: a cut is chosen on each fold, and the
threshold of a class is the mean of the cuts. What it draws anew for each class, the order of the
rows, is drawn once.

Its training with a cost for each class has no counterpart: it chooses the cost by training anew.

References: Fan and Lin (2007), A study on threshold selection for multi-label classification
(SCutFBR); Lin and others (2023), On the thresholding strategy for infrequent labels in multi-label
classification, CIKM, section 4.3 (micromacro-freq).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FOLDS = 3
FLOORS = np.arange(1, 9) / 10
"""F1 that the cut of a fold must exceed, else the highest score of the fold stands for it."""

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


class Cuts(NamedTuple):
    """Every cut of every class: the i-th leaves the i lowest scores out.

    Attributes
    ----------
    threshold : float64, (n_rows + 1, n_classes)
        Midway between two scores, or just beyond the first and the last.
    possible : bool, (n_rows + 1, n_classes)
        False between equal scores.
    tp, size : float64, (n_rows + 1, n_classes)
        True positives, and predicted plus true labels.
    """

    threshold: Floats
    possible: Bools
    tp: Floats
    size: Floats

    @classmethod
    def of(cls, scores: Floats, labels: Bools) -> Cuts:
        n_rows, n_classes = scores.shape
        order = np.argsort(scores, axis=0, kind="stable")
        ranked = np.take_along_axis(scores, order, axis=0).astype(np.float64)
        truth = np.take_along_axis(labels, order, axis=0)
        threshold = np.empty((n_rows + 1, n_classes))
        threshold[0] = np.nextafter(ranked[0], -np.inf)
        threshold[1:-1] = (ranked[:-1] + ranked[1:]) / 2
        threshold[-1] = np.nextafter(ranked[-1], np.inf)
        possible = np.ones(threshold.shape, dtype=bool)
        possible[1:-1] = ranked[:-1] < ranked[1:]
        lost = np.zeros(threshold.shape)
        np.cumsum(truth, axis=0, out=lost[1:])
        positives = truth.sum(axis=0)
        predicted = n_rows - np.arange(n_rows + 1)[:, None]
        return cls(threshold, possible, positives - lost, predicted + positives.astype(float))

    @property
    def f1(self) -> Floats:
        return _ratio(2 * self.tp, self.size)

    def last_best(self, values: Floats) -> NDArray[np.intp]:
        """For each class the highest of the possible cuts of highest value."""
        upwards = np.where(self.possible, values, -np.inf)[::-1]
        return len(upwards) - 1 - upwards.argmax(axis=0)

    def one(self, c: int) -> Cuts:
        """Those of one class."""
        return Cuts(*(part[:, [c]] for part in self))


def scut_fbr(scores: Floats, labels: Bools, seed: int = 0) -> Floats:
    """Thresholds of SCutFBR, (n_classes,); what lies above is predicted.

    The floor of each class is the one of highest F1 in three folds, the highest of several; within
    the other folds thresholds are found in the same way. A class without any F1 gets the lowest.
    """
    random = np.random.default_rng(seed)
    total = np.zeros((len(FLOORS), scores.shape[1]))
    for rows, others in _folds(len(scores), random):
        thresholds = _floored(scores[others], labels[others], random)
        truth = labels[rows]
        for place, threshold in enumerate(thresholds):
            made = scores[rows] > threshold
            total[place] += _ratio(
                2.0 * (made & truth).sum(axis=0), made.sum(axis=0) + truth.sum(axis=0)
            )
    best = len(FLOORS) - 1 - total[::-1].argmax(axis=0)
    best[total.max(axis=0) == 0] = 0
    return _floored(scores, labels, random)[best, np.arange(len(best))]


def _floored(scores: Floats, labels: Bools, random: np.random.Generator) -> Floats:
    """Mean over the folds of the best cuts, for each floor, (n_floors, n_classes)."""
    mean = np.zeros((len(FLOORS), scores.shape[1]))
    for rows, _ in _folds(len(scores), random):
        cuts = Cuts.of(scores[rows], labels[rows])
        f1 = cuts.f1
        best = cuts.last_best(f1), np.arange(f1.shape[1])
        enough = f1[best] > FLOORS[:, None]
        mean += np.where(enough, cuts.threshold[best], scores[rows].max(axis=0)) / FOLDS
    return mean


def micro_macro(scores: Floats, labels: Bools, seed: int = 0) -> Floats:
    """Thresholds of micromacro-freq, (n_classes,); what lies above is predicted.

    From the most frequent class to the rarest, each cut is best for the micro-F1 of all classes so
    far plus what the class adds to their macro-F1.
    """
    folds = [
        Cuts.of(scores[rows], labels[rows])
        for rows, _ in _folds(len(scores), np.random.default_rng(seed))
    ]
    mean = np.zeros(scores.shape[1])
    tp = size = 0.0
    by_frequency = np.argsort(-labels.sum(axis=0), kind="stable")
    for n_classes, c in enumerate(by_frequency, 1):
        added = np.zeros(2)
        for cuts in (fold.one(c) for fold in folds):
            value = _ratio(2 * (cuts.tp + tp), cuts.size + size) + cuts.f1 / n_classes
            best = cuts.last_best(value)[0]
            mean[c] += cuts.threshold[best, 0] / FOLDS
            added += cuts.tp[best, 0], cuts.size[best, 0]
        tp, size = tp + added[0], size + added[1]
    return mean


def _folds(
    n_rows: int, random: np.random.Generator
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The rows of each fold, and all others."""
    parts = np.array_split(random.permutation(n_rows), FOLDS)
    for fold, rows in enumerate(parts):
        yield rows, np.concatenate([part for place, part in enumerate(parts) if place != fold])


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """0 where 0 / 0."""
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom > 0)
