"""What the documents say is true: paths exist, code runs, commands are those there are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_path_that_is_named_exists(document: str):
    text = (ROOT / document).read_text()
    paths = re.findall(r"(?:calibrate|tests|examples)/[\w/.]*\w(?:\.py|/)?", text)

    missing = {path for path in paths if not (ROOT / path).exists()}

    assert paths
    assert missing == set()


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    rng = np.random.default_rng(0)
    labels = rng.random((100, 4)) < 0.3
    logits = labels + rng.normal(size=labels.shape)
    names = {"logits": logits, "labels": labels, "new_logits": logits[:10]}
    monkeypatch.chdir(tmp_path)

    exec(code, names)

    assert names["predicted"].shape == (10, 4)
    assert (tmp_path / "rule.safetensors").exists()


def test_the_commands_of_the_readme_are_those_there_are():
    from calibrate.cli import COMMANDS

    text = (ROOT / "README.md").read_text()

    assert set(re.findall(r"^calibrate (\w+)", text, re.M)) <= set(COMMANDS)


def test_the_public_names_of_the_readme_are_those_there_are():
    import calibrate

    names = re.findall(r"cal\.(\w+)", (ROOT / "README.md").read_text())

    assert set(names) <= set(dir(calibrate))


ENDLESS = {"serve.py"}
"""Examples that run until they are stopped; they have tests of their own in tests/examples/."""


def test_every_example_that_does_not_end_has_tests_of_its_own():
    assert all((ROOT / "tests" / "examples" / f"test_{name}").exists() for name in ENDLESS)


@pytest.mark.parametrize(
    "example", sorted({path.name for path in (ROOT / "examples").glob("*.py")} - ENDLESS)
)
def test_every_example_runs(example: str, tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=240,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout
    assert result.stderr == ""


def test_the_pre_commit_hook_runs_what_make_lint_runs():
    hook = (ROOT / ".pre-commit-config.yaml").read_text()

    assert "entry: make lint" in hook
