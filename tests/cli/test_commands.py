"""The commands as a user types them: what they print, write, refuse, and how they exit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import sparse

import calibrate as cal
from calibrate.cli import COMMANDS, main
from calibrate.comparison import compare_cross_fitted, standard_pipelines

NAMES = [f"class {i}" for i in range(6)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with logits, labels in several forms, class names and weights."""
    rng = np.random.default_rng(0)
    labels = rng.random((400, 6)) < [0.5, 0.3, 0.2, 0.1, 0.1, 0.05]
    weights = (1 - labels.mean(axis=0)) / labels.mean(axis=0)
    logits = 1.5 * labels + rng.normal(size=labels.shape) - 2 + np.log(weights)
    np.save(tmp_path / "logits.npy", logits.astype(np.float32))
    sparse.save_npz(tmp_path / "labels.npz", sparse.csr_array(labels))
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    np.savetxt(tmp_path / "weights.txt", weights)
    lines = [[NAMES[i] for i in np.flatnonzero(row)] for row in labels]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fitted(files: Path, *options: object) -> Path:
    rule = files / "rule.safetensors"
    logits, labels = files / "logits.npy", files / "labels.npz"
    result = run("fit", logits, labels, "-o", rule, "--force", *options)
    assert result.exit_code == 0, result.stderr
    return rule


def test_fit_writes_a_rule_and_says_what_it_is(files):
    rule = files / "rule.safetensors"

    result = run("fit", files / "logits.npy", files / "labels.npz", "-o", rule)

    assert result.exit_code == 0
    assert result.stdout == f"wrote {rule}: HierarchicalScaling -> ExpectedCountTopK\n"
    assert "in-sample" in result.stderr
    assert cal.load(rule).n_classes == 6


@pytest.mark.filterwarnings("ignore::calibrate.FitWarning")
def test_fit_tells_cross_fitted_figures_with_their_optimism_in_80_columns(files):
    rule, ids = files / "rule.safetensors", np.arange(400) // 8
    np.save(files / "ids.npy", ids)
    arguments = [
        "fit", files / "logits.npy", files / "labels.npz", "-o", rule, "--force", "--groups",
        files / "ids.npy", "--folds", 4, "--rule", "per-class-threshold",
    ]  # fmt: skip
    pipeline = cal.Pipeline(
        [cal.HierarchicalScaling()], cal.PerClassThreshold(cal.metrics.f_beta(1))
    )
    expected = cal.cross_fit(
        pipeline, files / "logits.npy", files / "labels.npz", folds=4, groups=ids
    ).as_dict()

    text = run(*arguments)
    content = json.loads(run(*arguments, "--json").stdout)

    assert content["cross_fit"] == content["provenance"]["cross_fit"] == expected
    assert content["fitting_rows"] == expected["in_sample"]
    lines = [line for line in text.stderr.splitlines() if not line.startswith("warning: ")]
    assert max(len(line) for line in lines) <= 80
    figures = {line[:13].strip(): line[13:].split() for line in lines[1:5]}
    assert figures[""] == ["macro-F1", "micro-F1", "instance-F1", "pred/true"]
    for name, part in (("out of sample", "out_of_sample"), ("in-sample", "in_sample")):
        assert float(figures[name][0]) == pytest.approx(expected[part]["macro_f"], abs=5e-5)
        assert float(figures[name][3]) == pytest.approx(expected[part]["count_ratio"], abs=5e-5)
    assert figures["optimism"][0] == f"{expected['optimism']['macro_f']:+.4f}"
    assert "out of sample: 4 folds of 50 groups" in text.stderr
    inspected = run("inspect", rule).stdout
    assert "4 folds, each row judged by a fit without its fold" in inspected
    shown = expected["out_of_sample"]["macro_f"], expected["optimism"]["macro_f"]
    assert f"macro-F1 {shown[0]:.4f}, optimism {shown[1]:+.4f}" in inspected
    assert json.loads(run("inspect", rule, "--json").stdout)["cross_fit"] == expected


def test_fit_without_folds_says_that_its_figures_are_in_sample(files):
    rule = files / "rule.safetensors"

    result = run("fit", files / "logits.npy", files / "labels.npz", "-o", rule, "--folds", 0)

    assert "on these same rows (in-sample, so flattering): predicted/true 1.000" in result.stderr
    assert "out of sample" not in result.stderr
    assert "cross_fit" not in cal.load(rule).provenance
    assert "cross fit    none" in run("inspect", rule).stdout


