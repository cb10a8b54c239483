"""One threshold that keeps a risk below a level: both ways, against loops over everything."""

from __future__ import annotations

import math
from fractions import Fraction

import naive_risk as naive
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import FitWarning, RiskControl, ScoreHistogram, load, ops, risks
from calibrate.cli import main
from calibrate.data import labelled_logits
from calibrate.risks import (
    Risk,
    false_discovery_proportion,
    false_negative_rate,
    missed_any,
)
from calibrate.statistics import (
    binomial_p_values,
    hoeffding_bentkus_p_values,
    hoeffding_p_values,
    lattice,
    risk_curve,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::calibrate.FitWarning"),
    pytest.mark.filterwarnings("ignore:all logits lie in"),
]

SLOW = {
    "false_negative_rate": naive.false_negative_rate,
    "false_discovery_proportion": naive.false_discovery_proportion,
    "missed_any": naive.missed_any,
}

every_risk = pytest.mark.parametrize(
    "risk", [false_negative_rate, false_discovery_proportion, missed_any], ids=repr
)


def simulated(n_rows=400, n_classes=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.05, 0.5, n_classes)
    return (1.5 * rng.normal(size=labels.shape) + 2 * labels - 1.5).astype(np.float32), labels


SCORES = [-math.inf, -1e30, -17.0, -16.0, -0.03125, -1e-7, 0.0, 1e-7, 0.03125, 0.04, 16.0, 17.0]
SCORES += [float(np.nextafter(np.float32(0.5), np.float32(side))) for side in (0, 0.5, 1)]


@st.composite
def ugly(draw):
    """Few rows and classes, scores on, next to and beyond the points of the lattice."""
    n_rows, n_classes = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    cells = n_rows * n_classes
    scores = draw(st.lists(st.sampled_from(SCORES), min_size=cells, max_size=cells))
    labels = draw(st.lists(st.booleans(), min_size=cells, max_size=cells))
    shape = (n_rows, n_classes)
    return np.array(scores, np.float32).reshape(shape), np.array(labels).reshape(shape)


def as_threshold(kept, safe):
    """What a rule keeps for a threshold of the slow way; `safe` where there is none."""
    kept = safe if kept is None else kept
    return ops.LOWEST if kept == -math.inf else np.float32(kept)


@every_risk
@settings(deadline=None, max_examples=10)
@given(data=ugly())
def test_sums_at_every_threshold_are_those_of_loops(risk, data):
    scores, labels = data

    curve = risk_curve(labelled_logits(scores, labels, nan="negative"), risk)

    slow = SLOW[risk.name]
    expected = [sum(naive.losses(slow, scores, labels, t)) for t in naive.lattice()]
    counts = [sum(len(naive.predicted_at(row, t)) for row in scores) for t in naive.lattice()]
    np.testing.assert_allclose(curve.mean * len(scores), np.array(expected, float), atol=1e-12)
    assert curve.predicted.tolist() == counts
    assert [math.ceil(total) for total in curve.least_sums] == [math.ceil(t) for t in expected]


@settings(deadline=None, max_examples=40)
@given(
    data=ugly(),
    level=st.sampled_from(["0.1", "0.2", "0.25", "0.5", "0.6", "0.75", "0.9"]),
    risk=st.sampled_from([false_negative_rate, missed_any]),
)
def test_conformal_threshold_is_that_of_loops(data, level, risk):
    scores, labels = data

    rule = RiskControl(risk, float(level)).fit(scores, labels, nan="negative")

    expected = naive.conformal(SLOW[risk.name], scores, labels, level)
    assert rule.op_.threshold == as_threshold(expected, -math.inf)
    assert rule.report_.feasible == (expected is not None)


