"""Walks over sorted scores: isotonic recalibration, and how far sums of y stray from sums of p."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel

KEYS = 1 << 16
KEYS_PER_LOGIT = 1 << 10
KEY_STEPS = 1 << 20
"""Cells of all classes are pooled by key, 1/1024 of a logit from -32 to 32, with their places in
it in whole steps, so that sums are the same in any order."""

N_FIGURES = 9
"""What `_figures` fills in: the cells; the largest distance of the sums of y and p; the sum of
``p (1 - p)``; Brier score and log loss, of p, recalibrated, and of the base rate."""


@kernel
def _unlikelier(
    logit: NDArray[np.float64],
    length: int,
    small: NDArray[np.float64],
    cost: NDArray[np.float64],
) -> None:
    """The smaller of p and 1 - p, with all its digits, and the log loss of the likelier label."""
    for g in range(length):
        tail = np.exp(-abs(logit[g]))
        small[g] = tail / (1.0 + tail)
        cost[g] = np.log1p(tail)


@kernel
def _entropy(t: np.int64, n: np.int64) -> float:
    """The log loss of n cells, t of them positive, at their own rate; in nats."""
    if t == 0 or t == n:
        return 0.0
    return float(-(t * np.log(t / n) + (n - t) * np.log1p(-t / n)))


@kernel
def _recalibrated(
    n: NDArray[np.int64],
    t: NDArray[np.int64],
    length: int,
    block_n: NDArray[np.int64],
    block_t: NDArray[np.int64],
) -> tuple[float, float]:
    """Sum of squares and log loss (nats) after isotonic regression of t / n, weighted by n.

    Neighbours that do not rise are pooled; rates are compared as products of whole numbers.
    """
    top = 0
    for g in range(length):
        here_n, here_t = n[g], t[g]
        while top > 0 and block_t[top - 1] * here_n >= here_t * block_n[top - 1]:
            top -= 1
            here_n += block_n[top]
            here_t += block_t[top]
        block_n[top] = here_n
        block_t[top] = here_t
        top += 1
    squares = nats = 0.0
    for k in range(top):
        squares += block_t[k] * (1.0 - block_t[k] / block_n[k])
        nats += _entropy(block_t[k], block_n[k])
    return squares, nats


@kernel
def _figures(
    logit: NDArray[np.float64],
    small: NDArray[np.float64],
    cost: NDArray[np.float64],
    n: NDArray[np.int64],
    t: NDArray[np.int64],
    length: int,
    block_n: NDArray[np.int64],
    block_t: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Fill `out` from groups of equal logit, ascending; see `N_FIGURES`."""
    cells, positives = np.int64(0), np.int64(0)
    stray = farthest = variance = squares = nats = 0.0
    for g in range(length):
        likely_positive = logit[g] > 0.0
        negatives = n[g] - t[g]
        miss, hit = (negatives, t[g]) if likely_positive else (t[g], negatives)
        far = 1.0 - small[g]
        off = miss * far - hit * small[g]
        stray += -off if likely_positive else off
        farthest = max(farthest, abs(stray))
        variance += n[g] * small[g] * far
        squares += miss * far * far + hit * small[g] * small[g]
        nats += n[g] * cost[g]
        if miss > 0:
            nats += miss * abs(logit[g])
        cells += n[g]
        positives += t[g]
    out[0] = cells
    out[1] = farthest
    out[2] = variance
    out[3] = squares
    out[4] = nats
    out[5], out[6] = _recalibrated(n, t, length, block_n, block_t)
    out[7] = positives * (1.0 - positives / cells) if cells > 0 else 0.0
    out[8] = _entropy(positives, cells) if cells > 0 else 0.0


@kernel
def _grouped(
    line: NDArray[np.float32],
    positives: NDArray[np.float32],
    logit: NDArray[np.float64],
    n: NDArray[np.int64],
    t: NDArray[np.int64],
) -> int:
    """Cells and positives of each distinct score of a sorted line; how many there are."""
    length = 0
    place = at = 0
    while place < len(line) and line[place] == -np.inf:
        place += 1
    while at < len(positives) and positives[at] == -np.inf:
        at += 1
    while place < len(line):
        score, first, first_at = line[place], place, at
        while place < len(line) and line[place] == score:
            place += 1
        while at < len(positives) and positives[at] == score:
            at += 1
        logit[length] = score
        n[length] = place - first
        t[length] = at - first_at
        length += 1
    return length