def test_rows_too_few_for_folds_are_fitted_unless_folds_were_asked_for(files):
    np.save(files / "three.npy", np.load(files / "logits.npy")[:3])
    np.save(files / "three_labels.npy", np.eye(3, 6, dtype=np.uint8))
    arguments = ["fit", files / "three.npy", files / "three_labels.npy", "-o", files / "r"]

    asked = run(*arguments, "--folds", 5)
    plain = run(*arguments)

    assert asked.exit_code == 2
    assert "5 folds need at least as many rows, got 3" in asked.stderr
    assert plain.exit_code == 0
    assert "no figures of rows that were not fitted on: 5 folds need at least" in plain.stderr
    assert "in-sample, so flattering" in plain.stderr


LAYERS = ["affine", "row_affine", "affine", "piecewise_linear"]
"""What the default calibrator comes to on these rows, whose labels compete."""


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (["--rule", "per-class-threshold", "--metric", "f2"], [*LAYERS, "threshold"]),
        (["--calibrator", "none", "--rule", "shared-threshold"], ["threshold"]),
        (["--rule", "top-k:k=2"], [*LAYERS, "top_k"]),
        (["--rule", "expected-count-top-k:min_k=1,max_k=3"], [*LAYERS, "expected_count_top_k"]),
        (
            [
                "--pos-weight",
                "auto",
                "--calibrator",
                "temperature-scaling:per_class=true,bias=true",
            ],
            ["affine", "affine", "expected_count_top_k"],
        ),
        (
            ["--calibrator", "platt-scaling", "--rule", "fixed-threshold:threshold=0.5"],
            ["affine", "threshold"],
        ),
        (
            [
                "--calibrator",
                "hierarchical-scaling:row_layer=false",
                "--rule",
                "per-class-threshold:metric=recall-at-precision=0.2",
            ],
            ["affine", "piecewise_linear", "threshold"],
        ),
        (["--metric", "cost=1:10", "--rule", "per-class-threshold"], [*LAYERS, "threshold"]),
    ],
)
def test_fit_takes_steps_and_metrics_by_name(files, options, steps):
    decision = cal.load(fitted(files, *options))

    assert [op.wire_name for op in (*decision.steps, decision.rule)] == steps


@pytest.mark.filterwarnings("ignore::calibrate.FitWarning")
def test_fit_by_command_is_the_fit_in_python(files):
    weights = np.loadtxt(files / "weights.txt")
    by_command = cal.load(
        fitted(files, "--pos-weight", files / "weights.txt", "--rule", "per-class-threshold")
    )

    in_python = cal.Pipeline(
        [cal.HierarchicalScaling(weights)], cal.PerClassThreshold(cal.metrics.f_beta(1))
    ).fit(files / "logits.npy", files / "labels.npz")

    assert np.array_equal(by_command.rule.threshold, in_python.decision_.rule.threshold)
    assert np.array_equal(by_command.steps[0].shift, in_python.decision_.steps[0].shift)
    assert len(set(by_command.steps[0].shift.tolist())) == 6


@pytest.mark.filterwarnings("ignore::calibrate.FitWarning")
@pytest.mark.parametrize(
    ("goal", "rule"),
    [
        ("macro-f1", "PerClassThreshold"),
        ("micro-f1", "SharedThreshold"),
        ("instance-f1", "ExpectedFBeta"),
        ("count", "ExpectedCountTopK"),
        ("recall=0.8", "RecallGuarantee"),
        ("precision=0.6", "PrecisionGuarantee"),
    ],
)
def test_the_objective_picks_the_rule(files, goal, rule):
    decision = cal.load(fitted(files, "--objective", goal, "--folds", 0))

    steps = decision.provenance["pipeline"]
    assert [step["step"] for step in steps] == ["HierarchicalScaling", rule]
    made = cal.objectives.by_name(goal).pipeline().fit(files / "logits.npy", files / "labels.npz")
    assert made.decision_.rule.same_as(decision.rule)