@every_risk
@settings(deadline=None, max_examples=10)
@given(
    data=ugly(),
    level=st.sampled_from([0.3, 0.6, 0.9]),
    confidence=st.sampled_from([0.2, 0.4, 0.75]),
)
def test_tested_threshold_is_that_of_loops(risk, data, level, confidence):
    scores, labels = data

    rule = RiskControl(risk, level, confidence).fit(scores, labels, nan="negative")

    order = naive.lattice() if risk.monotone else naive.lattice()[::-1]
    p_value = naive.binomial if risk.binary else naive.hoeffding_bentkus
    error = 1 - Fraction(repr(confidence))
    slow = SLOW[risk.name]
    expected = naive.learn_then_test(slow, scores, labels, level, error, order, p_value)
    assert rule.op_.threshold == as_threshold(expected, order[0])
    assert rule.report_.feasible == (expected is not None)


@settings(deadline=None, max_examples=60)
@given(
    total=st.fractions(0, 30, max_denominator=7),
    level=st.floats(0.01, 0.99),
)
def test_p_values_are_those_of_sums_term_by_term(total, level):
    for fast, slow in (
        (binomial_p_values, naive.binomial),
        (hoeffding_p_values, naive.hoeffding),
        (hoeffding_bentkus_p_values, naive.hoeffding_bentkus),
    ):
        assert fast([total], 30, level)[0] == pytest.approx(slow(total, 30, level), rel=1e-9)


def test_p_values_of_a_known_case():
    """Target 21: 80 lost of 1,000 rows, tested against 0.1."""
    sums = [Fraction(80)]

    assert hoeffding_p_values(sums, 1000, 0.1)[0] == pytest.approx(0.0935640, abs=5e-8)
    assert math.e * binomial_p_values(sums, 1000, 0.1)[0] == pytest.approx(0.0478732, abs=5e-8)
    assert hoeffding_bentkus_p_values(sums, 1000, 0.1)[0] == pytest.approx(0.0478732, abs=5e-8)
    assert binomial_p_values(sums, 1000, 0.1)[0] == pytest.approx(0.0176116, abs=5e-8)


def test_without_any_loss_the_p_value_is_the_probability_of_no_loss():
    """0 log 0 is 0, not nan: else the minimum would be Bentkus's, e times as large."""
    assert hoeffding_p_values([Fraction(0)], 50, 0.1)[0] == pytest.approx(0.9**50, rel=1e-12)
    assert hoeffding_bentkus_p_values([Fraction(0)], 50, 0.1)[0] == pytest.approx(0.9**50)


def test_seven_of_a_hundred_are_seven():
    """As floats, 100 * 0.07 is above 7, and would be taken for 8."""
    labels = np.zeros((100, 1))
    labels[:7] = 1
    binary = risk_curve(labelled_logits(np.zeros((100, 1)), labels), missed_any)
    rounded = risk_curve(labelled_logits(np.zeros((100, 1)), labels), false_negative_rate)

    for curve in (binary, rounded):
        assert curve.total[-1] == 7 * curve.scale
        p = binomial_p_values(curve.least_sums, 100, 0.2)[-1]
        assert p == pytest.approx(naive.binomial(7, 100, 0.2))


def test_thirds_that_add_up_to_one_are_one():
    labels = np.ones((3, 3))
    scores = np.array([[1.0, 1.0, -1.0]] * 3)

    curve = risk_curve(labelled_logits(scores, labels), false_negative_rate)

    middle = int(np.flatnonzero(curve.threshold == 0)[0])
    assert [math.ceil(total) for total in curve.least_sums][middle] == 1


def test_nine_rows_without_loss_are_enough_for_one_in_ten():
    labels = np.ones((9, 1))

    enough = RiskControl(missed_any, 0.1).fit(np.full((9, 1), 2.0), labels)
    too_few = RiskControl(missed_any, 0.1).fit(np.full((8, 1), 2.0), labels[:8])

    assert enough.op_.threshold == 2
    assert enough.report_.feasible
    assert too_few.op_.threshold == ops.LOWEST
    assert not too_few.report_.feasible


