"""Labels of a batch for a macro metric: never worse from row to row, and as good as any."""

from __future__ import annotations

import naive_counts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from calibrate import block_coordinate_ascent
from calibrate.coordinate_ascent import Ascent, Candidates
from calibrate.data import labelled_logits
from calibrate.kernels.ascent import take_highest
from calibrate.metrics import f_beta, jaccard, precision, recall, recall_at_precision

LAW = settings(derandomize=True, deadline=None, max_examples=60)
METRICS = [f_beta(1), f_beta(2), jaccard, precision, recall]
every_metric = pytest.mark.parametrize("metric", METRICS, ids=repr)


def of_cell(metric):
    """The metric of one cell's plain numbers."""
    return lambda *counts: float(metric(*(np.array([value]) for value in counts))[0])


def plain(metric):
    """The same metric as a function that nothing is known of."""
    return lambda *counts: metric(*counts)


def probabilities(n_rows=60, n_classes=12, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.3, 2.0, (n_rows, n_classes)) * np.geomspace(0.05, 1, n_classes)
    return p.astype(np.float32).astype(np.float64)


def ascent_of(p, k, metric, n_candidates=200):
    p = p.astype(np.float32)
    sums = p.sum(axis=0, dtype=np.float64)
    candidates = Candidates.of_probabilities(p, max(k, n_candidates), k, sums)
    return Ascent(candidates, p.sum(axis=0, dtype=np.float64), k, metric)


def mask_of(ascent, shape):
    rows = np.repeat(np.arange(shape[0]), np.diff(ascent.candidates.indptr))
    mask = np.zeros(shape, bool)
    mask[rows[ascent.chosen], ascent.candidates.classes[ascent.chosen]] = True
    return mask


def test_target_27_four_rows_of_four_classes_reach_the_optimum():
    """Target 27: on a 4 x 4 case with k = 2 the ascent ends at .73339, the top 2 at .58703."""
    p = np.random.default_rng(0).random((4, 4)).astype(np.float32).astype(np.float64)
    f1 = of_cell(f_beta(1))
    top = np.argsort(np.argsort(-p, axis=1), axis=1) < 2

    mask = block_coordinate_ascent(p, 2, f_beta(1)).toarray()

    best = naive_counts.best_budgeted(p.tolist(), 2, f1)
    assert naive_counts.macro(p, mask, f1) == pytest.approx(best, abs=1e-12)
    assert best == pytest.approx(0.73339, abs=5e-6)
    assert naive_counts.macro(p, top, f1) == pytest.approx(0.58703, abs=5e-6)


@every_metric
@pytest.mark.parametrize("known", [True, False])
def test_target_27_no_row_lowers_the_metric(metric, known):
    """Target 27: the objective is monotone per row."""
    p = probabilities(40)
    ascent = ascent_of(p, 2, metric if known else plain(metric))
    value = of_cell(metric)
    values = [naive_counts.macro(p, mask_of(ascent, p.shape), value)]

    order = ascent.order
    for _ in range(2):
        for i in order:
            ascent.order = np.array([i])
            risen = ascent.one_pass()
            values.append(naive_counts.macro(p, mask_of(ascent, p.shape), value))
            assert values[-1] - values[-2] == pytest.approx(risen / p.shape[1], abs=1e-9)

    assert np.diff(values).min() >= -1e-12
    assert values[-1] > values[0]
    assert ascent.value == pytest.approx(values[-1], abs=1e-9)


@every_metric
def test_what_is_known_of_a_metric_changes_no_label(metric):
    p = probabilities()

    quick = block_coordinate_ascent(p, 3, metric)
    slow = block_coordinate_ascent(p, 3, plain(metric))

    assert (quick != slow).nnz == 0


@every_metric
def test_at_the_end_no_row_would_gain_by_other_labels(metric):
    p = probabilities(20, 6)
    value = of_cell(metric)

    mask = block_coordinate_ascent(p, 2, metric, tolerance=0.0).toarray()

    reached = naive_counts.macro(p, mask, value)
    for i in range(len(p)):
        for a in range(6):
            for b in range(a):
                other = mask.copy()
                other[i] = False
                other[i, [a, b]] = True
                assert naive_counts.macro(p, other, value) <= reached + 1e-9


@LAW
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_each_row_gets_exactly_k_labels_or_all(n_rows, n_classes, k, seed):
    p = np.random.default_rng(seed).integers(0, 5, (n_rows, n_classes)) / 4

    labels = block_coordinate_ascent(p, k, f_beta(1))

    assert isinstance(labels, sparse.csr_array)
    assert labels.shape == p.shape
    assert labels.dtype == bool
    assert labels.sum(axis=1).tolist() == [min(k, n_classes)] * n_rows