def test_guarantees_are_fitted_and_inspected_in_80_columns(files):
    rule = "precision-guarantee:precision=0.6,correction=bh"
    shown = {
        name: run("inspect", fitted(files, "--rule", name, "--folds", 0)).stdout
        for name in (rule, "recall-guarantee:recall=0.8,confidence=0.9",
                     "risk-control:risk=false-negative-rate,level=0.2")
    }  # fmt: skip

    assert max(len(line) for text in shown.values() for line in text.splitlines()) <= 80
    assert "precision on new rows is above 0.6, but for an expected share" in " ".join(
        shown[rule].split()
    )
    assert all("n rows apart" in text for text in shown.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objective", "f1"], "an objective must be one of macro-f1, micro-f1"),
        (["--objective", "count", "--rule", "top-k:k=1"], "give it or --rule, not both"),
        (["--rule", "precision-guarantee:correction=fdr"], "is not one of the corrections: none"),
        (["--rule", "risk-control:risk=fnr"], "'fnr' is not one of the risks: false-negative"),
    ],
)
def test_goals_that_are_not_known_are_refused(files, options, said):
    result = run("fit", files / "logits.npy", files / "labels.npz", "-o", files / "r", *options)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_weights_go_first_where_no_step_asks_for_them(files):
    weights = np.loadtxt(files / "weights.txt")
    options = ["--pos-weight", files / "weights.txt", "--calibrator", "platt-scaling"]

    first = cal.load(fitted(files, *options)).steps[0]

    assert first.same_as(cal.PosWeightCorrection(weights).fit(np.zeros((1, 6)), np.eye(1, 6)).op_)


def test_fit_takes_what_people_decide_themselves_from_a_file(files):
    given = {
        "classes": {"class [01]": "never", "class 1": "always", "class 3": {"probability": 0.25}},
        "min_labels": 1,
        "max_labels": 3,
    }
    (files / "overrides.json").write_text(json.dumps(given))
    logits = np.load(files / "logits.npy")

    rule = fitted(
        files, "--rule", "per-class-threshold", "--calibrator", "none",
        "--class-names", files / "names.txt", "--overrides", files / "overrides.json",
    )  # fmt: skip

    decision = cal.load(rule)
    assert decision.rule.threshold[3] == np.float32(np.log(0.25 / 0.75))
    predicted = decision.predict(logits).toarray()
    assert not predicted[:, 0].any()
    assert predicted[:, 1].all()
    assert set(predicted.sum(axis=1)) <= {1, 2, 3}
    options = decision.provenance["pipeline"][-1]["options"]
    assert dict(options["classes"]) == given["classes"] | {
        "class 3": {"threshold": pytest.approx(np.log(0.25 / 0.75))}
    }
    shown = run("inspect", rule).stdout
    assert "have a threshold given by hand" in shown


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nonsense", "must hold overrides: Expecting value"),
        ("[]", "an object of classes, max_labels, min_labels"),
        ('{"clases": {}}', "an object of classes, max_labels, min_labels"),
        ('{"classes": ["a"]}', "classes must be an object of class names"),
        ('{"classes": {"a": "off"}}', 'an override must be "always", "never" or one of'),
        ('{"classes": {"zebra": "never"}}', "no class is named 'zebra' or like it"),
        ('{"min_labels": "1"}', "min_labels must be a whole number, got '1'"),
    ],
)
def test_overrides_that_say_nothing_sensible_are_refused(files, content, said):
    (files / "overrides.json").write_text(content)

    result = run(
        "fit", files / "logits.npy", files / "labels.npz", "-o", files / "r", "--rule",
        "per-class-threshold", "--class-names", files / "names.txt",
        "--overrides", files / "overrides.json",
    )  # fmt: skip

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert not (files / "r").exists()


def test_overrides_of_a_rule_without_thresholds_are_refused(files):
    (files / "overrides.json").write_text('{"min_labels": 1}')

    result = run(
        "fit", files / "logits.npy", files / "labels.npz", "-o", files / "r",
        "--overrides", files / "overrides.json",
    )  # fmt: skip

    assert result.exit_code == 2
    assert "ExpectedCountTopK does not" in " ".join(result.stderr.split())


def test_fit_prints_one_json_object(files):
    result = run(
        "fit", files / "logits.npy", files / "labels.npz", "-o", files / "r", "--json", "--quiet",
        "--calibrator", "platt-scaling",
    )  # fmt: skip

    content = json.loads(result.stdout)
    assert content["schema"] == 1
    assert content["command"] == "fit"
    assert content["fitting_rows"]["n_rows"] == 400
    assert result.stderr == ""


