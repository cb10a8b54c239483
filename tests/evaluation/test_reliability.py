"""`calibration_report`: published tables, closed forms, and the slow forms on ugly inputs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

import naive_reliability as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

import calibrate as cal
from calibrate.data import labelled_logits
from calibrate.decision import Decision
from calibrate.evaluation.brownian import brownian_exceeds
from calibrate.evaluation.cox import adjusted_p_values
from calibrate.ops import Affine, Threshold

NIAMEY = Path(__file__).parents[1] / "fixtures" / "precip_Niamey_2016.csv"
ADJACENT = float(np.nextafter(np.float32(1), np.float32(2)))
LOGITS = [np.nan, -np.inf, -800.0, -2.0, -1.0, 0.0, 0.5, 1.0, ADJACENT, 3.0, 40.0, 800.0, 3e38]
PARTS = ("", "_mcb", "_dsc", "_unc")

pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")


def report_of(logits, labels, steps=(), **options):
    decision = Decision(steps, Threshold(np.float32(0)), np.shape(logits)[1])
    return cal.calibration_report(decision, logits, labels, **options)


def calibrated_world(n_rows, n_classes, seed=0, prevalence=-3.0):
    """Logits that are right, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(prevalence, 1.5, (n_rows, n_classes)).astype(np.float32)
    return logits, rng.random(logits.shape) < special.expit(logits.astype(float))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("Logistic", (0.2057, 0.0171, 0.0555, 0.2442)),
        ("EMOS", (0.2320, 0.0183, 0.0305, 0.2442)),
        ("ENS", (0.2662, 0.0661, 0.0441, 0.2442)),
        ("EPC", (0.2343, 0.0223, 0.0323, 0.2442)),
    ],
)
def test_the_published_decomposition_of_rain_forecasts(method, expected):
    """Verification target 22: Brier score, MCB, DSC, UNC of Dimitriadis et al. (2021), Niamey."""
    data = np.genfromtxt(NIAMEY, delimiter=",", names=True, dtype=None, encoding=None)
    source = cal.as_logits(data[method][:, None], probabilities=True)

    found = report_of(source, data["obs"][:, None]).per_class

    assert len(data) == 92
    assert data["obs"].mean() == pytest.approx(0.5761, abs=5e-5)
    figures = [found[f"brier{part}"][0] for part in PARTS]
    np.testing.assert_allclose(figures, expected, rtol=0, atol=5e-5)


def test_a_uniform_world_has_its_closed_forms():
    """Verification target 5: Brier 1/6 = UNC 1/4 - DSC 1/12, log loss 1/2 nat, MCB 0."""
    n = 2000
    p = (np.arange(n) + 0.5) / n
    # each probability as often as it takes for its rate of positives to be right
    logits = np.repeat(special.logit(p), 2 * n)[:, None]
    labels = (np.arange(2 * n)[None, :] < (2 * np.arange(n) + 1)[:, None]).ravel()[:, None]

    found = report_of(logits, labels)

    for figures in (found.summary, {name: v[0] for name, v in found.per_class.items()}):
        assert figures["brier"] == pytest.approx(1 / 6, abs=1e-6)
        assert figures["brier_unc"] == pytest.approx(1 / 4, abs=1e-6)
        assert figures["brier_dsc"] == pytest.approx(1 / 12, abs=1e-6)
        assert figures["brier_mcb"] == pytest.approx(0, abs=1e-6)
        assert figures["log_loss"] == pytest.approx(1 / 2, abs=1e-5)
        assert figures["log_loss_mcb"] == pytest.approx(0, abs=1e-6)
        assert figures["ks"] == pytest.approx(0, abs=1e-6)


def test_the_debiased_error_is_0_on_average_when_all_is_right():
    """Verification target 24: mean 0 under calibration, where the plug-in error is not."""
    decision = Decision((), Threshold(np.float32(0)), 4000)
    errors = []
    for seed in range(7):
        evaluation = cal.evaluate(decision, *calibrated_world(300, 4000, seed), ranking=False)
        errors.append(evaluation.per_class["debiased_squared_ece"])

    noise = np.std(errors) / np.sqrt(np.size(errors))
    assert noise < 1e-5
    assert abs(np.mean(errors)) < 2.5 * noise


