import naive_guarantees as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import FitWarning, PrecisionGuarantee, corrections, ops
from calibrate.rules.precision_guarantee import (
    binomial_tail,
    cuts,
    fewest_predictions,
    lower_bound,
)

LAW = settings(derandomize=True, deadline=None, max_examples=60)
quiet = pytest.mark.filterwarnings("ignore::calibrate.FitWarning", "ignore:all logits lie in")
FALLING = cuts()[::-1]


def world(n_rows=600, n_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_rows, n_classes)) * 2 - np.linspace(0, 2, n_classes)
    return z.astype(np.float32), rng.random(z.shape) < 1 / (1 + np.exp(-1.5 * z))


def test_fewest_all_right_predictions_are_those_of_the_table():
    """How many predictions, all right, are enough: precision by level."""
    levels = (0.1, 0.05, 0.1 / 7900, 0.05 / 7900)

    table = {p: [fewest_predictions(p, level) for level in levels] for p in (0.5, 0.8, 0.9, 0.95)}

    assert table == {
        0.5: [4, 5, 17, 18],
        0.8: [11, 14, 51, 54],
        0.9: [22, 29, 108, 114],
        0.95: [45, 59, 220, 234],
    }


@LAW
@given(st.sampled_from([0.1, 0.25, 0.5, 0.9]), st.integers(1, 12))
def test_a_level_that_is_just_reached_is_reached(precision, n):
    assert fewest_predictions(precision, precision**n) == n


def test_the_lower_bound_is_clopper_and_pearsons():
    """Target 21: 18 of 20 at one-sided 95 % is .7173815; nothing of 50 leaves at most .0581551."""
    assert lower_bound(np.array([18]), np.array([20]), np.array([0.05]))[0] == pytest.approx(
        0.7173815, abs=5e-8
    )
    assert 1 - lower_bound(np.array([50]), np.array([50]), np.array([0.05]))[0] == pytest.approx(
        0.0581551, abs=5e-8
    )
    assert lower_bound(np.array([0]), np.array([50]), np.array([0.05]))[0] == 0


@LAW
@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([0.05, 0.5, 0.9]))
def test_the_tail_is_the_sum_of_its_terms(a, b, p):
    tp, n = min(a, b), max(a, b)

    tail = binomial_tail(np.array([tp]), np.array([n]), p)[0]

    assert tail == pytest.approx(naive.binomial_at_least(tp, n, p), rel=1e-10, abs=1e-300)


cells = st.one_of(
    st.sampled_from([-20.0, -16.0, -15.9999, 15.9375, 16.0, 17.0, 3e38, -3e38, -np.inf]),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, -(2.0**-50), -(2.0**-49), 2.0**-50]),
    st.integers(-80, 80).map(lambda i: i / 16),
    st.integers(-80, 80).map(lambda i: float(np.nextafter(np.float32(i / 16), np.float32(-99)))),
    st.floats(-5, 5, width=32),
)


@quiet
@LAW
@given(st.data())
def test_the_threshold_is_the_lowest_certified_cut(data):
    n_rows = data.draw(st.integers(1, 40))
    column = st.lists(cells, min_size=n_rows, max_size=n_rows)
    logits = np.array([data.draw(column), data.draw(column)], np.float32).T
    labels = np.array([[data.draw(st.booleans()) for _ in range(2)] for _ in range(n_rows)])
    labels[0, 0] = True
    precision, confidence = data.draw(st.sampled_from([(0.3, 0.6), (0.5, 0.8), (0.8, 0.5)]))

    fitted = PrecisionGuarantee(precision, confidence).fit(logits, labels, nan="negative")

    level = 1 - confidence
    least = fewest_predictions(precision, level)
    for c in range(2):
        column, hits = logits[:, c], labels[:, c]
        known = column > -np.inf
        expected = naive.certified_cut(column[known], hits[known], FALLING, precision, level, least)
        assert fitted.op_.threshold[c] == expected


def test_what_is_counted_lies_above_the_threshold():
    logits, labels = world()

    with pytest.warns(FitWarning, match="cannot be certified"):
        fitted = PrecisionGuarantee(0.8, 0.9).fit(logits, np.where(np.arange(4) < 3, labels, 0))

    above = logits >= fitted.op_.threshold
    assert fitted.report_.predicted.tolist() == above.sum(axis=0).tolist()
    assert fitted.report_.tp.tolist() == [*(above & labels).sum(axis=0)[:3].tolist(), 0]
    assert (fitted.report_.lower_bound[:3] > 0.8).all()
    assert np.isnan(fitted.report_.lower_bound[3])
    assert fitted.op_.threshold[3] == np.inf


def test_a_p_value_that_is_just_the_level_is_enough():
    fitted = PrecisionGuarantee(0.5, 0.5).fit(np.array([[1.0], [-1.0]]), np.array([[1], [0]]))

    assert fitted.report_.predicted.tolist() == [1]
    assert fitted.op_.threshold[0] == -0.9375


