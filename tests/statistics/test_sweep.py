import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import metrics
from calibrate.data import dataset, labelled_logits
from calibrate.kernels import sweep as kernels
from calibrate.ops import Affine
from calibrate.statistics import best_cuts, every_cut, sweep, threshold_curves

LAW = settings(derandomize=True, deadline=None, max_examples=60)
pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")

NAIVE = [
    (metrics.f_beta(1), naive.f_beta(1)),
    (metrics.f_beta(3), naive.f_beta(3)),
    (metrics.jaccard, naive.jaccard),
    (metrics.mcc, naive.mcc),
    (metrics.balanced_accuracy, naive.balanced_accuracy),
    (metrics.cost(1, 4), naive.cost(1, 4)),
    (metrics.precision_at_recall(0.6), naive.precision_at_recall(0.6)),
    (metrics.recall_at_precision(0.4), naive.recall_at_precision(0.4)),
]

ugly = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1e-45, 3e38, -3e38, 1.0000001, 0.99999994, -np.inf]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@st.composite
def rows(draw):
    """Few rows with ties and adjacent floats; some classes are empty, some are full."""
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    size = shape[0] * shape[1]
    scores = draw(st.lists(ugly, min_size=size, max_size=size))
    labels = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(shape)
    for c, kind in enumerate(
        draw(st.lists(st.integers(0, 4), min_size=shape[1], max_size=shape[1]))
    ):
        labels[:, c] = {0: False, 1: True}.get(kind, labels[:, c])
    return np.array(scores, np.float32).reshape(shape), labels


