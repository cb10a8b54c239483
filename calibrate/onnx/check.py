"""A graph against the decision it was made of, before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from calibrate.data import as_logits
from calibrate.decision import Decision
from calibrate.onnx.appended import Appended
from calibrate.onnx.model import folded_steps, input_name, takes_probabilities
from calibrate.onnx.steps import EXACT
from calibrate.ops import BoundedThreshold, DecisionOp, Float32, HighestOp, RowLabels, Threshold

Run = Callable[[ModelProto, Mapping[str, NDArray[Any]]], list[NDArray[Any]]]

NEAR = 1e-6
"""Distance from the cut, in that of the scores or where they are above 1 in theirs, within which
the last bits of an exponential may decide."""

_SAME = 1e-3
"""Difference of logits, absolute and relative, that other kernels of the same model may make."""

_SAMPLE_ROWS, _SAMPLE_CELLS, _FEWEST_ROWS, _MOST_ROWS = 48, 1 << 20, 12, 1024
_MADE_UP_SIZE = 2


@dataclass(frozen=True)
class Checked:
    """What a graph was held against.

    Attributes
    ----------
    n_rows : int
        Rows of the sample.
    runtimes : tuple of str
        What ran it.
    n_near : dict of str to int
        Labels of each runtime that differ, all of them with a score within 1e-6 of the cut.
    whole_model : bool or None
        Of a decision behind a model: whether all of it ran, on made-up inputs.
    """

    n_rows: int
    runtimes: tuple[str, ...]
    n_near: dict[str, int] = field(default_factory=dict)
    whole_model: bool | None = None


def check(model: ModelProto, decision: Decision, sample: Any = None) -> Checked:
    """Run the graph of a decision beside the decision itself.

    Parameters
    ----------
    model : onnx.ModelProto
        As `to_model` makes it.
    decision : Decision
    sample : array, path, ..., optional
        Logits to compare on; made up if none are given: around the thresholds, tied, infinite.

    Raises
    ------
    ValueError
        If the graph is not valid, or gives another label.
    """
    check_valid(model)
    rows = made_up_rows(decision) if sample is None else _first_rows(sample)
    source = decision.source(rows, nan="negative")
    expected = decision.decide(source.read(0, source.shape[0]))
    element = model.graph.input[0].type.tensor_type.elem_type
    feeds = {input_name(decision): rows.astype(helper.tensor_dtype_to_np_dtype(element))}
    n_near = {}
    for runtime, run in runtimes().items():
        labels = run(model, feeds)[0]
        n_near[runtime] = compared(decision, source.read(0, len(rows)), expected, labels, runtime)
    return Checked(len(rows), tuple(n_near), n_near)


def check_valid(model: ModelProto) -> None:
    """Raise ValueError unless ONNX's own check passes the model."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"the model does not pass the check of ONNX: {told}") from error


def check_appended(appended: Appended, model: ModelProto, decision: Decision) -> bool:
    """Run a model with the decision behind it on made-up inputs; whether it runs on them alone.

    Parameters
    ----------
    appended : Appended
    model : onnx.ModelProto
        The same without the decision.
    decision : Decision

    Raises
    ------
    ValueError
        If the whole is not valid, does not run where the model alone does, gives other logits than
        it, or other labels than the decision makes of them.
    """
    check_valid(appended.model)
    run = runtimes().get("onnxruntime", run_reference)
    try:
        inputs = _made_up_inputs(model)
        alone = _by_name(model, run(model, inputs))[appended.logits]
    except Exception:
        # what a model makes of inputs that mean nothing is its own affair
        return False
    try:
        found = _by_name(appended.model, run(appended.model, inputs))
    except Exception as error:
        # runtimes raise what they like
        raise ValueError(f"the model runs, but not with the decision behind it: {error}") from error
    logits = found[appended.logits].astype(np.float32)
    if not np.allclose(logits, alone.astype(np.float32), _SAME, _SAME, equal_nan=True):
        raise ValueError(
            f"the model must give the same {appended.logits!r} as before; brought to a later opset "
            "it gives others"
        )
    if logits.ndim != 2 or logits.shape[1] != decision.n_classes or np.isposinf(logits).any():
        return False
    rows = decision.source(logits, nan="negative").read(0, len(logits))
    compared(decision, rows, decision.decide(rows), found[appended.labels], "the whole model")
    return True


