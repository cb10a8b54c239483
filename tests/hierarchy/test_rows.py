import naive_layers
import numpy as np
import pytest
from simulations import competing, drawn, log_loss, mean_average_precision, well_calibrated

import calibrate as cal
from calibrate.data import labelled_logits, logits
from calibrate.hierarchy import rows
from calibrate.hierarchy.rows import fit_row_layer
from calibrate.kernels.sampling import row_keys


def layer_of(scores, labels, terms=("by_count",), nan="raise", **options):
    return fit_row_layer(labelled_logits(scores, labels, nan=nan), terms, **options)


def small(n_rows=60, n_classes=8, seed=0):
    scores, labels = competing(n_rows, n_classes, seed)
    return scores.astype(np.float32), labels


def cells_of(scores, labels, terms):
    """Features, rows, targets and folds of all cells that have a score."""
    of_row = [
        [
            naive_layers.naive.row_term(row, *(float(term == name) for name in NAMES))
            for term in terms
        ]
        for row in scores
    ]
    at = np.argwhere(scores > -np.inf)
    features = [[1.0, float(scores[i, c]), *of_row[i]] for i, c in at]
    keys = np.array([naive_layers.row_key(row) for row in scores.view(np.int32)])
    return np.array(features), at[:, 0], labels[tuple(at.T)].astype(float), keys % 5


NAMES = ("by_count", "by_largest", "by_log_sum")


@pytest.fixture
def one_thread(monkeypatch):
    """Of many small fits most of the time would go into starting threads."""
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")


# the fit


