import naive
import naive_layers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.kernels.shrinkage import count_left_out, fit_shrunk

LAW = settings(derandomize=True, deadline=None, max_examples=40)

WIDE = np.array([[0.8, 0.1], [0.1, 0.3]])
REACH = 40.0


def matrix(values, dtype=np.float64):
    return np.atleast_2d(np.array(values, dtype=dtype))


def fit(x, n, t, *, centre, mean=(0.0, 0.0), covariance=WIDE, lowest=0.05, start=None, part=None):
    """Level, slope and second derivatives of each class in the range `part`."""
    x, n, t, centre = matrix(x), matrix(n), matrix(t), np.atleast_1d(np.float64(centre))
    inverse = np.linalg.inv(covariance)
    precision = np.array([inverse[0, 0], inverse[0, 1], inverse[1, 1]])
    level, slope = (centre.copy(), np.ones(len(x))) if start is None else start
    hessian, (first, last) = np.full((len(x), 3), -9.0), part or (0, len(x))
    fit_shrunk(
        x, n, t, centre, np.array(mean, dtype=np.float64), precision, lowest, first, last, level,
        slope, hessian,
    )  # fmt: skip
    return level, slope, hessian


def full(parts):
    return np.array([[parts[0], parts[1]], [parts[1], parts[2]]])


scores = st.one_of(
    st.sampled_from([-3.0, -3.0000002, 0.0, 1e-30, 2.5, 2.5000002, 100.0, -1e4, 1e4]),
    st.floats(-6, 6, width=32),
)
cells = st.tuples(scores, st.integers(0, 30), st.floats(0, 1)).map(
    lambda cell: (cell[0], cell[1], float(round(cell[1] * cell[2])))
)
priors = st.tuples(
    st.tuples(st.floats(-2, 2), st.floats(-0.5, 0.5)),
    st.tuples(st.floats(0.01, 2), st.floats(0.01, 1), st.floats(-0.9, 0.9)),
)


def covariance_of(level, slope, correlation):
    across = correlation * np.sqrt(level * slope)
    return np.array([[level, across], [across, slope]])


def penalised(line, x, n, t, centre, mean, covariance):
    off = np.array([line[0] - centre - mean[0], line[1] - 1 - mean[1]])
    with np.errstate(invalid="ignore"):
        share = np.nan_to_num(np.array(t) / np.array(n))
    eta = line[0] + line[1] * (np.array(x) - centre)
    return naive.log_loss(eta, share, np.array(n)) + 0.5 * off @ np.linalg.solve(covariance, off)


# the most probable line


@LAW
@given(st.lists(cells, min_size=1, max_size=8), priors, st.floats(-3, 3))
def test_no_line_is_more_probable_than_the_one_that_is_found(case, prior, centre):
    (x, n, t), mean, covariance = zip(*case, strict=True), prior[0], covariance_of(*prior[1])

    level, slope, _ = fit(x, n, t, centre=centre, mean=mean, covariance=covariance)

    best = naive_layers.most_probable_line(x, n, t, centre, mean, covariance)
    found = np.array([level[0], slope[0]])
    ours, theirs = (penalised(line, x, n, t, centre, mean, covariance) for line in (found, best))
    assert slope[0] >= 0.05
    assert ours <= theirs + 1e-7 + 1e-9 * abs(theirs)


@pytest.mark.parametrize("seed", range(6))
def test_the_line_is_that_of_a_general_optimiser(seed):
    rng = np.random.default_rng(seed)
    x, n = rng.normal(size=30) * 2 - 1, rng.integers(0, 40, size=30)
    t = rng.binomial(n, 1 / (1 + np.exp(-(0.6 * x - 1))))
    mean, covariance = (0.4, -0.2), covariance_of(0.3, 0.05, 0.5)

    level, slope, hessian = fit(x, n, t, centre=-0.7, mean=mean, covariance=covariance)

    line = naive_layers.most_probable_line(x, n, t, -0.7, mean, covariance)
    second = naive_layers.second_derivatives(line, x, n, -0.7, covariance)
    np.testing.assert_allclose([level[0], slope[0]], line, atol=1e-5)
    np.testing.assert_allclose(full(hessian[0]), second, rtol=1e-4)


def test_a_start_far_away_leads_to_the_same_line():
    x, n, t = [-2.0, 0.0, 1.0, 3.0], [50, 20, 20, 10], [3, 8, 11, 9]
    expected = fit(x, n, t, centre=0.0)

    for start in ((-30.0, 0.05), (25.0, 40.0), (0.0, -3.0)):
        level, slope, hessian = fit(
            x, n, t, centre=0.0, start=(np.array([start[0]]), np.array([start[1]]))
        )

        assert (level[0], slope[0]) == pytest.approx((expected[0][0], expected[1][0]), abs=1e-5)
        np.testing.assert_allclose(hessian, expected[2], rtol=1e-4)


