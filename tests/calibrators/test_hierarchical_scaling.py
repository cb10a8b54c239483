import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulations import (
    competing,
    log_loss,
    mean_average_precision,
    of_weighted_loss,
    stepped,
    well_calibrated,
    with_missing_labels,
)

import calibrate as cal
from calibrate import FitWarning, HierarchicalScaling, PlattScaling, ScoreHistogram
from calibrate.data import labelled_logits
from calibrate.ops import Affine, PiecewiseLinear, RowAffine, flat

LAW = settings(derandomize=True, deadline=None, max_examples=20)


def fit_quietly(calibrator, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return calibrator.fit(*arguments, **options)


def kinds(fitted):
    return [type(op) for op in flat((fitted.op_,))]


def codes(fitted):
    return [(finding.code, finding.classes) for finding in fitted.findings_]


# what it is for


@pytest.mark.parametrize("seed", range(3))
def test_rare_classes_are_no_worse_than_by_platt_or_by_one_map_on_rows_not_seen(seed):
    rng = np.random.default_rng(seed)
    truth, labels = well_calibrated(1500, 60, seed)
    new, later = well_calibrated(8000, 60, seed + 100)
    # classes with lines of their own
    slope, shift = np.exp(0.25 * rng.normal(size=60)), 0.5 * rng.normal(size=60)
    fit_on, apply_to = slope * truth + shift, slope * new + shift

    ours = fit_quietly(HierarchicalScaling(row_layer=False), fit_on, labels)

    pooled, platt = cal.TemperatureScaling(bias=True), PlattScaling()
    losses = {
        type(c): log_loss(fit_quietly(c, fit_on, labels).transform(apply_to), later)
        for c in (pooled, platt)
    }
    found = log_loss(ours.transform(apply_to), later)
    assert found <= min(losses.values())
    rare = labels.sum(axis=0) < 20
    assert rare.sum() > 15
    ours_rare, platt_rare = (
        log_loss(c.transform(apply_to)[:, rare], later[:, rare]) for c in (ours, platt)
    )
    assert ours_rare < platt_rare


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_weights_of_the_training_are_undone_as_far_as_they_are_left(share):
    logits, labels, weights = of_weighted_loss(share)
    new, later, _ = of_weighted_loss(share, seed=50)

    fitted = fit_quietly(HierarchicalScaling(weights), logits, labels)

    p = 1 / (1 + np.exp(-fitted.transform(new)))
    assert p.sum() / later.sum() == pytest.approx(1.0, abs=0.03)
    assert fitted.report_.pooled.surviving == pytest.approx(share, abs=0.06)
    assert not fitted.report_.row_layers[0].on


def test_a_ceiling_of_missing_labels_is_found():
    logits, labels = with_missing_labels(0.3)
    new, later = with_missing_labels(0.3, seed=60)

    fitted = fit_quietly(HierarchicalScaling(row_layer=False), logits, labels)

    best = np.log(0.7) - np.log(0.3 + np.exp(-new))
    pooled = fit_quietly(cal.TemperatureScaling(bias=True), logits, labels).transform(new)
    found = log_loss(fitted.transform(new), later)
    assert found - log_loss(best, later) < 0.25 * (log_loss(pooled, later) - log_loss(best, later))


def test_labels_that_compete_are_ranked_better_on_rows_not_seen():
    logits, labels = competing()
    new, later = competing(seed=70)

    free, without = (
        fit_quietly(HierarchicalScaling(row_layer=layer), logits, labels).transform(new)
        for layer in ("auto", False)
    )

    assert log_loss(free, later) < log_loss(without, later) - 0.05
    assert mean_average_precision(free, later) > mean_average_precision(new, later) + 0.02
    np.testing.assert_allclose(
        mean_average_precision(without, later), mean_average_precision(new, later), atol=1e-3
    )


@pytest.mark.parametrize("seed", range(4))
def test_on_independent_labels_the_row_layer_stays_off(seed):
    fitted = fit_quietly(HierarchicalScaling(), *well_calibrated(201, 30, seed, 0.02))

    assert [layer.on for layer in fitted.report_.row_layers] == [False]


def test_a_row_layer_that_is_asked_for_is_kept_and_a_second_one_must_help():
    logits, labels = well_calibrated(201, 30, 0, 0.02)

    first, second = fit_quietly(
        HierarchicalScaling(row_layer=True), logits, labels
    ).report_.row_layers

    assert first.gain < 2 * first.standard_error
    assert (first.on, second.on) == (True, False)


# the steps


def test_two_lines_are_one_step_and_a_row_layer_stands_between_them():
    logits, labels = competing()

    without, with_it = (
        fit_quietly(HierarchicalScaling(row_layer=layer), logits, labels) for layer in (False, True)
    )

    assert kinds(without) == [Affine, PiecewiseLinear]
    assert kinds(with_it)[:2] == [Affine, RowAffine]
    assert kinds(with_it)[-2:] == [Affine, PiecewiseLinear]
    assert len(with_it.report_.row_layers) == 2


def test_the_step_is_the_layers_one_after_the_other():
    logits, labels, weights = of_weighted_loss(0.7, 1.3, n_rows=1500, n_classes=20)

    fitted = fit_quietly(HierarchicalScaling(weights), logits, labels)

    report, new = fitted.report_, logits[:50]
    x = report.pooled.slope * new + report.pooled.intercept
    x = x - report.pooled.kappa * np.log(weights)
    x = report.lines.level + report.lines.slope * (x - report.lines.centre)
    np.testing.assert_allclose(
        fitted.transform(new), report.curve.op.apply(x.astype(np.float32)), atol=2e-5
    )


@pytest.mark.parametrize("row_layer", ["auto", False])
def test_a_histogram_alone_gives_the_same_where_there_is_no_row_layer(row_layer):
    logits, labels = stepped()

    from_rows = fit_quietly(HierarchicalScaling(row_layer=row_layer), logits, labels)

    histogram = ScoreHistogram.of(labelled_logits(logits, labels))
    from_histogram = HierarchicalScaling(row_layer=row_layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from_histogram.fit_from(histogram)
    assert from_rows.op_.same_as(from_histogram.op_)
    assert from_histogram.report_.row_layers == ()
    assert "row layer not tried" in from_histogram.report_.sentences()


def test_equal_weights_and_none_are_the_same_map():
    logits, labels = stepped()

    without, equal = (
        fit_quietly(HierarchicalScaling(weights), logits, labels) for weights in (None, 7.0)
    )

    assert without.op_.same_as(equal.op_)
    assert without.report_.pooled.kappa is equal.report_.pooled.kappa is None
    assert "equal_weights" in [finding.code for finding in equal.findings_]
    assert "equal_weights" not in [finding.code for finding in without.findings_]


@pytest.mark.parametrize("row_layer", ["auto", True])
def test_the_number_of_threads_changes_no_bit(row_layer, monkeypatch):
    logits, labels = competing()
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    one = fit_quietly(HierarchicalScaling(row_layer=row_layer), logits, labels)

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "5")
    five = fit_quietly(HierarchicalScaling(row_layer=row_layer), logits, labels)

    assert one.op_.same_as(five.op_)
    assert one.report_.as_dict() == five.report_.as_dict()


@pytest.mark.parametrize("row_layer", [True, False])
def test_rows_of_other_classes_are_refused_after_the_fit(row_layer):
    logits, labels = stepped()

    fitted = fit_quietly(HierarchicalScaling(row_layer=row_layer), logits, labels)

    with pytest.raises(ValueError, match="must have the 4 classes of the fit, got 3"):
        fitted.transform(logits[:, :3])


# findings


def test_classes_that_cannot_have_a_line_of_their_own_are_listed():
    logits, labels = well_calibrated(1000, 12)
    labels[:, 2], labels[:, 5], logits[:, 7] = False, True, 0.25

    with pytest.warns(FitWarning) as given:
        fitted = HierarchicalScaling(row_layer=False).fit(logits, labels)

    assert codes(fitted)[:2] == [("one_sided", (2, 5)), ("constant_scores", (7,))]
    assert [str(w.message) for w in given][:2] == [
        "HierarchicalScaling: 2 of 12 classes have no positives or no negatives: they take the "
        "line that all classes share",
        "HierarchicalScaling: 1 of 12 classes have equal scores: they take the slope that all "
        "classes share",
    ]
    report, line = fitted.report_, flat((fitted.op_,))[0]
    shared = (1 + report.lines.prior_mean[1]) * report.pooled.slope
    assert line.scale[[2, 5]] == pytest.approx(shared, rel=1e-6)
    assert report.shrinkage[[2, 5]].tolist() == [1.0, 1.0]


def test_faded_weights_and_a_slope_far_from_one_are_said():
    logits, labels, weights = of_weighted_loss(0.4, 2.0)

    with pytest.warns(FitWarning) as given:
        fitted = HierarchicalScaling(weights).fit(logits, labels)

    pooled = fitted.report_.pooled
    assert codes(fitted) == [("faded_weights", ()), ("slope", ())]
    assert [finding.values for finding in fitted.findings_] == [
        (pooled.surviving,),
        (pooled.slope,),
    ]
    assert [str(w.message) for w in given] == [
        f"HierarchicalScaling: {100 * pooled.surviving:.0f} % of the weights' shift is still "
        "there: z - log w alone would overshoot",
        "HierarchicalScaling: the network is too sure: its logits are multiplied by "
        f"{pooled.slope:.2f}",
    ]


def test_a_network_not_sure_enough_is_said():
    truth, labels = well_calibrated()

    with pytest.warns(FitWarning, match="the network is not sure enough: .* multiplied by 2.0"):
        HierarchicalScaling().fit(0.5 * truth, labels)


def test_a_network_that_is_right_needs_no_warning():
    logits, labels, weights = of_weighted_loss(1.0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = HierarchicalScaling(weights).fit(logits, labels)

    assert fitted.findings_ == ()


# the report


@pytest.mark.parametrize(
    ("logits", "labels", "options"),
    [
        (*competing(), {"row_layer": True}),
        (*of_weighted_loss(0.7, n_rows=800, n_classes=20)[:2], {"pos_weight": 2.0}),
        (np.array([[1.0, -1.0, 0.5]]), np.array([[1, 0, 0]]), {}),
        (np.array([[1.0], [-1.0], [0.5]]), np.array([[1], [0], [0]]), {"row_layer": True}),
    ],
    ids=["competing", "weighted", "one_row", "one_class"],
)
def test_the_report_is_plain_json_and_lands_in_the_rule_file(logits, labels, options, tmp_path):
    pipeline = cal.Pipeline([HierarchicalScaling(**options)], cal.FixedThreshold())

    fit_quietly(pipeline, logits, labels).decision_.save(tmp_path / "rule.safetensors")

    report = pipeline.calibrators_[0].report_
    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert plain["slope"] == report.pooled.slope
    assert plain["surviving_share_of_weights"] == report.pooled.surviving
    assert len(plain["shrinkage_quartiles"]) == 5
    assert [layer["on"] for layer in plain["row_layers"]] == [x.on for x in report.row_layers]
    assert repr(plain["slope"]) in str(cal.load(tmp_path / "rule.safetensors").provenance)


def test_the_sentences_say_what_was_found():
    logits, labels, weights = of_weighted_loss(0.75)

    report = fit_quietly(HierarchicalScaling(weights), logits, labels).report_

    spread = np.sqrt(np.diag(report.lines.prior_covariance))
    (layer,) = report.row_layers
    assert report.sentences() == [
        f"pooled slope {report.pooled.slope:.2f}, intercept {report.pooled.intercept:.2f}",
        f"{100 * report.pooled.surviving:.0f} % of the weights' shift is still there",
        f"row layer off (count {layer.coefficients[0]:+.2f}): it gains {layer.gain:.3f} nats a "
        f"row, standard error {layer.standard_error:.3f}",
        f"classes differ by {spread[0]:.2f} in level and {spread[1]:.2f} in slope; the median "
        f"class is drawn {100 * np.median(report.shrinkage):.0f} % of the way to the others",
    ]


# what is refused, and the least that is taken


@pytest.mark.parametrize("row_layer", ["always", None, 2, "True"])
def test_another_row_layer_is_refused(row_layer):
    with pytest.raises(ValueError, match="row_layer must be 'auto', True or False, got"):
        HierarchicalScaling(row_layer=row_layer).fit(*stepped())


def test_a_bad_weight_is_refused_with_its_class():
    with pytest.raises(
        ValueError, match="pos_weight must be positive and finite, got -1 at class 2"
    ):
        HierarchicalScaling([1.0, 2.0, -1.0, 3.0]).fit(*stepped())


def test_without_any_positive_there_is_nothing_to_fit():
    with pytest.raises(ValueError, match="labels must hold at least one positive, got none in 3"):
        HierarchicalScaling().fit(np.ones((3, 2)), np.zeros((3, 2)))


def test_a_row_layer_that_is_asked_for_needs_rows():
    histogram = ScoreHistogram.of(labelled_logits(*stepped()))

    with pytest.raises(TypeError, match="fitted from rows of logits, got a histogram"):
        HierarchicalScaling(row_layer=True).fit_from(histogram)


def test_one_class_or_one_row_has_the_pooled_map_alone():
    rng = np.random.default_rng(0)
    for shape in ((1, 6), (200, 1)):
        labels = rng.random(shape) < 0.5
        labels[0, 0] = True

        fitted = fit_quietly(HierarchicalScaling(), rng.normal(size=shape), labels)

        assert kinds(fitted) == [Affine]
        assert fitted.report_.lines is fitted.report_.curve is None
        assert fitted.report_.shrinkage.tolist() == [1.0] * shape[1]


def test_cells_without_a_score_take_no_part_and_stay_without_one():
    logits, labels = stepped(n_rows=600)
    holes = np.random.default_rng(1).random(logits.shape) < 0.2
    kept = np.where(holes, 0.0, labels).astype(bool)

    one, other = (
        fit_quietly(HierarchicalScaling(), np.where(holes, np.nan, logits), y, nan="negative")
        for y in (kept, kept | holes)
    )

    assert one.op_.same_as(other.op_)
    calibrated = one.transform(np.where(holes, np.nan, logits), nan="negative")
    assert (np.isneginf(calibrated) == holes).all()


numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.0000001, -30.0, 30.0, 1e4, -1e4, 3e38, -3e38]),
    st.floats(-50, 50, width=32),
    st.just(-math.inf),
)


