"""`Decision`: a fitted pipeline as frozen steps, ready to label rows anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibrate import storage
from calibrate.bulk.rules import compiled
from calibrate.bulk.steps import applied
from calibrate.data.logits import LogitSource, NanPolicy, as_logits
from calibrate.data.names import as_class_names, names_hash
from calibrate.ops import (
    BatchOp,
    CalibrationOp,
    DecisionOp,
    Float32,
    Op,
    RowLabels,
    flat,
    fold,
    sigmoid,
)

Result = TypeVar("Result")

_MANY_CELLS = 1 << 22
"""From here on it pays to load the compiled kernels."""


@dataclass(frozen=True, eq=False)
class Decision:
    """Calibration steps, one decision step, class names, and where they come from.

    Made by ``Pipeline.fit`` or `load`. Needs numpy and safetensors, and scipy for the labels.

    Attributes
    ----------
    steps : tuple of CalibrationOp
        A chain is taken apart.
    rule : DecisionOp
    n_classes : int
    class_names : tuple of str, or None
    provenance : mapping
        Plain JSON values: library version, options, rows and positives of the fit, findings.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.ops import Threshold
    >>> decision = Decision((), Threshold(np.array([0.5, -1.0])), 2)
    >>> decision.predict(np.array([[0.6, -2.0], [0.4, -1.0]])).toarray()
    array([[ True, False],
           [False,  True]])
    """

    steps: tuple[CalibrationOp, ...]
    rule: DecisionOp
    n_classes: int
    class_names: tuple[str, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", flat(self.steps))
        object.__setattr__(self, "provenance", _frozen(dict(self.provenance)))
        object.__setattr__(self, "class_names", as_class_names(self.class_names, self.n_classes))
        for op in (*self.steps, self.rule):
            if op.n_classes not in (None, self.n_classes):
                raise ValueError(
                    f"step {op.wire_name!r} must be for {self.n_classes} classes, got "
                    f"{op.n_classes}"
                )

    def __reduce__(self) -> tuple[type[Decision], tuple[Any, ...]]:
        # the read-only views of the provenance cannot be pickled themselves
        provenance = _plain(self.provenance)
        return Decision, (self.steps, self.rule, self.n_classes, self.class_names, provenance)

    @cached_property
    def _folded(self) -> tuple[tuple[CalibrationOp, ...], DecisionOp]:
        """The same decision with as few steps as decide the same, for `decide`."""
        return fold(self.steps, self.rule, self.n_classes)

    def calibrate(self, logits: Float32) -> Float32:
        """Calibrated logits of checked rows, (n_rows, n_classes), float32."""
        for step in self.steps:
            logits = step.apply(logits)
        return logits

    def decide(self, logits: Float32) -> RowLabels:
        """Labels of checked rows, (n_rows, n_classes), float32."""
        steps, rule = self._folded
        for step in steps:
            logits = step.apply(logits)
        return rule.decide(logits)

    @property
    def adapts(self) -> bool:
        """Whether labels depend on the rows that are labelled together."""
        return isinstance(self.rule, BatchOp)

    def adapted(self, logits: Any, *, nan: NanPolicy = "raise") -> Decision:
        """The decision for the rows of one batch, which labels each of them by itself.

        Takes a few passes over the rows.

        Parameters
        ----------
        logits : array, tensor, path, ...
            All rows of the batch, at least two, shape (n_rows, n_classes).
        nan : {"raise", "negative"}

        Returns
        -------
        Decision
            With plain thresholds; its provenance says to how many rows it was adapted.

        Raises
        ------
        TypeError
            If the decision is no such that adapts.
        ValueError
            If there are fewer than two rows, or the logits are not finite or of another number of
            classes.

        Examples
        --------
        >>> import numpy as np
        >>> from calibrate.ops import BatchPlugIn
        >>> zero = np.array(0.0)
        >>> decision = Decision((), BatchPlugIn(1.0, zero, zero), 1)
        >>> decision.adapted(np.array([[2.0], [-2.0], [-3.0]])).rule.threshold.round(2)
        array([-0.28], dtype=float32)
        """
        if not isinstance(self.rule, BatchOp):
            raise TypeError(
                f"the rule {self.rule.wire_name!r} decides each row by itself: there is nothing to "
                "adapt"
            )
        source = self.source(logits, nan=nan)

        def each_block(work: Callable[[Float32], Result]) -> Iterator[Result]:
            return source.each_block(lambda _, block: work(self.calibrate(block)))

        told = {**_plain(self.provenance), "adapted_to_rows": source.shape[0]}
        return replace(self, rule=self.rule.adapted(each_block), provenance=told)

    def source(
        self,
        logits: Any,
        *,
        nan: NanPolicy = "raise",
        key: str | None = None,
        probabilities: bool = False,
    ) -> LogitSource:
        """Logits of any container, checked to be of this decision's classes.

        Parameters are those of `calibrate.data.as_logits`. A rule that was fitted on probabilities
        takes probabilities.

        Raises
        ------
        ValueError
            If the number of classes, or a name, differs from that of the fit.
        """
        probabilities = probabilities or self.provenance.get("input") == "probabilities"
        source = as_logits(logits, nan=nan, key=key, probabilities=probabilities)
        if source.shape[1] != self.n_classes:
            raise ValueError(
                f"logits must have the {self.n_classes} classes of the fitted rule, got "
                f"{source.shape[1]} classes"
            )
        if None not in (source.class_names, self.class_names):
            as_fitted = list(self.class_names or ())
            for place, name in enumerate(source.class_names or ()):
                if name != as_fitted[place]:
                    raise ValueError(
                        f"class {place} must be {as_fitted[place]!r} as in the fit, got {name!r}"
                    )
        return source

    def blocks(self, source: LogitSource) -> Iterator[tuple[int, RowLabels]]:
        """Labels of all rows in blocks, as (first row, labels)."""
        if source.shape[0] * source.shape[1] < _MANY_CELLS:
            for start, logits in source.blocks():
                yield start, self.decide(logits)
            return
        steps, rule = self._folded

        def on_block(start: int, logits: Float32) -> tuple[int, RowLabels]:
            for step in steps:
                logits = applied(step, logits)
            return start, compiled(rule, logits)

        yield from source.each_block(on_block)

    def predict(self, logits: Any, *, nan: NanPolicy = "raise") -> Any:
        """Labels of the rows.

        Parameters
        ----------
        logits : array, tensor, path, ...
            Whatever `calibrate.data.as_logits` takes, shape (n_rows, n_classes).
        nan : {"raise", "negative"}

        Returns
        -------
        scipy.sparse.csr_array, bool, (n_rows, n_classes)

        Raises
        ------
        ValueError
            If the logits are not finite or of another number of classes, or they are a single row
            and the decision depends on the rows that are labelled together.
        """
        from scipy import sparse

        source = self.source(logits, nan=nan)
        if self.adapts:
            return self.adapted(source).predict(source)
        counts, indices = [np.zeros(1, dtype=np.int64)], [np.empty(0, dtype=np.int32)]
        for _, labels in self.blocks(source):
            counts.append(np.diff(labels.indptr))
            indices.append(labels.indices)
        indptr, columns = np.cumsum(np.concatenate(counts)), np.concatenate(indices)
        return sparse.csr_array(
            (np.ones(len(columns), dtype=np.bool_), columns, indptr), shape=source.shape
        )

    def predict_proba(self, logits: Any, *, nan: NanPolicy = "raise") -> NDArray[np.float32]:
        """Calibrated probabilities, float32, (n_rows, n_classes); 0 for a cell without a score."""
        source = self.source(logits, nan=nan)
        probabilities = np.empty(source.shape, dtype=np.float32)
        for start, block in source.blocks():
            probabilities[start : start + len(block)] = sigmoid(self.calibrate(block))
        return probabilities

    def header(self) -> dict[str, Any]:
        """All but the steps, as plain JSON values."""
        return {
            "n_classes": self.n_classes,
            "class_names": self.class_names,
            "class_names_sha256": names_hash(self.class_names),
            "provenance": _plain(self.provenance),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the decision to one ``.safetensors`` file, all or nothing.

        Raises
        ------
        OSError
            If `path` cannot be written.
        """
        storage.save_ops(path, (*self.steps, self.rule), self.header())

    def to_bytes(self) -> bytes:
        """The content of the file that `save` writes, for a checkpoint or a database."""
        return storage.packed_ops((*self.steps, self.rule), self.header())

    @classmethod
    def from_bytes(cls, data: bytes) -> Decision:
        """The decision in the content of a rule file.

        Raises
        ------
        ValueError
            As `load` does.
        """
        return _decision(*storage.unpacked_ops(data), "the content")


