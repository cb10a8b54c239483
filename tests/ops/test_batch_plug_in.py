"""The plug-in thresholds of a batch, beside loops over plain numbers."""

from __future__ import annotations

import json
import math

import naive_rules
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibrate import ops
from calibrate.decision import Decision, load

LAW = settings(derandomize=True, deadline=None, max_examples=150)
NONE = np.array(0.0, np.float32)
ADJACENT = float(np.nextafter(np.float32(1), np.float32(2)))

scores = st.one_of(
    st.floats(-20, 20, width=32),
    st.sampled_from([0.0, 1.0, ADJACENT, -60.0, -100.0, 40.0, -np.inf, 3e38, -3e38]),
)


def in_blocks(logits, height=1000):
    """The passes over a batch."""
    starts = range(0, len(logits), height)
    return lambda work: [work(logits[start : start + height]) for start in starts]


def plain(beta=1.0):
    return ops.BatchPlugIn(beta, NONE, NONE)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@LAW
@given(
    st.integers(2, 12).flatmap(
        lambda n: arrays(np.float32, (n, 2), elements=st.floats(-14, 14, width=32))
    )
)
def test_the_thresholds_are_those_of_the_slow_way(beta, logits):
    threshold = plain(beta).adapted(in_blocks(logits)).threshold

    expected = [naive_rules.adapted(column, beta) for column in logits.T]
    assert threshold == pytest.approx(np.array(expected), abs=2e-5, rel=1e-5)


@LAW
@given(st.integers(2, 9).flatmap(lambda n: arrays(np.float32, (n, 3), elements=scores)))
def test_each_class_that_has_different_scores_is_predicted_at_least_once(logits):
    adapted = plain().adapted(in_blocks(logits))

    predicted = np.bincount(adapted.decide(logits).indices, minlength=3)
    for column, n in zip(logits.T, predicted, strict=True):
        scored = column[column > -np.inf]
        if len(np.unique(scored)) > 1:
            assert n >= 1
        else:
            assert n == 0


@LAW
@given(
    st.integers(2, 10).flatmap(
        lambda n: arrays(np.float32, (n, 2), elements=st.floats(-9, 9, width=32))
    ),
    st.floats(-6, 6, width=32),
    st.floats(0, 1, width=32),
    st.floats(-2, 2),
)
def test_a_share_of_fitted_thresholds_and_an_offset_are_mixed_in(logits, own, weight, offset):
    op = ops.BatchPlugIn(2.0, np.array(own), np.array(weight), offset)

    threshold = op.adapted(in_blocks(logits)).threshold

    expected = [naive_rules.adapted(column, 2.0, own, weight, offset) for column in logits.T]
    assert threshold == pytest.approx(np.array(expected), abs=2e-5, rel=1e-5)


def test_blocks_and_the_order_of_the_rows_change_no_bit():
    rng = np.random.default_rng(0)
    logits = rng.normal(-4, 3, size=(5000, 6)).astype(np.float32)
    whole = plain().adapted(in_blocks(logits, 5000)).threshold

    for height in (1, 77, 1024):
        shuffled = logits[rng.permutation(5000)]
        found = plain().adapted(in_blocks(shuffled, max(height, 50))).threshold
        assert found.tolist() == whole.tolist()


def test_it_ends_after_a_few_passes():
    logits = np.random.default_rng(0).normal(-6, 3, size=(20_000, 4)).astype(np.float32)
    passes = []

    def each_block(work):
        passes.append(work)
        return [work(logits)]

    plain().adapted(each_block)

    assert 3 <= len(passes) <= 12


def test_rare_probabilities_lose_no_prediction():
    logits = np.full((1000, 2), -50.0, np.float32)
    logits[3] = -18.0, -49.0

    adapted = plain().adapted(in_blocks(logits))

    assert np.bincount(adapted.decide(logits).indices).tolist() == [1, 1]


@pytest.mark.parametrize("n_rows", [0, 1])
def test_fewer_than_two_rows_are_refused(n_rows):
    message = f"^the decision depends on .* give at least two, got {n_rows}$"

    with pytest.raises(ValueError, match=message):
        plain().adapted(in_blocks(np.zeros((n_rows, 3), np.float32)))


