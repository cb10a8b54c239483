import naive
import naive_layers
import numpy as np
import pytest
from simulations import drawn, histogram_of, stepped, well_calibrated
from sklearn.linear_model import LogisticRegression

from calibrate.hierarchy import classes
from calibrate.hierarchy.classes import shrunk_lines


def classes_that_differ(n_rows=4000, n_classes=80, seed=0, level=0.7, slope=0.25):
    """Pooled logits, labels of classes with lines of their own, and these lines."""
    truth, _ = well_calibrated(n_rows, n_classes, seed, rarest=0.02)
    rng = np.random.default_rng(seed + 1)
    slopes, centre = 1 + slope * rng.normal(size=n_classes), truth.mean(axis=0) + 1
    levels = centre + level * rng.normal(size=n_classes)
    return truth, drawn(levels + slopes * (truth - centre), rng)


# limits of the prior (verification target 13)


@pytest.mark.parametrize("mean", [(0.0, 0.0), (0.4, -0.1)])
def test_target_13_a_prior_without_variance_gives_its_mean_whatever_the_labels(mean):
    logits, labels = stepped()

    lines = shrunk_lines(histogram_of(logits, labels), (np.array(mean), 1e-12 * np.eye(2)))

    np.testing.assert_allclose(lines.slope, 1 + mean[1], atol=1e-7)
    np.testing.assert_allclose(lines.level, lines.centre + mean[0], atol=1e-7)
    expected = lines.centre * -mean[1] + mean[0]
    np.testing.assert_allclose(lines.intercept, expected, atol=1e-6)


def test_target_13_a_prior_of_any_width_gives_logistic_regression_of_each_class():
    logits, labels = stepped(n_rows=800)

    lines = shrunk_lines(histogram_of(logits, labels), (np.zeros(2), 1e9 * np.eye(2)))

    for c in range(4):
        peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        peer.fit(logits[:, [c]], labels[:, c])
        assert lines.slope[c] == pytest.approx(peer.coef_[0, 0], abs=2e-5)
        assert lines.intercept[c] == pytest.approx(peer.intercept_[0], abs=2e-5)
    assert (lines.shrinkage < 1e-6).all()


@pytest.mark.parametrize("value", [False, True])
def test_target_13_a_class_with_labels_of_one_kind_has_the_mean_of_the_prior(value):
    logits, labels = classes_that_differ(n_classes=12)
    labels[:, 3] = value

    lines = shrunk_lines(histogram_of(logits, labels))

    assert lines.level[3] == lines.centre[3] + lines.prior_mean[0]
    assert lines.slope[3] == 1 + lines.prior_mean[1]
    assert lines.shrinkage[3] == 1.0
    assert lines.covariance[3].tolist() == lines.prior_covariance.ravel()[[0, 1, 3]].tolist()
    assert (lines.shrinkage[[0, 6, 11]] < 0.6).all()


def test_target_13_the_order_of_the_classes_changes_nothing():
    logits, labels = classes_that_differ(n_classes=12)
    order = np.random.default_rng(0).permutation(12)

    lines = shrunk_lines(histogram_of(logits, labels))
    moved = shrunk_lines(histogram_of(logits[:, order], labels[:, order]))

    np.testing.assert_allclose(moved.slope, lines.slope[order], atol=1e-7)
    np.testing.assert_allclose(moved.intercept, lines.intercept[order], atol=1e-7)
    np.testing.assert_allclose(moved.prior_covariance, lines.prior_covariance, atol=1e-7)


# the prior that the classes share