def simulated(n_rows=3000, n_classes=30, decimals=3, seed=0):
    """Enough rows for a sample; rounded, so that there are ties."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.004, 0.4, n_classes)
    scores = rng.normal(size=labels.shape) + 1.3 * labels
    labels[:, 3], scores[:, 4], labels[:, 5] = False, 0.5, True
    return np.round(scores, decimals).astype(np.float32), labels


def exhaustive(scores, labels, metric):
    """(value, threshold) of each class from the curve of all distinct scores."""
    curves = list(threshold_curves(labelled_logits(scores, labels), every_cut=True))
    best = sweep.BestCuts.joined([curve.best(metric) for curve in curves])
    return best.value.tolist(), best.threshold.tolist()


def swept(data, metric):
    (best,) = best_cuts(data, metric)
    return best.value.tolist(), best.threshold.tolist()


@pytest.mark.parametrize(("metric", "slow"), NAIVE, ids=lambda m: repr(m) if callable(m) else m)
@LAW
@given(rows(), st.sampled_from([1, 2, 3, 1000]), st.sampled_from([1, 2, 2048]))
def test_the_best_cuts_are_those_of_the_slow_search(metric, slow, case, sampled, width):
    scores, labels = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "_SAMPLED_ROWS", sampled)
        patch.setattr(sweep, "GROUP_CLASSES", width)
        patch.setattr(sweep, "COLLECTED_CELLS", 10 * width)
        (found,) = best_cuts(labelled_logits(scores, labels, nan="negative"), metric)

    for c in range(scores.shape[1]):
        value, threshold = naive.best_cut(scores[:, c], labels[:, c], slow)
        assert found.value[c] == pytest.approx(value, abs=1e-12)
        if labels[:, c].any():
            tp, fp, _, _ = naive.counts_at(found.threshold[c], scores[:, c], labels[:, c])
            assert (tp, fp) == (found.tp[c], found.fp[c])
            same = naive.counts_at(threshold, scores[:, c], labels[:, c])
            assert float(slow(*map(float, same))) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("metric", [m for m, _ in NAIVE], ids=repr)
@pytest.mark.parametrize("sampled", [30, 300, 3000])
def test_with_a_sample_the_thresholds_are_those_of_all_cuts(metric, sampled, monkeypatch):
    scores, labels = simulated()
    monkeypatch.setattr(sweep, "_SAMPLED_ROWS", sampled)

    assert swept(labelled_logits(scores, labels), metric) == exhaustive(scores, labels, metric)


@pytest.mark.parametrize("metric", [metrics.f_beta(1), metrics.mcc, metrics.cost(1, 9)], ids=repr)
@pytest.mark.parametrize("level", [0.0, 1.0, 3.5])
def test_a_floor_that_is_too_high_is_found_out_and_changes_nothing(metric, level, monkeypatch):
    scores, labels = simulated()
    monkeypatch.setattr(sweep, "_SAMPLED_ROWS", 100)
    monkeypatch.setattr(sweep, "_falls_below", lambda values, _: np.full(len(values), level))
    again = []
    alone = sweep._Group._exhaustive
    monkeypatch.setattr(
        sweep._Group, "_exhaustive", lambda *args: again.append(args) or alone(*args)
    )

    assert swept(labelled_logits(scores, labels), metric) == exhaustive(scores, labels, metric)
    assert again


@pytest.mark.parametrize("metric", [metrics.f_beta(1), metrics.mcc], ids=repr)
def test_too_little_room_is_found_out_and_changes_nothing(metric, monkeypatch):
    scores, labels = simulated()
    monkeypatch.setattr(sweep, "_SAMPLED_ROWS", 100)
    monkeypatch.setattr(sweep, "_DEVIATIONS", -1.0)
    monkeypatch.setattr(sweep, "_SPARE_ROOM", 0)

    assert swept(labelled_logits(scores, labels), metric) == exhaustive(scores, labels, metric)


def test_floors_leave_most_scores_of_a_frequent_task_uncollected(monkeypatch):
    rng = np.random.default_rng(1)
    labels = rng.random((20_000, 6)) < 0.02
    scores = (rng.normal(size=labels.shape) + 2.0 * labels).astype(np.float32)
    rooms = []
    collect = sweep._Group._curves

    def watched(group, part, floors, positives):
        rooms.append(floors.room[part].sum())
        return collect(group, part, floors, positives)

    monkeypatch.setattr(sweep._Group, "_curves", watched)

    assert swept(labelled_logits(scores, labels), metrics.f_beta(1)) == exhaustive(
        scores, labels, metrics.f_beta(1)
    )
    assert sum(rooms) < 0.25 * scores.size


@pytest.mark.parametrize("metric", [metrics.f_beta(1), metrics.balanced_accuracy], ids=repr)
def test_a_source_that_must_be_converted_and_steps_give_the_same(metric, monkeypatch):
    scores, labels = simulated(decimals=2)
    monkeypatch.setattr(sweep, "_SAMPLED_ROWS", 100)
    monkeypatch.setattr(dataset, "PIECE_CELLS", 700)
    expected = swept(labelled_logits(scores, labels), metric)
    double = Affine(np.full(30, 2.0), np.zeros(30))

    assert swept(labelled_logits(scores.astype(np.float64), labels), metric) == expected
    value, threshold = swept(labelled_logits(scores, labels).after(double), metric)
    assert value == expected[0]
    assert threshold == [max(2 * t, float(naive.LOWEST)) for t in expected[1]]


def test_a_metric_that_promises_less_is_never_looked_at_from_a_floor(monkeypatch):
    class Odd(metrics.CutMetric):
        rises_with_tp = False

        def __call__(self, tp, fp, fn, tn):
            return np.where(tp == 3, 5.0, 0.0) - fp

    scores, labels = simulated()
    monkeypatch.setattr(sweep, "_SAMPLED_ROWS", 100)

    assert swept(labelled_logits(scores, labels), Odd()) == exhaustive(scores, labels, Odd())


def bumpy(tp, fp, fn, tn):
    """It promises nothing: it rises and falls with every count."""
    return np.sin(3.0 * tp + 2.0 * fp) + 0.1 * tp + np.cos(5.0 * fn) - 0.01 * tn


def flat(tp, fp, fn, tn):
    return np.floor((tp + fp) / 4)


def often_nan(tp, fp, fn, tn):
    return np.where((tp + fp) % 3 == 1, np.nan, fp / (tp + fn))


UNPROMISED = [bumpy, flat, often_nan, lambda tp, fp, fn, tn: fp - tp, lambda tp, *_: 0 * tp]


@pytest.mark.parametrize("metric", UNPROMISED)
@LAW
@given(rows(), st.sampled_from([1, 20, 1 << 14]), st.sampled_from([1, 5, 1 << 24]))
def test_a_metric_that_promises_nothing_has_the_cuts_of_the_slow_search(
    metric, case, points, cells
):
    scores, labels = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(every_cut, "_POINTS_AT_ONCE", points)
        patch.setattr(every_cut, "GROUP_CELLS", cells)
        (found,) = best_cuts(labelled_logits(scores, labels, nan="negative"), metric)

    for c in range(scores.shape[1]):
        with np.errstate(divide="ignore", invalid="ignore"):
            value, threshold = naive.best_cut(scores[:, c], labels[:, c], metric)
        assert (found.value[c], found.threshold[c]) == (value, threshold)
        if value > -np.inf:
            tp, fp, _, _ = naive.counts_at(threshold, scores[:, c], labels[:, c])
            assert (found.tp[c], found.fp[c]) == (tp, fp)


@pytest.mark.parametrize("metric", UNPROMISED)
@pytest.mark.parametrize("decimals", [1, 3, 9])
def test_of_many_rows_every_cut_is_tried_whatever_the_ties(metric, decimals):
    scores, labels = simulated(decimals=decimals)

    assert swept(labelled_logits(scores, labels), metric) == exhaustive(scores, labels, metric)


def test_without_ties_no_class_is_sorted(monkeypatch):
    scores, labels = simulated(decimals=9)
    scores[:, 4] += np.arange(len(scores)) / 10_000
    sorted_after_all = []
    monkeypatch.setattr(
        every_cut._Group, "_sort", lambda group, which, *_: sorted_after_all.extend(which)
    )

    best_cuts(labelled_logits(scores, labels), bumpy)

    assert sorted_after_all == []


def test_a_source_that_must_be_converted_has_the_same_cuts_without_a_promise(monkeypatch):
    scores, labels = simulated(decimals=2)
    monkeypatch.setattr(dataset, "PIECE_CELLS", 700)
    monkeypatch.setattr(every_cut, "_ROWS_AT_ONCE", 19)
    expected = exhaustive(scores, labels, bumpy)

    assert swept(labelled_logits(scores.astype(np.float64), labels), bumpy) == expected
    assert swept(labelled_logits(scores, labels), bumpy) == expected


def test_several_metrics_share_the_passes_and_each_has_its_best():
    scores, labels = simulated()
    data = labelled_logits(scores, labels)

    together = best_cuts(data, metrics.f_beta(1), metrics.mcc)

    for metric, found in zip((metrics.f_beta(1), metrics.mcc), together, strict=True):
        assert (found.value.tolist(), found.threshold.tolist()) == swept(data, metric)


@pytest.mark.parametrize(
    "positives",
    [
        np.zeros(300),
        np.repeat([1.0, np.inf], 150),
        np.concatenate([np.linspace(0, 1e-30, 299), [1e30]]),
        np.full(300, np.inf),
        np.geomspace(1e-40, 1e38, 300),
    ],
)
def test_scores_that_crowd_one_bucket_are_counted_exactly(positives):
    positives = np.sort(positives.astype(np.float32))
    rng = np.random.default_rng(0)
    scores = np.concatenate([positives, rng.choice(positives, 500), [-5.0, -np.inf, 3e38]])
    scores = rng.permutation(scores.astype(np.float32))
    n = len(positives)
    threshold, tp, fp = np.empty(n + 1, np.float32), np.empty(n + 1, int), np.empty(n + 1, int)
    length = np.empty(1, int)

    kernels.curves_at_positives(
        scores, np.array([0]), np.array([len(scores)]), np.array([-np.inf], np.float32),
        np.array([0, n]), positives, 0, 1, True, np.float32(naive.LOWEST), threshold, tp, fp,
        length,
    )  # fmt: skip

    distinct = np.unique(positives)[::-1]
    assert length[0] == len(distinct) + 1
    for place, cut in enumerate(distinct, start=1):
        assert tp[place] == (positives >= cut).sum()
        assert tp[place] + fp[place] == (scores >= cut).sum()
        lower = scores[scores < cut].max(initial=-np.inf)
        expected = naive.midway(None if lower == -np.inf else lower, cut)
        assert threshold[place] == expected


def test_collecting_stops_where_there_is_no_room_and_counts_on():
    scores = np.array([[3.0, 1.0], [2.0, 5.0], [4.0, 6.0], [9.0, 7.0]], np.float32)
    place, out = np.array([0, 2]), np.full(5, np.nan, np.float32)
    steps, counts = np.array([[2.5, 0.0], [0.0, 6.0]], np.float32), np.zeros((2, 2), np.int32)

    kernels.collect(
        scores, 0, np.array([3.0, 5.0], np.float32), place, np.array([2, 5]), out, steps, counts
    )

    assert out.tolist() == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert place.tolist() == [3, 5]
    assert counts.tolist() == [[3, 4], [4, 2]]


@pytest.mark.parametrize("height", [1, 3, 7, 50])
def test_the_sample_is_the_same_rows_in_whatever_pieces_they_come(height):
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(50, 3)), 1).astype(np.float32)
    cuts = np.array([[0.5, 0.0, 1.0], [-0.5, -1.0, 0.0]], np.float32)
    counts = np.zeros((2, 3), np.int32)

    for start in range(0, 50, height):
        kernels.count_at_cuts(scores[start : start + height], 0, start, 4, cuts, counts)

    assert counts.tolist() == (scores[::4] >= cuts[:, None]).sum(axis=1).tolist()


def test_sorted_scores_are_counted_from_each_cut_up():
    ordered = np.array([-1.0, 2.0, 2.0, 3.0, 0.0, 0.0], np.float32)
    cuts = np.array([[2.0, 0.0, 1.0], [4.0, -1.0, 1.0], [-np.inf, 0.1, np.inf]], np.float32)
    counts = np.empty((3, 3), np.int64)

    kernels.count_sorted(ordered, np.array([0, 4, 6, 6]), cuts, counts)

    assert counts.tolist() == [[3, 2, 0], [0, 2, 0], [4, 0, 0]]
