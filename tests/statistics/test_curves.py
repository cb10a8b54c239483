import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from calibrate import metrics, ops
from calibrate.data import dataset, labelled_logits, logits
from calibrate.statistics import (
    Grid,
    ScoreHistogram,
    curves,
    curves_of_lines,
    midway,
    pooled,
    pooled_curves,
    threshold_curves,
)
from calibrate.statistics.curves import curves_at_bins

LAW = settings(derandomize=True, deadline=None, max_examples=70)
pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")

ONE = np.float32(1)
EPSILON = float(np.finfo(np.float32).smallest_subnormal)
UGLY = [
    0.0, -0.0, 1.0, float(np.nextafter(ONE, 2 * ONE)), float(np.nextafter(ONE, -ONE)), -1.0,
    float(np.nextafter(-ONE, ONE)), EPSILON, -EPSILON, 2 * EPSILON, 3e38, -3e38, 2.5, -7.25,
]  # fmt: skip
cells = st.one_of(
    st.sampled_from(UGLY),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(-3, 3).map(float),
    st.just(-math.inf),
)

METRICS = [
    (metrics.f_beta(1), naive.f_beta(1)),
    (metrics.f_beta(2), naive.f_beta(2)),
    (metrics.f_beta(0.5), naive.f_beta(0.5)),
    (metrics.jaccard, naive.jaccard),
    (metrics.balanced_accuracy, naive.balanced_accuracy),
    (metrics.mcc, naive.mcc),
    (metrics.cost(1, 3), naive.cost(1, 3)),
    (metrics.cost(2, 0), naive.cost(2, 0)),
    (metrics.cost(0, 1), naive.cost(0, 1)),
    (metrics.precision_at_recall(0.5), naive.precision_at_recall(0.5)),
    (metrics.recall_at_precision(0.6), naive.recall_at_precision(0.6)),
]
every_metric = pytest.mark.parametrize(
    ("metric", "slow"), METRICS, ids=[repr(m) for m, _ in METRICS]
)


def bumpy(tp, fp, fn, tn):
    """A metric that rises and falls with the false positives."""
    return np.sin(3.0 * tp + 2.0 * fp) + 0.1 * tp


@st.composite
def rows(draw, most_rows=12, most_classes=4):
    """Scores and labels; classes may be empty, full, constant, without any score."""
    shape = draw(st.integers(1, most_rows)), draw(st.integers(1, most_classes))
    size = shape[0] * shape[1]
    scores = draw(st.lists(cells, min_size=size, max_size=size))
    labels = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    labels = np.array(labels).reshape(shape)
    labels[:, 0] &= draw(st.booleans())
    labels[:, -1] |= draw(st.booleans())
    return np.array(scores, dtype=np.float32).reshape(shape), labels


def data_of(scores, labels):
    return labelled_logits(scores, labels, nan="negative")


def cuts_of(parts):
    """All entries of some curves as a list for each line: (threshold, tp, fp, fn, tn)."""
    found = []
    for part in parts:
        columns = zip(part.threshold, part.tp, part.fp, part.fn, part.tn, strict=True)
        entries = [(float(t), *map(int, counts)) for t, *counts in columns]
        found += [entries[a:b] for a, b in zip(part.indptr[:-1], part.indptr[1:], strict=True)]
    return found


def plain(cuts):
    return [(float(t), *counts) for t, *counts in cuts]


