"""The step before all others where the network gives probabilities: back to logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calibrate.data.logits import (
    HIGHEST_PROBABILITY,
    LOWEST_PROBABILITY,
    logits_of_probabilities,
)
from calibrate.onnx.arithmetic import log1p
from calibrate.onnx.graph import FLOAT32, FLOAT64, Graph, Value
from calibrate.ops import ElementwiseOp, Float32


@dataclass(frozen=True, eq=False)
class FromProbabilities(ElementwiseOp):
    """``log(p) - log(1 - p)`` in float64, rounded once, as logits are read from probabilities.

    It is part of no rule: there, the border has done it before the first step.
    """

    wire_name: ClassVar[str] = "from_probabilities"

    def apply(self, logits: Float32) -> Float32:
        """Logits of probabilities, a new array."""
        return logits_of_probabilities(logits.astype(np.float64))

    def apply_float64(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same map of float64 probabilities."""
        return logits_of_probabilities(logits).astype(np.float64)

    def columns(self, start: int, stop: int) -> FromProbabilities:
        """The same step, which is the same for all classes."""
        return self


def from_probabilities(graph: Graph, _op: FromProbabilities, probabilities: Value) -> Value:
    """Logits, float32; cells that are ``-inf`` stay so."""
    p = probabilities.cast(FLOAT64).at_least(LOWEST_PROBABILITY).at_most(HIGHEST_PROBABILITY)
    logits = (p.log() - log1p(graph, -p)).cast(FLOAT32)
    return graph.where(graph.is_minus_infinity(probabilities), -np.inf, logits)
