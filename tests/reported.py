"""A small world with everything in it that a report can say, and names that would do harm."""

from __future__ import annotations

import warnings

import numpy as np

import calibrate as cal

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    '" onclick="alert(2)" x="',
    "שלום עולם \u202e reversed",
    "x" * 300,
    "a & b's <b>bold</b>",
    "__proto__",
    "100% $x^2$ #hash?query",
    "42",
)
"""Class names that would do harm if anything but text were made of them."""


def world(n_rows=1500, n_classes=40, seed=0):
    """Logits of a network that predicts too much, and labels from frequent to absent."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.4, 0.002, n_classes)
    labels[:, -1] = False
    logits = 2 * labels + rng.normal(size=labels.shape) + 0.5
    logits[:, 3] *= 3
    return logits.astype(np.float32), labels


def names(n_classes=40):
    plain = [f"class {c}" for c in range(n_classes)]
    plain[4 : 4 + len(HOSTILE)] = HOSTILE
    return plain


def fitted(rule=None, calibrators=None):
    """A pipeline that is fitted to the first 800 rows."""
    logits, labels = world()
    steps = [cal.PosWeightCorrection(np.full(40, 3.0))] if calibrators is None else calibrators
    rule = cal.PerClassThreshold(cal.metrics.f_beta(1)) if rule is None else rule
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cal.FitWarning)
        return cal.Pipeline(steps, rule).fit(logits[:800], labels[:800], class_names=names())
