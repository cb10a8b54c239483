"""The curves that undo a loss: beside the loss itself, and float by float, since none may fall."""

import naive
import naive_losses
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import ops
from calibrate.ops.losses import CLIP_FLOOR, SMOOTHING_FLOOR

LAW = settings(derandomize=True, deadline=None, max_examples=100)

gammas = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 4.0]), st.floats(0, 8))
moderate = st.floats(-8, 8)

CURVES = [
    *(ops.LabelSmoothing(e) for e in (0.0, 1e-9, 0.01, 0.1, 0.5, 0.999)),
    *(ops.Focal(gamma, alpha) for gamma in (0.0, 0.5, 2.0, 30.0) for alpha in (0.5, 0.25, 0.999)),
    *(
        ops.AsymmetricLoss(*numbers, detached)
        for numbers in [
            (0, 4, 0.05), (1, 4, 0.05), (0, 0, 0), (2, 2, 0), (0, 4, 0), (4, 0, 0), (0, 0, 0.3),
            (0, 0.1, 0.5), (1, 2, 0.5), (0, 3, 1e-9), (0, 2, 0.999), (0.25, 50, 0.2), (60, 1, 0.6),
        ]
        for detached in (True, False)
    ),
]  # fmt: skip

every_curve = pytest.mark.parametrize("curve", CURVES, ids=lambda c: f"{c.wire_name}{c.numbers()}")


def at(curve, *logits):
    """The map in float64, one class."""
    return curve.apply_float64(np.array(logits, dtype=np.float64)[:, None])[:, 0]


def ends_of(curve):
    """Logits at which a curve bends sharply."""
    numbers = curve.numbers()
    inner = [numbers.get("clip", 0.0), numbers.get("label_smoothing", 0.0) / 2]
    return [side * naive.logit(p) for p in inner if p for side in (1, -1)]


def neighbours(curve):
    """Float32 logits in their order: runs of adjacent ones, and some from everywhere."""
    places = [0.0, 2.0**-22, -(2.0**-22), 1e-9, 1.0, 8.0, -8.0, 16.1, 17.0, 20.0, 30.0, -30.0]
    places += [37.0, 60.0, 88.0, 700.0, -745.0, 3e38, -3e38, *ends_of(curve)]
    run = np.arange(-600, 601)
    ordinals = [ops.ordinal(np.float32(place)) + run for place in places]
    last = ops.ordinal(-ops.LOWEST)
    ordinals.append(np.linspace(-last, last, 40_001).astype(np.int64))
    return ops.from_ordinal(np.unique(np.clip(np.concatenate(ordinals), -last, last)))


# never falling, never nan


@every_curve
def test_no_curve_falls_from_one_float_to_the_next(curve):
    logits = np.concatenate([[-np.inf], neighbours(curve), [np.inf]]).astype(np.float32)

    mapped, exact = curve.apply(logits[:, None])[:, 0], at(curve, *logits)

    assert not np.isnan(mapped).any()
    assert (mapped[1:] >= mapped[:-1]).all()
    # not even before it is rounded
    assert (exact[1:] >= exact[:-1]).all()


@every_curve
def test_a_curve_folded_into_a_threshold_decides_as_the_curve_does(curve):
    rng = np.random.default_rng(0)
    cuts = np.float32([*rng.normal(scale=4, size=40), -27.7, -27.6, 16.2, 0.0, 30.0, -40.0])

    kept, folded = ops.fold((curve,), ops.Threshold(cuts), len(cuts))

    found = [ops.ordinal(cut) for cut in folded.threshold]
    around = np.stack([np.arange(place - 200, place + 200) for place in found], axis=1)
    logits = ops.from_ordinal(np.clip(around, ops.ordinal(ops.LOWEST), ops.ordinal(-ops.LOWEST)))
    assert kept == ()
    assert ((logits >= folded.threshold) == (curve.apply(logits) >= cuts)).all()


@every_curve
def test_a_curve_is_rounded_once(curve):
    logits = np.random.default_rng(1).normal(scale=6, size=(500, 3)).astype(np.float32)

    mapped = curve.apply(logits)

    expected = curve.apply_float64(logits.astype(np.float64)).astype(np.float32)
    assert mapped.dtype == np.float32
    np.testing.assert_array_equal(mapped, expected)


