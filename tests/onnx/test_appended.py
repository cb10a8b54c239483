"""A decision behind the user's own model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import FEATURES, WEIGHTS, a_network, by_onnxruntime, dense

from calibrate import ops
from calibrate.decision import Decision
from calibrate.onnx import append, to_model

PER_CLASS = Decision((), ops.Threshold(np.array([0.5, np.inf, -1.0])), 3, ("a", "b", "c"))
COUNTED = Decision(
    (ops.RowAffine(np.float32(1), np.float32(0), -0.5),), ops.ExpectedCountTopK(0.5, 1, 2), 3
)


def outputs_of(model) -> list[str]:
    return [output.name for output in model.graph.output]


def decided(appended, decision) -> None:
    """Assert that the whole model decides its own logits as the decision does."""
    found = by_onnxruntime(appended.model, {"features": FEATURES})
    found = dict(zip(outputs_of(appended.model), found, strict=True))
    logits = found[appended.logits].astype(np.float32)
    np.testing.assert_array_equal(found[appended.labels], dense(decision, logits))
    assert found[appended.labels].any()


@pytest.mark.parametrize("decision", [PER_CLASS, COUNTED])
def test_a_model_decides_and_keeps_its_outputs(decision):
    network = a_network()
    before = network.SerializeToString()

    appended = append(network, decision)

    assert outputs_of(appended.model) == ["logits", "labels"]
    assert appended.model.producer_name == "somebody"
    assert network.SerializeToString() == before
    onnx.checker.check_model(appended.model, full_check=True)
    decided(appended, decision)


@pytest.mark.parametrize(
    "dtype", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16]
)
@pytest.mark.parametrize("decision", [PER_CLASS, COUNTED])
def test_logits_of_any_float_type_are_taken(decision, dtype):
    appended = append(a_network(dtype=dtype), decision)

    if dtype == TensorProto.BFLOAT16:
        # numpy has no bfloat16, and onnxruntime gives none
        last = appended.model.graph.output[0]
        appended.model.graph.output.remove(last)
        labels = by_onnxruntime(appended.model, {"features": FEATURES})[0]
        import ml_dtypes

        logits = (FEATURES @ WEIGHTS).astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(labels, dense(decision, logits))
    else:
        decided(appended, decision)


@pytest.mark.parametrize(
    ("opset", "ir_version"), [(7, 4), (11, 6), (13, 7), (18, 8), (20, 9), (22, 10)]
)
def test_a_model_of_another_opset_is_brought_together_with_ours(opset, ir_version):
    appended = append(a_network(opset=opset, ir_version=ir_version), COUNTED)

    assert appended.model.opset_import[0].version == max(18, opset)
    assert appended.model.ir_version == max(9, ir_version)
    decided(appended, COUNTED)


def test_thresholds_and_probabilities_come_with_it():
    appended = append(a_network(), PER_CLASS, probabilities=True)

    feeds = {"features": FEATURES, "thresholds": np.zeros(3, np.float32)}
    logits, labels, p = by_onnxruntime(appended.model, feeds)

    assert outputs_of(appended.model) == ["logits", "labels", "probabilities"]
    np.testing.assert_array_equal(labels, logits >= 0)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_names_that_the_model_has_already_are_made_way_for():
    network = a_network(output="thresholds", more_outputs=("labels", "logits"))

    once = append(network, PER_CLASS, output_name="thresholds")
    twice = append(once.model, COUNTED, output_name="thresholds")

    assert once.labels == "calibrate_labels"
    assert outputs_of(twice.model) == [
        "thresholds", "labels", "logits", "calibrate_labels", "calibrate_calibrate_labels",
    ]  # fmt: skip
    decided(once, PER_CLASS)
    decided(twice, COUNTED)


def test_class_names_and_what_the_model_said_of_itself_are_both_told():
    network = a_network()
    helper.set_model_props(network, {"author": "somebody", "class_names": "theirs"})

    told = {entry.key: entry.value for entry in append(network, PER_CLASS).model.metadata_props}

    assert told["author"] == "somebody"
    assert told["class_names"] == "theirs"
    assert told["calibrate.class_names"] == '["a", "b", "c"]'


def test_a_shape_that_is_not_said_is_found_or_left_open():
    decided(append(a_network(classes=None), PER_CLASS), PER_CLASS)
    decided(append(a_network(classes="classes"), PER_CLASS), PER_CLASS)


def test_what_exporters_write_of_paths_is_taken_out():
    network = a_network()
    network.graph.node[0].doc_string = "/home/somebody/net.py(12): forward"
    network.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/net.py")
    network.graph.node[0].metadata_props.add(key="namespace", value="layer")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["product"], ["inner"], doc_string="/home/somebody/a.py")],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    either = helper.make_node("If", ["yes"], ["either"], then_branch=branch, else_branch=branch)
    network.graph.node.extend([yes, either])

    data = append(network, PER_CLASS).model.SerializeToString()

    assert b"/home" not in data
    assert b"namespace" in data


def test_a_rule_of_probabilities_goes_behind_a_model_that_gives_them():
    decision = Decision((), PER_CLASS.rule, 3, None, {"input": "probabilities"})
    network = a_network(output="p")
    network.graph.node[1].op_type = "Sigmoid"
    del network.graph.node[1].attribute[:]

    appended = append(network, decision)
    p, labels = by_onnxruntime(appended.model, {"features": FEATURES})

    np.testing.assert_array_equal(labels, decision.predict(p).toarray())


def without_outputs() -> onnx.ModelProto:
    network = a_network()
    network.opset_import[0].version = 5
    network.graph.node[0].op_type = "NoSuchOperator"
    return network


@pytest.mark.parametrize(
    ("network", "name", "said"),
    [
        (a_network(more_outputs=("hidden",)), None, "must be named; it has 'logits', 'hidden'"),
        (a_network(), "scores", "the model has no output 'scores'; it has 'logits'"),
        (
            a_network(classes=4),
            None,
            r"'logits' must be of shape \(rows, 3\), as many classes as the rule has, it is \(b",
        ),
        (
            a_network(dtype=TensorProto.INT64),
            None,
            "'logits' must hold floating-point numbers, it is of type INT64",
        ),
        (without_outputs(), None, "must be of opset 18 or later, and converting it from 5 failed"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(network, name, said):
    with pytest.raises(ValueError, match=said):
        append(network, PER_CLASS, output_name=name)


def test_an_output_of_another_rank_is_refused():
    network = a_network()
    network.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 5

    with pytest.raises(ValueError, match=r"it is \(batch, 3, 5\)"):
        append(network, PER_CLASS)


def test_the_graph_behind_a_model_is_the_one_that_stands_alone():
    alone, behind = to_model(COUNTED), append(a_network(), COUNTED).model

    ours = [node for node in behind.graph.node if node.name.startswith("calibrate/")]

    assert [node.op_type for node in ours] == [
        n.op_type for n in alone.graph.node if n.name.startswith("calibrate/")
    ]
