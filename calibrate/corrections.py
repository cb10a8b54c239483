"""Many tests at once: how sure each of them must be for what is to hold of all."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Correction(ABC):
    """What a number of tests promises together.

    Attributes
    ----------
    name : str
        As on the command line.
    """

    name: str

    @abstractmethod
    def first_level(self, error: float, n_tests: int) -> float:
        """A level that a test is planned for before any p-value is known."""

    @abstractmethod
    def levels(self, p_values: Floats, error: float) -> Floats:
        """The level that each test must keep, given the p-values of all of them.

        A test whose p-value is not above its level is certified.

        Parameters
        ----------
        p_values : float64, (n_tests,)
        error : float
            How likely, or how large a share, errors may be.
        """


@dataclass(frozen=True)
class _Each(Correction):
    def first_level(self, error: float, n_tests: int) -> float:
        return error

    def levels(self, p_values: Floats, error: float) -> Floats:
        return np.full(len(p_values), error)


@dataclass(frozen=True)
class _Holm(Correction):
    def first_level(self, error: float, n_tests: int) -> float:
        return error / n_tests

    def levels(self, p_values: Floats, error: float) -> Floats:
        return np.full(len(p_values), error / len(p_values))


@dataclass(frozen=True)
class _FalseDiscovery(Correction):
    any_dependence: bool

    def first_level(self, error: float, n_tests: int) -> float:
        # half-way, on the scale of logarithms, between one discovery and all
        return error / math.sqrt(n_tests) / self._factor(n_tests)

    def levels(self, p_values: Floats, error: float) -> Floats:
        n_tests = len(p_values)
        per_discovery = error / n_tests / self._factor(n_tests)
        rank = np.arange(1, n_tests + 1)
        kept = np.sort(p_values) <= rank * per_discovery
        n_discoveries = int(rank[kept][-1]) if kept.any() else 1
        return np.full(n_tests, n_discoveries * per_discovery)

    def _factor(self, n_tests: int) -> float:
        return math.fsum(1 / np.arange(1, n_tests + 1)) if self.any_dependence else 1.0


none = _Each("none")
"""Each test for itself: of n promises, ``error * n`` may be expected to be broken."""

holm = _Holm("holm")
"""All promises hold together with probability ``1 - error`` (Holm, 1979), whatever the dependence.

Where a test comes first in a sequence of its own, only the level of tests whose sequence is
certified to its end is handed on to the others.
"""

bh = _FalseDiscovery("bh", any_dependence=False)
"""Of the promises made, a share of at most `error` is expected to be broken (Benjamini and
Hochberg, 1995), for tests that are independent or positively dependent."""

by = _FalseDiscovery("by", any_dependence=True)
"""The same whatever the dependence (Benjamini and Yekutieli, 2001), at a price of about
``log(n_tests)``."""

NAMED = {correction.name: correction for correction in (none, holm, bh, by)}
"""By the name on the command line."""
