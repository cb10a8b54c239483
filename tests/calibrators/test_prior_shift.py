"""Other prevalences than those of the fitting rows, and none where nothing shifted."""

from __future__ import annotations

import math
import warnings

import naive
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from sklearn.base import clone

import calibrate as cal
from calibrate import label_shift, ops
from calibrate.base import FitWarning
from calibrate.cli import main
from calibrate.data import labelled_logits, unlabelled
from calibrate.kernels import label_shift as kernels_of_shift
from calibrate.statistics import Evidence, Grid, ScoreHistogram

LAW = settings(deadline=None, derandomize=True, max_examples=200)

pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")


@pytest.fixture(autouse=True)
def _findings_are_no_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        yield


def simulated(n_rows, prevalence, seed, *, prior=None, spread=0.5):
    """Labels of these prevalences, and logits that are calibrated where `prior` holds."""
    rng = np.random.default_rng(seed)
    prevalence = np.asarray(prevalence, dtype=np.float64)
    prior = prevalence if prior is None else np.asarray(prior, dtype=np.float64)
    labels = rng.random((n_rows, len(prevalence))) < prevalence
    x = rng.normal(labels, math.sqrt(1 / (4 * spread)))
    return 4 * spread * (x - 0.5) + np.log(prior / (1 - prior)), labels


def findings_of(step):
    return {finding.code: finding for finding in step.findings_}


