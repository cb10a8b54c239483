"""The picture of a report is taken, and small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from reported import fitted, world

import calibrate as cal

ROOT = Path(__file__).parents[2]


def test_a_picture_shows_the_top_of_a_report(tmp_path):
    if shutil.which("chromium") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no chromium to open pages in")
    logits, labels = world()
    cal.threshold_report(fitted(), logits[800:], labels[800:]).save_page(tmp_path / "page.html")
    script = ROOT / "tests" / "benchmarks" / "screenshot.py"
    size = ["--width", "700", "--height", "500"]

    subprocess.run(
        [sys.executable, script, tmp_path / "page.html", tmp_path / "picture.png", *size],
        check=True, timeout=120,
    )  # fmt: skip

    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (700, 500)
        assert picture.mode == "P"
        assert len(picture.convert("RGB").getcolors()) > 10


def test_the_picture_of_the_readme_is_small_and_there():
    readme = (ROOT / "README.md").read_text()

    assert "(examples/report.png)" in readme
    assert (ROOT / "examples" / "report.png").stat().st_size <= 200_000
