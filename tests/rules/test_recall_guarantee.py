import naive_guarantees as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import calibrate as cal
from calibrate import FitWarning, RecallGuarantee, ops
from calibrate.rules.recall_guarantee import most_missed

LAW = settings(derandomize=True, deadline=None, max_examples=60)
quiet = pytest.mark.filterwarnings("ignore::calibrate.FitWarning", "ignore:all logits lie in")

scores = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1e-45, 3e38, -3e38, 1.0000001, 0.99999994]),
    st.just(-np.inf),
)


def test_the_place_of_the_threshold_is_that_of_the_table():
    """Target 20: alpha = delta = .1."""
    places = {n: most_missed(n, 0.9, 0.1) for n in (21, 22, 45, 100, 450, 6000)}

    assert places == {21: 0, 22: 1, 45: 2, 100: 6, 450: 37, 6000: 570}


def test_recall_follows_the_beta_law():
    """Target 20: n = 50, alpha = .1: mean recall .9020, its 5 % quantile .8262."""
    place = most_missed(50, 0.9)
    law = stats.beta(51 - place, place)
    rng = np.random.default_rng(0)

    lowest = np.sort(rng.random((4000, 50)), axis=1)[:, place - 1]
    recall = 1 - lowest

    assert law.mean() == pytest.approx(0.9020, abs=5e-5)
    assert law.ppf(0.05) == pytest.approx(0.8262, abs=5e-5)
    assert recall.mean() == pytest.approx(law.mean(), abs=4 * law.std() / np.sqrt(4000))
    assert (recall < law.ppf(0.05)).mean() == pytest.approx(0.05, abs=0.014)


@LAW
@given(st.integers(0, 60), st.sampled_from([0.05, 0.5, 0.7, 0.9, 0.93, 0.95, 0.99]))
def test_the_place_on_average_is_found_by_trying_each(n, recall):
    assert most_missed(n, recall) == naive.most_missed(n, recall)


@LAW
@given(
    st.integers(0, 60),
    st.sampled_from([0.05, 0.5, 0.7, 0.9, 0.95]),
    st.sampled_from([0.001, 0.05, 0.1, 0.3, 0.9]),
)
def test_the_place_with_confidence_is_found_by_trying_each(n, recall, doubt):
    assert most_missed(n, recall, doubt) == naive.most_missed(n, recall, doubt)


def test_a_decimal_is_taken_as_it_is_written():
    assert most_missed(9, 0.9) == 1  # (1 - 0.9) * 10 is 0.99... in floats
    assert most_missed(99, 0.93) == 7
    assert most_missed(8, 0.9) == 0


@quiet
@LAW
@given(st.data())
def test_the_threshold_is_the_score_at_that_place(data):
    n_rows, n_classes = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    cells = st.lists(scores, min_size=n_classes, max_size=n_classes)
    logits = np.array([data.draw(cells) for _ in range(n_rows)], np.float32)
    labels = np.array(
        [
            data.draw(st.lists(st.booleans(), min_size=n_classes, max_size=n_classes))
            for _ in range(n_rows)
        ]
    )
    labels[0, 0] = True
    recall = data.draw(st.sampled_from([0.5, 0.75, 0.9]))

    fitted = RecallGuarantee(recall).fit(logits, labels, nan="negative")

    for c in range(n_classes):
        ordered = sorted(float(z) for z in logits[labels[:, c], c])
        place = naive.most_missed(len(ordered), recall)
        certified = place > 0 and ordered[place - 1] > -np.inf
        expected = ordered[place - 1] if certified else float(ops.LOWEST)
        assert fitted.op_.threshold[c] == expected
        assert (fitted.report_.missed[c] > 0) == certified


