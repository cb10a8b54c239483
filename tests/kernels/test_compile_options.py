"""What no kernel may ask of the compiler."""

from __future__ import annotations

from importlib import import_module
from pkgutil import walk_packages

import pytest
from numba.core.dispatcher import Dispatcher

from calibrate import kernels

KERNELS = {
    f"{file.name}.{name}": value
    for file in walk_packages(kernels.__path__, "calibrate.kernels.")
    for name, value in vars(import_module(file.name)).items()
    if isinstance(value, Dispatcher)
}

FORBIDDEN = {"fast", "nnan", "ninf"}
"""``-inf`` marks a cell without a score: a kernel must not be compiled as if there were none."""


def flags(fastmath: object) -> set[str]:
    """The flags that a value of numba's ``fastmath`` stands for."""
    if isinstance(fastmath, bool) or fastmath is None:
        return {"fast"} if fastmath else set()
    return set(fastmath)


def test_there_are_kernels():
    assert KERNELS


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_never_starts_threads_of_its_own(name):
    # numba's threads do not survive a fork, and would be too many inside of ours
    assert not KERNELS[name].targetoptions.get("parallel")


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_never_takes_nan_and_infinity_for_impossible(name):
    assert not flags(KERNELS[name].targetoptions.get("fastmath")) & FORBIDDEN


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_lets_other_threads_run(name):
    assert KERNELS[name].targetoptions["nogil"]