@kernel
def _pool(
    logit: NDArray[np.float64],
    n: NDArray[np.int64],
    t: NDArray[np.int64],
    length: int,
    pooled: NDArray[np.int64],
) -> None:
    for g in range(length):
        spot = min(max(logit[g] * KEYS_PER_LOGIT + KEYS // 2, 0.0), np.float64(KEYS))
        key = min(int(spot), KEYS - 1)
        pooled[0, key] += n[g]
        pooled[1, key] += t[g]
        pooled[2, key] += n[g] * np.int64((spot - key) * KEY_STEPS + 0.5)


@kernel
def _uniform(state: np.uint64) -> float:
    """A number in [0, 1) that looks random, from a counter (Steele, Lea and Flood, 2014)."""
    mixed = state * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return np.float64(mixed >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def _draw(
    logit: NDArray[np.float64],
    small: NDArray[np.float64],
    n: NDArray[np.int64],
    length: int,
    counter: np.uint64,
    t: NDArray[np.int64],
) -> np.uint64:
    """Labels drawn as the probabilities say; the counter after it."""
    for g in range(length):
        p = 1.0 - small[g] if logit[g] > 0.0 else small[g]
        t[g] = 0
        for _ in range(n[g]):
            counter += np.uint64(1)
            t[g] += _uniform(counter) < p
    return counter


@kernel
def walk_lines(
    lines: NDArray[np.float32],
    indptr: NDArray[np.int64],
    positives: NDArray[np.float32],
    first: int,
    last: int,
    first_class: int,
    seed: int,
    figures: NDArray[np.float64],
    pooled: NDArray[np.int64],
    drawn: NDArray[np.float64],
) -> None:
    """Figures of the lines ``first:last``, of their cells pooled, and of labels drawn anew.

    Parameters
    ----------
    lines : float32, (n_lines, n_scores), each sorted ascending
        A cell without a score (``-inf``) is left out.
    indptr : int64, (n_lines + 1,)
    positives : float32, sorted ascending within each ``indptr[c]:indptr[c + 1]``
    first_class, seed : int
        The class of line 0 and a seed, from which the drawn labels follow.
    figures : float64, (n_lines, N_FIGURES)
        Filled, see there.
    pooled : int64, (3, KEYS)
        Added to: cells, positives, and places within the key in steps of ``1 / KEY_STEPS`` of it.
    drawn : float64, (n_lines, n_draws, N_FIGURES)
        Filled: the same figures of labels that are drawn as the probabilities say.
    """
    n_scores = lines.shape[1]
    logit, small, cost = np.empty(n_scores), np.empty(n_scores), np.empty(n_scores)
    n, t = np.empty(n_scores, np.int64), np.empty(n_scores, np.int64)
    block_n, block_t = np.empty(n_scores, np.int64), np.empty(n_scores, np.int64)
    for c in range(first, last):
        length = _grouped(lines[c], positives[indptr[c] : indptr[c + 1]], logit, n, t)
        _unlikelier(logit, length, small, cost)
        _figures(logit, small, cost, n, t, length, block_n, block_t, figures[c])
        _pool(logit, n, t, length, pooled)
        # far enough apart that the counters of two classes never meet
        counter = (np.uint64(seed) << np.uint64(52)) ^ (np.uint64(first_class + c) << np.uint64(32))
        for k in range(drawn.shape[1]):
            counter = _draw(logit, small, n, length, counter, t)
            _figures(logit, small, cost, n, t, length, block_n, block_t, drawn[c, k])


@kernel
def walk_groups(
    logit: NDArray[np.float64],
    n: NDArray[np.int64],
    t: NDArray[np.int64],
    figures: NDArray[np.float64],
) -> None:
    """The same figures of one line of groups, ascending by logit."""
    small, cost = np.empty_like(logit), np.empty_like(logit)
    block_n, block_t = np.empty_like(n), np.empty_like(t)
    _unlikelier(logit, len(n), small, cost)
    _figures(logit, small, cost, n, t, len(n), block_n, block_t, figures)
