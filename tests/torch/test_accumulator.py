"""What is gathered batch by batch is what the saved logits give, bit for bit."""

from __future__ import annotations

import copy
import io
import math
import warnings

import naive_streams
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import calibrate as cal
from calibrate.data import labelled_logits
from calibrate.kernels import histogram as kernels
from calibrate.statistics import Grid, ScoreHistogram
from calibrate.torch import HistogramAccumulator, counting
from calibrate.torch import accumulator as module
from calibrate.torch.reservoir import row_numbers

LAW = settings(derandomize=True, deadline=None, max_examples=30)
pytestmark = [
    pytest.mark.filterwarnings("ignore:all logits lie in"),
    pytest.mark.filterwarnings("ignore::calibrate.FitWarning"),
]
F1 = cal.metrics.f_beta(1)

cells = st.one_of(
    st.sampled_from([0.0, -0.0, 4.0, -4.0, 3.9999998, -4.0000005, 1e9, -1e9, 3e38, -3e38]),
    st.floats(-6, 6, width=32),
    st.integers(-40, 40).map(lambda i: i / 8),
    st.just(-math.inf),
)


@st.composite
def rows(draw):
    """Scores and labels; some cells lie on bin edges, outside the grid, or have no score."""
    shape = draw(st.integers(1, 10)), draw(st.integers(1, 4))
    size = shape[0] * shape[1]
    scores = draw(st.lists(cells, min_size=size, max_size=size))
    labels = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return np.array(scores, np.float32).reshape(shape), np.array(labels).reshape(shape)


def simulated(n_rows=1000, n_classes=30, seed=1):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < rng.uniform(0.02, 0.3, n_classes)
    labels[:, 2], labels[:, 3] = False, True
    return (rng.normal(size=labels.shape) * 2 + labels - 1).astype(np.float32), labels


def arrays_of(h):
    return [h.counts.tolist(), h.positives.tolist(), h.offsets.tolist(), h.n_rows]


def saved(logits, labels, grid, nan="raise"):
    return ScoreHistogram.of(labelled_logits(logits, labels, nan=nan), grid)


def fed(accumulator, logits, labels, batch=64, **more):
    """The accumulator after all rows in batches."""
    for start in range(0, len(logits), batch):
        part = slice(start, start + batch)
        extra = {name: torch.from_numpy(values[part]) for name, values in more.items()}
        accumulator.update(torch.from_numpy(logits[part]), torch.from_numpy(labels[part]), **extra)
    return accumulator


@pytest.fixture(params=["kernel", "operations"])
def way(request, monkeypatch):
    """Both ways to count, the second as on a device."""
    if request.param == "operations":
        monkeypatch.setattr(counting, "on_host", lambda device: False)


# counting


@pytest.mark.parametrize("operations", [False, True])
@LAW
@given(rows(), st.sampled_from([1, 2, 16, 512]), st.integers(1, 4), st.sampled_from([1, 3, 8191]))
def test_the_counts_are_those_of_the_saved_logits(operations, case, n_bins, batch, held):
    scores, labels = case
    grid = Grid.even(scores.shape[1], -4, 4, n_bins)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HELD_ROWS", held)
        patch.setattr(counting, "CELLS_AT_ONCE", 2 * scores.shape[1])
        if operations:
            patch.setattr(counting, "on_host", lambda device: False)
        accumulator = HistogramAccumulator(scores.shape[1], grid=grid, nan="negative")

        found = fed(accumulator, scores, labels, batch).histogram()

    assert arrays_of(found) == arrays_of(saved(scores, labels, grid, "negative"))


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_neither_batches_nor_threads_change_a_count(way, batch, monkeypatch):
    logits, labels = simulated(300)
    monkeypatch.setattr("calibrate.statistics.streamed._WORTH_THREADS", 1)
    grid = Grid.spanning(labelled_logits(logits, labels))

    found = fed(HistogramAccumulator(30, grid=grid), logits, labels, batch).histogram()

    assert arrays_of(found) == arrays_of(saved(logits, labels, grid))