@pytest.mark.parametrize("seed", range(5))
def test_neither_the_order_of_rows_nor_that_of_classes_changes_a_label(seed):
    p = probabilities(seed=seed)
    rng = np.random.default_rng(seed)
    rows, classes = rng.permutation(len(p)), rng.permutation(p.shape[1])

    labels = block_coordinate_ascent(p, 2, f_beta(1)).toarray()

    by_rows = block_coordinate_ascent(p[rows], 2, f_beta(1)).toarray()
    by_classes = block_coordinate_ascent(p[:, classes], 2, f_beta(1)).toarray()
    assert (by_rows == labels[rows]).all()
    assert (by_classes == labels[:, classes]).all()


def test_labels_come_from_the_candidates_alone():
    p = probabilities()
    allowed = np.zeros(p.shape, bool)
    for i, classes in enumerate(candidates_of(p, 3, 2)):
        allowed[i, classes] = True

    labels = block_coordinate_ascent(p, 2, f_beta(1), n_candidates=3).toarray()
    few = block_coordinate_ascent(p, 5, recall, n_candidates=1).toarray()

    assert not (labels & ~allowed).any()
    assert (labels != block_coordinate_ascent(p, 2, f_beta(1)).toarray()).any()
    assert (few.sum(axis=1) == 5).all()


def test_rare_classes_get_a_share():
    p = probabilities(400, 30)
    top = np.argsort(np.argsort(-p, axis=1), axis=1) < 2

    labels = block_coordinate_ascent(p, 2, f_beta(1)).toarray()

    f1 = of_cell(f_beta(1))
    assert naive_counts.macro(p, labels, f1) > 1.2 * naive_counts.macro(p, top, f1)
    assert labels[:, :10].sum() > 2 * top[:, :10].sum()


def test_passes_end_when_they_gain_too_little():
    p = probabilities()
    ascent = ascent_of(p, 2, f_beta(1))
    ascent.run(1, 0.0)
    once = ascent.value

    ascent.run(20, 1e9)
    twice = ascent.value
    ascent.run(20, 0.0)

    assert once <= twice <= ascent.value
    assert ascent.one_pass() == 0.0


def test_the_tolerance_is_one_of_the_mean_over_the_classes():
    p = probabilities()
    first = ascent_of(p, 2, f_beta(1))
    risen = first.one_pass()
    ascent = ascent_of(p, 2, f_beta(1))

    ascent.run(20, 1.01 * risen / 12)

    assert ascent.value == first.value
    assert first.one_pass() > 0


@pytest.mark.parametrize("metric", [f_beta(1), plain(f_beta(1))], ids=["known", "plain"])
def test_a_row_changes_no_label_where_that_gains_nothing(metric):
    ascent = ascent_of(np.full((4, 3), 0.5), 1, metric)
    mask = np.eye(3, dtype=bool)[[1, 1, 0, 2]]
    ascent.chosen[:] = mask.reshape(-1)
    ascent.tp[:], ascent.predicted[:] = 0.5 * mask.sum(axis=0), mask.sum(axis=0)

    assert ascent.one_pass() == 0.0

    assert (mask_of(ascent, mask.shape) == mask).all()


@pytest.mark.parametrize("metric", [f_beta(1), jaccard, recall], ids=repr)
def test_of_a_class_that_no_row_can_have_nothing_is_expected(metric):
    p = probabilities(30, 6)
    p[:, 0] = 0.0
    ascent = ascent_of(p, 2, metric)

    ascent.run(20, 0.0)

    assert ascent.tp[0] == 0.0
    assert np.isfinite(ascent.line()).all()
    assert 0 < ascent.value < 1


def test_a_prediction_that_is_worth_less_the_likelier_it_is_has_no_slope():
    ascent = ascent_of(probabilities(30, 6), 2, lambda tp, fp, fn, tn: fp - tp)

    slope, height = ascent.line()

    assert slope.tolist() == [0.0] * 6
    assert height == pytest.approx(np.ones(6))


@LAW
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(1, 14))
def test_the_highest_gains_are_taken_and_the_first_among_equals(values, k):
    chosen = np.ones(len(values), bool)

    take_highest(np.array(values, float), k, np.empty(k, np.int64), chosen)

    assert chosen.tolist() == naive_counts.weighted_top_k(
        values, k, [1] * len(values), [0] * len(values)
    )


