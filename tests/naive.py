"""The slow, obvious way to do everything: plain loops over plain numbers, nothing of ours.

What the library computes fast must agree with what is computed here.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import optimize

LOWEST = np.finfo(np.float32).min


def sigmoid(logit):
    """One probability in float64, from the side that keeps its digits."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))


def logit(probability):
    return math.log(probability) - math.log1p(-probability)


def midway(lower, upper):
    """The float32 halfway between two scores, `upper` where nothing lies between."""
    if lower is None:
        return np.float32(LOWEST)
    middle = np.float32((float(lower) + float(upper)) / 2)
    return middle if middle > lower else np.float32(upper)


def every_cut(scores, positive):
    """All cuts of one class, highest first, as (threshold, tp, fp, fn, tn).

    A score of -inf is never predicted.
    """
    scores, positive = [float(s) for s in scores], [bool(p) for p in positive]
    distinct = sorted({s for s in scores if s > -math.inf}, reverse=True)
    cuts = [(np.float32(np.inf), *counts_at(math.inf, scores, positive))]
    for place, score in enumerate(distinct):
        lower = distinct[place + 1] if place + 1 < len(distinct) else None
        cuts.append((midway(lower, score), *counts_at(score, scores, positive)))
    return cuts


def cuts_on_positives(scores, positive):
    """The cut above all scores and those whose last score is one of a positive."""
    on = {float(s) for s, p in zip(scores, positive, strict=True) if p}
    distinct = sorted({float(s) for s in scores if s > -math.inf}, reverse=True)
    cuts = every_cut(scores, positive)
    return [cuts[0]] + [cut for score, cut in zip(distinct, cuts[1:], strict=True) if score in on]


def counts_at(threshold, scores, positive):
    """(tp, fp, fn, tn) of predicting ``score >= threshold``."""
    tp = fp = fn = tn = 0
    for score, true in zip(scores, positive, strict=True):
        if score >= threshold:
            tp, fp = tp + bool(true), fp + (not true)
        else:
            fn, tn = fn + bool(true), tn + (not true)
    return tp, fp, fn, tn


def best_cut(scores, positive, metric):
    """(value, threshold) of the best of all cuts; among equals the one that predicts fewest."""
    best = (-math.inf, np.float32(np.inf))
    for threshold, *counts in every_cut(scores, positive):
        value = float(metric(*(np.float64(count) for count in counts)))
        if value > best[0]:
            best = (value, threshold)
    return best


def _share(part, whole):
    return part / whole if whole else 0.0


def f_beta(beta):
    def metric(tp, fp, fn, tn):
        precision, recall = _share(tp, tp + fp), _share(tp, tp + fn)
        return _share((1 + beta**2) * precision * recall, beta**2 * precision + recall)

    return metric


def jaccard(tp, fp, fn, tn):
    return _share(tp, tp + fp + fn)


def balanced_accuracy(tp, fp, fn, tn):
    return (_share(tp, tp + fn) + _share(tn, fp + tn)) / 2


def mcc(tp, fp, fn, tn):
    """The correlation of the two 0/1 columns."""
    n = tp + fp + fn + tn
    true, predicted = (tp + fn) / n, (tp + fp) / n
    variances = true * (1 - true) * predicted * (1 - predicted)
    return (tp / n - true * predicted) / math.sqrt(variances) if variances > 0 else 0.0


def cost(false_positive, false_negative):
    return lambda tp, fp, fn, tn: -(false_positive * fp) - false_negative * fn


def precision_at_recall(least):
    return lambda tp, fp, fn, tn: _share(tp, tp + fp) if _share(tp, tp + fn) >= least else -math.inf


def recall_at_precision(least):
    return lambda tp, fp, fn, tn: _share(tp, tp + fn) if _share(tp, tp + fp) >= least else -math.inf


def average_precision(scores, positive):
    """Sum over the cuts of the gain in recall times the precision there; nan without positives."""
    n_positive = sum(bool(p) for p in positive)
    if n_positive == 0:
        return math.nan
    total, before = 0.0, 0
    for _, tp, fp, _, _ in every_cut(scores, positive)[1:]:
        total += (tp - before) / n_positive * tp / (tp + fp)
        before = tp
    return total


def top_k(scores, k):
    """The mask of the `k` best of one row by (-score, index); -inf is never among them."""
    order = sorted(range(len(scores)), key=lambda c: (-float(scores[c]), c))
    chosen = set(order[:k])
    return [c in chosen and scores[c] > -math.inf for c in range(len(scores))]


def expected_count(row):
    return math.fsum(sigmoid(float(z)) if z > -math.inf else 0.0 for z in row)


def total_count(sums, offset, least, most):
    """Labels of all rows when each gets ``floor(sum + offset)`` between two bounds."""
    return sum(min(max(math.floor(s + offset), least), most) for s in sums)


