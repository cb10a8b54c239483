"""The squared calibration error without the part that is only noise.

In a group of cells, mean probability and rate of positives differ by chance even if every
probability is right, and the square of that counts as error. Its expectation is estimated from the
group itself and taken away: the mean of the estimate is 0 if the probabilities are right, and it
can be negative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS_PER_LOGIT = 4.0
N_LOGIT_BINS = 128
"""Bins of a quarter of a logit from -16 to 16, from which the groups are made."""

MOST_GROUPS = 15
"""Groups of a line, at most."""

_FEWEST_EVENTS = 5


def debiased_squared_ece(
    cells: NDArray[np.int64],
    positives: NDArray[np.int64],
    gap: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``sum n_b / n ((mean p - rate)^2 - (rate (1 - rate) - s^2) / (n_b - 1))`` over groups b.

    The groups of a line are of about equal ``sum p (1 - p)``: in a rare class, of equally many
    expected positives. They are made from the scores alone, since groups that are chosen by the
    labels would bring the bias back. A group of one cell is left out: its noise cannot be told.

    ``s^2`` is the variance of p within the group. The references take bins in which it is next to
    nothing and leave it out; in a rare class, whose groups are wide, labels of different p vary
    less than as many of equal p, and without it the mean would lie below 0.

    Parameters
    ----------
    cells, positives : int64, (n_lines, N_LOGIT_BINS)
    gap : float64, (n_lines, N_LOGIT_BINS)
        Sum of ``p - y`` in each bin.
    variance : float64, (n_lines, N_LOGIT_BINS)
        Sum of ``p (1 - p)`` in each bin.

    Returns
    -------
    float64, (n_lines,)
        In squared probability; nan where no group has two cells.

    References
    ----------
    Brocker (2012), Estimating reliability and resolution of probability forecasts through
    decomposition of the empirical score; Ferro and Fricker (2012), A bias-corrected
    decomposition of the Brier score; Kumar, Liang and Ma (2019), Verified uncertainty calibration,
    section 4.
    """
    centre = (np.arange(N_LOGIT_BINS) + 0.5) / BINS_PER_LOGIT - N_LOGIT_BINS / BINS_PER_LOGIT / 2
    p = 1 / (1 + np.exp(-centre))
    group = equal_groups(cells * p * (1 - p))
    place = (np.arange(len(cells))[:, None] * MOST_GROUPS + group).ravel()
    size = len(cells) * MOST_GROUPS
    n, y, gaps, variances = (
        np.bincount(place, weights=values.ravel(), minlength=size).reshape(len(cells), -1)
        for values in (cells, positives, gap, variance)
    )
    n[n < 2] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = y / n
        p = rate + gaps / n
        within = p * (1 - p) - variances / n
        error = (gaps / n) ** 2 - (rate * (1 - rate) - within) / (n - 1)
        total = np.where(n > 0, n * error, 0.0).sum(axis=1)
        return np.asarray(total / n.sum(axis=1))


def equal_groups(mass: NDArray[np.float64]) -> NDArray[np.int64]:
    """The group of each bin, as many as can have 5 expected events each and at most 15.

    Parameters
    ----------
    mass : float64, (n_lines, n_bins)
        Sum of ``p (1 - p)`` in each bin, bins in the order of p; each group gets about as much.

    Returns
    -------
    int64, (n_lines, n_bins)
        From 0 to `MOST_GROUPS` - 1, never falling along a line.
    """
    after = np.cumsum(mass, axis=1)
    before = np.concatenate([np.zeros((len(mass), 1)), after[:, :-1]], axis=1)
    total = np.maximum(after[:, -1:], np.finfo(np.float64).tiny)
    n_groups = np.clip((total / _FEWEST_EVENTS).astype(np.int64), 1, MOST_GROUPS)
    middle = (before + mass / 2) / total
    return np.asarray(np.minimum((n_groups * middle).astype(np.int64), n_groups - 1))
