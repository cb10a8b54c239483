"""From a path to its reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calibrate.readers import open_label_file, open_matrix


@pytest.mark.parametrize("opened", [open_matrix, open_label_file])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.pt", "a.safetensors", "a.pkl", "a.xyz"])
def test_a_missing_file_is_named(opened, name: str, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=f"no such file: {tmp_path / name}"):
        opened(tmp_path / name)


def test_an_unknown_suffix_is_named_beside_the_known_ones(tmp_path: Path):
    path = tmp_path / "logits.csv"
    path.write_text("1,2")

    with pytest.raises(
        ValueError, match=r"\.npy, \.npz, \.safetensors, \.pt, \.pth, got the suffix '\.csv' of"
    ):
        open_matrix(path)


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib", ".PKL"])
@pytest.mark.parametrize("opened", [open_matrix, open_label_file])
def test_pickles_are_refused_with_the_way_out(opened, suffix: str, tmp_path: Path):
    path = tmp_path / f"logits{suffix}"
    path.write_bytes(np.zeros((3, 2)).dumps())

    with pytest.raises(ValueError, match=rf"{path} holds Python objects .*numpy\.save"):
        opened(path)


def test_a_folder_is_refused_with_the_way_to_name_its_files(tmp_path: Path):
    with pytest.raises(ValueError, match=r"is a folder: name its files, such as '.*/\*\.npy'"):
        open_matrix(tmp_path)


def test_the_case_of_a_suffix_does_not_matter(tmp_path: Path):
    path = tmp_path / "LOGITS.NPY"
    with path.open("wb") as file:
        np.save(file, np.zeros((3, 2)))

    assert open_matrix(path).shape == (3, 2)


def test_heavy_libraries_come_only_with_files_that_need_them(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    np.savez_compressed(tmp_path / "a.npz", logits=np.zeros((3, 2)))
    program = (
        "import sys\n"
        "from calibrate.readers import open_matrix\n"
        "for name in ('a.npy', 'a.npz'):\n"
        f"    open_matrix({str(tmp_path)!r} + '/' + name)[0:3]\n"
        "print([m for m in ('torch', 'scipy', 'safetensors', 'numba') if m in sys.modules])\n"
    )

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.strip() == "[]"