def _by_name(model: ModelProto, outputs: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return dict(zip((output.name for output in model.graph.output), outputs, strict=True))


def runtimes() -> dict[str, Run]:
    """What can run a graph here: the reference evaluator of ONNX, and onnxruntime if installed."""
    found: dict[str, Run] = {"onnx.reference": run_reference}
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return found
    return {**found, "onnxruntime": run_onnxruntime}


def run_reference(model: ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs of the reference evaluator."""
    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(model, new_ops=[GatherElements]).run(None, dict(feeds)))


class GatherElements(OpRun):
    """The operator for tables of any size: that of the evaluator ends at 64 numbers."""

    op_domain = ""

    def _run(self, data: NDArray[Any], indices: NDArray[Any], axis: int = 0) -> tuple[NDArray[Any]]:
        return (np.take_along_axis(data, indices, axis),)


def run_onnxruntime(model: ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs of onnxruntime on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it warns of every input that may be left out
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feeds)))


def compared(
    decision: Decision, rows: Float32, expected: RowLabels, labels: NDArray[Any], runtime: str
) -> int:
    """Number of labels that differ, each near the cut where steps take exponentials.

    Raises
    ------
    ValueError
        If another label differs.
    """
    differ = _dense(expected, decision.n_classes) != labels
    steps, rule = folded_steps(decision)
    exact = {op.wire_name for op in (*steps, rule)} <= EXACT
    for row in np.flatnonzero(differ.any(axis=1)):
        if exact or not near_cut(decision, rows[row : row + 1], labels[row]):
            place = int(differ[row].argmax())
            raise ValueError(
                f"{runtime} must give the labels that the rule gives, it "
                f"{'predicts' if labels[row, place] else 'does not predict'} class {place} of row "
                f"{row} of the sample, logit {rows[row, place]:.9g}"
            )
    return int(differ.sum())


def near_cut(decision: Decision, row: Float32, labels: NDArray[np.bool_]) -> bool:
    """Whether scores moved by 1e-6 could get these labels.

    Parameters
    ----------
    decision : Decision
    row : float32, (1, n_classes)
        Checked logits.
    labels : bool, (n_classes,)
    """
    scores = decision.calibrate(row)
    room = np.float32(NEAR) * np.maximum(np.float32(1), np.abs(scores))
    with np.errstate(invalid="ignore", over="ignore"):
        moved = [np.where(np.isfinite(scores), scores + by * room, scores) for by in (0, -1, 1)]
    return any(_near(decision.rule, m.astype(np.float32), labels) for m in moved)


def _near(rule: DecisionOp, scores: Float32, labels: NDArray[np.bool_]) -> bool:
    """Whether all labels that differ from those of the rule have a score at its cut."""
    ours = _dense(rule.decide(scores), scores.shape[1])[0]
    differ = ours != labels
    if isinstance(rule, Threshold):
        ranked, cut = scores[0], np.broadcast_to(rule.threshold, ours.shape)
    elif isinstance(rule, HighestOp) and ours.any() and ours.sum() == labels.sum():
        ranked = rule.scores(scores)[0]
        cut = np.full(ours.shape, ranked[ours].min())
    else:
        return not differ.any()
    with np.errstate(invalid="ignore"):
        close = np.abs(ranked - cut) <= NEAR * np.maximum(1, np.abs(cut))
    # to an infinite cut nothing is near
    return bool((close & np.isfinite(cut))[differ].all())


def _dense(labels: RowLabels, n_classes: int) -> NDArray[np.bool_]:
    counts = np.diff(labels.indptr)
    mask = np.zeros((len(counts), n_classes), dtype=np.bool_)
    mask[np.repeat(np.arange(len(counts)), counts), labels.indices] = True
    return mask


def made_up_rows(decision: Decision) -> Float32:
    """Rows on which a graph could go wrong: at thresholds and beside them, tied, and infinite."""
    random = np.random.default_rng(0)
    n_rows = max(_FEWEST_ROWS, min(_SAMPLE_ROWS, _SAMPLE_CELLS // decision.n_classes))
    shape = n_rows, decision.n_classes
    rows = random.normal(random.normal(-2, 2, (shape[0], 1)), 2, shape).astype(np.float32)
    rows[::3] = np.round(rows[::3] * 2) / 2
    _, rule = folded_steps(decision)
    if isinstance(rule, Threshold | BoundedThreshold) and not takes_probabilities(decision):
        cut = np.broadcast_to(rule.threshold, shape[1:])
        cut = np.where(np.isfinite(cut), cut, np.float32(1))
        for place, toward in enumerate((None, np.inf, -np.inf)):
            with np.errstate(over="ignore"):
                beside = cut if toward is None else np.nextafter(cut, np.float32(toward))
            rows[1 + place] = np.where(np.isfinite(beside), beside, cut)
    rows[4], rows[5] = 0.0, -200.0
    rows[6], rows[7] = 40.0, -np.inf
    rows[8:12][random.random((4, decision.n_classes)) < 0.3] = -np.inf
    if not takes_probabilities(decision):
        return rows
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-rows)), dtype=np.float32)


def _first_rows(sample: Any) -> Float32:
    """The first rows of a sample as the network gives them, at most 1,024."""
    source = as_logits(sample, nan="negative")
    return source.read(0, min(_MOST_ROWS, source.shape[0]))


def _made_up_inputs(model: ModelProto) -> dict[str, NDArray[Any]]:
    """Small inputs of the types and shapes that the model says, but for those it has values of."""
    given = {constant.name for constant in model.graph.initializer}
    random = np.random.default_rng(0)
    return {
        info.name: _made_up_input(info, random)
        for info in model.graph.input
        if info.name not in given
    }


def _made_up_input(info: ValueInfoProto, random: np.random.Generator) -> NDArray[Any]:
    kind = info.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    shape = [d.dim_value if d.HasField("dim_value") else _MADE_UP_SIZE for d in kind.shape.dim]
    if np.issubdtype(dtype, np.floating):
        return random.normal(size=shape).astype(dtype)
    return np.ones(shape, dtype=dtype)