@every_curve
def test_a_cell_without_a_score_stays_without_one(curve):
    cells = np.float32([[-np.inf, 1.0], [np.inf, -np.inf]])

    mapped = curve.apply(cells)

    assert np.isneginf(mapped).tolist() == [[True, False], [False, True]]
    assert cells.tolist() == [[-np.inf, 1.0], [np.inf, -np.inf]]


@every_curve
def test_target_9_curves_are_finite_far_out(curve):
    far = curve.apply(np.float32([[800.0, -800.0]]))

    assert np.isfinite(far).all()


@every_curve
def test_one_curve_serves_all_classes(curve):
    assert curve.n_classes is None
    assert curve.columns(2, 5).same_as(curve)
    assert curve.arrays() == {}


# label smoothing


@LAW
@given(moderate, st.floats(0, 0.9))
def test_smoothing_is_undone_as_its_formula_says(logit, smoothing):
    undone = at(ops.LabelSmoothing(smoothing), logit)[0]

    expected = naive_losses.unsmoothed(logit, 1.0, smoothing)
    assert naive.sigmoid(undone) == pytest.approx(expected, rel=1e-9, abs=4e-15)


@pytest.mark.parametrize("smoothing", [0.01, 0.1, 0.5])
def test_beyond_what_smoothed_labels_ask_for_a_probability_stays_at_its_floor(smoothing):
    end = naive.logit(1 - smoothing / 2)

    undone = at(ops.LabelSmoothing(smoothing), -800.0, -end, end, 800.0)

    most = naive.logit(1 - SMOOTHING_FLOOR)
    assert undone == pytest.approx([-most, -most, most, most], abs=1e-8)
    just_inside = at(ops.LabelSmoothing(smoothing), end - 1e-3)[0]
    assert just_inside == pytest.approx(
        naive.logit(naive_losses.unsmoothed(end - 1e-3, 1.0, smoothing)), rel=1e-9
    )
    assert just_inside < most


def test_smoothing_keeps_the_digits_of_a_tiny_logit():
    # the slope at 0: s'(0) / (1 - e) over p (1 - p) = 1 / (1 - e)
    assert at(ops.LabelSmoothing(0.2), 1e-20)[0] == pytest.approx(1.25e-20, rel=1e-12, abs=0)


def test_without_smoothing_nothing_but_the_floor_is_there():
    undone = at(ops.LabelSmoothing(0.0), -3.25, 0.5, 800.0)

    assert undone[:2].tolist() == [-3.25, 0.5]
    assert undone[2] == pytest.approx(naive.logit(1 - SMOOTHING_FLOOR), rel=1e-9)
    assert undone[2] == pytest.approx(16.118, abs=1e-3)


# the focal loss


@LAW
@given(moderate, gammas, st.floats(0.01, 0.99))
def test_target_9_focal_odds_are_those_at_which_the_slopes_cancel(logit, gamma, alpha):
    undone = at(ops.Focal(gamma, alpha), logit)[0]

    expected = naive_losses.log_odds(*naive_losses.focal_slopes(gamma, alpha), logit)
    assert undone == pytest.approx(expected, rel=1e-12, abs=1e-12)


@LAW
@given(moderate, gammas)
def test_target_9_focal_odds_are_those_of_the_published_transformation(logit, gamma):
    undone = at(ops.Focal(gamma, 0.5), logit)[0]

    expected = naive_losses.focal_log_odds(logit, gamma)
    assert undone == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_target_9_the_focal_table():
    confidence = [0.1, 0.2, 0.3, 0.4]

    undone = at(ops.Focal(2.0, 0.5), *(naive.logit(q) for q in confidence))

    probabilities = [naive.sigmoid(z) for z in undone]
    assert probabilities == pytest.approx([0.00262, 0.02355, 0.09356, 0.25247], abs=5e-6)


def test_target_9_the_focal_slopes_at_0():
    slopes = [at(ops.Focal(gamma, 0.5), 1e-7)[0] / 1e-7 for gamma in (0.0, 1.0, 2.0)]

    expected = [1.0, 3 / (1 + np.log(2)), (5 + 2 * np.log(2)) / (1 + 2 * np.log(2))]
    assert slopes == pytest.approx(expected, rel=1e-12)
    assert expected[1:] == pytest.approx([1.7718483, 2.6762391], abs=5e-8)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_target_9_the_focal_asymptote(gamma):
    undone = at(ops.Focal(gamma, 0.5), 800.0, 50.0, -800.0)

    far = [(1 + gamma) * z - np.log1p(gamma) for z in (800.0, 50.0)]
    assert undone == pytest.approx([*far, -far[0]], rel=1e-14)