def test_rows_too_wide_to_be_counted_at_once_are_counted_one_by_one(monkeypatch):
    logits, labels = simulated(40)
    monkeypatch.setattr(counting, "on_host", lambda device: False)
    monkeypatch.setattr(counting, "CELLS_AT_ONCE", 7)
    accumulator = HistogramAccumulator(30)

    found = fed(accumulator, logits, labels).histogram()

    assert arrays_of(found) == arrays_of(saved(logits, labels, accumulator.grid))


def test_words_are_unloaded_before_they_overflow(way, monkeypatch):
    n_rows = 20_000
    logits, labels = np.zeros((n_rows, 1), np.float32), np.ones((n_rows, 1), bool)
    accumulator = fed(HistogramAccumulator(1), logits, labels, 3000)

    found = accumulator.histogram()

    assert found.positives.sum() == found.counts.sum() == n_rows
    assert kernels.HELD_ROWS < 2**13  # so that no word is negative as int64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision_counts_as_its_saved_logits(way, dtype):
    logits, labels = simulated(100)
    batch = torch.from_numpy(logits.astype(np.float64)).to(dtype)
    accumulator = HistogramAccumulator(30)

    accumulator.update(batch, torch.from_numpy(labels))

    expected = saved(batch, labels, accumulator.grid)
    assert arrays_of(accumulator.histogram()) == arrays_of(expected)


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y,
        lambda y: y.long(),
        lambda y: y.to(torch.uint8),
        lambda y: y.float(),
        lambda y: y.bfloat16(),
        lambda y: y.float().to_sparse(),
        lambda y: y.float().to_sparse_csr(),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_targets_come_in_any_form(way, form):
    logits, labels = simulated(50)
    accumulator = HistogramAccumulator(30)

    accumulator.update(torch.from_numpy(logits), form(torch.from_numpy(labels)))

    assert arrays_of(accumulator.histogram()) == arrays_of(saved(logits, labels, accumulator.grid))


def test_logits_in_any_memory_order_and_under_a_gradient(way):
    logits, labels = simulated(50)
    batch = torch.from_numpy(logits).t().contiguous().t().requires_grad_()
    accumulator = HistogramAccumulator(30)

    accumulator.update(batch, torch.from_numpy(labels))

    assert arrays_of(accumulator.histogram()) == arrays_of(saved(logits, labels, accumulator.grid))
    assert batch.grad is None


def test_inference_mode_leaves_no_mark(way):
    logits, labels = simulated(60)
    accumulator, other = (HistogramAccumulator(30, reservoir=5) for _ in range(2))
    with torch.inference_mode():
        for each in (accumulator, other):
            each.reset()
            each.to("cpu")
            fed(each, logits, labels)
        total = accumulator.all_reduce()

    fed(total.merge(other), logits, labels)
    accumulator.load_state_dict(total.state_dict())
    fed(accumulator, logits, labels)

    assert accumulator.histogram().n_rows == 240
    assert accumulator.rows().shape == (5, 30)


def test_an_empty_batch_changes_nothing(way):
    logits, labels = simulated(50)
    accumulator = fed(HistogramAccumulator(30, reservoir=4), logits, labels)
    before = arrays_of(accumulator.histogram())

    accumulator.update(torch.empty(0, 30), torch.empty(0, 30))

    assert arrays_of(accumulator.histogram()) == before


def test_a_histogram_is_not_changed_by_later_batches(way):
    logits, labels = simulated(50)
    accumulator = fed(HistogramAccumulator(30), logits, labels)
    found = accumulator.histogram()
    before = arrays_of(found)

    fed(accumulator, logits, labels)

    assert arrays_of(found) == before
    assert accumulator.histogram().n_rows == 100


# what is refused


