"""ONNX files are written once they are checked, whole, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from every_op import ugly_rows
from onnx_cases import FEATURES, a_network, by_onnxruntime, dense

from calibrate import ops
from calibrate.decision import Decision
from calibrate.onnx import Checked, check, file, save

PER_CLASS = Decision((), ops.Threshold(np.array([0.5, np.inf, -1.0])), 3)


def test_a_file_holds_a_graph_that_was_checked(tmp_path):
    checked = save(PER_CLASS, tmp_path / "rule.onnx", probabilities=True)

    model = onnx.load(tmp_path / "rule.onnx")
    rows = ugly_rows(3)
    labels, p = by_onnxruntime(model, {"logits": rows})
    n_near = {"onnx.reference": 0, "onnxruntime": 0}
    assert checked == Checked(48, ("onnx.reference", "onnxruntime"), n_near, None)
    assert p.shape == rows.shape
    np.testing.assert_array_equal(labels, dense(PER_CLASS, rows))


def test_a_decision_is_saved_behind_a_model(tmp_path):
    onnx.save(a_network(more_outputs=("hidden",)), tmp_path / "network.onnx")

    checked = save(
        PER_CLASS, tmp_path / "both.onnx", behind=tmp_path / "network.onnx", output_name="logits"
    )

    model = onnx.load(tmp_path / "both.onnx")
    logits, _, labels = by_onnxruntime(model, {"features": FEATURES})
    assert checked.whole_model is True
    np.testing.assert_array_equal(labels, dense(PER_CLASS, logits))


def test_weights_that_lie_in_a_file_of_their_own_come_along(tmp_path):
    big = a_network()
    (tmp_path / "apart").mkdir()
    onnx.save(
        big, tmp_path / "apart" / "network.onnx", save_as_external_data=True, size_threshold=0
    )

    save(PER_CLASS, tmp_path / "both.onnx", behind=tmp_path / "apart" / "network.onnx")

    logits, labels = by_onnxruntime(onnx.load(tmp_path / "both.onnx"), {"features": FEATURES})
    np.testing.assert_array_equal(labels, dense(PER_CLASS, logits))


def test_a_model_that_refuses_made_up_inputs_is_checked_by_its_form_alone(tmp_path):
    network = a_network()
    # it divides rows by a number that made-up inputs do not have
    network.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    onnx.save(network, tmp_path / "network.onnx")

    checked = save(PER_CLASS, tmp_path / "both.onnx", behind=tmp_path / "network.onnx")

    assert checked.whole_model is False
    assert (tmp_path / "both.onnx").exists()


def test_a_whole_model_that_decides_otherwise_is_refused(tmp_path, monkeypatch):
    onnx.save(a_network(), tmp_path / "network.onnx")
    wrong = Decision((), ops.Threshold(np.array([5.0, 5.0, 5.0])), 3)
    append = file.append
    monkeypatch.setattr(file, "append", lambda model, _, **options: append(model, wrong, **options))

    with pytest.raises(
        ValueError, match="the whole model must give the labels that the rule gives"
    ):
        save(PER_CLASS, tmp_path / "both.onnx", behind=tmp_path / "network.onnx")
    assert not (tmp_path / "both.onnx").exists()


def broken(appended):
    """The same, so that it does not run."""
    appended.model.graph.node[-1].input[0] = "logits"
    appended.model.graph.output[-1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    appended.model.graph.node[1].attribute[0].i = onnx.TensorProto.DOUBLE
    return appended


def other_logits(appended):
    """The same with other weights."""
    weights = onnx.numpy_helper.from_array(np.ones((4, 3), np.float32), "weights")
    appended.model.graph.initializer[0].CopyFrom(weights)
    return appended


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (broken, "the model runs, but not with the decision behind it: "),
        (other_logits, "the model must give the same 'logits' as before; brought to a later opset"),
    ],
)
def test_a_model_that_does_not_stand_the_decision_is_refused(change, said, tmp_path, monkeypatch):
    onnx.save(a_network(), tmp_path / "network.onnx")
    append = file.append
    monkeypatch.setattr(file, "append", lambda *given, **options: change(append(*given, **options)))
    monkeypatch.setattr(check, "check_valid", lambda model: None)

    with pytest.raises(ValueError, match=said):
        save(PER_CLASS, tmp_path / "both.onnx", behind=tmp_path / "network.onnx")
    assert not (tmp_path / "both.onnx").exists()


@pytest.mark.parametrize("content", [b"not a model", b"", b"\x00" * 50])
def test_what_is_no_model_is_refused(content, tmp_path):
    (tmp_path / "network.onnx").write_bytes(content)

    with pytest.raises(ValueError, match=r"network.onnx must be an ONNX model"):
        save(PER_CLASS, tmp_path / "both.onnx", behind=tmp_path / "network.onnx")


@pytest.mark.parametrize("classes", [None, "classes"])
def test_a_shape_that_the_model_does_not_say_is_said(classes, tmp_path):
    onnx.save(a_network(classes=classes), tmp_path / "network.onnx")

    checked = save(PER_CLASS, tmp_path / "both.onnx", behind=tmp_path / "network.onnx")

    model = onnx.load(tmp_path / "both.onnx")
    assert checked.whole_model is True
    assert all(len(output.type.tensor_type.shape.dim) == 2 for output in model.graph.output)


def test_a_damaged_model_is_refused_or_decides(tmp_path):
    random, whole = np.random.default_rng(0), a_network().SerializeToString()
    refused = 0
    for _ in range(80):
        damaged = bytearray(whole)
        for place in random.integers(len(damaged), size=random.integers(1, 4)):
            damaged[place] ^= 1 << random.integers(8)
        (tmp_path / "network.onnx").write_bytes(damaged)

        try:
            save(PER_CLASS, tmp_path / "both.onnx", behind=tmp_path / "network.onnx")
        except ValueError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1  # noqa: PT017

    assert 0 < refused < 80


def test_a_model_too_large_for_one_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "LARGEST", 1000)

    with pytest.raises(
        ValueError, match=r"an ONNX file must be smaller than 2 GiB, this one would"
    ):
        save(Decision((), ops.Threshold(np.zeros(900)), 900), tmp_path / "rule.onnx")
    assert not list(tmp_path.iterdir())


def test_a_check_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "rule.onnx").write_bytes(b"old")
    wrong = Decision((), ops.Threshold(np.array([0.6, np.inf, -1.0])), 3)
    to_model = file.to_model
    monkeypatch.setattr(file, "to_model", lambda _, **options: to_model(wrong, **options))

    with pytest.raises(ValueError, match="must give the labels that the rule gives"):
        save(PER_CLASS, tmp_path / "rule.onnx")
    assert (tmp_path / "rule.onnx").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left"):
        save(PER_CLASS, tmp_path / "rule.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["calibrate.onnx.file.check", "os.fsync"])
def test_a_process_killed_half_way_leaves_no_file_of_that_name(where, tmp_path):
    module, _, name = where.rpartition(".")
    script = f"""
import importlib, os, signal
import numpy as np
from calibrate import ops
from calibrate.decision import Decision
from calibrate.onnx import save
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
setattr(importlib.import_module({module!r}), {name!r}, die)
save(Decision((), ops.Threshold(np.zeros(3)), 3), {str(tmp_path / "rule.onnx")!r})
"""

    result = subprocess.run([sys.executable, "-c", script], capture_output=True)

    assert result.returncode == -signal.SIGKILL
    assert not (tmp_path / "rule.onnx").exists()


def test_without_onnx_one_sentence_says_what_to_install(tmp_path):
    (tmp_path / "onnx.py").write_text("raise ImportError('no onnx')")

    result = subprocess.run(
        [sys.executable, "-c", "import calibrate.onnx"],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"),
    )

    last = result.stderr.strip().splitlines()[-1]
    assert last == (
        "ImportError: ONNX graphs need the package onnx: pip install 'calibrate-multilabel[onnx]'"
    )
