"""The slow, obvious forms of the layers of the default calibrator: plain optimisation on cells."""

from __future__ import annotations

import math

import naive
import numpy as np
from scipy import optimize

LOW, HIGH = 0.05, 50.0
"""Bounds of a slope."""


def logistic(features, targets, weights=None, start=None, mean=None, precision=None):
    """Coefficients of least ``sum of w (softplus(eta) - t eta)``, ``eta = features @ them``.

    With `mean` and `precision` a normal prior is added: half the squared distance from the mean.
    """
    features, targets = np.asarray(features, dtype=float), np.asarray(targets, dtype=float)
    k = features.shape[1]
    weights = np.ones(len(features)) if weights is None else np.asarray(weights, dtype=float)
    mean = np.zeros(k) if mean is None else np.asarray(mean, dtype=float)
    precision = np.zeros((k, k)) if precision is None else np.asarray(precision, dtype=float)

    def loss(at):
        off = at - mean
        return naive.log_loss(features @ at, targets, weights) + 0.5 * off @ precision @ off

    def gradient(at):
        p = np.array([naive.sigmoid(eta) for eta in features @ at])
        return features.T @ (weights * (p - targets)) + precision @ (at - mean)

    def hessian(at):
        both = [naive.sigmoid(eta) * naive.sigmoid(-eta) for eta in features @ at]
        return features.T @ ((weights * both)[:, None] * features) + precision

    start = np.zeros(k) if start is None else start
    found = optimize.minimize(
        loss, start, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-8}
    )
    return found.x


def pooled_map(logits, labels, log_weight=None):
    """Slope, intercept and kappa of ``a z + b - kappa log w`` over all cells that have a score."""
    logits, labels = np.asarray(logits, dtype=float), np.asarray(labels, dtype=float)
    scored = logits > -np.inf
    columns = [logits[scored], np.ones(scored.sum())]
    if log_weight is not None:
        columns.append(-np.broadcast_to(log_weight, logits.shape)[scored])
    z, others, t = columns[0], np.stack(columns[1:], axis=1), labels[scored]
    found = logistic(np.column_stack([z, others]), t)
    if not LOW <= found[0] <= HIGH:
        slope = min(max(found[0], LOW), HIGH)
        # at the bound all else is fitted anew, the slope being known
        found = np.concatenate([[slope], shifted_logistic(others, t, slope * z)])
    return (*found, None)[:3]


def shifted_logistic(features, targets, known, weights=None):
    """Coefficients where a part of each logit is known."""
    features, targets = np.asarray(features, dtype=float), np.asarray(targets, dtype=float)
    weights = np.ones(len(features)) if weights is None else weights

    def loss(at):
        return naive.log_loss(known + features @ at, targets, weights)

    def gradient(at):
        p = np.array([naive.sigmoid(eta) for eta in known + features @ at])
        return features.T @ (weights * (p - targets))

    rate = np.average(targets, weights=weights)
    start = np.zeros(features.shape[1])
    start[0] = naive.logit(min(max(rate, 1e-9), 1 - 1e-9)) - np.average(known, weights=weights)
    return optimize.minimize(
        loss, start, jac=gradient, method="BFGS", options={"gtol": 1e-8, "maxiter": 1000}
    ).x


def most_probable_line(x, n, t, centre, mean, covariance, lowest=LOW):
    """Level and slope of ``level + slope (x - centre)`` under a normal prior, slope bounded below.

    The prior is of ``(level - centre, slope - 1)``; each of the `n` cells has the score `x`.
    """
    x, n, t = (np.asarray(part, dtype=float)[np.asarray(n) > 0] for part in (x, n, t))
    features = np.stack([np.ones(len(x)), x - centre], axis=1)
    middle = np.array([centre + mean[0], 1.0 + mean[1]])
    precision = np.linalg.inv(covariance)
    found = logistic(features, t / n, n, start=middle, mean=middle, precision=precision)
    if found[1] >= lowest:
        return found

    def loss(level):
        off = np.array([level, lowest]) - middle
        eta = level + lowest * (x - centre)
        return naive.log_loss(eta, t / n, n) + 0.5 * off @ precision @ off

    around = middle[0]
    level = optimize.minimize_scalar(loss, bracket=(around - 1, around + 1), tol=1e-12).x
    return np.array([level, lowest])


def second_derivatives(line, x, n, centre, covariance):
    """Of the penalised loss at a line, 2 x 2."""
    total = np.linalg.inv(covariance)
    for score, cells in zip(x, n, strict=True):
        feature = np.array([1.0, score - centre])
        p = naive.sigmoid(line[0] + line[1] * (score - centre))
        total = total + cells * p * (1 - p) * np.outer(feature, feature)
    return total


def information_centre(x, n):
    """Mean score of a class, each cell weighted by ``p (1 - p)``."""
    weights = [c * naive.sigmoid(s) * naive.sigmoid(-s) for s, c in zip(x, n, strict=True)]
    return float(np.dot(weights, x) / np.sum(weights))