def cell(value):
    batch = torch.zeros(3, 2)
    batch[1, 1] = value
    return batch


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused_at_once_on_the_host(value):
    with pytest.raises(ValueError, match=r"logits must be finite, got -?\w+ at row 1, class 1"):
        HistogramAccumulator(2).update(cell(value), torch.zeros(3, 2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused_in_the_end_on_a_device(value, monkeypatch):
    monkeypatch.setattr(counting, "on_host", lambda device: False)
    accumulator = HistogramAccumulator(2, reservoir=2)

    accumulator.update(cell(value), torch.zeros(3, 2))

    text = "logits must be finite, got 1 that are not in the 3 rows since the last reset; nan="
    for ask in (accumulator.histogram, accumulator.rows):
        with pytest.raises(ValueError, match=text):
            ask()
    accumulator.reset()
    accumulator.update(torch.zeros(3, 2), torch.zeros(3, 2))
    assert accumulator.histogram().n_rows == 3


def test_nan_is_left_out_where_it_means_negative(way):
    logits, labels = simulated(60)
    logits[5, 1], logits[7, 3] = np.nan, -np.inf
    accumulator = HistogramAccumulator(30, nan="negative")

    found = fed(accumulator, logits, labels, 25).histogram()

    assert arrays_of(found) == arrays_of(saved(logits, labels, accumulator.grid, "negative"))
    assert found.counts.sum(axis=1)[[0, 1, 3]].tolist() == [60, 59, 59]


def test_plus_infinity_is_refused_also_where_nan_means_negative(way):
    accumulator = HistogramAccumulator(2, nan="negative")

    with pytest.raises(ValueError, match="logits must be finite"):
        fed(accumulator, cell(math.inf).numpy(), np.zeros((3, 2))).histogram()


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0])
def test_targets_that_are_no_labels_are_refused(way, value):
    accumulator = HistogramAccumulator(2)

    with pytest.raises(ValueError, match=rf"(labels|targets) must be 0 or 1, got ({value}|1 that)"):
        fed(accumulator, np.zeros((3, 2)), cell(value).numpy()).histogram()


