import warnings

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import BetaCalibration, PlattScaling, ScoreHistogram
from calibrate.data import labelled_logits

pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")

LAW = settings(derandomize=True, deadline=None, max_examples=60)


def bent(n_rows=500, n_classes=4, seed=0):
    """Scores in quarters, so that each distinct one has a bin of its own, and their labels."""
    rng = np.random.default_rng(seed)
    scores = np.clip(np.round(rng.normal(size=(n_rows, n_classes)) * 8) / 4, -5, 5)
    a, b, c = np.linspace(0.4, 1.6, n_classes), np.linspace(1.2, 0.2, n_classes), -0.5
    eta = c - a * np.logaddexp(0, -scores) + b * np.logaddexp(0, scores)
    return scores, rng.random(scores.shape) < 1 / (1 + np.exp(-eta))


def fit_quietly(scores, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BetaCalibration().fit(scores, labels)


def numbers(fitted):
    return np.stack([fitted.op_.a, fitted.op_.b, fitted.op_.c], axis=-1)


def test_each_class_is_the_map_of_a_general_optimiser_on_smoothed_targets():
    scores, labels = bent()

    fitted = BetaCalibration().fit(scores, labels)

    for c, found in enumerate(numbers(fitted)):
        targets = naive.platt_targets(labels[:, c])
        expected = naive.beta_map(scores[:, c], targets, np.ones(500))
        assert found == pytest.approx(expected, abs=2e-4)


def test_probabilities_add_up_to_the_targets():
    """Target 12, for three numbers a class."""
    scores, labels = bent()

    calibrated = BetaCalibration().fit(scores, labels).transform(scores).astype(float)

    totals = (1 / (1 + np.exp(-calibrated))).sum(axis=0)
    expected = [naive.platt_targets(labels[:, c]).sum() for c in range(4)]
    assert totals == pytest.approx(expected, rel=1e-5)


def test_two_distinct_scores_get_the_line_of_platt():
    scores = np.repeat([[-1.0], [2.0]], [40, 60], axis=0)
    labels = np.zeros((100, 1))
    labels[:8], labels[40:80] = 1, 1

    a, b, c = numbers(BetaCalibration().fit(scores, labels))[0]

    line = PlattScaling().fit(scores, labels).op_
    assert a == b == pytest.approx(line.scale[0], rel=1e-6)
    assert c == pytest.approx(line.shift[0], rel=1e-6)


def test_it_loses_no_more_than_platt_on_its_own_rows():
    scores, labels = bent(2000, 6, seed=3)

    losses = [
        naive.log_loss(method().fit(scores, labels).transform(scores).astype(float), labels, 1.0)
        for method in (BetaCalibration, PlattScaling)
    ]

    assert losses[0] < losses[1]


def test_a_class_without_positives_or_negatives_takes_the_pooled_map_and_is_listed():
    scores, labels = bent()
    labels[:, 1], labels[:, 2] = False, True

    with pytest.warns(UserWarning, match="2 of 4 classes have no positives or no negatives"):
        fitted = BetaCalibration().fit(scores, labels)

    pooled = naive.beta_map(scores.reshape(-1), labels.reshape(-1) * 1.0, np.ones(2000))
    assert numbers(fitted)[1] == pytest.approx(pooled, abs=3e-4)
    assert numbers(fitted)[2].tolist() == numbers(fitted)[1].tolist()
    assert [(f.code, f.classes) for f in fitted.findings_] == [("pooled", (1, 2))]


def test_equal_scores_take_the_pooled_slopes_and_their_own_frequency():
    scores, labels = bent()
    scores[:, 3] = 1.25

    fitted = fit_quietly(scores, labels)

    pooled = naive.beta_map(scores.reshape(-1), labels.reshape(-1) * 1.0, np.ones(2000))
    assert numbers(fitted)[3, :2] == pytest.approx(pooled[:2], abs=3e-4)
    rate = naive.sigmoid(float(fitted.transform(scores)[0, 3]))
    assert rate == pytest.approx(naive.platt_targets(labels[:, 3]).mean(), abs=1e-6)
    assert [(f.code, f.classes) for f in fitted.findings_] == [("constant_scores", (3,))]


def test_scores_that_fall_with_the_labels_are_listed_and_still_rise():
    scores, labels = bent()
    scores[:, 1] = -scores[:, 1]

    fitted = fit_quietly(scores, labels)

    assert numbers(fitted)[1, :2] == pytest.approx([0.05, 0.05])
    (finding,) = fitted.findings_
    assert (finding.code, finding.classes) == ("slope_bound", (1,))
    assert finding.values == pytest.approx((0.05,))


def test_separable_classes_stay_finite():
    scores = np.linspace(-3, 3, 40)[:, None]

    fitted = fit_quietly(scores, scores > 0.1)

    assert (numbers(fitted)[0, :2] < 50).all()
    assert fitted.findings_ == ()


@LAW
@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.integers(-6, 6).map(float),
                st.sampled_from([1.0000001, -0.0, 1e-40, 3e38, -3e38, 700.0, -np.inf]),
            ),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_rows_give_a_finite_map_that_rises(rows):
    scores = np.float32([[z] for z, _ in rows])
    labels = np.array([[y] for _, y in rows])
    if not labels.any():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = BetaCalibration().fit(scores, labels, nan="negative")

    mapped = fitted.transform(np.sort(scores, axis=0), nan="negative")[:, 0]

    assert (np.diff(mapped[mapped > -np.inf]) >= 0).all()
    assert np.isfinite(mapped).sum() == np.isfinite(scores).sum()
    assert ((fitted.op_.a > 0) | (fitted.op_.b > 0)).all()


def test_nothing_can_be_learned_without_a_positive():
    with pytest.raises(ValueError, match="labels must hold at least one positive"):
        BetaCalibration().fit(np.zeros((3, 2)), np.zeros((3, 2)))


def test_half_the_rows_twice_are_all_the_rows():
    scores, labels = bent()
    rows = labelled_logits(scores, labels)
    whole = ScoreHistogram.of(rows)
    halves = [
        ScoreHistogram.of(labelled_logits(scores[part], labels[part]), whole.grid)
        for part in (slice(0, 200), slice(200, 500))
    ]

    one, other = (BetaCalibration().fit_from(h) for h in (whole, halves[0] + halves[1]))

    assert one.op_.same_as(other.op_)
