"""The best set of a row, the slow and obvious way: brute force, recursions, sums over every case.

Imports nothing of ours.
"""

from __future__ import annotations

import itertools
import math

F_OF_NOTHING = 1.0
"""What nothing predicted is worth where nothing is true."""


def f_beta(hits, predicted, true, beta):
    if predicted == true == 0:
        return F_OF_NOTHING
    return (1 + beta**2) * hits / (predicted + beta**2 * true)


def jaccard(hits, predicted, true):
    return F_OF_NOTHING if predicted == true == 0 else hits / (predicted + true - hits)


def outcomes(p):
    """Every set of true labels with its probability, the labels being independent."""
    for truth in itertools.product((0, 1), repeat=len(p)):
        yield truth, math.prod(q if y else 1 - q for q, y in zip(p, truth, strict=True))


def expected(chosen, weighted_outcomes, value):
    """Mean of ``value(hits, predicted, true)`` of a set, given the law of the true labels."""
    total = 0.0
    for truth, probability in weighted_outcomes:
        hits = sum(1 for c in chosen if truth[c])
        total += probability * value(hits, len(chosen), sum(truth))
    return total


def of_highest(p, value):
    """Expected value of the k most likely labels, k from 0 on, by brute force."""
    order = sorted(range(len(p)), key=lambda c: (-p[c], c))
    law = list(outcomes(p))
    return [expected(order[:k], law, value) for k in range(len(p) + 1)]


def best_of_all_sets(p, value):
    """The highest expected value of any set of labels, by brute force."""
    law = list(outcomes(p))
    return max(
        expected(chosen, law, value)
        for k in range(len(p) + 1)
        for chosen in itertools.combinations(range(len(p)), k)
    )


def count_law(p):
    """P(k of the labels are true), k from 0 on, by adding one label after the other."""
    law = [1.0]
    for q in p:
        law = [
            (law[k] if k < len(law) else 0.0) * (1 - q) + (law[k - 1] if k else 0.0) * q
            for k in range(len(law) + 1)
        ]
    return law


def ye(p, beta=1.0):
    """Expected F of the k most likely labels, k from 0 on; O(n^2) for a beta whose square is whole.

    Ye, Chai, Lee and Chieu (2012), section 3: s(k, a) is the mean of 1 / (a + b j) over the number
    j of true labels that come after the first k, built from the last label to the first.
    """
    p = sorted(p, reverse=True)
    n, square = len(p), beta**2
    per, whole = (1, round(square)) if square >= 1 else (round(1 / square), 1)
    # F = (1 + b^2) j / (k + b^2 (j + rest)), in units of 1 / per
    heads = [count_law(p[:k]) for k in range(n + 1)]
    top = per * n + whole * n + whole + 1
    tail = [0.0] + [1.0 / a for a in range(1, top)]
    found = [0.0] * (n + 1)
    for k in range(n, 0, -1):
        found[k] = sum(
            (1 + square) * j * per * heads[k][j] * tail[per * k + whole * j] for j in range(k + 1)
        )
        q = p[k - 1]
        tail = [0.0] + [
            q * tail[a + whole] + (1 - q) * tail[a] for a in range(1, len(tail) - whole)
        ]
    found[0] = math.prod(1 - q for q in p)
    return found


def with_empty(values, p, empty):
    """The same values where the row is empty with probability `empty`, else as if independent."""
    none = math.prod(1 - q for q in p)
    return [empty] + [v * (1 - empty) / (1 - none) for v in values[1:]]


def best_joint(joint, empty, beta=1.0):
    """The best set under P(y_c = 1, |Y| = s) = joint[c][s - 1], trying all sets."""
    n = len(joint)
    best = (empty, ())
    for k in range(1, n + 1):
        for chosen in itertools.combinations(range(n), k):
            value = sum(
                joint[c][s - 1] * (1 + beta**2) / (k + beta**2 * s)
                for c in chosen
                for s in range(1, len(joint[0]) + 1)
            )
            if value > best[0] + 1e-12:
                best = (value, chosen)
    return best


def instance_mean(scores, labels, threshold, value, min_k=0):
    """Mean over rows of ``value(hits, predicted, true)`` of the labels from the threshold up.

    At least `min_k` labels a row, the lower class winning among equals; a score of -inf is never
    taken.
    """
    total = 0.0
    for row, truth in zip(scores, labels, strict=True):
        order = sorted((c for c in range(len(row)) if row[c] > -math.inf), key=lambda c: -row[c])
        chosen = {c for c in order if row[c] >= threshold} | set(order[:min_k])
        total += value(sum(bool(truth[c]) for c in chosen), len(chosen), sum(map(bool, truth)))
    return total / len(scores)
