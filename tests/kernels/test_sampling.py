import naive
import naive_layers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from calibrate.kernels.sampling import draw_cells, row_gains, row_keys, weighted_logistic

LAW = settings(derandomize=True, deadline=None, max_examples=60)

EDGES = np.array([-4.0, -1.0, 2.0], np.float32)
ALL = np.uint32(0xFFFFFFFF)

numbers = st.one_of(
    st.sampled_from([0.0, -0.0, -1.0, -1.0000001, 2.0, 1e-45, 1e4, -1e4, 3.4e38, -np.inf]),
    st.floats(-8, 4, width=32),
)


@st.composite
def blocks(draw):
    """Scores with ties, and labels: empty and full rows among them."""
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    some = draw(st.lists(numbers, min_size=1, max_size=20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.random(shape) < rng.choice([0.0, 0.2, 0.7, 1.0], (shape[0], 1))
    return rng.choice(np.array(some, np.float32), shape), labels


def keys_of(scores):
    keys = np.empty(len(scores), np.uint32)
    row_keys(scores.view(np.int32), keys)
    return keys


def draw(scores, labels, keys, limits, positive_limit, room=None):
    """How many cells were drawn, and ``(score, row, kind)`` of as many as there is room for."""
    rows = sparse.csr_array(labels)
    room = scores.size if room is None else room
    # a little more than there is room for: nothing may be written there
    score, row = np.full(room + 3, np.nan, np.float32), np.full(room + 3, -1, np.int32)
    kind = np.full(room + 3, 99, np.uint8)
    found = draw_cells(
        scores, scores.view(np.int32), keys, rows.indptr.astype(np.int64),
        rows.indices.astype(np.int32), EDGES, np.array(limits, np.uint32),
        np.uint32(positive_limit), score[:room], row[:room], kind[:room],
    )  # fmt: skip
    filled = min(found, room)
    assert (row[filled:] == -1).all()
    assert (kind[filled:] == 99).all()
    assert np.isnan(score[filled:]).all()
    return found, [
        (float(s), int(i), int(k))
        for s, i, k in zip(score[:filled], row[:filled], kind[:filled], strict=True)
    ]


# drawing


@LAW
@given(blocks())
def test_keys_are_those_of_plain_whole_numbers(case):
    scores, _ = case

    keys = keys_of(scores)

    assert keys.tolist() == [naive_layers.row_key(row) for row in scores.view(np.int32)]


@LAW
@given(blocks(), st.lists(st.integers(0, 2**32 - 1), min_size=5, max_size=5))
def test_what_is_drawn_is_what_the_slow_loop_draws(case, limits):
    scores, labels = case
    keys = keys_of(scores)

    found, cells = draw(scores, labels, keys, limits[:4], limits[4])

    expected = naive_layers.drawn_cells(scores, labels, keys, EDGES, limits[:4], limits[4])
    assert cells == expected
    assert found == len(expected)


@LAW
@given(blocks())
def test_with_every_limit_at_its_highest_each_scored_cell_is_drawn_once(case):
    scores, labels = case

    _, cells = draw(scores, labels, keys_of(scores), [ALL] * 4, ALL)

    scored = scores > -np.inf
    assert sorted((s, i) for s, i, _ in cells) == sorted(
        (float(scores[i, c]), int(i)) for i, c in np.argwhere(scored)
    )
    assert sum(kind == 4 for _, _, kind in cells) == (scored & labels).sum()


@LAW
@given(blocks(), st.lists(st.integers(0, 2**32 - 1), min_size=5, max_size=5), st.randoms())
def test_the_order_of_rows_and_of_classes_draws_no_other_cells(case, limits, random):
    scores, labels = case
    rows, classes = list(range(len(scores))), list(range(scores.shape[1]))
    random.shuffle(rows)
    random.shuffle(classes)
    moved, moved_labels = scores[rows][:, classes].copy(), labels[rows][:, classes]

    _, cells = draw(scores, labels, keys_of(scores), limits[:4], limits[4])
    _, again = draw(moved, moved_labels, keys_of(moved), limits[:4], limits[4])

    assert sorted((s, rows[i], k) for s, i, k in again) == sorted(cells)


def test_where_there_is_no_room_the_count_goes_on():
    scores, labels = np.zeros((3, 4), np.float32), np.eye(3, 4, dtype=bool)

    found, cells = draw(scores, labels, keys_of(scores), [ALL] * 4, ALL, room=5)

    assert found == 12
    assert cells == [(0.0, 0, 4), (0.0, 0, 2), (0.0, 0, 2), (0.0, 0, 2), (0.0, 1, 2)]


def test_a_score_on_an_edge_belongs_to_the_band_above_it():
    below = np.nextafter(EDGES, np.float32(-np.inf))
    scores = np.concatenate([below, EDGES])[None, :]

    _, cells = draw(scores, np.zeros((1, 6), bool), keys_of(scores), [ALL] * 4, 0)

    assert [kind for _, _, kind in cells] == [0, 1, 2, 1, 2, 3]


def test_keys_and_cells_are_spread_evenly():
    rng = np.random.default_rng(0)
    # scores near each other: their bits differ in the last places alone
    scores = (1 + 1e-4 * rng.random((4000, 30))).astype(np.float32)
    keys = keys_of(scores)
    share = 0.05
    limit = int(share * 2**32)

    found, cells = draw(scores, np.zeros(scores.shape, bool), keys, [limit] * 4, 0)

    in_folds = np.bincount(keys % 5, minlength=5) / len(keys)
    assert in_folds == pytest.approx(np.full(5, 0.2), abs=4 * np.sqrt(0.16 / 4000))
    assert found / scores.size == pytest.approx(share, rel=0.05)
    of_rows = np.bincount([i for _, i, _ in cells], minlength=4000)
    assert of_rows.var() == pytest.approx(30 * share * (1 - share), rel=0.15)


# loss and derivatives


def random_cells(n_cells, n_rows=7, n_terms=1, seed=0, far=1.0):
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.integers(0, n_rows, n_cells)).astype(np.int32)
    return {
        "x": far * rng.normal(size=n_cells),
        "rows": rows,
        "terms": rng.normal(size=(n_rows, n_terms)),
        "weight": rng.random(n_cells) * 5,
        "positive": (rng.random(n_cells) < 0.4).astype(np.uint8),
        "fold": (np.arange(n_rows) % 5).astype(np.uint8),
    }


def sums_of(cells, left_out, at, first=0, last=None):
    sums, k = np.full(1 + len(at) + len(at) ** 2, -9.0), len(at)
    last = len(cells["x"]) if last is None else last
    weighted_logistic(*cells.values(), left_out, np.array(at), first, last, sums)
    second = sums[1 + k :].reshape(k, k)
    return sums[0], sums[1 : 1 + k], np.tril(second) + np.tril(second, -1).T


def features_of(cells):
    x = cells["x"]
    return np.column_stack([np.ones(len(x)), x, cells["terms"][cells["rows"]]])


@LAW
@given(
    st.integers(0, 40), st.integers(1, 2), st.integers(0, 10**6), st.integers(0, 5),
    st.sampled_from([1.0, 30.0, 1e4]),
)  # fmt: skip
def test_loss_and_derivatives_are_those_of_the_cells_one_by_one(n, n_terms, seed, left_out, far):
    cells = random_cells(n, n_terms=n_terms, seed=seed, far=far)
    at = np.random.default_rng(seed + 1).normal(size=2 + n_terms)

    value, first, second = sums_of(cells, left_out, at)

    here = cells["fold"][cells["rows"]] != left_out
    features, weight, t = features_of(cells)[here], cells["weight"][here], cells["positive"][here]
    p = np.array([naive.sigmoid(eta) for eta in features @ at])
    against = np.array([naive.sigmoid(-eta) for eta in features @ at])
    assert value == pytest.approx(naive.log_loss(features @ at, t, weight), rel=1e-9, abs=1e-12)
    residual = weight * (p - t)
    size = abs(residual) @ abs(features)
    np.testing.assert_allclose(first, features.T @ residual, atol=1e-12 + 1e-9 * size.max())
    expected = features.T @ ((weight * p * against)[:, None] * features)
    np.testing.assert_allclose(second, expected, rtol=1e-7, atol=1e-12 + 1e-9 * abs(expected).max())


def test_ranges_of_cells_add_up():
    cells, at = random_cells(30), [0.2, 0.7, -0.4]

    whole = sums_of(cells, 5, at)
    parts = [sums_of(cells, 5, at, first, last) for first, last in ((0, 11), (11, 11), (11, 30))]

    for all_of_it, *some in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(np.sum(some, axis=0), all_of_it, rtol=1e-12)


@LAW
@given(st.integers(1, 40), st.integers(0, 2), st.integers(0, 10**6), st.sampled_from([1.0, 1e4]))
def test_gains_are_the_falls_of_each_rows_loss(n, n_terms, seed, far):
    cells = random_cells(n, n_terms=n_terms, seed=seed, far=far)
    rng = np.random.default_rng(seed + 1)
    base, lines = rng.normal(size=2 + n_terms), rng.normal(size=(5, 2 + n_terms))
    gains, features = np.full(7, 1.0), features_of(cells)

    row_gains(*cells.values(), base, lines, 0, n, gains)

    expected = np.full(7, 1.0)
    for j, row in enumerate(cells["rows"]):
        here, t = features[j : j + 1], cells["positive"][j : j + 1]
        before, after = (
            naive.log_loss(here @ line, t, cells["weight"][j : j + 1])
            for line in (base, lines[cells["fold"][row]])
        )
        expected[row] += before - after
    np.testing.assert_allclose(gains, expected, rtol=1e-9, atol=1e-9 * far)


def test_gains_are_those_of_the_cells_of_the_range():
    cells, base = random_cells(30), np.array([0.0, 1.0, 0.0])
    lines = np.tile([0.1, 0.8, -0.3], (5, 1))
    whole, parts = np.zeros(7), np.zeros(7)

    row_gains(*cells.values(), base, lines, 0, 30, whole)
    for first, last in ((0, 12), (12, 30)):
        row_gains(*cells.values(), base, lines, first, last, parts)

    assert parts.tolist() == pytest.approx(whole.tolist(), abs=1e-12)
    assert (whole != 0).sum() > 4
