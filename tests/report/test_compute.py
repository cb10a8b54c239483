"""The numbers of the report are those of the library, on the rows they say they are of."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise

import numpy as np
import pytest
from reported import fitted, names, world
from scipy import sparse

import calibrate as cal
from calibrate.data import labelled_logits
from calibrate.decision import Decision
from calibrate.ops import Threshold

FIGURES = ("count_ratio", "macro_f", "micro_f", "instance_f")


def doubts(report):
    return {doubt.code: doubt for doubt in report.attention}


def test_the_verdict_is_the_evaluation_of_both_decisions(report, pipeline, rows):
    raw = Decision((), Threshold(np.float32(0)), 40)

    for part, decision in (("before", raw), ("after", pipeline)):
        expected = cal.evaluate(decision, *rows, ranking=False)

        for name in FIGURES:
            assert report.verdict[part][name] == expected.intervals[name]._asdict()
        rare = report.verdict[part]["count_ratio_rare"]
        assert rare["estimate"] == expected.summary["count_ratio_rare"]


def test_the_class_table_is_that_of_the_evaluations(report, pipeline, rows):
    after = cal.evaluate(pipeline, *rows).per_class
    before = cal.evaluate(Decision((), Threshold(np.float32(0)), 40), *rows).per_class
    calibration = cal.calibration_report(pipeline, *rows)

    for name in ("support", "tp", "predicted", "precision", "recall", "f", "f_low", "f_high",
                 "count_ratio", "average_precision", "ece"):  # fmt: skip
        np.testing.assert_array_equal(report.per_class[name], after[name])
    for name in ("predicted", "f", "count_ratio"):
        np.testing.assert_array_equal(report.per_class[f"{name}_before"], before[name])
    for name in ("cox_slope", "cox_intercept", "cox_q"):
        np.testing.assert_array_equal(report.per_class[name], calibration.per_class[name])
    miscalibrated = doubts(report)["miscalibrated"].classes
    assert set(miscalibrated) == set(calibration.miscalibrated.tolist())
    np.testing.assert_array_equal(
        report.per_class["threshold"], pipeline.decision_.rule.threshold.astype(float)
    )


def test_a_threshold_is_told_as_a_probability_unless_it_is_never():
    report = cal.threshold_report(fitted(), *world())

    threshold, probability = (report.per_class[name] for name in ("threshold", "probability"))
    never = np.isposinf(threshold)
    assert never.any()
    assert np.isnan(probability[never]).all()
    np.testing.assert_allclose(
        np.log(probability[~never]) - np.log1p(-probability[~never]), threshold[~never], rtol=1e-9
    )


def test_every_cut_of_a_curve_is_what_its_threshold_does(report, pipeline, rows):
    logits, labels = rows

    plain = report.as_dict()

    for c in (0, 3, 20, 38):
        curve = plain["curves"][c]
        assert 5 < len(curve["threshold"]) <= 64
        for threshold, tp, predicted in zip(
            curve["threshold"], curve["tp"], curve["predicted"], strict=True
        ):
            thresholds = np.full(40, np.inf, dtype=np.float32)
            thresholds[c] = threshold
            cut = Decision(pipeline.decision_.steps, Threshold(thresholds), 40)
            decided = cut.predict(logits).toarray()[:, c]
            assert (decided & labels[:, c]).sum() == tp
            assert decided.sum() == predicted


def test_scores_and_reliability_of_a_class_hold_all_its_rows(report, rows):
    plain = report.as_dict()

    for c, curve in enumerate(plain["curves"]):
        assert sum(curve["scores"]["cells"]) == 700
        assert sum(curve["reliability"]["cells"]) == 700
        support = int(rows[1][:, c].sum())
        assert sum(curve["scores"]["positives"]) == support
        assert sum(curve["reliability"]["positives"]) == support


def test_score_bins_lie_where_they_say(pipeline, rows, report):
    from calibrate.data import as_logits

    curve = report.as_dict()["curves"][0]["scores"]
    calibrated = pipeline.decision_.calibrate(as_logits(rows[0]).read(0, 700))[:, 0]

    edges = curve["low"] + curve["width"] * np.arange(33)
    expected, _ = np.histogram(calibrated, np.concatenate([[-np.inf], edges[1:-1], [np.inf]]))

    assert curve["cells"] == expected.tolist()


def test_the_overview_counts_every_class_and_row(report, pipeline, rows):
    logits, labels = rows
    support, per_row = labels.sum(axis=0), labels.sum(axis=1)
    after = pipeline.predict(logits).toarray()

    groups, by_row = report.overview["by_frequency"], report.overview["labels_of_rows"]

    for group in groups:
        here = (support >= group["from"]) & (support <= group["to"])
        assert group["n_classes"] == here.sum()
        if group["from"]:
            for name in ("f", "f_before"):
                expected = report.per_class[name][here].mean()
                assert group[name] == pytest.approx(expected, abs=1e-12)
            for name, decided in (("count_ratio_before", logits >= 0), ("count_ratio", after)):
                assert group[name] == pytest.approx(decided[:, here].sum() / support[here].sum())
        else:
            for name in ("f", "f_before", "count_ratio", "count_ratio_before"):
                assert group[name] is None
    assert sum(group["n_classes"] for group in groups) == 40
    assert sum(group["n_rows"] for group in by_row) == 700
    for group in by_row:
        here = (per_row >= group["from"]) & (per_row <= group["to"])
        assert group["true"] == pytest.approx(per_row[here].mean())
        assert group["before"] == pytest.approx((logits[here] >= 0).sum(axis=1).mean())
        counts = np.sort(after[here].sum(axis=1))
        assert group["after"] == pytest.approx(counts.mean())
        for name, share in (("10_percent", 0.1), ("median", 0.5), ("90_percent", 0.9)):
            assert group[f"after_{name}"] == counts[int(np.ceil(share * len(counts))) - 1]
    pooled = report.overview["reliability"]
    assert sum(pooled["cells"]) == labels.size
    assert sum(pooled["positives"]) == labels.sum()


@pytest.mark.parametrize("most", [0, 1, 9, 10, 11, 49, 50, 51, 1000])
def test_groups_of_rows_and_classes_leave_no_gap(most):
    from calibrate.report.overview import by_frequency, labels_of_rows

    n = np.arange(most + 1)

    by_row = labels_of_rows(n, n, n)
    by_class = by_frequency(
        {"support": n, "f": n * 0.0, "f_before": n * 0.0, "predicted": n, "predicted_before": 2 * n}
    )

    for groups, size in ((by_row, "n_rows"), (by_class, "n_classes")):
        assert sum(group[size] for group in groups) == most + 1
        ends = [(group["from"], group["to"]) for group in groups]
        assert ends[0][0] == 0
        assert all(b[0] == a[1] + 1 for a, b in pairwise(ends))


def test_what_needs_attention_is_counted():
    logits, labels = world()
    report = cal.threshold_report(fitted(), logits[800:], labels[800:])
    positives = labels[:800].sum(axis=0)

    found = doubts(report)

    assert found["no_positives"].classes == tuple(np.flatnonzero(positives == 0))
    few = (positives > 0) & (positives < 20)
    assert found["few_positives"].classes == tuple(np.flatnonzero(few))
    assert found["few_positives"].message.startswith(
        f"{few.sum()} of 40 classes have fewer than 20"
    )
    silent = (report.per_class["predicted"] == 0) & (labels[800:].sum(axis=0) > 0)
    assert found["never_predicted"].classes == tuple(np.flatnonzero(silent))
    for c in range(40):
        expected = [doubt.code for doubt in report.attention if c in doubt.classes]
        assert list(report.flags[c]) == expected


def test_what_the_fit_found_is_told_again():
    metric = cal.metrics.constrained(cal.metrics.f_beta(1), min_precision=0.97)
    weights = np.geomspace(400, 2, 40)

    hard = doubts(cal.threshold_report(fitted(cal.PerClassThreshold(metric)), *world()))
    faded = doubts(
        cal.threshold_report(
            fitted(cal.FixedThreshold(), [cal.HierarchicalScaling(weights)]), *world()
        )
    )

    assert "reach precision 0.97 at no cut" in hard["infeasible"].message
    assert len(hard["infeasible"].classes) > 0
    assert "weights' shift" in faded["faded_weights"].message
    assert faded["faded_weights"].classes == ()


def test_the_fitting_rows_are_known_again_in_any_container(tmp_path):
    logits, labels = world()
    pipeline = fitted()
    np.save(tmp_path / "logits.npy", logits[:800].astype(np.float64))
    sparse.save_npz(tmp_path / "labels.npz", sparse.csr_array(labels[:800]))

    same = cal.threshold_report(pipeline, tmp_path / "logits.npy", tmp_path / "labels.npz")
    other = cal.threshold_report(pipeline, logits[800:], labels[800:])

    assert same.verdict["judged_on"] == "fitting rows"
    assert same.verdict["in_sample"] == same.verdict["after"]
    assert other.verdict["judged_on"] == "other rows"
    assert other.verdict["in_sample"] is None


@pytest.mark.parametrize("change", ["a label", "a logit", "a row less"])
def test_other_rows_have_another_fingerprint(change):
    logits, labels = (part.copy() for part in world())
    before = labelled_logits(logits, labels).fingerprint()
    if change == "a label":
        labels[-1, 0] = ~labels[-1, 0]
    if change == "a logit":
        logits[5, 5] += 1
    last = -1 if change == "a row less" else None

    assert labelled_logits(logits[:last], labels[:last]).fingerprint() != before


def test_on_the_fitting_rows_the_verdict_is_the_cross_fit():
    logits, labels = world()
    unfitted = cal.Pipeline([], cal.PerClassThreshold(cal.metrics.f_beta(1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cal.FitWarning)
        found = cal.cross_fit(unfitted, logits, labels, folds=3)

    report = cal.threshold_report(found.decision, logits, labels)

    assert report.verdict["judged_on"] == "cross-fit"
    assert report.verdict["folds"] == 3
    for name in FIGURES:
        expected = found.out_of_sample.intervals[name]._asdict()
        assert report.verdict["after"][name] == pytest.approx(expected)
        assert report.verdict["in_sample"][name]["estimate"] == found.in_sample.summary[name]
    np.testing.assert_array_equal(report.per_class["f"], found.in_sample.per_class["f"])


def test_the_verdict_says_how_much_was_judged(pipeline, rows):
    report = cal.threshold_report(pipeline, *rows, level=0.8)

    labels = rows[1]
    expected = {
        "level": 0.8,
        "n_rows": 700,
        "n_classes": 40,
        "n_labels": labels.sum(),
        "n_classes_without_positives": (labels.sum(axis=0) == 0).sum(),
        "folds": None,
        "n_groups": None,
    }
    assert {name: report.verdict[name] for name in expected} == expected


def test_groups_of_a_cross_fit_are_counted():
    logits, labels = world()
    unfitted = cal.Pipeline([], cal.SharedThreshold(cal.metrics.f_beta(1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cal.FitWarning)
        found = cal.cross_fit(unfitted, logits, labels, folds=2, groups=np.arange(1500) // 3)

    assert cal.threshold_report(found.decision, logits, labels).verdict["n_groups"] == 500


def test_a_rule_that_does_not_say_what_it_was_fitted_to_is_not_called_out_of_sample():
    report = cal.threshold_report(Decision((), Threshold(np.float32(1)), 40), *world())

    assert report.verdict["judged_on"] == "unknown"
    assert np.isnan(report.per_class["rule_positives"]).all()
    assert "judged here" in doubts(report)["no_positives"].message


def test_rows_kept_apart_are_fitting_rows_too():
    logits, labels = world()
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.RecallGuarantee(0.8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cal.FitWarning)
        pipeline.fit(logits[:800], labels[:800], apart=(logits[800:], labels[800:]))

    for part in (slice(800), slice(800, None)):
        report = cal.threshold_report(pipeline, logits[part], labels[part])
        assert report.verdict["judged_on"] == "fitting rows"
    assert report.per_class["rule_positives"].tolist() == labels[800:].sum(axis=0).tolist()


def test_a_rule_along_the_row_has_no_thresholds_and_takes_no_overrides(rows):
    report = cal.threshold_report(fitted(cal.ExpectedCountTopK()), *rows)

    assert np.isnan(report.per_class["threshold"]).all()
    assert report.overrides is None


def test_a_rule_that_adapts_is_reported_with_the_thresholds_of_these_rows(rows):
    pipeline = fitted(cal.PlugInThreshold(cal.metrics.f_beta(1), batch=True))

    report = cal.threshold_report(pipeline, *rows)

    adapted = pipeline.decision_.adapted(rows[0])
    np.testing.assert_array_equal(report.per_class["threshold"], adapted.rule.threshold)
    assert report.overrides is None


def test_overrides_given_before_are_kept(rows):
    given = {"class 1": cal.overrides.never, "class 2*": cal.overrides.at_threshold(0.25)}
    rule = cal.Overridden(cal.FixedThreshold(), given, min_labels=1, max_labels=9)

    report = cal.threshold_report(fitted(rule), *rows)

    assert report.overrides == {
        "classes": {"class 1": "never", "class 2*": {"threshold": 0.25}},
        "min_labels": 1,
        "max_labels": 9,
    }
    assert report.per_class["threshold"][20] == 0.25


def test_shrinkage_is_that_of_the_fit(rows):
    pipeline = fitted(
        cal.PerClassThreshold(cal.metrics.f_beta(1), shrinkage="auto"), [cal.HierarchicalScaling()]
    )

    report = cal.threshold_report(pipeline, *rows)

    own = pipeline.calibrators_[0].report_.shrinkage
    np.testing.assert_allclose(report.per_class["calibration_shrinkage"], own, atol=5.1e-5)
    weight = pipeline.rule_.report_.shrunk.weight
    np.testing.assert_allclose(report.per_class["threshold_shrinkage"], 1 - weight, atol=5.1e-5)


def test_it_is_plain_json_and_the_same_each_time(report, pipeline, rows, monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    again = cal.threshold_report(pipeline, *rows).as_dict()

    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))

    assert plain == json.loads(json.dumps(again, allow_nan=False))
    assert plain["schema"] == 1
    assert plain["per_class"]["class"] == names()
    assert plain["per_class"]["threshold"][-1] is None
    assert plain["provenance"]["pipeline"][1]["step"] == "PerClassThreshold"
    assert {len(column) for column in plain["per_class"].values()} == {40}


def test_the_rows_are_read_a_dozen_times_whatever_their_number(pipeline, rows):
    source = labelled_logits(*rows)
    read = []
    source.source.watch(read.append)

    cal.threshold_report(pipeline, source)

    assert sum(read) / rows[0].size < 20


def test_one_row_and_one_class_are_reported():
    decision = Decision((), Threshold(np.float32(0.5)), 1)

    report = cal.threshold_report(decision, np.array([[1.0]]), np.array([[1]]))

    assert report.verdict["after"]["micro_f"]["estimate"] == 1.0
    assert report.verdict["after"]["micro_f"]["low"] is None
    json.dumps(report.as_dict(), allow_nan=False)
    assert "1.00" in report.markdown()


def test_cells_without_a_score_are_left_out_of_the_curves(pipeline, rows):
    logits, labels = rows[0].copy(), rows[1]
    logits[:100, 0] = np.nan

    report = cal.threshold_report(pipeline, logits, labels, nan="negative")

    assert sum(report.as_dict()["curves"][0]["scores"]["cells"]) == 600
    assert report.per_class["support"][0] == labels[:, 0].sum()


@pytest.mark.parametrize("level", [0, 1, -0.5])
def test_a_level_is_a_share(pipeline, rows, level):
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        cal.threshold_report(pipeline, *rows, level=level)


def test_rows_of_other_classes_are_refused(pipeline, rows):
    with pytest.raises(ValueError, match="must have the 40 classes of the fitted rule, got 39"):
        cal.threshold_report(pipeline, rows[0][:, :39], rows[1][:, :39])
