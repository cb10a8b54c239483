import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from calibrate.kernels.logistic import (
    AT_HIGHEST,
    AT_LOWEST,
    CONVERGED,
    STOPPED,
    fit_intercepts,
    fit_lines,
)

LAW = settings(derandomize=True, deadline=None, max_examples=60)


def matrix(values):
    return np.atleast_2d(np.array(values, dtype=np.float64))


def fit(x, n, t, *, intercept=True, lowest=-np.inf, highest=np.inf, start=(1.0, 0.0)):
    """Slope, intercept and status of each line; `t` counts positives."""
    x, n, t = matrix(x), matrix(n), matrix(t)
    slope, shift = np.full(len(x), start[0]), np.full(len(x), start[1])
    status = np.full(len(x), -1)
    fit_lines(x, n, t, intercept, lowest, highest, 0, len(x), slope, shift, status)
    return slope, shift, status


def fit_one(x, n, t, **options):
    slope, shift, status = fit(x, n, t, **options)
    return float(slope[0]), float(shift[0]), int(status[0])


def probabilities(slope, shift, x):
    return np.array([naive.sigmoid(slope * z + shift) for z in x])


def noisy(n_rows=300, seed=0, slope=1.3, shift=-1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_rows) * 2
    return x, (rng.random(n_rows) < probabilities(slope, shift, x)).astype(float)


# fixtures of the literature


def test_the_fixture_of_libsvm_has_the_exact_optimum():
    x, targets = [5.0, -4.0, 1.0], naive.platt_targets([1, 0, 0])

    slope, shift, status = fit_one(x, np.ones(3), targets)

    assert (slope, shift) == pytest.approx((0.20261449, -0.65236664), abs=5e-9)
    assert status == CONVERGED


def test_smoothed_targets_keep_a_separable_class_finite():
    x, targets = [-2.0, -1.0, 1.0, 2.0], naive.platt_targets([0, 0, 1, 1])

    slope, shift, status = fit_one(x, np.ones(4), targets)

    assert (slope, shift) == pytest.approx((0.673996, 0.0), abs=5e-7)
    assert status == CONVERGED


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.7), (0.01, 0.5), (0.3, 0.31)])
def test_two_scores_are_fitted_exactly(low, high):
    slope, shift, status = fit_one([0.0, 1.0], [50.0, 200.0], [50 * low, 200 * high])

    assert shift == pytest.approx(naive.logit(low), abs=1e-9)
    assert slope == pytest.approx(naive.logit(high) - naive.logit(low), abs=1e-9)
    assert status == CONVERGED


@LAW
@given(st.floats(0.1, 5), st.floats(-4, 4), st.integers(0, 10**6))
def test_soft_labels_of_a_line_give_the_line_back(slope, shift, seed):
    rng = np.random.default_rng(seed)
    x, n = rng.normal(size=40) * 1.5, rng.integers(0, 9, size=40).astype(float)
    n[:2] = 1.0
    t = n * probabilities(slope, shift, x)

    found = fit_one(x, n, t)

    assert found[:2] == pytest.approx((slope, shift), rel=1e-8, abs=1e-8)
    assert found[2] == CONVERGED


@LAW
@given(st.floats(0.1, 5), st.integers(0, 10**6))
def test_soft_labels_of_a_temperature_give_it_back(slope, seed):
    x = np.random.default_rng(seed).normal(size=40) * 1.5

    found = fit_one(x, np.ones(40), probabilities(slope, 0.0, x), intercept=False)

    assert found == pytest.approx((slope, 0.0, CONVERGED), rel=1e-8)


# the optimum


@pytest.mark.parametrize("seed", range(5))
def test_at_the_optimum_the_sums_and_the_weighted_sums_agree(seed):
    x, y = noisy(seed=seed)

    slope, shift, _ = fit_one(x, np.ones(300), y)

    p = probabilities(slope, shift, x)
    assert p.sum() == pytest.approx(y.sum(), abs=1e-7)
    assert (p * x).sum() == pytest.approx((y * x).sum(), abs=1e-7)


def test_without_an_intercept_the_weighted_sums_agree():
    x, y = noisy(seed=7, shift=0.0)

    slope, shift, status = fit_one(x, np.ones(300), y, intercept=False)

    p = probabilities(slope, 0.0, x)
    assert (p * x).sum() == pytest.approx((y * x).sum(), abs=1e-7)
    assert (shift, status) == (0.0, CONVERGED)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("intercept", [True, False])
def test_a_general_optimiser_finds_the_same_line(seed, intercept):
    x, y = noisy(n_rows=80, seed=seed, slope=0.7, shift=0.5 * intercept)

    slope, shift, _ = fit_one(x, np.ones(80), y, intercept=intercept)

    assert (slope, shift) == pytest.approx(naive.logistic_line(x, y, intercept=intercept), abs=1e-6)


def test_scikit_learn_without_penalty_finds_the_same_line():
    x, y = noisy(n_rows=2000, seed=3)

    slope, shift, _ = fit_one(x, np.ones(2000), y)

    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], y)
    assert (slope, shift) == pytest.approx((peer.coef_[0, 0], peer.intercept_[0]), abs=1e-6)


