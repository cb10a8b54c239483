import math

import pytest

from calibrate import objectives
from calibrate.comparison.advice import advice
from calibrate.evaluation import Interval


def row(macro=0.3, micro=0.4, instance=0.5, ratio=1.0):
    return {
        "macro_f": macro, "micro_f": micro, "instance_f": instance, "count_ratio": ratio,
        "macro_recall": 0.95, "macro_precision": 0.2,
    }  # fmt: skip


def less(low, high):
    return {name: Interval(low, (low + high) / 2, high) for name in ("macro_f", "micro_f")}


def test_it_names_the_best_what_it_reaches_and_what_it_predicts():
    rows = {"a": row(macro=0.31, ratio=1.52), "b": row(macro=0.2, ratio=1.08)}

    said = advice(rows, {"b": less(-0.2, -0.1)}, objectives.macro_f1)

    assert said == (
        "for macro-f1 take 'a': macro-F1 0.3100, 1.52 labels per true one; if the count matters, "
        "take 'b' (1.08 labels per true one)."
    )


def test_it_says_who_may_be_as_good():
    rows = {name: row() for name in "abc"}

    one = advice(rows, {"b": less(-0.1, 0.01), "c": less(-0.2, -0.1)}, objectives.macro_f1)
    two = advice(rows, {"b": less(-0.1, 0.01), "c": less(-0.1, 0.0)}, objectives.macro_f1)

    assert one.endswith("labels per true one; 'b' may be as good on other rows.")
    assert two.endswith("labels per true one; 'b' and 1 more may be as good on other rows.")


@pytest.mark.parametrize(("ratio", "said"), [(0.92, False), (1.09, False), (1.11, True)])
def test_a_count_that_is_right_needs_no_word(ratio, said):
    rows = {"a": row(ratio=ratio), "b": row(macro=0.2, ratio=1.0)}

    words = advice(rows, {"b": less(-0.2, -0.1)}, objectives.macro_f1)

    assert ("if the count matters, take 'b'" in words) == said


def test_what_is_best_by_the_count_as_well_is_named_once():
    rows = {"a": row(ratio=2.0), "b": row(macro=0.2, ratio=3.0)}

    assert "count matters" not in advice(rows, {"b": less(-0.2, -0.1)}, objectives.macro_f1)


@pytest.mark.parametrize(
    ("goal", "figure"),
    [(objectives.micro_f1, "micro_f"), (objectives.instance_f1, "instance_f")],
    ids=["micro-f1", "instance-f1"],
)
def test_who_is_as_good_is_told_by_the_figure_of_the_objective(goal, figure):
    worse, as_good = Interval(-0.2, -0.15, -0.1), Interval(-0.1, 0.0, 0.1)
    figures = dict.fromkeys(("macro_f", "micro_f", "instance_f"), worse)
    rows = {name: row() for name in "abc"}

    words = advice(rows, {"b": figures | {figure: as_good}, "c": figures}, goal)

    assert "; 'b' may be as good on other rows" in words


def test_without_an_objective_it_names_the_best_for_each():
    rows = {
        "a": row(macro=0.9, ratio=3.0), "b": row(micro=0.9, ratio=0.8),
        "c": row(instance=0.9, ratio=1.2), "d": row(ratio=0.99),
    }  # fmt: skip

    assert advice(rows, {}, None) == (
        "for macro-f1 take 'a' (3.00 labels per true one); for micro-f1 take 'b' (0.80 labels per "
        "true one); for instance-f1 take 'c' (1.20 labels per true one); for count take 'd' (0.99 "
        "labels per true one)."
    )


def test_a_bound_is_told_by_the_figure_that_must_reach_it():
    said = advice({"a": row(ratio=math.nan)}, {}, objectives.recall(0.9))

    assert said == "for recall=0.9 take 'a': macro-recall 0.9500, no labels to count."
