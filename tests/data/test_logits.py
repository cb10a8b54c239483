"""Logits at the border: every container gives the same checked float32 rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from calibrate.data import as_logits


def whole(source) -> np.ndarray:
    return np.concatenate([block for _, block in source.blocks()])


MATRIX = np.array([[0.5, -1.25, 3.0], [2.0, -0.0, -4.5]], dtype=np.float64)


@pytest.mark.parametrize(
    "container",
    [
        MATRIX,
        MATRIX.astype(np.float16),
        MATRIX.astype(">f8"),
        np.asfortranarray(MATRIX),
        MATRIX.tolist(),
        [MATRIX[:1], MATRIX[1:]],
        [torch.from_numpy(MATRIX[:1]), MATRIX[1:]],
        torch.from_numpy(MATRIX),
        torch.from_numpy(MATRIX).to(torch.bfloat16),
        torch.from_numpy(MATRIX).half().requires_grad_(),
        pd.DataFrame(MATRIX, columns=["a", "b", "c"]),
    ],
    ids=lambda container: f"{type(container).__name__} {getattr(container, 'dtype', '')}",
)
def test_every_container_gives_the_same_rows(container):
    source = as_logits(container)

    assert source.shape == (2, 3)
    assert whole(source).dtype == np.float32
    assert np.array_equal(whole(source), MATRIX.astype(np.float32))


def test_blocks_are_the_readers_own_contiguous_memory(tmp_path):
    np.save(tmp_path / "logits.npy", MATRIX.astype(np.float32))
    memmap = np.load(tmp_path / "logits.npy", mmap_mode="r")

    block = as_logits(memmap).read(0, 2)
    block[0, 0] = 99

    assert block.flags.c_contiguous
    assert memmap[0, 0] == 0.5


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2), st.integers(0, 2), st.integers(0, 3), st.integers(0, 3))
def test_a_read_is_the_slice_of_rows_and_classes(start, more, first, last):
    stop = min(2, start + more)

    part = as_logits(MATRIX).read(start, stop, slice(first, last))

    assert np.array_equal(part, MATRIX[start:stop, first:last].astype(np.float32))


class RowsOnly:
    """A store that counts what is read of it, and refuses anything but slices of rows."""

    def __init__(self, rows):
        self.rows, self.shape, self.reads = rows, rows.shape, []

    def __getitem__(self, part):
        assert isinstance(part, slice)
        self.reads.append((part.start, part.stop))
        return self.rows[part]


def test_any_store_with_a_shape_and_row_slices_is_read_row_block_by_row_block(monkeypatch):
    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", 20)
    store = RowsOnly(np.arange(60.0).reshape(10, 6) - 30)

    rows = whole(as_logits(store))

    assert np.array_equal(rows, store.rows)
    assert store.reads == [(0, 3), (3, 6), (6, 9), (9, 10)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_is_named_by_row_and_class(value, monkeypatch):
    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", 6)
    logits = np.zeros((5, 3)) - 1
    logits[4, 2] = value

    with pytest.raises(ValueError, match=rf"finite, got {value} at row 4, class 2 \('jazz'\)"):
        whole(as_logits(logits, class_names=["a", "b", "jazz"]))


def test_the_first_class_of_a_strip_counts_in_the_message():
    logits = np.zeros((2, 5)) - 1
    logits[1, 3] = np.nan

    with pytest.raises(ValueError, match="got nan at row 1, class 3"):
        as_logits(logits).read(0, 2, slice(2, 5))


def test_nan_may_be_decided_negative():
    logits = np.array([[np.nan, 1.0], [-np.inf, -2.0]])

    rows = whole(as_logits(logits, nan="negative"))

    assert np.array_equal(rows, [[-np.inf, 1.0], [-np.inf, -2.0]])


def test_plus_infinity_is_never_accepted():
    with pytest.raises(ValueError, match=r"logits must be finite, got inf at row 0, class 1"):
        whole(as_logits(np.array([[0.0, np.inf]]), nan="negative"))


def test_float64_beyond_float32_is_not_finite():
    with pytest.raises(ValueError, match="logits must be finite, got inf at row 0, class 0"):
        whole(as_logits(np.array([[1e300, 0.0]])))


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="nan must be 'raise' or 'negative', got 'drop'"):
        as_logits(MATRIX, nan="drop")


def test_probabilities_given_for_logits_are_warned_of_once_with_the_way_out():
    source = as_logits(np.array([[0.1, 0.9], [0.4, 1.0]]))

    with pytest.warns(UserWarning, match=r"look like probabilities.*log\(p\) - log1p\(-p\)"):
        whole(source)

    whole(source)  # a second warning would be an error


@pytest.mark.parametrize("logits", [[[0.5, 1.5]], [[-0.1, 0.5]], [[0.0, 0.0]]])
def test_logits_that_leave_the_unit_interval_or_are_all_equal_are_not_warned_of(logits):
    whole(as_logits(np.array(logits)))


def test_probabilities_are_turned_into_logits_and_keep_their_order():
    p = np.array([[0.0, 2e-25, 0.5, 0.75, np.float32(1) - np.float32(6e-8), 1.0]], np.float32)

    rows = whole(as_logits(p, probabilities=True))[0]

    assert rows[2] == 0
    assert rows[3] == pytest.approx(np.log(3))
    assert (np.diff(rows) > 0).all()
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan])
def test_probabilities_outside_the_unit_interval_are_named(value):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got .* at row 0, class 1"):
        whole(as_logits(np.array([[0.5, value]]), probabilities=True))


def test_a_nan_probability_may_be_decided_negative():
    rows = whole(as_logits(np.array([[0.5, np.nan]]), probabilities=True, nan="negative"))

    assert np.array_equal(rows, [[0.0, -np.inf]])


@pytest.mark.parametrize(
    ("logits", "error", "text"),
    [
        (np.zeros(3), ValueError, r"must have shape \(n_rows, n_classes\), got shape \(3,\)"),
        (np.zeros((2, 2, 2)), ValueError, r"got shape \(2, 2, 2\)"),
        (np.zeros((2, 0)), ValueError, r"at least one class, got shape \(2, 0\)"),
        (np.array([["a", "b"]]), ValueError, "real numbers, got dtype"),
        (np.zeros((1, 2), complex), ValueError, "real numbers, got dtype complex128"),
        (np.array([[None, 1]], object), ValueError, "must be numbers, got an array of Python obj"),
        (sparse.csr_array(np.eye(2)), TypeError, "must be dense, got a sparse matrix; are these"),
        (None, TypeError, "an array, a tensor, a memmap or a path, got builtins.NoneType"),
        ([], ValueError, "must not be an empty list"),
        ([np.zeros((1, 2)), np.zeros((1, 3))], ValueError, "got 2 in shard 0 and 3 in shard 1"),
        ([[1.0, 2.0], [3.0, 4.0], [5.0]], ValueError, "got 2 in row 0 and 1 in row 2"),
        ([[1.0, 2.0], 3.0], ValueError, "got 2 in row 0 and 0 in row 1"),
        ([[1.0, [2.0]], [3.0, 4.0]], ValueError, "rows of numbers, of as many classes each$"),
    ],
)
def test_what_are_no_logits_is_refused(logits, error, text):
    with pytest.raises(error, match=text):
        as_logits(logits)


def test_columns_of_a_frame_are_the_class_names():
    assert as_logits(pd.DataFrame(MATRIX, columns=["a", "b", "c"])).class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("names", "error", "text"),
    [
        (["a", "b"], ValueError, "as many as the classes, got 2 names for 3 classes"),
        (["a", "b", "a"], ValueError, "must differ, got 'a' for classes 0, 2"),
        (["a", "b", 3], TypeError, "must be strings, got 3 for class 2"),
        (7, TypeError, "must be a sequence of strings, got int"),
    ],
)
def test_class_names_that_do_not_fit_are_refused(names, error, text):
    with pytest.raises(error, match=text):
        as_logits(MATRIX, class_names=names)


def test_class_names_are_read_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("rock\njazz\nfolk, modern\n")

    names = as_logits(MATRIX, class_names=tmp_path / "names.txt").class_names

    assert names == ("rock", "jazz", "folk, modern")


def test_names_are_given_to_a_source_once():
    source = as_logits(as_logits(MATRIX), class_names=["a", "b", "c"])

    assert source.class_names == ("a", "b", "c")
    with pytest.raises(ValueError, match="must be those that the logits have already"):
        as_logits(source, class_names=["a", "b", "d"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_logits_on_a_gpu_are_read_block_by_block():
    tensor = torch.from_numpy(MATRIX).cuda().to(torch.bfloat16)

    assert np.array_equal(whole(as_logits(tensor)), MATRIX.astype(np.float32))


def test_a_watcher_sees_the_cells_of_every_read():
    seen = []
    source = as_logits(MATRIX)

    source.watch(seen.append)
    whole(source)

    assert sum(seen) == MATRIX.size


@pytest.mark.filterwarnings("ignore::calibrate.base.FitWarning")
def test_probabilities_are_warned_of_by_every_kind_of_fit():
    import calibrate as cal

    p = np.array([[0.1, 0.9], [0.4, 1.0], [0.3, 0.2]])
    labels = np.array([[0, 1], [1, 1], [0, 0]])

    for pipeline in (
        cal.Pipeline([], cal.PerClassThreshold(cal.metrics.f_beta(1))),
        cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK()),
    ):
        with pytest.warns(UserWarning, match="look like probabilities"):
            pipeline.fit(p, labels)


def test_a_sample_in_the_unit_interval_does_not_make_probabilities(monkeypatch):
    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", 4)
    logits = np.linspace(0, 1, 40).reshape(20, 2)
    logits[-1] = -3.0
    source = as_logits(logits)

    for _ in range(3):
        source.read(0, 19)

    whole(source)  # a warning would be an error


def test_probabilities_with_cells_without_a_score_are_warned_of_too():
    with pytest.warns(UserWarning, match="look like probabilities"):
        whole(as_logits(np.array([[0.1, 0.9], [np.nan, 1.0]]), nan="negative"))


def test_names_that_are_not_the_columns_are_refused():
    frame = pd.DataFrame(MATRIX, columns=["a", "b", "c"])

    with pytest.raises(ValueError, match="class names must be the columns of the logits"):
        as_logits(frame, class_names=["c", "b", "a"])


def test_complex_tensors_are_refused():
    with pytest.raises(ValueError, match=r"must be real numbers, got dtype torch.complex64"):
        as_logits(torch.zeros((2, 3), dtype=torch.complex64))


def test_a_float32_array_is_looked_at_where_it_lies():
    logits = np.arange(12, dtype=np.float32).reshape(4, 3) - 3
    source = as_logits(logits)

    for part in (source.look(1, 3), source.matrix[1:3]):
        assert np.shares_memory(part, logits)
        assert not part.flags.writeable
        assert part.tolist() == logits[1:3].tolist()
    assert logits.flags.writeable
    assert not np.shares_memory(source.read(0, 4), logits)


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors"])
def test_a_file_of_float32_is_looked_at_where_it_lies(suffix, tmp_path):
    from safetensors.numpy import save_file

    logits = np.arange(12, dtype=np.float32).reshape(4, 3) - 3
    file = tmp_path / f"logits.{suffix}"
    save = {"npy": np.save, "npz": lambda f, x: np.savez(f, logits=x)}
    save.get(suffix, lambda f, x: save_file({"logits": x}, f))(file, logits)

    source = as_logits(file)

    assert source.matrix is not None
    assert not source.matrix.flags.writeable
    assert np.shares_memory(source.look(1, 3), source.matrix)
    assert source.matrix.tolist() == logits.tolist()


@pytest.mark.parametrize(
    "logits",
    [
        np.ones((4, 3)) * 2,
        np.full((4, 3), 2, np.float16),
        np.full((3, 4), 2, np.float32).T,
        np.full((4, 6), 2, np.float32)[:, ::2],
    ],
    ids=["float64", "float16", "columns first", "strided"],
)
def test_what_must_be_converted_is_not_looked_at_in_place(logits):
    source = as_logits(logits)

    assert source.matrix is None
    assert source.look(0, 2).tolist() == [[2.0] * 3] * 2
    assert source.look(0, 2).flags.c_contiguous
    assert source.look(0, 2).dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_or_repaired_when_looked_at(bad):
    logits = np.ones((4, 3), np.float32) * 2
    logits[2, 1] = bad

    assert as_logits(logits).matrix is None
    with pytest.raises(ValueError, match=r"logits must be finite, got .* at row 2, class 1"):
        as_logits(logits).look(0, 4)
    assert as_logits(logits).look(0, 2).tolist() == [[2.0] * 3] * 2
    if bad != np.inf:
        tolerant = as_logits(logits, nan="negative")
        assert tolerant.matrix is None
        assert tolerant.look(0, 4)[2].tolist() == [2.0, -np.inf, 2.0]
        assert np.array_equal(logits[2, 1], bad, equal_nan=True)


@pytest.mark.parametrize("sequential", [False, True])
def test_each_block_gives_the_results_in_order(sequential, monkeypatch):
    monkeypatch.setattr("calibrate.data.logits.LOOK_CELLS", 7)
    monkeypatch.setattr("calibrate.data.logits._BATCH", 3)
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "3")
    logits = np.arange(60, dtype=np.float32).reshape(20, 3) - 9
    source = as_logits(logits)
    source.sequential = sequential

    found = list(source.each_block(lambda start, block: (start, block.tolist())))

    assert [start for start, _ in found] == list(range(0, 20, 2))
    assert [row for _, block in found for row in block] == logits.tolist()
