"""The catalogue at a small size, networks, and both runtimes."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime
from every_op import calibration_steps, decision_steps
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from calibrate.decision import Decision
from calibrate.onnx.check import GatherElements
from calibrate.onnx.graph import FLOAT32, Graph, Value, element_type

N_CLASSES = 7
RULES = decision_steps(np.random.default_rng(5), N_CLASSES)
STEPS = calibration_steps(np.random.default_rng(6), N_CLASSES)


def dense(decision: Decision, rows: np.ndarray) -> np.ndarray:
    """Labels of the decision as a mask."""
    labels = decision.decide(rows)
    mask = np.zeros(rows.shape, dtype=bool)
    for row in range(len(rows)):
        mask[row, labels.indices[labels.indptr[row] : labels.indptr[row + 1]]] = True
    return mask


def outputs_of(write, rows: np.ndarray) -> list[np.ndarray]:
    """What `write(graph, value)` gives for rows of any kind."""
    graph = Graph(rows.shape[-1])
    graph.input("rows", TensorProto.FLOAT, rows.shape)
    for place, value in enumerate(write(graph, Value(graph, "rows", FLOAT32))):
        info = helper.make_tensor_value_info(f"out{place}", element_type(value.dtype), None)
        graph.output(f"out{place}", value, ())
        graph.outputs[-1].CopyFrom(info)
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph.proto("g", ""), opset_imports=[opset], ir_version=9)
    return by_onnxruntime(model, {"rows": rows})


@cache
def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def by_onnxruntime(model, feeds: dict) -> list[np.ndarray]:
    return _session(model.SerializeToString(deterministic=True)).run(None, feeds)


def by_reference(model, feeds: dict) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model, new_ops=[GatherElements]).run(None, feeds)


WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
FEATURES = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)


def a_network(
    *,
    output: str = "logits",
    classes: int | str | None = 3,
    dtype: int = TensorProto.FLOAT,
    opset: int = 18,
    ir_version: int = 9,
    more_outputs: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """One linear layer, logits of three classes."""
    nodes = [helper.make_node("MatMul", ["features", "weights"], ["product"], "labels")]
    nodes.append(helper.make_node("Cast", ["product"], [output], "cast", to=dtype))
    nodes += [helper.make_node("Relu", ["product"], [name]) for name in more_outputs]
    shape = None if classes is None else ["batch", classes]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4])],
        [
            helper.make_tensor_value_info(output, dtype, shape),
            *(
                helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 3])
                for n in more_outputs
            ),
        ],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=ir_version,
        producer_name="somebody",
    )


RUNTIMES = {"onnxruntime": by_onnxruntime, "reference": by_reference}