def test_a_bin_of_n_cells_counts_as_n_rows():
    x, y = noisy(n_rows=60)
    times = np.random.default_rng(1).integers(1, 5, size=60)

    binned = fit_one(x, times, times * y)

    assert binned == pytest.approx(
        fit_one(np.repeat(x, times), np.ones(times.sum()), np.repeat(y, times)), abs=1e-8
    )


def test_empty_bins_are_passed_over_wherever_they_lie():
    x, y = noisy(n_rows=60)

    with_gaps = fit_one(
        np.append(x, [1e6, -1e6, 0.0]), np.append(np.ones(60), np.zeros(3)), np.append(y, [0, 0, 0])
    )

    assert with_gaps == pytest.approx(fit_one(x, np.ones(60), y), abs=1e-9)


@LAW
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_moving_and_stretching_the_scores_moves_and_stretches_the_line(stretch, move):
    x, y = noisy()
    slope, shift, _ = fit_one(x, np.ones(300), y)

    moved = fit_one(stretch * x + move, np.ones(300), y)

    expected = slope / stretch, shift - slope / stretch * move
    assert moved == pytest.approx((*expected, CONVERGED), rel=1e-6, abs=1e-6)


def test_hundreds_of_millions_of_cells_are_fitted_as_well_as_a_few():
    x = np.linspace(-6, 6, 512)
    t = probabilities(0.8, -3.0, x)

    few, many = fit_one(x, np.ones(512), t), fit_one(x, np.full(512, 1e7), 1e7 * t)

    assert few == pytest.approx((0.8, -3.0, CONVERGED), abs=1e-8)
    assert many == pytest.approx((0.8, -3.0, CONVERGED), abs=1e-8)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_scores_of_any_unit_converge(scale):
    x, y = noisy()

    slope, shift, status = fit_one(scale * x, np.ones(300), y)

    expected = fit_one(x, np.ones(300), y)
    assert (slope * scale, shift, status) == pytest.approx(expected, rel=1e-7)


def test_rare_positives_at_skewed_scores_far_from_zero_converge():
    rng = np.random.default_rng(4)
    x = -30 + rng.exponential(4.0, size=20_000)
    y = (rng.random(20_000) < probabilities(1.2, 2.0, x)).astype(float)

    slope, shift, status = fit_one(x, np.ones(20_000), y)

    p = probabilities(slope, shift, x)
    assert 0 < y.sum() < 60
    assert status == CONVERGED
    assert p.sum() == pytest.approx(y.sum(), abs=1e-6)
    assert (p * x).sum() == pytest.approx((y * x).sum(), rel=1e-7)


# bounds and cases without an optimum


def test_a_slope_below_its_bound_is_set_to_it_and_the_intercept_fitted_anew():
    x, y = noisy(slope=-1.0)

    slope, shift, status = fit_one(x, np.ones(300), y, lowest=0.05, highest=50.0)

    assert (slope, status) == (pytest.approx(0.05, rel=1e-12), AT_LOWEST)
    assert probabilities(slope, shift, x).sum() == pytest.approx(y.sum(), abs=1e-7)


def test_a_slope_above_its_bound_is_set_to_it_and_the_intercept_fitted_anew():
    x, y = noisy(slope=8.0)

    slope, shift, status = fit_one(x, np.ones(300), y, lowest=0.05, highest=2.0)

    assert (slope, status) == (pytest.approx(2.0, rel=1e-12), AT_HIGHEST)
    assert probabilities(slope, shift, x).sum() == pytest.approx(y.sum(), abs=1e-7)


@pytest.mark.parametrize(("true", "bound"), [(-1.0, 0.05), (8.0, 2.0)])
def test_a_temperature_at_its_bound_has_no_intercept(true, bound):
    x, y = noisy(slope=true, shift=0.0)

    slope, shift, _ = fit_one(x, np.ones(300), y, intercept=False, lowest=0.05, highest=2.0)

    assert (slope, shift) == (pytest.approx(bound, rel=1e-12), 0.0)


@pytest.mark.parametrize("gap", [0.01, 1.0, 30.0])
def test_hard_labels_of_a_separable_class_are_no_converged_fit(gap):
    x, y = gap * np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0, 1.0])

    slope, shift, status = fit_one(x, np.ones(4), y, lowest=0.05, highest=50.0)

    assert status == AT_HIGHEST
    assert 0.05 < slope <= 50
    assert abs(shift) < slope * gap


@pytest.mark.parametrize("intercept", [True, False])
def test_a_tie_between_two_sides_that_are_apart_otherwise_is_no_converged_fit(intercept):
    x, tie = np.array([-2.0, -1.0, 0.5, 1.0, 3.0]), 0.5 * intercept
    x[2] = tie

    slope, _, status = fit_one(
        x, [1, 1, 2, 1, 1], [0, 0, 1, 1, 1], intercept=intercept, lowest=0.05, highest=50.0
    )

    assert status == AT_HIGHEST
    assert 0.05 < slope <= 50


