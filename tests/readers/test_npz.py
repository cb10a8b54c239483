"""`.npz` files: stored, compressed, sparse."""

from __future__ import annotations

import gc
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from calibrate.readers import open_label_file, open_matrix
from calibrate.readers.npz import CompressedSource
from calibrate.readers.source import ArraySource


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def is_open(path: Path) -> bool:
    """Whether this process holds the file open."""
    return path in {link.resolve() for link in Path("/proc/self/fd").iterdir()}


def replaced(path: Path, member: str, array: np.ndarray) -> None:
    """Write the archive anew with another array under the name of a member."""
    with np.load(path) as saved:
        members = {name: saved[name] for name in saved.files}
    np.savez(path, **{**members, member: array})


def test_logits_and_labels_of_one_file_are_told_apart(logits: np.ndarray, tmp_path: Path):
    path = tmp_path / "run.npz"
    np.savez_compressed(path, logits=logits, labels=logits > 0)

    found = open_matrix(path)[0:50]
    truth = open_label_file(path)[0:50]

    np.testing.assert_array_equal(found, logits)
    np.testing.assert_array_equal(truth, logits > 0)


def test_a_plainly_stored_array_is_mapped_and_a_compressed_one_streamed(logits, tmp_path):
    np.savez(tmp_path / "stored.npz", logits)
    np.savez_compressed(tmp_path / "compressed.npz", logits)

    assert isinstance(open_matrix(tmp_path / "stored.npz"), ArraySource)
    assert isinstance(open_matrix(tmp_path / "compressed.npz"), CompressedSource)


def test_members_that_are_no_arrays_are_passed_over(logits: np.ndarray, tmp_path: Path):
    path = tmp_path / "run.npz"
    np.savez(path, whatever=logits)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")

    assert open_matrix(path).shape == (50, 6)


def test_two_matrices_without_usual_names_need_a_key(logits: np.ndarray, tmp_path: Path):
    path = tmp_path / "run.npz"
    np.savez(path, logits, logits + 1)

    with pytest.raises(ValueError, match=r"arr_0 \(50, 6\), arr_1 \(50, 6\): give the key"):
        open_matrix(path)
    np.testing.assert_array_equal(open_matrix(path, key="arr_1")[0:50], logits + 1)


def test_a_compressed_array_is_the_same_whichever_way_it_is_walked(logits, tmp_path):
    path = tmp_path / "run.npz"
    np.savez_compressed(path, logits=logits)
    source = open_matrix(path)

    for start, stop in [(40, 50), (10, 20), (20, 30), (0, 50), (0, 0), (49, 50), (5, 5)]:
        np.testing.assert_array_equal(source[start:stop], logits[start:stop])


def test_walking_forwards_inflates_every_byte_once(logits, tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    np.savez_compressed(path, logits=logits)
    source = open_matrix(path)
    opened = []
    original = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile,
        "open",
        lambda self, name, *rest: opened.append(name) or original(self, name, *rest),
    )

    for start in range(0, 50, 8):
        source[start : start + 8]

    assert opened == ["logits.npy"]


def test_no_rows_of_a_compressed_array_inflate_nothing(logits, tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    np.savez_compressed(path, logits=logits)
    source = open_matrix(path)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("the file was opened"))

    assert source[50:60].shape == (0, 6)


def test_a_fortran_ordered_compressed_array_gives_its_rows(logits: np.ndarray, tmp_path: Path):
    path = tmp_path / "run.npz"
    np.savez_compressed(path, logits=np.asfortranarray(logits))

    source = open_matrix(path)

    np.testing.assert_array_equal(source[10:20], logits[10:20])
    np.testing.assert_array_equal(source[0:5], logits[0:5])


def test_threads_take_turns_at_a_compressed_array(tmp_path: Path):
    path = tmp_path / "run.npz"
    logits = np.random.default_rng(0).normal(size=(2000, 50))
    np.savez_compressed(path, logits=logits)
    source = open_matrix(path)
    starts = list(range(0, 2000, 100)) * 3

    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(lambda start: source[start : start + 100], starts))

    for start, block in zip(starts, blocks, strict=True):
        np.testing.assert_array_equal(block, logits[start : start + 100])


def test_a_half_read_file_is_closed_with_its_source(logits: np.ndarray, tmp_path: Path):
    path = tmp_path / "run.npz"
    np.savez_compressed(path, logits=logits)
    source = open_matrix(path)
    source[0:10]
    half_way = is_open(path)

    del source
    gc.collect()  # a file left open would be a ResourceWarning, and thus an error

    assert half_way
    assert not is_open(path)


def test_compressed_bytes_that_changed_are_found_by_the_checksum(tmp_path: Path):
    path = tmp_path / "run.npz"
    logits = np.random.default_rng(0).integers(0, 255, (200, 60)).astype(np.uint8)
    np.savez_compressed(path, logits=logits)
    with zipfile.ZipFile(path) as archive:
        middle = archive.getinfo("logits.npy").compress_size // 2
    damaged = bytearray(path.read_bytes())
    damaged[middle] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(ValueError, match=rf"{path} must be a whole \.npz"):
        open_matrix(path)[0:200]


def test_a_checksum_that_does_not_match_is_found_at_the_last_row(tmp_path: Path):
    path = tmp_path / "run.npz"
    logits = np.random.default_rng(0).normal(size=(500, 50))
    np.savez_compressed(path, logits=logits)
    with zipfile.ZipFile(path) as archive:
        checksum = archive.getinfo("logits.npy").CRC.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(checksum, b"\0\1\2\3"))
    source = open_matrix(path)

    assert source[0:400].shape == (400, 50)
    with pytest.raises(ValueError, match=rf"{path} must be a whole .*CRC-32"):
        source[400:500]