@st.composite
def logits_and_labels(draw):
    """Ties, empty and full classes, scores far out, and cells without one."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    cells = st.sampled_from([np.nan, -900.0, -3.0, -1.0, 0.0, 0.5, 2.0, 40.0, 900.0])
    logits = draw(arrays(np.float32, shape, elements=cells))
    labels = draw(arrays(np.bool_, shape))
    for c in range(shape[1]):
        fill = draw(st.sampled_from([None, None, False, True]))
        if fill is not None:
            labels[:, c] = fill
    return logits, labels


# nothing shifted


@LAW
@given(logits_and_labels())
def test_the_fitting_rows_themselves_are_an_exact_fixed_point(case):
    """Target 25 of the methods: without a shift, not a bit moves."""
    logits, labels = case
    target = cal.as_logits(logits, nan="negative")

    step = cal.PriorShift(target).fit(logits, labels, nan="negative")

    assert (step.op_.shift == 0).all()
    assert (step.op_.scale == 1).all()
    assert not set(findings_of(step)) & {"moved", "estimates_differ"}


def test_the_fixed_point_holds_after_other_steps_and_from_a_histogram():
    logits, labels = simulated(500, [0.3, 0.1, 0.02], 0)
    rows = labelled_logits(logits, labels)
    steps = [cal.PosWeightCorrection(3.0), cal.PlattScaling(), cal.PriorShift(logits)]
    pipeline = cal.Pipeline(steps, cal.FixedThreshold())

    for fitted in (pipeline.fit(logits, labels), pipeline.fit_from(ScoreHistogram.of(rows))):
        assert (fitted.calibrators_[2].op_.shift == 0).all()
        found = label_shift.by_likelihood(*(Evidence(rows).histogram,) * 2, np.full(3, np.nan))
        assert np.isinf(found.variance).all()


def test_the_fixed_point_holds_after_a_step_that_looks_along_the_row():
    logits, labels = simulated(400, [0.3, 0.1, 0.2], 1)
    evidence = Evidence(labelled_logits(logits, labels))
    row_step = ops.RowAffine(1.2, np.array([0.1, -0.3, 0.0], np.float32), by_count=-0.8)
    after = evidence.after(ops.Affine(2.0, 0.5)).after(row_step).after(ops.Affine(0.5, 0.0))

    step = cal.PriorShift(logits).fit_evidence(after)

    assert (step.op_.shift == 0).all()
    source = after.histogram
    target = step._target(after)
    assert np.array_equal(source.counts, target.counts)
    assert np.array_equal(source.scores, target.scores)


def test_a_class_that_did_not_shift_moves_in_few_of_many_draws():
    """Two standard errors, those of both sets of rows among them: about one in twenty."""
    prior = np.full(2000, 0.2)
    logits, labels = simulated(300, prior, 2)
    target, _ = simulated(300, prior, 3)
    evidence = Evidence(labelled_logits(logits, labels))
    source = evidence.histogram
    mean = label_shift.mean_probability(source)
    others = ScoreHistogram.of(unlabelled(cal.as_logits(target)), source.grid)

    found = label_shift.by_likelihood(source, others, mean)
    check = label_shift.by_confusion(source, others, mean)

    for estimate in (found, check):
        z = estimate.shift / np.sqrt(estimate.variance)
        assert z.std() == pytest.approx(1.0, abs=0.06)
        assert abs(z.mean()) < 0.1
    moved = cal.PriorShift(target).fit(logits, labels).op_.shift != 0
    assert 0.02 < moved.mean() < 0.08


# the likelihood


def test_the_root_is_what_em_comes_to():
    """Target 25: EM and Newton find one root; true 0.300, here 0.2995 from 40,000 rows."""
    logits, labels = simulated(40_000, [0.1], 7)
    target, _ = simulated(40_000, [0.3], 107, prior=[0.1])
    source = Evidence(labelled_logits(logits, labels)).histogram
    others = ScoreHistogram.of(unlabelled(cal.as_logits(target)), source.grid)
    mean = label_shift.mean_probability(source)

    found = mean + label_shift.by_likelihood(source, others, mean).shift

    p = [naive.sigmoid(x) for x in others.scores[0]]
    em = naive.em_prevalence(p, others.counts[0].tolist(), float(mean[0]), 400)
    assert found[0] == pytest.approx(em, abs=1e-10)
    assert found[0] == pytest.approx(0.29952, abs=5e-6)
    by_row = [naive.sigmoid(float(z)) for z in target[:, 0].astype(np.float32)]
    exact = np.mean([naive.sigmoid(float(z)) for z in logits[:, 0].astype(np.float32)])
    assert found[0] == pytest.approx(
        naive.em_prevalence(by_row, [1] * len(by_row), exact, 60), abs=2e-4
    )


@LAW
@given(
    source_counts=st.lists(st.integers(0, 5), min_size=8, max_size=8),
    target_counts=st.lists(st.integers(0, 9), min_size=8, max_size=8),
    low=st.sampled_from([-6.0, -2.0, -0.5]),
)
def test_the_shift_is_that_of_the_greatest_likelihood(source_counts, target_counts, low):
    grid = Grid(np.array([low]), np.array([low + 6.0]), 8)
    source, target = (
        ScoreHistogram(grid, np.array([counts]), zeros, zeros, sum(counts))
        for counts in (source_counts, target_counts)
        for zeros in [np.zeros((1, 8), np.int64)]
    )
    centres = [low + 0.75 * b for b in range(8)]

    mean = label_shift.mean_probability(source)
    found = label_shift.by_likelihood(source, target, mean)

    if not sum(source_counts):
        assert np.isnan(mean[0])
        assert found.shift[0] == 0
        return
    p = [naive.sigmoid(x) for x in centres]
    prior = math.fsum(n * q for n, q in zip(source_counts, p, strict=True)) / sum(source_counts)
    assert mean[0] == pytest.approx(prior, abs=1e-12)
    if not sum(target_counts):
        assert found.shift[0] == 0
        assert found.variance[0] == np.inf
        return
    half = 0.5 / sum(target_counts)
    bounds = min(half, prior), max(1 - half, prior)
    assert bounds[0] - 1e-12 <= mean[0] + found.shift[0] <= bounds[1] + 1e-12
    expected = naive.most_likely_prevalence(p, target_counts, prior, *bounds)
    values = [
        naive.mixture_log_likelihood(p, target_counts, prior, at)
        for at in (prior + found.shift[0], expected)
    ]
    assert values[0] >= values[1] - 1e-9
    if len({q for q, n in zip(p, target_counts, strict=True) if n}) > 1:
        assert prior + found.shift[0] == pytest.approx(expected, abs=1e-6)
    information = [
        sum(
            n * ((q - prior) / (prior * (1 - prior) + d * (q - prior))) ** 2
            for n, q in zip(counts, p, strict=True)
        )
        for counts, d in ((source_counts, 0.0), (target_counts, found.shift[0]))
    ]
    if min(information) > 1e-9:
        assert found.variance[0] == pytest.approx(sum(1 / i for i in information), rel=1e-9)


def test_the_rates_of_high_scores_are_those_of_the_rows():
    prior = [0.3, 0.1]
    logits, labels = simulated(400, prior, 6)
    target, _ = simulated(300, [0.5, 0.05], 7, prior=prior)
    # on the middles of bins, so that rows and bins say the same
    logits, target = (np.clip(np.floor(x * 4) / 4 + 0.125, -7.875, 7.875) for x in (logits, target))
    grid = Grid(np.full(2, -8.0), np.full(2, 8.0), 64)
    source = ScoreHistogram.of(labelled_logits(logits, labels), grid)
    others = ScoreHistogram.of(unlabelled(cal.as_logits(target)), grid)
    mean = label_shift.mean_probability(source)

    found = label_shift.by_confusion(source, others, mean)

    for c in range(2):
        cut = naive.logit(mean[c])
        high, positive, new = logits[:, c] >= cut, labels[:, c], target[:, c] >= cut
        expected = naive.bbse(high.tolist(), positive.tolist(), new.tolist())
        assert positive.mean() + found.shift[c] == pytest.approx(expected, abs=1e-12)
        tpr, fpr, rate = high[positive].mean(), high[~positive].mean(), new.mean()
        assert found.apart[c] == pytest.approx(tpr - fpr, abs=1e-12)
        noise = rate * (1 - rate) * (1 / 300 + 1 / 400) + found.shift[c] ** 2 * (
            tpr * (1 - tpr) / positive.sum() + fpr * (1 - fpr) / (~positive).sum()
        )
        assert found.variance[c] == pytest.approx(noise / (tpr - fpr) ** 2, rel=1e-12)


def test_a_source_nearer_to_one_than_half_a_cell_of_the_target_is_its_own_bound():
    grid = Grid(np.array([4.0]), np.array([8.0]), 8)
    zeros = np.zeros((1, 8), np.int64)
    source = ScoreHistogram(grid, np.array([[0, 0, 0, 5, 0, 0, 5, 0]]), zeros, zeros, 10)
    target = ScoreHistogram(grid, np.array([[0, 0, 0, 0, 0, 0, 2, 0]]), zeros, zeros, 2)

    shift, _ = label_shift.by_likelihood(source, target, label_shift.mean_probability(source))

    # two cells cannot tell a prevalence above 3/4; the source has more
    assert shift.tolist() == [0.0]


def test_few_newton_steps_find_the_root(monkeypatch):
    """From far away too; by halves alone it would take fifty."""
    logits, labels = simulated(2000, np.full(20, 0.1), 27)
    target, _ = simulated(2000, np.geomspace(0.01, 0.6, 20), 28, prior=np.full(20, 0.1))
    source = Evidence(labelled_logits(logits, labels)).histogram
    others = ScoreHistogram.of(unlabelled(cal.as_logits(target)), source.grid)
    mean = label_shift.mean_probability(source)
    expected = label_shift.by_likelihood(source, others, mean).shift
    steps = []
    slope = kernels_of_shift._slope.py_func
    monkeypatch.setattr(kernels_of_shift, "_slope", lambda *args: steps.append(1) or slope(*args))
    spread = mean * (1 - mean)
    p = 1 / (1 + np.exp(-others.scores))
    for c in range(20):
        a = (p[c] - mean[c]) / spread[c]
        half = 0.5 / others.counts[c].sum()
        bounds = half - mean[c], 1 - half - mean[c]
        steps.clear()

        found = kernels_of_shift._root.py_func(others.counts[c], a, *bounds)

        assert found == pytest.approx(expected[c], abs=1e-12)
        assert len(steps) <= 2 + 15


# what comes of it


def test_shifted_classes_are_moved_to_where_their_probabilities_are_right():
    prior = np.geomspace(0.02, 0.4, 60)
    new = np.where(np.arange(60) % 3 == 0, prior, np.clip(prior * 2.5, 0, 0.8))
    logits, labels = simulated(4000, prior, 8)
    target, truth = simulated(4000, new, 9, prior=prior)

    step = cal.PriorShift(target).fit(logits, labels)

    shifted = new != prior
    expected = np.log(new / (1 - new)) - np.log(prior / (1 - prior))
    assert (step.op_.shift[shifted] != 0).mean() > 0.95
    assert (step.op_.shift[~shifted] != 0).mean() < 0.2
    assert np.median(np.abs(step.op_.shift - expected)[shifted]) < 0.12
    assert findings_of(step)["moved"].classes == tuple(np.flatnonzero(step.op_.shift))
    values = np.array(findings_of(step)["moved"].values)
    assert np.abs(values / new[step.op_.shift != 0] - 1).mean() < 0.12
    assert "estimates_differ" not in findings_of(step)
    before, after = (
        np.logaddexp(0, np.where(truth, -z, z)).mean() for z in (target, step.transform(target))
    )
    best = target + expected
    least = np.logaddexp(0, np.where(truth, -best, best)).mean()
    assert after - least < 0.05 * (before - least)


def test_the_move_is_to_the_prevalence_shrunk_by_its_standard_error():
    logits, labels = simulated(3000, [0.2, 0.2], 10)
    target, _ = simulated(3000, [0.27, 0.13], 11, prior=[0.2, 0.2])
    source = Evidence(labelled_logits(logits, labels)).histogram
    others = ScoreHistogram.of(unlabelled(cal.as_logits(target)), source.grid)
    mean = label_shift.mean_probability(source)
    shift, variance = label_shift.by_likelihood(source, others, mean)

    step = cal.PriorShift(target).fit(logits, labels)

    for c in range(2):
        error = math.sqrt(variance[c])
        assert 2 < abs(shift[c]) / error < 9
        new = mean[c] + shift[c] * (1 - (error / shift[c]) ** 2)
        assert findings_of(step)["moved"].values[c] == pytest.approx(new, abs=1e-12)
        move = naive.logit(new) - naive.logit(mean[c])
        assert step.op_.shift[c] == pytest.approx(move, abs=1e-6)


def test_a_class_that_is_gone_is_moved_as_far_as_its_rows_can_tell():
    logits, labels = simulated(3000, [0.2], 12)
    target, _ = simulated(1000, [0.0], 13, prior=[0.2])

    step = cal.PriorShift(target).fit(logits, labels)

    (new,) = findings_of(step)["moved"].values
    assert 0.0005 < new < 0.02


def test_scores_that_tell_nothing_move_nothing():
    rng = np.random.default_rng(12)
    labels = rng.random((5000, 2)) < 0.3
    logits = rng.normal(size=labels.shape)
    logits[:, 1] += 2 * labels[:, 1]

    step = cal.PriorShift(logits + 0.3).fit(logits, labels)

    assert step.op_.shift[0] == 0
    assert step.op_.shift[1] > 0
    assert findings_of(step)["not_separated"].classes == (0,)
    assert abs(findings_of(step)["not_separated"].values[0]) < 0.05


def test_a_class_without_positives_is_not_moved():
    logits, labels = simulated(300, [0.3, 0.3], 13)
    labels[:, 1] = False

    step = cal.PriorShift(logits + 1.0).fit(logits, labels)

    assert step.op_.shift[1] == 0
    assert findings_of(step)["not_separated"].classes == (1,)


def test_other_rows_than_a_shift_of_prevalence_explains_are_listed():
    logits, labels = simulated(3000, [0.3], 14)
    target, _ = simulated(3000, [0.3], 15)
    sharper = target + 2 * (target > np.log(3 / 7))

    step = cal.PriorShift(sharper).fit(logits, labels)

    found = findings_of(step)["estimates_differ"]
    assert found.classes == (0,)
    # the rate of high scores is what it was, and so is the prevalence that it tells
    assert found.values[0] == pytest.approx(labels.mean(), abs=0.05)
    high = logits[:, 0] >= naive.logit(np.mean([naive.sigmoid(z) for z in logits[:, 0]]))
    new_high = sharper[:, 0] >= naive.logit(np.mean([naive.sigmoid(z) for z in logits[:, 0]]))
    by_rates = naive.bbse(high.tolist(), labels[:, 0].tolist(), new_high.tolist())
    mean = np.mean([naive.sigmoid(z) for z in logits[:, 0]])
    assert found.values[0] == pytest.approx(mean + by_rates - labels.mean(), abs=0.01)


def test_estimates_a_little_apart_are_not_listed_however_sure():
    """Scores too high: the estimates differ by many errors, and by little."""
    logits, labels = simulated(100_000, [0.1], 25)
    target, _ = simulated(100_000, [0.3], 26, prior=[0.1])
    high = target + 0.9
    source = Evidence(labelled_logits(logits, labels)).histogram
    others = ScoreHistogram.of(unlabelled(cal.as_logits(high)), source.grid)
    mean = label_shift.mean_probability(source)
    found = label_shift.by_likelihood(source, others, mean)
    check = label_shift.by_confusion(source, others, mean)
    gap = abs(found.shift[0] - check.shift[0])
    assert gap > 3 * math.sqrt(found.variance[0] + check.variance[0])
    assert gap < found.shift[0] / 2

    step = cal.PriorShift(high).fit(logits, labels)

    assert "moved" in findings_of(step)
    assert "estimates_differ" not in findings_of(step)


def test_the_target_is_given_raw_and_goes_through_the_steps_before():
    prior, new = [0.3, 0.05], [0.5, 0.15]
    logits, labels = simulated(2000, prior, 16)
    target, _ = simulated(2000, new, 17, prior=prior)
    distort = np.array([2.0, 0.5]), np.array([1.0, -2.0])
    raw, raw_target = (x * distort[0] + distort[1] for x in (logits, target))

    steps = [cal.PlattScaling(), cal.PriorShift(raw_target)]
    pipeline = cal.Pipeline(steps, cal.FixedThreshold()).fit(raw, labels)

    expected = [naive.logit(b) - naive.logit(a) for a, b in zip(prior, new, strict=True)]
    assert pipeline.calibrators_[1].op_.shift == pytest.approx(expected, abs=0.25)
    p = pipeline.predict_proba(raw_target).mean(axis=0)
    assert p == pytest.approx(new, rel=0.1)


def test_prevalences_that_are_given_are_taken_as_they_are():
    logits, labels = simulated(200, [0.3, 0.1], 18)
    means = [np.mean([naive.sigmoid(z) for z in column]) for column in logits.T]

    one = cal.PriorShift(prevalence=0.25).fit(logits, labels).op_
    each = cal.PriorShift(prevalence=[0.5, 0.01]).fit(logits, labels).op_

    assert one.shift == pytest.approx([naive.logit(0.25) - naive.logit(m) for m in means], abs=1e-3)
    expected = [naive.logit(q) - naive.logit(m) for q, m in zip([0.5, 0.01], means, strict=True)]
    assert each.shift == pytest.approx(expected, abs=1e-3)
    assert (one.scale == 1).all()


def test_a_class_of_saturated_probabilities_is_not_moved():
    logits, labels = np.array([[900.0, 0.0], [900.0, 1.0]]), np.array([[1, 0], [1, 1]])

    step = cal.PriorShift(prevalence=0.25).fit(logits, labels)

    assert step.op_.shift[0] == 0
    assert step.op_.shift[1] < 0
    assert findings_of(step)["saturated"].classes == (0,)


REFUSED = {
    "neither": ({}, "one of target and prevalence must be given, got neither"),
    "both": (
        {"target": np.zeros((2, 2)), "prevalence": 0.1},
        "one of target and prevalence must be given, got both",
    ),
    "zero": ({"prevalence": [0.1, 0.0]}, "must lie between 0 and 1, got 0 at class 1"),
    "one": ({"prevalence": 1.0}, "must lie between 0 and 1, got 1$"),
    "nan": ({"prevalence": [np.nan, 0.5]}, "must lie between 0 and 1, got nan at class 0"),
    "too many": ({"prevalence": [0.1] * 3}, r"got shape \(3,\) for 2 classes"),
    "other classes": (
        {"target": np.zeros((4, 3))},
        "target must have the 2 classes of the fitting rows, got 3 classes",
    ),
    "no rows": ({"target": np.zeros((0, 2))}, r"at least one row, got shape \(0, 2\)"),
    "not finite": ({"target": np.array([[0.0, np.inf]])}, "must be finite, got inf at row 0"),
}


@pytest.mark.parametrize(("options", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_said(options, text):
    with pytest.raises(ValueError, match=text):
        cal.PriorShift(**options).fit(*simulated(50, [0.3, 0.4], 19))


def test_a_target_that_is_a_path_is_remembered_and_one_in_memory_is_never_copied(tmp_path):
    logits, labels = simulated(100, [0.3, 0.4], 20)
    np.save(tmp_path / "new.npy", logits)
    path = tmp_path / "new.npy"

    assert clone(cal.PriorShift(logits)).target is logits
    options = []
    for target in (logits, path, str(path), [logits, logits], cal.as_logits(logits)):
        pipeline = cal.Pipeline([cal.PriorShift(target)], cal.FixedThreshold())
        made = pipeline.fit(logits, labels).decision_.header()["provenance"]["pipeline"][0]
        options.append(made["options"]["target"])
    shape = "array of shape (100, 2)"
    assert options == [shape, str(path), str(path), "list of length 2", shape]


def test_the_target_is_probabilities_where_the_fitting_rows_are():
    logits, labels = simulated(500, [0.3, 0.1], 21)
    target, _ = simulated(500, [0.5, 0.3], 22, prior=[0.3, 0.1])
    p, new = (1 / (1 + np.exp(-x)) for x in (logits, target))

    given = cal.PriorShift(new).fit(cal.as_logits(p, probabilities=True), labels)

    expected = cal.PriorShift(target).fit(logits, labels)
    assert given.op_.shift == pytest.approx(expected.op_.shift, abs=1e-3)


def test_the_command_line_takes_a_file_of_target_logits(tmp_path):
    logits, labels = simulated(400, [0.3, 0.1], 23)
    target, _ = simulated(400, [0.5, 0.3], 24, prior=[0.3, 0.1])
    np.save(tmp_path / "logits.npy", logits)
    np.savez(tmp_path / "new.npz", logits=target)
    sparse.save_npz(tmp_path / "labels.npz", sparse.csr_array(labels))
    rule = tmp_path / "rule.safetensors"
    arguments = [
        "fit", tmp_path / "logits.npy", tmp_path / "labels.npz", "-o", rule, "--rule",
        "fixed-threshold", "--calibrator", f"prior-shift:target={tmp_path / 'new.npz'}",
    ]  # fmt: skip

    result = CliRunner().invoke(main, [str(argument) for argument in arguments])

    assert result.exit_code == 0, result.stderr
    assert "2 of 2 classes have another prevalence in the target" in result.stderr
    expected = cal.PriorShift(target).fit(logits, labels).op_.shift
    assert np.array_equal(cal.load(rule).steps[0].shift, expected)
