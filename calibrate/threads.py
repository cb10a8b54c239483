"""One small thread pool: kernels release the GIL, and each thread takes the next piece of work.

Each piece writes only its own part, so that no result depends on the number of threads. The pool
lives as long as one call: nothing is left behind for a forked child to trip on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_RANGES_PER_THREAD = 4
"""More ranges than threads: a thread that another process slows down takes fewer of them."""

_here = threading.local()


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


def each(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``work(item)`` for each of `items`, on all threads; the results in the order of the items.

    `items` may be a generator: it is asked for one item at a time. After an error, or Ctrl-C, no
    further item is begun. Within `work` itself there are no further threads.
    """
    parts = n_threads()
    if parts == 1 or getattr(_here, "at_work", False):
        return [work(item) for item in items]
    results: dict[int, Result] = {}
    waiting, lock, stop = enumerate(items), threading.Lock(), threading.Event()

    def take() -> None:
        _here.at_work = True
        try:
            while not stop.is_set():
                with lock:
                    place, item = next(waiting, (-1, None))
                if place < 0:
                    return
                results[place] = work(item)  # type: ignore[arg-type]
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(parts) as pool:
        try:
            for done in [pool.submit(take) for _ in range(parts)]:
                done.result()
        finally:
            stop.set()
    return [results[place] for place in range(len(results))]


def over_ranges(work: Callable[[int, int], object], n_items: int) -> None:
    """Call ``work(start, stop)`` for consecutive ranges that cover ``range(n_items)``."""
    parts = min(n_threads() * _RANGES_PER_THREAD, n_items)
    if parts <= 1:
        work(0, n_items)
        return
    cuts = [n_items * part // parts for part in range(parts + 1)]
    each(lambda ends: work(*ends), pairwise(cuts))
