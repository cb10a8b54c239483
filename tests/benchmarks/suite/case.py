"""The forum's case on disk: logits, labels, and the rules that the jobs apply."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

import calibrate as cal
from calibrate.decision import Decision, load
from calibrate.demo.simulation import simulate
from suite.progress import say

TINY_ROWS, TINY_CLASSES = 2_000, 12
"""Enough that every class has positives, little enough to compile on in no time."""


@dataclass(frozen=True)
class Rules:
    """Fitted decisions for the jobs that only apply one."""

    thresholds: Decision
    top_k: Decision

    @classmethod
    def fit(cls, logits: NDArray[np.float32], labels: sparse.csr_array) -> Self:
        """Per-class thresholds on raw logits, and expected counts on Platt-scaled ones."""
        best_f1 = cal.Pipeline([], cal.PerClassThreshold(cal.metrics.f_beta(1)))
        counted = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK())
        with quiet_fits():
            return cls(best_f1.fit(logits, labels).decision_, counted.fit(logits, labels).decision_)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """As saved by `save`."""
        return cls(load(folder / "thresholds.safetensors"), load(folder / "top_k.safetensors"))

    def save(self, folder: Path) -> None:
        """One rule file each, so that a fresh process applies a rule without fitting it."""
        self.thresholds.save(folder / "thresholds.safetensors")
        self.top_k.save(folder / "top_k.safetensors")


@dataclass(frozen=True)
class Case:
    """Logits, float32 (n_rows, n_classes), an array or a memmap; CSR labels; fitted rules."""

    logits: NDArray[np.float32]
    labels: sparse.csr_array
    rules: Rules

    @classmethod
    def open(cls, folder: Path, *, in_ram: bool) -> Self:
        """The case in `folder`, the matrix read into memory or mapped."""
        logits = _map(folder)
        return cls(np.array(logits) if in_ram else logits, _labels(folder), Rules.load(folder))

    @cached_property
    def labels_by_class(self) -> sparse.csc_array:
        """The same labels as columns, for the peers."""
        return self.labels.tocsc()

    def part(self, n_rows: int, n_classes: int) -> Case:
        """The first rows and classes, in memory, with rules of their own."""
        logits = np.array(self.logits[:n_rows, :n_classes], order="C")
        labels = sparse.csr_array(self.labels[:n_rows, :n_classes])
        return Case(logits, labels, Rules.fit(logits, labels))


def make(folder: Path, n_rows: int, n_classes: int) -> None:
    """Simulate the case in `folder`, unless files of this shape are there; fit its rules."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_there(folder, n_rows, n_classes):
        say(f"simulating {n_rows:,} x {n_classes:,} in {folder}")
        simulate(folder, n_rows, n_classes, seed=0)
    say(f"fitting the rules that are applied to {n_rows:,} x {n_classes:,}")
    Rules.fit(_map(folder), _labels(folder)).save(folder)


def _is_there(folder: Path, n_rows: int, n_classes: int) -> bool:
    try:
        return _map(folder).shape == _labels(folder).shape == (n_rows, n_classes)
    except FileNotFoundError:
        return False


def _map(folder: Path) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = np.load(folder / "logits.npy", mmap_mode="r")
    return logits


def _labels(folder: Path) -> sparse.csr_array:
    return sparse.csr_array(sparse.load_npz(folder / "labels.npz"))


@contextmanager
def quiet_fits() -> Iterator[None]:
    """Findings about single classes are no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cal.FitWarning)
        yield