def _frozen(value: Any) -> Any:
    """JSON values that cannot be changed."""
    if isinstance(value, dict):
        return MappingProxyType({name: _frozen(part) for name, part in value.items()})
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    """The JSON values behind `_frozen` ones."""
    if isinstance(value, MappingProxyType):
        return {name: _plain(part) for name, part in value.items()}
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def load(path: str | os.PathLike[str]) -> Decision:
    """The decision in a rule file; needs none of numba, scikit-learn, torch.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, not a rule file, of a newer format, or its parts do not fit.
    """
    return _decision(*storage.load_ops(path), path)


def _decision(
    ops: tuple[Op, ...], header: Mapping[str, Any], path: str | os.PathLike[str]
) -> Decision:
    names = header["class_names"]
    if names is not None:
        names = tuple(names)
    if names_hash(names) != header["class_names_sha256"]:
        raise ValueError(f"{os.fspath(path)}: the class names do not match their hash")
    steps, rule = _split(ops, path)
    try:
        return Decision(steps, rule, header["n_classes"], names, header["provenance"])
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def _split(
    ops: tuple[Op, ...], path: str | os.PathLike[str]
) -> tuple[tuple[CalibrationOp, ...], DecisionOp]:
    *steps, rule = ops or (None,)
    if not isinstance(rule, DecisionOp) or not all(isinstance(s, CalibrationOp) for s in steps):
        raise ValueError(
            f"{os.fspath(path)} must hold calibration steps and one decision at the end, got "
            f"{', '.join(op.wire_name for op in ops) or 'no steps'}"
        )
    return tuple(s for s in steps if isinstance(s, CalibrationOp)), rule
