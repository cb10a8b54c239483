"""Pipelines fit each step on what the former leave, and change nothing they were given."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import precision_recall_curve

import calibrate as cal
from calibrate import ops
from calibrate.base import DecisionRule, Fitted
from calibrate.crossfit import cross_fit_many
from calibrate.data import labelled_logits
from calibrate.pipeline import FittedOnce
from calibrate.statistics import Evidence


def example(seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.random((400, 5)) < [0.5, 0.3, 0.2, 0.1, 0.05]
    return (1.5 * labels + rng.normal(size=labels.shape) + 1).astype(np.float32), labels


def test_each_step_is_fitted_on_what_the_former_leave():
    logits, labels = example()
    weights = np.array([1, 2, 4, 8, 16.0])

    pipeline = cal.Pipeline(
        [cal.PosWeightCorrection(weights), cal.TemperatureScaling(bias=True)],
        cal.PerClassThreshold(cal.metrics.f_beta(1)),
    ).fit(logits, labels)

    corrected = cal.PosWeightCorrection(weights).fit(logits, labels).transform(logits)
    temperature = cal.TemperatureScaling(bias=True).fit(corrected, labels)
    rule = cal.PerClassThreshold(cal.metrics.f_beta(1)).fit(
        temperature.transform(corrected), labels
    )
    assert np.allclose(pipeline.calibrators_[1].op_.scale, temperature.op_.scale, rtol=1e-5)
    assert np.allclose(pipeline.rule_.op_.threshold, rule.op_.threshold, atol=1e-5)


def test_the_steps_given_stay_unfitted():
    logits, labels = example()
    step, rule = cal.PlattScaling(), cal.TopK(2)

    cal.Pipeline([step], rule).fit(logits, labels)

    assert not hasattr(step, "op_")
    assert not hasattr(rule, "op_")


def test_a_pipeline_is_cloned_with_its_steps():
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.TopK(2))

    copy = clone(pipeline)

    assert copy is not pipeline
    assert copy.get_params(deep=False)["rule"].k == 2


def test_an_unfitted_pipeline_says_so():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="Pipeline must be fitted before it is used"):
        cal.Pipeline([], cal.TopK(2)).predict(example()[0])


@pytest.mark.parametrize(
    ("calibrators", "rule", "text"),
    [
        ([cal.TopK(1)], cal.TopK(1), "calibrators must be Calibrator objects, got TopK"),
        ([], cal.PlattScaling(), "rule must be a DecisionRule object, got PlattScaling"),
        ([], cal.TopK, "rule must be a DecisionRule object"),
    ],
)
def test_steps_of_the_wrong_kind_are_refused(calibrators, rule, text):
    with pytest.raises(TypeError, match=text):
        cal.Pipeline(calibrators, rule).fit(*example())


def test_a_histogram_serves_in_place_of_rows_for_thresholds():
    logits, labels = example()
    histogram = Evidence(labelled_logits(logits, labels)).histogram
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(cal.metrics.f_beta(1)))

    from_rows = clone(pipeline).fit(logits, labels)
    from_histogram = clone(pipeline).fit_from(histogram)

    assert same_arrays(from_rows.calibrators_[0].op_, from_histogram.calibrators_[0].op_)
    exact, binned = (macro_f1(p, logits, labels) for p in (from_rows, from_histogram))
    assert exact - 0.01 < binned <= exact


def macro_f1(pipeline, logits, labels) -> float:
    return cal.evaluate(pipeline, logits, labels, ranking=False).summary["macro_f"]


def same_arrays(one, other) -> bool:
    return all(np.array_equal(a, other.arrays()[name]) for name, a in one.arrays().items())


@pytest.mark.parametrize(
    "rule", [cal.ExpectedCountTopK(), cal.SharedThreshold(cal.metrics.f_beta(1))]
)
def test_rules_that_look_along_rows_refuse_a_histogram(rule):
    histogram = Evidence(labelled_logits(*example())).histogram

    with pytest.raises(TypeError, match="fitted from rows of logits, got a histogram"):
        cal.Pipeline([], rule).fit_from(histogram)


def test_labels_without_any_positive_are_refused():
    logits, labels = example()

    for pipeline in (
        cal.Pipeline([cal.PlattScaling()], cal.TopK(1)),
        cal.Pipeline([], cal.PerClassThreshold(cal.metrics.f_beta(1))),
        cal.Pipeline([], cal.ExpectedCountTopK()),
    ):
        with pytest.raises(ValueError, match="at least one positive, got none in 400 rows of 5"):
            pipeline.fit(logits, np.zeros_like(labels))


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("bibtex", "weighted"),
        ("bibtex", "weighted_long"),
        ("goemotions_tfidf", "weighted"),
        ("corel5k", "weighted"),
        ("delicious", "weighted"),
        ("human_go", "weighted"),
    ],
)
@pytest.mark.filterwarnings("ignore::calibrate.base.FitWarning")
def test_on_real_logits_the_label_count_comes_out_right(name, loss, real_logits):
    saved = real_logits(name, loss)
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK())

    pipeline.fit(saved.logits("val"), saved.labels("val"), class_names=saved.class_names)

    logits, labels = saved.arrays("test")
    before = (np.asarray(logits) >= 0).sum() / labels.sum()
    after = pipeline.predict(saved.logits("test")).sum() / labels.sum()
    assert before > 1.2
    assert 0.9 < after < 1.1


@pytest.mark.parametrize(
    ("name", "loss"), [("bibtex", "weighted"), ("goemotions_tfidf", "unweighted")]
)
@pytest.mark.filterwarnings("ignore::calibrate.base.FitWarning")
def test_on_real_logits_the_sweep_is_that_of_a_loop_over_scikit_learn(name, loss, real_logits):
    saved = real_logits(name, loss)
    logits, labels = saved.arrays("val")
    test_logits, test_labels = saved.arrays("test")
    loop = np.array(
        [best_cut(labels[:, [c]].toarray().ravel(), logits[:, c]) for c in range(logits.shape[1])]
    )

    sweep = cal.Pipeline([], cal.PerClassThreshold(cal.metrics.f_beta(1))).fit(logits, labels)
    by_loop = cal.Pipeline([], cal.FixedThreshold(loop)).fit(logits, labels)

    difference = macro_f1(sweep, logits, labels) - macro_f1(by_loop, logits, labels)
    assert abs(difference) < 1e-12
    held_out = macro_f1(sweep, test_logits, test_labels)
    assert held_out >= macro_f1(by_loop, test_logits, test_labels) - 0.002


def best_cut(truth: np.ndarray, scores: np.ndarray) -> float:
    if not truth.any():
        return np.inf
    precision, recall, cuts = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return cuts[f1[:-1].argmax()]


@pytest.mark.parametrize("rule", [cal.PerClassThreshold, cal.SharedThreshold])
@pytest.mark.parametrize("metric", ["f1", cal.metrics.f_beta, None])
def test_a_metric_that_is_none_is_refused(rule, metric):
    with pytest.raises(TypeError, match=r"metric must be a function of \(tp, fp, fn, tn\)"):
        rule(metric).fit(*example())


def test_one_calibrator_is_not_a_list_of_them():
    with pytest.raises(TypeError, match="calibrators must be a list, got PlattScaling"):
        cal.Pipeline(cal.PlattScaling(), cal.TopK(1)).fit(*example())


# rows kept apart


class CutAtHighest(DecisionRule):
    """Cuts at the highest score that it sees, so that its threshold tells which rows it got."""

    needs_rows_apart = True

    def _fit(self, evidence):
        highest = np.concatenate([b.scores for b in evidence.rows.blocks()]).max(axis=0)
        return Fitted(ops.Threshold(highest))


def leaning_rows(n_rows=60, n_classes=3):
    """Logits that lean towards the labels, no two of them equal, and the labels."""
    rng = np.random.default_rng(5)
    labels = rng.random((n_rows, n_classes)) < 0.4
    return (labels + rng.normal(size=labels.shape)).astype(np.float32), labels


def parts_of(seed, n_rows=60, share=0.5):
    order = np.random.default_rng(seed).permutation(n_rows)
    n_apart = round(n_rows * share)
    return np.sort(order[n_apart:]), np.sort(order[:n_apart])


@pytest.mark.parametrize(("seed", "share"), [(0, 0.5), (3, 0.2)])
def test_a_rule_that_needs_them_gets_rows_that_no_calibrator_has_seen(seed, share):
    logits, labels = leaning_rows()
    ours, apart = parts_of(seed, share=share)

    fitted = cal.Pipeline([cal.PlattScaling()], CutAtHighest(), share_apart=share, seed=seed).fit(
        logits, labels
    )

    alone = cal.PlattScaling().fit(logits[ours], labels[ours])
    assert fitted.calibrators_[0].op_.same_as(alone.op_)
    assert fitted.rule_.op_.threshold.tolist() == (
        alone.transform(logits[apart]).max(axis=0).tolist()
    )
    told = fitted.decision_.provenance
    assert (told["n_rows"], told["n_rows_apart"], told["seed"]) == (60, len(apart), seed)
    assert told["n_positives"] == labels.sum()
    assert told["rule_positives"] == tuple(labels[apart].sum(axis=0))


def test_rows_apart_may_be_given():
    logits, labels = leaning_rows()
    pipeline = cal.Pipeline([cal.PlattScaling()], CutAtHighest())

    fitted = pipeline.fit(logits[:40], labels[:40], apart=(logits[40:], labels[40:]))

    alone = cal.PlattScaling().fit(logits[:40], labels[:40])
    assert fitted.calibrators_[0].op_.same_as(alone.op_)
    highest = alone.transform(logits[40:]).max(axis=0)
    assert fitted.rule_.op_.threshold.tolist() == highest.tolist()
    told = fitted.decision_.provenance
    assert (told["n_rows"], told["n_rows_apart"]) == (40, 20)
    assert "seed" not in told


@pytest.mark.parametrize("calibrators", [[], [cal.PosWeightCorrection(3.0)]], ids=["none", "given"])
def test_nothing_is_kept_apart_where_nothing_was_learned(calibrators):
    logits, labels = leaning_rows()

    fitted = cal.Pipeline(calibrators, CutAtHighest()).fit(logits, labels)

    calibrated = logits
    for step in fitted.calibrators_:
        calibrated = step.transform(calibrated)
    assert fitted.rule_.op_.threshold.tolist() == calibrated.max(axis=0).tolist()
    assert "n_rows_apart" not in fitted.decision_.provenance


def test_other_rules_get_all_rows():
    logits, labels = leaning_rows()

    fitted = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK()).fit(logits, labels)

    assert fitted.calibrators_[0].op_.same_as(cal.PlattScaling().fit(logits, labels).op_)
    assert "n_rows_apart" not in fitted.decision_.provenance


def test_overrides_around_a_rule_keep_rows_apart_for_it():
    logits, labels = leaning_rows()

    fitted = cal.Pipeline([cal.PlattScaling()], cal.Overridden(CutAtHighest())).fit(logits, labels)

    assert fitted.decision_.provenance["n_rows_apart"] == 30


def test_cross_fitting_keeps_rows_apart_in_every_fit():
    logits, labels = leaning_rows()
    pipeline = cal.Pipeline([cal.PlattScaling()], CutAtHighest())

    found = cal.cross_fit(pipeline, logits, labels, folds=3)

    alone = cal.Pipeline([cal.PlattScaling()], CutAtHighest()).fit(logits, labels)
    assert found.decision.rule.same_as(alone.decision_.rule)


def in_groups(seed=0):
    """A pipeline, and groups of unequal size for the rows."""
    groups = np.repeat([5, 3, 9, 7, 1, 4], [25, 3, 2, 10, 15, 5])
    steps = [cal.PosWeightCorrection(1.0), cal.PlattScaling()]
    return cal.Pipeline(steps, CutAtHighest(), seed=seed), groups


@pytest.mark.filterwarnings("ignore::calibrate.base.FitWarning")
@pytest.mark.parametrize("seed", range(4))
def test_whole_groups_are_kept_apart(seed):
    logits, labels = leaning_rows()
    pipeline, groups = in_groups(seed)

    pipeline.fit(logits, labels, groups=groups)

    chosen = [set(), set()]
    for one in np.unique(groups):
        # a group that moves changes what it was given to
        changed = np.where((groups == one)[:, None], logits - 9, logits)
        again = clone(pipeline).fit(changed, labels, groups=groups)
        platt, op = pipeline.calibrators_[1].op_, again.calibrators_[1].op_
        chosen[int(platt.same_as(op))].add(int(one))
    assert chosen[0]
    assert chosen[1]
    n_apart = int(np.isin(groups, list(chosen[1])).sum())
    assert pipeline.decision_.provenance["n_rows_apart"] == n_apart <= 30


def test_groups_are_kept_apart_in_every_fold():
    logits, labels = leaning_rows()
    pipeline, groups = in_groups()

    found = cal.cross_fit(pipeline, logits, labels, folds=3, groups=groups)

    alone = pipeline.fit(logits, labels, groups=groups)
    assert found.decision.rule.same_as(alone.decision_.rule)
    assert found.decision.provenance["n_rows_apart"] == alone.decision_.provenance["n_rows_apart"]


def test_rows_of_one_group_have_none_to_keep_apart():
    logits, labels = leaning_rows()
    pipeline, groups = in_groups()

    with pytest.raises(ValueError, match="but all rows are of one group"):
        pipeline.fit(logits, labels, groups=groups * 0)
    with pytest.raises(ValueError, match=r"one id per row, shape \(60,\), got shape \(3,\)"):
        pipeline.fit(logits, labels, groups=[1, 2, 3])


def test_a_histogram_of_all_rows_has_none_apart():
    logits, labels = leaning_rows()
    histogram = Evidence(labelled_logits(logits, labels)).histogram

    with pytest.raises(TypeError, match="CutAtHighest needs rows that the calibrators were not"):
        cal.Pipeline([cal.PlattScaling()], CutAtHighest()).fit_from(histogram)


@pytest.mark.parametrize(
    ("options", "n_rows", "said"),
    [
        ({"share_apart": 0}, 60, "share_apart must be above 0 and below 1, got 0"),
        ({"share_apart": 1.0}, 60, "share_apart must be above 0 and below 1, got 1.0"),
        ({"share_apart": float("nan")}, 60, "share_apart must be above 0 and below 1, got nan"),
        ({"share_apart": 0.01}, 20, "got 20 rows in all, of which 0 are to be kept apart"),
        ({"share_apart": 0.99}, 20, "got 20 rows in all, of which 20 are to be kept apart"),
        ({}, 1, "got 1 rows in all, of which 0 are to be kept apart"),
    ],
)
def test_a_share_that_leaves_a_part_empty_is_refused(options, n_rows, said):
    logits, labels = leaning_rows()
    pipeline = cal.Pipeline([cal.PlattScaling()], CutAtHighest(), **options)

    with pytest.raises(ValueError, match=said):
        pipeline.fit(logits[:n_rows], labels[:n_rows])


def test_rows_apart_of_other_classes_are_refused():
    logits, labels = leaning_rows()

    with pytest.raises(ValueError, match="rows apart must have the 3 classes of the others, got 2"):
        cal.Pipeline([], CutAtHighest()).fit(logits, labels, apart=(logits[:, :2], labels[:, :2]))


# fitting once


class CountingPlatt(cal.PlattScaling):
    """Platt scaling that counts its fits."""

    fits: ClassVar[list[int]] = []

    def _fit(self, evidence):
        self.fits.append(evidence.n_rows)
        return super()._fit(evidence)


def test_what_several_pipelines_begin_with_is_fitted_once():
    logits, labels = leaning_rows()
    evidence, shared, step = (
        Evidence(labelled_logits(logits, labels)),
        FittedOnce(),
        CountingPlatt(),
    )
    CountingPlatt.fits.clear()

    made = [
        cal.Pipeline([step], rule).fit_evidence(evidence, shared)
        for rule in (cal.ExpectedCountTopK(), cal.FixedThreshold())
    ]

    assert CountingPlatt.fits == [60]
    assert made[0].calibrators_[0].op_ is made[1].calibrators_[0].op_
    alone = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK()).fit(logits, labels)
    assert made[0].decision_.rule.same_as(alone.decision_.rule)


def test_another_step_or_other_evidence_is_fitted_anew():
    logits, labels = leaning_rows()
    shared, step = FittedOnce(), CountingPlatt()
    some, all_rows = (Evidence(labelled_logits(logits[:n], labels[:n])) for n in (40, 60))
    CountingPlatt.fits.clear()

    for one, evidence in ((step, all_rows), (CountingPlatt(), all_rows), (step, some)):
        cal.Pipeline([one], cal.FixedThreshold()).fit_evidence(evidence, shared)

    assert CountingPlatt.fits == [60, 60, 40]


def test_cross_fitting_many_fits_what_they_share_once_a_fold():
    logits, labels = leaning_rows()
    step = CountingPlatt()
    pipelines = {
        "a": cal.Pipeline([step], cal.ExpectedCountTopK()),
        "b": cal.Pipeline([step], cal.FixedThreshold()),
    }
    CountingPlatt.fits.clear()

    cross_fit_many(pipelines, labelled_logits(logits, labels), folds=4)

    assert CountingPlatt.fits == [45, 45, 45, 45, 60]
