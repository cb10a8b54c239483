"""Sparse matrices of labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from calibrate.readers.csr import as_csr


def test_the_values_are_left_as_they_are():
    stored = sparse.csr_array(([2, 0], [1, 0], [0, 1, 2]), shape=(2, 2))

    labels = as_csr(stored, "labels.npz")

    np.testing.assert_array_equal(labels.data, [2, 0])


def test_complex_labels_are_refused():
    with pytest.raises(ValueError, match=r"labels\.npz must hold real numbers"):
        as_csr(sparse.csr_array(np.eye(2) * 1j), "labels.npz")


def test_an_index_outside_the_matrix_is_found():
    matrix = sparse.csr_array(np.eye(3))
    matrix.indices[1] = 9

    with pytest.raises(ValueError, match=r"labels\.npz must be a valid sparse matrix"):
        as_csr(matrix, "labels.npz")
