"""The slow, obvious way to do everything: plain loops over plain numbers, nothing of ours.

What the library computes fast must agree with what is computed here.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

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


def path_points(scores, positive):
    """All (tp, fp) from the top down, as if each negative between two scores of positives came
    by itself: those that tie with a positive are passed before it as well as with it."""
    cuts = cuts_on_positives(scores, positive)
    scored = [p for s, p in zip(scores, positive, strict=True) if s > -math.inf]
    last = sum(not p for p in scored)
    points = []
    for place, (_, tp, fp, _, _) in enumerate(cuts):
        until = cuts[place + 1][2] if place + 1 < len(cuts) else last
        points += [(tp, false) for false in range(fp, until + 1)]
    return points


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


def precision(tp, fp, fn, tn):
    return _share(tp, tp + fp)


def recall(tp, fp, fn, tn):
    return _share(tp, tp + fn)


def constrained(metric, bounded, least):
    """The metric where another is at least so much."""
    return lambda *counts: metric(*counts) if bounded(*counts) >= least else -math.inf


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


def softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def beta(logit, a, b, c):
    """The map of beta calibration in logits, in float64."""
    if logit == -math.inf:
        return -math.inf
    logit = min(float(logit), -float(LOWEST))
    return float(c) - float(a) * softplus(-logit) + float(b) * softplus(logit)


def beta_loss(abc, x, targets, weights):
    return log_loss(np.array([beta(z, *abc) for z in x]), np.asarray(targets), np.asarray(weights))


def beta_map(x, targets, weights, highest=50.0):
    """``a, b, c`` of least log loss within ``0 <= a, b <= highest``, by a general optimiser."""
    x, t, n = (np.asarray(part, dtype=np.float64) for part in (x, targets, weights))
    features = np.array([[-softplus(-z), softplus(z), 1.0] for z in x])

    def loss(abc):
        eta = features @ abc
        p = np.array([sigmoid(e) for e in eta])
        return log_loss(eta, t, n), features.T @ (n * (p - t))

    rate = min(max(np.sum(n * t) / np.sum(n), 1e-9), 1 - 1e-9)
    found = [
        optimize.minimize(
            loss, np.array([a, b, c]), jac=True, method="L-BFGS-B",
            bounds=[(0, highest), (0, highest), (None, None)],
            options={"maxiter": 20000, "maxfun": 20000, "ftol": 1e-16, "gtol": 1e-11},
        )
        for a, b, c in [(1, 1, 0), (0, 1, logit(rate)), (1, 0, logit(rate)), (0, 0, logit(rate))]
    ]  # fmt: skip
    return min(found, key=lambda result: result.fun).x


def ties(scores, positive):
    """Of each distinct score but -inf, ascending: the score, cells, positives."""
    cells = {}
    for score, true in zip(scores, positive, strict=True):
        if score > -math.inf:
            n, y = cells.get(float(score), (0, 0))
            cells[float(score)] = (n + 1, y + bool(true))
    return [(score, *cells[score]) for score in sorted(cells)]


def isotonic(groups):
    """Rate of each (score, n, y): the highest, over starts, of the lowest mean over ends."""

    def mean(a, b):
        return Fraction(sum(g[2] for g in groups[a:b]), sum(g[1] for g in groups[a:b]))

    return [
        max(
            min(mean(a, b) for b in range(place + 1, len(groups) + 1)) for a in range(place + 1)
        )
        for place in range(len(groups))
    ]  # fmt: skip


def minorant_slopes(groups):
    """Slopes of the greatest convex minorant of cumulative positives over cumulative cells."""
    points = [(0, 0)]
    for _, n, y in groups:
        points.append((points[-1][0] + n, points[-1][1] + y))
    lowest = []
    for x, height in points:
        chords = [
            Fraction(y1) + Fraction(y2 - y1, x2 - x1) * (x - x1)
            for x1, y1 in points
            for x2, y2 in points
            if x1 < x2 and x1 <= x <= x2
        ]
        lowest.append(min([Fraction(height), *chords]))
    return [
        (high - low) / (x2 - x1)
        for (x1, _), (x2, _), low, high in zip(points, points[1:], lowest, lowest[1:], strict=False)
    ]


def venn_abers(scores, positive, new):
    """Isotonic rates of a new score when it is taken for a negative, and for a positive."""
    ends = []
    for label in (False, True):
        groups = ties([*scores, new], [*positive, label])
        ends.append(isotonic(groups)[[g[0] for g in groups].index(float(new))])
    return tuple(ends)


def deal(groups, n_folds, shuffled):
    """Fold of each row: the largest group first, each to the fold with the fewest rows so far.

    `shuffled` are the places of the sorted ids, in the order in which equals are taken.
    """
    ids = sorted(set(groups))
    size = {one: sum(other == one for other in groups) for one in ids}
    order = sorted((ids[place] for place in shuffled), key=lambda one: -size[one])
    rows_in, fold_of = [0] * n_folds, {}
    for one in order:
        fold_of[one] = min(range(n_folds), key=lambda fold: (rows_in[fold], fold))
        rows_in[fold_of[one]] += size[one]
    return [fold_of[one] for one in groups]


def em_prevalence(probabilities, weights, prior, n_steps):
    """Prevalence of rows whose probabilities hold for the prevalence `prior`: EM of Saerens et al.

    Each step weighs the two sides of every probability anew, and takes the mean.
    """
    now = prior
    for _ in range(n_steps):
        total = 0.0
        for p, weight in zip(probabilities, weights, strict=True):
            positive, negative = now / prior * p, (1 - now) / (1 - prior) * (1 - p)
            total += weight * positive / (positive + negative)
        now = total / sum(weights)
    return now


def mixture_log_likelihood(probabilities, weights, prior, prevalence):
    """``sum w log(pi p / pi_s + (1 - pi) (1 - p) / (1 - pi_s))``."""
    return math.fsum(
        weight * math.log(prevalence * p / prior + (1 - prevalence) * (1 - p) / (1 - prior))
        for p, weight in zip(probabilities, weights, strict=True)
    )


def most_likely_prevalence(probabilities, weights, prior, low, high):
    """The prevalence between two of greatest likelihood, which is concave, by thirds."""
    while high - low > 1e-10:
        third = (high - low) / 3
        left, right = low + third, high - third
        values = [mixture_log_likelihood(probabilities, weights, prior, at) for at in (left, right)]
        low, high = (left, high) if values[0] < values[1] else (low, right)
    return (low + high) / 2


def bbse(source_high, source_positive, target_high):
    """Prevalence of the target, from the rates of high scores: Lipton, Wang and Smola."""
    positive = [h for h, y in zip(source_high, source_positive, strict=True) if y]
    negative = [h for h, y in zip(source_high, source_positive, strict=True) if not y]
    tpr, fpr = sum(positive) / len(positive), sum(negative) / len(negative)
    return (sum(target_high) / len(target_high) - fpr) / (tpr - fpr)


def shared_targets(probabilities):
    """``E[y_c / |Y|]`` of independent labels, by every set of labels that a row can have."""
    expected = [0.0] * len(probabilities)
    for labels in itertools.product([0, 1], repeat=len(probabilities)):
        pairs = zip(labels, probabilities, strict=True)
        chance = math.prod(p if label else 1.0 - p for label, p in pairs)
        for c, label in enumerate(labels):
            expected[c] += chance / sum(labels) if label else 0.0
    return expected


def bounded_labels(logits, thresholds, low, high):
    """Classes that pass their thresholds, filled up or cut down by how far they lie above them."""
    far = []
    for c, (logit, threshold) in enumerate(zip(logits, thresholds, strict=True)):
        if logit == -math.inf or threshold == math.inf:
            continue
        with np.errstate(over="ignore"):
            far.append((-float(np.float32(logit) - np.float32(threshold)), c))
    far.sort()
    n_passing = sum(distance <= 0 for distance, _ in far)
    k = max(n_passing, low)
    if high is not None:
        k = min(k, high)
    return sorted(c for _, c in far[:k])
