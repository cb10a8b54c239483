"""Decisions as JSON and CSV: every number exactly, nothing that a spreadsheet would compute."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx_cases import N_CLASSES, RULES, STEPS

from calibrate import ops
from calibrate.decision import Decision
from calibrate.readable import to_csv, to_json

LAW = settings(derandomize=True, deadline=None, max_examples=200)

AWKWARD = [0.1, np.inf, float(ops.LOWEST), 1e-45, 16777217.0, 3.4e38, -0.0]

float32s = st.floats(width=32, allow_nan=False).filter(lambda value: value != -np.inf)


def strictly(text: str) -> dict:
    """The content of strict JSON."""

    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def same_numbers(told, array: np.ndarray) -> None:
    expected = np.atleast_1d(array)
    back = np.array([np.inf if one is None else one for one in np.atleast_1d(told)])
    np.testing.assert_array_equal(back.astype(expected.dtype), expected)


@LAW
@given(st.lists(float32s, min_size=1, max_size=8))
@example(AWKWARD)
def test_thresholds_come_back_as_the_same_float32(values):
    thresholds = np.array(values, dtype=np.float32)
    decision = Decision((), ops.Threshold(thresholds), len(thresholds))

    from_json = [entry["logit"] for entry in strictly(to_json(decision))["thresholds"]]
    from_csv = [row["logit"] for row in csv.DictReader(io.StringIO(to_csv(decision)))]

    same_numbers(from_json, decision.rule.threshold)
    np.testing.assert_array_equal(np.array(from_csv, dtype=np.float32), decision.rule.threshold)


@pytest.mark.parametrize("op", (RULES | STEPS).values(), ids=RULES | STEPS)
def test_every_step_is_told_number_for_number(op):
    last = op if isinstance(op, ops.DecisionOp) else ops.TopK(1)
    steps = () if last is op else (op,)

    told = strictly(to_json(Decision(steps, last, N_CLASSES)))["steps"][0]

    assert told["op"] == op.wire_name
    for name, value in op.numbers().items():
        assert told[name] == value
    for name, array in op.arrays().items():
        assert isinstance(told[name], list) == (array.ndim == 1)
        same_numbers(told[name], array)
    assert set(told) == {"op", *op.numbers(), *op.arrays()}


def test_json_tells_names_and_what_the_thresholds_are_compared_with():
    steps = (ops.Affine(np.float32(2), np.float32(0)),)
    provenance = {"n_rows": 10, "n_positives": 4, "input": "logits"}
    names = ("rock", "Händel, G. F.")
    decision = Decision(steps, ops.Threshold(np.array([1.0, np.inf])), 2, names, provenance)

    told = strictly(to_json(decision))

    assert told["thresholds_on"] == "input"
    # 2 z passes 1 from a half on
    assert told["thresholds"] == [
        {"class": 0, "name": "rock", "logit": 0.5, "probability": 0.62245935},
        {"class": 1, "name": "Händel, G. F.", "logit": None, "probability": None},
    ]
    assert (told["version"], told["rule"], told["n_classes"]) == (1, "threshold", 2)
    assert (told["n_rows"], told["n_positives"], told["input"]) == (10, 4, "logits")
    assert told["class_names"] == list(names)


@pytest.mark.parametrize("behind", [(), (ops.Affine(np.float32(2), np.float32(0)),)])
def test_thresholds_behind_a_step_along_the_row_are_on_calibrated_logits(behind):
    steps = (ops.RowAffine(np.float32(1), np.float32(0), -0.5), *behind)

    told = strictly(to_json(Decision(steps, ops.Threshold(np.float32(0.5)), 2)))

    assert told["thresholds_on"] == "calibrated"
    assert [entry["logit"] for entry in told["thresholds"]] == [0.5, 0.5]


def test_a_rule_without_thresholds_tells_none():
    told = strictly(to_json(Decision((), ops.TopK(1), 2)))

    assert "thresholds" not in told
    assert "thresholds_on" not in told
    assert told["steps"] == [{"op": "top_k", "k": 1}]


def test_a_threshold_is_told_within_bounds_too():
    told = strictly(to_json(Decision((), ops.BoundedThreshold(np.float32(0.5), 1, None), 2)))

    assert [entry["logit"] for entry in told["thresholds"]] == [0.5, 0.5]
    assert told["steps"][0] == {
        "op": "bounded_threshold", "min_k": 1, "max_k": None, "threshold": 0.5,
    }  # fmt: skip


def test_names_in_csv_are_quoted_and_never_a_formula():
    names = ('say "hi", there', "=1+2", "+1", "-1", "@sum(a1)", "\ttab", "two\nlines", "plain =1")
    decision = Decision((), ops.Threshold(np.zeros(8)), 8, names)

    rows = list(csv.DictReader(io.StringIO(to_csv(decision))))

    assert [row["name"] for row in rows] == [
        'say "hi", there', "'=1+2", "'+1", "'-1", "'@sum(a1)", "'\ttab", "two\nlines", "plain =1",
    ]  # fmt: skip
    assert [row["class"] for row in rows] == [str(place) for place in range(8)]
    assert {row["logit"] for row in rows} == {"0.0"}


def test_csv_without_names_has_no_column_for_them():
    text = to_csv(Decision((), ops.Threshold(np.array([0.5, np.inf, -0.25])), 3))

    assert text == "class,logit,probability\n0,0.5,0.62245935\n1,inf,inf\n2,-0.25,0.43782344\n"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (ops.TopK(1), "CSV holds a threshold for each class, and 'top_k' has none: JSON holds any"),
        (
            ops.BatchPlugIn(1.0, np.float32(0), np.float32(0.5)),
            "and 'batch_plug_in' has none: adapt it first",
        ),
    ],
)
def test_csv_of_a_rule_without_thresholds_is_refused(rule, said):
    with pytest.raises(ValueError, match=said):
        to_csv(Decision((), rule, 2))
