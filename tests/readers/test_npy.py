"""`.npy` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibrate.readers import open_matrix


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", "<f2", "<f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_byte_orders_and_memory_orders_are_kept(dtype: str, order: str, tmp_path: Path):
    path = tmp_path / "logits.npy"
    logits = np.array([[1.5, -2.25], [0.0, 8.0], [3.0, 4.0]], dtype=dtype, order=order)
    np.save(path, logits)

    block = open_matrix(path)[1:3]

    assert block.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(block, logits[1:3])


def test_an_array_without_a_name_has_no_key(tmp_path: Path):
    path = tmp_path / "logits.npy"
    np.save(path, np.zeros((2, 2)))

    with pytest.raises(ValueError, match="without a name: give no key, got 'logits'"):
        open_matrix(path, key="logits")


def test_a_second_array_in_the_file_is_not_passed_over(tmp_path: Path):
    path = tmp_path / "logits.npy"
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 2)))
        np.save(file, np.zeros((2, 2)))

    with pytest.raises(ValueError, match="holds more than one array"):
        open_matrix(path)


def test_a_truncated_file_says_how_many_bytes_are_missing(tmp_path: Path):
    path = tmp_path / "logits.npy"
    np.save(path, np.zeros((4, 2)))
    path.write_bytes(path.read_bytes()[:-8])

    with pytest.raises(ValueError, match="is truncated"):
        open_matrix(path)


def test_a_bfloat16_array_that_numpy_wrote_as_raw_bytes_is_refused(tmp_path: Path):
    path = tmp_path / "logits.npy"
    np.save(path, np.zeros((2, 2), "V2"))

    with pytest.raises(ValueError, match=r"got dtype \|V2"):
        open_matrix(path)
