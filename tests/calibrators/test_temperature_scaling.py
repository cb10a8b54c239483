import warnings

import naive
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from calibrate import FitWarning, ScoreHistogram, TemperatureScaling
from calibrate.data import dataset, labelled_logits, logits

KINDS = [(False, False), (False, True), (True, False), (True, True)]
every_kind = pytest.mark.parametrize(("per_class", "bias"), KINDS)


def stepped(n_rows=600, n_classes=4, seed=0):
    """Scores in quarters, so that each distinct one has a bin of its own, and their labels."""
    rng = np.random.default_rng(seed)
    scores = np.clip(np.round(rng.normal(size=(n_rows, n_classes)) * 8) / 4, -5, 5)
    slope, shift = np.linspace(0.4, 1.6, n_classes), np.linspace(-1.5, 0.5, n_classes)
    p = 1 / (1 + np.exp(-(slope * scores + shift)))
    return scores, rng.random(scores.shape) < p


def fit_quietly(calibrator, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return calibrator.fit(*arguments)


def line_of(calibrator, n_classes):
    """Slope and shift of each class, float64."""
    values = calibrator.op_.scale, calibrator.op_.shift
    return [np.broadcast_to(v, n_classes).astype(np.float64) for v in values]


# the optimum


@pytest.mark.parametrize("bias", [False, True])
def test_one_temperature_is_that_of_a_general_optimiser_on_all_cells(bias):
    scores, labels = stepped(n_rows=150)

    fitted = TemperatureScaling(bias=bias).fit(scores, labels)

    slope, shift = naive.logistic_line(scores.ravel(), labels.ravel(), intercept=bias)
    assert fitted.op_.scale == pytest.approx(slope, abs=2e-6)
    assert fitted.op_.shift == pytest.approx(shift, abs=2e-6)
    assert fitted.findings_ == ()


@pytest.mark.parametrize("bias", [False, True])
def test_one_temperature_for_each_class_is_unpenalised_logistic_regression(bias):
    scores, labels = stepped()

    fitted = TemperatureScaling(per_class=True, bias=bias).fit(scores, labels)

    slope, shift = line_of(fitted, 4)
    for c in range(4):
        peer = LogisticRegression(C=np.inf, fit_intercept=bias, tol=1e-10, max_iter=1000)
        peer.fit(scores[:, [c]], labels[:, c])
        assert slope[c] == pytest.approx(peer.coef_[0, 0], abs=3e-6)
        assert shift[c] == pytest.approx(peer.intercept_[0] if bias else 0.0, abs=3e-6)


@every_kind
def test_on_scores_of_any_value_the_histogram_stays_within_a_fiftieth_of_a_standard_error(
    per_class, bias
):
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(2000, 2)) * 2
    labels = rng.random(scores.shape) < 1 / (1 + np.exp(-(0.8 * scores - 1)))

    slope, _ = line_of(TemperatureScaling(per_class, bias).fit(scores, labels), 2)

    for c in range(2):
        x, y = (a[:, c] if per_class else a.ravel() for a in (scores, labels))
        exact = naive.logistic_line(x, y, intercept=bias)
        p = np.array([naive.sigmoid(exact[0] * z + exact[1]) for z in x])
        weight = p * (1 - p)
        spread = (weight * x**2).sum() - bias * (weight * x).sum() ** 2 / weight.sum()
        assert abs(slope[c] - exact[0]) < 0.02 / np.sqrt(spread)


def test_a_network_twice_too_sure_has_temperature_two():
    rng = np.random.default_rng(2)
    true = rng.normal(size=(40_000, 1)) * 2
    labels = rng.random(true.shape) < 1 / (1 + np.exp(-true))

    fitted = TemperatureScaling().fit(2 * true, labels)

    assert 1 / fitted.op_.scale == pytest.approx(2.0, rel=0.03)


@every_kind
def test_a_histogram_serves_as_well_as_the_rows(per_class, bias):
    scores, labels = stepped()
    histogram = ScoreHistogram.of(labelled_logits(scores, labels))

    from_rows = TemperatureScaling(per_class, bias).fit(scores, labels)
    from_histogram = TemperatureScaling(per_class, bias).fit_from(histogram)

    assert from_rows.op_.scale.tolist() == from_histogram.op_.scale.tolist()
    assert from_rows.op_.shift.tolist() == from_histogram.op_.shift.tolist()


@every_kind
def test_threads_and_blocks_change_no_temperature(per_class, bias, monkeypatch):
    scores, labels = stepped()
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    one = TemperatureScaling(per_class, bias).fit(scores, labels).op_

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "3")
    monkeypatch.setattr(logits, "BLOCK_CELLS", 100)
    monkeypatch.setattr(dataset, "STRIP_CELLS", 100)
    other = TemperatureScaling(per_class, bias).fit(scores, labels).op_

    assert one.scale.tolist() == other.scale.tolist()
    assert one.shift.tolist() == other.shift.tolist()