def empirical_bayes(x, n, t, rounds, start, floor=1e-4):
    """Lines of all classes and the prior that they share, by `rounds` of EM and one fit more."""
    centres = [information_centre(*cells) for cells in zip(x, n, strict=True)]
    mean, covariance = np.zeros(2), np.asarray(start, dtype=float)
    for _ in range(rounds):
        away, spread = [], []
        for c, centre in enumerate(centres):
            line = most_probable_line(x[c], n[c], t[c], centre, mean, covariance)
            away.append(line - [centre, 1.0])
            spread.append(np.linalg.inv(second_derivatives(line, x[c], n[c], centre, covariance)))
        mean = np.mean(away, axis=0)
        covariance = np.mean(
            [np.outer(a - mean, a - mean) + v for a, v in zip(away, spread, strict=True)], axis=0
        )
        for i in range(2):
            covariance[i, i] = max(covariance[i, i], floor)
    lines = [
        most_probable_line(x[c], n[c], t[c], centre, mean, covariance)
        for c, centre in enumerate(centres)
    ]
    return np.array(lines), np.array(centres), mean, covariance


def left_out_logits(x, n, y, centre, mean, covariance):
    """``(logit, cells, positive)``: each kind of cell where a fit without one of it puts it."""
    found = []
    for b, score in enumerate(x):
        for positive, cells in ((1, y[b]), (0, n[b] - y[b])):
            if cells > 0:
                fewer, hits = np.array(n, dtype=float), np.array(y, dtype=float)
                fewer[b] -= 1
                hits[b] -= positive
                line = most_probable_line(x, fewer, hits, centre, mean, covariance, -np.inf)
                found.append((line[0] + line[1] * (score - centre), cells, positive))
    return found


WORD = 1 << 32


def row_key(bits):
    """A number below 2**32 of a row, from the sum of the bits of its scores."""
    word = sum(int(b) for b in bits) % (1 << 64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> shift)) * factor % (1 << 64)
    return (word ^ (word >> 31)) % WORD


def cell_number(bits, key):
    """A number below 2**32 of a cell: its score and its row scrambled."""
    word = ((int(bits) % WORD) ^ int(key)) * 0x9E3779B1 % WORD
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        word = (word ^ (word >> shift)) * factor % WORD
    return word ^ (word >> 16)


def drawn_cells(scores, labels, keys, edges, limits, positive_limit):
    """``(score, row, kind)`` of each cell that is drawn, the kind of a positive being the last."""
    found = []
    for i, row in enumerate(scores):
        for c, score in enumerate(row):
            kind = len(limits) if labels[i][c] else sum(bool(score >= edge) for edge in edges)
            limit = positive_limit if labels[i][c] else limits[kind]
            number = cell_number(np.float32(score).view(np.int32), keys[i])
            if score > -math.inf and number <= int(limit):
                found.append((float(score), i, kind))
    return found


def gain_of_rows(features, rows, targets, weights, folds, base):
    """By how much each row's loss falls from `base` to the line fitted without its fold."""
    features, rows, targets, weights, folds = map(
        np.asarray, (features, rows, targets, weights, folds)
    )
    gains = np.zeros(len(folds))
    for fold in set(folds.tolist()):
        held_out = folds[rows] == fold
        fitted = base
        if not held_out.all():
            fitted = logistic(
                features[~held_out], targets[~held_out], weights[~held_out], start=base
            )
        for j in np.flatnonzero(held_out):
            at = slice(j, j + 1)
            before, after = (
                naive.log_loss(features[at] @ line, targets[at], weights[at])
                for line in (base, fitted)
            )
            gains[rows[j]] += before - after
    return gains


def hats(x, knots):
    """The share of each knot in each score: 1 at the knot, falling to 0 at the ones beside it."""
    return np.stack([np.interp(x, knots, unit) for unit in np.eye(len(knots))], axis=1)


def bend_penalty(knots, ridge=1e-6):
    """Sum of squared bends of offsets, each over the mean distance to the knots beside it."""
    gaps = np.diff(knots)
    total = ridge * np.eye(len(knots))
    for k in range(1, len(knots) - 1):
        bend = np.zeros(len(knots))
        bend[k - 1 : k + 2] = 1 / gaps[k - 1], -1 / gaps[k - 1] - 1 / gaps[k], 1 / gaps[k]
        total += np.outer(bend, bend) / ((gaps[k - 1] + gaps[k]) / 2)
    return total


def smooth_offsets(x, n, y, knots, variance):
    """Offsets at the knots of least penalised loss, and the Laplace form of the evidence."""
    x, n, y = (np.asarray(part, dtype=float) for part in (x, n, y))
    shares, precision = hats(x, knots), bend_penalty(knots) / variance

    def loss(offset):
        return naive.log_loss(x + shares @ offset, y / n, n) + 0.5 * offset @ precision @ offset

    def gradient(offset):
        p = np.array([naive.sigmoid(eta) for eta in x + shares @ offset])
        return shares.T @ (n * p - y) + precision @ offset

    def hessian(offset):
        both = [naive.sigmoid(eta) * naive.sigmoid(-eta) for eta in x + shares @ offset]
        return shares.T @ ((n * both)[:, None] * shares) + precision

    found = optimize.minimize(
        loss, np.zeros(len(knots)), jac=gradient, hess=hessian, method="trust-exact",
        options={"gtol": 1e-7},
    ).x  # fmt: skip
    volume = np.linalg.slogdet(precision)[1] - np.linalg.slogdet(hessian(found))[1]
    return found, 0.5 * volume - loss(found)