@pytest.mark.parametrize(
    ("logits", "targets", "more", "error", "text"),
    [
        (torch.zeros(3, 2).long(), torch.zeros(3, 2), {}, TypeError, "floating point, got torch"),
        (torch.zeros(3), torch.zeros(3), {}, ValueError, r"shape \(n_rows, 2\), got \(3,\)"),
        (torch.zeros(3, 4), torch.zeros(3, 4), {}, ValueError, r"\(n_rows, 2\), got \(3, 4\)"),
        (torch.zeros(3, 2), torch.zeros(3), {}, ValueError, r"targets .* \(3, 2\), got \(3,\)"),
        (
            torch.zeros(3, 2),
            torch.zeros(3, 2),
            {"ids": torch.arange(2)},
            ValueError,
            r"ids must be one for each of 3 rows, got shape \(2,\)",
        ),
    ],
)
def test_batches_of_another_shape_are_refused(logits, targets, more, error, text):
    accumulator = HistogramAccumulator(2)

    with pytest.raises(error, match=text):
        accumulator.update(logits, targets, **more)

    assert accumulator.n_rows == 0


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_classes": 0}, ValueError, "n_classes must be at least 1, got 0"),
        ({"n_classes": 2.0}, TypeError, "n_classes must be an integer, got 2.0"),
        ({"reservoir": -1}, ValueError, "reservoir must be at least 0, got -1"),
        ({"seed": True}, TypeError, "seed must be an integer, got True"),
        ({"rank": -1}, ValueError, "rank must be at least 0"),
        ({"nan": "zero"}, ValueError, "nan must be 'raise' or 'negative', got 'zero'"),
        ({"grid": Grid.even(3)}, ValueError, "grid must be one of 2 classes, got one of 3"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        HistogramAccumulator(**{"n_classes": 2, **options})


def test_no_rows_make_no_histogram():
    with pytest.raises(ValueError, match="at least one row, got none since the last reset"):
        HistogramAccumulator(2).histogram()


def test_probabilities_given_for_logits_are_warned_of():
    rng = np.random.default_rng(0)
    accumulator = HistogramAccumulator(2)
    accumulator.update(torch.from_numpy(rng.random((50, 2))), torch.zeros(50, 2))

    with pytest.warns(UserWarning, match="they look like probabilities"):
        accumulator.histogram()


def test_a_grid_that_is_too_narrow_is_said():
    logits, labels = simulated(300, 4)
    narrow = HistogramAccumulator(4, grid=Grid.even(4, -1, 16))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fed(HistogramAccumulator(4), logits, labels).histogram()
    with pytest.warns(cal.FitWarning, match=r"3 of 4 classes have more than 5 % .* from -1 to 16"):
        fed(narrow, logits, labels).histogram()


# life


def test_reset_forgets_all_rows():
    logits, labels = simulated(80)
    accumulator = fed(HistogramAccumulator(30, reservoir=10), logits, labels)

    accumulator.reset()

    assert accumulator.n_rows == 0
    again = fed(accumulator, logits[:40], labels[:40])
    fresh = fed(HistogramAccumulator(30, reservoir=10), logits[:40], labels[:40])
    assert arrays_of(again.histogram()) == arrays_of(fresh.histogram())
    assert same_rows(again, fresh)


def test_the_grid_of_the_next_epoch_follows_the_logits():
    logits, labels = simulated(3000, 6)
    narrow = 0.01 * logits + 7
    narrow[0, 0], narrow[1, 1], narrow[:, 5] = -1e4, 1e4, 3.0
    pipeline = cal.Pipeline([], cal.PerClassThreshold(F1))
    accumulator = HistogramAccumulator(6)

    first = fed(accumulator, narrow, labels).histogram()
    accumulator.reset(grid=Grid.around(first))
    second = fed(accumulator, narrow, labels).histogram()

    assert (first.counts > 0).sum(axis=1).max() < 8
    assert (second.counts > 0).sum(axis=1)[2:5].min() > 200
    # one score far away stretches it no further
    assert (second.counts > 0).sum(axis=1)[:2].min() > 40
    exact = clone(pipeline).fit(narrow, labels)
    one, other = (
        cal.evaluate(p, narrow, labels, ranking=False).summary["macro_f"]
        for p in (exact, clone(pipeline).fit_from(second))
    )
    assert other == pytest.approx(one, abs=0.002)


def test_a_class_without_scores_keeps_its_bins():
    logits = np.array([[np.nan, 2.0], [np.nan, 2.5]], np.float32)
    accumulator = HistogramAccumulator(2, nan="negative")

    grid = Grid.around(fed(accumulator, logits, np.zeros((2, 2))).histogram())

    assert (grid.low[0], grid.high[0]) == (-16, 16)
    assert (grid.low[1], grid.high[1]) == (2 - 1 / 16, 2.5 + 1 / 16)


def test_a_grid_of_other_classes_is_refused_at_a_reset():
    with pytest.raises(ValueError, match="grid must be one of 2 classes, got one of 3"):
        HistogramAccumulator(2).reset(grid=Grid.even(3))


def test_merging_is_counting_all_rows(way):
    logits, labels = simulated(90)
    one = fed(HistogramAccumulator(30), logits[:20], labels[:20])
    other = fed(HistogramAccumulator(30), logits[20:], labels[20:])

    merged = one.merge(other)

    assert merged is one
    assert arrays_of(one.histogram()) == arrays_of(saved(logits, labels, one.grid))
    assert other.n_rows == 70


def test_what_is_wrong_with_one_is_wrong_with_the_merged(monkeypatch):
    monkeypatch.setattr(counting, "on_host", lambda device: False)
    wrong = fed(HistogramAccumulator(2), cell(math.nan).numpy(), np.zeros((3, 2)))
    good = fed(HistogramAccumulator(2), np.zeros((3, 2)), np.zeros((3, 2)))

    merged = good.merge(wrong)

    with pytest.raises(ValueError, match="got 1 that are not in the 6 rows"):
        merged.histogram()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"grid": Grid.even(2, -8, 8)}, "must have the same grid to be merged"),
        ({"reservoir": 3}, "must have the same reservoir, seed and nan to be merged"),
        ({"seed": 1}, "must have the same reservoir, seed and nan"),
        ({"nan": "negative"}, "must have the same reservoir, seed and nan"),
    ],
)
def test_others_are_not_merged(options, text):
    with pytest.raises(ValueError, match=text):
        HistogramAccumulator(2).merge(HistogramAccumulator(2, **options))


def test_a_saved_state_goes_on_where_it_was(way):
    logits, labels = simulated(90)
    whole = fed(HistogramAccumulator(30, reservoir=8), logits, labels)
    half = fed(HistogramAccumulator(30, reservoir=8), logits[:50], labels[:50])
    file = io.BytesIO()
    torch.save(half.state_dict(), file)
    file.seek(0)

    other = HistogramAccumulator(30, reservoir=8)
    other.load_state_dict(torch.load(file, weights_only=True))
    fed(other, logits[50:], labels[50:])

    assert arrays_of(other.histogram()) == arrays_of(whole.histogram())
    assert same_rows(other, whole)


