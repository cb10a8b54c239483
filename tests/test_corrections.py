import math

import numpy as np
import pytest

from calibrate import corrections

P = np.array([0.001, 0.2, 0.012, 0.03, 0.9])


def test_each_for_itself_keeps_the_whole_error():
    assert corrections.none.levels(P, 0.1).tolist() == [0.1] * 5
    assert corrections.none.first_level(0.1, 5) == 0.1


def test_holm_shares_the_error():
    assert corrections.holm.levels(P, 0.1) == pytest.approx([0.02] * 5)
    assert corrections.holm.first_level(0.1, 5) == pytest.approx(0.02)


def test_false_discovery_levels_grow_with_the_discoveries():
    # .001 <= .02, .012 <= .04, .03 <= .06, but .2 > .08
    assert corrections.bh.levels(P, 0.1) == pytest.approx([0.06] * 5)


def test_a_later_step_carries_an_earlier_one():
    # .03 > .02, but .035 <= .04
    assert corrections.bh.levels(np.array([0.03, 0.035, 0.9, 0.9, 0.9]), 0.1) == pytest.approx(
        [0.04] * 5
    )


def test_without_a_discovery_the_level_is_that_of_the_first():
    assert corrections.bh.levels(np.array([0.5, 0.6]), 0.1) == pytest.approx([0.05] * 2)


def test_any_dependence_costs_the_sum_of_the_shares():
    factor = 1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5

    assert corrections.by.levels(P, 0.1) == pytest.approx([2 * 0.02 / factor] * 5)
    assert corrections.by.first_level(0.1, 5) == pytest.approx(0.1 / math.sqrt(5) / factor)
    assert corrections.by.levels(np.ones(7900), 1.0)[0] == pytest.approx(1 / 7900 / 9.55, rel=1e-3)


def test_corrections_are_named_as_they_are_typed():
    assert {name: c.name for name, c in corrections.NAMED.items()} == {
        name: name for name in ("none", "holm", "bh", "by")
    }