def test_target_9_the_focal_map_is_odd_and_without_gamma_the_identity():
    logits = np.linspace(-9, 9, 37)

    odd = at(ops.Focal(2.0, 0.5), *logits)

    assert (odd == -at(ops.Focal(2.0, 0.5), *-logits)).all()
    assert (at(ops.Focal(0.0, 0.5), *logits) == logits).all()


# the asymmetric loss


@LAW
@given(moderate, gammas, gammas, st.one_of(st.just(0.0), st.floats(0.001, 0.9)), st.booleans())
def test_asymmetric_odds_are_those_at_which_the_slopes_cancel(z, g_pos, g_neg, clip, detached):
    undone = at(ops.AsymmetricLoss(g_pos, g_neg, clip, detached), z)[0]

    left = naive.sigmoid(z) - clip
    if left <= 0:
        assert undone == naive.logit(CLIP_FLOOR)
        return
    slopes = naive_losses.asymmetric_slopes(g_pos, g_neg, clip, detached)
    # nearer to the margin the loss as it stands has no digits left, and around 0 the map is a line
    if left > (1e-4 if abs(z) > 1e-6 else 0.02):
        expected = naive_losses.log_odds(*slopes, z)
        floor = naive.logit(CLIP_FLOOR) if clip else expected
        assert undone == pytest.approx(max(expected, floor), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize(
    ("detached", "confidence"),
    [
        (True, [0.2793, 0.4058, 0.5277, 0.6661, 0.7988, 0.9190]),
        (False, [0.2191, 0.3192, 0.4211, 0.5467, 0.6837, 0.8361]),
    ],
)
def test_target_9_the_asymmetric_pairs(detached, confidence):
    curve = ops.AsymmetricLoss(0.0, 4.0, 0.05, detached)

    low = at(curve, *(naive.logit(q - 5e-5) for q in confidence))
    high = at(curve, *(naive.logit(q + 5e-5) for q in confidence))

    asked = [naive.logit(p) for p in (0.001, 0.01, 0.05, 0.2, 0.5, 0.8)]
    assert (low < asked).all()
    assert (high > asked).all()


@LAW
@given(moderate, gammas, gammas)
def test_target_9_without_a_margin_the_detached_map_is_one_of_beta_calibration(z, g_pos, g_neg):
    undone = at(ops.AsymmetricLoss(g_pos, g_neg, 0.0, True), z)[0]

    expected = naive_losses.beta_map(naive.sigmoid(z), 1 + g_neg, 1 + g_pos, 0.0)
    assert undone == pytest.approx(expected, rel=1e-11, abs=1e-11)


@LAW
@given(st.floats(-700, 700), gammas)
def test_with_equal_powers_and_no_margin_it_is_the_focal_map(z, gamma):
    undone = at(ops.AsymmetricLoss(gamma, gamma, 0.0, False), z)[0]

    assert undone == pytest.approx(at(ops.Focal(gamma, 0.5), z)[0], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("detached", "most"), [(True, 0.942), (False, 0.964)])
def test_target_9_without_a_positive_power_the_margin_bounds_the_probability(detached, most):
    curve = ops.AsymmetricLoss(0.0, 4.0, 0.05, detached)

    top = at(curve, 15.0, 30.0, 60.0, 3e38)

    assert [round(naive.sigmoid(z), 3) for z in top] == [most] * 4
    assert top[0] < top[1] <= top[2] == top[3]


def test_towards_its_upper_end_the_map_keeps_its_digits():
    curve = ops.AsymmetricLoss(0.0, 4.0, 0.05, False)
    slopes = naive_losses.asymmetric_slopes(0.0, 4.0, 0.05, False)

    lacking = at(curve, 60.0)[0] - at(curve, 4.0)[0]

    expected = naive_losses.log_odds(*slopes, 36.0) - naive_losses.log_odds(*slopes, 4.0)
    assert lacking == pytest.approx(expected, rel=1e-9)


def test_what_the_margin_left_out_gets_the_floor_and_what_lies_above_it_more():
    curve = ops.AsymmetricLoss(0.0, 4.0, 0.05, True)
    edge = naive.logit(0.05)

    undone = at(curve, -800.0, edge - 1e-6, edge, edge + 1e-6, edge + 0.1, edge + 0.2)

    floor = naive.logit(CLIP_FLOOR)
    assert undone[:4].tolist() == [floor] * 4
    assert floor < undone[4] < undone[5]


@pytest.mark.parametrize("detached", [True, False])
def test_next_to_the_margin_the_map_keeps_its_digits(detached):
    gamma, clip = 0.5, 0.2
    edge = naive.logit(clip)
    logit = edge + 1e-12

    undone = at(ops.AsymmetricLoss(0.0, gamma, clip, detached), logit)[0]

    # q_m = q' (z - edge), so near to 0 that nothing else counts
    log_above = np.log(clip * (1 - clip) * (logit - edge))
    expected = gamma * log_above + np.log(clip) + (0.0 if detached else np.log1p(gamma))
    assert undone == pytest.approx(expected, abs=1e-9)


def test_a_margin_of_one_half_has_its_edge_at_0():
    curve = ops.AsymmetricLoss(0.0, 0.1, 0.5, True)

    undone = at(curve, -1e-30, 0.0, 1e-5)

    slopes = naive_losses.asymmetric_slopes(0.0, 0.1, 0.5, True)
    assert undone[:2].tolist() == [naive.logit(CLIP_FLOOR)] * 2
    assert undone[2] == pytest.approx(naive_losses.log_odds(*slopes, 1e-5), rel=1e-9)


def test_around_0_the_straight_piece_is_the_map():
    curve = ops.AsymmetricLoss(1.0, 4.0, 0.05, False)
    slopes = naive_losses.asymmetric_slopes(1.0, 4.0, 0.05, False)

    for z in (0.0, 1e-12, 1e-7, -2.3e-7, 2.38e-7, 2.39e-7):
        assert at(curve, z)[0] == pytest.approx(naive_losses.log_odds(*slopes, z), abs=2e-12)


# what is refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ops.LabelSmoothing(1.0), ValueError, r"label_smoothing must be at least 0 and"),
        (lambda: ops.LabelSmoothing(-0.1), ValueError, r".* at least 0 and below 1, got -0\.1"),
        (lambda: ops.LabelSmoothing(np.nan), ValueError, r".* at least 0 and below 1, got nan"),
        (lambda: ops.LabelSmoothing("0.1"), TypeError, r"label_smoothing must be a number, got '0"),
        (lambda: ops.LabelSmoothing(True), TypeError, r"label_smoothing must be a number, got Tru"),
        (lambda: ops.Focal(-1.0, 0.5), ValueError, r"gamma must be at least 0 and finite, got -1"),
        (lambda: ops.Focal(np.inf, 0.5), ValueError, r"gamma must be at least 0 and finite, got i"),
        (lambda: ops.Focal(2.0, 0.0), ValueError, r"alpha must be above 0 and below 1, got 0\.0"),
        (lambda: ops.Focal(2.0, 1.0), ValueError, r"alpha must be above 0 and below 1, got 1\.0"),
        (lambda: ops.AsymmetricLoss(-1, 4, 0.05, True), ValueError, r"gamma_pos must be at least"),
        (lambda: ops.AsymmetricLoss(0, -4, 0.05, True), ValueError, r"gamma_neg must be at least"),
        (lambda: ops.AsymmetricLoss(0, 4, 1.0, True), ValueError, r"clip must be at least 0 and"),
        (lambda: ops.AsymmetricLoss(0, 4, None, True), TypeError, r"clip must be a number, got No"),
        (lambda: ops.AsymmetricLoss(0, 4, 0, "yes"), TypeError, r"detached must be True or False,"),
    ],
)
def test_numbers_that_no_loss_has_are_refused(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


def test_numbers_of_numpy_are_taken():
    curve = ops.AsymmetricLoss(np.float32(0), np.int64(4), np.float64(0.05), np.bool_(True))

    assert curve.same_as(ops.AsymmetricLoss(0.0, 4.0, 0.05, True))
    assert [type(value) for value in curve.numbers().values()] == [float, float, float, bool]
