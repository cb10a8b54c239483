import naive_counts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import PropensityTopK
from calibrate.ops import sigmoid
from calibrate.rules.propensity_top_k import propensities

LAW = settings(derandomize=True, deadline=None, max_examples=100)


def simulated(n_rows=200, n_classes=9, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.01, 0.5, n_classes)
    return (rng.normal(size=labels.shape) + 2 * labels - 2).astype(np.float32), labels


def test_target_26_the_propensities_of_80_000_rows():
    """Target 26: 900 of 80,000 rows -> .7124108, 12,000 -> .9114058."""
    found = propensities(np.array([900, 12_000]), 80_000)

    assert found == pytest.approx([0.7124108, 0.9114058], abs=5e-8)


@LAW
@given(st.integers(3, 10**6), st.floats(0, 1), st.floats(0.1, 2.0), st.floats(0.1, 5.0))
def test_a_propensity_is_that_of_the_formula(n_rows, share, a, b):
    n = int(share * n_rows)

    found = propensities(np.array([n]), n_rows, a, b)[0]

    assert found == pytest.approx(naive_counts.propensity(n, n_rows, a, b), rel=1e-10)
    assert 0 < found <= 1


@pytest.mark.parametrize("n_rows", [1, 2])
def test_of_very_few_rows_nothing_is_said(n_rows):
    assert propensities(np.array([0, 1]), n_rows).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("k", [1, 3, 20])
def test_each_row_gets_its_best_by_probability_over_propensity(k):
    scores, labels = simulated()

    fitted = PropensityTopK(k).fit(scores, labels)

    gain = (1 / propensities(labels.sum(axis=0), 200)).astype(np.float32)
    assert fitted.op_.gain.tolist() == gain.tolist()
    for row, chosen in zip(sigmoid(scores), fitted.predict(scores).toarray(), strict=True):
        assert chosen.tolist() == naive_counts.weighted_top_k(row, k, gain, np.zeros(9))


def test_the_numbers_of_the_model_are_those_that_are_given():
    scores, labels = simulated()

    op = PropensityTopK(2, a=0.6, b=2.6).fit(scores, labels).op_

    expected = [1 / naive_counts.propensity(n, 200, 0.6, 2.6) for n in labels.sum(axis=0)]
    assert op.gain == pytest.approx(expected, rel=1e-6)


def test_rare_classes_are_predicted_more_often_than_by_the_probabilities():
    scores, labels = simulated(2000)
    from calibrate import TopK

    lifted = PropensityTopK(2).fit(scores, labels).predict(scores).sum(axis=0)
    plain = TopK(2).fit(scores, labels).predict(scores).sum(axis=0)

    assert lifted[:3].sum() > plain[:3].sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be a positive integer, got 0"),
        ({"k": 2.5}, "k must be a positive integer, got 2.5"),
        ({"k": 1, "a": 0}, "a must be above 0 and finite, got 0"),
        ({"k": 1, "b": -1.0}, "b must be above 0 and finite, got -1.0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        PropensityTopK(**options).fit(np.eye(3), np.eye(3))
