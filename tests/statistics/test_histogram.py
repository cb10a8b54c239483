import dataclasses
import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import ops
from calibrate.data import labelled_logits, logits
from calibrate.statistics import Evidence, Grid, ScoreHistogram, histogram

LAW = settings(derandomize=True, deadline=None, max_examples=100)
pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")

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


def data_of(scores, labels):
    return labelled_logits(scores, labels, nan="negative")


def grid_of(n_classes, n_bins=16):
    """A grid whose edges and widths are exact."""
    return Grid(np.full(n_classes, -4.0), np.full(n_classes, 4.0), n_bins)


def simulated(n_rows=3000, n_classes=70, seed=1):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < rng.uniform(0.01, 0.3, n_classes)
    return (rng.normal(size=labels.shape) * 2 + labels).astype(np.float32), labels


def arrays_of(h):
    return [h.counts.tolist(), h.positives.tolist(), h.offsets.tolist(), h.n_rows]


# counting


@LAW
@given(rows(), st.sampled_from([1, 2, 16, 512]))
def test_the_bins_count_scores_and_positives_and_keep_their_mean(case, n_bins):
    scores, labels = case
    grid = grid_of(scores.shape[1], n_bins)

    found = ScoreHistogram.of(data_of(scores, labels), grid)

    for c in range(scores.shape[1]):
        # what lies beyond 2**20 widths of the grid counts as if it lay there
        reach = 2.0**20 * 8 / n_bins
        near = [min(max(s, -4 - reach), -4 + reach) if s > -np.inf else s for s in scores[:, c]]
        counts, hits, means = naive.bin_means(near, labels[:, c], -4.0, 4.0, n_bins)
        assert found.counts[c].tolist() == counts
        filled = np.array(counts) > 0
        np.testing.assert_allclose(
            found.scores[c][filled], np.array(means)[filled], rtol=1e-12, atol=2**-21 * 8 / n_bins
        )
        scored = scores[:, c] > -np.inf
        assert found.positives[c].tolist() == hits
        assert found.positives[c].sum() == (labels[:, c] & scored).sum()


def test_an_empty_bin_has_its_centre_as_score():
    found = ScoreHistogram.empty(grid_of(1, 4))

    assert found.scores.tolist() == [[-3.0, -1.0, 1.0, 3.0]]
    assert found.counts.sum() == 0


def test_the_upper_edge_of_a_bin_belongs_to_the_next_one():
    scores = np.array([[0.0], [-1e-6], [-4.0], [4.0], [4.000001]], np.float32)

    found = ScoreHistogram.of(data_of(scores, np.ones((5, 1))), grid_of(1, 2))

    assert found.counts.tolist() == [[2, 3]]
    assert found.positives.tolist() == [[2, 3]]


def test_mass_far_outside_the_grid_is_kept_in_the_outer_bins_with_its_mean():
    scores = np.array([[-1000.0], [-3.0], [1000.0], [3.0], [3.0]])
    labels = np.array([[1], [0], [1], [0], [1]])

    found = ScoreHistogram.of(data_of(scores, labels), grid_of(1, 4))

    assert found.counts.tolist() == [[2, 0, 0, 3]]
    assert found.positives.tolist() == [[1, 0, 0, 2]]
    assert found.scores[0, [0, 3]] == pytest.approx([-501.5, 1006 / 3], abs=1e-5)


def test_offsets_are_rounded_to_the_nearest_fraction_of_a_bin():
    step = 2.0**-20
    scores = np.array([[0.4 * step], [0.6 * step], [1.6 * step]], np.float32)
    grid = Grid(np.array([0.0]), np.array([1.0]), 1)

    found = [ScoreHistogram.of(data_of(s[None], np.ones((1, 1))), grid) for s in scores]

    assert [int(h.offsets.item()) for h in found] == [0, 1, 2]


