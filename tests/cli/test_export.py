"""`calibrate export`: what it writes, prints and refuses."""

from __future__ import annotations

import builtins
import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from every_op import ugly_rows
from onnx_cases import FEATURES, a_network, by_onnxruntime, dense

import calibrate as cal
from calibrate import ops
from calibrate.cli import main
from calibrate.decision import Decision
from calibrate.onnx import check

NAMES = ("rock", "jazz", "=pop")
PER_CLASS = Decision((), ops.Threshold(np.array([0.5, np.inf, -1.0])), 3, NAMES)
COUNTED = Decision((), ops.ExpectedCountTopK(0.5, 0, None), 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two rules and a network."""
    PER_CLASS.save(tmp_path / "rule.safetensors")
    COUNTED.save(tmp_path / "counted.safetensors")
    onnx.save(a_network(), tmp_path / "network.onnx")
    onnx.save(a_network(more_outputs=("hidden",)), tmp_path / "two.onnx")
    return tmp_path


def run(folder: Path, *arguments: object, rule: str = "rule.safetensors"):
    return CliRunner().invoke(main, ["export", *map(str, (folder / rule, *arguments))])


def test_a_rule_becomes_a_graph_that_was_checked(folder):
    result = run(folder, "-o", folder / "rule.onnx")

    rows = ugly_rows(3)
    labels = by_onnxruntime(onnx.load(folder / "rule.onnx"), {"logits": rows})[0]
    np.testing.assert_array_equal(labels, dense(PER_CLASS, rows))
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == (
        f"wrote {folder / 'rule.onnx'}: no label differs on 48 rows, by onnx.reference and "
        "onnxruntime\n"
    )


def test_it_prints_one_json_object(folder):
    result = run(folder, "-o", folder / "rule.onnx", "--json")

    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "schema": 1,
        "command": "export",
        "output": str(folder / "rule.onnx"),
        "form": "onnx",
        "checked_rows": 48,
        "runtimes": ["onnx.reference", "onnxruntime"],
        "labels_near_cut": {"onnx.reference": 0, "onnxruntime": 0},
    }


def test_a_rule_goes_behind_a_model(folder):
    options = ["--append", folder / "two.onnx", "--output-name", "logits", "--with-probabilities"]

    result = run(folder, "-o", folder / "both.onnx", *options, "--json")

    model = onnx.load(folder / "both.onnx")
    logits, _, labels, p = by_onnxruntime(model, {"features": FEATURES})
    assert json.loads(result.stdout)["whole_model_ran"] is True
    np.testing.assert_array_equal(labels, dense(PER_CLASS, logits))
    np.testing.assert_allclose(p, PER_CLASS.predict_proba(logits), rtol=1e-6)


def test_a_model_that_would_not_run_is_told(folder):
    network = a_network()
    network.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    onnx.save(network, folder / "network.onnx")

    result = run(folder, "-o", folder / "both.onnx", "--append", folder / "network.onnx")

    assert result.exit_code == 0
    assert result.stderr.endswith(
        "; the whole model would not run on made-up inputs: only its form is checked\n"
    )


def test_float16_and_a_sample_of_ones_own(folder):
    np.save(folder / "logits.npy", ugly_rows(3)[81:100])

    result = run(
        folder, "-o", folder / "r.onnx", "--float16", "--sample", folder / "logits.npy", "--json"
    )

    kind = onnx.load(folder / "r.onnx").graph.input[0].type.tensor_type.elem_type
    assert kind == onnx.TensorProto.FLOAT16
    assert json.loads(result.stdout)["checked_rows"] == 19


def test_labels_near_the_cut_are_printed(folder, monkeypatch):
    monkeypatch.setattr(check, "compared", lambda *_: 2)

    result = run(folder, "-o", folder / "r.onnx", rule="counted.safetensors")

    assert ": 4 labels within 1e-6 of the cut differ on 48 rows, by onnx.reference" in result.stderr


def test_json_and_csv_are_written_by_suffix_or_by_option(folder):
    for arguments in (["rule.json"], ["other", "--to", "json"], ["rule.csv"], ["x", "--to", "csv"]):
        name, *options = arguments
        assert run(folder, "-o", folder / name, *options).exit_code == 0

    told = json.loads((folder / "rule.json").read_text(encoding="utf-8"))
    with (folder / "rule.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [entry["logit"] for entry in told["thresholds"]] == [0.5, None, -1.0]
    assert [row["name"] for row in rows] == ["rock", "jazz", "'=pop"]
    assert (folder / "other").read_text() == (folder / "rule.json").read_text()
    assert (folder / "x").read_text() == (folder / "rule.csv").read_text()


@pytest.mark.parametrize(
    ("rule", "arguments", "said"),
    [
        ("rule", ["-o", "rule.txt"], "say --to onnx|json|csv, or let the output end in one of"),
        ("rule", ["-o", "r.json", "--with-probabilities"], "--with-probabilities goes with ONNX"),
        ("rule", ["-o", "r.csv", "--append", "network.onnx"], "--append goes with ONNX, not with"),
        ("rule", ["-o", "r.onnx", "--output-name", "x"], "--output-name goes with --append"),
        ("rule", ["-o", "r.onnx", "--append", "network.onnx", "--float16"], "does not go with"),
        ("rule", ["-o", "r.onnx", "--append", "two.onnx"], "must be named; it has 'logits', 'hi"),
        ("rule", ["-o", "r.onnx", "--append", "rule.safetensors"], "must be an ONNX model"),
        ("rule", ["-o", "network.onnx"], "exists; give --force to overwrite it"),
        ("counted", ["-o", "r.csv"], "CSV holds a threshold for each class, and 'expected_count_t"),
        ("batch", ["-o", "r.onnx"], "'batch_plug_in' decides by all rows that are labelled toget"),
        ("network.onnx", ["-o", "r.onnx"], "must be a whole safetensors rule file"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    folder, rule, arguments, said, monkeypatch
):
    monkeypatch.chdir(folder)
    batch = ops.BatchPlugIn(1.0, np.float32(0), np.float32(0.5))
    Decision((), batch, 3).save(folder / "batch.safetensors")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    result = run(folder, *arguments, rule=rule if "." in rule else f"{rule}.safetensors")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_onnx_it_says_what_to_install(folder, monkeypatch):
    def absent(name, *arguments, _import=builtins.__import__):
        if name == "calibrate" and arguments[2] and "onnx" in arguments[2]:
            raise ImportError("ONNX graphs need the package onnx: pip install it")
        return _import(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", absent)

    result = run(folder, "-o", folder / "rule.onnx")

    assert result.exit_code == 2
    assert result.stderr.endswith("Error: ONNX graphs need the package onnx: pip install it\n")


def test_without_onnxruntime_it_says_so(folder, monkeypatch):
    monkeypatch.setattr(check, "runtimes", lambda: {"onnx.reference": check.run_reference})

    result = run(folder, "-o", folder / "rule.onnx")

    assert result.stderr.endswith("by onnx.reference (onnxruntime is not installed)\n")


def test_an_exported_rule_decides_as_apply_does(folder):
    rows = ugly_rows(3)[80:]

    run(folder, "-o", folder / "r.onnx", rule="counted.safetensors")

    labels = by_onnxruntime(onnx.load(folder / "r.onnx"), {"logits": rows})[0]
    decision = cal.load(folder / "counted.safetensors")
    expected = decision.predict(rows, nan="negative").toarray()
    np.testing.assert_array_equal(labels, expected)
