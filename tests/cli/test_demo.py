"""The demo at a small size: real work, files left behind, the table printed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import calibrate as cal
from calibrate.cli import main


def test_the_simulated_demo_brings_the_count_to_the_right_number(tmp_path):
    output = tmp_path / "demo"

    result = CliRunner().invoke(
        main, ["demo", "--simulate", "1200", "60", "-o", str(output), "--json"]
    )

    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["pipelines"]
    assert found["raw, cut at 0.5"]["count_ratio"] > 1.5
    assert found["expected k"]["count_ratio"] == pytest.approx(1, abs=0.1)
    assert cal.load(output / "rule.safetensors").n_classes == 60
    assert (output / "comparison.md").read_text().startswith("| pipeline |")
    assert json.loads((output / "comparison.json").read_text())["pipelines"] == found


def test_the_trained_demo_runs_from_source_files_to_the_table(tmp_path, monkeypatch):
    from calibrate.demo import source_corpus

    whole = source_corpus.read_corpus
    monkeypatch.setattr(
        source_corpus,
        "read_corpus",
        lambda progress=None: whole(max_files=500, min_files=10, progress=progress),
    )

    result = CliRunner().invoke(main, ["demo", "-o", str(tmp_path / "demo")])

    assert result.exit_code == 0, result.stderr
    assert "expected k" in result.stdout
    assert (tmp_path / "demo" / "rule.safetensors").exists()
    for name in ("validation_logits.npy", "test_labels.npz", "class_names.txt", "pos_weight.npy"):
        assert (tmp_path / "demo" / name).exists()


def test_a_folder_with_files_is_left_alone_without_force(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")

    result = CliRunner().invoke(main, ["demo", "--simulate", "10", "2", "-o", str(tmp_path)])

    assert result.exit_code == 2
    assert "is not empty; give --force" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
