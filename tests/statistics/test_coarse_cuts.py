"""A few cuts of each class: their counts are those of the rows, whatever the scores are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibrate.data import labelled_logits
from calibrate.statistics import ScoreHistogram
from calibrate.statistics.coarse_cuts import MOST_CUTS, coarse_cuts

ADJACENT = float(np.nextafter(np.float32(1000), np.float32(2000)))
LOGITS = [-np.inf, -3e38, -5.0, -1.0, 0.0, 0.5, 1.0, 1000.0, ADJACENT, 3e38]

pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")


def cuts_of(logits, labels, most=MOST_CUTS):
    rows = labelled_logits(np.asarray(logits, dtype=np.float32), labels, nan="negative")
    return coarse_cuts(ScoreHistogram.of(rows), most)


def entries(cuts, c):
    here = slice(cuts.indptr[c], cuts.indptr[c + 1])
    return zip(cuts.threshold[here], cuts.tp[here], cuts.predicted[here], strict=True)


@st.composite
def ugly_rows(draw):
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    logits = draw(arrays(np.float32, shape, elements=st.sampled_from(LOGITS)))
    return logits, draw(arrays(np.bool_, shape))


@settings(max_examples=150, deadline=None)
@given(ugly_rows())
def test_each_cut_has_the_counts_of_its_threshold(case):
    logits, labels = case

    cuts = cuts_of(logits, labels)

    for c in range(logits.shape[1]):
        for threshold, tp, predicted in entries(cuts, c):
            passing = logits[:, c] >= threshold
            assert predicted == passing.sum()
            assert tp == (passing & labels[:, c]).sum()


def test_a_threshold_between_two_bins_is_the_lowest_of_the_upper_one():
    logits = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    labels = logits > 1

    cuts = cuts_of(logits, labels)

    for c in range(3):
        for threshold, tp, predicted in entries(cuts, c):
            assert predicted == (logits[:, c] >= threshold).sum()
            assert tp == (labels[:, c] & (logits[:, c] >= threshold)).sum()


def test_they_fall_and_are_few():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(20_000, 5)), rng.random((20_000, 5)) < 0.1

    cuts = cuts_of(logits, labels, most=20)

    assert (np.diff(cuts.indptr) <= 20).all()
    assert (np.diff(cuts.indptr) >= 15).all()
    for c in range(5):
        threshold, tp, predicted = zip(*entries(cuts, c), strict=True)
        assert (np.diff(threshold) < 0).all()
        assert (np.diff(predicted) > 0).all()
        assert (np.diff(tp) >= 0).all()


def test_each_of_a_few_positives_has_a_cut_of_its_own():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(10_000, 1)), np.zeros((10_000, 1), dtype=bool)
    labels[:8] = True
    logits[:8, 0] = np.arange(8) / 4 + 1

    cuts = cuts_of(logits, labels)

    assert set(range(9)) <= set(cuts.tp.tolist())


def test_a_class_without_scores_has_no_cuts():
    cuts = cuts_of(np.array([[-np.inf, 1.0], [-np.inf, 2.0]]), np.zeros((2, 2), dtype=bool))

    assert cuts.indptr[1] == 0
    assert cuts.indptr[2] > 0


@pytest.mark.parametrize("threads", ["1", "3"])
def test_threads_change_nothing(threads, monkeypatch):
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(500, 40)), rng.random((500, 40)) < 0.2
    expected = cuts_of(logits, labels)

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", threads)
    found = cuts_of(logits, labels)

    for name in ("indptr", "edge", "threshold", "tp", "predicted"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
