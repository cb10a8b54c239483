"""The kernels that try every cut without a sort, beside the slow form of each."""

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.kernels import lattice
from calibrate.kernels.midway import move_midway, settle
from calibrate.kernels.sweep import curves_at_positives

LAW = settings(derandomize=True, deadline=None, max_examples=150)
LOWEST = np.float32(naive.LOWEST)

cells = st.one_of(
    st.integers(-2, 2).map(float),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 1.0000001, 0.99999994, -np.inf]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@st.composite
def classes(draw):
    """Lines of scores with ties and neighbours, and which are positive: some none, some all."""
    n_lines, n_rows = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 5, 9, 70]))
    some = draw(st.lists(cells, min_size=1, max_size=40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lines = rng.choice(np.array(some, np.float32), (n_lines, n_rows))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    return lines, rng.random(lines.shape) < share


def turns_of(lines, positive):
    """What the kernels are given: cuts, tp, fp, indptr, length."""
    n_lines, n_rows = lines.shape
    indptr = np.concatenate([[0], np.cumsum(positive.sum(axis=1))])
    own = np.concatenate([np.sort(s[p]) for s, p in zip(lines, positive, strict=True)])
    size = int(indptr[-1]) + n_lines
    cuts, tp, fp = np.empty(size, np.float32), np.empty(size, np.int64), np.empty(size, np.int64)
    length, start = np.empty(n_lines, np.int64), n_rows * np.arange(n_lines)
    curves_at_positives(
        lines.reshape(-1), start, start + n_rows, np.full(n_lines, -np.inf, np.float32), indptr,
        own, 0, n_lines, False, LOWEST, cuts, tp, fp, length,
    )  # fmt: skip
    return cuts, tp, fp, indptr, length


def ends_of(lines, turns):
    ends = np.empty(len(lines), np.int64)
    lattice.count_points(lines, turns[1], turns[3], turns[4], ends)
    return ends


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (15, 17), (40, 33), (5, 64)])
@pytest.mark.parametrize("column", [0, 3])
def test_columns_are_laid_down_as_lines(shape, column):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(shape[0], column + shape[1] + 2)).astype(np.float32)
    lines = np.zeros((shape[1], shape[0] + 9), np.float32)

    lattice.lay_down(scores, column, 4, lines)

    assert (lines[:, 4 : 4 + shape[0]] == scores[:, column : column + shape[1]].T).all()
    assert not lines[:, :4].any()
    assert not lines[:, 4 + shape[0] :].any()


@LAW
@given(classes(), st.integers(1, 40))
def test_the_points_are_those_of_the_slow_walk_in_whatever_parts(case, height):
    lines, positive = case
    turns = turns_of(lines, positive)
    walks = [naive.path_points(s, p) for s, p in zip(lines, positive, strict=True)]

    ends = ends_of(lines, turns)
    found = []
    for begin in range(0, ends[-1], height):
        parts = [np.empty(min(height, ends[-1] - begin)) for _ in range(4)]
        lattice.points(*turns[1:], ends, lines.shape[1], begin, *parts)
        found += zip(*(part.tolist() for part in parts), strict=True)

    assert ends.tolist() == np.cumsum([len(walk) for walk in walks]).tolist()
    assert found == [
        (tp, fp, n - tp, lines.shape[1] - n - fp)
        for walk, n in zip(walks, positive.sum(axis=1).tolist(), strict=True)
        for tp, fp in walk
    ]


@LAW
@given(
    st.lists(st.integers(1, 150), min_size=1, max_size=5),
    st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0, np.nan, np.inf, -np.inf]), min_size=1),
    st.integers(0, 2**32 - 1),
    st.integers(1, 200),
)
def test_the_first_highest_point_of_each_line_is_kept_and_nan_never_is(lengths, some, seed, height):
    ends = np.cumsum(lengths)
    values = np.random.default_rng(seed).choice(np.array(some), ends[-1])
    best, point = np.full(len(ends), -np.inf), np.zeros(len(ends), np.int64)

    for begin in range(0, ends[-1], height):
        lattice.judge(values[begin : begin + height], ends, begin, best, point)

    for c, own in enumerate(np.split(values, ends[:-1])):
        plain = [-np.inf if np.isnan(value) else value for value in own.tolist()]
        assert best[c] == max(plain)
        assert point[c] == plain.index(max(plain))


@LAW
@given(classes())
def test_each_point_is_settled_at_its_cut_or_found_to_have_none(case):
    lines, positive = case
    turns = turns_of(lines, positive)
    cuts = [
        {(tp, fp): threshold for threshold, tp, fp, _, _ in naive.every_cut(s, p)}
        for s, p in zip(lines, positive, strict=True)
    ]
    walks = [naive.path_points(s, p) for s, p in zip(lines, positive, strict=True)]

    for place in range(max(map(len, walks))):
        point = np.array([min(place, len(walk) - 1) for walk in walks])
        threshold = np.zeros(len(lines), np.float32)
        tp, fp, level = (np.zeros(len(lines), np.int64) for _ in range(3))
        lattice.levels(*turns[2:], point, level)
        settle(lines, *turns, LOWEST, point, level, threshold, tp, fp)

        for c, walk in enumerate(walks):
            assert (tp[c], fp[c]) == walk[point[c]]
            expected = cuts[c].get(walk[point[c]], np.float32(np.nan))
            np.testing.assert_equal(threshold[c], expected)


def test_infinite_scores_without_a_label_lie_above_the_first_turn():
    lines = np.array([[np.inf, 2.0, np.inf, 1.0]], np.float32)
    turns = turns_of(lines, np.array([[False, False, False, True]]))
    threshold, tp, fp = np.zeros(1, np.float32), np.zeros(1, np.int64), np.zeros(1, np.int64)

    found = []
    for point in range(4):
        level = np.array([0])
        settle(lines, *turns, LOWEST, np.array([point]), level, threshold, tp, fp)
        found.append((threshold[0], tp[0], fp[0]))

    # the two infinite scores go by together
    np.testing.assert_equal(found[1][0], np.float32(np.nan))
    assert found[0] == (np.inf, 0, 0)
    assert found[2] == (np.inf, 0, 2)
    assert found[3] == (1.5, 0, 3)


@LAW
@given(classes(), st.sampled_from([-np.inf, -1.0, 0.0, 1.0]))
def test_a_threshold_moves_midway_to_the_next_lower_score(case, floor):
    lines, _ = case
    kept = [line[line >= floor] for line in lines]
    stop = np.cumsum([len(line) for line in kept])
    start = stop - [len(line) for line in kept]
    floors = np.full(len(lines), floor, np.float32)

    for place in range(lines.shape[1] + 1):
        chosen = [np.append(line, np.inf)[min(place, len(line))] for line in kept]
        threshold = np.array(chosen, np.float32)
        move_midway(np.concatenate(kept), start, stop, floors, LOWEST, threshold)

        for found, cut, line in zip(threshold, chosen, kept, strict=True):
            lower = line[line < cut].max(initial=-np.inf)
            expected = naive.midway(None if lower == -np.inf else lower, cut)
            if lower == -np.inf and floor > -np.inf:
                expected = np.float32(np.nan)
            np.testing.assert_equal(found, np.float32(np.inf) if cut == np.inf else expected)
