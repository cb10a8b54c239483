"""Groups of rows are numbered, and drawn whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrate.data.groups import drawn, numbered


def test_ids_are_numbered_in_their_order():
    number, n_groups = numbered(["b", "a", "b", "c"], 4)

    assert number.tolist() == [1, 0, 1, 2]
    assert n_groups == 3


@given(
    group=st.lists(st.sampled_from([0, 2, 3, 7, 8]), min_size=1, max_size=30).map(np.array),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_groups_are_drawn_whole_and_until_there_are_enough_rows(group, share, seed):
    wanted = round(share * len(group))

    chosen = drawn(group, wanted, seed)

    inside, outside = set(group[chosen].tolist()), set(group[~chosen].tolist())
    assert not inside & outside
    assert inside
    assert outside or len(set(group.tolist())) == 1
    assert chosen.sum() <= wanted or len(inside) == 1
    if len(outside) > 1:
        assert chosen.sum() > wanted - max(np.sum(group == one) for one in group)


def test_rows_without_groups_are_drawn_to_the_number():
    assert drawn(np.arange(50), 20, 3).sum() == 20


@pytest.mark.parametrize("seed", [0, 1])
def test_the_draw_depends_on_the_seed_alone(seed):
    group = np.arange(100) // 3

    assert np.array_equal(drawn(group, 40, seed), drawn(group, 40, seed))
    assert not np.array_equal(drawn(group, 40, seed), drawn(group, 40, seed + 1))