@LAW
@given(st.data(), st.integers(1, 12), st.integers(1, 4))
def test_whatever_comes_the_map_is_finite_and_rises(data, rows, classes):
    size = {"min_size": rows * classes, "max_size": rows * classes}
    scores = np.array(data.draw(st.lists(numbers, **size)), np.float32).reshape(rows, classes)
    labels = np.array(data.draw(st.lists(st.booleans(), **size))).reshape(rows, classes)
    labels[0, 0] = True

    for row_layer in (False, True):
        calibrator = HierarchicalScaling(np.arange(classes) + 1.0, row_layer=row_layer)
        with pytest.MonkeyPatch.context() as patch:
            # of small fits most of the time would go into starting threads
            patch.setenv("CALIBRATE_NUM_THREADS", "1")
            fitted = fit_quietly(calibrator, scores, labels, nan="negative")

        json.dumps(fitted.report_.as_dict(), allow_nan=False)
        assert all(np.isfinite(a).all() for op in flat((fitted.op_,)) for a in op.arrays().values())


@pytest.mark.parametrize("seed", [9, 28, 31, 39])
@pytest.mark.parametrize("row_layer", [False, True])
def test_logits_near_the_end_of_float32_leave_all_finite(row_layer, seed, monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    # each of these rows once made a matrix of the prior or of a class singular
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 12), rng.integers(1, 5)
    some = [0, -0.0, 1, 1.0000001, -30, 30, 1e4, -1e4, 3e38, -3e38, -np.inf, 2.5, -4]
    logits = rng.choice(np.array(some, np.float32), shape)
    labels = rng.random(shape) < 0.5
    labels[0, 0] = True

    calibrator = HierarchicalScaling(np.arange(shape[1]) + 1.0, row_layer=row_layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        fitted = calibrator.fit(logits, labels, nan="negative")

    assert all(np.isfinite(a).all() for op in flat((fitted.op_,)) for a in op.arrays().values())
    lines = fitted.report_.lines
    if lines is not None:
        assert np.isfinite(lines.covariance).all()


# real networks


@pytest.mark.parametrize(
    ("name", "loss", "most"),
    [
        ("bibtex", "weighted", 7.30),
        ("goemotions_tfidf", "weighted", 2.76),
        ("goemotions_tfidf", "unweighted", 2.76),
        ("corel5k", "unweighted", 13.9),
    ],
)
def test_on_real_logits_the_loss_of_a_row_is_as_low_as_it_was(name, loss, most, real_logits):
    saved = real_logits(name, loss)
    weights = saved.pos_weight if loss == "weighted" else None

    fitted = fit_quietly(HierarchicalScaling(weights), saved.logits("val"), saved.labels("val"))

    logits, labels = saved.arrays("test")
    calibrated = fitted.transform(np.asarray(logits))
    assert log_loss(calibrated, labels.toarray()) <= most
    assert fitted.report_.row_layers[0].on


def test_probabilities_of_a_real_network_are_calibrated_as_its_logits_are(real_logits):
    saved = real_logits("ptbxl_xresnet1d101", "probabilities")
    val, test = (cal.as_logits(saved.logits(part), probabilities=True) for part in ("val", "test"))

    fitted = fit_quietly(HierarchicalScaling(), val, saved.labels("val"))

    labels = saved.arrays("test")[1].toarray()
    assert log_loss(fitted.transform(test), labels) <= 4.02


@pytest.mark.filterwarnings("ignore::calibrate.FitWarning")
def test_a_share_below_nothing_is_said_as_none_left():
    rng = np.random.default_rng(3)
    weights = np.linspace(3, 60, 30)
    truth = rng.normal(size=(3000, 30)) - np.log(weights)
    labels = rng.random(truth.shape) < 1 / (1 + np.exp(-truth))

    scaling = cal.HierarchicalScaling(weights).fit(2 * truth, labels)

    share = scaling.report_.pooled.surviving
    assert share < -0.5
    said = f"nothing of the weights' shift is left ({100 * share:.0f} %)"
    assert said in scaling.report_.sentences()
    assert f"{said}: z - log w alone would overshoot" in [f.message for f in scaling.findings_]
