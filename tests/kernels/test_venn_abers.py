import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.kernels.venn_abers import rates_with_one_more, thin_steps

LAW = settings(derandomize=True, deadline=None, max_examples=200)

groups = st.lists(
    st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=9
)


def rates(n, y):
    cells, hits = np.empty(len(n) + 1, int), np.empty(len(n) + 1, int)
    rates_with_one_more(np.array(n, dtype=int), np.array(y, dtype=int), cells, hits)
    return cells, hits


@LAW
@given(groups)
def test_one_more_positive_at_each_place_has_the_rate_of_a_fit_with_it(counts):
    n, y = [c[0] for c in counts], [c[1] for c in counts]
    scores = [float(i) for i, c in enumerate(counts) for _ in range(c[0])]
    labels = [j < c[1] for c in counts for j in range(c[0])]

    cells, hits = rates(n, y)

    for place in range(len(n) + 1):
        for new in (place - 0.5, float(place)):
            _, expected = naive.venn_abers(scores, labels, new)
            assert (hits[place], cells[place]) == pytest.approx(
                (expected * cells[place], cells[place])
            )
            assert hits[place] * expected.denominator == cells[place] * expected.numerator


def test_a_long_run_is_fitted_as_a_short_one():
    rng = np.random.default_rng(0)
    n = rng.integers(1, 4, size=300)
    y = rng.binomial(n, np.linspace(0.02, 0.9, 300))

    cells, hits = rates(n, y)

    assert (np.diff(hits / cells) >= 0).all()
    for place in range(0, 301, 25):
        more_n, more_y = np.insert(n, place, 1), np.insert(y, place, 1)
        ups, downs = np.cumsum(np.append(0, more_y)), np.cumsum(np.append(0, more_n))
        best = max(
            min(
                (ups[b] - ups[a]) / (downs[b] - downs[a]) for b in range(place + 1, len(ups))
            )
            for a in range(place + 1)
        )  # fmt: skip
        assert hits[place] / cells[place] == pytest.approx(best, rel=1e-12)


def test_without_scores_one_more_positive_stands_alone():
    cells, hits = rates([], [])

    assert (cells.tolist(), hits.tolist()) == ([1], [1])


@LAW
@given(
    st.lists(st.sampled_from([0.0, 0.01, 0.3, 2.0]), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.02, 0.5]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_thinner_staircase_stays_within_the_resolution(rises, resolution, share):
    edge, value = np.arange(len(rises), dtype=np.float32), np.cumsum(rises)
    kept_edge, kept_value = np.empty_like(edge), np.empty_like(value)

    kept = thin_steps(edge, value, resolution, share, kept_edge, kept_value)

    drawn = kept_value[:kept][np.searchsorted(kept_edge[:kept], edge, side="right") - 1]
    assert (np.diff(kept_edge[:kept]) > 0).all()
    assert (np.diff(kept_value[:kept]) >= 0).all()
    assert (drawn - value <= share * resolution + 1e-12).all()
    assert (value - drawn <= (1 - share) * resolution + 1e-12).all()
    assert kept <= 1 + np.sum(np.diff(value) > 0)
    if resolution == 0.0:
        assert kept == len(np.unique(value))
