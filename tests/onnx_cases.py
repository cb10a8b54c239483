"""Decisions of every kind, rows of every ugliness, and both runtimes."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from calibrate import ops
from calibrate.decision import Decision
from calibrate.onnx.check import GatherElements
from calibrate.onnx.graph import FLOAT32, Graph, Value, element_type

N_CLASSES = 7

_RANDOM = np.random.default_rng(5)
_SIZES = _RANDOM.integers(1, 90, N_CLASSES)


def _rising() -> np.ndarray:
    """Numbers that rise within each map, some equal."""
    return np.concatenate([np.sort(_RANDOM.normal(0, 2, n).round(1)) for n in _SIZES])


def per_class(low: float, high: float) -> np.ndarray:
    return _RANDOM.uniform(low, high, N_CLASSES).astype(np.float32)


THRESHOLDS = np.array([0.5, np.inf, -1.0, ops.LOWEST, 0.0, 3e38, -0.25], dtype=np.float32)

RULES = [
    ops.Threshold(THRESHOLDS),
    ops.Threshold(np.float32(0.25)),
    ops.Threshold(np.float32(np.inf)),
    ops.BoundedThreshold(THRESHOLDS, 2, None),
    ops.BoundedThreshold(np.float32(0.25), 1, 3),
    ops.BoundedThreshold(np.float32(np.inf), 1, 3),
    ops.TopK(2),
    ops.TopK(0),
    ops.TopK(100),
    ops.ExpectedCountTopK(0.5, 0, None),
    ops.ExpectedCountTopK(-0.3, 1, 3),
    ops.ModeTopK(0, None),
    ops.ModeTopK(1, 4),
    ops.LargestGap(),
    ops.WeightedTopK(2, per_class(0, 3), per_class(-1, 1)),
    ops.WeightedTopK(3, np.float32(1), np.float32(0)),
    ops.ExpectedFBeta(False, None, 0.0, 1.0),
    ops.ExpectedFBeta(False, 0.3, 1.2, 2.0),
    ops.ExpectedFBeta(True, None, 0.0, 0.5),
    ops.ExpectedJaccard(False, None, 0.0),
    ops.ExpectedJaccard(True, -0.2, 0.7),
]

STEPS = [
    ops.Affine(per_class(0.2, 3), per_class(-2, 2)),
    ops.Affine(np.float32(3e38), np.float32(1)),
    ops.Beta(per_class(0, 2), per_class(0.1, 2), per_class(-1, 1)),
    ops.LabelSmoothing(0.1),
    ops.LabelSmoothing(0.0),
    ops.Focal(2.0, 0.25),
    ops.AsymmetricLoss(0.0, 4.0, 0.05, True),
    ops.AsymmetricLoss(0.0, 4.0, 0.05, False),
    ops.AsymmetricLoss(1.0, 3.0, 0.0, True),
    ops.AsymmetricLoss(1.0, 3.0, 0.0, False),
    ops.AsymmetricLoss(2.0, 2.0, 0.0, False),
    ops.RowAffine(per_class(0.5, 2), per_class(-1, 1), -0.6),
    ops.RowAffine(np.float32(1), np.float32(0), 0.0, -0.3, 0.4),
    ops.PiecewiseLinear(
        np.append(0, np.cumsum(_SIZES)), _rising(), _rising(), per_class(0, 2), per_class(0, 2)
    ),
    ops.PiecewiseLinear([0, 4], [-2, -1, -1, 3], [-4, -3, -1, 1], [0.5], [0.0]),
    ops.PiecewiseLinear([0, 1], [0.5], [1.0], [2.0], [0.25]),
]  # fmt: skip


def ugly_rows(n_classes: int, seed: int = 0) -> np.ndarray:
    """Rows of ties, adjacent floats, zeros of both signs, far and missing scores."""
    random = np.random.default_rng(seed)
    near = np.float32(0.25)
    cells = np.array(
        [
            0.0, -0.0, 0.25, np.nextafter(near, np.float32(1)), np.nextafter(near, np.float32(-1)),
            0.5, -1.0, -0.25, 1e-45, -1e-45, 3e38, -3e38, -np.inf, -200.0, 88.8, -88.8, 17.0, 18.0,
        ],
        dtype=np.float32,
    )  # fmt: skip
    shape = (40, n_classes)
    return np.concatenate(
        [
            random.choice(cells, shape),
            random.choice(cells[:9], shape),
            np.round(random.normal(-1, 2, shape) * 2) / 2,
            random.normal(-1, 2, shape),
            np.full((1, n_classes), -np.inf),
            np.full((1, n_classes), -200.0),
            np.zeros((1, n_classes)),
            np.full((1, n_classes), 40.0),
        ]
    ).astype(np.float32)


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