@pytest.mark.parametrize("labels", ["labels.jsonl", "labels.npz"])
def test_class_names_reach_every_output(files, labels):
    rule = files / "named.safetensors"
    names = ["--class-names", files / "names.txt"]
    run("fit", files / "logits.npy", files / labels, "-o", rule, *names)

    for suffix in ("npz", "jsonl", "npy"):
        result = run("apply", rule, files / "logits.npy", "-o", files / f"out.{suffix}")
        assert result.exit_code == 0, result.stderr

    expected = cal.load(rule).predict(files / "logits.npy").toarray()
    assert np.array_equal(sparse.load_npz(files / "out.npz").toarray(), expected)
    assert np.load(files / "out.npz")["class_names"].tolist() == NAMES
    lines = [json.loads(line) for line in (files / "out.jsonl").read_text().splitlines()]
    assert lines == [[NAMES[i] for i in np.flatnonzero(row)] for row in expected]
    assert np.array_equal(np.load(files / "out.npy"), expected)


CORRECTIONS = {
    "pos-weight-correction:pos-weight=3,label-smoothing=0.1": cal.PosWeightCorrection(3, 0.1),
    "focal-correction:gamma=2,alpha=0.25": cal.FocalCorrection(2, 0.25),
    "asymmetric-loss-correction:gamma-neg=4,clip=0.05": cal.AsymmetricLossCorrection(),
    "asymmetric-loss-correction:gamma-pos=1,detached=false": cal.AsymmetricLossCorrection(
        gamma_pos=1, detached=False
    ),
    "resampling-correction:keep-negatives=0.1": cal.ResamplingCorrection(keep_negatives=0.1),
    "logit-adjustment:prior=0.2,tau=0.5": cal.LogitAdjustment(0.2, 0.5),
}


@pytest.mark.parametrize("text", CORRECTIONS)
def test_what_training_did_is_undone_on_the_command_line_as_in_python(files, text):
    rule = fitted(files, "--calibrator", text, "--rule", "fixed-threshold:threshold=0")

    pipeline = cal.Pipeline([CORRECTIONS[text]], cal.FixedThreshold(0.0))
    pipeline.fit(files / "logits.npy", files / "labels.npz")
    loaded = cal.load(rule)
    steps = [*loaded.steps, loaded.rule]
    expected = [*pipeline.decision_.steps, pipeline.decision_.rule]
    assert all(one.same_as(other) for one, other in zip(steps, expected, strict=True))


def test_the_help_of_fit_shows_how_to_undo_a_loss():
    shown = run("fit", "--help").stdout

    for correction in ("pos-weight", "focal", "asymmetric-loss", "resampling"):
        assert f"  --calibrator {correction}-correction:" in shown


def test_without_names_lines_hold_ids(files):
    rule = fitted(files)

    run("apply", rule, files / "logits.npy", "-o", files / "out.jsonl")

    first = json.loads((files / "out.jsonl").read_text().splitlines()[0])
    assert all(isinstance(label, int) for label in first)


def test_compare_prints_held_out_figures_in_80_columns(files):
    result = run("compare", files / "logits.npy", files / "labels.npz", "--pos-weight", "auto")

    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert lines[0].split() == [
        "pipeline", "macro-F1", "micro-F1", "instance-F1", "pred/true", "rare", "third",
    ]  # fmt: skip
    n = len(standard_pipelines(1.0, np.ones(6)))
    macro = [float(line[-54:].split()[0]) for line in lines[1 : n + 1]]
    assert macro == sorted(macro, reverse=True)
    assert lines[n + 1] == ""
    assert lines[n + 2].split() == ["less", "the", "first", "macro-F1", "micro-F1", "instance-F1"]
    assert lines[2 * n + 2 : 2 * n + 5] == [
        "", "optimism: figures of the first table on the fitting rows, minus those in it", "",
    ]  # fmt: skip
    assert lines[2 * n + 5] == lines[0]
    assert lines[3 * n + 6] == ""
    assert lines[3 * n + 7].startswith("for macro-f1 take '")
    assert "judged on 400 rows in 5 folds, each by a fit to the others, 6 classes" in result.stderr


def test_compare_sets_rows_apart_where_told_to(files):
    result = run("compare", files / "logits.npy", files / "labels.npz", "--test-fraction", 0.5)

    assert result.exit_code == 0, result.stderr
    assert "fitted on 200 rows, judged on 200 others, 6 classes" in result.stderr
    assert "\noptimism: " in result.stdout


def test_compare_keeps_groups_in_one_fold(files):
    ids = np.arange(400) // 20
    np.save(files / "ids.npy", ids)
    (files / "ids.txt").write_text("".join(f"patient {one}\n" for one in ids + 100))
    command = ["compare", files / "logits.npy", files / "labels.npz", "--json", "--folds", 3]

    plain, numbers, text = (
        json.loads(run(*command, *more).stdout)
        for more in ([], ["--groups", files / "ids.npy"], ["--groups", files / "ids.txt"])
    )

    expected = compare_cross_fitted(
        cal.labelled_logits(files / "logits.npy", files / "labels.npz"),
        standard_pipelines(1.2), folds=3, groups=ids,
    )  # fmt: skip
    assert numbers == text != plain
    assert numbers["pipelines"] == expected.as_dict()["pipelines"]
    assert numbers["optimism"] == expected.as_dict()["optimism"]
    assert numbers["folds"] == 3


