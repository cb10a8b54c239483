import json

import numpy as np
import pytest
from simulations import competing, log_loss, mean_average_precision, well_calibrated

import calibrate as cal
from calibrate import RowScaling, ScoreHistogram
from calibrate.data import labelled_logits


def test_labels_that_compete_are_ranked_better_on_rows_not_seen():
    logits, labels = competing()
    new, truth = competing(seed=100)

    fitted = RowScaling().fit(logits, labels)

    calibrated = fitted.transform(new)
    layer = fitted.report_.layer
    assert layer.on
    assert layer.terms == ("by_count",)
    assert log_loss(calibrated, truth) < log_loss(new, truth) - layer.gain / 2
    assert mean_average_precision(calibrated, truth) > mean_average_precision(new, truth) + 0.02
    assert fitted.findings_ == ()


def test_the_row_step_holds_the_numbers_of_the_report():
    fitted = RowScaling().fit(*competing())

    layer, op = fitted.report_.layer, fitted.op_
    assert op.by_count == layer.coefficients[0]
    assert op.scale == np.float32(layer.slope)
    assert (op.shift == np.float32(layer.intercept)).all()


def test_labels_that_do_not_compete_leave_the_logits_as_they_are():
    logits, labels = well_calibrated(n_rows=201)

    fitted = RowScaling().fit(logits, labels)

    assert not fitted.report_.layer.on
    assert np.array_equal(fitted.transform(logits), logits.astype(np.float32))


def test_without_a_gate_it_is_on():
    logits, labels = well_calibrated(n_rows=201)

    fitted = RowScaling(gated=False).fit(logits, labels)

    assert fitted.report_.layer.on
    assert not np.array_equal(fitted.transform(logits), logits.astype(np.float32))


def test_rows_of_other_classes_are_refused_after_the_fit():
    logits, labels = competing()

    fitted = RowScaling().fit(logits, labels)

    with pytest.raises(ValueError, match="must have the 12 classes of the fit, got 11"):
        fitted.transform(logits[:, :11])


def test_a_histogram_is_not_enough():
    histogram = ScoreHistogram.of(labelled_logits(*competing()))

    with pytest.raises(TypeError, match="fitted from rows of logits, got a histogram"):
        RowScaling().fit_from(histogram)


def test_without_any_positive_there_is_nothing_to_fit():
    with pytest.raises(ValueError, match="labels must hold at least one positive, got none in 3"):
        RowScaling().fit(np.ones((3, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_one_row_or_one_class_is_enough(shape):
    rng = np.random.default_rng(0)
    labels = rng.random(shape) < 0.5
    labels[0, 0] = True

    for gated in (True, False):
        fitted = RowScaling(gated).fit(rng.normal(size=shape), labels)

        assert np.isfinite(fitted.transform(rng.normal(size=shape))).all()
        assert json.loads(json.dumps(fitted.report_.as_dict(), allow_nan=False))["on"] in (
            True,
            False,
        )


def test_the_report_is_plain_and_lands_in_the_rule_file(tmp_path):
    pipeline = cal.Pipeline([RowScaling()], cal.FixedThreshold()).fit(*competing())
    pipeline.decision_.save(tmp_path / "rule.safetensors")

    report = pipeline.calibrators_[0].report_
    layer = report.layer
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False)) == {
        "terms": ["by_count"],
        "coefficients": [layer.coefficients[0]],
        "gain_per_row": layer.gain,
        "standard_error": layer.standard_error,
        "on": True,
    }
    assert report.sentences() == [
        f"row layer on (count {layer.coefficients[0]:+.2f}): it gains {layer.gain:.3f} nats a row, "
        f"standard error {layer.standard_error:.3f}"
    ]
    assert repr(layer.gain) in str(cal.load(tmp_path / "rule.safetensors").provenance)