def test_cells_without_a_score_are_left_out():
    scores = np.array([[-np.inf, 1.0], [2.0, -np.inf], [-np.inf, -np.inf]])

    found = ScoreHistogram.of(data_of(scores, np.ones((3, 2))), grid_of(2))

    assert found.counts.sum(axis=1).tolist() == [1, 1]
    assert found.positives.sum(axis=1).tolist() == [1, 1]
    assert found.n_rows == 3


def test_more_classes_than_a_tile_are_counted_like_single_ones():
    scores, labels = simulated(n_rows=50, n_classes=150)

    together = ScoreHistogram.of(data_of(scores, labels), grid_of(150, 8))

    for c in (0, 63, 64, 65, 127, 128, 149):
        alone = ScoreHistogram.of(data_of(scores[:, [c]], labels[:, [c]]), grid_of(1, 8))
        assert together.counts[c].tolist() == alone.counts[0].tolist()
        assert together.positives[c].tolist() == alone.positives[0].tolist()
        assert together.offsets[c].tolist() == alone.offsets[0].tolist()


# adding


@LAW
@given(rows(), st.data())
def test_the_histograms_of_any_parts_in_any_order_add_up_to_the_whole_exactly(case, data):
    scores, labels = case
    whole_rows = data_of(scores, labels)
    parts = data.draw(st.lists(st.integers(0, 2), min_size=len(scores), max_size=len(scores)))
    grid = grid_of(scores.shape[1], 7)
    pieces = [np.flatnonzero(np.array(parts) == part) for part in range(3)]
    order = data.draw(st.permutations(range(3)))

    counted = [ScoreHistogram.of(whole_rows.take(piece), grid) for piece in pieces]
    added = counted[order[0]] + counted[order[1]] + counted[order[2]]

    assert arrays_of(added) == arrays_of(ScoreHistogram.of(whole_rows, grid))
    assert added.scores.tolist() == ScoreHistogram.of(whole_rows, grid).scores.tolist()


def test_adding_changes_neither_part():
    scores, labels = simulated(20, 3)
    grid = grid_of(3)
    one, other = (
        ScoreHistogram.of(data_of(s, y), grid)
        for s, y in [(scores[:5], labels[:5]), (scores, labels)]
    )
    before = arrays_of(one), arrays_of(other)

    added = one + other

    assert added.n_rows == 25
    assert (arrays_of(one), arrays_of(other)) == before


def test_the_histogram_of_no_rows_adds_nothing():
    scores, labels = simulated(20, 3)
    found = ScoreHistogram.of(data_of(scores, labels), grid_of(3))

    added = found + ScoreHistogram.empty(grid_of(3))

    assert arrays_of(added) == arrays_of(found)


@pytest.mark.parametrize(
    "other",
    [
        Grid(np.array([-4.0]), np.array([4.0]), 17),
        Grid(np.array([-4.0]), np.array([4.5]), 16),
        Grid(np.array([-4.5]), np.array([4.0]), 16),
        Grid(np.array([-4.0, -4.0]), np.array([4.0, 4.0]), 16),
    ],
)
def test_histograms_of_different_grids_are_not_added(other):
    one, another = ScoreHistogram.empty(grid_of(1)), ScoreHistogram.empty(other)

    with pytest.raises(ValueError, match=r"^histograms must have the same grid to be added$"):
        one + another


def test_histograms_after_different_steps_are_not_added():
    one = ScoreHistogram.empty(grid_of(1))

    with pytest.raises(ValueError, match=r"^histograms must have the same steps to be added$"):
        one + one.after(ops.Affine(2.0, 0.0))


def test_block_size_and_threads_change_no_count(monkeypatch):
    data = data_of(*simulated())
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    whole = ScoreHistogram.of(data)

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "3")
    monkeypatch.setattr(logits, "BLOCK_CELLS", 70 * 37)
    pieces = ScoreHistogram.of(data)

    assert pieces.grid.same_as(whole.grid)
    assert arrays_of(pieces) == arrays_of(whole)


# steps