def test_compare_judges_the_calibrators_that_are_asked_for(files):
    focal, shifted = "focal-correction:gamma=1", "logit-adjustment:tau=0.5"

    result = run(
        "compare", files / "logits.npy", files / "labels.npz", "--json",
        "--calibrator", focal, "--calibrator", shifted,
    )  # fmt: skip

    figures = json.loads(result.stdout)["pipelines"]
    # the first moves no logit over 0, the second those of rare classes
    raw, focal_ratio, shifted_ratio = (
        figures[f"{name}, cut at 0.5"]["count_ratio"] for name in ("raw", focal, shifted)
    )
    assert focal_ratio == raw
    assert shifted_ratio > raw


def test_compare_takes_test_rows_of_their_own(files):
    test = ["--test-logits", files / "logits.npy", "--test-labels", files / "labels.npz"]

    result = run("compare", files / "logits.npy", files / "labels.npz", *test, "--json")

    content = json.loads(result.stdout)
    assert (content["n_fit"], content["n_test"]) == (400, 400)
    assert content["folds"] is None
    assert content["optimism"]["swept per class, raw"]["macro_f"] == 0
    assert content["pipelines"]["swept per class, raw"]["macro_f"] > 0
    assert content["intervals"]["swept per class, raw"]["macro_f"]["low"] > 0
    first, *others = content["pipelines"]
    assert list(content["differences_from_first"]) == others
    highs = [found["macro_f"]["low"] for found in content["differences_from_first"].values()]
    assert max(highs) < 0
    assert content["objective"] == "macro-f1"
    assert content["advice"].startswith(f"for macro-f1 take {first!r}: macro-F1 ")


def test_compare_puts_the_best_by_the_objective_first(files):
    command = ["compare", files / "logits.npy", files / "labels.npz", "--json", "--folds", 2]

    found = {
        goal: json.loads(run(*command, "--objective", goal).stdout)
        for goal in ("micro-f1", "count", "recall=0.8")
    }

    best = {goal: next(iter(one["pipelines"].values())) for goal, one in found.items()}
    every = found["micro-f1"]["pipelines"].values()
    assert best["micro-f1"]["micro_f"] == max(row["micro_f"] for row in every)
    off = [abs(np.log(row["count_ratio"])) for row in found["count"]["pipelines"].values()]
    assert off == sorted(off)
    added = found["recall=0.8"]["pipelines"].keys() - found["count"]["pipelines"].keys()
    assert added == {"recall=0.8"}
    assert best["recall=0.8"]["macro_recall"] >= 0.8


def test_compare_judges_the_rules_that_are_asked_for(files):
    rule = "prevalence-matching:factor=2"

    result = run(
        "compare", files / "logits.npy", files / "labels.npz", "--json", "--folds", 2,
        "--rule", rule,
    )  # fmt: skip

    figures = json.loads(result.stdout)["pipelines"]
    assert figures[rule]["count_ratio"] == pytest.approx(2, abs=0.2)


def test_compare_prints_markdown(files):
    result = run("compare", files / "logits.npy", files / "labels.npz", "--markdown")

    assert result.stdout.startswith("| pipeline | macro-F1 |")
    assert "\n\n| less the first | macro-F1 |" in result.stdout


def test_the_split_is_decided_by_the_seed(files):
    outputs = [
        run("compare", files / "logits.npy", files / "labels.npz", "--seed", seed).stdout
        for seed in (1, 1, 2)
    ]

    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize(
    ("file", "options", "found"),
    [
        ("logits.npy", [], {"kind": "logits", "n_rows": 400, "n_classes": 6, "nan": 0}),
        ("labels.npz", [], {"kind": "labels", "n_rows": 400, "classes_without_positives": 0}),
        ("labels.jsonl", ["--class-names", "names.txt"], {"kind": "labels", "n_classes": 6}),
        ("rule.safetensors", [], {"kind": "rule", "n_classes": 6, "n_rows": 400}),
    ],
)
def test_inspect_says_what_a_file_holds(files, file, options, found):
    fitted(files)
    options = [files / part if part.endswith("txt") else part for part in options]

    result = run("inspect", files / file, *options, "--json")

    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert found.items() <= content.items()


