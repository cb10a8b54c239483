import naive_counts
import numpy as np
import pytest

from calibrate import FitWarning, PrevalenceMatching, ScoreHistogram
from calibrate.data import labelled_logits


def simulated(n_rows=2000, n_classes=12, seed=0):
    """Calibrated logits: labels are drawn from their sigmoids."""
    rng = np.random.default_rng(seed)
    scores = (rng.normal(size=(n_rows, n_classes)) * 1.5 - np.linspace(0, 5, n_classes)).astype(
        "f4"
    )
    return scores, rng.random(scores.shape) < 1 / (1 + np.exp(-scores.astype(float)))


def test_each_class_gets_as_many_rows_as_its_probabilities_add_up_to():
    scores, labels = simulated()

    fitted = PrevalenceMatching().fit(scores, labels)

    predicted = fitted.predict(scores).sum(axis=0)
    sums = (1 / (1 + np.exp(-scores.astype(float)))).sum(axis=0)
    assert predicted.tolist() == np.floor(sums + 0.5).tolist()
    assert fitted.findings_ == ()


def test_the_labels_play_no_part():
    scores, labels = simulated()

    fitted = [PrevalenceMatching().fit(scores, y).op_.threshold for y in (labels, 0 * labels)]

    assert fitted[0].tolist() == fitted[1].tolist()


def test_new_rows_get_about_as_many_labels_of_each_third_as_there_are():
    scores, labels = simulated(8000)

    predicted = PrevalenceMatching().fit(scores[:4000], labels[:4000]).predict(scores[4000:])

    made, true = predicted.sum(axis=0), labels[4000:].sum(axis=0)
    for third in np.array_split(np.arange(12), 3):
        assert made[third].sum() / true[third].sum() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("prevalence", "factor"), [(0.25, 1.0), (0.25, 0.5), (0.1, 3.0)])
def test_a_known_prevalence_and_the_factor_of_p_cut_say_how_many(prevalence, factor):
    scores, labels = simulated()

    fitted = PrevalenceMatching(prevalence, factor).fit(scores, labels)

    assert fitted.predict(scores).sum(axis=0).tolist() == [round(2000 * prevalence * factor)] * 12


def test_prevalences_of_the_classes_are_met_one_by_one():
    scores, labels = simulated()
    prevalence = labels.mean(axis=0) + 1e-9

    fitted = PrevalenceMatching(prevalence).fit(scores, labels)

    assert fitted.predict(scores).sum(axis=0).tolist() == labels.sum(axis=0).tolist()
    for c, column in enumerate(scores.T):
        expected = naive_counts.cut_at_count(column, labels[:, c].sum())
        assert fitted.op_.threshold[c] == expected[0]


def test_half_a_row_is_rounded_up():
    scores = np.arange(10.0)[:, None] - 20

    fitted = PrevalenceMatching(0.25).fit(scores, np.zeros((10, 1)))

    assert fitted.predict(scores).nnz == 3


def test_a_class_expected_in_less_than_half_a_row_is_never_predicted_and_listed():
    scores = np.stack([np.arange(10.0), np.arange(10.0) - 20], axis=1)

    with pytest.warns(FitWarning) as given:
        fitted = PrevalenceMatching().fit(scores, np.zeros((10, 2)))

    assert fitted.op_.threshold[1] == np.inf
    assert [(f.code, f.classes) for f in fitted.findings_] == [("none_expected", (1,))]
    assert 1e-6 < fitted.findings_[0].values[0] < 1e-4
    assert [str(w.message) for w in given] == [
        "PrevalenceMatching: 1 of 2 classes are expected in less than half a row: they are never "
        "predicted"
    ]


def test_a_count_that_ties_put_out_of_reach_is_a_finding():
    scores = np.zeros((100, 2))
    scores[:, 1] = np.arange(100)

    with pytest.warns(FitWarning, match="1 of 2 classes get another number of rows than is wanted"):
        fitted = PrevalenceMatching(0.4).fit(scores, np.zeros((100, 2)))

    assert [(f.code, f.classes, f.values) for f in fitted.findings_] == [("count", (0,), (0.0,))]
    assert fitted.predict(scores).sum(axis=0).tolist() == [0, 40]


@pytest.mark.parametrize(("n_wanted", "said"), [(49, False), (48, True)])
def test_one_row_off_is_near_enough(n_wanted, said):
    scores = np.repeat([1.0, -2.0], 50)[:, None]
    rule = PrevalenceMatching(n_wanted / 100)

    if said:
        with pytest.warns(FitWarning, match="another number"):
            rule.fit(scores, np.zeros((100, 1)))
    else:
        rule.fit(scores, np.zeros((100, 1)))

    assert rule.predict(scores).nnz == 50


@pytest.mark.parametrize(("n_wanted", "said"), [(397, False), (396, True)])
def test_one_row_in_a_hundred_off_is_near_enough(n_wanted, said):
    scores = np.repeat([1.0, -2.0], 400)[:, None]
    rule = PrevalenceMatching(n_wanted / 800)

    if said:
        with pytest.warns(FitWarning, match="another number"):
            rule.fit(scores, np.zeros((800, 1)))
    else:
        rule.fit(scores, np.zeros((800, 1)))

    assert rule.predict(scores).nnz == 400


def test_more_than_all_rows_are_all_rows():
    scores, labels = simulated(50)

    fitted = PrevalenceMatching(0.9, factor=5).fit(scores, labels)

    assert fitted.predict(scores).nnz == 600


def test_a_histogram_is_enough():
    scores, labels = simulated(4000)
    histogram = ScoreHistogram.of(labelled_logits(scores, labels))

    exact = PrevalenceMatching().fit(scores, labels)
    with pytest.warns(FitWarning, match="or those of a bin, stay together"):
        fitted = PrevalenceMatching().fit_from(histogram)

    assert np.abs(fitted.op_.threshold - exact.op_.threshold).max() < 0.1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prevalence": 0.0}, ValueError, "prevalence must be above 0 and below 1, got 0"),
        ({"prevalence": [0.1, 1.0, 0.2]}, ValueError, "prevalence must be .* got 1 at class 1"),
        ({"prevalence": [0.1, 0.2]}, ValueError, r"got shape \(2,\) for 3 classes"),
        ({"prevalence": "many"}, TypeError, "prevalence must be a number or one per class"),
        ({"factor": 0}, ValueError, "factor must be above 0 and finite, got 0"),
        ({"factor": np.inf}, ValueError, "factor must be above 0 and finite, got inf"),
        ({"factor": None}, TypeError, "factor must be a number, got None"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        PrevalenceMatching(**options).fit(np.eye(3), np.eye(3))