def test_a_class_without_cells_is_the_mean_of_the_prior_with_its_covariance():
    level, slope, hessian = fit(
        [1.0, 5.0], [0, 0], [0, 0], centre=-2.0, mean=(0.3, 0.2), covariance=WIDE
    )

    assert (level[0], slope[0]) == pytest.approx((-1.7, 1.2), abs=1e-12)
    np.testing.assert_allclose(np.linalg.inv(full(hessian[0])), WIDE, rtol=1e-12)


@pytest.mark.parametrize("start", [(1.7, 1.2), (-1.7, 1.2), (1.7, 0.05), (-1.7, 30.0)])
def test_a_class_without_cells_finds_the_mean_of_the_prior_from_anywhere(start):
    level, slope, _ = fit(
        [1.0], [0], [0], centre=-2.0, mean=(0.3, 0.2), start=tuple(np.array([s]) for s in start)
    )

    assert (level[0], slope[0]) == pytest.approx((-1.7, 1.2), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_prior_that_leaves_all_open_gives_unpenalised_logistic_regression(seed):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    x = rng.normal(size=400) * 2 + 3
    t = rng.random(400) < 1 / (1 + np.exp(-(0.8 * x - 2)))

    level, slope, _ = fit(x, np.ones(400), t, centre=2.0, covariance=1e9 * np.eye(2))

    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], t)
    assert slope[0] == pytest.approx(peer.coef_[0, 0], abs=2e-6)
    assert level[0] - 2 * slope[0] == pytest.approx(peer.intercept_[0], abs=6e-6)


@pytest.mark.parametrize("positives", [0, 40])
def test_a_prior_that_leaves_nothing_open_is_the_line_whatever_the_labels(positives):
    level, slope, _ = fit(
        [-1.0, 2.0], [20, 20], [positives / 2] * 2, centre=0.5, mean=(0.3, 0.2),
        covariance=1e-12 * np.eye(2),
    )  # fmt: skip

    assert (level[0], slope[0]) == pytest.approx((0.8, 1.2), abs=1e-6)


@pytest.mark.parametrize("correlation", [-0.8, 0.0, 0.8])
def test_at_its_bound_the_slope_stays_and_the_level_is_fitted_anew(correlation):
    x, n = [-3.0, -1.0, 1.0, 3.0], [100, 100, 100, 100]
    t, covariance = [90, 70, 20, 5], covariance_of(2.0, 0.5, correlation)

    level, slope, _ = fit(x, n, t, centre=0.2, mean=(0.1, 0.0), covariance=covariance)

    line = naive_layers.most_probable_line(x, n, t, 0.2, (0.1, 0.0), covariance)
    assert slope[0] == pytest.approx(0.05, abs=1e-12)
    assert level[0] == pytest.approx(line[0], abs=2e-5)


def test_labels_that_scores_part_leave_the_line_finite():
    level, slope, hessian = fit(
        [-1e4, -1.0, 1.0, 1e4], [1e6, 5, 5, 1e6], [0, 0, 5, 1e6], centre=0.0
    )

    assert np.isfinite([level, slope]).all()
    assert 1.0 < slope[0] < 10.0
    assert np.linalg.det(full(hessian[0])) > 0


@pytest.mark.parametrize("score", [0.0, -700.0, 1e4])
def test_equal_scores_move_the_level_to_their_frequency_and_hardly_the_slope(score):
    level, slope, _ = fit([score], [1e7], [2e6], centre=score, covariance=np.diag([1e9, 0.05]))

    assert level[0] == pytest.approx(naive.logit(0.2), abs=1e-3)
    assert slope[0] == pytest.approx(1.0, abs=1e-9)


def test_only_the_classes_of_the_range_are_written():
    x, n, t = [[0.0, 1.0]] * 4, [[50.0, 50.0]] * 4, [[10.0, 40.0]] * 4

    level, slope, hessian = fit(x, n, t, centre=np.zeros(4), part=(1, 3))

    assert level[[0, 3]].tolist() == [0.0, 0.0]
    assert slope[[0, 3]].tolist() == [1.0, 1.0]
    assert (hessian[[0, 3]] == -9.0).all()
    assert (level[1:3] == level[1]).all()
    assert level[1] != 0.0
    assert slope[1] > 1.5


# what each cell would get had it not been there


def left_out(x, n, y, *, centre, level, slope, covariance, n_grid=8192, part=None):
    """``{place: (cells, positives)}`` of the grid."""
    counts, positives = np.zeros(n_grid, np.int64), np.zeros(n_grid, np.int64)
    x, n, y = matrix(x), matrix(n, np.int64), matrix(y, np.int64)
    first, last = part or (0, len(x))
    of = [np.atleast_1d(np.float64(v)) for v in (centre, level, slope)]
    count_left_out(x, n, y, *of, matrix(covariance), first, last, REACH, counts, positives)
    return {int(g): (int(counts[g]), int(positives[g])) for g in np.flatnonzero(counts)}


def place_of(logit, n_grid=8192):
    return int(min(max((logit + REACH) * n_grid / (2 * REACH), 0), n_grid - 1))


