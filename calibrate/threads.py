"""One small thread pool: kernels release the GIL and run over disjoint ranges.

Ranges are disjoint and each writes only its own part, so that no result depends on the number of
threads. The pool lives as long as one call: nothing is left behind for a forked child to trip on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise


def n_threads() -> int:
    """Threads to use: ``CALIBRATE_NUM_THREADS``, else the cores this process may run on."""
    wanted = os.environ.get("CALIBRATE_NUM_THREADS")
    if wanted is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores()
    if not wanted.isdigit() or int(wanted) < 1:
        raise ValueError(f"CALIBRATE_NUM_THREADS must be a positive integer, got {wanted!r}")
    return int(wanted)


def _cores() -> int:
    return os.cpu_count() or 1


def over_ranges(work: Callable[[int, int], object], n_items: int) -> None:
    """Call ``work(start, stop)`` for consecutive ranges that cover ``range(n_items)``."""
    parts = min(n_threads(), n_items)
    if parts <= 1:
        work(0, n_items)
        return
    cuts = [n_items * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        for done in [pool.submit(work, a, b) for a, b in pairwise(cuts)]:
            done.result()