def test_a_saved_state_is_not_changed_by_later_batches():
    logits, labels = simulated(60)
    accumulator = fed(HistogramAccumulator(30), logits, labels)
    state = accumulator.state_dict()
    before = state["counts"].clone()

    fed(accumulator, logits, labels).histogram()

    assert torch.equal(state["counts"], before)


def test_a_saved_state_brings_its_grid():
    logits, labels = simulated(40)
    saved_state = fed(HistogramAccumulator(30, grid=Grid.even(30, -8, 8)), logits, labels)
    other = HistogramAccumulator(30)

    other.load_state_dict(saved_state.state_dict())

    assert arrays_of(other.histogram()) == arrays_of(saved(logits, labels, Grid.even(30, -8, 8)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"grid": Grid.even(2, n_bins=64)}, "it differs in 'counts'"),
        ({"reservoir": 3}, "it differs in 'reservoir_keys'"),
        ({"seed": 1}, "it differs in 'seed'"),
    ],
)
def test_the_state_of_another_accumulator_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        HistogramAccumulator(2).load_state_dict(HistogramAccumulator(2, **options).state_dict())


def test_a_state_of_something_else_is_refused():
    with pytest.raises(ValueError, match="must be one of an accumulator; it differs in"):
        HistogramAccumulator(2).load_state_dict({"weight": torch.zeros(2)})


def test_a_copy_counts_for_itself():
    logits, labels = simulated(40)
    accumulator = fed(HistogramAccumulator(30), logits, labels)

    other = copy.deepcopy(accumulator)
    fed(other, logits, labels)

    assert (accumulator.n_rows, other.n_rows) == (40, 80)
    assert arrays_of(accumulator.histogram()) == arrays_of(saved(logits, labels, other.grid))


def test_it_says_what_it_costs():
    accumulator = HistogramAccumulator(100, reservoir=4096)

    assert accumulator.nbytes == 100 * 512 * 32 + 4096 * (8 + 5 * 100)
    assert repr(accumulator) == (
        "HistogramAccumulator(100 classes on 512 bins: 2 MB; a reservoir of 4,096 rows: 2 MB; "
        "0 rows)"
    )


def test_moving_it_keeps_what_was_counted():
    logits, labels = simulated(40)
    accumulator = fed(HistogramAccumulator(30, reservoir=4), logits, labels)

    same = accumulator.to("cpu")

    assert same is accumulator
    assert same.device == torch.device("cpu")
    assert arrays_of(same.histogram()) == arrays_of(saved(logits, labels, same.grid))


# the reservoir


def kept(accumulator):
    """Logits and labels of the rows, as one array."""
    data = accumulator.rows()
    indptr, indices = data.labels.rows(0, data.shape[0])
    labels = np.zeros(data.shape)
    labels[np.repeat(np.arange(len(labels)), np.diff(indptr)), indices] = 1
    return np.stack([data.source.read(0, data.shape[0]), labels])


def same_rows(one, other):
    return np.array_equal(kept(one), kept(other))


@LAW
@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 25), st.integers(0, 2**40))
def test_the_rows_kept_are_those_of_smallest_keys(n_rows, batch, size, seed):
    logits, labels = simulated(n_rows, 4, seed=0)
    accumulator = HistogramAccumulator(4, reservoir=size, seed=seed)

    found = kept(fed(accumulator, logits, labels, batch))

    chosen = naive_streams.sampled(range(n_rows), seed, size)
    assert np.array_equal(found, np.stack([logits[chosen], labels[chosen]]))


def test_the_rows_kept_do_not_depend_on_how_they_are_counted(monkeypatch):
    logits, labels = simulated(100)
    on_host = fed(HistogramAccumulator(30, reservoir=9), logits, labels, 17)

    monkeypatch.setattr(counting, "on_host", lambda device: False)
    by_operations = fed(HistogramAccumulator(30, reservoir=9), logits, labels, 41)

    assert same_rows(on_host, by_operations)


def test_with_ids_the_order_of_the_rows_changes_nothing():
    logits, labels = simulated(100)
    order, ids = np.random.default_rng(0).permutation(100), np.arange(100)
    one = fed(HistogramAccumulator(30, reservoir=9), logits, labels, ids=ids)

    other = fed(HistogramAccumulator(30, reservoir=9), logits[order], labels[order], 8, ids=order)

    assert same_rows(one, other)


