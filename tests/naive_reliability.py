"""Slow and obvious diagnostics of calibration, to hold the fast ones against.

Nothing of ours is imported. Scores are calibrated logits of some cells, -inf where there is none.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, special


def probability(score):
    """The sigmoid in float64."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-np.float64(score)))


def cells_of(scores, labels):
    """(score, probability, label) of the cells that have a score, lowest first."""
    pairs = zip(np.ravel(scores), np.ravel(labels), strict=True)
    cells = [(float(s), float(probability(s)), int(y)) for s, y in pairs if s > -np.inf]
    return sorted(cells, key=lambda cell: cell[0])


def expected_count(scores, labels):
    """Sum of p, positives, and how many standard deviations the one lies above the other."""
    cells = cells_of(scores, labels)
    expected, positives = sum(p for _, p, _ in cells), sum(y for *_, y in cells)
    spread = math.sqrt(sum(p * probability(-s) for s, p, _ in cells))
    if spread == 0.0:
        return expected, positives, math.nan
    # of a positive, 1 - p keeps the digits that p has lost
    above = sum(-probability(-s) if y else p for s, p, y in cells)
    return expected, positives, above / spread


def debiased_squared_ece(scores, labels):
    """Squared calibration error less what the noise of each group of cells adds to it.

    Cells lie in bins of a quarter of a logit from -16 to 16. Neighbouring bins make up groups that
    hold about as much of ``p (1 - p)`` each: 15, or as many as can have 5 of it.
    """
    cells = cells_of(scores, labels)
    bins = [[] for _ in range(128)]
    for score, p, y in cells:
        bins[math.floor(min(max(4.0 * score + 64, 0), 127))].append((p, y))
    centres = [probability((b + 0.5) / 4 - 16) for b in range(128)]
    mass = [len(inside) * p * (1 - p) for inside, p in zip(bins, centres, strict=True)]
    n_groups = min(max(int(sum(mass) / 5), 1), 15)
    groups = [[] for _ in range(n_groups)]
    before = 0.0
    for inside, own in zip(bins, mass, strict=True):
        if inside:
            middle = (before + own / 2) / sum(mass)
            groups[min(int(n_groups * middle), n_groups - 1)] += inside
        before += own
    # the noise of a cell that is alone cannot be told
    groups = [group for group in groups if len(group) > 1]
    total = sum(len(group) for group in groups)
    if total == 0:
        return math.nan
    error = 0.0
    for group in groups:
        n = len(group)
        p, rate = sum(p for p, _ in group) / n, sum(y for _, y in group) / n
        within = sum((q - p) ** 2 for q, _ in group) / n
        error += n / total * ((p - rate) ** 2 - (rate * (1 - rate) - within) / (n - 1))
    return error


def ks_statistic(scores, labels):
    """The largest |mean of y - p| over the cells up to a score, all cells in the denominator."""
    cells = cells_of(scores, labels)
    if not cells:
        return math.nan
    sums = [sum(y - p for s, p, y in cells if s <= cut) for cut in {s for s, *_ in cells}]
    return max(abs(total) for total in sums) / len(cells)


def ks_p_value(scores, labels):
    """Probability that Brownian motion goes as far from 0, by the series in exponentials."""
    cells = cells_of(scores, labels)
    spread = math.sqrt(sum(p * probability(-s) for s, p, _ in cells))
    if spread == 0.0:
        return math.nan
    return brownian_exceeds(ks_statistic(scores, labels) * len(cells) / spread)


def brownian_exceeds(x):
    """P(max |B| on [0, 1] > x), the closed form; far out, below 1e-14, no digits are left."""
    if x == 0.0 or x > 8.0:
        return float(x == 0.0)
    terms = (
        (-1) ** k / (2 * k + 1) * math.exp(-((2 * k + 1) ** 2) * math.pi**2 / (8 * x * x))
        for k in range(200)
    )
    return 1.0 - 4.0 / math.pi * sum(terms)


def isotonic(values, weights):
    """The increasing sequence nearest to `values`: max over starts of min over ends of the mean."""
    n = len(values)

    def average(first, last):
        part = range(first, last + 1)
        return sum(weights[i] * values[i] for i in part) / sum(weights[i] for i in part)

    return [max(min(average(j, k) for k in range(i, n)) for j in range(i + 1)) for i in range(n)]


def brier(p, y):
    return (p - y) ** 2


def log_loss(p, y):
    """Minus the log of the probability of what came; 0 log 0 is 0."""
    return -float(special.xlogy(y, p) + special.xlog1py(1 - y, -p))