def test_inspect_counts_what_is_not_finite(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[np.nan, 1.0], [np.inf, -2.0], [np.nan, 0.0]]))

    content = json.loads(run("inspect", tmp_path / "x.npy", "--json").stdout)

    assert (content["nan"], content["infinite"]) == (2, 1)
    assert (content["lowest"], content["highest"]) == (-2.0, 1.0)


def test_inspect_reads_well(files):
    text = run("inspect", fitted(files, "--class-names", files / "names.txt")).stdout

    assert "expected_count_top_k: offset" in text
    assert "class 0, class 1" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_probabilities_are_read_when_said_so(files):
    p = 1 / (1 + np.exp(-np.load(files / "logits.npy").astype(np.float64)))
    np.save(files / "p.npy", p)

    warned = run("fit", files / "p.npy", files / "labels.npz", "-o", files / "a")
    said = run("fit", files / "p.npy", files / "labels.npz", "-o", files / "b", "--probabilities")

    assert "look like probabilities" in warned.stderr
    assert "look like probabilities" not in said.stderr
    assert cal.load(files / "b").rule.offset == pytest.approx(
        cal.load(fitted(files)).rule.offset, abs=1e-3
    )


def test_findings_are_one_line_on_stderr(files):
    labels = sparse.load_npz(files / "labels.npz").toarray()
    labels[:, 2:4] = False
    np.save(files / "few.npy", labels)

    result = run(
        "fit", files / "logits.npy", files / "few.npy", "-o", files / "r",
        "--calibrator", "none", "--rule", "per-class-threshold",
    )  # fmt: skip

    assert result.exit_code == 0
    warned = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert warned == [
        "warning: PerClassThreshold: 2 of 6 classes have no positives: they are never predicted"
    ]


REFUSED = {
    "missing logits": (["fit", "absent.npy", "labels.npz", "-o", "r"], "absent.npy"),
    "unknown rule": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--rule", "magic"],
        "'magic' is not one of the rules: budgeted-top-k, cardinality-matching, expected-count",
    ),
    "unknown calibrator": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--calibrator", "magic"],
        "'magic' is not one of the calibrators: asymmetric-loss-correction, beta-calibration,",
    ),
    "unknown option": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--rule", "top-k:n=2"],
        "top-k has no option 'n'; it has: k",
    ),
    "missing option": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--rule", "top-k"],
        "missing a required argument: 'k'",
    ),
    "unknown metric": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--metric", "f3"],
        "'f3' is not one of the metrics: f1, f2",
    ),
    "impossible metric": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--metric", "recall-at-precision=2"],
        "min_precision must be above 0 and at most 1, got 2",
    ),
    "weights of another length": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--pos-weight", "two.txt"],
        "one per class, got shape (2,) for 6 classes",
    ),
    "weights that are no numbers": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--pos-weight", "names.txt"],
        "must hold one number per class",
    ),
    "weights that are no file": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--pos-weight", "no.txt"],
        "neither a number nor a file",
    ),
    "other rows": (
        ["fit", "logits.npy", "two_rows.npy", "-o", "r"],
        "got 400 rows of logits and 2 of labels",
    ),
    "no folder": (["fit", "logits.npy", "labels.npz", "-o", "no/r"], "there is no folder"),
    "pickle": (["fit", "logits.pkl", "labels.npz", "-o", "r"], "pickle"),
    "unknown suffix": (["apply", "rule.safetensors", "logits.npy", "-o", "out.csv"], "'.csv'"),
    "no rule": (["apply", "labels.npz", "logits.npy", "-o", "out.npz"], "rule file"),
    "other classes": (
        ["apply", "rule.safetensors", "five.npy", "-o", "out.npz"],
        "must have the 6 classes of the fitted rule, got 5",
    ),
    "groups of no rows": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--groups", "no.txt"],
        "no.txt must hold one id per row",
    ),
    "groups of other rows": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--groups", "two.txt"],
        "groups must be one id per row, shape (400,), got shape (2,)",
    ),
    "one group": (
        ["compare", "logits.npy", "labels.npz", "--groups", "same.npy"],
        "5 folds need at least as many groups of rows, got 1 among 400 rows",
    ),
    "groups without folds": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--groups", "two.txt", "--folds", "0"],
        "--groups says which rows stay in one fold: there are none",
    ),
    "groups of a split": (
        ["compare", "logits.npy", "labels.npz", "--groups", "two.txt", "--test-fraction", "0.5"],
        "--groups says which rows stay in one fold: there are none",
    ),
    "one fold": (
        ["fit", "logits.npy", "labels.npz", "-o", "r", "--folds", "1"],
        "folds must be at least 2, got 1",
    ),
    "test rows twice": (
        [
            "compare",
            "logits.npy",
            "labels.npz",
            "--test-fraction",
            "0.5",
            "--test-logits",
            "logits.npy",
            "--test-labels",
            "labels.npz",
        ],
        "rows to judge on are given or set apart, not both",
    ),
    "half of the test rows": (
        ["compare", "logits.npy", "labels.npz", "--test-logits", "logits.npy"],
        "--test-logits and --test-labels go together",
    ),
}