def test_the_debiased_error_finds_the_squared_error_that_there_is():
    logits, labels = calibrated_world(200_000, 1)
    p = special.expit(logits.astype(float))
    wrong = logits + np.float32(np.log(3))

    found = report_of(wrong, labels).per_class["debiased_squared_ece"][0]

    assert found == pytest.approx(((special.expit(wrong.astype(float)) - p) ** 2).mean(), rel=0.05)


@pytest.mark.parametrize(
    ("prevalence", "spread"), [(-5.0, 1.0), (-2.0, 1.5), (1.0, 2.0), (0.0, 4.0)]
)
def test_the_debiased_error_agrees_with_the_slow_form_in_many_groups(prevalence, spread):
    rng = np.random.default_rng(6)
    logits = rng.normal(prevalence, spread, (1500, 3)).astype(np.float32)
    labels = rng.random(logits.shape) < special.expit(0.7 * logits.astype(float))

    found = report_of(logits, labels)

    for c in range(3):
        expected = naive.debiased_squared_ece(logits[:, c], labels[:, c])
        assert found.per_class["debiased_squared_ece"][c] == pytest.approx(expected, abs=1e-14)
    expected = naive.debiased_squared_ece(logits, labels)
    assert found.summary["debiased_squared_ece"] == pytest.approx(expected, abs=1e-14)


