"""Slices of rows, and what counts as a matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrate.readers.source import ArraySource, check_matrix, row_range

bounds = st.none() | st.integers(-20, 20)


@given(st.integers(0, 9), bounds, bounds)
def test_a_slice_is_clamped_as_numpy_clamps_it(n_rows: int, start: int | None, stop: int | None):
    numbers = np.arange(n_rows)

    first, last = row_range(slice(start, stop), n_rows)

    assert 0 <= first <= last <= n_rows
    np.testing.assert_array_equal(numbers[first:last], numbers[start:stop])


@pytest.mark.parametrize("step", [2, -1])
def test_a_step_is_refused(step: int):
    with pytest.raises(ValueError, match=f"must have step 1, got {step}"):
        row_range(slice(None, None, step), 5)


def test_a_single_row_is_refused():
    source = ArraySource(np.zeros((3, 2)))

    with pytest.raises(TypeError, match="rows must be a slice, got int"):
        source[1]  # type: ignore[index]


def test_slices_of_an_array_are_views():
    array = np.zeros((3, 2))

    block = ArraySource(array)[1:3]

    assert np.shares_memory(block, array)


@pytest.mark.parametrize("shape", [(), (3,), (3, 2, 1), (-3, -2)])
def test_anything_but_two_axes_is_refused_with_its_shape(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"a\.npy must have two axes.* got shape \("):
        check_matrix(shape, np.dtype("f4"), "a.npy")


@pytest.mark.parametrize("dtype", ["c8", "U3", "S3", "V2", "M8[s]", "m8[s]", "f4,i4"])
def test_what_is_not_real_is_refused_with_its_dtype(dtype: str):
    with pytest.raises(ValueError, match=r"a\.npy must hold real numbers .* got dtype"):
        check_matrix((3, 2), np.dtype(dtype), "a.npy")


def test_python_objects_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"a\.npy holds Python objects .*scipy\.sparse\.save_npz"):
        check_matrix((3, 2), np.dtype(object), "a.npy")
