"""What networks learn under each loss, the slow way: the loss as its paper has it, nothing of ours.

A network that is free at every logit drives ``P loss_of_positive + (1 - P) loss_of_negative`` to
its minimum. The library turns that logit back into ``P``; here the loss itself is looked at.
"""

from __future__ import annotations

import math

from naive import sigmoid


def learned_logit(probability, slope_positive, slope_negative, low=-60.0, high=60.0):
    """Where ``P l+'(z) + (1 - P) l-'(z)`` changes its sign, by bisection."""
    for _ in range(200):
        middle = (low + high) / 2
        slope = probability * slope_positive(middle) + (1 - probability) * slope_negative(middle)
        low, high = (middle, high) if slope < 0 else (low, middle)
    return (low + high) / 2


def log_odds(slope_positive, slope_negative, z):
    """The log odds at which the two slopes cancel at `z`; both are slopes in any one variable."""
    return math.log(slope_negative(z)) - math.log(-slope_positive(z))


def smoothed_slopes(pos_weight, label_smoothing):
    """Slopes in z of the logistic loss, positives weighted, targets ``y (1 - e) + e / 2``."""

    def slope(target):
        return lambda z: (1 - target) * sigmoid(z) - target * pos_weight * sigmoid(-z)

    half = label_smoothing / 2
    return slope(1 - half), slope(half)


def unsmoothed(z, pos_weight, label_smoothing):
    """``clip((s(z - log w) - e / 2) / (1 - e))`` as it stands; clipped to [1e-7, 1 - 1e-7]."""
    p = (sigmoid(z - math.log(pos_weight)) - label_smoothing / 2) / (1 - label_smoothing)
    return min(max(p, 1e-7), 1 - 1e-7)


def focal_slopes(gamma, alpha):
    """Slopes in z of ``-alpha (1 - q)^g log q`` and ``-(1 - alpha) q^g log(1 - q)``."""

    def positive(z):
        q, rest = sigmoid(z), sigmoid(-z)
        return alpha * (gamma * rest**gamma * q * math.log(q) - rest ** (gamma + 1))

    def negative(z):
        q, rest = sigmoid(z), sigmoid(-z)
        return (1 - alpha) * (q ** (gamma + 1) - gamma * q**gamma * rest * math.log(rest))

    return positive, negative


def focal_log_odds(z, gamma):
    """Log odds of ``h(q) / (h(q) + h(1 - q))``, h(v) = v / ((1 - v)^g - g (1 - v)^(g - 1) v log v).

    Both parts are taken apart, as ``1 - q`` has more digits than a probability near 1.
    """

    def h(v, rest):
        return v / (rest**gamma - gamma * rest ** (gamma - 1) * v * math.log(v))

    q, rest = sigmoid(z), sigmoid(-z)
    return math.log(h(q, rest)) - math.log(h(rest, q))


def asymmetric_slopes(gamma_pos, gamma_neg, clip, detached):
    """Slopes in ``q = s(z)`` of ``-(1 - q)^g+ log q`` and ``-q_m^g- log(1 - q_m)``.

    With `detached` the two powers are constants to the gradient.
    """

    def positive(z):
        q, rest = sigmoid(z), sigmoid(-z)
        slope = -(rest**gamma_pos) / q
        if not detached:
            slope += gamma_pos * rest ** (gamma_pos - 1) * math.log(q)
        return slope

    def negative(z):
        left = sigmoid(z) - clip
        if left <= 0:
            return 0.0
        slope = left**gamma_neg / (1 - left)
        if not detached:
            slope -= gamma_neg * left ** (gamma_neg - 1) * math.log1p(-left)
        return slope

    return positive, negative


def elkan(probability, base_rate, other_base_rate):
    """The probability at another base rate (Elkan 2001, theorem 2)."""
    p, b, other = probability, base_rate, other_base_rate
    return other * (p - p * b) / (b - p * b + other * p - b * other)


def king_zeng(logit_in_sample, share_in_sample, share_in_population):
    """The prior correction of the intercept (King and Zeng 2001)."""
    tau, ybar = share_in_population, share_in_sample
    return logit_in_sample - math.log((1 - tau) / tau * ybar / (1 - ybar))


def dal_pozzolo(probability_in_sample, kept):
    """Back from undersampled negatives, each kept with probability `kept` (2015)."""
    p, beta = probability_in_sample, kept
    return beta * p / (beta * p - p + 1)


def beta_map(q, a, b, c):
    """Log odds ``c + a log q - b log(1 - q)`` of beta calibration."""
    return c + a * math.log(q) - b * math.log(1 - q)