def grouped(n_rows=400, n_classes=9, seed=0):
    """Scores with many ties, of both signs, and labels that go with them."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.linspace(0.02, 0.6, n_classes)
    scores = np.round(2 * (rng.normal(size=labels.shape) + 1.5 * labels - 1)) / 2
    return scores.astype(np.float32), labels


# exact curves


@LAW
@given(rows())
def test_with_every_cut_the_curves_hold_all_cuts_of_each_class(case):
    scores, labels = case

    found = cuts_of(threshold_curves(data_of(scores, labels), every_cut=True))

    assert found == [plain(naive.every_cut(s, y)) for s, y in zip(scores.T, labels.T, strict=True)]


@LAW
@given(rows())
def test_at_positives_the_curves_hold_the_cuts_that_end_on_a_positive(case):
    scores, labels = case

    found = cuts_of(threshold_curves(data_of(scores, labels)))

    expected = [
        plain(naive.cuts_on_positives(s, y)) for s, y in zip(scores.T, labels.T, strict=True)
    ]
    assert found == expected


@LAW
@given(rows())
def test_a_threshold_lies_above_the_next_lower_score_and_not_above_its_own(case):
    scores, labels = case

    for curve in threshold_curves(data_of(scores, labels), every_cut=True):
        for c, entries in enumerate(cuts_of([curve])):
            column = scores[:, curve.start + c]
            for threshold, tp, fp, _, _ in entries[1:]:
                predicted = column >= np.float32(threshold)
                lower = column[~predicted].max(initial=-np.inf)
                assert lower < np.float32(threshold) <= column[predicted].min()
                assert np.count_nonzero(predicted) == tp + fp


def test_a_threshold_lies_midway_where_there_is_room():
    data = data_of(np.array([[1.0], [2.0], [5.0]]), np.array([[1], [1], [0]]))

    (curve,) = threshold_curves(data)

    assert curve.threshold.tolist() == [np.inf, 1.5, ops.LOWEST]


def test_between_adjacent_floats_the_threshold_is_the_upper_one():
    upper = np.nextafter(np.float32(2), np.float32(3))
    data = data_of(np.array([[2.0], [upper]], np.float32), np.array([[0], [1]]))

    (curve,) = threshold_curves(data)

    assert curve.threshold.tolist() == [np.inf, upper]
    assert curve.fp.tolist() == [0, 0]


def test_zeros_of_both_signs_are_one_score():
    data = data_of(np.array([[0.0], [-0.0], [1.0], [-0.0]]), np.array([[0], [1], [0], [1]]))

    (at_positives,) = threshold_curves(data)
    (everywhere,) = threshold_curves(data, every_cut=True)

    assert (at_positives.tp.tolist(), at_positives.fp.tolist()) == ([0, 2], [0, 2])
    assert (everywhere.tp.tolist(), everywhere.fp.tolist()) == ([0, 0, 2], [0, 1, 2])


def test_a_positive_without_a_score_is_a_false_negative_at_every_cut():
    data = data_of(np.array([[-np.inf], [1.0], [0.0]]), np.array([[1], [1], [0]]))

    (curve,) = threshold_curves(data, every_cut=True)

    assert curve.fn.tolist() == [2, 1, 1]
    assert curve.positives.tolist() == [2]
    assert curve.threshold[-1] == ops.LOWEST


def test_the_counts_of_each_entry_add_up_to_the_cells():
    scores, labels = grouped()

    for curve in threshold_curves(data_of(scores, labels), every_cut=True):
        assert (curve.tp + curve.fp + curve.fn + curve.tn == 400).all()
        assert (curve.tp + curve.fn == labels.sum(axis=0)[curve.line]).all()


@pytest.mark.parametrize("every_cut", [False, True])
def test_strips_parts_blocks_and_threads_change_no_curve(every_cut, monkeypatch):
    scores, labels = grouped()
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    whole = cuts_of(threshold_curves(data_of(scores, labels), every_cut))

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "3")
    monkeypatch.setattr(dataset, "STRIP_CELLS", 1600)
    monkeypatch.setattr(dataset, "_FEWEST_CLASSES", 1)
    monkeypatch.setattr(dataset, "TRANSPOSED_CELLS", 300)
    monkeypatch.setattr(logits, "BLOCK_CELLS", 50)
    monkeypatch.setattr(curves, "_EVERY_CUT_CELLS", 900)
    pieces = list(threshold_curves(data_of(scores, labels), every_cut))

    assert len(pieces) > 2
    assert [piece.start for piece in pieces] == sorted(piece.start for piece in pieces)
    assert cuts_of(pieces) == whole


def test_the_curves_follow_the_steps_before_them():
    scores, labels = grouped()
    scale, shift = np.linspace(0.5, 2, 9, dtype=np.float32), np.arange(9, dtype=np.float32)
    step = ops.Affine(scale, shift)

    after = cuts_of(threshold_curves(data_of(scores, labels).after(step)))

    assert after == cuts_of(threshold_curves(data_of(step.apply(scores), labels)))


def test_a_part_of_a_strip_knows_its_first_class(monkeypatch):
    scores, labels = grouped(n_rows=10)
    (strip,) = data_of(scores, labels).strips()
    monkeypatch.setattr(curves, "_EVERY_CUT_CELLS", 40)

    starts = [part.start for part in curves_of_lines(strip, every_cut=True)]

    assert starts == [0, 4, 8]


# the best cut


@every_metric
@LAW
@given(rows())
def test_the_best_cut_at_positives_is_the_best_of_all_cuts(metric, slow, case):
    scores, labels = case

    values, thresholds = [], []
    for curve in threshold_curves(data_of(scores, labels)):
        best = curve.best(metric)
        values += best.value.tolist()
        thresholds += best.threshold.tolist()

    for s, y, value, threshold in zip(scores.T, labels.T, values, thresholds, strict=True):
        exact = naive.best_cut(s, y, metric)
        assert (value, np.float32(threshold)) == exact
        assert value == pytest.approx(naive.best_cut(s, y, slow)[0], rel=1e-12, abs=1e-12)
        reached = slow(*naive.counts_at(np.float32(threshold), s, y))
        assert reached == pytest.approx(value, rel=1e-12, abs=1e-12)


@LAW
@given(rows())
def test_the_best_cut_of_a_bumpy_metric_is_found_among_all_cuts(case):
    scores, labels = case

    found = []
    for curve in threshold_curves(data_of(scores, labels), every_cut=True):
        best = curve.best(bumpy)
        found += list(zip(best.value, best.threshold, strict=True))

    assert found == [naive.best_cut(s, y, bumpy) for s, y in zip(scores.T, labels.T, strict=True)]


def test_among_equal_values_the_cut_that_predicts_fewest_wins():
    data = data_of(np.array([[3.0], [2.0], [1.0], [0.0]]), np.array([[1], [0], [0], [1]]))

    (curve,) = threshold_curves(data, every_cut=True)
    best = curve.best(lambda tp, fp, fn, tn: np.minimum(tp, 1))

    assert (best.threshold.tolist(), best.tp.tolist(), best.fp.tolist()) == ([2.5], [1], [0])


def test_predicting_nothing_may_be_best():
    data = data_of(np.array([[3.0], [2.0], [1.0]]), np.array([[0], [0], [1]]))

    (curve,) = threshold_curves(data)
    best = curve.best(metrics.cost(1, 1))

    assert (best.threshold.tolist(), best.value.tolist()) == ([np.inf], [-1.0])


def test_a_value_of_nan_never_wins():
    data = data_of(np.array([[3.0], [2.0], [1.0]]), np.array([[1], [0], [1]]))

    (curve,) = threshold_curves(data, every_cut=True)
    values = curve.values(lambda tp, fp, fn, tn: np.where(fp == 0, np.nan, tp))
    best = curve.best(lambda tp, fp, fn, tn: np.where(fp == 0, np.nan, tp))

    assert values.tolist() == [-np.inf, -np.inf, 1.0, 2.0]
    assert best.threshold.tolist() == [ops.LOWEST]


def test_a_metric_of_ones_own_may_divide_nothing_by_nothing_without_a_warning():
    data = data_of(np.array([[3.0], [2.0], [1.0]]), np.array([[1], [0], [1]]))

    (curve,) = threshold_curves(data, every_cut=True)
    values = curve.values(lambda tp, fp, fn, tn: tp / (tp + fp))

    assert values.tolist() == [-np.inf, 1.0, 1 / 2, 2 / 3]


def test_a_metric_sees_float64_counts_and_may_return_integers_or_booleans():
    data = data_of(np.array([[3.0], [2.0]]), np.array([[1], [0]]))
    seen = []

    (curve,) = threshold_curves(data)
    values = curve.values(lambda *counts: seen.extend(counts) or counts[0].astype(bool))

    assert [c.dtype for c in seen] == [np.float64] * 4
    assert values.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (lambda tp, fp, fn, tn: 0.5, "got shape () and dtype float64 for 2 cuts"),
        (lambda tp, fp, fn, tn: tp[:-1], "got shape (1,) and dtype float64 for 2 cuts"),
        (lambda tp, fp, fn, tn: tp + 1j, "got shape (2,) and dtype complex128 for 2 cuts"),
        (lambda tp, fp, fn, tn: np.array(["a", "b"]), "got shape (2,) and dtype <U1 for 2 cuts"),
    ],
)
def test_a_metric_that_is_not_one_real_number_per_cut_is_refused(metric, text):
    (curve,) = threshold_curves(data_of(np.array([[3.0], [2.0]]), np.array([[1], [0]])))

    with pytest.raises(ValueError, match="must return one real number per cut") as error:
        curve.best(metric)

    assert str(error.value) == f"a metric must return one real number per cut, {text}"


# average precision


@LAW
@given(rows())
def test_average_precision_is_the_sum_over_the_cuts(case):
    scores, labels = case

    found = np.concatenate(
        [c.average_precision() for c in threshold_curves(data_of(scores, labels))]
    )

    expected = [naive.average_precision(s, y) for s, y in zip(scores.T, labels.T, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_average_precision_is_that_of_scikit_learn():
    scores, labels = grouped()

    (curve,) = threshold_curves(data_of(scores, labels))

    expected = [average_precision_score(y, s) for s, y in zip(scores.T, labels.T, strict=True)]
    np.testing.assert_allclose(curve.average_precision(), expected, rtol=1e-12)


# pooled curves


def pooled_best(data, metric, every_cut):
    """Best value and its threshold over the pieces of the pooled curve."""
    best = (-np.inf, np.float32(np.inf))
    for piece in pooled_curves(data, every_cut):
        here = piece.best(metric)
        if here.value[0] > best[0]:
            best = (here.value[0], here.threshold[0])
    return best


def pooled_cuts(data, every_cut):
    pieces = list(pooled_curves(data, every_cut))
    return [cut for piece in pieces for cut in cuts_of([piece])[0]]


def scores_as_thresholds(cuts, scores):
    """Naive cuts with the score a cut ends on in place of the number midway."""
    distinct = sorted({float(s) for s in scores.ravel() if s > -np.inf}, reverse=True)
    by_count = {sum(int(s >= d) for s in scores.ravel()): d for d in distinct}
    return [(by_count.get(tp + fp, math.inf), tp, fp, fn, tn) for _, tp, fp, fn, tn in cuts]


@pytest.mark.parametrize("pool_cells", [1, 7, 1 << 24])
@settings(LAW, max_examples=40)
@given(rows())
def test_with_every_cut_the_pooled_curve_holds_all_cuts_of_all_cells(pool_cells, case):
    scores, labels = case

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooled, "_POOL_CELLS", pool_cells)
        patch.setattr(logits, "BLOCK_CELLS", 5)
        found = pooled_cuts(data_of(scores, labels), every_cut=True)

    expected = naive.every_cut(scores.ravel(), labels.ravel())
    assert found == scores_as_thresholds(expected, scores)


@pytest.mark.parametrize("pool_cells", [1, 7, 1 << 24])
@LAW
@given(rows())
def test_at_positives_the_pooled_curve_holds_the_cuts_that_end_on_one(pool_cells, case):
    scores, labels = case

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooled, "_POOL_CELLS", pool_cells)
        patch.setattr(logits, "BLOCK_CELLS", 5)
        found = pooled_cuts(data_of(scores, labels), every_cut=False)

    expected = naive.cuts_on_positives(scores.ravel(), labels.ravel())
    assert found == scores_as_thresholds(expected, scores)


def test_many_bands_cover_a_wide_range_of_scores_without_gap_or_overlap(monkeypatch):
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(60, 40)) * 10.0 ** rng.integers(-40, 38, size=(60, 40))
    scores = scores.astype(np.float32)
    scores[:5], scores[5:8] = 0.0, -0.0
    labels = rng.random(scores.shape) < 0.2
    monkeypatch.setattr(pooled, "_POOL_CELLS", 64)

    pieces = list(pooled_curves(data_of(scores, labels), every_cut=True))

    threshold = np.concatenate([piece.threshold for piece in pieces])
    assert len(pieces) > 20
    assert (np.diff(threshold) < 0).all()
    assert len(threshold) == 1 + len(np.unique(scores))
    assert (pieces[-1].tp[-1], pieces[-1].fp[-1]) == (labels.sum(), 2400 - labels.sum())


def test_a_band_holds_no_more_cells_than_it_may_and_the_bands_are_few(monkeypatch):
    rng = np.random.default_rng(6)
    scores, labels = rng.normal(size=(500, 9)), rng.random((500, 9)) < 0.2
    monkeypatch.setattr(pooled, "_POOL_CELLS", 1000)

    pieces = list(pooled_curves(data_of(scores, labels), every_cut=True))

    held = np.diff([int(piece.tp[-1] + piece.fp[-1]) for piece in pieces])
    assert held.max() <= 1000
    assert len(held) <= 6


@LAW
@given(rows())
def test_midway_lies_between_a_score_and_the_next_lower_of_all_cells(case):
    scores, labels = case
    distinct = sorted({float(s) for s in scores.ravel() if s > -np.inf})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logits, "BLOCK_CELLS", 5)
        found = [midway(data_of(scores, labels), np.float32(score)) for score in distinct]

    lowers = [None, *distinct[:-1]]
    assert found == [naive.midway(a, b) for a, b in zip(lowers, distinct, strict=False)]


@every_metric
def test_the_best_pooled_cut_is_the_best_of_all_cuts(metric, slow):
    scores, labels = grouped(n_rows=12, seed=2)
    data = data_of(scores, labels)

    value, score = pooled_best(data, metric, every_cut=False)

    exact, threshold = naive.best_cut(scores.ravel(), labels.ravel(), slow)
    assert value == pytest.approx(exact, rel=1e-12)
    assert (midway(data, score) if score < np.inf else score) == threshold


# curves at bins


def test_where_every_score_has_its_own_bin_the_curves_at_bins_are_exact():
    scores, labels = grouped()
    data = data_of(scores, labels)
    grid = Grid(np.full(9, -16.0), np.full(9, 16.0), 512)

    at_bins = curves_at_bins(ScoreHistogram.of(data, grid))

    (exact,) = threshold_curves(data, every_cut=True)
    assert cuts_of([at_bins]) == cuts_of([exact])
    assert at_bins.cells.tolist() == [400] * 9


def test_with_many_bins_the_best_value_is_close_to_the_exact_one():
    rng = np.random.default_rng(8)
    labels = rng.random((4000, 6)) < [0.01, 0.05, 0.1, 0.2, 0.5, 0.0]
    data = data_of(rng.normal(size=labels.shape) + 2 * labels, labels)
    grid = Grid.spanning(data, 4096)

    coarse = curves_at_bins(ScoreHistogram.of(data, grid)).best(metrics.f_beta(1))

    (curve,) = threshold_curves(data)
    exact = curve.best(metrics.f_beta(1))
    assert (coarse.value <= exact.value).all()
    assert coarse.value == pytest.approx(exact.value, abs=0.01)
    assert coarse.threshold[-1] == np.inf


def test_the_bins_of_a_class_without_any_score_leave_the_cut_above_all():
    scores = np.array([[-np.inf, 1.0], [-np.inf, 2.0]])
    histogram = ScoreHistogram.of(data_of(scores, np.array([[1, 0], [0, 1]])))

    found = cuts_of([curves_at_bins(histogram)])

    assert found[0] == [(math.inf, 0, 0, 0, 0)]
    assert len(found[1]) == 3


def test_the_curves_at_bins_follow_the_steps_of_the_histogram():
    scores, labels = grouped()
    grid = Grid(np.full(9, -16.0), np.full(9, 16.0), 512)
    histogram = ScoreHistogram.of(data_of(scores, labels), grid)

    moved = curves_at_bins(histogram.after(ops.Affine(2.0, 1.0)))

    still = curves_at_bins(histogram)
    inside = np.isfinite(still.threshold) & (still.threshold > ops.LOWEST)
    np.testing.assert_allclose(moved.threshold[inside], 2 * still.threshold[inside] + 1, rtol=1e-6)
    assert moved.tp.tolist() == still.tp.tolist()