def test_scores_on_one_side_of_zero_are_not_parted_by_a_temperature():
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.0, 1.0, 1.0])

    slope, shift, status = fit_one(x, np.ones(4), y, intercept=False)

    assert (slope, shift) == pytest.approx(naive.logistic_line(x, y, intercept=False), abs=1e-6)
    assert status == CONVERGED


@pytest.mark.parametrize(
    ("unit", "true", "status"), [(10.0, 0.02, AT_LOWEST), (1e-3, 3000.0, AT_HIGHEST)]
)
def test_the_bound_that_is_hit_is_named_for_scores_of_any_unit(unit, true, status):
    x = unit * np.random.default_rng(2).normal(size=4000)
    t = probabilities(true, 0.3, x)

    slope, _, found = fit_one(x, np.ones(4000), t, lowest=0.05, highest=50.0)

    assert found == status
    assert slope == pytest.approx(0.05 if status == AT_LOWEST else 50.0, rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 100.0, 10_000.0])
def test_at_the_bound_of_the_slope_the_sums_agree_for_scores_of_any_spread(scale):
    x, y = noisy(slope=-1.0)

    slope, shift, _ = fit_one(scale * x, np.ones(300), y, lowest=0.05, highest=50.0)

    assert slope == pytest.approx(0.05, rel=1e-12)
    assert probabilities(slope, shift, scale * x).sum() == pytest.approx(y.sum(), abs=1e-3)


def test_equal_scores_have_no_slope():
    slope, shift, status = fit_one([1.5, 1.5], [3.0, 4.0], [1.0, 2.0])

    assert (slope, shift, status) == (1.0, 0.0, STOPPED)


def test_a_class_without_cells_keeps_its_values():
    slope, shift, status = fit([[1.0, 2.0]] * 2, [[0.0, 0.0], [4.0, 4.0]], [[0.0, 0.0], [1.0, 3.0]])

    assert (slope[0], shift[0], status[0]) == (1.0, 0.0, -1)
    assert slope[1] == pytest.approx(2 * np.log(3))


def test_only_the_classes_of_the_range_are_written():
    x, n, t = [[0.0, 1.0]] * 4, [[5.0, 5.0]] * 4, [[1.0, 4.0]] * 4
    slope, shift, status = np.full(4, 9.0), np.full(4, 9.0), np.full(4, -1)

    fit_lines(matrix(x), matrix(n), matrix(t), True, -9.0, 9.0, 1, 3, slope, shift, status)

    assert [slope[0], shift[0], status[0]] == [9.0, 9.0, -1]
    assert [slope[3], shift[3], status[3]] == [9.0, 9.0, -1]
    assert slope[1:3] == pytest.approx(naive.logit(0.8) - naive.logit(0.2))


# intercepts alone


def intercept_at(x, n, t, slope):
    found = np.zeros(1)
    fit_intercepts(matrix(x), matrix(n), matrix(t), slope, 0, 1, found)
    return float(found[0])


@pytest.mark.parametrize("slope", [0.05, 1.0, 3.0])
def test_an_intercept_at_a_given_slope_makes_the_sums_agree(slope):
    x, y = noisy()

    shift = intercept_at(x, np.ones(300), y, slope)

    assert probabilities(slope, shift, x).sum() == pytest.approx(y.sum(), abs=1e-7)


@pytest.mark.parametrize("value", [-1000.0, -60.0, 0.3, 25.0, 60.0, 1000.0])
def test_an_intercept_for_equal_scores_however_large_fits_their_frequency(value):
    shift = intercept_at([value], [50.0], [10.0], 1.0)

    assert value + shift == pytest.approx(naive.logit(0.2), abs=1e-6)


def test_intercepts_of_classes_without_cells_or_outside_the_range_are_kept():
    x, n, t = [[0.0]] * 4, [[4.0], [0.0], [4.0], [4.0]], [[1.0], [0.0], [3.0], [1.0]]
    found = np.full(4, 9.0)

    fit_intercepts(matrix(x), matrix(n), matrix(t), 1.0, 1, 3, found)

    assert found.tolist() == [9.0, 9.0, pytest.approx(np.log(3)), 9.0]


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e12])
def test_the_fit_converges_however_many_cells_there_are(scale):
    # the objective is a sum so large that its last digits are lost: steps must still end
    rng = np.random.default_rng(3)
    x = np.linspace(-12, 4, 4001) + rng.normal(size=4001) * 1e-3
    n = scale * np.exp(-0.5 * (x + 5) ** 2)
    t = n * probabilities(0.8, -1.5, x) * (1 + 0.2 * np.sin(x))

    slope, shift, status = fit_one(x, n, t)

    assert status == CONVERGED
    assert n @ probabilities(slope, shift, x) == pytest.approx(t.sum(), rel=1e-9)
    assert n * x @ probabilities(slope, shift, x) == pytest.approx(t @ x, rel=1e-9)


def test_cells_that_are_sure_and_right_do_not_drown_the_others():
    x, y = noisy()
    n, t = np.append(np.ones(300), 1e15), np.append(y, 1e15)

    found = fit_one(np.append(x, 1e5), n, t)

    assert found[:2] == pytest.approx(naive.logistic_line(x, y), abs=1e-6)
    assert found[2] == CONVERGED
