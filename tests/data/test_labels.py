"""Labels at the border: every container gives the same checked rows."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from calibrate.data import as_labels

DENSE = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], dtype=np.uint8)
NAMES = ("a", "b", "c")


def sparse_csr_tensor() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that its CSR tensors are in beta
        return torch.from_numpy(DENSE).to_sparse_csr()


def dense(labels) -> np.ndarray:
    rows = np.zeros(labels.shape, dtype=np.uint8)
    rows[np.repeat(np.arange(len(rows)), np.diff(labels.indptr)), labels.indices] = 1
    return rows


@pytest.mark.parametrize(
    "container",
    [
        DENSE,
        DENSE.astype(bool),
        DENSE.astype(np.int64),
        DENSE.astype(np.float32),
        np.asfortranarray(DENSE),
        sparse.csr_array(DENSE),
        sparse.csc_matrix(DENSE.astype(bool)),
        sparse.coo_array(DENSE.astype(float)),
        torch.from_numpy(DENSE),
        torch.from_numpy(DENSE).float(),
        torch.from_numpy(DENSE).bool(),
        torch.from_numpy(DENSE).to_sparse(),
        sparse_csr_tensor(),
        [[0, 2], [], [1]],
        [{2, 0}, (), np.array([1])],
        [["c", "a"], [], ["b"]],
        pd.DataFrame(DENSE, columns=list(NAMES)),
    ],
    ids=lambda container: f"{type(container).__name__} {getattr(container, 'dtype', '')}",
)
def test_every_container_gives_the_same_labels(container):
    labels = as_labels(container, 3, class_names=NAMES)

    assert labels.shape == (3, 3)
    assert labels.n_labels == 3
    assert np.array_equal(dense(labels), DENSE)
    assert np.array_equal(labels.positives, [1, 1, 1])


@pytest.mark.parametrize("form", ["npz", "npy", "jsonl", "names.jsonl", "pt"])
def test_every_file_gives_the_same_labels(form, tmp_path):
    path = tmp_path / f"labels.{form}"
    if form == "npz":
        sparse.save_npz(path, sparse.csr_array(DENSE.astype(bool)))
    elif form == "npy":
        np.save(path, DENSE)
    elif form == "pt":
        torch.save(torch.from_numpy(DENSE), path)
    else:
        rows = [["a", "c"], [], ["b"]] if form.startswith("names") else [[0, 2], [], [1]]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    assert np.array_equal(dense(as_labels(path, 3, class_names=NAMES)), DENSE)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 1)))
def test_sparse_and_dense_agree_by_row_and_by_class(matrix):
    from_dense = as_labels(matrix)
    from_sparse = as_labels(sparse.csc_array(matrix))

    assert np.array_equal(dense(from_dense), matrix)
    assert np.array_equal(from_sparse.indptr, from_dense.indptr)
    assert np.array_equal(from_sparse.indices, from_dense.indices)
    indptr, rows = from_dense.by_class
    for c, column in enumerate(matrix.T):
        assert np.array_equal(rows[indptr[c] : indptr[c + 1]], np.flatnonzero(column))


@given(
    hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.integers(0, 1)
    ),
    st.data(),
)
def test_taken_rows_are_those_rows(matrix, data):
    chosen = data.draw(st.lists(st.integers(0, len(matrix) - 1), max_size=8))
    rows = np.array(chosen, dtype=np.int64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("calibrate.data.labels._TAKEN_ROWS", data.draw(st.sampled_from([1, 3, 4096])))
        taken = as_labels(matrix).take(rows)

    assert np.array_equal(dense(taken), matrix[rows])


def test_explicit_zeros_are_no_labels_and_the_callers_matrix_stays_as_it_is():
    matrix = sparse.csr_array(
        (np.array([1.0, 0.0]), np.array([0, 2]), np.array([0, 2])), shape=(1, 3)
    )

    labels = as_labels(matrix)

    assert labels.indices.tolist() == [0]
    assert matrix.nnz == 2


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        (DENSE * 2, ValueError, "must be 0 or 1, got 2 at row 0, class 0"),
        (DENSE.astype(float) / 2, ValueError, "must be 0 or 1, got 0.5 at row 0, class 0"),
        (-DENSE.astype(int), ValueError, "must be 0 or 1, got -1 at row 0, class 0"),
        (np.full((1, 3), np.nan), ValueError, "must be 0 or 1, got nan at row 0, class 0"),
        (sparse.csr_array(DENSE) * 3, ValueError, "must be 0 or 1, got 3 at row 0, class 0"),
        (
            sparse.coo_array((np.ones(2), ([1, 1], [2, 2])), shape=(3, 3)),
            ValueError,
            "must be 0 or 1, got 2.0 at row 1, class 2",
        ),
        (np.zeros(3), ValueError, r"must have shape \(n_rows, n_classes\), got shape \(3,\)"),
        (np.array([["x", "y", "z"]]), ValueError, "must be 0 or 1, got an array of dtype"),
        (DENSE[:, :2], ValueError, "got 2 classes of labels for 3 classes of logits"),
        ([[0, 3]], ValueError, "class ids from 0 to 2, got 3 at row 0"),
        ([[0], [-1]], ValueError, "class ids from 0 to 2, got -1 at row 1"),
        ([[1, 1]], ValueError, r"must differ, got class 1 \('b'\) twice at row 0"),
        ([["a", "z"]], ValueError, "must be class names, got 'z' at row 0"),
        ([[0.5]], TypeError, "class ids or names, got 0.5 at row 0"),
        ([[True]], TypeError, "class ids or names, got True at row 0"),
        ([7], TypeError, "must be a list of ids or names, got 7"),
        ([[1, 0, 1], [0, 1, 0]], ValueError, "look like a 0/1 matrix; give numpy.asarray"),
        (7, TypeError, "a list of label lists or a path, got builtins.int"),
        (
            pd.DataFrame(DENSE, columns=["a", "c", "b"]),
            ValueError,
            r"names in their order, got 'c' for class 1 \('b'\)",
        ),
    ],
)
def test_what_are_no_labels_is_refused(labels, error, text):
    with pytest.raises(error, match=text):
        as_labels(labels, 3, class_names=NAMES)


def test_names_without_class_names_are_refused():
    with pytest.raises(ValueError, match="labels by name need class names, got 'a' at row 0"):
        as_labels([["a"]], 3)


def test_lists_need_the_number_of_classes():
    with pytest.raises(ValueError, match="give n_classes or names"):
        as_labels([[0]])


def test_dense_labels_never_reach_the_target_checks_of_scikit_learn(monkeypatch):
    import sklearn.utils.multiclass

    def refuse(*_, **__):
        raise AssertionError("type_of_target was called")

    monkeypatch.setattr(sklearn.utils.multiclass, "type_of_target", refuse)
    for name, module in list(sys.modules.items()):
        if name.startswith("sklearn") and hasattr(module, "type_of_target"):
            monkeypatch.setattr(module, "type_of_target", refuse)

    import calibrate as cal

    logits = np.array([[1.0, -1.0, 2.0], [-1.0, 0.0, -2.0], [-1.0, 3.0, 0.5]])
    cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK()).fit(logits, DENSE)


def test_arrays_that_look_like_a_matrix_are_not_taken_for_ids():
    with pytest.raises(ValueError, match="look like a 0/1 matrix"):
        as_labels([np.array([0, 1]), np.array([1, 0])], 2)


def test_a_sparse_matrix_with_an_index_out_of_range_is_refused():
    matrix = sparse.csr_array(DENSE)
    matrix.indices[0] = 7

    with pytest.raises(ValueError, match="labels must be a sound sparse matrix"):
        as_labels(matrix)


def test_a_column_of_label_lists_is_a_list_of_label_lists():
    labels = as_labels(pd.Series([["a", "c"], [], ["b"]]), 3, class_names=NAMES)

    assert np.array_equal(dense(labels), DENSE)