def test_a_class_that_is_never_certified_is_told_what_it_needs():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(300, 2))
    labels = rng.random((300, 2)) < [0.95, 0.1]

    with pytest.warns(FitWarning, match="1 of 2 classes cannot be certified to have precision 0.8"):
        fitted = PrecisionGuarantee(0.8, 0.95).fit(logits, labels)

    (found,) = fitted.findings_
    assert (found.code, found.classes, found.values) == ("uncertified", (1,), (14.0,))
    assert fitted.predict(logits).toarray()[:, 1].sum() == 0


def test_a_class_that_is_nearly_always_positive_is_always_predicted():
    logits = np.linspace(-30, 5, 200)[:, None]

    fitted = PrecisionGuarantee(0.8).fit(logits, np.ones((200, 1)))

    assert fitted.op_.threshold[0] == ops.LOWEST


@quiet
def test_holm_asks_of_each_class_what_all_of_them_need():
    logits, labels = world(2000, 6)

    fitted = PrecisionGuarantee(0.8, 0.9, corrections.holm).fit(logits, labels)

    alone = PrecisionGuarantee(0.8, float(1 - 0.1 / 6)).fit(logits, labels)
    assert fitted.report_.level == pytest.approx([0.1 / 6] * 6)
    assert fitted.op_.threshold.tolist() == alone.op_.threshold.tolist()


@quiet
def test_holm_hands_on_the_level_of_classes_that_are_certified_to_the_end():
    logits, labels = world(2000, 4)
    labels[:, :2] = True

    fitted = PrecisionGuarantee(0.8, 0.9, corrections.holm).fit(logits, labels)

    assert fitted.op_.threshold[:2].tolist() == [ops.LOWEST] * 2
    assert fitted.report_.level == pytest.approx([0.1 / 2] * 4)
    least = fewest_predictions(0.8, 0.1 / 4)
    for c in (2, 3):
        assert fitted.op_.threshold[c] == naive.certified_cut(
            logits[:, c], labels[:, c], FALLING, 0.8, 0.1 / 2, least
        )


@quiet
@pytest.mark.parametrize("correction", [corrections.bh, corrections.by], ids=lambda c: c.name)
def test_false_discoveries_are_controlled_among_the_first_cuts(correction):
    logits, labels = world(400, 8, seed=4)
    labels[:, 4:] &= np.random.default_rng(5).random((400, 4)) < 0.3

    fitted = PrecisionGuarantee(0.75, 0.9, correction).fit(logits, labels)

    factor = sum(1 / i for i in range(1, 9)) if correction == corrections.by else 1.0
    least = fewest_predictions(0.75, correction.first_level(1 - 0.9, 8))
    assert least == fewest_predictions(0.75, 0.1 / 8**0.5 / factor)
    p = [
        naive.first_p_value(z, y, FALLING, 0.75, least)
        for z, y in zip(logits.T, labels.T, strict=True)
    ]
    found = [r for r in range(1, 9) if sorted(p)[r - 1] <= r * 0.1 / 8 / factor]
    level = max(found, default=1) * 0.1 / 8 / factor
    assert 0 < len(found) < 8
    assert fitted.report_.level == pytest.approx([level] * 8)
    for c in range(8):
        expected = naive.certified_cut(logits[:, c], labels[:, c], FALLING, 0.75, level, least)
        assert fitted.op_.threshold[c] == expected


def test_its_report_says_what_is_promised():
    logits, labels = np.linspace(-4, 4, 400)[:, None], np.linspace(-4, 4, 400)[:, None] > 0

    each, together, share = (
        PrecisionGuarantee(0.9, 0.95, correction).fit(logits, labels).report_
        for correction in (corrections.none, corrections.holm, corrections.bh)
    )

    assert each.sentences()[0] == (
        "precision on new rows is above 0.9, with confidence 0.95 for each class: 1 of 1 classes, "
        "as long as precision does not fall where scores rise"
    )
    assert each.sentences()[1].startswith(f"of these 200 of {each.predicted[0]} predictions")
    assert "for all classes together" in together.sentences()[0]
    assert "but for an expected share of 0.05 of the classes certified" in share.sentences()[0]
    assert each.as_dict()["n_certified"] == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": 0}, ValueError, "precision must be above 0 and below 1, got 0"),
        ({"precision": 1.5}, ValueError, "precision must be above 0 and below 1, got 1.5"),
        ({"confidence": 1}, ValueError, "confidence must be above 0 and below 1, got 1"),
        ({"correction": "holm"}, TypeError, "correction must be one of calibrate.corrections"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        PrecisionGuarantee(**options).fit(np.eye(3), np.eye(3))