@pytest.mark.parametrize("rounds", [1, 2, 12])
def test_the_prior_is_that_of_plain_expectation_and_maximisation(rounds, monkeypatch):
    logits, labels = stepped(n_classes=5)
    labels[:, 4] = False
    histogram = histogram_of(logits, labels, n_bins=50)
    monkeypatch.setattr(classes, "_SETTLED", 0.0)
    monkeypatch.setattr(classes, "_MOST_ROUNDS", rounds)

    lines = shrunk_lines(histogram)

    expected, centres, mean, covariance = naive_layers.empirical_bayes(
        histogram.scores, histogram.counts, histogram.positives, rounds, np.diag([0.25, 0.05])
    )
    np.testing.assert_allclose(lines.centre, centres, atol=1e-9)
    np.testing.assert_allclose(lines.prior_mean, mean, atol=1e-4)
    np.testing.assert_allclose(lines.prior_covariance, covariance, atol=1e-4)
    ours = np.stack([lines.level, lines.slope], axis=1)
    np.testing.assert_allclose(ours[:4], expected[:4], atol=1e-4)
    for c in range(4):
        parts = histogram.scores[c], histogram.counts[c], centres[c], covariance
        spread = np.linalg.inv(naive_layers.second_derivatives(expected[c], *parts))
        np.testing.assert_allclose(lines.covariance[c], spread[[0, 0, 1], [0, 1, 1]], rtol=1e-3)
        assert lines.shrinkage[c] == pytest.approx(spread[0, 0] / covariance[0, 0], rel=1e-3)


def test_classes_whose_level_and_slope_go_together_keep_their_correlation(monkeypatch):
    rng = np.random.default_rng(0)
    logits = np.clip(np.round(rng.normal(size=(400, 5)) * 8) / 4, -5, 5)
    steep = np.array([0.1, 1.0, 3.0, 6.0, 9.0])
    labels = drawn(steep * logits + 2 * steep - 6, rng)
    histogram = histogram_of(logits, labels, n_bins=50)
    monkeypatch.setattr(classes, "_SETTLED", 0.0)

    lines = shrunk_lines(histogram)

    cells = histogram.scores, histogram.counts, histogram.positives
    covariance = naive_layers.empirical_bayes(*cells, 12, np.diag([0.25, 0.05]))[3]
    level, slope = np.sqrt(np.diag(covariance))
    assert min(level, slope) > 1.5
    assert covariance[0, 1] > 0.9 * level * slope
    np.testing.assert_allclose(lines.prior_covariance, covariance, rtol=1e-3)


def test_rounds_are_no_more_than_it_takes_to_settle(monkeypatch):
    histogram, fits, fit = histogram_of(*classes_that_differ()), [], classes._fit
    monkeypatch.setattr(classes, "_fit", lambda *cells: fits.append(cells) or fit(*cells))

    shrunk_lines(histogram)

    # one fit a round, and the last to all bins
    assert 2 < len(fits) < 10


def test_inverses_hold_at_any_scale_and_stay_finite_where_there_is_none():
    regular = np.array([[2.0, 0.5, 1.0], [1e12, 0.3, 1e-12], [1e-12, -0.3, 1e12]])
    singular = np.array([[4.0, 2.0, 1.0], [1e70, 1e60, 1e50]])

    found = classes._inverse(regular)

    for parts, inverse in zip(regular, found, strict=True):
        a, b, c = parts
        expected = np.array([c, -b, a]) / (a * c - b * b)
        np.testing.assert_allclose(inverse, expected, rtol=1e-12)
    assert np.isfinite(classes._inverse(singular)).all()
    assert (classes._inverse(singular)[:, [0, 2]] > 0).all()


def test_rounds_end_once_the_variances_have_settled(monkeypatch):
    histogram = histogram_of(*classes_that_differ())
    lines = shrunk_lines(histogram)

    monkeypatch.setattr(classes, "_MOST_ROUNDS", 40)
    monkeypatch.setattr(classes, "_SETTLED", 1e-6)
    longer = shrunk_lines(histogram)

    assert np.diag(lines.prior_covariance) == pytest.approx(
        np.diag(longer.prior_covariance), rel=0.05
    )
    np.testing.assert_allclose(lines.level, longer.level, atol=0.02)


def test_what_classes_differ_by_is_learned():
    lines = shrunk_lines(histogram_of(*classes_that_differ(n_rows=8000)))

    level, slope = np.sqrt(np.diag(lines.prior_covariance))
    assert level == pytest.approx(0.7, abs=0.15)
    assert slope == pytest.approx(0.25, abs=0.08)


