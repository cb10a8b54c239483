import naive
import naive_layers
import numpy as np
import pytest
from scipy.special import expit
from simulations import drawn, histogram_of, log_loss, well_calibrated, with_missing_labels

from calibrate.hierarchy import curve as module
from calibrate.hierarchy.classes import ShrunkLines, shrunk_lines
from calibrate.hierarchy.curve import REACH, pooled_curve
from calibrate.statistics import Grid, ScoreHistogram


def curve_of(logits, labels, **options):
    histogram = histogram_of(logits, labels, **options)
    return pooled_curve(histogram, shrunk_lines(histogram))


def bent(curve, logits):
    return curve.op.apply(np.asarray(logits, dtype=np.float32))


def binned(n_bins=300, seed=0, bend=0.0):
    """Scores, cells, positives whose true logits leave the straight line."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-11, 10, n_bins)
    n = rng.integers(1, 400, size=n_bins).astype(float)
    return x, n, rng.binomial(n.astype(int), expit(x + bend * np.sin(x))).astype(float)


# what it is for


def test_where_probabilities_are_right_the_curve_is_nearly_the_identity():
    logits, labels = well_calibrated(n_rows=6000)

    curve = curve_of(logits, labels)

    inside = (logits > curve.knots[0]) & (logits < curve.knots[-1])
    expected = logits[inside]
    assert inside.mean() > 0.95
    assert curve.roughness <= 1e-2
    weight = expit(expected) * expit(-expected)
    moved = bent(curve, expected) - expected
    assert np.sqrt(np.average(moved**2, weights=weight)) < 0.05


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_a_ceiling_of_missing_labels_is_found_on_rows_not_seen(share):
    logits, labels = with_missing_labels(share)
    new, truth = with_missing_labels(share, seed=10)
    histogram = histogram_of(logits, labels)
    lines = shrunk_lines(histogram)

    curve = pooled_curve(histogram, lines)

    straight = new * lines.slope + lines.intercept
    best = np.log(1 - share) - np.log(share + np.exp(-new))
    found = log_loss(bent(curve, straight), truth)
    assert found < log_loss(straight, truth) - 0.01
    assert found - log_loss(best, truth) < 0.25 * (log_loss(straight, truth) - found)
    certain = new > 2
    p = expit(bent(curve, straight))[certain].mean()
    assert p == pytest.approx(truth[certain].mean(), abs=0.02)
    assert expit(straight)[certain].mean() > p + 0.08


@pytest.mark.parametrize("seed", range(2))
def test_few_positives_of_many_classes_are_not_taken_for_a_bend(seed):
    logits, labels = well_calibrated(n_rows=300, n_classes=150, seed=seed)
    new, truth = well_calibrated(n_rows=5000, n_classes=150, seed=seed + 50)
    histogram = histogram_of(logits, labels)
    lines = shrunk_lines(histogram)

    curve = pooled_curve(histogram, lines)

    straight = new * lines.slope + lines.intercept
    assert log_loss(bent(curve, straight), truth) < 1.003 * log_loss(straight, truth)


# shape


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_labels_the_curve_rises(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(200, 5)) * rng.choice([0.1, 3.0, 40.0])
    labels = drawn(4 * np.sin(3 * logits), rng)

    curve = curve_of(logits, labels)

    assert (np.diff(curve.knots) > 0).all()
    assert (np.diff(curve.values) >= 0.0199 * np.diff(curve.knots)).all()
    assert (np.diff(bent(curve, np.sort(logits.ravel()))) >= 0).all()


def test_beyond_half_an_expected_positive_and_negative_it_goes_on_at_a_quarter():
    x, n, y = binned()

    curve = module._fit(x, n, y)

    rising = np.cumsum(n * expit(x))
    falling = np.cumsum((n * expit(-x))[::-1])[::-1]
    assert curve.knots[0] == x[rising >= 0.5][0]
    assert curve.knots[-1] == x[falling >= 0.5][-1]
    below, above = bent(curve, [[curve.knots[0] - 4.0, curve.knots[-1] + 4.0]])[0]
    assert below == pytest.approx(curve.values[0] - 1.0, abs=1e-5)
    assert above == pytest.approx(curve.values[-1] + 1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("positives", "negatives", "made"), [(9, 90, False), (10, 90, True), (90, 9, False)]
)
def test_fewer_than_ten_positives_or_negatives_make_no_curve(positives, negatives, made):
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [positives, negatives]).reshape(-1, 1)
    logits = rng.normal(size=labels.shape) + labels
    histogram = histogram_of(logits, labels)
    zero, one = np.zeros(1), np.ones(1)
    lines = ShrunkLines(zero, one, zero, np.zeros((1, 3)), np.zeros(2), np.eye(2))

    assert (pooled_curve(histogram, lines) is not None) == made


def test_scores_in_one_place_make_no_bend():
    curve = module._fit(np.array([-1.5]), np.array([100.0]), np.array([30.0]))

    assert curve.values.tolist() == curve.knots.tolist() == [-1.5]
    assert curve.roughness == 0.0
    assert bent(curve, [[-1.5]]) == -1.5


def test_scores_closer_than_knots_may_lie_make_a_straight_line():
    x = np.linspace(0, 0.005, 4)

    curve = module._fit(x, np.full(4, 50.0), np.full(4, 25.0))

    assert curve.values.tolist() == curve.knots.tolist()


def test_three_knots_are_enough_for_a_curve():
    x = np.linspace(0, 0.025, 30)

    curve = module._fit(x, np.full(30, 1e4), 1e4 * expit(x + 1.0))

    assert len(curve.knots) == 3
    np.testing.assert_allclose(curve.values, curve.knots + 1.0, atol=0.01)


@pytest.mark.parametrize("sign", [-1, 1])
def test_cells_all_thought_sure_of_one_side_have_a_curve_over_all_of_them(sign):
    x, n = np.sort(sign * np.linspace(20, 30, 50)), np.full(50, 100.0)
    y = n * (0.2 if sign < 0 else 0.8)

    curve = module._fit(x, n, y)

    assert (curve.knots[0], curve.knots[-1]) == (x[0], x[-1])
    assert expit(curve.values).mean() == pytest.approx(y.sum() / n.sum(), abs=0.02)


# the fit at a given variance


@pytest.mark.parametrize("variance", [1e-5, 0.01, 1.0, 30.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_offsets_and_evidence_are_those_of_plain_optimisation(variance, seed):
    x, n, y = binned(seed=seed, bend=0.6)
    knots = np.array([-6.0, -4.5, -2.0, -1.8, 0.0, 1.0, 3.0])

    offset, evidence = module._Spline(x, n, y, knots).fit(variance, np.zeros(7))

    expected, likely = naive_layers.smooth_offsets(x, n, y, knots, variance)
    np.testing.assert_allclose(offset, expected, atol=1e-4)
    assert evidence == pytest.approx(likely, abs=1e-3)


def test_a_start_elsewhere_leads_to_the_same_offsets():
    x, n, y = binned(bend=0.6)
    spline = module._Spline(x, n, y, np.linspace(-6, 3, 9))

    offset, evidence = spline.fit(0.1, np.zeros(9))
    again, other = spline.fit(0.1, np.linspace(-8, 8, 9))

    np.testing.assert_allclose(again, offset, atol=1e-4)
    assert other == pytest.approx(evidence, abs=1e-5)


def test_the_variance_is_that_of_highest_evidence():
    x, n, y = binned(bend=0.8)

    curve = module._fit(x, n, y)

    held = np.clip(x, *curve.knots[[0, -1]])
    held = held + 0.25 * (x - held)
    found = {
        variance: naive_layers.smooth_offsets(held, n, y, curve.knots, variance)
        for variance in (
            curve.roughness / np.sqrt(10),
            curve.roughness,
            curve.roughness * np.sqrt(10),
        )
    }
    assert max(found, key=lambda variance: found[variance][1]) == curve.roughness
    offset = found[curve.roughness][0]
    rising = (np.diff(0.98 * curve.knots + offset) > 0).all()
    assert rising
    np.testing.assert_allclose(curve.values, curve.knots + offset, atol=1e-4)
    p = expit(np.interp(held, curve.knots, curve.values))
    truth = expit(x + 0.8 * np.sin(x))
    inside = held == x
    assert np.average((p - truth)[inside] ** 2, weights=n[inside]) < 1e-3


def test_where_offsets_would_fall_they_are_pooled_by_what_the_cells_tell():
    x, n, _ = binned()
    y = n * expit(np.where(x < 0, x, -3 * x))

    curve = module._fit(x, n, y)

    held = np.clip(x, *curve.knots[[0, -1]])
    spline = module._Spline(held + 0.25 * (x - held), n, y, curve.knots)
    offset, _ = spline.fit(curve.roughness, np.zeros(len(curve.knots)))
    eta = held + 0.25 * (x - held) + naive_layers.hats(x, curve.knots) @ offset
    told = naive_layers.hats(x, curve.knots).T @ (n * expit(eta) * expit(-eta))
    free, rise = 0.98 * curve.knots + offset, curve.values - 0.02 * curve.knots
    flat = np.abs(rise - rise[-1]) < 1e-6
    assert 2 < flat.sum() < len(flat)
    assert rise[-1] == pytest.approx(np.average(free[flat], weights=told[flat]), abs=1e-3)


def test_what_cells_tell_of_a_knot_is_positive_however_sure_they_are():
    x = np.linspace(25, 39, 40)
    spline = module._Spline(x, np.ones(40), np.ones(40), np.array([25.0, 32.0, 39.0]))

    told = spline.information(np.zeros(3))

    expected = naive_layers.hats(x, [25.0, 32.0, 39.0]).T @ (expit(x) * expit(-x))
    np.testing.assert_allclose(told, expected, atol=2e-6)
    assert (told > 0).all()


# knots


def test_knots_lie_where_cells_tell_most_and_evenly_between_the_ends():
    x, n, _ = binned()

    knots = module._knots(x, n, -6.0, 5.0)

    assert (knots[0], knots[-1]) == (-6.0, 5.0)
    assert (np.diff(knots) > 0.01).all()
    inner = set(np.linspace(-6, 5, 16)[1:-1].round(9))
    others = [knot for knot in knots[1:-1] if round(knot, 9) not in inner]
    assert len(inner) >= len(knots) - 2 - len(others) >= 12
    told = np.cumsum(n * expit(x) * expit(-x))
    shares = np.interp(others, x, told / told[-1])
    wanted = np.interp((np.arange(16) + 0.5) / 16, told / told[-1], x)
    assert (np.abs(wanted[:, None] - knots).min(axis=1) < 0.0101).all()
    # one of 16 quantiles each; some lie too close to a knot that is there already
    assert len(others) > 10
    np.testing.assert_allclose(shares * 16 % 1, 0.5, atol=1e-6)


# counting


def test_cells_are_counted_where_their_class_would_put_them_on_any_number_of_threads(monkeypatch):
    logits, labels = well_calibrated(n_rows=200, n_classes=7)
    histogram = histogram_of(logits, labels, n_bins=64)
    lines = shrunk_lines(histogram)
    found = []

    for threads in ("1", "3", "9"):
        monkeypatch.setenv("CALIBRATE_NUM_THREADS", threads)
        found.append(module._left_out(histogram, lines))

    for cells, positives in found[1:]:
        assert np.array_equal(cells, found[0][0])
        assert np.array_equal(positives, found[0][1])
    cells, positives = found[0]
    assert (cells.sum(), positives.sum()) == (labels.size, labels.sum())
    places = np.linspace(-REACH, REACH, len(cells), endpoint=False) + REACH / len(cells)
    fitted = logits * lines.slope + lines.intercept
    # a cell that was fitted to is less sure of its label where it was not
    of_positives = (places * positives).sum() / positives.sum()
    assert of_positives < fitted[labels].mean()
    negatives = cells - positives
    assert (places * negatives).sum() / negatives.sum() > fitted[~labels].mean()
    assert of_positives == pytest.approx(fitted[labels].mean(), abs=0.4)


@pytest.mark.parametrize("score", [-7.3, 0.0, 1.0, 12.004])
def test_cells_are_put_in_the_middle_of_their_bin(score):
    labels = np.repeat([[True], [False]], 50, axis=0)
    zero, one = np.zeros(1), np.ones(1)
    lines = ShrunkLines(zero, one, zero, np.zeros((1, 3)), np.zeros(2), np.eye(2))

    curve = pooled_curve(histogram_of(np.full((100, 1), score), labels), lines)

    assert curve.knots.tolist() == [pytest.approx(score, abs=0.5 * 80 / 8192 + 1e-9)]


def test_a_histogram_of_any_grid_serves():
    logits, labels = well_calibrated(n_rows=2000, n_classes=5)
    grid = Grid(np.full(5, -12.0), np.full(5, 8.0), 40)
    data = histogram_of(logits, labels)

    from calibrate.data import labelled_logits

    coarse = ScoreHistogram.of(labelled_logits(logits, labels), grid)
    one, other = (pooled_curve(h, shrunk_lines(h)) for h in (data, coarse))

    at = np.linspace(-3, 1, 9)[None, :]
    np.testing.assert_allclose(bent(one, at), bent(other, at), atol=0.15)


def test_the_op_is_the_curve():
    x, n, y = binned(bend=0.8)

    curve = module._fit(x, n, y)

    inside = np.linspace(curve.knots[0], curve.knots[-1], 50)
    expected = [naive.piecewise_linear(z, curve.knots, curve.values, 0.25, 0.25) for z in inside]
    np.testing.assert_allclose(bent(curve, inside[None, :])[0], expected, atol=1e-5)
