"""`DecisionLayer`: a fitted decision as a module behind the head of a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from calibrate import ops
from calibrate.decision import Decision, load
from calibrate.torch import rules, steps
from calibrate.torch.rows import top_mask
from calibrate.torch.twin import KeepsItsTypes, Twin

TWINS: Mapping[type[ops.Op], type[Twin]] = {
    ops.Affine: steps.Affine,
    ops.RowAffine: steps.RowAffine,
    ops.Beta: steps.Beta,
    ops.PiecewiseLinear: steps.PiecewiseLinear,
    ops.LabelSmoothing: steps.LabelSmoothing,
    ops.Focal: steps.Focal,
    ops.AsymmetricLoss: steps.AsymmetricLoss,
    ops.Threshold: rules.Threshold,
    ops.BoundedThreshold: rules.BoundedThreshold,
    ops.TopK: rules.TopK,
    ops.ExpectedCountTopK: rules.ExpectedCountTopK,
    ops.WeightedTopK: rules.WeightedTopK,
    ops.LargestGap: rules.LargestGap,
    ops.ModeTopK: rules.ByLaw,
    ops.ExpectedFBeta: rules.ByLaw,
    ops.ExpectedJaccard: rules.ByLaw,
    ops.BatchPlugIn: rules.BatchPlugIn,
}
"""The torch form of every step."""

_FINE_TUNED = (ops.Affine, ops.RowAffine, ops.Beta)


class Top(NamedTuple):
    """The labels of rows, padded.

    Attributes
    ----------
    labels : int64, (n_rows, k_max)
        Class indices from the highest calibrated logit down, the lower index first among equals;
        -1 behind the last.
    scores : float32, (n_rows, k_max)
        Their calibrated logits; ``-inf`` behind the last.
    n_labels : int64, (n_rows,)
        How many there are, at most k_max.
    """

    labels: Tensor
    scores: Tensor
    n_labels: Tensor


class DecisionLayer(KeepsItsTypes):
    """A fitted decision that runs where the network runs, and decides as it does on disk.

    Its numbers are buffers: they move between devices and lie in the ``state_dict``, but stay
    float32 when the network is cast to float16 or bfloat16. Logits of any floating point type are
    compared in float32. A logit that is nan, or ``-inf``, is never predicted.

    Parameters
    ----------
    rule : Decision, Pipeline, str or path
        A fitted pipeline, its decision, or a rule file.
    trainable : bool
        Whether slopes and offsets of the calibration are parameters, to be fine-tuned by the loss
        of ``layer.calibrated(logits)``. Elsewhere they are buffers.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is no rule file.
    TypeError
        If `rule` is none of these.

    Notes
    -----
    ``torch.compile(fullgraph=True, dynamic=True)`` and ``torch.export`` take the layer as it is. An
    exported program with ``ExpectedFBeta``, ``ExpectedJaccard`` or the likeliest number of labels
    needs ``import calibrate.torch`` where it runs, and asks the processor for these numbers.

    Examples
    --------
    >>> import numpy as np, torch
    >>> import calibrate as cal
    >>> from calibrate.ops import Affine, Threshold
    >>> steps = (Affine(np.array(2.0), np.array(-1.0)),)
    >>> decision = cal.Decision(steps, Threshold(np.array([0.0, 3.0])), 2)
    >>> layer = DecisionLayer(decision)
    >>> layer(torch.tensor([[0.5, 2.5], [0.25, 1.5]]))
    tensor([[ True,  True],
            [False, False]])
    >>> layer.top(torch.tensor([[0.5, 2.5]])).labels
    tensor([[1, 0]])
    """

    raw_threshold: Tensor | None

    def __init__(self, rule: Any, *, trainable: bool = False) -> None:
        super().__init__()
        decision = _decision(rule)
        self._told = decision
        self._trainable = bool(trainable)
        self.n_classes = decision.n_classes
        self.class_names = decision.class_names
        self.steps = nn.ModuleList(
            TWINS[type(op)](op, trainable=trainable and isinstance(op, _FINE_TUNED))
            for op in decision.steps
        )
        self.rule = TWINS[type(decision.rule)](decision.rule)
        self._n_first = len(self.steps)
        self.register_buffer("raw_threshold", None, persistent=False)
        self._fold(decision)
        self.register_load_state_dict_post_hook(_derive_again)  # type: ignore[no-untyped-call]

    def forward(self, logits: Tensor, threshold: Tensor | None = None) -> Tensor:
        """Which labels the rows get.

        Parameters
        ----------
        logits : floating point, (..., n_classes)
            As the network gives them.
        threshold : float32, () or (n_classes,), optional
            Thresholds on the calibrated logits (``logit(0.7)`` for a probability of 0.7) instead
            of those of the rule, which are ``layer.rule.threshold``; ``+inf`` means never.

        Returns
        -------
        bool, (..., n_classes)

        Raises
        ------
        TypeError
            If the logits are no floating point numbers.
        ValueError
            If they are of another number of classes, if a threshold is given and the rule is no
            threshold, or if the decision must be adapted to a batch first.
        """
        rows = self._rows(logits)
        if threshold is not None:
            self._check_threshold(threshold)
            return rules.passing(self.calibrated(logits), rules.compared(threshold))
        for step in self.steps[: self._n_first]:
            rows = step(rows)
        folded = self.raw_threshold
        mask = self.rule(rows) if folded is None else rules.passing(rows, folded)
        return mask.reshape(logits.shape)

    def calibrated(self, logits: Tensor) -> Tensor:
        """Calibrated logits, float32, shape of `logits`; differentiable."""
        rows = self._rows(logits)
        for step in self.steps:
            rows = step(rows)
        return rows.reshape(logits.shape)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities, float32, shape of `logits`; differentiable."""
        return torch.sigmoid(self.calibrated(logits))

    def top(self, logits: Tensor, k_max: int | None = None) -> Top:
        """The labels of the rows, padded, the highest calibrated logit first.

        Parameters
        ----------
        logits : floating point, (n_rows, n_classes)
        k_max : int, optional
            At most so many labels a row are kept. By default the bound of the rule, or else the
            number of classes.

        Returns
        -------
        Top

        Raises
        ------
        ValueError
            As in ``forward``, or if `logits` are not a matrix, or `k_max` is not positive.
        """
        if logits.ndim != 2:
            raise ValueError(f"logits must be (n_rows, n_classes), got shape {tuple(logits.shape)}")
        if k_max is not None and not k_max >= 1:
            raise ValueError(f"k_max must be at least 1, got {k_max}")
        bound = cast(rules.Rule, self.rule).k_max if k_max is None else k_max
        width = self.n_classes if bound is None else min(bound, self.n_classes)
        mask = self(logits)
        ranked = torch.where(mask, self.calibrated(logits), -torch.inf)
        count = mask.sum(dim=1).clamp(max=width)
        kept = top_mask(ranked, count, width)
        found = torch.where(kept, ranked, -torch.inf).topk(width, dim=1).indices
        # topk promises no order among equals: by class, then stably by score
        labels = torch.where(kept.gather(1, found), found, self.n_classes).sort(dim=1).values
        there = labels < self.n_classes
        scores = ranked.gather(1, labels.clamp(max=self.n_classes - 1))
        scores, order = torch.where(there, scores, -torch.inf).sort(
            dim=1, descending=True, stable=True
        )
        labels = torch.where(there, labels, -1).gather(1, order)
        return Top(labels, scores, count)

    @property
    def adapts(self) -> bool:
        """Whether labels depend on the rows that are labelled together."""
        return isinstance(self.rule, rules.BatchPlugIn)

    @torch.no_grad()
    def adapted(self, logits: Tensor) -> DecisionLayer:
        """The layer for the rows of one batch, which labels each of them by itself.

        Parameters
        ----------
        logits : floating point, (n_rows, n_classes)
            All rows of the batch, at least two; they go to the processor and back.

        Raises
        ------
        TypeError
            If the rule is no such that adapts.
        ValueError
            If there are fewer than two rows, or the logits are not finite.
        """
        layer = DecisionLayer(self.decision().adapted(self._rows(logits).cpu()))
        return layer.to(logits.device)

    def decision(self) -> Decision:
        """The decision with the numbers that the layer holds now.

        Figures of the fit do not speak of numbers that have been changed since: they are left
        out of its provenance, and ``fine_tuned`` is true.

        Raises
        ------
        ValueError
            If training has led to numbers that no such step can have, such as a slope of 0.
        """
        told = self._told
        new = tuple(cast(ops.CalibrationOp, cast(Twin, step).op()) for step in self.steps)
        rule = cast(ops.DecisionOp, self.rule.op())
        olds = (*told.steps, told.rule)
        if all(a.same_as(b) for a, b in zip((*new, rule), olds, strict=True)):
            return told
        names = ("cross_fit", "fitting_rows")
        provenance = {n: v for n, v in told.header()["provenance"].items() if n not in names}
        return replace(told, steps=new, rule=rule, provenance={**provenance, "fine_tuned": True})

    def extra_repr(self) -> str:
        """What ``print(layer)`` says beside the steps."""
        return f"n_classes={self.n_classes}, trainable={self._trainable}"

    def _rows(self, logits: Tensor) -> Tensor:
        """The logits as float32 rows."""
        if not logits.is_floating_point():
            raise TypeError(f"logits must be floating point numbers, got {logits.dtype}")
        if logits.ndim == 0 or logits.shape[-1] != self.n_classes:
            raise ValueError(
                f"logits must have the {self.n_classes} classes of the fitted rule last, got shape "
                f"{tuple(logits.shape)}"
            )
        rows = logits.to(torch.float32)
        return rows if logits.ndim == 2 else rows.reshape(-1, self.n_classes)

    def _check_threshold(self, threshold: Tensor) -> None:
        if not isinstance(self.rule, rules.Threshold):
            raise ValueError(
                f"the rule {self.rule.wire_name!r} is no threshold, which others could replace"
            )
        if threshold.shape not in ((), (self.n_classes,)):
            raise ValueError(
                f"threshold must be one number or {self.n_classes}, got shape "
                f"{tuple(threshold.shape)}"
            )

    def _fold(self, decision: Decision) -> None:
        """Let elementwise steps before a threshold become thresholds on the raw logits."""
        self.raw_threshold, self._n_first = None, len(self.steps)
        if self._trainable or not isinstance(decision.rule, ops.Threshold):
            return
        kept, rule = ops.fold(decision.steps, decision.rule, self.n_classes)
        assert isinstance(rule, ops.Threshold)
        self._n_first = len(kept)
        device = next(iter(self.rule.buffers())).device
        self.raw_threshold = rules.compared(torch.from_numpy(rule.threshold.copy())).to(device)


def _decision(rule: Any) -> Decision:
    """The decision of a pipeline or a file."""
    if isinstance(rule, str | os.PathLike):
        return load(rule)
    found = getattr(rule, "decision_", rule)
    if not isinstance(found, Decision):
        raise TypeError(
            "rule must be a fitted pipeline, its decision, or the path of a rule file, got "
            f"{type(rule).__name__}"
        )
    return found


def _derive_again(layer: nn.Module, _keys: Any) -> None:
    """After a state is loaded: what follows from its numbers."""
    assert isinstance(layer, DecisionLayer)
    for twin in (*layer.steps, layer.rule):
        assert isinstance(twin, Twin)
        twin.derive(twin.op())
    layer._fold(layer.decision())
