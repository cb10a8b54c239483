"""`.pt` and `.pth` files."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from calibrate.readers import open_label_file, open_matrix

ARRAY_GLOBALS = [np._core.multiarray._reconstruct, np.ndarray, np.dtype, np.dtypes.Float32DType]


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@contextmanager
def sparse_in_beta() -> Iterator[None]:
    """What torch warns of when somebody makes a sparse tensor is not ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CS")
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.pt"


def test_a_bare_tensor_is_read(path: Path):
    logits = torch.arange(6.0).reshape(3, 2)
    torch.save(logits, path)

    np.testing.assert_array_equal(open_matrix(path)[1:9], logits[1:].numpy())


def test_logits_and_labels_of_one_dict_are_told_apart(path: Path):
    logits = torch.arange(6.0).reshape(3, 2)
    torch.save({"epoch": 3, "logits": logits, "labels": logits > 2}, path)

    np.testing.assert_array_equal(open_matrix(path)[0:3], logits.numpy())
    np.testing.assert_array_equal(open_label_file(path)[0:3], (logits > 2).numpy())


def test_two_tensors_without_usual_names_need_a_key(path: Path):
    torch.save({"a": torch.zeros(3, 2), "b": torch.ones(3, 2), "epoch": 3}, path)

    with pytest.raises(ValueError, match=r"a \(3, 2\), b \(3, 2\), epoch: give the key"):
        open_matrix(path)
    np.testing.assert_array_equal(open_matrix(path, key="b")[0:3], np.ones((3, 2)))


def test_a_bare_tensor_has_no_key(path: Path):
    torch.save(torch.zeros(3, 2), path)

    with pytest.raises(ValueError, match="give no key, got 'logits'"):
        open_matrix(path, key="logits")


def test_every_bfloat16_comes_as_the_float32_of_the_same_value(path: Path):
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    tensor = every.reshape(256, 256)
    torch.save({"logits": tensor}, path)

    block = open_matrix(path)[0:256]

    assert block.dtype == np.float32
    np.testing.assert_array_equal(block, tensor.float().numpy())


def test_float16_stays_float16(path: Path):
    torch.save(torch.ones(3, 2, dtype=torch.float16), path)

    assert open_matrix(path)[0:3].dtype == np.float16


@pytest.mark.parametrize(
    "make",
    [
        lambda tensor: tensor.T.contiguous().T,
        lambda tensor: tensor.requires_grad_(),
        lambda tensor: torch.nn.Parameter(tensor),
        lambda tensor: torch.cat([tensor, tensor])[1:4].clone(),
        lambda tensor: torch.cat([tensor, tensor])[0:3],
    ],
    ids=["transposed", "with gradient", "parameter", "clone of a slice", "slice of another"],
)
def test_tensors_of_every_make_give_their_rows(make, path: Path):
    tensor = make(torch.arange(6.0).reshape(3, 2))
    torch.save({"logits": tensor}, path)

    np.testing.assert_array_equal(open_matrix(path)[0:3], tensor.detach().numpy())


@pytest.mark.parametrize("layout", ["to_sparse_csr", "to_sparse_csc", "to_sparse_coo"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.bfloat16, torch.int64])
def test_sparse_labels_become_csr(layout: str, dtype: torch.dtype, path: Path):
    dense = torch.eye(4)[:, :3].to(dtype)
    with sparse_in_beta():
        torch.save({"labels": getattr(dense, layout)()}, path)

    labels = open_label_file(path)

    assert isinstance(labels, sparse.csr_array)
    np.testing.assert_array_equal(labels.toarray(), dense.float().numpy())