def test_merged_reservoirs_hold_what_one_would():
    logits, labels = simulated(100)
    ids = np.arange(100)
    whole = fed(HistogramAccumulator(30, reservoir=9), logits, labels, ids=ids)
    parts = [
        fed(HistogramAccumulator(30, reservoir=9), logits[part], labels[part], ids=ids[part])
        for part in (slice(0, 3), slice(3, 60), slice(60, 100))
    ]

    forward = copy.deepcopy(parts[0]).merge(parts[1]).merge(parts[2])
    backward = copy.deepcopy(parts[2]).merge(parts[1]).merge(parts[0])

    assert same_rows(forward, whole)
    assert same_rows(backward, whole)


def test_no_row_of_a_rank_has_the_number_of_one_of_another():
    first, second = (row_numbers(rank, 0, 1000, torch.device("cpu")) for rank in (0, 1))
    later = row_numbers(0, 10**9, 1000, torch.device("cpu"))

    assert not set(second.tolist()) & {*first.tolist(), *later.tolist()}
    assert len({*first.tolist(), *later.tolist()}) == 2000


def test_rows_with_ids_are_not_numbered_as_well():
    logits, labels = simulated(60)
    mixed = HistogramAccumulator(30, reservoir=60)
    fed(mixed, logits[:20], labels[:20], ids=np.arange(10**6, 10**6 + 20))

    fed(mixed, logits[20:], labels[20:])

    without = fed(HistogramAccumulator(30, reservoir=60), logits[20:], labels[20:])
    keys = [each.state_dict()["reservoir_keys"].tolist() for each in (mixed, without)]
    assert len(set(keys[0]) & set(keys[1])) == 40


def test_ranks_sample_rows_of_their_own():
    logits, labels = simulated(100)

    chosen = [
        fed(HistogramAccumulator(30, reservoir=20, rank=rank), logits, labels) for rank in (0, 1)
    ]

    assert not same_rows(*chosen)


def test_every_row_is_as_likely_to_be_kept():
    n_rows, size, draws = 50, 10, 400
    times = np.zeros(n_rows)
    for seed in range(draws):
        times[naive_streams.sampled(range(n_rows), seed, size)] += 1

    expected = draws * size / n_rows
    statistic = ((times - expected) ** 2 / expected).sum() / (1 - size / n_rows)
    assert statistic < 85  # the 99.9 % point of chi-square with 49 degrees of freedom


def test_rows_without_a_score_are_kept_as_they_are():
    logits, labels = simulated(10)
    logits[4, 7] = np.nan

    accumulator = fed(HistogramAccumulator(30, reservoir=10, nan="negative"), logits, labels)

    assert np.isneginf(kept(accumulator)[0]).sum() == 1


def test_no_reservoir_no_rows():
    with pytest.raises(ValueError, match="no rows are kept: make the accumulator with reservoir="):
        HistogramAccumulator(2).rows()


# fitting


def test_a_pipeline_is_fitted_as_to_the_saved_logits_on_this_grid(way):
    logits, labels = simulated(2000)
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(F1))
    accumulator = HistogramAccumulator(30)

    fitted = fed(accumulator, logits, labels, 128).fit(clone(pipeline))

    expected = clone(pipeline).fit_from(saved(logits, labels, accumulator.grid))
    assert fitted.decision_.rule.same_as(expected.decision_.rule)
    assert fitted.decision_.steps[0].same_as(expected.decision_.steps[0])


def test_a_fit_is_near_the_fit_to_the_saved_logits():
    logits, labels = simulated(4000)
    accumulator = fed(HistogramAccumulator(30), logits, labels)
    exact = cal.Pipeline([cal.HierarchicalScaling(row_layer=False)], cal.PerClassThreshold(F1))

    binned = accumulator.fit(clone(exact))

    exact.fit(logits, labels)
    one, other = (pipeline.predict_proba(logits) for pipeline in (exact, binned))
    assert np.abs(one - other).max() < 0.01
    one, other = (cal.evaluate(p, logits, labels, ranking=False).summary for p in (exact, binned))
    assert one["macro_f"] - 0.01 < other["macro_f"] <= one["macro_f"]


