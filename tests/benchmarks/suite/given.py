"""What a method that decides may know of a saved network: never the labels of the test rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from suite.calibrators import default, scores
from suite.saved import SavedNetwork


class Scores(NamedTuple):
    """Log-odds of the fitting rows with their labels, and of the test rows.

    Attributes
    ----------
    fit : float32, (n_fit, n_classes)
    labels : bool, (n_fit, n_classes)
    test : float32, (n_test, n_classes)
    """

    fit: NDArray[np.float32]
    labels: NDArray[np.bool_]
    test: NDArray[np.float32]

    def of(self, classes: NDArray[np.bool_]) -> Scores:
        """Some classes alone."""
        return Scores(*(np.ascontiguousarray(part[:, classes]) for part in self))

    @property
    def digest(self) -> str:
        """SHA-256 of all three."""
        state = hashlib.sha256()
        for part in self:
            state.update(f"{part.dtype.str} {part.shape}".encode())
            state.update(np.ascontiguousarray(part).data)
        return state.hexdigest()


@dataclass(frozen=True)
class Given:
    """A network's scores, as they are and after our default calibrator.

    Attributes
    ----------
    network : SavedNetwork
    """

    network: SavedNetwork

    @cached_property
    def raw(self) -> Scores:
        """What the network gives; of a softmax the log-odds of its outputs."""
        fit, test = (scores(self.network, part) for part in ("val", "test"))
        return Scores(fit, self.network.labels("val"), test)

    @cached_property
    def calibrated(self) -> Scores:
        """After what the library offers for a network of this kind, fitted to the fitting rows."""
        calibrator = default(self.network)
        fit, test = (calibrator.transform(self.network.logits(part)) for part in ("val", "test"))
        return Scores(fit, self.network.labels("val"), test)

    @property
    def mean_count(self) -> int:
        """Labels per fitting row, as the nearest number of labels that can be predicted."""
        return mean_count(self.raw.labels)


def mean_count(labels: NDArray[np.bool_]) -> int:
    """Labels per row, rounded, at least 1."""
    return max(1, round(float(labels.sum(axis=1).mean())))