@pytest.mark.parametrize(("arguments", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_said_in_one_error_and_nothing_is_written(
    files, arguments, text, monkeypatch
):
    fitted(files)
    np.savetxt(files / "two.txt", [1.0, 2.0])
    np.save(files / "two_rows.npy", np.zeros((2, 6)))
    np.save(files / "same.npy", np.zeros(400, np.int64))
    np.save(files / "five.npy", np.zeros((3, 5)))
    (files / "logits.pkl").write_bytes(b"\x80\x04.")
    monkeypatch.chdir(files)
    before = sorted(path.name for path in files.iterdir())

    result = run(*arguments)

    assert result.exit_code == 2
    assert text in " ".join(result.stderr.split())
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in files.iterdir()) == before


@pytest.mark.parametrize("command", ["fit", "apply"])
def test_an_output_is_overwritten_only_by_force(files, command):
    rule = fitted(files)
    output = files / "out.npz"
    output.write_text("precious")
    logits, labels = files / "logits.npy", files / "labels.npz"
    arguments = [command, rule, logits] if command == "apply" else [command, logits, labels]

    refused = run(*arguments, "-o", output)
    kept = output.read_bytes()
    forced = run(*arguments, "-o", output, "--force")

    assert refused.exit_code == 2
    assert "exists; give --force" in refused.stderr
    assert kept == b"precious"
    assert forced.exit_code == 0
    assert output.read_bytes() != b"precious"


def test_a_read_that_fails_half_way_leaves_no_output(files):
    rule = fitted(files)
    logits = np.load(files / "logits.npy")
    logits[-1, -1] = np.nan
    np.save(files / "bad.npy", logits)

    for suffix in ("npz", "jsonl", "npy"):
        result = run("apply", rule, files / "bad.npy", "-o", files / f"out.{suffix}")

        assert result.exit_code == 2
        assert "got nan at row 399, class 5" in result.stderr
        assert not list(files.glob("*out*"))


def test_nan_may_be_decided_negative(files):
    rule = fitted(files)
    logits = np.load(files / "logits.npy")
    logits[0] = np.nan
    np.save(files / "bad.npy", logits)

    result = run("apply", rule, files / "bad.npy", "-o", files / "out.npy", "--nan", "negative")

    assert result.exit_code == 0
    assert not np.load(files / "out.npy")[0].any()


def test_labels_of_many_classes_are_written_whole(files):
    rule = fitted(files)

    run("apply", rule, files / "logits.npy", "-o", files / "out.npz")

    assert zipfile.ZipFile(files / "out.npz").testzip() is None


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_comes_at_once(command):
    arguments = [sys.executable, "-m", "calibrate", *command, "--help"]
    subprocess.run(arguments, capture_output=True, check=True)

    times = []
    for _ in range(3):
        start = time.process_time()
        children = _children_seconds()
        subprocess.run(arguments, capture_output=True, check=True)
        times.append(_children_seconds() - children + time.process_time() - start)

    assert min(times) < 0.3


def _children_seconds() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_version_is_that_of_the_package():
    assert run("--version").stdout.strip().endswith(cal.__version__)


def test_a_glob_of_shards_is_read_in_natural_order(files):
    logits = np.load(files / "logits.npy")
    for number, part in enumerate(np.array_split(logits, 12)):
        np.save(files / f"part{number}.npy", part)
    rule = fitted(files)

    run("apply", rule, files / "part*.npy", "-o", files / "shards.npz")
    run("apply", rule, files / "logits.npy", "-o", files / "whole.npz")

    shards, whole = (sparse.load_npz(files / f"{name}.npz") for name in ("shards", "whole"))
    assert (shards != whole).nnz == 0


def test_a_metric_for_a_rule_without_one_is_refused(files):
    result = run(
        "fit", files / "logits.npy", files / "labels.npz", "-o", files / "r", "--metric", "f2"
    )

    assert result.exit_code == 2
    assert "--metric goes with a threshold rule" in result.stderr


def test_a_folder_is_no_output(files):
    result = run("fit", files / "logits.npy", files / "labels.npz", "-o", files, "--force")

    assert result.exit_code == 2
    assert "is a folder; name a file to write" in " ".join(result.stderr.split())


@pytest.mark.parametrize("suffix", ["npy", "txt"])
def test_an_empty_file_of_weights_is_refused(files, suffix):
    (files / f"empty.{suffix}").touch()

    result = run(
        "fit", files / "logits.npy", files / "labels.npz", "-o", files / "r",
        "--pos-weight", files / f"empty.{suffix}",
    )  # fmt: skip

    assert result.exit_code == 2
    assert "the file is empty" in result.stderr


@pytest.mark.parametrize(("kill", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_leaves_nothing_and_says_so_by_its_code(files, kill, code):
    rule = fitted(files)
    os.mkfifo(files / "slow.jsonl")  # reading it waits for ever
    before = sorted(path.name for path in files.iterdir())
    arguments = ["fit", files / "logits.npy", files / "slow.jsonl", "-o", files / "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "calibrate", *map(str, arguments)], stderr=subprocess.PIPE
    )

    time.sleep(3)
    process.send_signal(kill)
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == code
    assert b"Traceback" not in stderr
    assert sorted(path.name for path in files.iterdir()) == before
    assert rule.exists()


def test_a_rule_remembers_that_it_was_fitted_on_probabilities(files):
    p = 1 / (1 + np.exp(-np.load(files / "logits.npy").astype(np.float64)))
    np.save(files / "p.npy", p)
    rule = files / "rule.safetensors"
    logits, labels = files / "p.npy", files / "labels.npz"
    run("fit", logits, labels, "-o", rule, "--probabilities", "--rule", "per-class-threshold")

    run("apply", rule, files / "p.npy", "-o", files / "plain.npy")
    run("apply", rule, files / "p.npy", "-o", files / "flag.npy", "--probabilities")

    assert np.array_equal(np.load(files / "plain.npy"), np.load(files / "flag.npy"))


# a rule that adapts to the rows labelled together

BATCH_RULES = ["plug-in-threshold:batch=true", "per-class-threshold:shrinkage=auto,batch=true"]


@pytest.mark.parametrize("rule", BATCH_RULES)
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".jsonl"])
def test_a_rule_that_adapts_is_applied_when_told_so(files, rule, suffix):
    path, output = fitted(files, "--folds", 0, "--rule", rule), files / f"out{suffix}"

    result = run("apply", path, files / "logits.npy", "-o", output, "--adapt", "--json")

    assert result.exit_code == 0, result.stderr
    expected = cal.load(path).predict(files / "logits.npy")
    assert json.loads(result.stdout)["n_labels"] == expected.nnz
    if suffix == ".npz":
        assert (sparse.load_npz(output) != expected).nnz == 0


def test_a_rule_that_adapts_is_not_applied_unless_told_so(files):
    path, output = fitted(files, "--folds", 0, "--rule", BATCH_RULES[0]), files / "out.npz"

    result = run("apply", path, files / "logits.npy", "-o", output)

    assert result.exit_code == 2
    assert "adapts to the rows that are labelled together: say --adapt if all rows" in result.stderr
    assert not output.exists()


def test_a_rule_that_does_not_adapt_refuses_to(files):
    path, output = fitted(files), files / "out.npz"

    result = run("apply", path, files / "logits.npy", "-o", output, "--adapt")

    assert result.exit_code == 2
    assert "decides each row by itself (expected_count_top_k): leave out --adapt" in result.stderr
    assert not output.exists()


def test_a_rule_does_not_adapt_to_a_single_row(files):
    path, output = fitted(files, "--folds", 0, "--rule", BATCH_RULES[0]), files / "out.npz"
    np.save(files / "one.npy", np.load(files / "logits.npy")[:1])

    result = run("apply", path, files / "one.npy", "-o", output, "--adapt")

    assert result.exit_code == 2
    assert "labelled together: give at least two, got 1" in result.stderr
    assert not output.exists()


def test_the_amount_of_shrinkage_is_shown_by_inspect(files):
    path = fitted(files, "--folds", 0, "--rule", "per-class-threshold:shrinkage=auto")

    result = run("inspect", path)

    assert "share of the swept threshold by positives" in " ".join(result.stdout.split())
