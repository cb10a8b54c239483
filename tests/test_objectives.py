import math

import pytest

from calibrate import objectives
from calibrate.base import DecisionRule
from calibrate.calibrators.platt_scaling import PlattScaling
from calibrate.cli import options

FIGURES = {
    "macro_f": 0.3, "micro_f": 0.4, "instance_f": 0.5, "count_ratio": 1.0,
    "macro_recall": 0.8, "macro_precision": 0.5, "micro_precision": 0.8, "micro_recall": 0.5,
}  # fmt: skip


def figures(**changed):
    return FIGURES | changed


@pytest.mark.parametrize("goal", objectives.ALL, ids=lambda goal: goal.name)
def test_an_objective_is_found_by_its_name(goal):
    assert objectives.by_name(goal.name) is goal


def test_a_bound_is_part_of_the_name():
    goal = objectives.by_name("recall=0.95")

    assert (goal.name, goal.figure, goal.is_bound) == ("recall=0.95", "macro_recall", True)
    assert goal.make_rule().recall == 0.95
    assert objectives.by_name("precision=.7").make_rule().precision == 0.7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f1", "must be one of macro-f1, micro-f1, instance-f1, count, recall=R, precision=P, got"),
        ("recall", "must be one of"),
        ("recall=", "must be one of"),
        ("recall=much", "recall must be a number, got 'much'"),
        ("recall=1", "recall must be above 0 and below 1, got 1.0"),
        ("precision=0", "precision must be above 0 and below 1, got 0.0"),
        ("precision=nan", "precision must be above 0 and below 1, got nan"),
    ],
)
def test_what_is_no_objective_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        objectives.by_name(text)


@pytest.mark.parametrize(
    ("goal", "better", "worse"),
    [
        (objectives.macro_f1, {"macro_f": 0.4}, {"macro_f": 0.3}),
        (objectives.micro_f1, {"micro_f": 0.5}, {"micro_f": 0.4, "macro_f": 0.9}),
        (objectives.instance_f1, {"instance_f": 0.6}, {"instance_f": 0.5}),
        (objectives.macro_f1, {"macro_f": 0.1}, {"macro_f": math.nan}),
        (objectives.count, {"count_ratio": 1.1}, {"count_ratio": 0.9}),
        (objectives.count, {"count_ratio": 0.5}, {"count_ratio": 2.01}),
        (objectives.count, {"count_ratio": 9.0}, {"count_ratio": 0.0}),
        (objectives.count, {"count_ratio": 9.0}, {"count_ratio": math.nan}),
        (objectives.recall(0.9), {"macro_recall": 0.91}, {"macro_recall": 0.89}),
        (
            objectives.recall(0.9),
            {"macro_recall": 0.91, "macro_precision": 0.5},
            {"macro_recall": 0.99, "macro_precision": 0.4},
        ),
        (
            objectives.recall(0.9),
            {"macro_recall": 0.8, "macro_precision": 0.1},
            {"macro_recall": 0.7, "macro_precision": 0.9},
        ),
        (
            objectives.precision(0.9),
            {"micro_precision": 0.9, "micro_recall": 0.1},
            {"micro_precision": 0.89, "micro_recall": 0.9},
        ),
        (
            objectives.precision(0.9),
            {"micro_precision": 0.95, "micro_recall": 0.3},
            {"micro_precision": 0.99, "micro_recall": 0.2},
        ),
        (objectives.precision(0.9), {"micro_precision": 0.1}, {"micro_precision": math.nan}),
    ],
)
def test_the_better_comes_first(goal, better, worse):
    assert goal.order(figures(**better)) < goal.order(figures(**worse))


@pytest.mark.parametrize("goal", [*objectives.ALL, objectives.recall(0.9)], ids=lambda g: g.name)
def test_an_objective_makes_a_pipeline_of_the_default_calibrator_and_its_rule(goal):
    pipeline = goal.pipeline()

    assert [type(step).__name__ for step in pipeline.calibrators] == ["HierarchicalScaling"]
    assert isinstance(pipeline.rule, DecisionRule)
    assert pipeline.rule is not goal.pipeline().rule


def test_the_rule_of_an_objective_is_the_one_that_is_said():
    rules = {goal.name: goal.make_rule() for goal in objectives.ALL}

    assert {name: repr(rule) for name, rule in rules.items()} == {
        "macro-f1": "PerClassThreshold(metric=f_beta(1), shrinkage='auto')",
        "micro-f1": "SharedThreshold(metric=f_beta(1), shrinkage='auto')",
        "instance-f1": "ExpectedFBeta(beta=1)",
        "count": "ExpectedCountTopK()",
    }


def test_another_calibrator_may_come_first():
    calibrator = PlattScaling()

    assert objectives.count.pipeline(calibrator).calibrators == [calibrator]


def test_the_command_line_names_the_same():
    assert options.OBJECTIVES == objectives.NAMES