@every_metric
def test_the_line_of_a_class_is_what_one_more_prediction_adds(metric):
    p = probabilities()
    known, unknown = ascent_of(p, 2, metric), ascent_of(p, 2, plain(metric))
    known.run(5, 0.0)
    unknown.run(5, 0.0)

    slope, height = known.line()

    value = of_cell(metric)
    for c in range(p.shape[1]):
        tp, k, n = known.tp[c], int(known.predicted[c]), p[:, c].sum()
        before = value(tp, k - tp, n - tp, len(p) - k - n + tp)
        for q in (0.0, 0.2):
            after = value(tp + q, k + 1 - tp - q, n - tp - q, len(p) - k - 1 - n + tp + q)
            if metric is not jaccard or q == 0:
                assert height[c] + q * slope[c] == pytest.approx(after - before, abs=1e-9)
    if metric is not jaccard:
        np.testing.assert_allclose(np.stack(unknown.line()), np.stack(known.line()), atol=1e-9)


@pytest.mark.parametrize(
    ("p", "options", "error", "message"),
    [
        ([0.5], {}, ValueError, r"probabilities must be a matrix of numbers, .* got shape \(1,\)"),
        (np.empty((0, 3)), {}, ValueError, r"one row or more, got shape \(0, 3\)"),
        ([["a"]], {}, ValueError, "probabilities must be a matrix of numbers"),
        ([[0.5, 1.5]], {}, ValueError, "must be from 0 to 1, got 1.5 at row 0, class 1"),
        ([[0.5], [np.nan]], {}, ValueError, "must be from 0 to 1, got nan at row 1, class 0"),
        ([[0.5]], {"k": 0}, ValueError, "k must be a positive integer, got 0"),
        ([[0.5]], {"n_candidates": 0}, ValueError, "n_candidates must be a positive integer"),
        ([[0.5]], {"max_passes": 0.5}, ValueError, "max_passes must be a positive integer"),
        ([[0.5]], {"metric": "f1"}, TypeError, "metric must be a function"),
        ([[0.5]], {"metric": recall_at_precision(0.5)}, TypeError, "metric must have no bound"),
        ([[0.5]], {"metric": lambda tp, fp, fn, tn: tp.sum()}, ValueError, "one real number"),
        ([[0.5]], {"metric": lambda tp, fp, fn, tn: tp / 0}, ValueError, "must be finite here"),
    ],
)
def test_what_makes_no_sense_is_refused(p, options, error, message):
    with pytest.raises(error, match=message):
        block_coordinate_ascent(p, **({"k": 1, "metric": f_beta(1)} | options))


def test_a_metric_of_nan_is_taken_for_nothing():
    p = probabilities(10, 4)

    def undefined_at_first(tp, fp, fn, tn):
        return (2 * tp) / np.where(tp + fp == 0, np.nan, 2 * tp + fp + fn)

    labels = block_coordinate_ascent(p, 1, undefined_at_first)

    assert (labels != block_coordinate_ascent(p, 1, f_beta(1))).nnz == 0


def candidates_of(p, n, k):
    p = np.asarray(p, np.float32)
    found = Candidates.of_probabilities(p, n, k, p.sum(axis=0, dtype=np.float64))
    return [found.classes[found.indptr[i] : found.indptr[i + 1]].tolist() for i in range(len(p))]


def test_half_of_the_candidates_are_those_that_are_most_likelier_here_than_elsewhere():
    # the last two classes are rare: .1 of a sum of .1 and of .12, beside .6 of 1.7 and the like
    p = [[0.9, 0.8, 0.7, 0.6, 0.1, 0.1], [0.8, 0.8, 0.8, 0.8, 0.0, 0.02], [0.9] * 4 + [0.0] * 2]

    assert candidates_of(p, 4, 1)[0] == [0, 1, 4, 5]
    assert candidates_of(p, 3, 1)[0] == [0, 1, 4]
    assert candidates_of(p, 4, 3)[0] == [0, 1, 2, 4]


def test_a_class_that_is_both_is_one_candidate():
    p = [[0.9, 0.2, 0.1], [0.0, 0.9, 0.9]]

    assert candidates_of(p, 2, 1)[0] == [0]


def test_where_there_is_room_for_all_classes_all_are_candidates():
    p = [[0.9, 0.2, 0.0], [0.0, 0.9, 0.9]]

    assert candidates_of(p, 3, 1) == [[0, 1, 2]] * 2
    assert candidates_of(p, 400, 2) == [[0, 1, 2]] * 2


@pytest.mark.parametrize("k", [1, 3])
def test_candidates_of_logits_are_those_of_their_probabilities(k):
    p = probabilities(n_classes=40)
    logits = np.log(p) - np.log1p(-p)
    rows = labelled_logits(logits.astype(np.float32), np.zeros(p.shape))
    sums = p.sum(axis=0)

    found = Candidates.of_rows(rows, 8, k, sums)

    # a lift in logits is one of odds: the order differs where probabilities are high
    expected = Candidates.of_probabilities((p / (1 - p)).astype(np.float32), 8, k, sums)
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.classes.tolist() == expected.classes.tolist()
    assert np.diff(found.indptr).min() >= max(k, 4)
    assert np.diff(found.indptr).max() <= 8
