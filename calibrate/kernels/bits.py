"""Finding the few among many: flags of a row, eight bytes at a time; and the order of floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from calibrate.kernels import kernel


def _trailing_zeros(_typing: Any, _word: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, True))

    return types.int64(types.uint64), generate


trailing_zeros = cast(Callable[[np.uint64], int], intrinsic(_trailing_zeros))
"""The place of the lowest 1 of a word that is not 0: one instruction where there is one."""


@kernel
def pack_flags(flags: NDArray[np.uint8], words: NDArray[np.uint64]) -> None:
    """64 bytes of 0 or 1 to each word, the first to its lowest bit."""
    eights = flags.view(np.uint64)
    for place in range(len(words)):
        packed = np.uint64(0)
        for part in range(8):
            product = eights[8 * place + part] * np.uint64(0x0102040810204080)
            packed |= (product >> np.uint64(56)) << np.uint64(8 * part)
        words[place] = packed