def test_a_p_value_at_the_bound_is_certain_enough():
    """One row without loss, tested against 3/4: as likely as 1 - 3/4 where the risk is 3/4."""
    rule = RiskControl(missed_any, 0.75, confidence=0.75).fit(np.ones((1, 2)), np.ones((1, 2)))

    assert rule.report_.statistic == 0.25
    assert rule.report_.feasible


def test_a_level_is_the_decimal_that_was_written():
    """As a float, 0.7 is a little less: 7 of 10 would be too many."""
    scores, labels = np.full((9, 1), 2.0), np.ones((9, 1))
    scores[:6] = -2.0

    rule = RiskControl(missed_any, 0.7).fit(scores, labels)

    assert rule.op_.threshold == 2.0


def test_a_level_may_be_as_high_as_a_loss():
    twice = Risk(
        lambda tp, predicted, true: 2.0 * (tp < true), bound=2, monotone=True, name="twice"
    )
    half = Risk(
        lambda tp, predicted, true: 0.5 * (tp < true), bound=0.5, monotone=True, name="half"
    )

    assert RiskControl(twice, 1.5).fit(*simulated()).report_.level == 1.5
    with pytest.raises(ValueError, match=r"level must be above 0 and below 0\.5, got 0\.75"):
        RiskControl(half, 0.75).fit(*simulated())


@pytest.mark.parametrize("confidence", [None, 0.9])
def test_all_thresholds_pass_and_none_passes_are_told_apart(confidence):
    """Nothing true: nothing needs to be predicted. Too few rows: everything does."""
    nothing_true = RiskControl(missed_any, 0.1, confidence).fit(*empty(rows=200))
    with pytest.warns(FitWarning, match="from 3 rows: all is predicted"):
        few_rows = RiskControl(missed_any, 0.1, confidence).fit(*empty(rows=3))

    assert nothing_true.op_.threshold == np.inf
    assert [f.code for f in nothing_true.findings_] == ["nothing_predicted"]
    assert few_rows.op_.threshold == ops.LOWEST
    assert [f.code for f in few_rows.findings_] == ["infeasible"]


def empty(rows):
    return np.zeros((rows, 2)), np.zeros((rows, 2))


def test_too_few_rows_for_false_discoveries_predict_nothing():
    with pytest.warns(FitWarning, match="from 3 rows: nothing is predicted"):
        rule = RiskControl(false_discovery_proportion, 0.1, 0.9).fit(*empty(rows=3))

    assert rule.predict(np.full((1, 2), 100.0)).nnz == 0


def test_all_false_predictions_leave_only_none():
    scores = np.full((200, 2), 3.0)

    with pytest.warns(FitWarning, match="only predicting nothing on the 200 fitting rows"):
        rule = RiskControl(false_discovery_proportion, 0.1, 0.9).fit(scores, np.zeros((200, 2)))

    assert rule.op_.threshold == 3.03125


def test_all_true_labels_let_everything_pass():
    rule = RiskControl(false_discovery_proportion, 0.1, 0.9).fit(
        np.full((200, 2), -99.0), np.ones((200, 2))
    )

    assert rule.op_.threshold == ops.LOWEST
    assert rule.report_.threshold is None
    assert rule.findings_ == ()


def test_cells_without_a_score_may_make_it_infeasible():
    scores = np.full((99, 1), np.nan)
    scores[:50] = 1

    with pytest.warns(FitWarning, match="all is predicted"):
        rule = RiskControl(missed_any, 0.1).fit(scores, np.ones((99, 1)), nan="negative")

    assert rule.report_.empirical_risk == pytest.approx(49 / 99)


def test_a_risk_that_may_rise_is_refused_without_confidence():
    with pytest.raises(ValueError, match=r"false_discovery_proportion may rise .* give a confid"):
        RiskControl(false_discovery_proportion).fit(*simulated())


