"""The slow, obvious way to meet counts: plain loops over plain numbers, nothing of ours."""

from __future__ import annotations

import itertools
import math

import numpy as np

LOWEST = np.finfo(np.float32).min


def midway(lower, upper):
    """The float32 halfway between two scores, `upper` where nothing lies between."""
    middle = np.float32((float(lower) + float(upper)) / 2)
    return middle if middle > lower else np.float32(upper)


def cut_at_count(scores, wanted):
    """Threshold and count of the cut nearest to `wanted`; of two as near the one of fewer."""
    distinct = sorted({float(s) for s in scores if s > -math.inf}, reverse=True)
    cuts = [(np.float32(np.inf), 0)]
    for place, score in enumerate(distinct):
        last = place + 1 == len(distinct)
        threshold = np.float32(LOWEST) if last else midway(distinct[place + 1], score)
        cuts.append((threshold, sum(float(s) >= score for s in scores)))
    return min(cuts, key=lambda cut: (abs(cut[1] - wanted), cut[1]))


def likeliest_count(probabilities):
    """All counts of highest probability, by the recursion over the trials; up to rounding."""
    law = poisson_binomial(probabilities)
    return [k for k, chance in enumerate(law) if chance >= max(law) * (1 - 1e-9)]


def poisson_binomial(probabilities):
    """How likely each number of successes is, trial after trial."""
    law = [1.0]
    for p in probabilities:
        p = float(p)
        law = [
            (law[k] * (1 - p) if k < len(law) else 0.0) + (law[k - 1] * p if k else 0.0)
            for k in range(len(law) + 1)
        ]
    return law


def largest_gap(scores):
    """Labels of a row: how many lie above its largest gap between probabilities."""
    falling = sorted((sigmoid(float(s)) for s in scores if s > -math.inf), reverse=True)
    gaps = [upper - lower for upper, lower in itertools.pairwise(falling)]
    if not gaps or max(gaps) == 0:
        return 0
    return gaps.index(max(gaps)) + 1


def sigmoid(logit):
    return 1.0 / (1.0 + math.exp(-logit)) if logit > -700 else 0.0


def propensity(n, n_rows, a, b):
    c = (math.log(n_rows) - 1) * (b + 1) ** a
    return 1 / (1 + c * math.exp(-a * math.log(n + b)))


def weighted_top_k(probabilities, k, gain, offset):
    """The mask of the k best of a row by ``gain * p + offset``, the lower class among equals."""
    worth = [g * p + o for p, g, o in zip(probabilities, gain, offset, strict=True)]
    chosen = sorted(range(len(worth)), key=lambda c: (-worth[c], c))[:k]
    return [c in chosen for c in range(len(worth))]


def expected_counts(probabilities, mask):
    """Expected (tp, fp, fn, tn) of each class for decisions given as a mask."""
    n_rows, n_classes = len(probabilities), len(probabilities[0])
    counts = []
    for c in range(n_classes):
        tp = math.fsum(probabilities[i][c] for i in range(n_rows) if mask[i][c])
        k = sum(bool(mask[i][c]) for i in range(n_rows))
        n = math.fsum(probabilities[i][c] for i in range(n_rows))
        counts.append((tp, k - tp, n - tp, n_rows - k - n + tp))
    return counts


def macro(probabilities, mask, metric):
    """Mean over the classes of a metric of expected counts."""
    values = [float(metric(*cell)) for cell in expected_counts(probabilities, mask)]
    return math.fsum(values) / len(values)


def best_budgeted(probabilities, k, metric):
    """The highest macro metric of all decisions that give each row exactly k labels."""
    n_classes = len(probabilities[0])
    choices = list(itertools.combinations(range(n_classes), k))
    best = -math.inf
    for rows in itertools.product(choices, repeat=len(probabilities)):
        mask = [[c in row for c in range(n_classes)] for row in rows]
        best = max(best, macro(probabilities, mask, metric))
    return best


def best_micro_f(scores, labels, beta):
    """The highest micro-F over all thresholds, one per class, by trying all their products."""
    options = []
    for c in range(len(scores[0])):
        column, positive = [row[c] for row in scores], [row[c] for row in labels]
        cuts = {math.inf} | {float(s) for s in column if s > -math.inf}
        options.append(
            {
                (
                    sum(p for s, p in zip(column, positive, strict=True) if s >= cut),
                    sum(1 for s in column if s >= cut),
                )
                for cut in cuts
            }
        )
    n = sum(map(sum, labels))
    square = beta**2
    return max(
        (1 + square) * sum(tp for tp, _ in cell) / (sum(k for _, k in cell) + square * n)
        for cell in itertools.product(*options)
    )
