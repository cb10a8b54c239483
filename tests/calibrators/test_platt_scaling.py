import math
import warnings

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import FitWarning, PlattScaling, ScoreHistogram, TemperatureScaling
from calibrate.data import dataset, labelled_logits, logits

LAW = settings(derandomize=True, deadline=None, max_examples=60)


def stepped(n_rows=500, n_classes=4, seed=0):
    """Scores in quarters, so that each distinct one has a bin of its own, and their labels."""
    rng = np.random.default_rng(seed)
    scores = np.clip(np.round(rng.normal(size=(n_rows, n_classes)) * 8) / 4, -5, 5)
    slope, shift = np.linspace(0.4, 1.6, n_classes), np.linspace(-1.5, 0.5, n_classes)
    p = 1 / (1 + np.exp(-(slope * scores + shift)))
    return scores, rng.random(scores.shape) < p


def fit_quietly(calibrator, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return calibrator.fit(*arguments, **options)


def sigmoids(calibrated):
    return np.array([[naive.sigmoid(float(z)) for z in row] for row in calibrated])


# the optimum


def test_the_fixture_of_libsvm():
    """Verification target 11."""
    fitted = PlattScaling().fit(np.array([[5.0], [-4.0], [1.0]]), np.array([[1], [0], [0]]))

    assert fitted.op_.scale[0] == pytest.approx(0.2026145, abs=1e-6)
    assert fitted.op_.shift[0] == pytest.approx(-0.6523667, abs=1e-6)


def test_the_separable_fixture_and_that_it_needs_no_finding():
    """Verification target 11."""
    scores, labels = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([[0], [0], [1], [1]])

    fitted = PlattScaling().fit(scores, labels)

    assert fitted.op_.scale[0] == pytest.approx(0.673996, abs=1e-6)
    assert fitted.op_.shift[0] == pytest.approx(0.0, abs=1e-6)
    assert fitted.findings_ == ()


def test_each_class_is_the_line_of_a_general_optimiser_on_smoothed_targets():
    scores, labels = stepped(n_rows=200)

    fitted = PlattScaling().fit(scores, labels)

    for c in range(4):
        line = naive.logistic_line(scores[:, c], naive.platt_targets(labels[:, c]))
        assert (fitted.op_.scale[c], fitted.op_.shift[c]) == pytest.approx(line, abs=3e-6)


def test_two_scores_are_calibrated_to_their_smoothed_frequencies():
    """Verification target 11."""
    scores = np.repeat([[-1.0], [2.0]], [40, 60], axis=0)
    labels = np.zeros((100, 1))
    labels[:8], labels[40:80] = 1, 1

    p = sigmoids(PlattScaling().fit(scores, labels).transform(scores))

    targets = naive.platt_targets(labels[:, 0])
    assert p[0, 0] == pytest.approx(targets[:40].mean(), abs=1e-6)
    assert p[99, 0] == pytest.approx(targets[40:].mean(), abs=1e-6)


def test_probabilities_add_up_to_the_targets_alone_and_weighted_by_the_scores():
    """Verification target 12."""
    scores, labels = stepped()

    p = sigmoids(PlattScaling().fit(scores, labels).transform(scores))

    for c in range(4):
        t, x = naive.platt_targets(labels[:, c]), scores[:, c]
        assert p[:, c].sum() == pytest.approx(t.sum(), abs=2e-3)
        assert (p[:, c] * x).sum() == pytest.approx((t * x).sum(), abs=2e-3)


def test_a_shift_before_it_changes_nothing():
    """Verification target 12."""
    scores, labels = stepped()
    log_weight = np.log([90.0, 12.0, 1.0, 0.2])

    plain = PlattScaling().fit(scores, labels).transform(scores)
    shifted = PlattScaling().fit(scores - log_weight, labels).transform(scores - log_weight)

    np.testing.assert_allclose(shifted, plain, atol=2e-5)


def test_threads_blocks_and_a_histogram_change_no_line(monkeypatch):
    scores, labels = stepped()
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    one = PlattScaling().fit(scores, labels).op_

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "3")
    monkeypatch.setattr(logits, "BLOCK_CELLS", 100)
    monkeypatch.setattr(dataset, "STRIP_CELLS", 100)
    other = PlattScaling().fit(scores, labels).op_
    from_histogram = PlattScaling().fit_from(ScoreHistogram.of(labelled_logits(scores, labels))).op_

    assert one.scale.tolist() == other.scale.tolist() == from_histogram.scale.tolist()
    assert one.shift.tolist() == other.shift.tolist() == from_histogram.shift.tolist()


def test_cells_without_a_score_take_no_part():
    scores, labels = stepped(n_rows=200)
    holes = np.random.default_rng(1).random(scores.shape) < 0.2

    fitted = PlattScaling().fit(np.where(holes, np.nan, scores), labels, nan="negative")

    kept = ~holes[:, 2]
    line = naive.logistic_line(scores[kept, 2], naive.platt_targets(labels[kept, 2]))
    assert (fitted.op_.scale[2], fitted.op_.shift[2]) == pytest.approx(line, abs=3e-6)


# cases without an optimum


