"""Guarantees hold what they promise, in a small version of the simulation."""

from __future__ import annotations

import guarantees
import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::calibrate.FitWarning")


@pytest.fixture(scope="module")
def lines():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return guarantees.report(60, 0, 20_000)


def test_what_is_promised_is_kept_within_four_standard_errors(lines):
    checked = 0
    for one in lines:
        bound = one.promised.split()
        if one.promised.startswith("at least"):
            assert one.reached >= float(bound[-1]) - max(4 * one.error, 0.01), one
        elif one.promised.startswith("at most") and "worst" not in one.promise:
            assert one.reached <= float(bound[-1]) + max(4 * one.error, 0.01), one
        checked += one.promised != "-"
    assert checked == 3 * (3 + 5 + 5)


def test_recall_on_average_is_no_higher_than_it_need_be(lines):
    on_average = [one for one in lines if one.promise == "recall, on average"]

    assert len(on_average) == 3
    for one in on_average:
        # at most 1 / (n + 1) above, of classes of 40 positives and more
        assert one.reached <= guarantees.RECALL + 0.025 + 4 * one.error


def test_some_classes_are_certified_whatever_the_correction(lines):
    certified = {one.promise: one.reached for one in lines if one.world == "independent"}

    holm, bh, by = (certified[f"precision, {name}: certified"] for name in ("holm", "bh", "by"))
    assert 0 < holm <= by <= bh < 1


def test_recall_and_precision_of_a_world_are_counted():
    logits = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    world = guarantees.World("", logits, np.array([[1], [0], [1], [1]], bool), np.array([False]))

    assert world.recall(np.array([2.0])) == [2 / 3]
    assert world.precision(np.array([1.0])) == [2 / 3]
    assert np.isnan(world.precision(np.array([np.inf]))).all()