def test_a_step_moves_the_means_and_leaves_the_counts():
    scores, labels = simulated(200, 2)
    found = ScoreHistogram.of(data_of(scores, labels), grid_of(2))
    step = ops.Affine([2.0, 0.5], [1.0, -1.0])

    moved = found.after(step).after(ops.Affine(3.0, 0.0))

    assert arrays_of(moved) == arrays_of(found)
    expected = 3 * (found.scores * np.array([[2.0], [0.5]]) + np.array([[1.0], [-1.0]]))
    np.testing.assert_allclose(moved.scores, expected, rtol=1e-15)


def test_the_histogram_of_rows_after_a_step_counts_the_moved_scores():
    scores, labels = simulated(200, 2)
    step = ops.Affine([2.0, 0.5], [1.0, -1.0])
    data = data_of(scores, labels).after(step)

    found = ScoreHistogram.of(data)

    same = ScoreHistogram.of(data_of(step.apply(scores), labels))
    assert found.grid.same_as(same.grid)
    assert arrays_of(found) == arrays_of(same)


# the grid


def test_the_grid_spans_all_scores_with_a_little_room():
    scores, labels = simulated(500, 5)

    grid = Grid.spanning(data_of(scores, labels), 64)

    low, high = scores.min(axis=0), scores.max(axis=0)
    room = 0.05 * (high - low)
    np.testing.assert_allclose(grid.low, low - room, rtol=1e-5)
    np.testing.assert_allclose(grid.high, high + room, rtol=1e-5)
    np.testing.assert_allclose(grid.width, (grid.high - grid.low) / 64, rtol=1e-15)


def test_one_cell_of_a_billion_does_not_spoil_the_resolution_of_the_others():
    scores, labels = simulated(500, 2)
    scores[7, 0], scores[8, 1] = 1e9, -1e9

    found = ScoreHistogram.of(data_of(scores, labels))

    assert (found.grid.width < 0.5).all()
    assert found.counts.sum(axis=1).tolist() == [500, 500]
    assert ((found.counts > 0).sum(axis=1) > 30).all()


def test_the_grid_reaches_no_farther_than_twenty_bodies_from_the_median():
    scores = np.concatenate([np.linspace(-1, 1, 101), [500.0, -700.0]])[:, None]

    grid = Grid.spanning(data_of(scores, np.ones((103, 1))))

    body = np.sort(scores[:, 0])[int(102 * 0.9)] - np.sort(scores[:, 0])[int(102 * 0.1)]
    assert grid.high[0] == pytest.approx(20 * body + 2 * body, rel=1e-6)
    assert grid.low[0] == pytest.approx(-20 * body - 2 * body, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, -3.5, 1e9, -3e38, 1e-45])
def test_a_class_of_equal_scores_has_a_grid_and_keeps_its_score(value):
    scores = np.full((5, 1), value, np.float32)

    found = ScoreHistogram.of(data_of(scores, np.eye(5, 1)))

    assert found.grid.low[0] < found.grid.high[0]
    assert (found.counts.max(), found.positives.max()) == (5, 1)
    at = found.scores[0, found.counts[0].argmax()]
    assert at == pytest.approx(float(scores[0, 0]), rel=1e-12, abs=1e-14)


def test_a_class_without_any_score_has_a_grid_around_zero():
    found = ScoreHistogram.of(data_of(np.full((3, 1), -np.inf), np.ones((3, 1))))

    assert found.grid.low[0] < 0 < found.grid.high[0]
    assert found.counts.sum() == 0


def test_the_grid_of_many_rows_comes_from_rows_spread_over_all(monkeypatch):
    monkeypatch.setattr(histogram, "_SAMPLE_ROWS", 80)
    scores = np.zeros((1000, 1), np.float32)
    scores[:, 0] = np.arange(1000)

    grid = Grid.spanning(data_of(scores, np.ones((1000, 1))))

    assert grid.low[0] == pytest.approx(0 - 0.05 * 999)
    assert grid.high[0] == pytest.approx(999 + 0.05 * 999)