@pytest.mark.parametrize("bias", [False, True])
def test_without_classes_of_their_own_the_step_serves_any_number(bias):
    scores, labels = stepped()

    fitted = TemperatureScaling(bias=bias).fit(scores, labels)

    assert (fitted.op_.scale.shape, fitted.op_.shift.shape) == ((), ())


# cases without an optimum


@pytest.mark.parametrize("bias", [False, True])
def test_one_sided_and_constant_classes_take_the_pooled_values_and_are_listed(bias):
    scores, labels = stepped(n_classes=5)
    labels[:, 1], labels[:, 2], scores[:, 3] = False, True, 0.75

    with pytest.warns(FitWarning) as given:
        fitted = TemperatureScaling(per_class=True, bias=bias).fit(scores, labels)

    slope, shift = line_of(fitted, 5)
    pooled = line_of(TemperatureScaling(bias=bias).fit(scores, labels), 1)
    assert slope[1:4].tolist() == [pooled[0][0]] * 3
    assert shift[1:4].tolist() == [pooled[1][0]] * 3
    assert slope[0] != slope[4] != pooled[0][0]
    assert [(f.code, f.classes) for f in fitted.findings_] == [("pooled", (1, 2, 3))]
    assert [str(w.message) for w in given] == [
        "TemperatureScaling: 3 of 5 classes have no positives, no negatives or equal scores: "
        "they take the pooled temperature"
    ]


@pytest.mark.parametrize("bias", [False, True])
def test_a_class_ranked_the_wrong_way_round_keeps_its_order_and_is_listed(bias):
    scores, labels = stepped(n_classes=2)
    scores[:, 1] *= -1

    with pytest.warns(FitWarning, match="1 of 2 classes have a fit that stopped at the bound"):
        fitted = TemperatureScaling(per_class=True, bias=bias).fit(scores, labels)

    assert fitted.op_.scale[1] == np.float32(0.05)
    (finding,) = fitted.findings_
    assert (finding.code, finding.classes) == ("slope_bound", (1,))
    assert finding.values == (pytest.approx(0.05),)


@pytest.mark.parametrize("gap", [0.25, 1.0, 10.0])
@pytest.mark.parametrize("bias", [False, True])
def test_a_class_whose_scores_separate_its_positives_stays_finite_and_is_listed(gap, bias):
    scores, labels = stepped(n_classes=2)
    scores[:, 1] = gap * np.where(labels[:, 1], 1, -1) * np.repeat([1, 2], 300)

    fitted = fit_quietly(TemperatureScaling(per_class=True, bias=bias), scores, labels)

    assert 0.05 < fitted.op_.scale[1] <= 50
    assert np.isfinite(fitted.op_.shift).all()
    assert [(f.code, f.classes) for f in fitted.findings_] == [("slope_bound", (1,))]


@pytest.mark.parametrize("bias", [False, True])
def test_one_temperature_at_its_bound_is_a_finding(bias):
    scores, labels = stepped()

    fitted = fit_quietly(TemperatureScaling(bias=bias), -scores, labels)

    assert fitted.op_.scale == np.float32(0.05)
    assert [f.code for f in fitted.findings_] == ["slope_bound"]


@every_kind
@pytest.mark.parametrize("value", [0.3, -12.5])
def test_equal_scores_everywhere_still_give_an_increasing_map(per_class, bias, value):
    scores, labels = np.full((9, 3), value), np.eye(9, 3)

    fitted = fit_quietly(TemperatureScaling(per_class, bias), scores, labels)

    slope, shift = line_of(fitted, 3)
    assert ((slope >= 0.049) & (slope <= 50.1)).all()
    assert np.isfinite(shift).all()


@every_kind
def test_positives_everywhere_still_give_an_increasing_map(per_class, bias):
    scores, _ = stepped(n_rows=50)

    fitted = fit_quietly(TemperatureScaling(per_class, bias), scores, np.ones((50, 4)))

    slope, shift = line_of(fitted, 4)
    assert ((slope >= 0.049) & (slope <= 50.1)).all()
    assert np.isfinite(shift).all()


@every_kind
def test_without_any_positive_there_is_nothing_to_fit(per_class, bias):
    scores, labels = stepped(n_rows=30)

    message = "^labels must hold at least one positive, got none in 30 rows of 4 classes$"
    with pytest.raises(ValueError, match=message):
        TemperatureScaling(per_class, bias).fit(scores, 0 * labels)


@every_kind
def test_cells_without_a_score_take_no_part(per_class, bias):
    scores, labels = stepped()
    holes = np.random.default_rng(1).random(scores.shape) < 0.2
    gone = np.where(holes, -np.inf, scores)

    fitted = TemperatureScaling(per_class, bias).fit(gone, labels, nan="negative")

    slope, shift = line_of(fitted, 4)
    kept = ~holes
    x, y = (
        (scores[kept[:, 0], 0], labels[kept[:, 0], 0])
        if per_class
        else (scores[kept], labels[kept])
    )
    assert (slope[0], shift[0]) == pytest.approx(
        naive.logistic_line(x, y, intercept=bias), abs=3e-6
    )