def count_steps(sums, least, most, apart=1e-8):
    """The staircase of the total over the offset, as (from, to, total), from -inf to +inf.

    Steps narrower than `apart` are left out: on them some row rests on the last digits of its sum.
    """
    breaks = sorted({k - float(s) for s in sums for k in range(least + 1, most + 1)})
    steps = []
    for lower, upper in itertools.pairwise([-math.inf, *breaks, math.inf]):
        if math.isfinite(lower) and math.isfinite(upper):
            inside = (lower + upper) / 2
        elif math.isfinite(upper):
            inside = upper - 1.0
        else:
            inside = lower + 1.0 if math.isfinite(lower) else 0.0
        if upper - lower > apart:
            steps.append((lower, upper, total_count(sums, inside, least, most)))
    return steps


def nearest_total(sums, wanted, least, most):
    """The nearest total that any offset reaches; of two as near the larger."""
    totals = [total for _, _, total in count_steps(sums, least, most)]
    return min(totals, key=lambda total: (abs(total - wanted), -total))


def bin_means(scores, positive, low, high, n_bins):
    """Of each bin: how many scores, how many positives, and the mean score (nan where empty)."""
    members = [[] for _ in range(n_bins)]
    hits = [0] * n_bins
    for score, true in zip(scores, positive, strict=True):
        if score == -math.inf:
            continue
        place = math.floor((float(score) - low) / (high - low) * n_bins)
        place = min(max(place, 0), n_bins - 1)
        members[place].append(float(score))
        hits[place] += bool(true)
    means = [math.fsum(m) / len(m) if m else math.nan for m in members]
    return [len(m) for m in members], hits, means


def log_loss(logits, targets, weights):
    """Sum of ``w (softplus(eta) - t eta)``, t being the share of positives of each cell."""
    return float(np.sum(weights * (np.logaddexp(0.0, logits) - targets * logits)))


def logistic_line(x, targets, weights=None, intercept=True):
    """Slope and intercept of least log loss, by a general optimiser."""
    x, targets = np.asarray(x, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    weights = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)

    def loss(line):
        return log_loss(line[0] * x + line[1] * intercept, targets, weights)

    def gradient(line):
        eta = line[0] * x + line[1] * intercept
        residual = weights * (np.array([sigmoid(e) for e in eta]) - targets)
        return np.array([np.sum(residual * x), np.sum(residual) * intercept])

    found = optimize.minimize(
        loss, np.array([0.1, 0.0]), jac=gradient, method="BFGS", options={"gtol": 1e-9}
    )
    return float(found.x[0]), float(found.x[1] * intercept)


def platt_targets(positive):
    """Smoothed 0/1 of Platt: (n+ + 1) / (n+ + 2) and 1 / (n- + 2)."""
    n_positive = sum(bool(p) for p in positive)
    n_negative = len(positive) - n_positive
    high, low = (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2)
    return np.array([high if p else low for p in positive])


def affine(logit, scale, shift):
    """``scale * logit + shift`` in float32, each of the two results rounded."""
    with np.errstate(over="ignore"):
        return np.float32(np.float32(np.float32(logit) * np.float32(scale)) + np.float32(shift))


def row_affine(logit, scale, shift, term):
    """Each operation rounded to float32."""
    with np.errstate(over="ignore"):
        return np.float32(affine(logit, scale, shift) + np.float32(term))


def row_term(row, by_count, by_largest, by_log_sum):
    """What a row adds to its logits, in float64."""
    scored = [float(z) for z in row if z > -math.inf]
    if not scored:
        return 0.0
    largest = max(scored)
    log_sum = largest + math.log(sum(math.exp(z - largest) for z in scored))
    count = math.log(0.05 + expected_count(row))
    return by_count * count + by_largest * largest + by_log_sum * log_sum


def piecewise_linear(logit, knots, values, below, above):
    """The map at one logit, in float64, found knot by knot."""
    logit, knots, values = float(logit), [float(k) for k in knots], [float(v) for v in values]
    if logit == -math.inf:
        return -math.inf
    if logit < knots[0]:
        return values[0] + (logit - knots[0]) * below
    last = max(i for i in range(len(knots)) if knots[i] <= logit)
    if last == len(knots) - 1:
        return values[-1] + (logit - knots[-1]) * above
    share = (logit - knots[last]) / (knots[last + 1] - knots[last])
    return values[last] + share * (values[last + 1] - values[last])


def shared_targets(probabilities):
    """``E[y_c / |Y|]`` of independent labels, by every set of labels that a row can have."""
    expected = [0.0] * len(probabilities)
    for labels in itertools.product([0, 1], repeat=len(probabilities)):
        pairs = zip(labels, probabilities, strict=True)
        chance = math.prod(p if label else 1.0 - p for label, p in pairs)
        for c, label in enumerate(labels):
            expected[c] += chance / sum(labels) if label else 0.0
    return expected
