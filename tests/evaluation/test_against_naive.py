"""Every figure agrees with the slow and obvious one on ugly inputs."""

from __future__ import annotations

import os
from unittest import mock

import naive_evaluation
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibrate.decision import Decision
from calibrate.evaluation import evaluate
from calibrate.ops import Affine, ExpectedCountTopK, Threshold, TopK

ADJACENT = float(np.nextafter(np.float32(1), np.float32(2)))
LOGITS = [np.nan, -np.inf, -800.0, -2.0, -1.0, 0.0, 0.5, 1.0, ADJACENT, 3.0, 40.0, 800.0, 3e38]

pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")


@st.composite
def rows_and_decisions(draw):
    """Logits, labels, scale, shift and threshold per class."""
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    logits = draw(arrays(np.float32, shape, elements=st.sampled_from(np.float32(LOGITS).tolist())))
    labels = draw(arrays(np.bool_, shape))
    for c in range(shape[1]):
        fill = draw(st.sampled_from([None, None, False, True]))
        if fill is not None:
            labels[:, c] = fill
    scale = draw(arrays(np.float32, shape[1], elements=st.sampled_from([0.5, 1.0, 2.0])))
    shift = draw(arrays(np.float32, shape[1], elements=st.sampled_from([-3.0, -1.0, 0.0, 2.0])))
    cuts = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0, np.inf])
    return logits, labels, scale, shift, draw(arrays(np.float32, shape[1], elements=cuts))


def agree(evaluation, summary, per_class):
    assert set(evaluation.summary) == set(summary)
    assert set(evaluation.per_class) == set(per_class)
    for name, value in summary.items():
        # the sum of the sigmoids of a row is the one that decisions use, of float32 numbers
        rtol, atol = (1e-6, 1e-6) if name == "expected_count_mae" else (1e-12, 1e-13)
        np.testing.assert_allclose(evaluation.summary[name], value, rtol, atol, err_msg=name)
    for name, values in per_class.items():
        # the bounds of scipy are found by halving
        rtol, atol = (1e-9, 1e-11) if name in ("f_low", "f_high") else (1e-12, 1e-13)
        np.testing.assert_allclose(evaluation.per_class[name], values, rtol, atol, err_msg=name)


def agree_on_intervals(evaluation, decided, labels, beta=1.0):
    influences = naive_evaluation.influences(decided, labels, beta)
    assert set(evaluation.intervals) == set(evaluation.influence) == set(influences)
    for name, influence in influences.items():
        np.testing.assert_allclose(
            evaluation.influence[name], influence, 1e-12, 1e-12, err_msg=name
        )
        highest = np.inf if name == "count_ratio" else 1.0
        expected = naive_evaluation.interval(
            evaluation.summary[name], influence, evaluation.summary["level"], 0.0, highest
        )
        np.testing.assert_allclose(evaluation.intervals[name], expected, 1e-9, 1e-9, err_msg=name)


def calibrated(logits, scale, shift):
    with np.errstate(over="ignore"):
        return np.where(np.isnan(logits), np.float32(-np.inf), logits * scale + shift)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    case=rows_and_decisions(),
    beta=st.sampled_from([0.5, 1.0, 2.0]),
    by_index=st.booleans(),
    level=st.sampled_from([0.5, 0.95, 0.999]),
    block_cells=st.sampled_from([1, 9, 1 << 21]),
    threads=st.sampled_from(["1", "3"]),
)
def test_thresholds_on_calibrated_logits_agree(case, beta, by_index, level, block_cells, threads):
    logits, labels, scale, shift, threshold = case
    n_classes = labels.shape[1]
    decision = Decision((Affine(scale, shift),), Threshold(threshold), n_classes)
    frequency = np.arange(n_classes)[::-1] // 2 if by_index else None
    scores = calibrated(logits, scale, shift)
    # a threshold of inf means never, even where a score has overflowed to it
    decided = (scores >= threshold) & (scores > -np.inf) & (threshold < np.inf)

    with (
        mock.patch("calibrate.data.logits.BLOCK_CELLS", block_cells),
        mock.patch.dict(os.environ, CALIBRATE_NUM_THREADS=threads),
    ):
        evaluation = evaluate(
            decision, logits, labels, beta=beta, frequency=frequency, level=level, nan="negative"
        )

    agree(evaluation, *naive_evaluation.evaluate(decided, labels, scores, beta, frequency, level))
    agree_on_intervals(evaluation, decided, labels, beta)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(case=rows_and_decisions(), rule=st.sampled_from([TopK(2), ExpectedCountTopK(0.5, 0, None)]))
def test_decisions_along_the_row_agree(case, rule):
    logits, labels, scale, shift, _ = case
    decision = Decision((Affine(scale, shift),), rule, labels.shape[1])
    decided = decision.predict(logits, nan="negative").toarray()
    scores = calibrated(logits, scale, shift)

    evaluation = evaluate(decision, logits, labels, nan="negative")

    agree(evaluation, *naive_evaluation.evaluate(decided, labels, scores))
    agree_on_intervals(evaluation, decided, labels)


def test_many_classes_agree_over_the_tiles_of_the_kernel():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 200)).round(1).astype(np.float32)
    labels = rng.random(logits.shape) < 0.1
    decision = Decision((), Threshold(np.float32(0.5)), 200)

    evaluation = evaluate(decision, logits, labels)

    agree(evaluation, *naive_evaluation.evaluate(logits >= 0.5, labels, logits))
    agree_on_intervals(evaluation, logits >= 0.5, labels)
