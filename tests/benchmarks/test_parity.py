"""The table of runtimes at a tiny size: what differs is counted, and what is not said is no 0."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import parity
import pytest
import torch
from scipy import sparse

import calibrate as cal

PIPELINES = {
    "cuts": lambda: cal.Pipeline([cal.PlattScaling()], cal.SharedThreshold(parity.F1)),
    "counts": lambda: cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK()),
}
ONNX = ["float32, ONNX Runtime", "float16, ONNX Runtime"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Two made-up networks, one's name being part of the other's; nothing is compiled."""
    rng = np.random.default_rng(0)
    dataset = tmp_path / "logits" / "tiny"
    dataset.mkdir(parents=True)
    for part in ("val", "test"):
        scores = rng.normal(size=(300, 5)) * 1.5 - np.linspace(0.5, 2, 5)
        labels = rng.random(scores.shape) < 1 / (1 + np.exp(-scores))
        for loss, slope in (("weighted", 2), ("weighted_long", 3)):
            np.save(dataset / f"{loss}_{part}.npy", (slope * scores).astype(np.float32))
        sparse.save_npz(dataset / f"labels_{part}.npz", sparse.csr_array(labels))
    monkeypatch.setattr(torch, "compile", lambda layer, **_: layer)
    made = {name: make() for name, make in PIPELINES.items()}
    monkeypatch.setattr(parity, "pipelines", lambda: made)
    return tmp_path / "logits"


def run(folder: Path, *options: str) -> int:
    with pytest.raises(SystemExit) as ended:
        parity.main([str(folder), *options])
    return ended.value.code


def table(text: str) -> dict[str, dict[str, str]]:
    """Cells by pipeline and column."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    return {line[0]: dict(zip(lines[0][1:], line[1:], strict=True)) for line in lines[1:]}


def flip_a_label(monkeypatch) -> None:
    """Let ONNX Runtime give the wrong answer to the first cell."""
    right = parity.run_onnxruntime

    def wrong(model, feeds):
        labels = right(model, feeds)[0].copy()
        labels[0, 0] ^= True
        return [labels]

    monkeypatch.setattr(parity, "run_onnxruntime", wrong)


def test_runtimes_that_agree_are_a_table_of_zeros(folder, capsys):
    status = run(folder, "--only", "tiny/weighted")

    printed = capsys.readouterr().out
    found = table(printed)
    assert status == 0
    assert printed.startswith("1 networks\n")
    assert set(found) == set(PIPELINES)
    for cells in found.values():
        assert list(cells)[1:-1] == parity.WAYS
        assert int(cells["labels"].replace(",", "")) > 300
        assert set(list(cells.values())[1:]) == {"0"}


def test_a_graph_that_decides_otherwise_is_counted_and_fails(folder, capsys, monkeypatch):
    flip_a_label(monkeypatch)

    status = run(folder)

    printed = capsys.readouterr().out
    assert status == 1
    assert "labels that differ otherwise: 8" in printed
    for cells in table(printed).values():
        assert {way: cells[way] for way in ONNX} == dict.fromkeys(ONNX, "2")
        assert {cells[way] for way in parity.WAYS if way not in ONNX} == {"0"}


def test_what_is_not_said_in_onnx_is_no_zero(folder, capsys, monkeypatch):
    said = parity.to_model

    def some(decision, dtype):
        if decision.rule.wire_name == "threshold":
            raise ValueError("a graph has no such rule")
        return said(decision, dtype=dtype)

    monkeypatch.setattr(parity, "to_model", some)
    status = run(folder)

    printed = capsys.readouterr()
    found = table(printed.out)
    assert status == 0
    assert {found["cuts"][way] for way in ONNX} == {"not said in ONNX"}
    assert {found["counts"][way] for way in ONNX} == {"0"}
    assert "not said in ONNX: a graph has no such rule" in printed.err


def test_what_is_said_for_some_networks_says_for_how_many_it_is_not():
    assert parity.cell([3, 1200, 0]) == "1,203"
    assert parity.cell([3, None, 1, None]) == "4 (not said in ONNX for 2 networks)"
    assert parity.cell([None]) == "not said in ONNX"


def test_a_run_in_parts_is_judged_as_a_whole(folder, tmp_path, capsys, monkeypatch):
    output = tmp_path / "counts"
    with monkeypatch.context() as patch:
        flip_a_label(patch)
        first = run(folder, "--only", "tiny/weighted", "--output", str(output))
    second = run(folder, "--only", "tiny/weighted_long", "--output", str(output))
    printed = capsys.readouterr().out.split("networks")[-1]
    again = run(folder, "--only", "tiny/weighted", "--output", str(output))

    assert (first, second, again) == (1, 1, 0)
    assert {cells[way] for cells in table(printed).values() for way in ONNX} == {"1"}
    assert sorted(path.stem for path in output.iterdir()) == ["tiny-weighted", "tiny-weighted_long"]


def test_what_was_decided_in_other_ways_is_left_out(folder, tmp_path, capsys):
    output = tmp_path / "counts"
    run(folder, "--output", str(output))
    record = json.loads((output / "tiny-weighted.json").read_text())
    (output / "tiny-weighted.json").write_text(json.dumps({**record, "ways": ["float32, eager"]}))

    run(folder, "--only", "tiny/weighted_long", "--output", str(output))

    printed = capsys.readouterr()
    assert "\n1 networks\n" in printed.out
    assert "tiny/weighted was decided in other ways and is left out: run it again" in printed.err


def test_a_network_is_named_by_its_name_or_by_part_of_it(folder):
    def names(*parts: str) -> list[str]:
        return [network.loss for network in parity.chosen(folder, list(parts))]

    assert names("tiny/weighted") == ["weighted"]
    assert names("long") == ["weighted_long"]
    assert (
        names("")
        == names("tiny")
        == names("tiny/weighted", "long")
        == ["weighted_long", "weighted"]
    )


def test_what_is_not_there_is_named(folder, tmp_path):
    assert "there is no network 'absent'" in run(folder, "--only", "tiny/weighted,absent")
    assert "there is no folder of saved logits at" in run(tmp_path / "absent")
