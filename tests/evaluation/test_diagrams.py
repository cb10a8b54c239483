"""Reliability diagrams: groups, rates and bands, beside the slow form and by simulation."""

from __future__ import annotations

import naive_reliability as naive
import numpy as np
import pytest
from scipy import special

from calibrate.data import labelled_logits
from calibrate.evaluation.debiased import MOST_GROUPS
from calibrate.evaluation.diagrams import diagrams, diagrams_by_class, pooled_diagram
from calibrate.statistics import ScoreHistogram


def world(n_rows, n_classes, seed=0, prevalence=-2.0):
    """Logits that are right, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(prevalence, 1.5, (n_rows, n_classes)).astype(np.float32)
    return logits, rng.random(logits.shape) < special.expit(logits.astype(float))


def histogram_of(logits, labels):
    return ScoreHistogram.of(labelled_logits(logits, labels))


@pytest.mark.parametrize("prevalence", [-5.0, -2.0, 1.0])
def test_groups_rates_and_bands_are_those_of_the_slow_form(prevalence):
    rng = np.random.default_rng(0)
    scores = np.sort(rng.normal(prevalence, 1.5, (3, 200)), axis=1)
    counts = rng.integers(0, 30, scores.shape)
    positives = rng.binomial(counts, special.expit(scores))

    found = diagrams(scores, counts, positives, 0.9)

    for line in range(3):
        expected = naive.diagram(scores[line], counts[line], positives[line], 0.9)
        some = found.cells[line] > 0
        assert some.sum() == len(expected)
        for name, values in zip(found._fields, zip(*expected, strict=True), strict=True):
            np.testing.assert_allclose(getattr(found, name)[line][some], values, rtol=1e-12)


def test_no_cell_and_no_positive_is_lost():
    logits, labels = world(3000, 5)

    found = diagrams_by_class(histogram_of(logits, labels), 0.95)

    assert found.cells.shape == (5, MOST_GROUPS)
    assert found.cells.sum(axis=1).tolist() == [3000] * 5
    assert found.positives.sum(axis=1).tolist() == labels.sum(axis=0).tolist()
    some = found.cells > 0
    mean = np.where(some, found.cells * found.p, 0).sum(axis=1) / 3000
    expected = special.expit(logits.astype(float)).mean(axis=0)
    np.testing.assert_allclose(mean, expected, rtol=1e-4)


def test_where_all_is_right_as_many_rates_lie_in_their_bands_as_was_said():
    inside = []
    for seed in range(4):
        found = diagrams_by_class(histogram_of(*world(2000, 150, seed)), 0.8)
        some = found.cells > 0
        rate = found.positives[some] / found.cells[some]
        inside.append(((rate >= found.low[some]) & (rate <= found.high[some])).mean())

    # counts are whole numbers: a band holds a little more than it must
    assert 0.80 < np.mean(inside) < 0.87


def test_probabilities_that_are_far_too_high_leave_the_band():
    logits, labels = world(20_000, 1)

    found = diagrams_by_class(histogram_of(logits + np.float32(1), labels), 0.99)

    some = found.cells[0] > 0
    rate = found.positives[0][some] / found.cells[0][some]
    assert (rate < found.low[0][some]).all()


def test_pooled_cells_are_those_of_all_classes_in_the_order_of_their_scores():
    logits, labels = world(400, 7)
    shifted = logits + np.arange(7, dtype=np.float32)

    found = pooled_diagram(histogram_of(shifted, labels), 0.95)

    assert found.cells.sum() == logits.size
    assert found.positives.sum() == labels.sum()
    p = found.p[0][found.cells[0] > 0]
    assert (np.diff(p) > 0).all()
    # groups are made by score alone, so that the first holds the lowest of all cells
    first = found.cells[0][found.cells[0] > 0][0]
    lowest = np.sort(special.expit(shifted.astype(float)).ravel())[:first]
    assert p[0] == pytest.approx(lowest.mean(), rel=0.02)


def test_a_class_without_scores_has_no_groups():
    rows = labelled_logits(
        np.array([[-np.inf, 1.0], [-np.inf, -1.0]]), np.eye(2)[::-1] > 0, nan="negative"
    )

    found = diagrams_by_class(ScoreHistogram.of(rows), 0.95)

    assert found.cells[0].sum() == 0
    assert np.isnan(found.p[0]).all()
    assert found.cells[1].sum() == 2