@pytest.mark.parametrize("n_rows", [1, 3, 7, 9, 80, 81, 87])
def test_a_sample_fits_any_number_of_rows(n_rows, monkeypatch):
    monkeypatch.setattr(histogram, "_SAMPLE_ROWS", 3)
    scores = np.arange(n_rows, dtype=np.float32)[:, None] + 5

    found = ScoreHistogram.of(data_of(scores, np.ones((n_rows, 1))))

    assert found.counts.sum() == n_rows
    assert found.grid.low[0] < 5
    assert found.grid.high[0] > 4 + n_rows


@pytest.mark.parametrize(
    ("low", "high", "n_bins", "message"),
    [
        ([0.0], [0.0], 4, r"a grid needs low < high for each class, got shapes \(1,\) and \(1,\)"),
        ([0.0], [1.0, 2.0], 4, r"a grid needs .*, got shapes \(1,\) and \(2,\)"),
        ([np.nan], [1.0], 4, "a grid needs low < high for each class"),
        (0.0, 1.0, 4, r"a grid needs .*, got shapes \(\) and \(\)"),
        ([0.0], [1.0], 0, "n_bins must be at least 1 and at most .*, got 0"),
        ([0.0], [1.0], 2**20 + 1, "n_bins must be .* at most 2..20, got 1048577"),
    ],
)
def test_a_grid_that_is_none_is_refused(low, high, n_bins, message):
    with pytest.raises(ValueError, match=message):
        Grid(low, high, n_bins)


def test_a_histogram_is_frozen():
    found = ScoreHistogram.empty(grid_of(2))

    with pytest.raises(dataclasses.FrozenInstanceError):
        found.n_rows = 3

    assert (found.n_classes, found.n_rows) == (2, 0)


def test_histograms_after_equal_steps_add_and_after_other_steps_do_not():
    rows = labelled_logits(np.array([[1.0], [2.0], [4.0]]), np.array([[0], [1], [1]]))
    histogram = ScoreHistogram.of(rows)
    step, equal, other = (
        ops.Affine(np.array(scale, np.float32), np.array(1.0, np.float32)) for scale in (2, 2, 3)
    )

    total = histogram.after(step) + histogram.after(equal)

    assert np.array_equal(total.counts, 2 * histogram.counts)
    for wrong in (histogram, histogram.after(other), histogram.after(step).after(step)):
        with pytest.raises(ValueError, match="must have the same steps"):
            _ = histogram.after(step) + wrong


def test_a_score_just_below_the_upper_end_keeps_its_place():
    scores = np.array([[3.9999998]], np.float32)

    found = ScoreHistogram.of(data_of(scores, np.ones((1, 1))), grid_of(1, 1))

    assert found.scores.item() == pytest.approx(3.9999998, abs=2.0**-20 * 8)
    assert found.offsets.item() == 1 << 20


def test_more_equal_scores_than_a_word_of_the_table_holds_are_counted():
    scores = np.full((40_000, 2), 1.25, np.float32)
    labels = np.zeros((40_000, 2), bool)
    labels[:, 0], labels[:20_000, 1] = True, True

    found = ScoreHistogram.of(data_of(scores, labels), grid_of(2, 4))

    assert found.counts[:, 2].tolist() == [40_000, 40_000]
    assert found.positives[:, 2].tolist() == [40_000, 20_000]
    assert found.scores[:, 2] == pytest.approx(1.25, abs=2.0**-19)


def test_evidence_counts_anew_after_a_step_that_looks_along_the_row():
    rng = np.random.default_rng(8)
    logits = rng.normal(size=(400, 5)).astype(np.float32)
    step = ops.RowAffine(1.5, np.linspace(-1, 1, 5), by_count=-1.0)
    evidence = Evidence(labelled_logits(logits, rng.random((400, 5)) < 0.4))
    evidence.build_histogram()

    moved = evidence.after(ops.Chain((ops.Affine(2.0, 0.5), step))).histogram

    expected = step.apply(ops.Affine(2.0, 0.5).apply(logits))
    means = (moved.counts * moved.scores).sum(axis=1) / 400
    np.testing.assert_allclose(means, expected.mean(axis=0, dtype=np.float64), rtol=1e-5)
    assert (moved.positives.sum(axis=1) == evidence.positives).all()