def test_what_cannot_be_promised_is_predicted_always_and_listed():
    logits = np.linspace(-3, 3, 40).reshape(20, 2)
    labels = np.zeros((20, 2), bool)
    labels[:12, 0] = labels[:5, 1] = True

    with pytest.warns(FitWarning, match="1 of 2 classes have too few positives to promise recall"):
        fitted = RecallGuarantee(0.9).fit(logits, labels)

    (found,) = fitted.findings_
    assert (found.code, found.classes, found.values) == ("uncertified", (1,), (9.0,))
    predicted = fitted.predict(logits).toarray()
    assert predicted[:, 1].all()
    assert not predicted[:, 0].all() or (predicted[:, 0] & labels[:, 0]).sum() == 12
    assert fitted.report_.as_dict()["n_certified"] == 1


@quiet
@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"recall": 0.9}, 9),
        ({"recall": 0.95}, 19),
        ({"recall": 0.9, "confidence": 0.9}, 22),
        ({"recall": 0.5, "confidence": 0.5}, 1),
        ({"recall": 0.9, "confidence": 0.9, "simultaneous": True}, 29),
    ],
)
def test_the_positives_needed_are_the_fewest_that_are_enough(options, needed):
    """Target 20: fewer than 22 positives promise nothing at alpha = delta = .1."""
    logits = np.random.default_rng(0).normal(size=(200, 2))
    for n, certified in ((needed, True), (needed - 1, False)):
        labels = np.zeros((200, 2), bool)
        labels[:n, 0] = labels[:, 1] = True

        fitted = RecallGuarantee(**options).fit(logits, labels)

        assert (fitted.report_.missed[0] > 0) == certified
        if not certified:
            assert fitted.findings_[0].values == (float(needed),)


@quiet
def test_more_is_asked_of_all_classes_together():
    rng = np.random.default_rng(1)
    labels = rng.random((2000, 30)) < 0.3
    logits = labels + rng.normal(size=labels.shape)

    on_average, each, together = (
        RecallGuarantee(0.9, **options).fit(logits, labels)
        for options in ({}, {"confidence": 0.9}, {"confidence": 0.9, "simultaneous": True})
    )

    assert (on_average.op_.threshold > each.op_.threshold).all()
    assert (each.op_.threshold > together.op_.threshold).all()
    n = int(labels[:, 0].sum())
    assert together.report_.missed[0] == most_missed(n, 0.9, (1 - 0.9) / 30)


def test_its_report_says_what_is_promised():
    logits = np.arange(40.0)[:, None]
    labels = np.ones((40, 1))

    on_average = RecallGuarantee(0.9).fit(logits, labels).report_.sentences()
    sure = RecallGuarantee(0.8, 0.95).fit(logits, labels).report_.sentences()

    assert on_average == [
        "a positive of a new row is found with probability 0.9 or more: 1 of 1 classes",
        "expected recall of these is 0.9024 in the middle, at most 0.9024",
    ]
    assert sure[0] == (
        "recall on new rows is 0.8 or more, with confidence 0.95 for each class: 1 of 1 classes"
    )


def test_calibrators_before_it_are_fitted_to_other_rows():
    rng = np.random.default_rng(2)
    labels = rng.random((400, 3)) < 0.4
    logits = (labels + rng.normal(size=labels.shape)).astype(np.float32)

    fitted = cal.Pipeline([cal.PlattScaling()], RecallGuarantee(0.8)).fit(logits, labels)

    assert fitted.decision_.provenance["n_rows_apart"] == 200
    assert fitted.rule_.report_.positives.sum() < labels.sum()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"recall": 1.0}, ValueError, "recall must be above 0 and below 1, got 1.0"),
        ({"recall": 0}, ValueError, "recall must be above 0 and below 1, got 0"),
        ({"recall": "high"}, TypeError, "recall must be a number, got 'high'"),
        ({"confidence": 1}, ValueError, "confidence must be above 0 and below 1, got 1"),
        ({"confidence": True}, TypeError, "confidence must be a number, got True"),
        ({"simultaneous": True}, ValueError, "simultaneous needs a confidence"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        RecallGuarantee(**options).fit(np.eye(3), np.eye(3))
