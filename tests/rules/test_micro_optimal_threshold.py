import math

import naive
import naive_counts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import (
    FitWarning,
    MicroOptimalThreshold,
    PerClassThreshold,
    ScoreHistogram,
    SharedThreshold,
    metrics,
)
from calibrate.data import labelled_logits
from calibrate.rules import micro_optimal_threshold
from calibrate.statistics import HullSteps, sweep

LAW = settings(derandomize=True, deadline=None, max_examples=150)
quiet = pytest.mark.filterwarnings("ignore::calibrate.FitWarning", "ignore:all logits lie in")

cells = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1.0000001, 0.99999994, -1e30, 1e30, 1e-45, -1e-45]),
)


@st.composite
def rows(draw):
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    size = shape[0] * shape[1]
    scores = draw(st.lists(st.one_of(cells, st.just(-math.inf)), min_size=size, max_size=size))
    labels = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(shape)
    labels[0, 0] = True
    labels[:, -1] |= draw(st.booleans())
    return np.array(scores, np.float32).reshape(shape), labels


def simulated(n_rows=3000, n_classes=15, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.004, 0.5, n_classes)
    scores = rng.normal(size=labels.shape) * 2 + 2.5 * labels + rng.normal(size=n_classes)
    return (np.round(scores, 1) if ties else scores).astype(np.float32), labels


def micro_f(predicted, labels, beta=1.0):
    tp, square = int((predicted & labels).sum()), beta**2
    return (1 + square) * tp / (int(predicted.sum()) + square * int(labels.sum()))


@quiet
@LAW
@given(rows(), st.sampled_from([0.5, 1.0, 2.0]))
def test_target_15_no_thresholds_of_all_classes_reach_more(case, beta):
    """Target 15: hulls and Dinkelbach's iteration = trying all products of cuts, to 1e-15."""
    scores, labels = case

    fitted = MicroOptimalThreshold(beta).fit(scores, labels, nan="negative")

    predicted = scores >= fitted.op_.threshold
    best = naive_counts.best_micro_f(scores.tolist(), labels.tolist(), beta)
    assert micro_f(predicted, labels, beta) == pytest.approx(best, abs=1e-15)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_no_worse_than_the_shared_cut_or_the_best_cut_of_each_class(seed, ties):
    scores, labels = simulated(seed=seed, ties=ties)
    f1 = metrics.f_beta(1)

    reached = [
        micro_f(rule.fit(scores, labels).predict(scores).toarray(), labels)
        for rule in (MicroOptimalThreshold(), SharedThreshold(f1), PerClassThreshold(f1))
    ]

    assert reached[0] > max(reached[1:])


@pytest.mark.parametrize("ties", [False, True])
def test_each_threshold_is_the_best_at_the_price_that_the_f_measure_sets(ties):
    scores, labels = simulated(700, ties=ties)

    threshold = MicroOptimalThreshold().fit(scores, labels).op_.threshold

    price = micro_f(scores >= threshold, labels) / 2
    for c in range(labels.shape[1]):
        cuts = naive.cuts_on_positives(scores[:, c], labels[:, c])
        worth = [tp - price * (tp + fp) for _, tp, fp, _, _ in cuts]
        best = next(cut for cut, value in zip(cuts, worth, strict=True)
                    if value >= max(worth) - 1e-9)  # fmt: skip
        assert threshold[c] == best[0]


@pytest.mark.parametrize("guess", [0.01, 0.5, 0.9, 1.5, 1.9])
def test_a_wrong_guess_of_the_price_costs_time_and_nothing_else(guess, monkeypatch):
    scores, labels = simulated(400)
    expected = MicroOptimalThreshold().fit(scores, labels).op_.threshold

    monkeypatch.setattr(micro_optimal_threshold, "_BELOW_GUESS", guess)
    found = MicroOptimalThreshold().fit(scores, labels).op_.threshold

    assert found.tolist() == expected.tolist()


def test_a_sweep_whose_promise_fails_gives_the_same(monkeypatch):
    scores, labels = simulated(9000)
    expected = MicroOptimalThreshold().fit(scores, labels).op_.threshold

    monkeypatch.setattr(sweep, "_DEVIATIONS", -3.0)  # room for too few, floors too high
    monkeypatch.setattr(sweep, "_SPARE_ROOM", 0)
    found = MicroOptimalThreshold().fit(scores, labels).op_.threshold

    assert found.tolist() == expected.tolist()


def test_a_class_without_positives_is_never_predicted_and_listed():
    scores, labels = simulated(100)
    labels[:, 4] = False

    with pytest.warns(FitWarning, match="have no positives: they are never predicted"):
        fitted = MicroOptimalThreshold().fit(scores, labels)

    assert fitted.op_.threshold[4] == np.inf
    assert 4 in fitted.findings_[0].classes


@quiet
def test_a_histogram_nearly_reaches_it():
    scores, labels = simulated()
    histogram = ScoreHistogram.of(labelled_logits(scores, labels))

    exact = MicroOptimalThreshold().fit(scores, labels).predict(scores).toarray()
    binned = MicroOptimalThreshold().fit_from(histogram).predict(scores).toarray()

    reached = micro_f(binned, labels), micro_f(exact, labels)
    assert reached[0] <= reached[1]
    assert reached[0] == pytest.approx(reached[1], abs=2e-3)


def test_steps_that_are_hidden_lower_the_price_for_the_next_look():
    steps = HullSteps(np.array([0, 1]), np.float32([1.0, 2.0]), np.array([1, 1]), np.array([1, 4]))

    price = micro_optimal_threshold.best_price(steps, 2.0, 0.9)

    assert price == pytest.approx(1 / 3)


@pytest.mark.parametrize("beta", [0, -1.0, np.inf, np.nan])
def test_a_beta_that_makes_no_sense_is_refused(beta):
    with pytest.raises(ValueError, match=r"^beta must be positive and finite"):
        MicroOptimalThreshold(beta).fit(np.eye(3), np.eye(3))


def test_without_any_positive_there_is_nothing_to_fit():
    with pytest.raises(ValueError, match=r"^labels must hold at least one positive"):
        MicroOptimalThreshold().fit(np.ones((3, 2)), np.zeros((3, 2)))
