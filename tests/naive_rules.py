"""The slow, obvious form of the threshold rules: loops over plain numbers, nothing of ours."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from naive import LOWEST, best_cut, logit, sigmoid


def f_of(tp, predicted, true, beta):
    return (1 + beta**2) * tp / (predicted + beta**2 * true) if predicted + true else 0


def expected_cuts(scores):
    """All cuts of one class that part its scores, highest first, as (above, below, tp, predicted).

    `above` and `below` are the scores beside the cut; tp is the sum of the probabilities above it.
    """
    distinct = sorted({float(s) for s in scores if s > -math.inf}, reverse=True)
    cuts = []
    for place in range(len(distinct) + 1):
        above = distinct[place - 1] if place else math.inf
        below = distinct[place] if place < len(distinct) else -math.inf
        chosen = [float(s) for s in scores if s >= above and s > -math.inf]
        cuts.append((above, below, math.fsum(map(sigmoid, chosen)), len(chosen)))
    return cuts


def best_expected_cut(scores, metric):
    """(value, above, below) of the cut whose expected counts are worth most, fewest predictions."""
    cuts = expected_cuts(scores)
    true, cells = cuts[-1][2:]
    best = (-math.inf, math.inf, math.inf)
    for above, below, tp, predicted in cuts:
        counts = tp, predicted - tp, true - tp, (cells - true) - (predicted - tp)
        value = float(metric(*(np.array(count) for count in counts)))
        if value > best[0] + 1e-12:
            best = (value, above, below)
    return best


def plug_in(scores, beta):
    """The logit of ``F / (1 + beta^2)``, F the highest expected F-beta of one class."""
    cuts = expected_cuts(scores)
    true = cuts[-1][2]
    highest = max(f_of(tp, predicted, true, beta) for _, _, tp, predicted in cuts[1:])
    return logit(highest / (1 + beta**2))


def adapted(scores, beta, own=0.0, weight=0.0, offset=0.0):
    """The threshold of one class for a batch, in float64."""
    scores = [float(s) for s in scores if s > -math.inf]
    if len(set(scores)) < 2:
        return math.inf
    mixed = weight * own + (1 - weight) * (plug_in(scores, beta) + offset)
    return min(mixed, max(scores))


def best_f_of_monotone_fit(scores, positive):
    """Highest F1 of the cuts of one class by pooling adjacent violators and the fixed point.

    Exact: the fitted probabilities are fractions, and the threshold rises from 0 to half of F.
    """
    blocks = []
    for score in sorted({float(s) for s in scores}):
        here = [bool(p) for s, p in zip(scores, positive, strict=True) if float(s) == score]
        blocks.append([sum(here), len(here)])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            hits, cells = blocks.pop()
            blocks[-1] = [blocks[-1][0] + hits, blocks[-1][1] + cells]
    true, t = sum(hits for hits, _ in blocks), Fraction(0)
    while True:
        above = [(hits, cells) for hits, cells in blocks if Fraction(hits, cells) > t]
        hits, cells = sum(h for h, _ in above), sum(c for _, c in above)
        better = Fraction(hits, cells + true)
        if better <= t:
            return 2 * t
        t = better


def variance_of_sweep(n):
    return 2.3 * n ** (-2 / 3)


def spread(gaps, variances):
    """Variance of gaps around 0 beyond their own, no gap counted beyond 3 deviations."""
    found = 0.0
    for _ in range(100 if gaps else 0):
        top = bottom = 0.0
        for gap, v in zip(gaps, variances, strict=True):
            kept = min(gap**2, 9 * (v + found))
            top += (kept - v) / (v + 0.05) ** 2
            bottom += 1 / (v + 0.05) ** 2
        before, found = found, max(0.0, top / bottom)
        if abs(found - before) <= 1e-9 * found:
            break
    return found


def shrunk(swept, plug_in, positives, variance=None):
    """(thresholds, variance, offset) class by class."""
    known = [
        n > 0 and math.isfinite(s) and math.isfinite(p)
        for s, p, n in zip(swept, plug_in, positives, strict=True)
    ]
    many = [c for c, n in enumerate(positives) if known[c] and n >= 10]
    offset = 0.0
    if len(many) > 1:
        gaps = [swept[c] - plug_in[c] for c in many]
        own = [variance_of_sweep(positives[c]) for c in many]
        between = spread(gaps, own)
        top = bottom = 0.0
        for gap, v in zip(gaps, own, strict=True):
            most = 3 * math.sqrt(v + between)
            top += min(max(gap, -most), most) / (v + between)
            bottom += 1 / (v + between)
        if abs(top / bottom) > 2 / math.sqrt(bottom):
            offset = top / bottom
    if variance is None:
        here = [c for c in range(len(swept)) if known[c]]
        variance = spread(
            [swept[c] - plug_in[c] - offset for c in here],
            [variance_of_sweep(positives[c]) for c in here],
        )
    thresholds = []
    for c, plug in enumerate(plug_in):
        if known[c] and variance > 0:
            w = variance / (variance + variance_of_sweep(positives[c]))
            thresholds.append(w * swept[c] + (1 - w) * (plug + offset))
        else:
            thresholds.append(plug + offset)
    return thresholds, variance, offset


def s_cut_fbr(folds, metric, fbr):
    """The threshold of one class from the (scores, positive) of each fold that has rows."""
    cuts = []
    for scores, positive in folds:
        scored = [float(s) for s in scores if s > -math.inf]
        if not scored:
            continue
        value, threshold = best_cut(scores, positive, metric)
        if value <= fbr or threshold == math.inf:
            cuts.append(max(scored))
        else:
            cuts.append(min(scored) if threshold == LOWEST else float(threshold))
    return math.fsum(cuts) / len(cuts) if cuts else math.inf
