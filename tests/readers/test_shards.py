"""Lists and patterns of files."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from scipy import sparse

from calibrate.readers import open_label_file, open_matrix

bounds = st.none() | st.integers(-40, 40)


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.integers(0, 24), max_size=6), st.lists(st.tuples(bounds, bounds), min_size=1))
def test_slices_across_borders_are_slices_of_the_whole(tmp_path: Path, logits, cuts, slices):
    borders = [0, *sorted(cuts), 24]
    paths = []
    for index, (begin, end) in enumerate(pairwise(borders)):
        paths.append(tmp_path / f"part{index}.npy")
        paths[-1].unlink(missing_ok=True)
        np.save(paths[-1], logits[begin:end])

    source = open_matrix(paths)

    assert source.shape == (24, 3)
    for start, stop in slices:
        np.testing.assert_array_equal(source[start:stop], logits[start:stop])


def test_a_pattern_is_sorted_as_people_count(logits: np.ndarray, tmp_path: Path):
    for index in range(12):
        np.save(tmp_path / f"part{index}.npy", logits[2 * index : 2 * index + 2])

    source = open_matrix(str(tmp_path / "part*.npy"))

    np.testing.assert_array_equal(source[0:24], logits)


def test_numbers_in_folders_are_sorted_as_people_count(logits: np.ndarray, tmp_path: Path):
    for index in (2, 10):
        folder = tmp_path / "run" / f"rank{index}"
        folder.mkdir(parents=True)
        np.save(folder / "a.npy", logits[index : index + 1])

    source = open_matrix(str(tmp_path / "**" / "*.npy"))

    np.testing.assert_array_equal(source[0:2], logits[[2, 10]])


def test_a_list_keeps_its_order(logits: np.ndarray, tmp_path: Path):
    np.save(tmp_path / "a.npy", logits[:10])
    np.save(tmp_path / "b.npy", logits[10:])

    source = open_matrix((str(tmp_path / "b.npy"), tmp_path / "a.npy"))

    np.testing.assert_array_equal(source[0:24], np.concatenate([logits[10:], logits[:10]]))


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(logits, tmp_path):
    np.save(tmp_path / "logits[1].npy", logits)

    assert open_matrix(str(tmp_path / "logits[1].npy")).shape == (24, 3)
    assert open_matrix(tmp_path / "logits[1].npy").shape == (24, 3)


def test_containers_and_dtypes_may_differ(logits: np.ndarray, tmp_path: Path):
    half = logits[8:16].astype(np.float16)
    np.savez_compressed(tmp_path / "a.npz", logits=logits[:8])
    save_file({"logits": half}, tmp_path / "b.safetensors")
    torch.save({"logits": torch.from_numpy(logits[16:])}, tmp_path / "c.pt")

    source = open_matrix([tmp_path / "a.npz", tmp_path / "b.safetensors", tmp_path / "c.pt"])

    block = source[4:20]
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block[:4], logits[4:8])
    np.testing.assert_array_equal(block[4:12], half)
    np.testing.assert_array_equal(block[12:], logits[16:20])


def test_the_key_holds_for_every_shard(logits: np.ndarray, tmp_path: Path):
    np.savez(tmp_path / "a.npz", mine=logits[:8], logits=logits[8:])
    np.savez(tmp_path / "b.npz", mine=logits[8:], logits=logits[8:])

    source = open_matrix(str(tmp_path / "*.npz"), key="mine")

    np.testing.assert_array_equal(source[0:24], logits)


def test_a_slice_inside_one_shard_is_a_view(logits: np.ndarray, tmp_path: Path):
    np.save(tmp_path / "a.npy", logits)
    np.save(tmp_path / "b.npy", logits)

    source = open_matrix([tmp_path / "a.npy", tmp_path / "b.npy"])

    assert not source[0:24].flags.owndata
    assert not source[24:30].flags.owndata


def test_an_empty_shard_does_not_change_the_dtype(logits: np.ndarray, tmp_path: Path):
    np.save(tmp_path / "a.npy", logits)
    np.save(tmp_path / "b.npy", np.zeros((0, 3)))
    np.save(tmp_path / "c.npy", logits)

    source = open_matrix(str(tmp_path / "*.npy"))

    assert source[20:30].dtype == np.float32


def test_thousands_of_shards_do_not_exhaust_the_open_files(tmp_path: Path):
    for index in range(200):
        np.save(tmp_path / f"{index}.npy", np.full((1, 2), index))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    source = open_matrix(str(tmp_path / "*.npy"))
    rows = source[0:200]

    assert len(os.listdir("/proc/self/fd")) - before <= 70  # noqa: PTH208
    np.testing.assert_array_equal(rows[:, 0], np.arange(200))


@pytest.mark.parametrize("opened", [open_matrix, open_label_file])
def test_a_pattern_without_a_match_is_named(opened, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no file matches .*part\*\.npy"):
        opened(str(tmp_path / "part*.npy"))


@pytest.mark.parametrize("opened", [open_matrix, open_label_file])
def test_no_shards_are_refused(opened):
    with pytest.raises(ValueError, match="must name at least one file, got none"):
        opened([])


def test_a_missing_shard_is_named(logits: np.ndarray, tmp_path: Path):
    np.save(tmp_path / "a.npy", logits)

    with pytest.raises(FileNotFoundError, match=r"no such file: .*b\.npy"):
        open_matrix([tmp_path / "a.npy", tmp_path / "b.npy"])


@pytest.mark.parametrize("opened", [open_matrix, open_label_file])
def test_a_shard_of_another_width_is_named(opened, tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    np.save(tmp_path / "b.npy", np.zeros((2, 4)))

    with pytest.raises(ValueError, match=r"must have 3 columns, as .*a\.npy has, got 4 in .*b\."):
        opened([tmp_path / "a.npy", tmp_path / "b.npy"])


def test_sparse_labels_are_laid_end_to_end(tmp_path: Path):
    dense = np.eye(5, 3, dtype=bool)
    sparse.save_npz(tmp_path / "a.npz", sparse.csr_array(dense[:2]))
    sparse.save_npz(tmp_path / "b.npz", sparse.csr_array(dense[2:]))

    labels = open_label_file(str(tmp_path / "*.npz"))

    assert isinstance(labels, sparse.csr_array)
    assert labels.dtype == bool
    np.testing.assert_array_equal(labels.toarray(), dense)


def test_sparse_labels_of_another_width_are_refused(tmp_path: Path):
    sparse.save_npz(tmp_path / "a.npz", sparse.csr_array((2, 3)))
    sparse.save_npz(tmp_path / "b.npz", sparse.csr_array((2, 4)))

    with pytest.raises(ValueError, match=r"must have 3 columns.* got 4 in .*b\.npz"):
        open_label_file([tmp_path / "a.npz", tmp_path / "b.npz"])


def test_label_lists_are_laid_end_to_end(tmp_path: Path):
    (tmp_path / "part10.jsonl").write_text("[3]\n")
    (tmp_path / "part2.jsonl").write_text("[1]\n[]\n")

    assert open_label_file(str(tmp_path / "*.jsonl")) == [[1], [], [3]]


def test_dense_labels_are_laid_end_to_end(tmp_path: Path):
    dense = np.eye(5, 3, dtype=np.uint8)
    np.save(tmp_path / "a.npy", dense[:2])
    np.savez(tmp_path / "b.npz", labels=dense[2:])

    labels = open_label_file([tmp_path / "a.npy", tmp_path / "b.npz"])

    np.testing.assert_array_equal(labels[0:5], dense)


@pytest.mark.parametrize("first", ["a.npy", "b.npz", "c.jsonl"])
@pytest.mark.parametrize("second", ["a.npy", "b.npz", "c.jsonl"])
def test_kinds_of_labels_do_not_mix(first: str, second: str, tmp_path: Path):
    np.save(tmp_path / "a.npy", np.eye(2))
    sparse.save_npz(tmp_path / "b.npz", sparse.csr_array(np.eye(2)))
    (tmp_path / "c.jsonl").write_text("[1]\n[0]\n")
    paths = [tmp_path / first, tmp_path / second]

    if first == second:
        assert open_label_file(paths) is not None
    else:
        with pytest.raises(ValueError, match=f"must be of one kind.*got other {paths[1]}"):
            open_label_file(paths)