def test_one_sided_classes_take_the_pooled_line_and_are_listed():
    scores, labels = stepped()
    labels[:, 1], labels[:, 3] = False, True

    with pytest.warns(FitWarning) as given:
        fitted = PlattScaling().fit(scores, labels)

    pooled = TemperatureScaling(bias=True).fit(scores, labels).op_
    assert fitted.op_.scale[[1, 3]].tolist() == [pooled.scale.item()] * 2
    assert fitted.op_.shift[[1, 3]].tolist() == [pooled.shift.item()] * 2
    assert [(f.code, f.classes) for f in fitted.findings_] == [("pooled", (1, 3))]
    assert [str(w.message) for w in given] == [
        "PlattScaling: 2 of 4 classes have no positives or no negatives: they take the pooled line"
    ]


@pytest.mark.parametrize("value", [0.0, -1.75, 8.0, -40.0, 300.0])
def test_constant_classes_take_the_pooled_slope_and_the_intercept_of_their_frequency(value):
    scores, labels = stepped()
    scores[:, 0] = value

    with pytest.warns(FitWarning, match="1 of 4 classes have equal scores: they take the pooled"):
        fitted = PlattScaling().fit(scores, labels)

    pooled = fit_quietly(TemperatureScaling(bias=True), scores, labels).op_
    p = naive.sigmoid(float(fitted.transform(scores)[0, 0]))
    assert fitted.op_.scale[0] == pooled.scale
    assert p == pytest.approx(naive.platt_targets(labels[:, 0]).mean(), rel=1e-4)
    assert [(f.code, f.classes) for f in fitted.findings_] == [("constant_scores", (0,))]


def test_a_class_ranked_the_wrong_way_round_keeps_its_order_and_is_listed_with_its_slope():
    scores, labels = stepped()
    scores[:, 2] *= -1

    with pytest.warns(FitWarning, match="1 of 4 classes have a fit that stopped at the bound of"):
        fitted = PlattScaling().fit(scores, labels)

    (finding,) = fitted.findings_
    assert (finding.code, finding.classes) == ("slope_bound", (2,))
    assert finding.values == (pytest.approx(0.05),)
    p = sigmoids(fitted.transform(scores)[:, [2]])
    assert p.sum() == pytest.approx(naive.platt_targets(labels[:, 2]).sum(), abs=2e-3)


def test_each_kind_of_finding_warns_once():
    scores, labels = stepped(n_classes=8)
    labels[:, :2], scores[:, 2:4], scores[:, 4:6] = False, 1.25, -scores[:, 4:6]

    with pytest.warns(FitWarning) as given:
        fitted = PlattScaling().fit(scores, labels)

    assert [f.code for f in fitted.findings_] == ["pooled", "constant_scores", "slope_bound"]
    assert [f.message[:16] for f in fitted.findings_] == ["2 of 8 classes h"] * 3
    assert [str(w.message) for w in given] == [
        f"PlattScaling: {f.message}" for f in fitted.findings_
    ]


@pytest.mark.parametrize("n_rows", [1, 2])
def test_one_class_of_one_or_two_rows_is_fitted(n_rows):
    fitted = fit_quietly(PlattScaling(), np.arange(n_rows)[:, None] - 3.0, np.eye(n_rows, 1))

    assert 0.05 <= fitted.op_.scale[0] <= 50
    assert np.isfinite(fitted.op_.shift[0])


def test_without_any_positive_there_is_nothing_to_fit():
    message = "^labels must hold at least one positive, got none in 3 rows of 2 classes$"

    with pytest.raises(ValueError, match=message):
        PlattScaling().fit(np.ones((3, 2)), np.zeros((3, 2)))


numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.0000001, -30.0, 30.0, 1e6, -1e6]),
    st.floats(-50, 50, width=32),
    st.just(-math.inf),
)


@LAW
@given(st.data(), st.integers(1, 10), st.integers(1, 3))
def test_whatever_comes_the_map_is_finite_increasing_and_within_its_bounds(data, rows, classes):
    size = {"min_size": rows * classes, "max_size": rows * classes}
    scores = np.array(data.draw(st.lists(numbers, **size))).reshape(rows, classes)
    labels = np.array(data.draw(st.lists(st.booleans(), **size))).reshape(rows, classes)
    labels[0, 0] = True

    for calibrator in (PlattScaling(), TemperatureScaling(True, True), TemperatureScaling(True)):
        fitted = fit_quietly(calibrator, scores, labels, nan="negative")
        assert ((fitted.op_.scale >= np.float32(0.05)) & (fitted.op_.scale <= 50)).all()
        assert np.isfinite(fitted.op_.shift).all()


@pytest.mark.parametrize("value", [3e38, -3e38, 1e30])
def test_scores_near_the_end_of_float32_are_fitted_too(value):
    scores, labels = stepped()
    scores[:, 1] = value
    scores[5, 2] = value

    fitted = fit_quietly(PlattScaling(), scores, labels)

    assert np.isfinite(fitted.op_.shift).all()
    assert ((fitted.op_.scale >= np.float32(0.05)) & (fitted.op_.scale <= 50)).all()