def test_torch_does_not_warn_of_the_sparse_labels_of_others(path: Path):
    with sparse_in_beta():
        torch.save({"labels": torch.eye(3).to_sparse_csr()}, path)
    program = (
        "from calibrate.readers import open_label_file\n"
        f"print(open_label_file({str(path)!r}).nnz)\n"
    )

    done = subprocess.run(  # torch warns once a process, thus in a fresh one
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.strip() == "3"


def test_sparse_scores_are_no_logits(path: Path):
    with sparse_in_beta():
        torch.save({"logits": torch.eye(3).to_sparse_csr()}, path)

    with pytest.raises(ValueError, match="sparse scores are not dense logits"):
        open_matrix(path)


def test_sparse_labels_of_three_axes_are_refused(path: Path):
    torch.save(torch.ones(2, 2, 2).to_sparse(), path)

    with pytest.raises(ValueError, match=r"two axes.* got shape \(2, 2, 2\)"):
        open_label_file(path)


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.complex64])
def test_dtypes_that_are_not_real_numbers_are_refused(dtype: torch.dtype, path: Path):
    torch.save(torch.zeros(3, 2).to(dtype), path)

    with pytest.raises(ValueError, match="must hold"):
        open_matrix(path)


@pytest.mark.parametrize("value", [[[1.0, 2.0]], "text", None, 3])
def test_what_is_no_tensor_is_refused_by_type(value: Any, path: Path):
    torch.save({"logits": value}, path)

    with pytest.raises(ValueError, match=rf"must be a tensor, got {type(value).__name__}"):
        open_matrix(path)


def test_a_tensor_without_numbers_is_refused(path: Path):
    torch.save(torch.zeros(3, 2, device="meta"), path)

    with pytest.raises(ValueError, match="device meta"):
        open_matrix(path)


def test_numpy_arrays_inside_are_refused_with_the_globals_they_want(path: Path):
    torch.save({"logits": np.zeros((3, 2), np.float32)}, path)

    with pytest.raises(
        ValueError,
        match=r"numpy\._core\.multiarray\._reconstruct.*torch\.from_numpy.*safe_globals",
    ) as caught:
        open_matrix(path)
    assert "weights_only" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_dtype_class_that_is_still_missing_is_named(path: Path):
    torch.save({"logits": np.zeros((3, 2), np.float32)}, path)

    with (
        torch.serialization.safe_globals(ARRAY_GLOBALS[:3]),
        pytest.raises(ValueError, match=r"wants the Python globals numpy\.dtypes\.Float32DType\."),
    ):
        open_matrix(path)


def test_numpy_arrays_that_the_user_allowed_are_read(path: Path):
    logits = np.arange(6, dtype=np.float32).reshape(3, 2)
    torch.save({"logits": logits}, path)

    with torch.serialization.safe_globals(ARRAY_GLOBALS):
        source = open_matrix(path)

    np.testing.assert_array_equal(source[1:3], logits[1:3])


@pytest.mark.parametrize("opened", [open_matrix, open_label_file])
@pytest.mark.parametrize("legacy", [False, True])
def test_an_evil_file_is_refused_and_nothing_runs(opened, legacy: bool, tmp_path: Path):
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    evil = {"logits": torch.zeros(3, 2), "labels": Evil(marker)}
    torch.save(evil, path, _use_new_zipfile_serialization=not legacy)

    with pytest.raises(ValueError, match="never loaded") as caught:
        opened(path)

    assert not marker.exists()
    assert legacy or "posix.mkdir" in str(caught.value)
    torch.load(path, weights_only=False)
    assert marker.exists()  # the file was evil indeed


def test_an_evil_file_is_refused_though_numpy_is_allowed(tmp_path: Path):
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    torch.save({"logits": np.zeros((3, 2), np.float32), "x": Evil(marker)}, path)

    with (
        torch.serialization.safe_globals(ARRAY_GLOBALS),
        pytest.raises(ValueError, match=r"globals posix\.mkdir\."),
    ):
        open_matrix(path)
    assert not marker.exists()


def test_the_legacy_form_is_refused_with_the_way_out(path: Path):
    torch.save(torch.zeros(3, 2), path, _use_new_zipfile_serialization=False)

    with pytest.raises(ValueError, match=r"since torch 1\.6: the older form is a pickle"):
        open_matrix(path)


def test_a_bare_pickle_is_refused(tmp_path: Path):
    path, marker = tmp_path / "evil.pth", tmp_path / "marker"
    path.write_bytes(pickle.dumps(Evil(marker)))

    with pytest.raises(ValueError, match="is a pickle, which is never loaded"):
        open_matrix(path)
    assert not marker.exists()
