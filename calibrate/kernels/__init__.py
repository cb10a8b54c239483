"""Kernels: arrays in, arrays out. No checks, no classes, no strings; the callers have checked.

Each works on a range ``first:last`` of its classes (or rows) and writes only that range, so that
threads can share the work without changing a result. A kernel and the jitted helpers it calls
share one file: numba's disk cache does not see a change in another one. The exceptions are in
`bits` and `csr`: who changes what one of those does gives it another name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile on first call, release the GIL, keep the machine code on disk; nan stays nan."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # a read-only installation and a home that cannot be written to: compile every time
        compiled = numba.njit(**options)(function)
    return cast(Function, compiled)
