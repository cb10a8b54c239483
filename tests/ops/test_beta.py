import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import ops

LAW = settings(derandomize=True, deadline=None, max_examples=100)

slopes = st.sampled_from([0.0, 1e-3, 0.3, 1.0, 2.5, 50.0]) | st.floats(0, 50, width=32)
shifts = st.floats(-100, 100, width=32)
logits = st.one_of(
    st.integers(-40, 40).map(lambda i: i / 4),
    st.floats(-200, 200, width=32),
    st.sampled_from([0.0, -0.0, 1e-4, -1e-4, 9.99e-5, 1e-38, 3e38, -3e38]),
).map(np.float32)
PLACES = [0.0, 1e-38, 1e-9, 1e-5, 9.9999e-5, 1e-4, 0.01, 0.7, 3.0, 17.0, 36.7, 88.7, 104.0, 745.0]


def one(a, b, c):
    """The step as a function of a vector."""
    step = ops.Beta(a, b, c)
    return lambda z: step.apply(np.asarray(z, dtype=np.float32)[:, None])[:, 0]


@LAW
@given(slopes, slopes.filter(bool), shifts, st.lists(logits, min_size=1, max_size=10))
def test_a_beta_step_is_the_formula_rounded_once(a, b, c, scores):
    mapped = one(a, b, c)(scores)

    a, b, c = np.float32(a), np.float32(b), np.float32(c)
    expected = [naive.beta(z, a, b, c) for z in scores]
    largest = [float(b) * abs(float(z)) + float(a) * abs(float(z)) + abs(float(c)) for z in scores]
    for got, exact, size in zip(mapped, expected, largest, strict=True):
        exact = min(max(exact, float(ops.LOWEST)), -float(ops.LOWEST))
        assert abs(float(got) - exact) <= 6e-8 * abs(exact) + 1e-15 * size + 1e-45


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "abc", [(1, 1, 0), (0, 1, -3), (1, 0, 5), (0.3, 7, -100), (50, 50, 1000), (1e-3, 1e3, 0.1)]
)
def test_it_never_falls_from_one_float_to_the_next(place, abc):
    at = ops.ordinal(np.float32(place))
    neighbours = ops.from_ordinal(np.arange(at - 3000, at + 3000))

    for z in (neighbours, -neighbours[::-1]):
        mapped = one(*abc)(z)
        assert (mapped[1:] >= mapped[:-1]).all()


def test_equal_slopes_are_a_straight_line():
    z = np.linspace(-30, 30, 601, dtype=np.float32)

    assert one(0.75, 0.75, -2.0)(z) == pytest.approx(0.75 * z - 2.0, abs=2e-6)


def test_infinities_and_the_farthest_numbers():
    z = [-np.inf, np.inf, 3e38, -3e38]

    assert one(2.0, 3.0, 1.0)(z).tolist() == [-np.inf, -ops.LOWEST, -ops.LOWEST, ops.LOWEST]
    assert one(0.0, 1.0, 1.0)(z)[[0, 3]].tolist() == [-np.inf, 1.0]
    assert one(1.0, 0.0, 1.0)(z)[[1, 2]].tolist() == [1.0, 1.0]


def test_each_class_has_its_own_numbers_and_columns_take_some():
    rng = np.random.default_rng(0)
    a, b, c = rng.uniform(0.1, 3, 6), rng.uniform(0.1, 3, 6), rng.normal(size=6)
    z = rng.normal(size=(9000, 6)).astype(np.float32)
    step = ops.Beta(a, b, c)

    mapped = step.apply(z)

    for k in range(6):
        assert (mapped[:, k] == one(a[k], b[k], c[k])(z[:, k])).all()
    assert (step.columns(2, 4).apply(z[:, 2:4]) == mapped[:, 2:4]).all()
    assert ops.Beta(1.0, 2.0, 3.0).columns(2, 4).a.shape == ()
    assert step.apply_float64(z.astype(np.float64)) == pytest.approx(mapped, abs=1e-5)
    assert step.n_classes == 6


def test_the_callers_logits_stay_as_they_were():
    z = np.array([[1.0, -2.0]], dtype=np.float32)
    z64 = z.astype(np.float64)

    ops.Beta(1.0, 2.0, 3.0).apply(z)
    ops.Beta(1.0, 2.0, 3.0).apply_float64(z64)

    assert z.tolist() == z64.tolist() == [[1.0, -2.0]]


@pytest.mark.parametrize(
    ("abc", "message"),
    [
        ((-0.5, 1.0, 0.0), r"^a must be at least 0, got -0\.5$"),
        ((1.0, [1.0, -2.0], 0.0), r"^b must be at least 0, got -2\.0$"),
        ((0.0, 0.0, 1.0), r"^a and b must not both be 0: the map would be constant$"),
        ((np.inf, 0.0, 1.0), r"^a of a beta step must be finite$"),
        ((1.0, 0.0, np.inf), r"^c of a beta step must be finite$"),
    ],
)
def test_it_refuses_what_does_not_keep_the_order(abc, message):
    with pytest.raises(ValueError, match=message):
        ops.Beta(*abc)
