"""How long the best set of a row takes, beside the recursion of Ye and others.

Rows of calibrated logits of 7,900 classes and about 130 labels, and of 159 classes and about 2.4.
Prints a Markdown table: median milliseconds a row in one thread, from logits to the number of
labels, and the most expected F1 that the chosen sets of the first rows lose to the best ones.

    python tests/benchmarks/expected_f.py [ROWS]

The peer is the O(n^2) recursion of Ye, Chai, Lee and Chieu (2012), section 3, written for numba: it
is exact for F1, and looks at all classes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numba
import numpy as np

from calibrate.ops import ExpectedFBeta, ExpectedJaccard, sigmoid

ROUNDS = 5
PEER_ROWS = 3
CASES = ((7900, 130.0), (159, 2.4))
TARGETS = {"by means (Dinkelbach)": 0.15, "second order": 0.6, "exact (quadrature)": 5.0}
"""Milliseconds a row of 7,900 classes."""


def rows_of(n_rows: int, n_classes: int, total: float) -> np.ndarray:
    """Logits whose probabilities add up to about `total` in each row."""
    logits = np.random.default_rng(0).normal(size=(n_rows, n_classes)) * 1.6
    low, high = -30.0, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        sums = (1 / (1 + np.exp(-(logits + middle)))).sum(axis=1).mean()
        low, high = (middle, high) if sums < total else (low, middle)
    return (logits + middle).astype(np.float32)


@numba.njit
def ye(p: np.ndarray) -> np.ndarray:
    """Expected F1 of the k highest of falling probabilities, k from 1 on.

    Numbers of hits beyond 12 standard deviations are left out: else most of the time would be
    spent on fetching memory.
    """
    n, total = len(p), p.sum()
    most = min(n, int(total + 12 * np.sqrt(total) + 20))
    heads = np.zeros((n + 1, most + 1))
    heads[0, 0] = 1.0
    for k in range(1, n + 1):
        heads[k, 0] = heads[k - 1, 0] * (1 - p[k - 1])
        for j in range(1, min(k, most) + 1):
            heads[k, j] = heads[k - 1, j] * (1 - p[k - 1]) + heads[k - 1, j - 1] * p[k - 1]
    value, tail = np.zeros(n), np.zeros(2 * n + 2)
    for a in range(1, 2 * n + 2):
        tail[a] = 1.0 / a
    for k in range(n, 0, -1):
        for j in range(1, min(k, most) + 1):
            value[k - 1] += 2.0 * j * heads[k, j] * tail[k + j]
        for a in range(1, k + most + 1):
            tail[a] = p[k - 1] * tail[a + 1] + (1 - p[k - 1]) * tail[a]
    return value


def milliseconds(work: Callable[[], object], n_rows: int, rounds: int = ROUNDS) -> float:
    """Median time of a row."""
    work()
    times = []
    for _ in range(rounds):
        start = perf_counter()
        work()
        times.append((perf_counter() - start) / n_rows * 1e3)
    return median(times)


def of_case(n_rows: int, n_classes: int, total: float) -> None:
    """Print the lines of one size."""
    logits = rows_of(n_rows, n_classes, total)
    fast, exact = (ExpectedFBeta(judged, None, 0.0, 1.0) for judged in (False, True))

    def from_logits(find: Callable[..., object]) -> Callable[[], object]:
        def work() -> object:
            p = sigmoid(logits)
            return find(p, p.sum(axis=1, dtype=np.float64))

        return work

    forms = {
        "by means (Dinkelbach)": from_logits(fast.by_means),
        "second order": from_logits(fast.by_law),
        "exact (quadrature)": from_logits(exact.by_law),
        "as the rule decides": lambda: (fast.counts(logits), None),
        "Jaccard, as the rule decides": lambda: (
            ExpectedJaccard(False, None, 0.0).counts(logits),
            None,
        ),
        "Jaccard, exact": from_logits(ExpectedJaccard(True, None, 0.0).by_law),
    }
    p = -np.sort(-sigmoid(logits[:PEER_ROWS]).astype(np.float64), axis=1)
    values = [ye(row) for row in p]
    best = [row.max() for row in values]
    for name, work in forms.items():
        k = work()[0][:PEER_ROWS]
        lost = max(top - row[n - 1] for top, row, n in zip(best, values, k, strict=True))
        target = TARGETS.get(name) if n_classes == CASES[0][0] else None
        print(
            f"| {n_classes:,} | {total:g} | {name} | {milliseconds(work, n_rows):.3f} | "
            f"{'' if target is None else f'{target:g}'} | "
            f"{'' if name.startswith('Jaccard') else f'{lost:.0e}'} |",
            flush=True,
        )
    peer = milliseconds(lambda: [ye(row) for row in p], PEER_ROWS, 3)
    print(f"| {n_classes:,} | {total:g} | Ye and others, numba | {peer:.3f} | | 0 |", flush=True)


def main() -> None:
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    print("| classes | labels a row | form | ms a row | target | most F1 lost |")
    print("|---:|---:|---|---:|---:|---:|")
    for n_classes, total in CASES:
        of_case(n_rows, n_classes, total)


if __name__ == "__main__":
    main()
