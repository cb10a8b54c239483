"""A decision behind the user's own model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import onnx
from onnx import (
    GraphProto,
    ModelProto,
    TensorProto,
    ValueInfoProto,
    compose,
    helper,
    version_converter,
)
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from calibrate.decision import Decision
from calibrate.onnx.model import INPUT_TYPES, IR_VERSION, OPSET, build, input_name

_PATHS = "pkg.torch.onnx.stack_trace"
"""Where an exporter of torch writes lines of source code with the paths of their files."""


class Appended(NamedTuple):
    """A user's model that decides.

    Attributes
    ----------
    model : onnx.ModelProto
    logits : str
        Name of the output that is decided.
    labels : str
        Name of the output that holds the labels.
    """

    model: ModelProto
    logits: str
    labels: str


def append(
    model: ModelProto,
    decision: Decision,
    *,
    output_name: str | None = None,
    probabilities: bool = False,
) -> Appended:
    """The user's model with the decision behind one of its outputs.

    All inputs and outputs of the model stay, so that whoever uses it may go on; those of the
    decision come after them, with ``calibrate_`` before names that the model has. What exporters
    leave in it of paths on their machine is taken out.

    Parameters
    ----------
    model : onnx.ModelProto
        Not changed. One of an opset before 18 is converted.
    decision : Decision
    output_name : str, optional
        The output that holds the logits; need not be given where there is one output.
    probabilities : bool
        Give calibrated probabilities, too.

    Returns
    -------
    Appended

    Raises
    ------
    ValueError
        If the output is not known, is no (n_rows, n_classes) of numbers, or the model cannot be
        converted, is damaged, or the rule cannot be said in ONNX.
    """
    try:
        return _appended(_with_shapes(model), decision, output_name, probabilities)
    except (ValidationError, InferenceError, TypeError, UnicodeError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"the decision cannot be put behind the model: {told}") from error


def _appended(
    model: ModelProto, decision: Decision, output_name: str | None, probabilities: bool
) -> Appended:
    logits = _output(model, output_name)
    _check_shape(logits, decision)
    if not logits.type.tensor_type.HasField("shape"):
        # it must be said, and no other fits
        logits.type.CopyFrom(
            helper.make_tensor_type_proto(
                logits.type.tensor_type.elem_type, ["batch", decision.n_classes]
            )
        )
    theirs = _of_our_opset(model)
    taken = set(_names(theirs.graph))
    opset = _opset(theirs)
    element = logits.type.tensor_type.elem_type
    ours = build(decision, element, probabilities=probabilities, opset=opset, taken=taken)
    _make_way(ours, theirs)
    theirs.ir_version = ours.ir_version = max(theirs.ir_version, IR_VERSION)
    _take_paths_out(theirs)
    merged = compose.merge_models(
        theirs,
        ours,
        io_map=[(logits.name, input_name(decision))],
        name=theirs.graph.name or "decided",
        doc_string=theirs.graph.doc_string,
        producer_name=theirs.producer_name,
        producer_version=theirs.producer_version,
        domain=theirs.domain,
        model_version=theirs.model_version,
    )
    merged.doc_string = theirs.doc_string
    outputs = [*theirs.graph.output, *ours.graph.output]
    del merged.graph.output[:]
    merged.graph.output.extend(outputs)
    return Appended(merged, logits.name, ours.graph.output[0].name)


def _output(model: ModelProto, name: str | None) -> ValueInfoProto:
    """The output that holds the logits, with its type and shape as far as they are known."""
    outputs: dict[str, ValueInfoProto] = {output.name: output for output in model.graph.output}
    named = ", ".join(map(repr, outputs)) or "none"
    if name is None and len(outputs) != 1:
        raise ValueError(
            f"the model must have one output, or the one with the logits must be named; it has "
            f"{named}"
        )
    if name is not None and name not in outputs:
        raise ValueError(f"the model has no output {name!r}; it has {named}")
    return outputs[name] if name is not None else next(iter(outputs.values()))


def _with_shapes(model: ModelProto) -> ModelProto:
    """A copy of the model whose outputs have shapes, as far as they can be known."""
    copied = ModelProto()
    copied.CopyFrom(model)
    if any(not output.type.tensor_type.HasField("shape") for output in model.graph.output):
        inferred = onnx.shape_inference.infer_shapes(model)
        del copied.graph.output[:]
        copied.graph.output.extend(inferred.graph.output)
    return copied


def _check_shape(output: ValueInfoProto, decision: Decision) -> None:
    """Raise ValueError unless the output can be logits of the decision's classes."""
    kind = output.type.tensor_type
    if kind.elem_type not in INPUT_TYPES:
        known = TensorProto.DataType.Name(kind.elem_type) if kind.elem_type else "no tensor"
        raise ValueError(
            f"the output {output.name!r} must hold floating-point numbers, it is of type {known}"
        )
    if not kind.HasField("shape"):
        return
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]
    if len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != decision.n_classes):
        raise ValueError(
            f"the output {output.name!r} must be of shape (rows, {decision.n_classes}), as many "
            f"classes as the rule has, it is ({', '.join(map(str, shape))})"
        )


def _opset(model: ModelProto) -> int:
    found = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return int(found[0]) if found else OPSET


def _of_our_opset(model: ModelProto) -> ModelProto:
    """The model, in opset 18 if its own is older."""
    opset = _opset(model)
    if opset < OPSET:
        try:
            converted = version_converter.convert_version(model, OPSET)
        except Exception as error:
            # the converter raises whatever it meets
            raise ValueError(
                f"the model must be of opset {OPSET} or later, and converting it from {opset} "
                f"failed: {error}"
            ) from error
    else:
        converted = model
    if not any(entry.domain == "" for entry in converted.opset_import):
        _name_default_domain(converted)
    return converted


def _name_default_domain(model: ModelProto) -> None:
    """Call ``ai.onnx`` by its other name, which is empty; of a model without any, ours is taken."""
    for entry in model.opset_import:
        if entry.domain == "ai.onnx":
            entry.domain = ""
            return
    model.opset_import.append(helper.make_opsetid("", OPSET))


def _make_way(ours: ModelProto, theirs: ModelProto) -> None:
    """Lengthen what our metadata are called where a decision before us has told of itself."""
    taken = {entry.key for entry in theirs.metadata_props}
    while taken & {entry.key for entry in ours.metadata_props}:
        for entry in ours.metadata_props:
            entry.key = f"calibrate_{entry.key}"


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and all within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.node:
                    yield from _graphs(inner)


def _names(whole: GraphProto) -> Iterator[str]:
    """Names of all edges."""
    for graph in _graphs(whole):
        for info in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            yield info.name
        for sparse in graph.sparse_initializer:
            yield from (sparse.values.name, sparse.indices.name)
        for node in graph.node:
            yield from (*node.input, *node.output)


def _take_paths_out(model: ModelProto) -> None:
    """Remove what exporters write of the source: stack traces and notes at nodes."""
    lists = [graph.node for graph in _graphs(model.graph)]
    for node in (node for nodes in (*lists, *(f.node for f in model.functions)) for node in nodes):
        node.doc_string = ""
        kept = [entry for entry in node.metadata_props if entry.key != _PATHS]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