def test_no_row_is_decided_by_itself():
    with pytest.raises(ValueError, match=r"^'batch_plug_in' decides by the rows .* adapted to all"):
        plain().decide(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ((0.0, NONE, NONE), ValueError, "^beta must be above 0 and finite, got 0"),
        ((math.nan, NONE, NONE), ValueError, "^beta must be above 0 and finite, got nan"),
        ((math.inf, NONE, NONE), ValueError, "^beta must be above 0 and finite, got inf"),
        (("1", NONE, NONE), TypeError, "^beta must be a number, got '1'"),
        ((1.0, np.array([math.inf]), NONE), ValueError, "^own must be finite thresholds"),
        ((1.0, np.zeros((2, 2)), NONE), ValueError, "^own must be a number or one per class"),
        ((1.0, NONE, np.array([0.5, 1.5])), ValueError, "^own_weight must lie between 0 and 1"),
        ((1.0, NONE, np.array(-0.1)), ValueError, "^own_weight must lie between 0 and 1"),
        ((1.0, NONE, np.array(math.nan)), ValueError, "^own_weight must not hold nan"),
        ((1.0, np.zeros(2), np.zeros(3)), ValueError, "^own and own_weight must be for the same"),
        ((1.0, NONE, NONE, math.inf), ValueError, "^offset must be above -inf and finite, got inf"),
        ((1.0, NONE, NONE, math.nan), ValueError, "^offset must be above -inf and finite, got nan"),
        ((1.0, NONE, NONE, None), TypeError, "^offset must be a number, got None"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        ops.BatchPlugIn(*fields)


def rewritten(path, change):
    """The rule file with its content, and arrays, changed by somebody."""
    with safetensors.safe_open(path, framework="np") as file:
        content = json.loads(file.metadata()["calibrate"])
        parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(content["ops"][0]["numbers"], parts)
    parts = {name: part.astype(np.float32) for name, part in parts.items()}
    safetensors.numpy.save_file(parts, path, metadata={"calibrate": json.dumps(content)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda numbers, _: numbers.update(beta=-1.0), "beta must be above 0"),
        (lambda numbers, _: numbers.update(beta="1"), "beta must be a number"),
        (lambda numbers, _: numbers.update(beta=[1.0]), "beta must be a number"),
        (lambda numbers, _: numbers.update(beta=1e999), "must be JSON: Infinity is no number"),
        (lambda numbers, _: numbers.pop("beta"), "the parts of step 'batch_plug_in' do not fit"),
        (lambda numbers, _: numbers.update(offset=True), "offset must be a number, got True"),
        (lambda numbers, _: numbers.update(offset=1e999), "must be JSON: Infinity is no number"),
        (lambda numbers, _: numbers.update(spare=1), "the parts of step 'batch_plug_in' do not"),
        (lambda _, parts: parts.update({"0.own": np.full(2, np.nan)}), "own must not hold nan"),
        (lambda _, parts: parts.update({"0.own": np.zeros((1, 2))}), "own must be a number or one"),
        (lambda _, parts: parts.update({"0.own": np.zeros(3)}), "own and own_weight must be for"),
        (lambda _, parts: parts.update({"0.own_weight": np.full(2, 2.0)}), "own_weight must lie"),
        (
            lambda _, parts: parts.update({"0.own": np.zeros(5), "0.own_weight": np.zeros(5)}),
            "step 'batch_plug_in' must be for 2 classes, got 5",
        ),
    ],
)
def test_a_rule_file_that_somebody_has_changed_is_refused(tmp_path, change, message):
    path = tmp_path / "rule.safetensors"
    Decision((), ops.BatchPlugIn(1.0, np.zeros(2), np.full(2, 0.5), -0.25), 2).save(path)
    assert load(path).rule.same_as(ops.BatchPlugIn(1.0, np.zeros(2), np.full(2, 0.5), -0.25))

    rewritten(path, change)

    with pytest.raises(ValueError, match=message):
        load(path)
