import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import decision as decision_module
from calibrate import ops
from calibrate.data import logits as data_logits
from calibrate.decision import Decision
from calibrate.kernels.finite import ordered_range
from calibrate.kernels.pooled import count_all, count_few, highest_below
from calibrate.kernels.rows import highest, passing

LAW = settings(derandomize=True, deadline=None, max_examples=150)

cells = st.one_of(
    st.integers(-2, 2).map(float),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0000001, -np.inf, np.inf]),
    st.floats(width=32, allow_nan=False),
)


@st.composite
def blocks(draw):
    shape = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 7, 63, 64, 65, 130]))
    some = draw(st.lists(cells, min_size=1, max_size=40))
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).choice(np.array(some, np.float32), shape), seed


@LAW
@given(blocks())
def test_passing_is_the_comparison(case):
    scores, seed = case
    thresholds = np.random.default_rng(seed).choice(scores.ravel(), scores.shape[1])
    counts, out = np.empty(len(scores), np.int64), np.full(scores.size, -1, np.int32)

    found = passing(scores, thresholds, counts, out)

    expected = scores >= thresholds
    assert counts.tolist() == expected.sum(axis=1).tolist()
    assert out[:found].tolist() == np.nonzero(expected)[1].tolist()
    assert (out[found:] == -1).all()


def test_passing_counts_on_where_there_is_no_room():
    counts, out = np.empty(2, np.int64), np.full(3, -1, np.int32)

    assert passing(np.ones((2, 4), np.float32), np.zeros(4, np.float32), counts, out) == 8
    assert counts.tolist() == [4, 4]
    assert out.tolist() == [0, 1, 2]


@LAW
@given(blocks())
def test_highest_takes_what_the_slow_search_takes(case):
    scores, seed = case
    k = np.random.default_rng(seed).integers(0, scores.shape[1] + 1, len(scores))
    counts, out = np.empty(len(scores), np.int64), np.empty(int(k.sum()), np.int32)

    found = highest(scores.view(np.int32), k, counts, out)

    expected = [np.flatnonzero(naive.top_k(row, n)) for row, n in zip(scores, k, strict=True)]
    assert counts.tolist() == [len(row) for row in expected]
    assert out[:found].tolist() == [c for row in expected for c in row]


@LAW
@given(st.lists(cells, min_size=1, max_size=200), st.sampled_from([0, 8, 16]), st.data())
def test_keys_are_counted_as_the_order_of_the_floats_says(values, shift, data):
    scores = np.array(values, np.float32)
    places = np.array([ops.ordinal(score) for score in scores])
    first = (data.draw(st.sampled_from(places.tolist())) >> shift) - data.draw(st.integers(0, 3))
    n_keys = data.draw(st.integers(1, 1 << 12))

    inside = (places >> shift) - first
    inside = inside[(inside >= 0) & (inside < n_keys) & (scores > -np.inf)]
    expected = np.bincount(inside, minlength=n_keys).tolist()

    assert count_all(scores.view(np.int32), shift, first, n_keys)[:-1].tolist() == expected
    assert count_few(scores.view(np.int32), shift, first, n_keys)[:-1].tolist() == expected


@LAW
@given(st.lists(cells, min_size=1, max_size=200), cells)
def test_the_highest_below_is_found(values, limit):
    scores = np.array(values, np.float32)

    found = highest_below(scores.view(np.int32), ops.ordinal(np.float32(limit)))

    below = scores[scores < np.float32(limit)].max(initial=-np.inf)
    assert ops.from_ordinal(np.array(found))[()] == below


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_lies_at_the_ends_of_the_order(bad):
    finite = np.array([3.4e38, -3.4e38, 0.0, -0.0, 1e-45], np.float32)
    bits = np.append(finite, np.float32(bad)).view(np.int32)
    ends = ordered_range(np.array([np.inf, -np.inf], np.float32).view(np.int32))

    low, high = ordered_range(finite.view(np.int32))
    assert ends[0] < low < high < ends[1]
    low, high = ordered_range(bits)
    assert low <= ends[0] or high >= ends[1]


@pytest.mark.parametrize(
    "rule",
    [
        ops.Threshold(np.linspace(-1, 1, 70)),
        ops.Threshold(np.array(0.25)),
        ops.Threshold(np.append(np.full(69, -9.0), np.inf)),
        ops.TopK(3),
        ops.ExpectedCountTopK(0.3, 1, 50),
        ops.ModeTopK(1, 50),
        ops.LargestGap(),
        ops.WeightedTopK(4, np.linspace(0, 3, 70), np.linspace(0.5, -0.5, 70)),
    ],
    ids=lambda rule: rule.wire_name,
)
@pytest.mark.parametrize("n_steps", [0, 1, 2])
def test_many_rows_are_decided_by_kernels_as_few_are_without(rule, n_steps, monkeypatch):
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(500, 70)), 1).astype(np.float32)
    scores[::7, ::5] = -np.inf
    steps = (ops.Affine(np.full(70, 0.5), np.linspace(-1, 1, 70)),) * n_steps
    decision = Decision(steps, rule, 70)
    expected = decision.predict(scores, nan="negative")
    monkeypatch.setattr(decision_module, "_MANY_CELLS", 1)
    monkeypatch.setattr(data_logits, "LOOK_CELLS", 300)
    monkeypatch.setattr(data_logits, "_BATCH", 3)

    found = decision.predict(scores, nan="negative")

    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.nnz > 0
