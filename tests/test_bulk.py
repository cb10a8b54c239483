"""Maps with knots over many cells, against numpy: equal numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibrate.bulk.steps import applied
from calibrate.ops import Affine, PiecewiseLinear

near = [np.nextafter(np.float32(1), np.float32(side)) for side in (0, 2)]
places = st.sampled_from([-3e38, -3.0, -1e-40, -0.0, 0.0, 1e-40, *near, 1.0, 5.0, 3e38])
numbers = st.floats(-1e3, 1e3, width=32) | places
slopes = st.sampled_from([0.0, 0.5, 1.0, 1e38])


@st.composite
def maps(draw, n_maps: int) -> PiecewiseLinear:
    sizes = draw(st.lists(st.integers(1, 6), min_size=n_maps, max_size=n_maps))
    parts = [np.sort(draw(arrays(np.float32, n, elements=numbers))) for n in sizes]
    values = [np.sort(draw(arrays(np.float32, n, elements=numbers))) for n in sizes]
    ends = [draw(arrays(np.float32, n_maps, elements=slopes)) for _ in range(2)]
    indptr = np.cumsum([0, *sizes])
    return PiecewiseLinear(indptr, np.concatenate(parts), np.concatenate(values), *ends)


@settings(deadline=None)
@given(st.data(), st.sampled_from([1, 3]))
def test_compiled_a_map_gives_the_numbers_that_numpy_gives(data: st.DataObject, n_maps: int):
    step = data.draw(maps(n_maps))
    logits = data.draw(arrays(np.float32, (4, 3), elements=numbers | st.just(-np.inf)))
    logits[0] = np.resize(step.knots, 3)
    logits[1, :2] = np.nextafter(step.knots[0], -np.float32(np.inf)), np.inf

    found = applied(step, logits)

    assert np.array_equal(found, step.apply(logits))


@pytest.mark.parametrize("n_maps", [1, 40])
def test_many_cells_of_any_memory_order_are_mapped_alike(n_maps: int):
    random = np.random.default_rng(0)
    knots, values = np.sort(random.normal(size=(2, n_maps, 25)).astype(np.float32))
    indptr = np.arange(n_maps + 1) * 25
    ends = np.ones(n_maps), np.zeros(n_maps)
    step = PiecewiseLinear(indptr, knots.ravel(), values.ravel(), *ends)
    logits = random.normal(size=(300, 40)).astype(np.float32)

    for form in (logits, np.asfortranarray(logits), np.repeat(logits, 2, axis=1)[:, ::2]):
        assert np.array_equal(applied(step, form), step.apply(logits))


def test_every_other_step_is_applied_as_it_is():
    logits = np.ones((100, 50), dtype=np.float32)

    assert np.array_equal(applied(Affine(2.0, -1.0), logits), logits)
