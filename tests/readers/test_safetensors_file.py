"""`.safetensors` files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from calibrate.readers import open_label_file, open_matrix


def test_a_slice_past_the_last_row_is_clamped(tmp_path: Path):
    path = tmp_path / "logits.safetensors"
    logits = np.arange(8000, dtype=np.float32).reshape(4000, 2)
    save_file({"logits": logits}, path)

    block = open_matrix(path)[3840:4096]

    np.testing.assert_array_equal(block, logits[3840:])


def test_every_bfloat16_comes_as_the_float32_of_the_same_value(tmp_path: Path):
    path = tmp_path / "logits.safetensors"
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    tensor = every.reshape(256, 256)
    save_tensors({"logits": tensor}, path)

    blocks = [open_matrix(path)[start : start + 100] for start in (0, 100, 200)]

    found = np.concatenate(blocks)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(
        found.view(np.uint32), tensor.float().numpy().view(np.uint32) & np.uint32(0xFFFF0000)
    )


def test_a_tensor_behind_others_of_odd_length_is_found(tmp_path: Path):
    path = tmp_path / "run.safetensors"
    logits = np.arange(6, dtype=np.float32).reshape(3, 2)
    ids = np.arange(5, dtype=np.uint8)
    save_file({"ids": ids, "logits": logits, "labels": logits > 2}, path, {"note": "metadata"})

    np.testing.assert_array_equal(open_matrix(path)[0:3], logits)
    np.testing.assert_array_equal(open_label_file(path)[0:3], logits > 2)


def test_two_tensors_without_usual_names_need_a_key(tmp_path: Path):
    path = tmp_path / "run.safetensors"
    save_file({"a": np.zeros((3, 2)), "b": np.ones((3, 2))}, path, {"note": "metadata"})

    with pytest.raises(ValueError, match=r"got a \(3, 2\), b \(3, 2\): give the key"):
        open_matrix(path)
    np.testing.assert_array_equal(open_matrix(path, key="b")[0:3], np.ones((3, 2)))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64])
def test_other_dtypes_are_refused_by_name(dtype: torch.dtype, tmp_path: Path):
    path = tmp_path / "logits.safetensors"
    save_tensors({"logits": torch.zeros((3, 2)).to(dtype)}, path)

    with pytest.raises(ValueError, match=r"'logits' in .* must be float16, .* got (F8_E4M3|C64)"):
        open_matrix(path)


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path):
    path = tmp_path / "logits.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")

    with pytest.raises(ValueError, match=rf"{path} must be a whole \.safetensors file"):
        open_matrix(path)


def test_a_header_of_any_length_is_no_pickle(tmp_path):
    path = tmp_path / "logits.safetensors"
    logits = np.zeros((2, 3), np.float32)

    for length in range(1, 260):
        save_file({"logits": logits}, path, metadata={"m": "x" * length})

        assert open_matrix(path).shape == (2, 3)