def test_a_risk_that_rises_though_it_says_it_does_not_is_refused():
    rising = Risk(lambda tp, predicted, true: (predicted > tp) * 1.0, monotone=True, name="mine")

    with pytest.raises(ValueError, match="mine must not rise when more is predicted, as it says"):
        RiskControl(rising).fit(*simulated())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"risk": "fnr"}, TypeError, "risk must be a Risk, as calibrate.risks makes them, got 'f"),
        ({"risk": missed_any, "level": 0}, ValueError, "level must be above 0 and below 1, got 0"),
        ({"risk": missed_any, "level": 1}, ValueError, "level must be above 0 and below 1, got 1"),
        ({"risk": missed_any, "confidence": 1.0}, ValueError, "confidence must be above 0 and bel"),
        ({"risk": missed_any, "confidence": "x"}, TypeError, "confidence must be a number"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        RiskControl(**options).fit(*simulated())


def test_a_histogram_does_not_know_rows():
    histogram = ScoreHistogram.of(labelled_logits(*simulated()))

    with pytest.raises(TypeError, match="fitted from rows of logits, got a histogram"):
        RiskControl(missed_any).fit_from(histogram)


def test_it_wants_rows_of_its_own():
    assert RiskControl(missed_any).wants_rows_apart()


@pytest.mark.parametrize("confidence", [None, 0.9])
def test_twice_the_loss_at_twice_the_level_is_the_same(confidence):
    twice = Risk(
        lambda tp, predicted, true: 2 * false_negative_rate(tp, predicted, true),
        bound=2,
        monotone=True,
        name="twice",
    )
    data = simulated()

    one = RiskControl(false_negative_rate, 0.2, confidence).fit(*data)
    other = RiskControl(twice, 0.4, confidence).fit(*data)

    assert one.op_.same_as(other.op_)
    assert other.report_.empirical_risk == pytest.approx(2 * one.report_.empirical_risk)
    if confidence is None:
        assert other.report_.statistic == pytest.approx(2 * one.report_.statistic)


def test_the_report_says_what_the_labels_say():
    scores, labels = simulated()

    rule = RiskControl(false_negative_rate, 0.2).fit(scores, labels)

    predicted = rule.predict(scores).toarray()
    true = labels.sum(axis=1)
    lost = np.where(true > 0, 1 - (predicted & labels).sum(axis=1) / np.maximum(true, 1), 0)
    assert rule.report_.empirical_risk == pytest.approx(lost.mean())
    assert rule.report_.statistic == pytest.approx((lost.sum() + 1) / 401)
    assert rule.report_.labels_per_row == predicted.sum() / 400
    assert rule.report_.threshold == rule.op_.threshold


def test_a_loss_is_the_nearest_multiple_and_sums_have_room(monkeypatch):
    labels = np.ones((3, 3))
    data = labelled_logits(np.array([[1.0, -1.0, -1.0]] * 3), labels)
    curve = risk_curve(data, false_negative_rate)
    middle = int(np.flatnonzero(curve.threshold == 0)[0])

    # rounded up three times, and yet no more than 2
    assert curve.total[middle] == 3 * round(Fraction(2, 3) * curve.scale) > 2 * curve.scale
    assert math.ceil(curve.least_sums[middle]) == 2

    monkeypatch.setattr("calibrate.statistics.risk_curves._MOST", 12)
    coarse = risk_curve(data, false_negative_rate)
    assert coarse.scale == 1 << 10
    assert coarse.total.max() == 3 << 10


def test_many_rows_are_the_sum_of_few(monkeypatch):
    scores, labels = simulated(n_rows=1500)
    whole = risk_curve(labelled_logits(scores, labels), false_negative_rate)

    monkeypatch.setattr("calibrate.statistics.risk_curves._AT_ONCE", 1)
    by_row = risk_curve(labelled_logits(scores, labels), false_negative_rate)

    assert np.array_equal(whole.total, by_row.total)
    assert np.array_equal(whole.predicted, by_row.predicted)


def test_the_lattice_is_the_same_for_all_data():
    assert [float(t) for t in lattice()[1:]] == naive.lattice()[1:]
    assert lattice()[0] == ops.LOWEST


def world(rng, n_rows, n_classes=6):
    """Rows whose labels, and scores, depend on one number of the row."""
    shared = rng.normal(size=(n_rows, 1))
    labels = rng.random((n_rows, n_classes)) < 1 / (1 + np.exp(1.2 - 1.5 * shared))
    noise = rng.normal(size=labels.shape) + rng.normal(size=(n_rows, 1))
    return (noise + 1.5 * labels - 1).astype(np.float32), labels


def risk_of_new_rows(risk, seed=1):
    """Mean risk of many rows at each threshold."""
    return risk_curve(labelled_logits(*world(np.random.default_rng(seed), 40_000)), risk).mean


@pytest.mark.parametrize("n_rows", [30, 200])
def test_the_mean_risk_of_new_rows_is_at_most_the_level(n_rows):
    """Between ``level - 2 / (n + 1)`` and `level`, classes dependent (theorems 1 and 2)."""
    rng, repetitions = np.random.default_rng(0), 500
    truth = dict(zip(lattice().tolist(), risk_of_new_rows(false_negative_rate), strict=True))

    reached = np.array(
        [
            truth[
                float(RiskControl(false_negative_rate, 0.1).fit(*world(rng, n_rows)).op_.threshold)
            ]
            for _ in range(repetitions)
        ]
    )

    error = reached.std() / math.sqrt(repetitions) + 0.001
    assert reached.mean() < 0.1 + 3 * error
    assert reached.mean() > 0.1 - 2 / (n_rows + 1) - 3 * error


@every_risk
def test_a_risk_above_the_level_is_as_rare_as_promised(risk):
    rng, repetitions, level = np.random.default_rng(0), 200, 0.3 if risk.monotone else 0.5
    truth = dict(zip(lattice().tolist(), risk_of_new_rows(risk), strict=True))

    broken = [
        truth[float(RiskControl(risk, level, 0.8).fit(*world(rng, 300)).op_.threshold)] > level
        for _ in range(repetitions)
    ]

    assert np.mean(broken) < 0.2 + 3 * math.sqrt(0.2 * 0.8 / repetitions)
    assert np.mean(broken) > 0  # it is not bought by predicting all, or nothing


def test_the_command_line_fits_and_shows_it(tmp_path):
    scores, labels = simulated()
    np.save(tmp_path / "logits.npy", scores)
    np.save(tmp_path / "labels.npy", labels)
    files = [str(tmp_path / name) for name in ("logits.npy", "labels.npy")]
    rule = str(tmp_path / "rule.safetensors")
    text = "risk-control:risk=false-negative-rate,level=0.2,confidence=0.9"

    fitted = CliRunner().invoke(
        main, ["fit", *files, "--rule", text, "-o", rule, "--folds", "0", "--quiet"]
    )
    shown = CliRunner().invoke(main, ["inspect", rule])

    assert fitted.exit_code == 0, fitted.output
    assert isinstance(load(rule).rule, ops.Threshold)
    assert "false_negative_rate of new rows at most 0.2 with confidence 0.9" in " ".join(
        shown.output.split()
    )
    assert max(len(line) for line in shown.output.splitlines()) <= 80


def test_the_command_line_knows_no_other_risk(tmp_path):
    for name in ("logits.npy", "labels.npy"):
        np.save(tmp_path / name, np.eye(2))

    result = CliRunner().invoke(
        main,
        ["fit", *(str(tmp_path / name) for name in ("logits.npy", "labels.npy")), "--rule",
         "risk-control:risk=fnr", "-o", str(tmp_path / "rule")],
    )  # fmt: skip

    assert result.exit_code == 2
    assert f"'fnr' is not one of the risks: {', '.join(risks.NAMED)}" in " ".join(
        result.output.split()
    )