def test_classes_that_do_not_differ_are_drawn_to_one_line():
    lines = shrunk_lines(histogram_of(*well_calibrated(n_rows=8000, n_classes=60)))

    assert (np.diag(lines.prior_covariance) < 0.02).all()
    assert (np.diag(lines.prior_covariance) >= 1e-4).all()
    assert np.median(lines.shrinkage) > 0.5
    np.testing.assert_allclose(lines.slope, 1.0, atol=0.15)


def test_rare_classes_are_drawn_further_than_frequent_ones():
    logits, labels = classes_that_differ()

    lines = shrunk_lines(histogram_of(logits, labels))

    order = np.argsort(labels.sum(axis=0))
    assert lines.shrinkage[order[:20]].mean() > 2 * lines.shrinkage[order[-20:]].mean()
    assert ((lines.shrinkage >= 0) & (lines.shrinkage <= 1)).all()


# single classes


def test_a_class_ranked_the_wrong_way_round_has_the_least_slope():
    logits, labels = classes_that_differ(n_classes=30)
    # the label tells the sign of what the score says
    labels[:, 7] = drawn(-3 * (logits[:, [7]] - logits[:, 7].mean()), np.random.default_rng(0))[
        :, 0
    ]

    lines = shrunk_lines(histogram_of(logits, labels))

    assert lines.slope[7] == pytest.approx(0.05, abs=1e-12)
    assert (lines.slope >= 0.05).all()
    p = 1 / (1 + np.exp(-(lines.intercept[7] + 0.05 * logits[:, 7])))
    assert p.sum() == pytest.approx(labels[:, 7].sum(), rel=0.02)


@pytest.mark.parametrize("value", [0.0, -3.5, 9.0])
def test_a_class_of_equal_scores_gets_about_its_frequency(value):
    logits, labels = classes_that_differ(n_classes=30)
    logits[:, 4] = value

    lines = shrunk_lines(histogram_of(logits, labels))

    level = lines.intercept[4] + lines.slope[4] * value
    assert level == pytest.approx(naive.logit(labels[:, 4].mean()), abs=0.5 + 0.05 * abs(value))
    assert 0.3 < lines.slope[4] < 3.0


@pytest.mark.parametrize("value", [-1e4, -800.0, 600.0, 1e4])
def test_a_class_whose_scores_are_all_sure_stays_finite(value):
    logits, labels = classes_that_differ(n_classes=30)
    logits[:, 4] += value

    lines = shrunk_lines(histogram_of(logits, labels))

    assert np.isfinite([*lines.level, *lines.slope, *lines.covariance.ravel()]).all()
    assert lines.centre[4] == pytest.approx(value, rel=0.05)
    assert (lines.slope >= 0.05).all()


def test_a_class_without_scores_has_the_mean_of_the_prior():
    logits, labels = classes_that_differ(n_classes=10)
    logits[:, 2] = -np.inf

    lines = shrunk_lines(histogram_of(logits, labels, nan="negative"))

    assert lines.slope[2] == 1 + lines.prior_mean[1]
    assert lines.level[2] == lines.centre[2] + lines.prior_mean[0]


@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_hardly_any_rows_give_lines_of_the_prior(n_rows):
    logits, labels = stepped(n_rows=n_rows)

    lines = shrunk_lines(histogram_of(logits, labels))

    assert np.isfinite([*lines.level, *lines.slope]).all()
    assert (np.linalg.eigvalsh(lines.prior_covariance) > 0).all()
    assert (lines.shrinkage > 0.3).all()


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    histogram = histogram_of(*classes_that_differ(n_classes=30))
    both = []

    for threads in ("1", "5"):
        monkeypatch.setenv("CALIBRATE_NUM_THREADS", threads)
        both.append(shrunk_lines(histogram))

    for name in ("level", "slope", "centre", "covariance", "prior_mean", "prior_covariance"):
        assert np.array_equal(getattr(both[0], name), getattr(both[1], name))
