"""Headers of stored arrays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from calibrate.readers.npy_format import ArrayHeader, map_matrix, read_header


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_both_versions_of_the_header_are_read(version: tuple[int, int]):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asfortranarray(np.zeros((3, 2), ">f8")), version)
    size = file.tell() - 48
    file.seek(0)

    header = read_header(file, "a.npy")

    assert header == ArrayHeader((3, 2), np.dtype(">f8"), True, size)
    assert file.tell() == size


def test_a_header_for_records_with_foreign_names_is_refused():
    file = io.BytesIO()
    np.lib.format.write_array(file, np.zeros(2, [("größe", "f4"), ("名", "f4")]), (3, 0))
    file.seek(0)

    with pytest.raises(ValueError, match=r"a\.npy must begin with .*records"):
        read_header(file, "a.npy")


def test_no_numbers_are_mapped_where_the_file_ends(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.touch()

    source = map_matrix(path, ArrayHeader((0, 2), np.dtype("f4"), False, 0), 0, "a.bin")

    assert source[0:1].shape == (0, 2)


def test_an_offset_past_the_end_is_called_a_truncation(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(20))
    header = ArrayHeader((2, 2), np.dtype("f4"), False, 0)

    with pytest.raises(ValueError, match="is truncated: its numbers end after the file does"):
        map_matrix(path, header, 8, "a.bin")