@pytest.mark.parametrize(
    ("terms", "base"),
    [
        (("by_count",), None),
        (("by_largest",), None),
        (("by_log_sum", "by_largest"), [0.3, 0.8, -0.2, 0.1]),
        (("by_count",), [-1.0, 1.5, 0.4]),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_line_gain_and_error_are_those_of_plain_optimisation_on_all_cells(terms, base, seed):
    scores, labels = small(seed=seed)

    layer = layer_of(scores, labels, terms, base=base)

    features, of_row, targets, folds = cells_of(scores, labels, terms)
    start = np.array([0.0, 1.0, *[0.0] * len(terms)] if base is None else base)
    whole = naive_layers.logistic(features, targets, start=start)
    found = [layer.intercept, layer.slope, *layer.coefficients]
    assert found == pytest.approx(whole.tolist(), abs=2e-4)
    gains = naive_layers.gain_of_rows(
        features, of_row, targets, np.ones(len(targets)), folds, start
    )
    assert layer.gain == pytest.approx(gains.mean(), abs=1e-5)
    error = np.sqrt(((gains - gains.mean()) ** 2).sum() / 59 / 60)
    assert layer.standard_error == pytest.approx(error, rel=1e-4)
    assert layer.on == (gains.mean() > 2 * error)


def test_cells_without_a_score_take_no_part():
    scores, labels = small()
    scores[np.random.default_rng(1).random(scores.shape) < 0.2] = -np.inf
    scores[7] = -np.inf

    layer = layer_of(scores, labels, nan="negative")

    features, _, targets, _ = cells_of(scores, labels, ("by_count",))
    whole = naive_layers.logistic(features, targets, start=np.array([0.0, 1.0, 0.0]))
    assert [layer.intercept, layer.slope, *layer.coefficients] == pytest.approx(whole, abs=2e-4)


def test_the_step_is_the_line():
    scores, labels = small()
    layer = layer_of(scores, labels)

    moved = layer.op.apply(scores)

    term = np.array([naive_layers.naive.row_term(row, 1, 0, 0) for row in scores])
    expected = layer.intercept + layer.slope * scores + layer.coefficients[0] * term[:, None]
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_a_slope_at_its_bound_leaves_the_rest_fitted():
    scores, labels = small(n_rows=300)

    layer = layer_of(-scores, labels, gated=False)

    features, _, targets, _ = cells_of(-scores, labels, ("by_count",))
    others, known = features[:, [0, 2]], 0.05 * features[:, 1]
    expected = naive_layers.shifted_logistic(others, targets, known)
    assert layer.slope == pytest.approx(0.05, abs=1e-12)
    assert [layer.intercept, *layer.coefficients] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("threads", ["2", "5"])
def test_the_number_of_threads_changes_no_bit(threads, monkeypatch):
    scores, labels = competing()
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    one = layer_of(scores, labels)

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", threads)
    many = layer_of(scores, labels)

    assert many == one


def test_neither_the_order_of_rows_nor_that_of_classes_matters_nor_blocks(monkeypatch):
    scores, labels = competing()
    monkeypatch.setattr(rows, "MOST_CELLS", 1000)
    one = layer_of(scores, labels)
    rng = np.random.default_rng(0)
    order, classes = rng.permutation(len(scores)), rng.permutation(scores.shape[1])

    monkeypatch.setattr(logits, "LOOK_CELLS", 100)
    monkeypatch.setattr(logits, "_BATCH", 3)
    other = layer_of(scores[order][:, classes], labels[order][:, classes])

    assert other.coefficients == pytest.approx(one.coefficients, abs=1e-9)
    assert (other.gain, other.standard_error) == pytest.approx((one.gain, one.standard_error))


# the gate


@pytest.mark.parametrize(("n_rows", "n_classes"), [(20, 40), (201, 30), (2000, 5)])
def test_labels_that_do_not_compete_hardly_ever_open_the_gate(n_rows, n_classes, one_thread):
    opened = sum(layer_of(*well_calibrated(n_rows, n_classes, s, 0.02)).on for s in range(40))

    assert opened <= 2


def test_two_rows_hardly_ever_open_the_gate(one_thread):
    opened = sum(layer_of(*well_calibrated(2, 30, seed, 0.05)).on for seed in range(50))

    assert opened <= 5


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_compete_open_it_and_the_order_within_classes_gets_better(seed):
    scores, labels = competing(seed=seed)
    new, truth = competing(seed=seed + 100)

    layer = layer_of(scores, labels)

    calibrated = layer.op.apply(new.astype(np.float32))
    assert layer.on
    assert layer.coefficients[0] < -0.3
    before, after = log_loss(new, truth), log_loss(calibrated, truth)
    assert layer.gain == pytest.approx(before - after, abs=4 * layer.standard_error)
    ranked = mean_average_precision(new, truth)
    assert mean_average_precision(calibrated, truth) > ranked + 0.02


@pytest.mark.parametrize("times", [2, 4, 50])
def test_rows_that_are_all_alike_tell_nothing_about_others(times):
    layer = layer_of(
        np.tile([[1.0, 2.0, 0.0, -1.0]], (times, 1)), np.tile([[1, 0, 0, 1]], (times, 1))
    )

    assert not layer.on
    assert layer.gain == 0.0


def test_one_row_leaves_the_gate_closed():
    layer = layer_of(np.array([[1.0, -2.0, 0.5]]), np.array([[1, 0, 0]]))

    assert not layer.on
    assert layer.standard_error == np.inf


def test_without_a_gate_the_layer_is_on_whatever_it_gains():
    scores, labels = well_calibrated(100, 20, 3, 0.05)

    gated, free = (layer_of(scores, labels, gated=gated) for gated in (True, False))

    assert (gated.on, free.on) == (False, True)
    assert free.coefficients == gated.coefficients


# drawing


def totals(monkeypatch, most, seed):
    """Weights of positives and of negatives that are drawn, over how many there are."""
    monkeypatch.setattr(rows, "MOST_CELLS", most)
    truth, labels = well_calibrated(400, 60, seed, 0.02)
    data = labelled_logits(truth, labels)
    cells = rows._draw(data, ("by_count",))
    keep = cells.positive == 1
    n = labels.sum()
    ratio = cells.weight[keep].sum() / n, cells.weight[~keep].sum() / (labels.size - n)
    scores = (cells.x * cells.weight)[~keep].sum(), truth[~labels].sum()
    return (*ratio, keep.sum(), (~keep).sum(), *scores)


def test_weights_make_totals_of_few_drawn_cells_right_on_average(monkeypatch):
    found = np.array([totals(monkeypatch, 500, seed) for seed in range(30)])

    positives, negatives = found[:, 0], found[:, 1]
    assert positives.mean() == pytest.approx(1.0, abs=4 * positives.std() / np.sqrt(30))
    assert negatives.mean() == pytest.approx(1.0, abs=4 * negatives.std() / np.sqrt(30))
    assert 0 < positives.std() < 0.1
    assert 0 < negatives.std() < 0.1
    assert found[:, 2].mean() == pytest.approx(500, rel=0.05)
    assert found[:, 3].mean() == pytest.approx(500, rel=0.2)
    assert found[:, 4].sum() == pytest.approx(found[:, 5].sum(), rel=0.02)


def test_no_cell_is_drawn_so_rarely_that_it_would_stand_for_more_than_a_million():
    limits = rows._limits(np.array([0.0, 1e-9, 0.5, 1.0, 7.0]))

    assert limits.tolist() == [1 << 12, 1 << 12, 1 << 31, (1 << 32) - 1, (1 << 32) - 1]


def test_enough_room_means_all_cells_once_with_weight_one():
    scores, labels = well_calibrated(400, 60, 0, 0.02)

    cells = rows._draw(labelled_logits(scores, labels), ("by_count",))

    assert (cells.weight[cells.positive == 1] == 1.0).all()
    assert (np.bincount(cells.rows, cells.positive, 400) == labels.sum(axis=1)).all()
    assert cells.weight.min() == 1.0


@pytest.mark.parametrize("share", [0.02, 1.0])
def test_a_block_of_which_more_is_drawn_than_there_was_room_for_is_drawn_again(share, monkeypatch):
    scores, labels = well_calibrated(2000, 60, 0, 0.02)
    monkeypatch.setattr(rows, "MOST_CELLS", int(share * 40 * labels.sum()))
    monkeypatch.setattr(logits, "LOOK_CELLS", 1 << 20)
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")

    cells = rows._draw(labelled_logits(scores, labels), ("by_count",))

    pairs = np.stack([cells.rows, cells.x], axis=1)
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert np.isin(cells.x.astype(np.float32), scores.astype(np.float32)).all()
    total = cells.weight[cells.positive == 0].sum()
    assert total == pytest.approx(labels.size - labels.sum(), rel=0.05)


def test_few_drawn_cells_give_about_the_same_layer(monkeypatch):
    scores, labels = competing(n_rows=8000)
    whole = layer_of(scores, labels)

    monkeypatch.setattr(rows, "MOST_CELLS", 4000)
    few = layer_of(scores, labels)

    assert few.coefficients != whole.coefficients
    assert few.coefficients == pytest.approx(whole.coefficients, abs=0.15)
    assert few.slope == pytest.approx(whole.slope, abs=0.1)
    assert few.gain == pytest.approx(whole.gain, abs=4 * few.standard_error)


def test_of_many_rows_evenly_spaced_ones_are_looked_at(monkeypatch):
    scores, labels = competing(n_rows=1000)
    some = np.unique(np.linspace(0, 999, 300).astype(int))
    monkeypatch.setattr("calibrate.hierarchy.layers.rows_enough", lambda n_classes: 300)

    thinned = cal.HierarchicalScaling().fit(scores, labels).report_

    few = cal.HierarchicalScaling().fit(scores[some], labels[some]).report_
    assert some[[0, -1]].tolist() == [0, 999]
    assert thinned.row_layers == few.row_layers
    assert thinned.row_layers[0].on
    assert thinned.pooled.slope == few.pooled.slope
    assert (thinned.lines.level != few.lines.level).any()


def test_rows_are_enough_if_they_have_many_cells():
    assert rows.rows_enough(7900) == 4247
    assert rows.rows_enough(20_000) == 4096
    assert rows.rows_enough(2) == 1 << 24


@pytest.mark.parametrize("n_rows", [1, 3, 400])
def test_threads_share_the_cells_out_between_rows(n_rows):
    scores, labels = well_calibrated(n_rows, 30, 0, 0.2)
    cells, ranges = rows._draw(labelled_logits(scores, labels), ("by_count",)), []

    rows._over_rows(cells, lambda first, last: ranges.append((first, last)))

    ranges.sort()
    assert [first for first, _ in ranges] == [0, *(last for _, last in ranges[:-1])]
    assert ranges[-1][1] == len(cells.x)
    assert all(cells.rows[last - 1] < cells.rows[last] for _, last in ranges[:-1])
    sizes = np.diff(ranges, axis=1)
    assert sizes.min() > 0
    assert sizes.max() < len(cells.x) / 16 + 2 * 30


def test_keys_of_rows_do_not_depend_on_how_they_are_read():
    scores, _ = small()
    keys, again = np.empty(60, np.uint32), np.empty(60, np.uint32)

    row_keys(scores.view(np.int32), keys)
    row_keys(np.ascontiguousarray(scores[::-1, ::-1]).view(np.int32), again)

    assert keys.tolist() == again[::-1].tolist()
    assert len(set(keys.tolist())) == 60


@pytest.mark.parametrize("far", [1e4, 1e30])
def test_logits_however_large_leave_every_number_finite(far, one_thread):
    scores, labels = small(n_rows=20)
    scores = (scores * np.float32(far)).astype(np.float32)

    for gated in (True, False):
        layer = layer_of(scores, labels, gated=gated)

        numbers = [layer.slope, layer.intercept, *layer.coefficients, layer.gain]
        assert np.isfinite(numbers).all()
        assert layer.slope >= 0.05 - 1e-12


def test_labels_drawn_at_random_do_not_matter_for_the_base():
    scores, _ = small(n_rows=400)
    labels = drawn(0.5 * scores - 1.0, np.random.default_rng(0))

    against_raw, against_best = (
        layer_of(scores, labels, base=base) for base in (None, [-1.0, 0.5, 0.0])
    )

    assert against_raw.on
    assert not against_best.on
    assert against_raw.slope == pytest.approx(against_best.slope, abs=1e-4)
