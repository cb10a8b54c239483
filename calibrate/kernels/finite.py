"""Finding what is not finite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrate.kernels import kernel


@kernel
def ordered_range(bits: NDArray[np.int32]) -> tuple[int, int]:
    """Lowest and highest place of float32 numbers, given as their bits, in their order.

    ``nan`` lies beyond the infinities. As whole numbers they are compared many at a time, which
    a rule about nan forbids for floats.
    """
    low, high = np.int32(0x7FFFFFFF), np.int32(-0x7FFFFFFF)
    for i in range(len(bits)):
        place = bits[i] ^ ((bits[i] >> np.int32(31)) & np.int32(0x7FFFFFFF))
        low = min(low, place)
        high = max(high, place)
    return int(low), int(high)
