"""Logits and labels of simulated networks whose faults are known."""

from __future__ import annotations

import numpy as np

from calibrate import ScoreHistogram
from calibrate.data import labelled_logits
from calibrate.statistics import Grid


def drawn(truth, rng):
    """Labels drawn from true logits."""
    return rng.random(truth.shape) < 1 / (1 + np.exp(-truth))


def well_calibrated(n_rows=3000, n_classes=30, seed=0, rarest=0.003):
    """True logits of classes of many frequencies, and labels."""
    rng = np.random.default_rng(seed)
    prevalence = np.geomspace(rarest, 0.3, n_classes)
    truth = np.log(prevalence / (1 - prevalence)) + 1.3 * rng.normal(size=(n_rows, n_classes)) - 0.6
    return truth, drawn(truth, rng)


def of_weighted_loss(share, stretch=1.0, n_rows=6000, n_classes=60, seed=0):
    """Logits that still have a share of the weights' shift, stretched about their class; weights.

    A network that is too sure stretches its logits about the mean of each class, where
    ``truth + log w`` is 0.
    """
    truth, labels = well_calibrated(n_rows, n_classes, seed)
    prevalence = np.geomspace(0.003, 0.3, n_classes)
    log_weight = np.log((1 - prevalence) / prevalence)
    logits = truth + (stretch - 1) * (truth + log_weight) + share * log_weight
    return logits, labels, np.exp(log_weight)


def competing(n_rows=2000, n_classes=12, seed=0):
    """Each row has one label, and a level of its own that its logits do not share out."""
    rng = np.random.default_rng(seed)
    which = rng.integers(n_classes, size=n_rows)
    labels = np.eye(n_classes, dtype=bool)[which]
    level = rng.normal(size=(n_rows, 1))
    logits = 2.0 * labels + rng.normal(size=labels.shape) - 2.5 + level
    return logits, labels


def with_missing_labels(share, n_rows=8000, n_classes=40, seed=0):
    """Logits of all labels, and only some of the labels: no probability goes above the rest."""
    rng = np.random.default_rng(seed + 1)
    truth, labels = well_calibrated(n_rows, n_classes, seed, rarest=0.01)
    return 1.8 * truth + 1.0, drawn(1.8 * truth + 1.0, rng) & (rng.random(labels.shape) >= share)


def stepped(n_rows=300, n_classes=4, seed=0):
    """Scores in quarters, so that each distinct one has a bin of its own, and their labels."""
    rng = np.random.default_rng(seed)
    scores = np.clip(np.round(rng.normal(size=(n_rows, n_classes)) * 8) / 4, -5, 5)
    slope, shift = np.linspace(0.4, 1.6, n_classes), np.linspace(-1.5, 0.5, n_classes)
    return scores, drawn(slope * scores + shift, rng)


def histogram_of(logits, labels, n_bins=512, **options):
    data = labelled_logits(logits, labels, **options)
    return ScoreHistogram.of(data, Grid.spanning(data, n_bins))


def log_loss(logits, labels):
    """Mean over rows of the sum over classes, in nats."""
    logits = np.asarray(logits, dtype=np.float64)
    return float((np.logaddexp(0, logits) - labels * logits).sum(axis=1).mean())


def mean_average_precision(logits, labels):
    """Over the classes that have a positive."""
    from sklearn.metrics import average_precision_score

    some = labels.any(axis=0)
    return float(average_precision_score(labels[:, some], logits[:, some], average="macro"))