def test_the_file_is_closed_after_the_last_row(logits: np.ndarray, tmp_path: Path):
    path = tmp_path / "run.npz"
    np.savez_compressed(path, logits=logits)
    source = open_matrix(path)

    source[0:25]
    half_way = is_open(path)
    source[25:50]

    assert half_way
    assert not is_open(path)


def test_a_member_shorter_than_its_header_says_is_refused(logits: np.ndarray, tmp_path: Path):
    path = tmp_path / "run.npz"
    np.save(tmp_path / "logits.npy", logits)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("logits.npy", (tmp_path / "logits.npy").read_bytes()[:-4])

    with pytest.raises(ValueError, match=rf"'logits' in {path} is truncated"):
        open_matrix(path)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("compressed", [True, False])
def test_every_sparse_form_of_labels_becomes_csr(form: str, compressed: bool, tmp_path: Path):
    path = tmp_path / "labels.npz"
    dense = np.eye(4, 3, dtype=bool)
    sparse.save_npz(path, sparse.coo_array(dense).asformat(form), compressed=compressed)

    labels = open_label_file(path)

    assert isinstance(labels, sparse.csr_array)
    assert labels.dtype == bool
    np.testing.assert_array_equal(labels.toarray(), dense)


def test_old_sparse_matrices_become_csr_arrays(tmp_path: Path):
    path = tmp_path / "labels.npz"
    sparse.save_npz(path, sparse.csr_matrix(np.eye(3)))

    assert isinstance(open_label_file(path), sparse.csr_array)


def test_sparse_labels_without_rows_are_labels(tmp_path: Path):
    path = tmp_path / "labels.npz"
    sparse.save_npz(path, sparse.csr_array((0, 5), dtype=bool))

    assert open_label_file(path).shape == (0, 5)


@pytest.mark.parametrize("key", [None, "data"])
def test_sparse_scores_are_no_logits(key: str | None, tmp_path: Path):
    path = tmp_path / "scores.npz"
    sparse.save_npz(path, sparse.csr_array(np.eye(3)))

    with pytest.raises(ValueError, match=rf"{path} is a sparse matrix: .*not dense logits"):
        open_matrix(path, key)


def test_a_sparse_matrix_has_no_key(tmp_path: Path):
    path = tmp_path / "labels.npz"
    sparse.save_npz(path, sparse.csr_array(np.eye(3)))

    with pytest.raises(ValueError, match="give no key, got 'labels'"):
        open_label_file(path, key="labels")


@pytest.mark.parametrize(
    ("member", "values"),
    [
        ("indices", [0, 1, 3]),
        ("indices", [0, -1, 2]),
        ("indptr", [0, 2, 1, 3]),
        ("indptr", [0, 1, 2, 4]),
        ("indptr", [0, 3]),
        ("shape", [3, 2]),
        ("shape", [3, 3, 3]),
        ("data", [[1.0, 1.0, 1.0]]),
    ],
)
def test_a_sparse_matrix_whose_indices_lead_outside_is_refused(member, values, tmp_path):
    path = tmp_path / "labels.npz"
    sparse.save_npz(path, sparse.csr_array(np.eye(3)))
    replaced(path, member, np.array(values))

    with pytest.raises(ValueError, match=str(path)):
        open_label_file(path)


@pytest.mark.parametrize("member", ["indices", "indptr", "data"])
def test_pickled_parts_of_a_sparse_matrix_are_refused(member: str, tmp_path: Path):
    path = tmp_path / "labels.npz"
    sparse.save_npz(path, sparse.csr_array(np.eye(3)))
    replaced(path, member, np.array([0, 1, 2], dtype=object))

    with pytest.raises(ValueError, match=f"'{member}' in .* holds Python objects"):
        open_label_file(path)


def test_a_part_that_declares_more_than_it_holds_is_not_allocated(tmp_path: Path):
    path = tmp_path / "labels.npz"
    parts = {"format": np.array(b"csr"), "shape": np.array([3, 3]), "indptr": np.zeros(4, int)}
    np.savez(path, **parts, data=np.ones(3))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<i8", "fortran_order": False, "shape": (10**14,)}
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("indices.npy", header.getvalue() + bytes(24))

    with pytest.raises(ValueError, match=f"'indices' in {path} is truncated"):
        open_label_file(path)


def test_a_sparse_matrix_that_lacks_a_part_is_refused(tmp_path: Path):
    path = tmp_path / "labels.npz"
    np.savez(path, format=np.array(b"csr"), shape=[3, 3], data=np.ones(3))

    with pytest.raises(ValueError, match=rf"{path} must be a whole sparse matrix"):
        open_label_file(path)


@pytest.mark.parametrize("format_", [np.array(["a", "b", "c"]), np.array(1.0)])
def test_arrays_that_only_share_the_names_of_a_sparse_matrix_are_dense(format_, tmp_path):
    path = tmp_path / "labels.npz"
    np.savez(path, format=format_, shape=np.ones(2), data=np.eye(3))

    assert open_label_file(path).shape == (3, 3)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.999])
def test_truncated_sparse_labels_are_refused_with_the_path(fraction: float, tmp_path: Path):
    path = tmp_path / "labels.npz"
    sparse.save_npz(path, sparse.csr_array(np.eye(30)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])

    with pytest.raises(ValueError, match=str(path)):
        open_label_file(path)
