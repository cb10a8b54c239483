import naive
import naive_layers
import numpy as np
import pytest
from simulations import histogram_of, of_weighted_loss, stepped, well_calibrated

from calibrate.hierarchy.pooled import log_weights, merged, pooled_map

LOG_WEIGHT = np.log([20.0, 3.0, 1.0, 0.5])


def found(logits, labels, log_weight=None, **options):
    pooled = pooled_map(histogram_of(logits, labels, **options), log_weight)
    return pooled.slope, pooled.intercept, pooled.kappa


# the optimum


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("log_weight", [None, LOG_WEIGHT], ids=["without", "with_weights"])
def test_the_map_is_that_of_a_general_optimiser_on_all_cells(seed, log_weight):
    logits, labels = stepped(seed=seed)

    ours = found(logits, labels, log_weight)

    expected = naive_layers.pooled_map(logits, labels, log_weight)
    assert ours[:2] == pytest.approx(expected[:2], abs=2e-5)
    assert ours[2] == (None if log_weight is None else pytest.approx(expected[2], abs=2e-5))


@pytest.mark.parametrize("n_bins", [16, 100, 129, 256])
def test_any_number_of_bins_leads_there(n_bins):
    logits, labels = stepped()
    logits = np.clip(np.round(logits), -3, 3)

    ours = found(logits, labels, LOG_WEIGHT, n_bins=n_bins)

    assert ours == pytest.approx(naive_layers.pooled_map(logits, labels, LOG_WEIGHT), abs=2e-5)


def test_cells_without_a_score_take_no_part():
    logits, labels = stepped()
    logits[np.random.default_rng(1).random(logits.shape) < 0.2] = -np.inf

    ours = found(logits, labels, LOG_WEIGHT, nan="negative")

    assert ours == pytest.approx(naive_layers.pooled_map(logits, labels, LOG_WEIGHT), abs=2e-5)


@pytest.mark.parametrize("shift", [-1000.0, -60.0, 0.0, 30.0, 60.0, 1000.0])
@pytest.mark.parametrize("scale", [0.5, 1.0, 10.0])
def test_logits_that_are_all_sure_are_brought_back_from_any_distance(shift, scale):
    logits, labels = stepped()
    slope, intercept, _ = found(logits, labels)

    moved = found(scale * logits + shift, labels)

    assert moved[0] == pytest.approx(slope / scale, rel=2e-4)
    assert moved[1] == pytest.approx(intercept - moved[0] * shift, abs=2e-3)


@pytest.mark.parametrize("scale", [-1e4, -1.0, 1e-3, 100.0, 1e4])
def test_a_slope_out_of_its_range_is_set_to_its_bound_and_the_rest_fitted_anew(scale):
    logits, labels = stepped()

    slope, intercept, kappa = found(scale * logits, labels, LOG_WEIGHT)

    at_bound = 50.0 if scale == 1e-3 else 0.05
    others = np.stack([np.ones(logits.shape), -np.broadcast_to(LOG_WEIGHT, logits.shape)], axis=2)
    others, known = others.reshape(-1, 2), at_bound * scale * logits.ravel()
    expected = naive_layers.shifted_logistic(others, labels.ravel(), known)
    ours, least = (
        naive.log_loss(known + others @ at, labels.ravel(), np.ones(labels.size))
        for at in (np.array([intercept, kappa]), expected)
    )
    assert slope == at_bound
    # logits of 500 and more fall like stairs, on which no optimiser finds the very last
    assert ours <= least * (1.01 if abs(scale) == 1e4 else 1 + 1e-9)


@pytest.mark.parametrize("value", [0.0, -7.0, 40.0, 1e4])
def test_scores_that_are_all_equal_keep_their_slope_and_get_their_frequency(value):
    labels = np.zeros((100, 3), bool)
    labels[:20] = True

    slope, intercept, _ = found(np.full((100, 3), value), labels)

    assert slope == pytest.approx(1.0, abs=1e-6)
    assert slope * value + intercept == pytest.approx(np.log(0.25), abs=1e-3)


def test_scores_that_tell_all_positives_stay_within_the_range():
    logits = np.array([[-2.0, -1.0], [-1.5, 3.0], [2.0, 1.0]])

    slope, intercept, _ = found(logits, logits > 0)

    assert 1 < slope <= 50
    assert abs(intercept) < slope


def test_labels_that_are_all_positive_or_all_negative_leave_the_map_finite():
    logits, _ = stepped()

    for value, sign in ((True, 1), (False, -1)):
        slope, intercept, kappa = found(logits, np.full(logits.shape, value), LOG_WEIGHT)

        assert 0.05 <= slope <= 50
        assert np.isfinite([intercept, kappa]).all()
        assert (sign * (slope * logits + intercept - kappa * LOG_WEIGHT) > 5).all()


