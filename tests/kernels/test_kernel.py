"""How kernels are compiled."""

from __future__ import annotations

import numba.core.caching
import pytest

from calibrate.kernels import kernel


def add_one(x):
    return x + 1


def test_a_kernel_runs_where_nothing_can_be_cached(monkeypatch):
    # a read-only installation and a home that cannot be written to leave numba no place
    monkeypatch.setattr(numba.core.caching.CompileResultCacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(add_one)

    compiled = kernel(add_one)

    assert compiled(2) == 3
