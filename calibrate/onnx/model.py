"""A decision as one ONNX model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection

import numpy as np
from numpy.typing import DTypeLike
from onnx import ModelProto, TensorProto, helper

import calibrate
from calibrate.decision import Decision
from calibrate.onnx.arithmetic import sigmoid
from calibrate.onnx.graph import Graph, Value, element_type
from calibrate.onnx.steps import CALIBRATIONS, DECISIONS
from calibrate.onnx.steps.probabilities import FromProbabilities
from calibrate.ops import BatchOp, BoundedThreshold, CalibrationOp, DecisionOp, Threshold, fold

OPSET, IR_VERSION = 18, 9
"""From opset 18 on axes are inputs of all reductions; nothing in a graph needs a later one."""

INPUT_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
"""Element types of logits that are taken; all are decided as float32."""

LABELS, PROBABILITIES, THRESHOLDS = "labels", "probabilities", "thresholds"


def to_model(
    decision: Decision, *, probabilities: bool = False, dtype: DTypeLike = np.float32
) -> ModelProto:
    """The decision as an ONNX model.

    It takes `logits` (n_rows, n_classes), any number of rows, and gives `labels`, bool, of that
    shape. What `Decision.decide` folds into thresholds is folded here as well, so that the labels
    are the same bit for bit wherever no step takes exponentials. A nan is decided as negative. A
    rule with thresholds has a second input, `thresholds`, float32, (n_classes,) (or (1,) where
    one for all goes with bounds on the labels of a row), which may be left out: a caller who gives
    it decides by others. They are compared with the input, into which the steps before are folded,
    or with calibrated logits, where a step looks along the row or labels are bounded: the entry
    ``calibrate.thresholds_on`` of the metadata says which. Among equal scores the lower class
    comes first, as the operator TopK says.

    Parameters
    ----------
    decision : Decision
    probabilities : bool
        Give `probabilities`, float32, too.
    dtype : dtype
        Of the logits: float16, float32 or float64.

    Returns
    -------
    onnx.ModelProto
        Its metadata hold class names, the wire name of the rule, and the SHA-256 of the provenance.

    Raises
    ------
    ValueError
        If the rule cannot be said in ONNX, or `dtype` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrate.decision import Decision
    >>> from calibrate.ops import Threshold
    >>> from onnx.reference import ReferenceEvaluator
    >>> model = to_model(Decision((), Threshold(np.array([0.5, -1.0])), 2))
    >>> logits = np.array([[0.6, -2.0], [0.4, -1.0]], dtype=np.float32)
    >>> ReferenceEvaluator(model).run(None, {"logits": logits})[0]
    array([[ True, False],
           [False,  True]])
    """
    if np.dtype(dtype) not in (np.float16, np.float32, np.float64):
        raise ValueError(f"dtype must be float16, float32 or float64, got {np.dtype(dtype)}")
    return build(decision, element_type(dtype), probabilities=probabilities)


def build(
    decision: Decision,
    element: int,
    *,
    probabilities: bool,
    opset: int = OPSET,
    taken: Collection[str] = (),
) -> ModelProto:
    """As `to_model`, in any opset from 18 on, and with no name that is taken.

    Parameters
    ----------
    decision : Decision
    element : int
        Element type of the logits, as ONNX numbers it.
    probabilities : bool
    opset : int
    taken : collection of str
        Names that no edge may have but the input for logits.

    Raises
    ------
    ValueError
        If the rule cannot be said in ONNX.
    """
    refuse_what_cannot_be_said(decision, element)
    graph = Graph(decision.n_classes, _free_prefix(taken), free_name(THRESHOLDS, taken))
    shape: list[int | str] = ["batch", decision.n_classes]
    name = graph.input(input_name(decision), element, shape)
    given = graph.from_input(name, element)
    steps, rule = folded_steps(decision)
    if steps or probabilities or not isinstance(rule, Threshold):
        given = graph.where(graph.node("IsNaN", given, dtype=np.dtype(bool)), -np.inf, given)
    scores = _after(graph, steps, given)
    labels = DECISIONS[rule.wire_name](graph, rule, scores)
    graph.output(free_name(LABELS, taken), labels, shape)
    if probabilities:
        calibrated = _after(graph, all_steps(decision), given)
        graph.output(free_name(PROBABILITIES, taken), sigmoid(calibrated), shape)
    model = helper.make_model(
        graph.proto("decision", "Labels of a multilabel network, decided from its logits."),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION,
        producer_name="calibrate",
        producer_version=calibrate.__version__,
    )
    helper.set_model_props(model, metadata(decision))
    return model


def input_name(decision: Decision) -> str:
    """What the graph calls what the network gives."""
    return "network_probabilities" if takes_probabilities(decision) else "logits"


def takes_probabilities(decision: Decision) -> bool:
    """Whether the rule was fitted on probabilities, and so is given them."""
    return bool(decision.provenance.get("input") == "probabilities")


def all_steps(decision: Decision) -> tuple[CalibrationOp, ...]:
    """The calibration steps from the input on."""
    first = (FromProbabilities(),) if takes_probabilities(decision) else ()
    return (*first, *decision.steps)


def folded_steps(decision: Decision) -> tuple[tuple[CalibrationOp, ...], DecisionOp]:
    """No steps and a decision on what comes in, or all steps and the decision behind them.

    Where a step looks along the row, folding those behind it would leave thresholds on scores that
    nobody knows.
    """
    steps, rule = fold(all_steps(decision), decision.rule, decision.n_classes)
    return (all_steps(decision), decision.rule) if steps else (steps, rule)


def refuse_what_cannot_be_said(decision: Decision, element: int) -> None:
    """Raise ValueError with the reason if there is no graph of the decision."""
    if isinstance(decision.rule, BatchOp):
        raise ValueError(
            f"{decision.rule.wire_name!r} decides by all rows that are labelled together, and a "
            "graph sees one batch at a time: adapt the decision to the rows first "
            "(Decision.adapted), and export what comes of it"
        )
    if decision.n_classes < 1:
        raise ValueError("a graph needs at least one class, the rule has none")
    if takes_probabilities(decision) and element == TensorProto.DOUBLE:
        raise ValueError(
            "probabilities must come as float32 or float16, got float64: cast them first, a graph "
            "compares float32 numbers"
        )


def metadata(decision: Decision) -> dict[str, str]:
    """What the model says of itself."""
    header = decision.header()
    provenance = json.dumps(header["provenance"], sort_keys=True, separators=(",", ":"))
    found = {
        "rule": decision.rule.wire_name,
        "steps": ",".join(op.wire_name for op in (*decision.steps, decision.rule)),
        "input": "probabilities" if takes_probabilities(decision) else "logits",
        "n_classes": str(decision.n_classes),
        "provenance_sha256": hashlib.sha256(provenance.encode()).hexdigest(),
        "version": calibrate.__version__,
    }
    if isinstance(decision.rule, Threshold | BoundedThreshold):
        steps, _ = folded_steps(decision)
        found["thresholds_on"] = "calibrated" if steps else "input"
    if decision.class_names is not None:
        found["class_names"] = json.dumps(decision.class_names, ensure_ascii=False)
        found["class_names_sha256"] = header["class_names_sha256"]
    return {f"calibrate.{name}": value for name, value in found.items()}


def free_name(name: str, taken: Collection[str]) -> str:
    """The name itself, or with ``calibrate_`` in front as often as it is taken."""
    while name in taken:
        name = f"calibrate_{name}"
    return name


def _free_prefix(taken: Collection[str]) -> str:
    prefix = "calibrate/"
    while any(name.startswith(prefix) for name in taken):
        prefix = f"calibrate_{prefix}"
    return prefix


def _after(graph: Graph, steps: tuple[CalibrationOp, ...], logits: Value) -> Value:
    for step in steps:
        logits = CALIBRATIONS[step.wire_name](graph, step, logits)
    return logits
