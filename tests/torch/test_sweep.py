"""The sweep by sorted blocks finds what the sweep of the host finds, number for number."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import metrics
from calibrate.data import labelled_logits
from calibrate.metrics import RatioMetric
from calibrate.statistics import best_cuts as on_host
from calibrate.torch import best_cuts, sweep

LAW = settings(derandomize=True, deadline=None, max_examples=30)
pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")


def reward(tp, fp, fn, tn):
    return tp - 0.5 * fp


METRICS = [
    (metrics.f_beta(1), naive.f_beta(1)),
    (metrics.f_beta(1.7), naive.f_beta(1.7)),
    (metrics.jaccard, naive.jaccard),
    (metrics.precision, naive.precision),
    (metrics.recall, naive.recall),
    (metrics.mcc, naive.mcc),
    (metrics.balanced_accuracy, naive.balanced_accuracy),
    (metrics.cost(1, 4), naive.cost(1, 4)),
    (metrics.recall_at_precision(0.4), naive.recall_at_precision(0.4)),
    (reward, reward),
    (lambda tp, fp, fn, tn: fp - tp, lambda tp, fp, fn, tn: fp - tp),
]
every_metric = pytest.mark.parametrize(
    ("metric", "slow"), METRICS, ids=lambda m: repr(m) if isinstance(m, metrics.CutMetric) else ""
)

ugly = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1e-45, 3e38, -3e38, 1.0000001, 0.99999994, -math.inf]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@st.composite
def rows(draw):
    """Few rows with ties and adjacent floats; some classes are empty, some are full."""
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    size = shape[0] * shape[1]
    scores = draw(st.lists(ugly, min_size=size, max_size=size))
    labels = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(shape)
    kinds = draw(st.lists(st.integers(0, 4), min_size=shape[1], max_size=shape[1]))
    for c, kind in enumerate(kinds):
        labels[:, c] = {0: False, 1: True}.get(kind, labels[:, c])
    return np.array(scores, np.float32).reshape(shape), labels


def simulated(n_rows=3000, n_classes=30, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.004, 0.4, n_classes)
    scores = rng.normal(size=labels.shape) + 1.3 * labels
    labels[:, 3], scores[:, 4], labels[:, 5] = False, 0.5, True
    return np.round(scores, 3).astype(np.float32), labels


def tensors(scores, labels):
    return torch.from_numpy(scores), torch.from_numpy(labels)


def numbers(cuts):
    return [values.tolist() for values in cuts]


@every_metric
@LAW
@given(rows(), st.sampled_from([1, 20, 1 << 20]))
def test_the_best_cuts_are_those_of_the_slow_search(metric, slow, case, block):
    scores, labels = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "BLOCK_CELLS", block)

        found = best_cuts(*tensors(scores, labels), metric, nan="negative")

    for c in range(scores.shape[1]):
        value, threshold = naive.best_cut(scores[:, c], labels[:, c], slow)
        assert found.threshold[c] == threshold
        assert found.value[c] == pytest.approx(value, rel=1e-12, abs=1e-12)


@every_metric
@LAW
@given(rows())
def test_the_best_cuts_are_those_of_the_host(metric, slow, case):
    scores, labels = case

    found = best_cuts(*tensors(scores, labels), metric, nan="negative")

    (expected,) = on_host(labelled_logits(scores, labels, nan="negative"), metric)
    assert numbers(found) == numbers(expected)


@every_metric
def test_many_rows_give_the_cuts_of_the_host(metric, slow, monkeypatch):
    scores, labels = simulated()
    monkeypatch.setattr(sweep, "BLOCK_CELLS", 20_000)

    found = best_cuts(*tensors(scores, labels), metric)

    (expected,) = on_host(labelled_logits(scores, labels), metric)
    assert numbers(found) == numbers(expected)


def test_a_class_without_positives_is_never_predicted():
    scores, labels = simulated(200, 8)

    found = best_cuts(*tensors(scores, labels), metrics.f_beta(1))

    assert found.threshold[3] == np.inf
    assert (found.tp[3], found.fp[3]) == (0, 0)
    assert found.threshold[5] == np.finfo(np.float32).min


def test_few_cuts_of_a_ratio_leave_the_device(monkeypatch):
    judged = []
    original, (scores, labels) = sweep._curves, simulated()

    def watched(cuts, *others):
        judged.append(len(cuts.line))
        return original(cuts, *others)

    monkeypatch.setattr(sweep, "_curves", watched)

    best_cuts(*tensors(scores, labels), metrics.f_beta(1))
    best_cuts(*tensors(scores, labels), metrics.mcc)

    assert isinstance(metrics.f_beta(1), RatioMetric)
    assert judged[0] < 3 * 30 < judged[1]


def test_cuts_that_are_equal_for_numpy_are_not_parted_by_the_device():
    # 7 positives alone, or all 32 with 56 negatives: as good, but for the rounding of a formula
    scores = np.repeat([3.0, 2.0, 1.0], [7, 56, 25]).astype(np.float32)[:, None]
    labels = scores != 2

    found = best_cuts(*tensors(scores, labels), metrics.f_beta(0.7))

    assert found.threshold.tolist() == [2.5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_swept_as_its_saved_logits(dtype):
    scores, labels = simulated(500)
    batch = torch.from_numpy(scores).to(dtype)

    found = best_cuts(batch, torch.from_numpy(labels).float().to_sparse(), metrics.f_beta(1))

    (expected,) = on_host(labelled_logits(batch, labels), metrics.f_beta(1))
    assert numbers(found) == numbers(expected)


@pytest.mark.parametrize(
    ("logits", "targets", "options", "text"),
    [
        (torch.zeros(3), torch.zeros(3), {}, r"one shape \(n_rows, n_classes\), got \(3,\)"),
        (torch.zeros(3, 2), torch.zeros(3, 1), {}, r"got \(3, 2\) and \(3, 1\)"),
        (torch.zeros(0, 2), torch.zeros(0, 2), {}, r"got \(0, 2\)"),
        (torch.full((3, 2), math.nan), torch.zeros(3, 2), {}, "must be finite, got 6 that are not"),
        (torch.full((3, 2), -math.inf), torch.zeros(3, 2), {}, "must be finite, got 6"),
        (torch.full((3, 2), math.inf), torch.zeros(3, 2), {"nan": "negative"}, "finite, got 6"),
        (torch.zeros(3, 2), torch.full((3, 2), 0.5), {}, "targets must be 0 or 1, got 6"),
    ],
)
def test_what_cannot_be_swept_is_refused(logits, targets, options, text):
    with pytest.raises(ValueError, match=text):
        best_cuts(logits, targets, metrics.f_beta(1), **options)


def test_a_metric_without_its_number_is_refused():
    with pytest.raises(TypeError, match="made with its number"):
        best_cuts(torch.zeros(3, 2), torch.zeros(3, 2), metrics.f_beta)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_metric
def test_a_device_finds_the_cuts_of_the_host(metric, slow):
    scores, labels = simulated()

    found = best_cuts(*(tensor.cuda() for tensor in tensors(scores, labels)), metric)

    (expected,) = on_host(labelled_logits(scores, labels), metric)
    assert numbers(found) == numbers(expected)