def test_class_names_go_into_the_decision():
    logits, labels = simulated(100)
    names = [f"class {c}" for c in range(30)]

    pipeline = fed(HistogramAccumulator(30), logits, labels).fit(
        cal.Pipeline([], cal.PerClassThreshold(F1)), class_names=names
    )

    assert pipeline.decision_.class_names == tuple(names)


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (cal.SharedThreshold(F1), "SharedThreshold"),
        (cal.ExpectedCountTopK(), "ExpectedCountTopK"),
        (cal.Overridden(cal.SharedThreshold(F1)), "Overridden"),
    ],
)
def test_a_rule_that_needs_rows_is_named(step, name):
    logits, labels = simulated(100)

    with pytest.raises(TypeError, match=f"^{name} is fitted from rows of logits, got a histogram"):
        fed(HistogramAccumulator(30), logits, labels).fit(cal.Pipeline([], step))


def test_a_calibrator_that_needs_rows_is_named():
    logits, labels = simulated(100)
    pipeline = cal.Pipeline([cal.HierarchicalScaling(row_layer=True)], cal.FixedThreshold())

    with pytest.raises(TypeError, match=r"^HierarchicalScaling is fitted from rows of logits"):
        fed(HistogramAccumulator(30), logits, labels).fit(pipeline)


def test_a_rule_along_rows_is_fitted_to_the_rows_that_were_kept():
    logits, labels = simulated(500)
    accumulator = fed(HistogramAccumulator(30, reservoir=200), logits, labels)
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.SharedThreshold(F1))

    fitted = accumulator.fit(clone(pipeline))

    chosen = naive_streams.sampled(range(500), 0, 200)
    platt = cal.PlattScaling().fit_from(saved(logits, labels, accumulator.grid))
    rule = cal.SharedThreshold(F1).fit(platt.transform(logits[chosen]), labels[chosen])
    assert fitted.calibrators_[0].op_.same_as(platt.op_)
    assert fitted.rule_.op_.same_as(rule.op_)
    assert fitted.decision_.provenance["n_rows"] == 500
    assert fitted.decision_.provenance["n_rows_sampled"] == 200


@pytest.mark.parametrize(
    "rule", [cal.CardinalityMatching(), cal.SharedThreshold(F1, "auto"), cal.ExpectedCountTopK()]
)
def test_a_rule_along_rows_counts_the_rows_that_were_kept_alone(rule):
    logits, labels = simulated(500)
    accumulator = fed(HistogramAccumulator(30, reservoir=200), logits, labels)

    fitted = accumulator.fit(cal.Pipeline([], clone(rule)))

    chosen = naive_streams.sampled(range(500), 0, 200)
    expected = clone(rule).fit(logits[chosen], labels[chosen])
    assert fitted.rule_.op_.same_as(expected.op_)


def test_a_row_layer_is_fitted_to_the_rows_that_were_kept():
    logits, labels = simulated(800)
    logits = logits + np.random.default_rng(3).normal(size=(800, 1)).astype(np.float32)
    pipeline = cal.Pipeline([cal.HierarchicalScaling(row_layer=True)], cal.ExpectedCountTopK())

    fitted = fed(HistogramAccumulator(30, reservoir=800), logits, labels).fit(clone(pipeline))

    exact = clone(pipeline).fit(logits, labels)
    layer, expected = (p.calibrators_[0].report_.row_layers[0] for p in (fitted, exact))
    assert layer.on
    assert layer.coefficients == pytest.approx(expected.coefficients, rel=0.02)
    apart = fitted.predict_proba(logits) - exact.predict_proba(logits)
    assert np.abs(apart).max() < 0.02
    assert abs(fitted.predict(logits).nnz / labels.sum() - 1) < 0.01


def test_a_rule_that_a_histogram_fits_is_fitted_to_all_rows():
    logits, labels = simulated(500)
    accumulator = fed(HistogramAccumulator(30, reservoir=20), logits, labels)

    fitted = accumulator.fit(cal.Pipeline([], cal.PerClassThreshold(F1)))

    expected = cal.PerClassThreshold(F1).fit_from(accumulator.histogram())
    assert fitted.rule_.op_.same_as(expected.op_)


