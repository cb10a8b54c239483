import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from calibrate.kernels.beta import AT_HIGHEST, CONVERGED, STOPPED, STRAIGHT, fit_betas
from calibrate.kernels.logistic import fit_lines

LAW = settings(derandomize=True, deadline=None, max_examples=60)


def fit(x, n, t, *, lowest=0.05, highest=50.0):
    """``(a, b, c)`` and status of each line; `t` counts positives."""
    x, n, t = (np.atleast_2d(np.array(part, dtype=np.float64)) for part in (x, n, t))
    abc, status = np.full((len(x), 3), 7.0), np.full(len(x), -1)
    fit_betas(x, n, t, lowest, highest, 0, len(x), abc, status)
    return abc, status


def fit_one(x, n, t, **options):
    abc, status = fit(x, n, t, **options)
    return abc[0], int(status[0])


def sigmoids(abc, x):
    return np.array([naive.sigmoid(naive.beta(z, *abc)) for z in x])


def binned(seed, n_bins=60, spread=3.0, centre=0.0, truth=(0.6, 1.5, -1.0)):
    """Scores, cells and positives drawn from a beta map."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.normal(centre, spread, size=n_bins))
    n = rng.integers(1, 80, size=n_bins)
    return x, n.astype(float), rng.binomial(n, sigmoids(truth, x)).astype(float)


@LAW
@given(st.floats(0, 5), st.floats(0, 5), st.floats(-4, 4), st.integers(0, 10**6))
def test_soft_labels_of_a_map_give_the_map_back(a, b, c, seed):
    """Target 11."""
    x, n, _ = binned(seed)
    a, b = (a, b) if max(a, b) > 0.1 else (a + 0.1, b + 0.1)

    found, status = fit_one(x, n, n * sigmoids((a, b, c), x))

    assert found == pytest.approx([a, b, c], abs=1e-6)
    assert status == CONVERGED


def test_soft_labels_of_a_line_give_equal_slopes():
    x, n, _ = binned(3)

    found, _ = fit_one(x, n, n * sigmoids((0.7, 0.7, -1.2), x))

    assert found == pytest.approx([0.7, 0.7, -1.2], abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_inside_its_bounds_it_is_the_logistic_regression_on_two_features(seed):
    """Target 28."""
    x, n, t = binned(seed)

    found, status = fit_one(x, n, t)

    features = np.array([[-naive.softplus(-z), naive.softplus(z)] for z in x])
    reference = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(
        np.concatenate([features, features]),
        np.repeat([1, 0], len(x)),
        sample_weight=np.concatenate([t, n - t]),
    )
    assert status == CONVERGED
    assert found == pytest.approx([*reference.coef_[0], reference.intercept_[0]], abs=2e-5)


@LAW
@given(
    st.integers(0, 10**6), st.sampled_from([0.3, 2.0, 6.0]), st.sampled_from([-6.0, 0.0, 5.0]),
    st.floats(-2, 3), st.floats(-2, 3), st.integers(3, 40),
)  # fmt: skip
def test_no_map_within_the_bounds_has_less_loss(seed, spread, centre, a, b, n_bins):
    x, n, t = binned(seed, n_bins, spread, centre, (a, b, 0.0))
    t = 0.01 * n + 0.98 * t

    found, status = fit_one(x, n, t, lowest=0.0)

    reached = naive.beta_loss(found, x, t / n, n)
    best = naive.beta_loss(naive.beta_map(x, t / n, n), x, t / n, n)
    assert reached <= best + 1e-7 * abs(best)
    assert (found[:2] >= 0).all()
    assert (found[:2] <= 50).all()
    assert status in (CONVERGED, AT_HIGHEST, STRAIGHT, STOPPED)


@pytest.mark.parametrize(("truth", "dropped"), [((-0.8, 1.5, 0.0), 0), ((1.5, -0.8, 0.0), 1)])
def test_a_negative_slope_is_dropped_and_the_rest_fitted_anew(truth, dropped):
    x, n, t = binned(1, truth=truth)

    found, status = fit_one(x, n, t)

    feature = np.array([naive.softplus(z) if dropped == 0 else -naive.softplus(-z) for z in x])
    slope, intercept = naive.logistic_line(feature, t / n, n)
    assert found[dropped] == 0.0
    assert found[1 - dropped] == pytest.approx(slope, abs=1e-5)
    assert found[2] == pytest.approx(intercept, abs=1e-5)
    assert status == CONVERGED


def test_scores_that_fall_with_the_labels_keep_the_least_slope_on_both_sides():
    x, n, t = binned(2, truth=(-1.0, -1.0, 0.5))

    found, status = fit_one(x, n, t)

    assert found[:2].tolist() == [0.05, 0.05]
    p = sigmoids(found, x)
    assert np.sum(n * p) == pytest.approx(t.sum(), rel=1e-9)
    assert status == STOPPED


def test_a_slope_stops_at_the_highest():
    x, n, t = binned(2, truth=(9.0, 1.0, 0.0))

    found, status = fit_one(x, n, t, highest=3.0)

    assert found[0] == 3.0
    assert 0.0 < found[1] < 3.0
    assert status == AT_HIGHEST


@pytest.mark.parametrize(
    ("x", "n"),
    [
        ([0.0, 1.0], [50.0, 200.0]),
        ([30.0, 31.0, 33.0, 36.0], [10.0, 20.0, 20.0, 10.0]),
        ([-36.0, -33.0, -30.5], [10.0, 20.0, 20.0]),
        ([2.0, 2.0 + 1e-7, 2.0 + 2e-7], [10.0, 20.0, 20.0]),
    ],
)
def test_scores_that_tell_no_bend_get_a_line(x, n):
    t = np.array(n) * np.linspace(0.2, 0.8, len(x))
    highest = 1e9

    found, status = fit_one(x, n, t, highest=highest)

    slope, shift, line_status = np.ones(1), np.zeros(1), np.zeros(1, dtype=np.int64)
    arrays = (np.array([x]), np.array([n]), t[None])
    fit_lines(*arrays, True, 0.0, highest, 0, 1, slope, shift, line_status)
    assert found[0] == found[1] == pytest.approx(slope[0], rel=1e-6)
    assert found[2] == pytest.approx(shift[0], rel=1e-6)
    assert status == STRAIGHT


def test_a_class_without_cells_keeps_its_values_and_one_score_is_not_fitted():
    abc, status = fit([[0.0, 1.0], [2.0, 2.0]], [[0, 0], [5, 5]], [[0, 0], [1, 2]])

    assert abc.tolist() == [[7.0] * 3] * 2
    assert status.tolist() == [-1, STOPPED]


def test_only_the_range_is_written():
    x, n, t = (np.stack([part] * 3) for part in binned(0))
    abc, status = np.zeros((3, 3)), np.full(3, -1)

    fit_betas(x, n, t, 0.05, 50.0, 1, 2, abc, status)

    assert (abc[[0, 2]] == 0).all()
    assert status.tolist() == [-1, CONVERGED, -1]


@LAW
@given(st.integers(0, 10**6), st.floats(-5, 5))
def test_empty_bins_change_nothing_and_probabilities_add_up_to_the_targets(seed, empty):
    x, n, t = binned(seed)

    found, status = fit_one(x, n, t)
    with_empty, _ = fit_one([*x, empty], [*n, 0], [*t, 0])

    assert found.tolist() == with_empty.tolist()
    p = sigmoids(found, x)
    assert np.sum(n * p) == pytest.approx(t.sum(), rel=1e-8)
    if status == CONVERGED and found[0] > 0 and found[1] > 0:
        along = np.array([naive.softplus(z) for z in x])
        assert np.sum(n * p * along) == pytest.approx(np.sum(t * along), rel=1e-7)
