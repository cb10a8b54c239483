"""The mean of three folds' thresholds, beside loops over plain numbers."""

from __future__ import annotations

import math

import naive_rules
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import FitWarning, SCutFbr, metrics
from calibrate.data import labelled_logits
from calibrate.rules import s_cut_fbr
from calibrate.statistics import Evidence, ScoreHistogram

LAW = settings(derandomize=True, deadline=None, max_examples=60)
pytestmark = pytest.mark.filterwarnings("ignore::calibrate.FitWarning", "ignore:all logits lie in")
F1 = metrics.f_beta(1)


@st.composite
def rows(draw):
    shape = draw(st.integers(1, 14)), draw(st.integers(1, 3))
    size = shape[0] * shape[1]
    cells = st.integers(-6, 6).map(lambda i: i / 2) | st.just(-math.inf)
    scores = draw(st.lists(cells, min_size=size, max_size=size))
    labels = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(shape)
    labels[0, 0] = True
    return np.array(scores, np.float32).reshape(shape), labels


def folds_of(scores):
    """The fold of each row, as the rule deals them."""
    data = labelled_logits(scores, np.zeros(scores.shape, bool), nan="negative")
    return np.concatenate([s_cut_fbr._folds(block) for block in data.blocks()])


@pytest.mark.parametrize("fbr", [0.0, 0.5, 1.0])
@LAW
@given(rows())
def test_the_threshold_is_the_mean_over_the_folds(fbr, case):
    scores, labels = case

    fitted = SCutFbr(F1, fbr).fit(scores, labels, nan="negative")

    fold = folds_of(scores)
    for c, threshold in enumerate(fitted.op_.threshold):
        parts = [(scores[fold == f, c], labels[fold == f, c]) for f in range(3)]
        expected = naive_rules.s_cut_fbr([p for p in parts if len(p[0])], F1, fbr)
        assert threshold == pytest.approx(expected, abs=1e-6)


def test_folds_are_of_about_one_size_and_equal_rows_lie_in_one():
    scores = np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32)
    scores[1] = scores[0]
    zeros = np.array([[0.0, 1.0], [-0.0, 1.0]], np.float32)

    fold = folds_of(scores)

    assert np.bincount(fold).min() > 900
    assert fold[0] == fold[1]
    assert len(set(folds_of(zeros))) == 1


def test_a_class_that_no_cut_serves_is_cut_at_its_highest_scores_and_listed():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3000, 2)).astype(np.float32)
    labels = np.stack([scores[:, 0] > 1, rng.random(3000) < 0.005], axis=1)

    with pytest.warns(FitWarning, match="1 of 2 classes reach no more than 0.1 in some fold"):
        rule = SCutFbr(F1).fit(scores, labels)

    assert rule.op_.threshold[0] == pytest.approx(1, abs=0.01)
    assert rule.op_.threshold[1] > 3
    (finding,) = rule.findings_
    assert (finding.classes, finding.values) == ((1,), (3.0,))


def test_it_rarely_predicts_what_a_sweep_predicts_far_too_often():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(600, 200)).astype(np.float32)
    labels = rng.random(scores.shape) < 0.005
    labels[0] = True

    predicted = SCutFbr(F1).fit(scores, labels).predict(rng.normal(size=(600, 200)))

    assert predicted.sum() < 3 * labels.sum()


@pytest.mark.parametrize("fbr", [-0.1, 1.5, math.nan])
def test_a_floor_that_is_no_value_of_f_is_refused(fbr):
    with pytest.raises(ValueError, match=r"^fbr must lie between 0 and 1, got"):
        SCutFbr(F1, fbr).fit(np.ones((3, 1)), np.ones((3, 1)))


def test_it_needs_rows():
    histogram = ScoreHistogram.of(labelled_logits(np.eye(3) * 4 - 2, np.eye(3, dtype=bool)))

    with pytest.raises(TypeError, match="fitted from rows of logits, got a histogram"):
        SCutFbr(F1).fit_evidence(Evidence(histogram=histogram))


def test_where_predicting_nothing_is_best_the_highest_score_of_the_fold_is_the_cut():
    scores = np.linspace(-3, 3, 300, dtype=np.float32)[:, None]
    labels = scores < -2.9

    rule = SCutFbr(lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn)).fit(scores, labels)

    fold = folds_of(scores)
    highest = [scores[fold == f].max() for f in range(3)]
    assert rule.op_.threshold[0] == pytest.approx(np.mean(highest), abs=1e-6)