def decomposition(scores, labels, loss):
    """(score, MCB, DSC, UNC) of the mean loss, by isotonic regression of the labels."""
    cells = cells_of(scores, labels)
    if not cells:
        return math.nan, math.nan, math.nan, math.nan
    groups = sorted({score for score, *_ in cells})
    weights = [sum(s == score for s, *_ in cells) for score in groups]
    rates = [sum(y for s, _, y in cells if s == score) for score in groups]
    rates = [y / n for y, n in zip(rates, weights, strict=True)]
    fitted = dict(zip(groups, isotonic(rates, weights), strict=True))
    base = sum(y for *_, y in cells) / len(cells)
    if loss is log_loss:
        total = sum(float(np.logaddexp(0.0, -s if y else s)) for s, _, y in cells) / len(cells)
    else:
        total = sum(loss(p, y) for _, p, y in cells) / len(cells)
    recalibrated = sum(loss(fitted[s], y) for s, _, y in cells) / len(cells)
    reference = sum(loss(base, y) for *_, y in cells) / len(cells)
    return total, total - recalibrated, reference - recalibrated, reference


def cox(scores, labels):
    """Slope, intercept, their standard errors and the Wald chi-squared p-value of (1, 0).

    nan where the fit does not exist: one kind of label only, one score only, or the labels parted
    by a score.
    """
    cells = cells_of(scores, labels)
    z, y = np.array([s for s, *_ in cells]), np.array([y for *_, y in cells])
    nothing = (math.nan,) * 5
    if len(set(z.tolist())) < 2 or len(set(y.tolist())) < 2:
        return nothing
    if z[y == 0].max() <= z[y == 1].min() or z[y == 1].max() <= z[y == 0].min():
        return nothing

    def value(line):
        eta = line[0] * z + line[1]
        return np.logaddexp(0.0, eta).sum() - (y * eta).sum()

    def gradient(line):
        miss = special.expit(line[0] * z + line[1]) - y
        return np.array([(miss * z).sum(), miss.sum()])

    def hessian(line):
        w = special.expit(line[0] * z + line[1]) * special.expit(-line[0] * z - line[1])
        return np.array([[(w * z * z).sum(), (w * z).sum()], [(w * z).sum(), w.sum()]])

    found = optimize.minimize(
        value, np.array([0.0, special.logit(y.mean())]), jac=gradient, hess=hessian,
        method="trust-exact", options={"gtol": 1e-12},
    )  # fmt: skip
    information = hessian(found.x)
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    away = found.x - [1.0, 0.0]
    p_value = math.exp(-(away @ information @ away) / 2)
    return float(found.x[0]), float(found.x[1]), float(errors[0]), float(errors[1]), p_value


def false_discoveries_controlled(p_values, rate):
    """Benjamini and Hochberg's list: the k smallest, k the last whose p is at most rate k / m."""
    known = sorted((p, c) for c, p in enumerate(p_values) if not math.isnan(p))
    last = 0
    for k, (p, _) in enumerate(known, start=1):
        if p <= rate * k / len(known):
            last = k
    return [c for _, c in known[:last]]


def quantile(q, n, p):
    """The least number of hits of `n` that is reached with a probability of at least `q`."""
    total = 0.0
    for hits in range(n + 1):
        total += math.comb(n, hits) * p**hits * (1 - p) ** (n - hits)
        if total >= q:
            return hits
    return n


def diagram(scores, counts, positives, level):
    """(cells, positives, mean p, low, high) of each group of bins that rise in their scores.

    Groups hold about as much of ``p (1 - p)`` each: 15, or as many as can have 5 of it.
    """
    p = [float(probability(score)) for score in scores]
    mass = [n * q * (1 - q) for n, q in zip(counts, p, strict=True)]
    n_groups = min(max(int(sum(mass) / 5), 1), 15)
    groups = [[] for _ in range(n_groups)]
    before = 0.0
    for b, own in enumerate(mass):
        if counts[b]:
            middle = (before + own / 2) / sum(mass)
            groups[min(int(n_groups * middle), n_groups - 1)].append(b)
        before += own
    found = []
    for group in filter(None, groups):
        n, t = (int(sum(part[b] for b in group)) for part in (counts, positives))
        mean = sum(counts[b] * p[b] for b in group) / n
        tail = (1 - level) / 2
        low, high = (quantile(q, n, mean) / n for q in (tail, 1 - tail))
        found.append((n, t, mean, low, high))
    return found