def test_rows_without_any_score_leave_the_logits_as_they_are():
    labels = np.ones((3, 4), bool)

    slope, intercept, _ = found(np.full((3, 4), -np.inf), labels, LOG_WEIGHT, nan="negative")

    assert (slope, intercept) == (1.0, 0.0)


def test_the_order_of_the_classes_changes_nothing():
    logits, labels = stepped()
    order = [2, 0, 3, 1]

    moved = found(logits[:, order], labels[:, order], LOG_WEIGHT[order])

    assert moved == pytest.approx(found(logits, labels, LOG_WEIGHT), abs=1e-9)


# weights


@pytest.mark.parametrize("stretch", [0.8, 1.0, 1.6])
@pytest.mark.parametrize("share", [0.4, 0.75, 1.0])
def test_the_share_of_the_weights_that_is_left_is_recovered(share, stretch):
    logits, labels, weights = of_weighted_loss(share, stretch)

    pooled = pooled_map(histogram_of(logits, labels), np.log(weights))

    assert pooled.slope == pytest.approx(1 / stretch, abs=0.03)
    assert pooled.kappa == pytest.approx(1 - (1 - share) / stretch, abs=0.05)
    assert pooled.surviving == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("weight", [0.25, 1.0, 80.0])
def test_equal_weights_are_taken_up_by_the_intercept(weight):
    histogram = histogram_of(*stepped())

    pooled = pooled_map(histogram, log_weights(weight, 4))

    without = pooled_map(histogram)
    assert pooled.kappa is None
    assert pooled.surviving is None
    assert pooled.op.same_as(without.op)


def test_with_weights_the_step_is_the_map_at_each_class():
    logits, labels = stepped()

    pooled = pooled_map(histogram_of(logits, labels), LOG_WEIGHT)

    expected = pooled.slope * logits + pooled.intercept - pooled.kappa * LOG_WEIGHT
    np.testing.assert_allclose(pooled.op.apply(logits.astype(np.float32)), expected, atol=1e-5)


def test_without_weights_right_probabilities_stay_as_they_are():
    pooled = pooled_map(histogram_of(*well_calibrated(n_rows=20_000)))

    assert (pooled.slope, pooled.intercept) == pytest.approx((1.0, 0.0), abs=0.02)
    assert pooled.kappa is None
    assert pooled.log_weight.tolist() == [0.0] * 30


def test_logarithms_of_weights():
    assert log_weights(None, 3) is None
    assert log_weights(2.0, 3).tolist() == [np.log(2.0)] * 3
    assert log_weights([1, 2, 4], 3).tolist() == np.log([1.0, 2.0, 4.0]).tolist()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], r"one per class, got shape \(2,\) for 3 classes"),
        ([[1.0, 2.0, 3.0]], r"one per class, got shape \(1, 3\) for 3 classes"),
        ([1.0, 0.0, -2.0], "must be positive and finite, got 0 at class 1"),
        ([1.0, 2.0, np.inf], "must be positive and finite, got inf at class 2"),
        ([np.nan, 2.0, 1.0], "must be positive and finite, got nan at class 0"),
        (-1.0, "must be positive and finite, got -1$"),
    ],
)
def test_weights_that_cannot_be_are_named(weights, message):
    with pytest.raises(ValueError, match=message):
        log_weights(weights, 3)


# bins taken together


def test_bins_taken_together_keep_their_cells_and_their_mean():
    rng = np.random.default_rng(0)
    x, n = rng.normal(size=(3, 128)), rng.integers(0, 3, size=(3, 128))
    n[:, :16] = 0
    y = rng.binomial(n, 0.3)

    means, cells, positives = merged(x, n, y)

    assert means.shape == cells.shape == positives.shape == (3, 16)
    for c in range(3):
        for m in range(16):
            part = slice(8 * m, 8 * m + 8)
            assert cells[c, m] == n[c, part].sum()
            assert positives[c, m] == y[c, part].sum()
            total = sum(a * b for a, b in zip(x[c, part], n[c, part], strict=True))
            assert means[c, m] == pytest.approx(total / max(1, cells[c, m]), abs=1e-12)


@pytest.mark.parametrize("n_bins", [1, 64, 120, 250])
def test_too_few_bins_stay_as_they_are(n_bins):
    x, n = np.ones((2, n_bins)), np.ones((2, n_bins), np.int64)

    means, cells, positives = merged(x, n, n)

    assert means is x
    assert cells.tolist() == positives.tolist() == n.tolist()
