"""The torch forms of the steps that turn logits into labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor

from calibrate import ops
from calibrate.torch.processor import at_least, by_kernels, counts_by_law, step_text
from calibrate.torch.rows import expected_counts, top_mask, without_nan
from calibrate.torch.twin import Twin


class Rule(Twin, ABC):
    """A decision as a module: calibrated logits to a mask."""

    @property
    def k_max(self) -> int | None:
        """The most labels that a row can get, if that is known."""
        return None

    @abstractmethod
    def forward(self, logits: Tensor) -> Tensor:
        """Which labels the rows get, bool, (n_rows, n_classes)."""


class Threshold(Rule):
    """``logit >= threshold``; ``+inf`` means never."""

    threshold: Tensor
    passes: Tensor

    def derive(self, op: ops.Op) -> None:
        """The thresholds that are compared."""
        assert isinstance(op, ops.Threshold)
        self.derived("passes", compared(torch.from_numpy(op.threshold.copy())))

    def forward(self, logits: Tensor) -> Tensor:
        """Which labels the rows get."""
        return passing(logits, self.passes)


def passing(logits: Tensor, threshold: Tensor) -> Tensor:
    """``logits >= threshold``."""
    if torch.compiler.is_compiling() and by_kernels(logits):
        mask: Tensor = at_least(logits, threshold)
        return mask
    return logits >= threshold


def compared(threshold: Tensor) -> Tensor:
    """Thresholds with nan for never: an infinite logit passes ``+inf``, but nothing passes nan."""
    lifted = threshold.clamp(min=torch.finfo(torch.float32).min)
    return torch.where(threshold == torch.inf, torch.nan, lifted)


class Highest(Rule):
    """The highest scores of each row; among equals the lower class index wins."""

    @property
    def k_max(self) -> int | None:
        """The most labels that a row can get, if that is known."""
        bound = self.numbers.get("k", self.numbers.get("max_k"))
        return None if bound is None else int(bound)

    def scores(self, logits: Tensor) -> Tensor:
        """What is ranked; ``-inf`` is never predicted."""
        return logits

    @abstractmethod
    def counts(self, scores: Tensor) -> Tensor:
        """How many labels each row gets, int64, (n_rows,)."""

    def forward(self, logits: Tensor) -> Tensor:
        """Which labels the rows get."""
        # nan would be taken for the highest of all
        scores = self.scores(without_nan(logits))
        return top_mask(scores, self.counts(scores), self.k_max)

    def _bounded(self, k: Tensor, n_classes: int) -> Tensor:
        """``k`` within the bounds, and never more than there are classes."""
        max_k = cast("int | None", self.numbers["max_k"])
        most = n_classes if max_k is None else min(max_k, n_classes)
        return k.clamp(min(cast(int, self.numbers["min_k"]), most), most).to(torch.int64)


class TopK(Highest):
    """The ``k`` highest logits of each row."""

    def counts(self, scores: Tensor) -> Tensor:
        """``k``, or all classes where there are fewer."""
        n_rows, n_classes = scores.shape
        k = min(cast(int, self.numbers["k"]), n_classes)
        return torch.full((n_rows,), k, dtype=torch.int64, device=scores.device)


class ByLaw(Highest):
    """The highest logits of each row, as many as the law of its number of labels says.

    The number comes from numpy, whatever the device.
    """

    def derive(self, op: ops.Op) -> None:
        """The step as a text, which a step of a graph can take."""
        self._step = step_text(op)

    def counts(self, scores: Tensor) -> Tensor:
        """How many labels each row gets."""
        counts: Tensor = counts_by_law(scores, self._step)
        return counts


class ExpectedCountTopK(ByLaw):
    """The highest logits of each row, as many as are expected."""

    def counts(self, scores: Tensor) -> Tensor:
        """How many labels each row gets."""
        if by_kernels(scores):
            return super().counts(scores)
        k = torch.floor(expected_counts(scores) + cast(float, self.numbers["offset"]))
        return self._bounded(k, scores.shape[1])


class BoundedThreshold(Highest):
    """``logit >= threshold``, with bounds on the labels of a row."""

    threshold: Tensor

    def scores(self, logits: Tensor) -> Tensor:
        """How far each logit lies above its threshold; ``-inf`` where it may not be predicted."""
        never = self.threshold == torch.inf
        if self.threshold.ndim == 0:
            return torch.where(never, -torch.inf, logits)
        return torch.where(never, -torch.inf, logits - self.threshold)

    def counts(self, scores: Tensor) -> Tensor:
        """How many labels each row gets."""
        least = self.threshold if self.threshold.ndim == 0 else 0.0
        return self._bounded((scores >= least).sum(dim=1), scores.shape[1])


class WeightedTopK(TopK):
    """The ``k`` highest ``gain * probability + offset`` of each row."""

    gain: Tensor
    offset: Tensor

    def scores(self, logits: Tensor) -> Tensor:
        """What is compared along a row."""
        weighted = torch.sigmoid(logits) * self.gain + self.offset
        return torch.where(logits == -torch.inf, -torch.inf, weighted)


class LargestGap(ByLaw):
    """What lies above the largest gap between two neighbouring probabilities of a row."""

    def counts(self, scores: Tensor) -> Tensor:
        """How many labels each row gets."""
        if by_kernels(scores):
            return super().counts(scores)
        falling = scores.sort(dim=1, descending=True).values.to(torch.float64)
        if falling.shape[1] < 2:
            return torch.zeros(len(falling), dtype=torch.int64, device=scores.device)
        probabilities = 1.0 / (1.0 + torch.exp(-falling))
        gaps = probabilities[:, :-1] - probabilities[:, 1:]
        gaps = torch.where(falling[:, 1:] == -torch.inf, 0.0, gaps)
        widest, place = gaps.max(dim=1)
        return torch.where(widest > 0, place + 1, 0)


class BatchPlugIn(Rule):
    """Thresholds that the rows labelled together decide; by itself it decides nothing."""

    own: Tensor
    own_weight: Tensor

    def forward(self, logits: Tensor) -> Tensor:
        """Refused.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "the decision depends on the rows that are labelled together: it must be adapted to "
            "all of them first, by DecisionLayer.adapted"
        )
