import warnings

import naive
import numpy as np
import pytest

from calibrate import PlattScaling, ScalingBinning


def drawn(n_rows=4000, prevalence=(0.02, 0.2, 0.5, 0.9), seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, len(prevalence))) < prevalence
    return (rng.normal(size=labels.shape) + 1.5 * labels).astype(np.float32), labels


def fit(scores, labels, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ScalingBinning(**options).fit(scores, labels)


def sigmoids(calibrated):
    return 1 / (1 + np.exp(-calibrated.astype(float)))


def test_each_bin_gives_the_mean_of_the_line_within_it():
    scores, labels = drawn()

    p = sigmoids(fit(scores, labels).transform(scores))

    line = sigmoids(PlattScaling().fit(scores, labels).transform(scores))
    for c in range(4):
        for value in np.unique(p[:, c]):
            within = p[:, c] == value
            # cells next to an edge may lie on the other side of it than their bin's mean
            assert line[within, c].mean() == pytest.approx(value, rel=0.01)


def test_bins_hold_about_equal_numbers_of_the_rarer_label():
    scores, labels = drawn()

    p = sigmoids(fit(scores, labels, n_bins=5).transform(scores))

    for c in range(4):
        rarer = labels[:, c] if labels[:, c].mean() <= 0.5 else ~labels[:, c]
        values = np.unique(p[:, c])
        held = [rarer[p[:, c] == value].sum() for value in values]
        assert len(values) == 5
        assert held == pytest.approx([rarer.sum() / 5] * 5, rel=0.2, abs=3)


@pytest.mark.parametrize(("positives", "bins"), [(20, 2), (39, 3), (45, 4), (200, 10)])
def test_fewer_positives_give_fewer_bins(positives, bins):
    scores, labels = drawn(prevalence=(0.1,))
    order = np.flatnonzero(labels[:, 0])
    labels[order[positives:]] = False

    p = fit(scores, labels).transform(scores)

    assert len(np.unique(p)) == bins


def test_ties_never_leave_a_bin_with_too_few():
    scores = np.repeat([[-1.0], [0.0], [1.0], [2.0]], [100, 100, 100, 100], axis=0)
    labels = np.arange(400)[:, None] % 100 < np.repeat([[2], [40], [50], [9]], 100, axis=0)

    p = sigmoids(fit(scores, labels).transform(scores))

    held = [labels[p == value].sum() for value in np.unique(p)]
    assert min(held) >= 10
    assert len(held) == 2


def test_probabilities_add_up_to_those_of_the_line():
    scores, labels = drawn()

    totals = sigmoids(fit(scores, labels).transform(scores)).sum(axis=0)

    line = sigmoids(PlattScaling().fit(scores, labels).transform(scores)).sum(axis=0)
    assert totals == pytest.approx(line, rel=0.01)


def test_classes_of_few_are_binned_together_by_their_calibrated_logits():
    scores, labels = drawn(prevalence=(0.3, 0.3, 0.003, 0.003, 0.003), seed=1)

    with pytest.warns(UserWarning, match="3 of 5 classes have too few positives or negatives"):
        fitted = ScalingBinning().fit(scores, labels)

    calibrated = fitted.transform(scores)
    line = PlattScaling().fit(scores, labels).transform(scores)
    values = np.unique(calibrated[:, 2:])
    held = [labels[:, 2:][calibrated[:, 2:] == value].sum() for value in values]
    assert labels[:, 2:].sum() >= 30
    assert len(values) == labels[:, 2:].sum() // 10
    assert min(held) >= 9
    order = np.argsort(line[:, 2:], axis=None)
    assert (np.diff(calibrated[:, 2:].reshape(-1)[order]) >= 0).all()


def test_one_class_of_few_is_binned_with_all():
    scores, labels = drawn(prevalence=(0.3, 0.3))
    labels[:, 1] = np.arange(4000) == scores[:, 1].argmax()

    fitted = fit(scores, labels)

    p = sigmoids(fitted.transform(scores))
    assert [f.classes for f in fitted.findings_ if f.code == "pooled"] == [(1,)]
    # its line reaches no further than the lowest bin of all cells, which holds its many negatives
    assert 0 < p[:, 1].mean() < 0.05


def test_a_histogram_of_two_bins_of_labels_is_not_what_comes_out():
    """The mean of the line, not of the labels, as Kumar, Liang and Ma have it."""
    scores, labels = drawn(prevalence=(0.3,), seed=4)

    p = sigmoids(fit(scores, labels).transform(scores))[:, 0]

    rates = np.array([labels[p == value].mean() for value in np.unique(p)])
    assert np.abs(rates - np.unique(p)).max() > 0.003


def test_nothing_overflows_at_the_ends():
    scores = np.float32([[-3e38], [-700.0], [700.0], [3e38]]).repeat(20, axis=0)
    labels = np.arange(80)[:, None] % 20 < np.repeat([[5], [8], [12], [15]], 20, axis=0)

    calibrated = fit(scores, labels, n_bins=3).transform(scores)

    assert np.isfinite(calibrated).all()
    assert (np.diff(calibrated[:, 0]) >= 0).all()


def test_the_mean_of_nearly_certain_cells_keeps_its_digits():
    scores = np.linspace(0, 60, 400, dtype=np.float32)[:, None]
    labels = np.ones((400, 1), dtype=bool)
    labels[:40] = False

    calibrated = fit(scores, labels, n_bins=2).transform(scores)[:, 0].astype(float)

    line = PlattScaling().fit(scores, labels).transform(scores)[:, 0].astype(float)
    top = calibrated == calibrated.max()
    against = np.mean([naive.sigmoid(-z) for z in line[top]])
    assert naive.sigmoid(-calibrated.max()) == pytest.approx(against, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_bins": 1}, "^n_bins must be at least 2, got 1$"),
        ({"min_per_bin": 0}, "^min_per_bin must be at least 1, got 0$"),
    ],
)
def test_options_that_make_no_bins_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ScalingBinning(**options).fit(*drawn())
