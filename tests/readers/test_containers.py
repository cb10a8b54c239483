"""Laws that hold for every container of dense matrices."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from calibrate.readers import open_label_file, open_matrix

REAL = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def save_pt(path: Path, array: np.ndarray, key: str) -> None:
    native = array.astype(array.dtype.newbyteorder("="), order="K")
    torch.save({key: torch.from_numpy(native)}, path)


def save_safetensors(path: Path, array: np.ndarray, key: str) -> None:
    native = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    save_file({key: native.reshape(array.shape)}, path)


def save_stored(path: Path, array: np.ndarray, key: str) -> None:
    np.savez(path, before=np.arange(3), **{key: array})


def save_compressed(path: Path, array: np.ndarray, key: str) -> None:
    np.savez_compressed(path, before=np.arange(3), **{key: array})


def save_npy(path: Path, array: np.ndarray, key: str) -> None:
    np.save(path, array)


CONTAINERS: dict[str, tuple[str, Callable[[Path, np.ndarray, str], None]]] = {
    "npy": ("a.npy", save_npy),
    "npz stored": ("a.npz", save_stored),
    "npz compressed": ("a.npz", save_compressed),
    "safetensors": ("a.safetensors", save_safetensors),
    "pt": ("a.pt", save_pt),
    "pth": ("a.pth", save_pt),
}
every_container = pytest.mark.parametrize("container", CONTAINERS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One folder for all the examples of a test; each example writes its file anew."""
    return tmp_path


def stored(container: str, array: np.ndarray, folder: Path, key: str = "logits") -> Path:
    name, save = CONTAINERS[container]
    path = folder / name
    path.unlink(missing_ok=True)  # a new file, so that older maps keep the one they have
    save(path, array, key)
    return path


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    dtype = np.dtype(draw(st.sampled_from(REAL))).newbyteorder(draw(st.sampled_from("<>")))
    shape = draw(st.tuples(st.integers(0, 9), st.integers(1, 5)))
    order = draw(st.sampled_from("CF"))
    elements = st.integers(0, 1) if dtype.kind == "b" else st.integers(0, 100)
    return np.asarray(draw(hnp.arrays(dtype, shape, elements=elements)), order=order)


bounds = st.none() | st.integers(-12, 12)
quickly = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@every_container
@quickly
@given(array=matrices(), slices=st.lists(st.tuples(bounds, bounds), min_size=1, max_size=4))
def test_a_slice_of_the_file_is_the_slice_of_the_array(container, folder, array, slices):
    source = open_matrix(stored(container, array, folder))

    blocks = [source[start:stop] for start, stop in slices]

    assert source.shape == array.shape
    for (start, stop), block in zip(slices, blocks, strict=True):
        assert isinstance(block, np.ndarray)
        assert block.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(block, array[start:stop])


@every_container
def test_dense_labels_come_by_their_own_name(container: str, folder: Path):
    labels = np.eye(4, 3, dtype=bool)

    source = open_label_file(stored(container, labels, folder, key="targets"))

    np.testing.assert_array_equal(source[0:9], labels)


@every_container
def test_no_rows_are_rows_too(container: str, folder: Path):
    source = open_matrix(stored(container, np.zeros((0, 3), np.float32), folder))

    assert source.shape == (0, 3)
    assert source[0:10].shape == (0, 3)


@every_container
@pytest.mark.parametrize("shape", [(3,), (3, 2, 2)])
def test_other_numbers_of_axes_are_refused_with_the_shape(container, shape, folder):
    path = stored(container, np.zeros(shape, np.float32), folder)

    with pytest.raises(ValueError, match=rf"{path} must have two axes.* got shape \(3, ?"):
        open_matrix(path)


@every_container
def test_every_truncation_is_refused_with_the_path(container: str, folder: Path):
    array = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
    path = stored(container, array, folder)
    whole = path.read_bytes()
    lengths = {0, 1, 5, 9, 64, len(whole) // 3, len(whole) // 2, len(whole) - 20, len(whole) - 1}

    for length in sorted(lengths):
        path.unlink()
        path.write_bytes(whole[:length])

        with pytest.raises(ValueError, match=str(path)):
            open_matrix(path)


@every_container
def test_a_file_with_a_damaged_byte_is_read_or_refused_and_nothing_else(
    container: str, folder: Path
):
    rng = np.random.default_rng(1)
    path = stored(container, np.ones((6, 3), np.float32), folder)
    whole = path.read_bytes()
    refused = 0

    for position in rng.choice(len(whole), 120, replace=len(whole) < 120):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.unlink()
        path.write_bytes(damaged)
        try:
            open_matrix(path)[0:6]
        except ValueError as error:
            refused += str(path) in str(error) or pytest.fail(f"no path in: {error}")

    assert refused > 0


@pytest.mark.parametrize("container", ["npy", "npz stored", "npz compressed"])
@pytest.mark.parametrize("dtype", ["complex64", "U5", "M8[D]"])
def test_what_is_not_real_is_refused_with_its_dtype(container, dtype, folder):
    path = stored(container, np.zeros((3, 2), dtype), folder)

    with pytest.raises(ValueError, match=r"must hold real numbers .* got dtype"):
        open_matrix(path)


@pytest.mark.parametrize("container", ["npy", "npz stored", "npz compressed"])
@pytest.mark.parametrize("opened", [open_matrix, open_label_file])
def test_object_arrays_are_refused_with_the_way_out(container, opened, folder):
    lists = np.array([[1], [2, 3]], dtype=object)
    path = stored(container, lists, folder, key="labels" if opened is open_label_file else "logits")

    with pytest.raises(ValueError, match=rf"{path} holds Python objects .*never loaded.*save_npz"):
        opened(path)


@pytest.mark.parametrize("container", ["npy", "npz stored", "safetensors", "pt"])
def test_rows_are_views_of_the_file_and_cannot_change_it(container: str, folder: Path):
    path = stored(container, np.ones((3, 2), np.float32), folder)
    before = path.read_bytes()

    block = open_matrix(path)[0:3]
    if block.flags.writeable:  # a private map, as torch makes it
        block[:] = 7

    assert block.base is not None
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
def test_a_pickle_under_another_suffix_is_never_loaded(suffix: str, tmp_path: Path):
    path = tmp_path / f"logits{suffix}"
    path.write_bytes(np.array([[1.0]]).dumps())

    with pytest.raises(
        ValueError, match=r"holds Python objects|must be a zip file.* older form is a pickle"
    ):
        open_matrix(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
def test_another_kind_of_file_under_the_suffix_is_refused_with_the_path(suffix, tmp_path):
    path = tmp_path / f"logits{suffix}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no arrays here")

    with pytest.raises(ValueError, match=str(path)):
        open_matrix(path)