def test_a_guarantee_gets_rows_that_the_calibrators_have_not_seen():
    logits, labels = simulated(600)
    accumulator = fed(HistogramAccumulator(30, reservoir=300), logits, labels)
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.RecallGuarantee(0.8))

    fitted = accumulator.fit(clone(pipeline))

    rows = accumulator.rows()
    apart = np.sort(np.random.default_rng(0).permutation(300)[:150])
    others = accumulator.histogram() - ScoreHistogram.of(rows.take(apart), accumulator.grid)
    assert others.n_rows == 450
    assert fitted.calibrators_[0].op_.same_as(cal.PlattScaling().fit_from(others).op_)
    assert fitted.decision_.provenance["n_rows_apart"] == 150


@pytest.mark.parametrize(
    ("name", "loss"),
    [("bibtex", "weighted_long"), ("corel5k", "softmax"), ("goemotions_tfidf", "weighted")],
)
@pytest.mark.parametrize(
    ("rule", "figure"),
    [(cal.PerClassThreshold(F1, "auto"), "macro_f"), (cal.ExpectedCountTopK(), "micro_f")],
)
def test_on_real_logits_a_fit_in_training_is_as_good(real_logits, name, loss, rule, figure):
    network = real_logits(name, loss)
    logits, labels = network.arrays("val")
    n_rows, n_classes = logits.shape
    accumulator = HistogramAccumulator(n_classes, reservoir=n_rows)
    for start in range(0, n_rows, 256):
        part = slice(start, start + 256)
        accumulator.update(
            torch.from_numpy(np.array(logits[part])), torch.from_numpy(labels[part].toarray())
        )
    pipeline = cal.Pipeline([cal.HierarchicalScaling()], rule)

    binned = accumulator.fit(clone(pipeline))

    exact = clone(pipeline).fit(logits, labels)
    one, other = (
        cal.evaluate(p, *network.arrays("test"), ranking=False).summary for p in (exact, binned)
    )
    assert other[figure] == pytest.approx(one[figure], abs=0.004)
    assert other["count_ratio"] == pytest.approx(one["count_ratio"], rel=0.02)


# rows beside a histogram


def beside(change):
    logits, labels = simulated(60, 4)
    histogram = saved(logits, labels, Grid.even(4))
    return change(histogram, labelled_logits(logits, labels))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda h, r: (h, labelled_logits(np.zeros((5, 3)), np.zeros((5, 3)))),
            "rows must have the 4 classes of the histogram, got 3",
        ),
        (
            lambda h, r: (h - saved(*simulated(60, 4), h.grid), r),
            "rows must be some of the 0 of the histogram, got 60",
        ),
        (
            lambda h, r: (h.after(cal.PosWeightCorrection(2.0).fit_from(h).op_), r),
            "a histogram with rows beside it must have no steps, got 1",
        ),
    ],
)
def test_rows_of_something_else_are_refused(change, text):
    histogram, rows = beside(change)

    with pytest.raises(ValueError, match=text):
        cal.Pipeline([], cal.TopK(1)).fit_from(histogram, rows=rows)


def test_rows_that_the_histogram_does_not_count_cannot_be_kept_apart():
    logits, labels = simulated(60, 4)
    histogram = saved(logits, labels, Grid.even(4))
    rows = labelled_logits(logits[:40] + 3, labels[:40])

    with pytest.raises(ValueError, match="rows must be some of those that the histogram counts"):
        cal.Pipeline([cal.PlattScaling()], cal.RecallGuarantee(0.8)).fit_from(histogram, rows=rows)


# on a device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_device_counts_as_the_host_and_is_never_waited_for(compiled):
    logits, labels = simulated(3000)
    on_host = fed(HistogramAccumulator(30, reservoir=64), logits, labels, 256)
    accumulator = HistogramAccumulator(30, reservoir=64, compiled=compiled)
    batches = [
        (torch.from_numpy(logits[part]).cuda(), torch.from_numpy(labels[part]).cuda())
        for part in (slice(0, 1000), slice(1000, 3000))
    ]
    accumulator.update(*batches[0])

    torch.cuda.set_sync_debug_mode("error")
    try:
        accumulator.update(*batches[1])
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert accumulator.device.type == "cuda"
    assert arrays_of(accumulator.histogram()) == arrays_of(on_host.histogram())
    assert same_rows(accumulator, on_host)
