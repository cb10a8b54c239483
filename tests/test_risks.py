"""What a row loses: values, bounds, and what a function of one's own must keep."""

from __future__ import annotations

import pickle
from itertools import product

import numpy as np
import pytest

from calibrate import risks
from calibrate.risks import Risk, false_discovery_proportion, false_negative_rate, missed_any


def loss(risk, tp, predicted, true):
    return float(risk(*(np.array([float(count)]) for count in (tp, predicted, true)))[0])


def test_losses_of_known_rows():
    assert loss(false_negative_rate, 1, 5, 4) == 0.75
    assert loss(false_discovery_proportion, 1, 5, 4) == 0.8
    assert loss(missed_any, 3, 5, 4) == 1
    assert loss(missed_any, 4, 5, 4) == 0


def test_where_nothing_is_true_or_predicted_nothing_is_lost():
    assert loss(false_negative_rate, 0, 3, 0) == 0
    assert loss(false_discovery_proportion, 0, 0, 3) == 0
    assert loss(missed_any, 0, 0, 0) == 0


@pytest.mark.parametrize("risk", risks.NAMED.values(), ids=repr)
def test_a_risk_keeps_its_word(risk):
    for true, tp, fp in product(range(5), range(5), range(5)):
        if tp > true:
            continue
        here = loss(risk, tp, tp + fp, true)
        assert 0 <= here <= risk.bound
        assert here in (0, 1) or not risk.binary
        if risk.monotone:
            assert loss(risk, tp, tp + fp + 1, true) <= here
            assert tp == true or loss(risk, tp + 1, tp + fp + 1, true) <= here


def test_false_discoveries_may_rise_and_fall():
    assert loss(false_discovery_proportion, 1, 2, 2) > loss(false_discovery_proportion, 1, 1, 2)
    assert loss(false_discovery_proportion, 2, 3, 2) < loss(false_discovery_proportion, 1, 2, 2)


def test_names_are_those_of_the_command_line():
    assert set(risks.NAMED) == {"false-negative-rate", "false-discovery-proportion", "missed-any"}
    assert all(repr(risk) == name.replace("-", "_") for name, risk in risks.NAMED.items())


def test_a_risk_survives_the_way_to_another_process():
    assert pickle.loads(pickle.dumps(false_negative_rate)) == false_negative_rate


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lambda tp, _p, _t: tp - 2, {}, r"mine must be from 0 to 1, got -2.0 for .* = 0, 1, 2"),
        (lambda tp, _p, _t: tp + 1.5, {}, "mine must be from 0 to 1, got 1.5"),
        (lambda tp, _p, _t: tp * np.nan, {}, "mine must be from 0 to 1, got nan"),
        (lambda tp, _p, _t: tp + 0.5, {"binary": True}, "mine must be 0 or 1, got 0.5"),
        (lambda tp, _p, _t: tp + 1.5, {"binary": True, "bound": 2}, "mine must be 0 or 2, got 1.5"),
        (lambda _tp, _p, _t: np.zeros(3), {}, r"shape \(1,\), got shape \(3,\)"),
    ],
)
def test_a_function_that_breaks_its_word_is_refused(function, options, message):
    with pytest.raises(ValueError, match=message):
        loss(Risk(function, name="mine", **options), 0, 1, 2)


def test_what_makes_no_risk_is_refused():
    with pytest.raises(TypeError, match=r"a risk must be a function of .*, got 'fnr'"):
        Risk("fnr")
    for bound in (0, -1, np.inf, np.nan):
        with pytest.raises(ValueError, match="must be above 0 and finite"):
            Risk(missed_any.function, bound=bound)
