"""Walking over labels in CSR."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel


@kernel
def first_from(indices: NDArray[np.int32], low: int, high: int, c: int) -> int:
    """The first place in ``low:high`` of the sorted `indices` that holds class `c` or a later."""
    while low < high:
        middle = (low + high) // 2
        if indices[middle] < c:
            low = middle + 1
        else:
            high = middle
    return low
