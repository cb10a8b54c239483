import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import VennAbers
from calibrate.data import labelled_logits
from calibrate.ops import LOWEST
from calibrate.statistics import Evidence

pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")

LAW = settings(derandomize=True, deadline=None, max_examples=80)

NEXT = float(np.nextafter(np.float32(1), np.float32(2)))


def drawn(n_rows=500, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.linspace(0.1, 0.5, n_classes)
    return (rng.normal(size=labels.shape) + 1.2 * labels).astype(np.float32), labels


def sigmoids(calibrated):
    return 1 / (1 + np.exp(-calibrated.astype(float)))


def merged(p0, p1):
    return float(p1 / (1 - p0 + p1))


def test_the_published_fixture():
    """Target 23."""
    scores = np.array([[0.1], [0.3], [0.35], [0.6], [0.8]])
    fitted = VennAbers(resolution=0).fit(scores, np.array([[0], [0], [1], [0], [1]]))
    new = np.array([[0.2], [0.5], [0.9]])

    (p0, p1), p = fitted.intervals(new), sigmoids(fitted.transform(new))

    assert p0[:, 0] == pytest.approx([0, 1 / 3, 1 / 2], abs=1e-7)
    assert p1[:, 0] == pytest.approx([1 / 2, 2 / 3, 1], abs=1e-7)
    assert p[:, 0] == pytest.approx([1 / 3, 1 / 2, 2 / 3], abs=1e-7)


cells = st.lists(
    st.tuples(
        st.one_of(
            st.integers(-3, 3).map(float),
            # no number lies above the largest, for what holds beyond it to begin at
            st.sampled_from([1.0, NEXT, -0.0, 1e-45, 9e37, float(LOWEST), -np.inf]),
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=10,
)


@LAW
@given(cells, st.lists(st.floats(-4, 4, width=32), max_size=3))
def test_it_is_two_isotonic_fits_with_the_new_score_among_the_others(rows, more):
    scores, labels = np.float32([[z] for z, _ in rows]), np.array([[y] for _, y in rows])
    if not labels.any():
        return
    fitted = VennAbers(resolution=0).fit(scores, labels, nan="negative")
    around = [float(np.nextafter(np.float32(1), np.float32(0))), 1.0, NEXT, 0.0, 1e-45, 0.5]
    new = np.float32([[z] for z in [*around, *more, *(z for z, _ in rows if z > -np.inf)]])

    (p0, p1), p = fitted.intervals(new), sigmoids(fitted.transform(new))

    for place, z in enumerate(new[:, 0]):
        low, high = naive.venn_abers(scores[:, 0], labels[:, 0], float(z))
        assert p0[place, 0] == pytest.approx(float(low), abs=1e-6)
        assert p1[place, 0] == pytest.approx(float(high), abs=1e-6)
        assert p[place, 0] == pytest.approx(merged(low, high), abs=1e-6)


@pytest.mark.parametrize("resolution", [0.01, 0.2])
def test_fewer_steps_stay_near_and_intervals_only_grow(resolution):
    scores, labels = drawn()
    exact, thin = (VennAbers(r).fit(scores, labels) for r in (0, resolution))
    new = np.linspace(-4, 5, 3001, dtype=np.float32)[:, None].repeat(3, axis=1)

    (p0, p1), (thin0, thin1) = exact.intervals(new), thin.intervals(new)

    assert np.abs(thin.transform(new) - exact.transform(new)).max() <= resolution / 2 + 1e-5
    assert (thin0 <= p0).all()
    assert (thin1 >= p1).all()
    for ours, theirs in ((thin0, p0), (thin1, p1)):
        inner = (theirs > 0) & (theirs < 1) & (ours > 0) & (ours < 1)
        logits = [np.log(p[inner]) - np.log1p(-p[inner]) for p in (ours, theirs)]
        assert np.abs(logits[0] - logits[1]).max() <= resolution + 1e-4
    assert len(thin.op_.knots) < len(exact.op_.knots)


def test_intervals_hold_the_merged_probability_and_rise():
    scores, labels = drawn()
    fitted = VennAbers(resolution=0).fit(scores, labels)
    new = np.sort(np.random.default_rng(1).normal(size=(400, 3)).astype(np.float32) * 3, axis=0)

    (p0, p1), p = fitted.intervals(new), sigmoids(fitted.transform(new))

    assert (p0 <= p + 1e-6).all()
    assert (p <= p1 + 1e-6).all()
    assert (np.diff(p0, axis=0) >= 0).all()
    assert (np.diff(p1, axis=0) >= 0).all()


def test_one_of_the_two_ends_is_calibrated():
    """Vovk and Petej (2014), section 4: that of the true label is, on average over the fits."""
    rng = np.random.default_rng(5)
    z = rng.normal(size=(300, 400)).astype(np.float32)
    labels = rng.random(z.shape) < sigmoids(1.5 * z - 1)
    fitted = VennAbers(resolution=0).fit(z[:60], labels[:60])

    p0, p1 = fitted.intervals(z[60:])

    chosen = np.where(labels[60:], p1, p0)
    assert (p1 - p0).mean() > 0.05
    for low, high in ((0.1, 0.3), (0.3, 0.6), (0.6, 0.9)):
        within = (chosen > low) & (chosen < high)
        assert labels[60:][within].mean() == pytest.approx(chosen[within].mean(), abs=0.02)


def test_a_class_without_positives_has_wide_intervals_and_no_constant_map():
    scores, labels = drawn()
    labels[:, 1] = False

    fitted = VennAbers().fit(scores, labels)
    p0, p1 = fitted.intervals(scores)

    assert (p0[:, 1] == 0).all()
    assert p1[scores[:, 1].argmax(), 1] == pytest.approx(0.5, rel=0.06)
    assert len(np.unique(fitted.transform(scores)[:, 1])) > 20


def test_a_class_without_scores_knows_nothing():
    scores, labels = drawn()
    scores[:, 1] = np.nan

    fitted = VennAbers().fit(scores, labels, nan="negative")

    p0, p1 = fitted.intervals(np.zeros((1, 3)))
    assert (p0[0, 1], p1[0, 1]) == (0.0, 1.0)
    assert fitted.transform(np.zeros((1, 3)))[0, 1] == 0.0


def test_a_cell_without_a_score_has_no_interval():
    fitted = VennAbers().fit(*drawn())
    new = np.array([[0.0, np.nan, 1.0]])

    p0, p1 = fitted.intervals(new, nan="negative")

    assert (p0[0, 1], p1[0, 1]) == (0.0, 0.0)
    assert p1[0, 0] > 0


def test_bins_do_for_scores():
    scores, labels = drawn(n_rows=3000)
    histogram = Evidence(labelled_logits(scores, labels)).histogram

    exact = VennAbers().fit(scores, labels).transform(scores)
    binned = VennAbers().fit_from(histogram).transform(scores)

    assert np.abs(sigmoids(exact) - sigmoids(binned)).mean() < 1e-2


def test_other_classes_and_a_negative_resolution_are_refused():
    fitted = VennAbers().fit(*drawn())

    with pytest.raises(ValueError, match=r"^logits must have the 3 classes of the fit, got 2$"):
        fitted.intervals(np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"^resolution must be at least 0, got -0\.5$"):
        VennAbers(-0.5).fit(*drawn())
