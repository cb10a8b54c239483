"""Reading block by block does not load the whole, measured in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

N_ROWS, N_CLASSES = 3328, 7900  # 105 MB of float32
ALLOWED_MB = 32  # blocks of 2 MB and what the libraries keep, far below the whole

PROGRAM = """
import sys
import numpy, scipy.sparse, safetensors
if sys.argv[1].endswith(".pt"):
    import torch
from calibrate.readers import open_matrix

def anonymous_mb():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024

before = most = anonymous_mb()
source = open_matrix(sys.argv[1])
total = 0.0
for start in range(0, source.shape[0], 64):
    total += float(source[start : start + 64].sum(dtype=float))
    most = max(most, anonymous_mb())
print(most - before, total)
"""


def save_npy(path: Path, logits: np.ndarray) -> None:
    np.save(path, logits)


def save_fortran(path: Path, logits: np.ndarray) -> None:
    np.save(path, np.asfortranarray(logits))


def save_stored(path: Path, logits: np.ndarray) -> None:
    np.savez(path, logits=logits)


def save_compressed(path: Path, logits: np.ndarray) -> None:
    np.savez_compressed(path, logits=logits)


def save_safetensors(path: Path, logits: np.ndarray) -> None:
    save_file({"logits": torch.from_numpy(logits)}, path)


def save_bfloat16(path: Path, logits: np.ndarray) -> None:
    save_file({"logits": torch.from_numpy(np.concatenate([logits, logits])).bfloat16()}, path)


def save_pt(path: Path, logits: np.ndarray) -> None:
    torch.save({"logits": torch.from_numpy(logits)}, path)


def save_pt_bfloat16(path: Path, logits: np.ndarray) -> None:
    doubled = torch.from_numpy(np.concatenate([logits, logits]))
    torch.save({"logits": doubled.bfloat16()}, path)


def save_shards(path: Path, logits: np.ndarray) -> None:
    for index, rows in enumerate(np.array_split(logits, 9)):
        np.savez_compressed(path.with_name(f"part{index}.npz"), logits=rows)


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    # Rows of one value compress fast; the values are exact in bfloat16.
    return np.repeat(np.arange(N_ROWS, dtype=np.float32)[:, None] % 64, N_CLASSES, axis=1)


@pytest.mark.parametrize(
    ("name", "save", "times"),
    [
        ("a.npy", save_npy, 1),
        ("fortran.npy", save_fortran, 1),
        ("stored.npz", save_stored, 1),
        ("compressed.npz", save_compressed, 1),
        ("a.safetensors", save_safetensors, 1),
        ("bfloat16.safetensors", save_bfloat16, 2),
        ("a.pt", save_pt, 1),
        ("bfloat16.pt", save_pt_bfloat16, 2),
        ("part*.npz", save_shards, 1),
    ],
)
def test_blocks_of_rows_are_read_without_the_rest(name, save, times, logits, tmp_path):
    path = tmp_path / name
    save(path, logits)

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    used_mb, total = map(float, done.stdout.split())
    assert total == times * logits.sum(dtype=float)
    assert used_mb < ALLOWED_MB
    for written in tmp_path.iterdir():
        written.unlink()