@st.composite
def rows_and_steps(draw):
    """Logits, labels, scale and shift per class."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    logits = draw(arrays(np.float32, shape, elements=st.sampled_from(np.float32(LOGITS).tolist())))
    labels = draw(arrays(np.bool_, shape))
    for c in range(shape[1]):
        fill = draw(st.sampled_from([None, None, False, True]))
        if fill is not None:
            labels[:, c] = fill
    scale = draw(arrays(np.float32, shape[1], elements=st.sampled_from([0.5, 1.0, 2.0])))
    shift = draw(arrays(np.float32, shape[1], elements=st.sampled_from([-3.0, 0.0, 2.0])))
    return logits, labels, Affine(scale, shift)


def agree_by_class(found, scores, labels, atol=1e-12):
    for c in range(labels.shape[1]):
        line = scores[:, c], labels[:, c]
        expected = {
            f"{name}{part}": value
            for name, loss in (("brier", naive.brier), ("log_loss", naive.log_loss))
            for part, value in zip(PARTS, naive.decomposition(*line, loss), strict=True)
        }
        expected["ks"] = naive.ks_statistic(*line)
        expected["ks_p"] = naive.ks_p_value(*line)
        for name, value in expected.items():
            np.testing.assert_allclose(
                found.per_class[name][c], value, 1e-11, atol, err_msg=f"{name} of class {c}"
            )


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    case=rows_and_steps(),
    strip_cells=st.sampled_from([1, 1 << 24]),
    threads=st.sampled_from(["1", "3"]),
)
def test_decomposition_and_ks_of_each_class_agree_with_the_slow_form(case, strip_cells, threads):
    logits, labels, step = case
    with np.errstate(over="ignore"):
        scores = np.where(np.isnan(logits), np.float32(-np.inf), step.apply(logits))

    with (
        mock.patch("calibrate.data.dataset.STRIP_CELLS", strip_cells),
        mock.patch.dict(os.environ, CALIBRATE_NUM_THREADS=threads),
    ):
        found = report_of(logits, labels, (step,), nan="negative")

    agree_by_class(found, scores, labels)


def test_many_ties_agree_with_the_slow_form():
    rng = np.random.default_rng(3)
    logits = rng.normal(-1, 2, (60, 8)).round(1).astype(np.float32)
    labels = rng.random(logits.shape) < special.expit(0.5 * logits.astype(float) + 0.5)

    agree_by_class(report_of(logits, labels), logits, labels)


def test_pooled_figures_agree_with_the_slow_form_where_the_keys_part_the_scores():
    rng = np.random.default_rng(4)
    logits = rng.normal(-1, 2, (12, 8)).round(1).astype(np.float32)
    labels = rng.random(logits.shape) < special.expit(0.5 * logits.astype(float))

    found = report_of(logits, labels).summary

    for name, loss in (("brier", naive.brier), ("log_loss", naive.log_loss)):
        expected = naive.decomposition(logits, labels, loss)
        figures = [found[f"{name}{part}"] for part in PARTS]
        np.testing.assert_allclose(figures, expected, rtol=1e-11, atol=1e-13)
    assert found["ks"] == pytest.approx(naive.ks_statistic(logits, labels), rel=1e-8)
    assert found["ks_p"] == pytest.approx(naive.ks_p_value(logits, labels), rel=1e-7)


@pytest.mark.parametrize("name", ["brier", "log_loss"])
def test_the_parts_add_up_to_the_score(name):
    logits, labels = calibrated_world(500, 20)
    found = report_of(1.5 * logits, labels)

    for figures in (found.summary, found.per_class):
        score, mcb, dsc, unc = (figures[f"{name}{part}"] for part in PARTS)
        np.testing.assert_allclose(mcb - dsc + unc, score, rtol=0, atol=1e-15)
        assert np.min(mcb) > -1e-9
        assert np.min(dsc) > -1e-9


def test_the_recalibrated_score_is_that_of_scikit_learn():
    logits, labels = calibrated_world(3000, 3)
    logits = logits.round(1)

    found = report_of(logits, labels).per_class

    for c in range(3):
        p = IsotonicRegression().fit_transform(logits[:, c].astype(float), labels[:, c])
        recalibrated = found["brier"][c] - found["brier_mcb"][c]
        assert recalibrated == pytest.approx(((p - labels[:, c]) ** 2).mean(), rel=1e-9)


def test_an_increasing_map_changes_mcb_and_nothing_else():
    logits, labels = calibrated_world(400, 4)

    before, after = report_of(logits, labels), report_of(2 * logits - 1, labels)

    for part in ("brier_dsc", "brier_unc", "log_loss_dsc", "log_loss_unc"):
        np.testing.assert_allclose(after.per_class[part], before.per_class[part], rtol=1e-12)
    assert (after.per_class["brier_mcb"] != before.per_class["brier_mcb"]).all()


def test_a_score_that_is_right_leaves_ks_p_values_uniform():
    p_values = np.concatenate(
        [report_of(*calibrated_world(1000, 100, seed, 0.0)).per_class["ks_p"] for seed in range(5)]
    )

    assert stats.kstest(p_values, "uniform").pvalue > 0.001


@pytest.mark.parametrize("x", [0.05, 0.3, 0.7, 0.999, 1.001, 1.5, 3.0])
def test_both_series_of_brownian_motion_agree_with_the_closed_form(x):
    assert brownian_exceeds(np.array([x]))[0] == pytest.approx(
        naive.brownian_exceeds(x), rel=1e-11, abs=1e-15
    )


def test_brownian_motion_far_out_and_at_no_distance():
    found = brownian_exceeds(np.array([0.0, 10.0, np.inf, np.nan]))

    assert found[0] == 1.0
    assert found[1] == pytest.approx(4 * stats.norm.sf(10.0), rel=1e-12)
    assert found[2] == 0.0
    assert np.isnan(found[3])


COX = ("cox_slope", "cox_intercept", "cox_slope_se", "cox_intercept_se", "cox_p")


def agree_on_cox(found, logits, labels, rtol=2e-4):
    for c in range(labels.shape[1]):
        ours = [found.per_class[name][c] for name in COX]
        expected = naive.cox(logits[:, c], labels[:, c])
        np.testing.assert_allclose(ours, expected, rtol, 1e-4, err_msg=f"class {c}")


def test_cox_lines_agree_with_the_slow_form():
    rng = np.random.default_rng(5)
    logits = rng.normal(-1, 2, (300, 8)).round(1).astype(np.float32)
    slopes = np.array([1.0, 0.5, 1.5, 0.2, -0.5, 1.0, 1.0, 1.0])
    labels = rng.random(logits.shape) < special.expit(slopes * logits.astype(float) + 0.4)
    logits[:, 7] += 30.0  # far from 0, where the intercept is hard to tell

    agree_on_cox(report_of(logits, labels), logits, labels)


def test_cox_lines_are_those_of_scikit_learn():
    """Verification target 28, the logistic fit without a penalty."""
    logits, labels = calibrated_world(5000, 3, prevalence=-1.0)

    found = report_of(logits, labels).per_class

    for c in range(3):
        fit = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, [c]], labels[:, c])
        tolerance = 0.02 * found["cox_slope_se"][c]
        assert found["cox_slope"][c] == pytest.approx(fit.coef_[0, 0], abs=tolerance)
        assert found["cox_intercept"][c] == pytest.approx(fit.intercept_[0], abs=tolerance)


@pytest.mark.parametrize(
    ("scores", "positive"),
    [
        ([0.0, 1.0, 2.0], [0, 0, 0]),
        ([0.0, 1.0, 2.0], [1, 1, 1]),
        ([1.0, 1.0, 1.0], [0, 1, 0]),
        ([0.0, 1.0, 2.0], [0, 0, 1]),
        ([0.0, 1.0, 2.0], [1, 0, 0]),
        ([0.0, 1.0, 1.0], [0, 0, 1]),
        ([0.0, 1.0, 1.0], [1, 0, 1]),
        ([5.0], [1]),
    ],
)
def test_a_class_without_a_line_has_none(scores, positive):
    logits, labels = np.array(scores)[:, None], np.array(positive)[:, None]

    found = report_of(logits, labels)

    assert np.isnan(naive.cox(logits[:, 0], labels[:, 0])).all()
    for name in (*COX, "cox_q"):
        assert np.isnan(found.per_class[name]).all(), name
    assert found.summary["n_tested"] == 0
    assert len(found.miscalibrated) == 0


def test_classes_with_other_slopes_are_listed_the_surest_first():
    logits, labels = calibrated_world(4000, 12, prevalence=0.0)
    logits[:, 3] *= 2
    logits[:, 8] += 0.4

    found = report_of(logits, labels)

    assert found.miscalibrated.tolist() == [3, 8]
    assert found.summary["n_miscalibrated"] == 2
    assert found.summary["n_tested"] == 12
    assert found.per_class["cox_slope"][3] == pytest.approx(0.5, abs=0.1)
    assert found.per_class["expected_z"][8] > 3


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    p=arrays(np.float64, st.integers(0, 12), elements=st.sampled_from(
        [0.0, 0.001, 0.01, 0.02, 0.02 + 1e-9, 0.05, 0.3, 1.0, np.nan]
    )),
    rate=st.sampled_from([0.01, 0.049, 0.2]),
)  # fmt: skip
def test_false_discoveries_are_controlled_as_in_the_slow_form_and_in_scipy(p, rate):
    adjusted = adjusted_p_values(p)

    known = ~np.isnan(p)
    assert set(np.flatnonzero(adjusted <= rate)) == set(naive.false_discoveries_controlled(p, rate))
    np.testing.assert_array_equal(np.isnan(adjusted), ~known)
    if known.any():
        expected = stats.false_discovery_control(p[known])
        np.testing.assert_allclose(adjusted[known], expected, rtol=1e-14)


def test_the_null_band_holds_what_is_right_and_not_what_is_wrong():
    logits, labels = calibrated_world(400, 200)
    wrong = logits.copy()
    wrong[:, :100] += 1.5

    found = report_of(wrong, labels, n_draws=99, seed=7)

    for name in ("brier", "log_loss"):
        mcb, p = found.per_class[f"{name}_mcb"], found.per_class[f"{name}_mcb_p"]
        low, high = (found.per_class[f"{name}_mcb_null_{end}"] for end in ("low", "high"))
        assert (low <= high).all()
        assert np.mean((low[100:] <= mcb[100:]) & (mcb[100:] <= high[100:])) > 0.88
        assert np.mean(p[100:] <= 0.1) == pytest.approx(0.1, abs=0.08)
        assert np.mean(mcb[:100] > high[:100]) > 0.9
        assert found.summary[f"{name}_mcb"] > found.summary[f"{name}_mcb_null_high"]
        assert found.summary[f"{name}_mcb_p"] == 0.01


def test_drawn_labels_have_the_rates_of_their_probabilities():
    logits = np.repeat(special.logit([0.02, 0.5, 0.9]), 20_000).astype(np.float32)[:, None]
    report = report_of(logits, np.zeros_like(logits), n_draws=40)

    # a recalibration with three free rates leaves 3 / 2 cells of log loss to chance, on average
    # two of which are a chi-squared with 3 degrees of freedom
    mean = np.mean([report.per_class[f"log_loss_mcb_null_{end}"][0] for end in ("low", "high")])
    assert 60_000 * 2 * mean == pytest.approx(stats.chi2(3).mean(), abs=2.5)


def test_the_draws_follow_from_the_seed_alone(monkeypatch):
    logits, labels = calibrated_world(100, 9)
    before = report_of(logits, labels, n_draws=5, seed=3).as_dict()

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    monkeypatch.setattr("calibrate.data.dataset._FEWEST_CLASSES", 2)
    monkeypatch.setattr("calibrate.data.dataset.STRIP_CELLS", 1)

    assert report_of(logits, labels, n_draws=5, seed=3).as_dict() == before
    assert report_of(logits, labels, n_draws=5, seed=4).as_dict() != before


def test_blocks_and_threads_change_no_digit(monkeypatch):
    logits, labels = calibrated_world(200, 9)
    before = report_of(logits, labels).as_dict()

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "4")
    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", 40)

    assert report_of(logits, labels).as_dict() == before


def test_a_report_shares_its_figures_with_an_evaluation():
    logits, labels = calibrated_world(200, 5)
    step = Affine(np.float32(1.2), np.linspace(-1, 1, 5))
    decision = Decision((step,), Threshold(np.float32(0)), 5, list("abcde"))

    report = cal.calibration_report(decision, logits, labels)
    evaluation = cal.evaluate(decision, labelled_logits(logits, labels), ranking=False)

    shared = set(report.summary) & set(evaluation.summary)
    assert {"log_loss_per_row", "debiased_squared_ece", "expected_count_mae"} <= shared
    assert {n: report.summary[n] for n in shared} == {n: evaluation.summary[n] for n in shared}
    for name in ("expected", "expected_z", "ece", "debiased_squared_ece", "support"):
        np.testing.assert_array_equal(report.per_class[name], evaluation.per_class[name])
    assert report.class_names == tuple("abcde")


def test_the_report_is_plain_json():
    report = report_of(*calibrated_world(50, 4), n_draws=2)

    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))

    assert plain == report.as_dict()
    assert plain["summary"]["n_rows"] == 50
    for name in ("n_rows", "n_classes", "n_labels", "n_tested", "n_classes_without_positives"):
        assert type(report.summary[name]) is int, name


def test_the_callers_logits_are_not_sorted():
    logits, labels = calibrated_world(50, 4)
    before = logits.copy()

    report_of(logits, labels)

    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"false_discovery_rate": 0.0}, ValueError, "false_discovery_rate must lie between 0 and"),
        ({"false_discovery_rate": np.nan}, ValueError, "must lie between 0 and 1, got nan"),
        ({"n_draws": -1}, ValueError, "n_draws must be at least 0, got -1"),
        ({"n_draws": 2.0}, TypeError, r"n_draws must be a whole number, got 2\.0"),
        ({"seed": 4096}, ValueError, "seed must be from 0 to 4095, got 4096"),
        ({"seed": True}, TypeError, "seed must be a whole number, got True"),
        ({"level": 1.0}, ValueError, r"level must lie between 0 and 1, got 1\.0"),
    ],
)
def test_numbers_out_of_range_are_refused_before_any_row_is_read(
    monkeypatch, options, error, message
):
    monkeypatch.setattr("calibrate.data.logits.LogitSource.read", None)

    with pytest.raises(error, match=message):
        report_of(*calibrated_world(5, 2), **options)


def test_what_cannot_be_judged_is_refused():
    logits, labels = calibrated_world(5, 2)
    rows = labelled_logits(logits, labels)
    decision = Decision((), Threshold(np.float32(0)), 2)

    with pytest.raises(TypeError, match="must be a Decision or a fitted Pipeline, got object"):
        cal.calibration_report(object(), logits, labels)
    with pytest.raises(ValueError, match="must have the 2 classes of the fitted rule, got 1"):
        cal.calibration_report(decision, logits[:, :1], labels[:, :1])
    with pytest.raises(TypeError, match="already checked have their labels"):
        cal.calibration_report(decision, rows, labels)
    with pytest.raises(ValueError, match="rows must come without calibration steps"):
        cal.calibration_report(decision, rows.after(Affine(np.float32(1), np.float32(0))))
    with pytest.raises(ValueError, match="needs at least one row"):
        cal.calibration_report(decision, rows.take(np.empty(0, dtype=np.int64)))
