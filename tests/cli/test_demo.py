"""The demo at a small size: real work, files left behind, the table printed."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

import calibrate as cal
from calibrate.cli import main


def test_the_simulated_demo_brings_the_count_to_the_right_number(tmp_path):
    output = tmp_path / "demo"

    result = CliRunner().invoke(
        main, ["demo", "--simulate", "1200", "60", "-o", str(output), "--seed", "3", "--json"]
    )

    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    found = printed["pipelines"]
    assert found["raw, cut at 0.5"]["count_ratio"] > 1.5
    assert found["expected k"]["count_ratio"] == pytest.approx(1, abs=0.1)
    assert cal.load(output / "rule.safetensors").n_classes == 60
    assert (output / "comparison.md").read_text().startswith("| pipeline |")
    assert json.loads((output / "comparison.json").read_text())["pipelines"] == found
    page = (output / "report.html").read_text()
    assert printed["report"] == str(output / "report.html")
    assert f"calibrate demo --output {output} --simulate 1200 60 --seed 3<" in page
    for pipeline in ("raw, cut at 0.5", "expected k"):
        for name in ("macro_f", "micro_f", "instance_f"):
            assert f"<td>{found[pipeline][name]:.4f} <small>" in page
    assert "which are not those the rule was fitted to" in page


def test_the_trained_demo_runs_from_source_files_to_the_table(tmp_path, monkeypatch):
    from calibrate.demo import source_corpus

    whole = source_corpus.read_corpus
    monkeypatch.setattr(
        source_corpus,
        "read_corpus",
        lambda progress=None: whole(max_files=500, min_files=10, progress=progress),
    )

    output = tmp_path / "demo"

    result = CliRunner().invoke(main, ["demo", "-o", str(output)])

    assert result.exit_code == 0, result.stderr
    assert "expected k" in result.stdout
    wrote, look, following = result.stdout.splitlines()[-3:]
    assert wrote == (
        f"wrote to {output}: rule.safetensors, report.html, comparison.md, comparison.json, "
        "and the logits"
    )
    assert look.startswith(f"open in a browser: {output / 'report.html'}")
    assert following == f"next: calibrate inspect {output / 'rule.safetensors'}"
    for name in (
        "rule.safetensors",
        "report.html",
        "comparison.md",
        "comparison.json",
        "validation_logits.npy",
        "test_labels.npz",
        "class_names.txt",
        "pos_weight.npy",
    ):
        assert (output / name).exists()


def test_without_bokeh_the_demo_leaves_all_but_the_page_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh.resources", None)
    output = tmp_path / "demo"

    result = CliRunner().invoke(main, ["demo", "--simulate", "100", "5", "-o", str(output)])

    assert result.exit_code == 0, result.stderr
    assert 'the page needs bokeh: pip install "calibrate-multilabel[report]"' in result.stderr
    assert "report.html" not in result.stdout
    assert cal.load(output / "rule.safetensors").n_classes == 5
    assert not (output / "report.html").exists()


def test_a_folder_with_files_is_left_alone_without_force(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")

    result = CliRunner().invoke(main, ["demo", "--simulate", "10", "2", "-o", str(tmp_path)])

    assert result.exit_code == 2
    assert "is not empty; give --force" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