def test_a_histogram_alone_cannot_take_a_step_that_looks_along_the_row():
    histogram = ScoreHistogram.of(labelled_logits(np.eye(3, dtype=np.float32), np.eye(3)))

    with pytest.raises(TypeError, match="fitted from rows of logits, got a histogram"):
        Evidence(histogram=histogram).after(ops.RowAffine(1.0, 0.0, by_count=1.0))


# parts


@LAW
@given(
    rows(), st.lists(st.integers(0, 3), min_size=4, max_size=4), st.sampled_from([1, 7, 1 << 21])
)
def test_parts_are_counted_as_their_rows_alone_and_can_be_taken_out(case, parts, block_cells):
    scores, labels = case
    part = np.resize(parts, len(scores))
    grid = grid_of(scores.shape[1])
    whole = ScoreHistogram.of(data_of(scores, labels), grid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("calibrate.data.logits.BLOCK_CELLS", block_cells)
        found = ScoreHistogram.of_parts(data_of(scores, labels), part, [2, 0], grid)

    for number, one in zip([2, 0], found, strict=True):
        if (part == number).any():
            alone = ScoreHistogram.of(data_of(scores[part == number], labels[part == number]), grid)
            assert arrays_of(one) == arrays_of(alone)
        else:
            assert arrays_of(one) == arrays_of(ScoreHistogram.empty(grid))
        assert arrays_of(whole - one + one) == arrays_of(whole)
        rest = part != number
        if rest.any():
            others = ScoreHistogram.of(data_of(scores[rest], labels[rest]), grid)
            assert arrays_of(whole - one) == arrays_of(others)


def test_what_has_other_bins_or_steps_is_not_taken_out():
    one = ScoreHistogram.empty(grid_of(2))

    with pytest.raises(ValueError, match="must have the same grid to be subtracted"):
        one - ScoreHistogram.empty(grid_of(2, 8))
    with pytest.raises(ValueError, match="must have the same steps to be subtracted"):
        one - one.after(ops.Affine(2.0, 0.0))


def test_one_histogram_serves_all_steps_whoever_asks_first(monkeypatch):
    scores, labels = simulated(200, 4)
    counted = []
    of = ScoreHistogram.of
    monkeypatch.setattr(ScoreHistogram, "of", lambda *args: counted.append(1) or of(*args))
    evidence = Evidence(data_of(scores, labels))

    later = evidence.after(ops.Affine(2.0, 0.5)).after(ops.Affine(1.0, -1.0))

    assert counted == []
    np.testing.assert_allclose(
        later.histogram.scores, evidence.histogram.scores * 2.0 - 0.5, rtol=1e-12, atol=1e-12
    )
    assert counted == [1]


def test_evidence_knows_its_steps():
    scores, labels = simulated(50, 3)
    steps = ops.Affine(2.0, 0.5), ops.RowAffine(1.0, 0.0, by_count=0.5), ops.Affine(1.0, 1.0)
    evidence = Evidence(data_of(scores, labels))
    alone = Evidence(histogram=evidence.histogram)

    after = evidence.after(ops.Chain(steps[:2])).after(steps[2])

    assert after.steps == steps
    assert evidence.steps == alone.steps == ()
    assert alone.after(steps[0]).steps == steps[:1]


def test_the_range_is_that_of_the_bins_that_hold_scores():
    scores = np.array([[1.0, -np.inf], [-2.0, -np.inf], [0.5, -np.inf]], np.float32)
    rows = labelled_logits(scores, np.zeros((3, 2), bool), nan="negative")

    low, high = ScoreHistogram.of(rows, Grid(np.full(2, -8.0), np.full(2, 8.0), 64)).range

    assert low.tolist() == [-2.0, 0.0]
    assert high.tolist() == [1.0, 0.0]