@pytest.mark.parametrize("seed", range(4))
def test_each_cell_comes_close_to_where_a_fit_without_it_puts_it(seed):
    rng = np.random.default_rng(seed)
    x, n = np.sort(rng.normal(size=12) * 1.5 - 1), rng.integers(0, 9, size=12)
    y = rng.binomial(n, 1 / (1 + np.exp(-x)))
    mean, covariance, centre = (0.1, 0.0), covariance_of(0.5, 0.1, 0.3), -0.5
    level, slope, hessian = fit(x, n, y, centre=centre, mean=mean, covariance=covariance)
    spread = np.linalg.inv(full(hessian[0]))

    found = left_out(
        x, n, y, centre=centre, level=level, slope=slope,
        covariance=[spread[0, 0], spread[0, 1], spread[1, 1]], n_grid=1 << 20,
    )  # fmt: skip

    width = 2 * REACH / (1 << 20)
    for kind in (0, 1):
        ours = [
            g * width - REACH
            for g, (cells, hits) in found.items()
            for _ in range(hits if kind else cells - hits)
        ]
        exact = [
            logit
            for logit, cells, positive in naive_layers.left_out_logits(
                x, n, y, centre, mean, covariance
            )
            for _ in range(cells)
            if positive == kind
        ]
        fitted = [
            level[0] + slope[0] * (s - centre)
            for s, cells, hits in zip(x, n, y, strict=True)
            for _ in range(hits if kind else cells - hits)
        ]
        moved = np.abs(np.sort(exact) - np.sort(fitted))
        # one step away from the fit: the rest is of second order
        assert (np.abs(np.sort(ours) - np.sort(exact)) <= 0.15 * moved + 2 * width).all()


def test_the_step_of_one_cell_is_that_of_the_formula():
    covariance, d = [0.4, -0.1, 0.2], 1.5
    eta = -0.3 + 1.1 * d
    p = naive.sigmoid(eta)
    h = 0.4 - 2 * 0.1 * d + 0.2 * d * d
    moved = h / (1 - h * p * (1 - p))

    found = left_out([2.0], [7], [3], centre=0.5, level=-0.3, slope=1.1, covariance=covariance)

    assert found == {
        place_of(eta - moved * (1 - p)): (3, 3),
        place_of(eta + moved * p): (4, 0),
    }


def test_a_cell_that_alone_decides_its_logit_moves_no_more_than_ten_variances():
    found = left_out(
        [0.0], [1], [1], centre=0.0, level=0.0, slope=1.0, covariance=[100.0, 0.0, 0.0],
        n_grid=1 << 20,
    )  # fmt: skip

    assert found == {0: (1, 1)}
    h = 3.99
    found = left_out(
        [0.0], [1], [1], centre=0.0, level=0.0, slope=1.0, covariance=[h, 0.0, 0.0],
        n_grid=1 << 20,
    )  # fmt: skip
    assert found == {place_of(-10 * h * 0.5, 1 << 20): (1, 1)}


def test_what_lies_beyond_the_grid_is_counted_at_its_ends():
    found = left_out(
        [-1e30, -300.0, 1e4, 3e38], [5, 6, 7, 8], [1, 2, 3, 8], centre=0.0, level=0.0, slope=1.0,
        covariance=[1e-6, 0.0, 0.0],
    )  # fmt: skip

    assert found == {0: (11, 3), 8191: (15, 11)}


def test_a_logit_that_is_no_number_is_counted_within_the_grid():
    found = left_out(
        [0.0], [5], [2], centre=0.0, level=np.nan, slope=1.0, covariance=[1.0, 0.0, 1.0]
    )

    assert found == {0: (5, 2)}


@pytest.mark.parametrize("far", [1e10, 1e30, 1e38])
def test_scores_that_cancel_every_digit_leave_the_line_finite(far):
    for x in ([far], [-far, far], [far, 0.9 * far, far], [0.0, far]):
        n = np.full(len(x), 8.0)

        level, slope, hessian = fit(
            x, n, n / 2, centre=0.0, covariance=np.diag([far, 1.0]), lowest=0.05
        )

        assert np.isfinite([level[0], slope[0], *hessian[0]]).all()
        assert slope[0] >= 0.05


def test_counts_are_added_to_and_classes_out_of_the_range_are_not():
    x, n, y = [[0.0]] * 4, [[3]] * 4, [[1]] * 4
    zeros = np.zeros(4)
    arguments = {
        "centre": zeros,
        "level": zeros,
        "slope": zeros + 1,
        "covariance": np.zeros((4, 3)),
    }

    all_of_them = left_out(x, n, y, **arguments)

    assert all_of_them == {4096: (12, 4)}
    assert left_out(x, n, y, part=(1, 3), **arguments) == {4096: (6, 2)}


def test_every_cell_is_counted_once():
    rng = np.random.default_rng(3)
    n = rng.integers(0, 6, size=(5, 20))
    y = rng.binomial(n, 0.4)

    found = left_out(
        rng.normal(size=(5, 20)) * 20, n, y, centre=np.zeros(5), level=rng.normal(size=5),
        slope=np.ones(5), covariance=np.tile([0.3, 0.0, 0.1], (5, 1)),
    )  # fmt: skip

    assert sum(cells for cells, _ in found.values()) == n.sum()
    assert sum(hits for _, hits in found.values()) == y.sum()
