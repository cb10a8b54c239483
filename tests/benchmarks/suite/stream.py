"""The yardstick: one read of the matrix, as fast as this machine's memory gives it."""

from __future__ import annotations

import statistics
import time

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.kernels import kernel

_FEWEST, _LEAST_SECONDS = 3, 0.05


@kernel
def _sum_up(cells: NDArray[np.int32]) -> int:
    """A counted loop: iterating over the cells themselves takes seven times as long."""
    total = np.int64(0)
    for place in range(len(cells)):
        total += np.int64(cells[place])
    return int(total)


def stream_read(matrix: NDArray[np.float32]) -> int:
    """Sum the cells of `matrix` on all threads, read as if they were whole numbers.

    A sum of floats must be made in the order of the cells, so that the compiler uses one lane of
    the vector unit and the sum waits for its own additions: about 3.5 times the time that the
    memory needs, and every job would look that much better. Whole numbers may be added in any
    order; their sum vectorises (80 GB/s from the cache of one core, where it was measured) and
    waits for memory alone.
    """
    cells = matrix.reshape(-1).view(np.int32)
    totals: list[int] = []
    threads.over_ranges(lambda a, b: totals.append(_sum_up(cells[a:b])), len(cells))
    return sum(totals)


def stream_read_seconds(matrix: NDArray[np.float32]) -> float:
    """Median of a few reads; of more where one is too short for the clock."""
    seconds: list[float] = []
    while len(seconds) < _FEWEST or sum(seconds) < _LEAST_SECONDS:
        start = time.perf_counter()
        stream_read(matrix)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
