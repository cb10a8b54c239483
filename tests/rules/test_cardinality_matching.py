import naive_counts
import numpy as np
import pytest

from calibrate import CardinalityMatching, FitWarning, ScoreHistogram
from calibrate.data import labelled_logits


def simulated(n_rows=2000, n_classes=12, seed=0):
    """Calibrated logits: labels are drawn from their sigmoids."""
    rng = np.random.default_rng(seed)
    scores = (rng.normal(size=(n_rows, n_classes)) * 1.5 - np.linspace(0, 5, n_classes)).astype(
        "f4"
    )
    return scores, rng.random(scores.shape) < 1 / (1 + np.exp(-scores.astype(float)))


def test_the_total_is_what_all_probabilities_add_up_to():
    scores, labels = simulated(200)

    fitted = CardinalityMatching().fit(scores, labels)

    total = (1 / (1 + np.exp(-scores.astype(float)))).sum()
    assert fitted.predict(scores).nnz == np.floor(total + 0.5)
    assert fitted.op_.threshold == naive_counts.cut_at_count(scores.ravel(), round(total))[0]
    assert fitted.findings_ == ()


def test_a_known_number_of_labels_per_row_is_met():
    scores, labels = simulated()

    fitted = CardinalityMatching(2.5).fit(scores, 0 * labels)

    assert fitted.predict(scores).nnz == 5000


def test_new_rows_get_about_as_many_labels_as_there_are():
    scores, labels = simulated(4000)

    predicted = CardinalityMatching().fit(scores[:2000], labels[:2000]).predict(scores[2000:])

    assert predicted.nnz / labels[2000:].sum() == pytest.approx(1.0, abs=0.05)


def test_a_total_that_ties_put_out_of_reach_is_a_finding():
    scores = np.zeros((10, 4))

    with pytest.warns(FitWarning) as given:
        fitted = CardinalityMatching(1.0).fit(scores, np.zeros((10, 4)))

    assert fitted.predict(scores).nnz == 0
    assert [(f.code, f.values) for f in fitted.findings_] == [("total", (0.0,))]
    assert [str(w.message) for w in given] == [
        "CardinalityMatching: the fitting rows get 0 labels in all instead of 10: equal scores "
        "stay together"
    ]


def test_where_less_than_half_a_label_is_expected_nothing_is_predicted():
    fitted = CardinalityMatching().fit(np.full((3, 2), -9.0), np.zeros((3, 2)))

    assert fitted.op_.threshold == np.inf
    assert fitted.findings_ == ()


def test_half_a_label_is_rounded_up():
    scores = np.arange(8.0).reshape(2, 4)

    assert CardinalityMatching(0.75).fit(scores, np.zeros((2, 4))).predict(scores).nnz == 2


@pytest.mark.parametrize(("n_wanted", "said"), [(3, False), (6, True), (397, False), (396, True)])
def test_one_label_or_one_in_a_hundred_off_is_near_enough(n_wanted, said):
    scores = np.repeat([5.0, -5.0], [4, 396] if n_wanted < 100 else [400, 8])
    scores = np.column_stack([scores, np.linspace(-9, -8, len(scores))])
    rule = CardinalityMatching(n_wanted / len(scores))

    if said:
        with pytest.warns(FitWarning, match="labels in all instead of"):
            rule.fit(scores, np.zeros(scores.shape))
    else:
        rule.fit(scores, np.zeros(scores.shape))

    assert rule.predict(scores).nnz == (4 if n_wanted < 100 else 400)
    assert [f.values for f in rule.findings_] == [(rule.predict(scores).nnz / n_wanted,)] * said


def test_more_labels_than_cells_are_all_cells():
    scores, labels = simulated(50)

    assert CardinalityMatching(100).fit(scores, labels).predict(scores).nnz == 600


def test_a_histogram_does_not_hold_the_scores():
    histogram = ScoreHistogram.of(labelled_logits(*simulated()))

    with pytest.raises(TypeError, match=r"^CardinalityMatching is fitted from rows of logits, got"):
        CardinalityMatching().fit_from(histogram)


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (np.nan, ValueError), ("2", TypeError)]
)
def test_a_cardinality_that_makes_no_sense_is_refused(value, error):
    with pytest.raises(error, match=r"^cardinality must be "):
        CardinalityMatching(value).fit(np.eye(3), np.eye(3))
