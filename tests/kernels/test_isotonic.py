import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from calibrate.kernels.isotonic import group_ties, pool_violators

LAW = settings(derandomize=True, deadline=None, max_examples=150)

NEXT = np.nextafter(np.float32(1), np.float32(2))
scores = st.one_of(
    st.integers(-4, 4).map(lambda i: i / 2),
    st.sampled_from([1.0, float(NEXT), 0.0, -0.0, 1e-45, 3e38, -3e38, -np.inf]),
)
cells = st.lists(st.tuples(scores, st.booleans()), min_size=1, max_size=14)


def grouped(scores, labels):
    ordered = np.sort(np.array(scores, dtype=np.float32))
    hits = np.sort(np.array(scores, dtype=np.float32)[np.array(labels, dtype=bool)])
    score, n, y = np.empty(len(ordered)), np.empty(len(ordered), int), np.empty(len(ordered), int)
    found = group_ties(ordered, hits, score, n, y)
    return score[:found], n[:found], y[:found]


def pooled(score, n, y):
    """Rate of each score, and the blocks as (first, last, cells, hits, mean)."""
    stop, held, hits = (np.empty(len(score), int) for _ in range(3))
    mean = np.empty(len(score))
    count = pool_violators(score, n, y, stop, held, hits, mean)
    starts = [0, *stop[: count - 1]]
    rates = np.repeat(hits[:count] / held[:count], np.diff([0, *stop[:count]]))
    parts = zip(starts, stop[:count] - 1, held, hits, mean, strict=False)
    return rates, list(parts)[:count]


@LAW
@given(cells)
def test_equal_scores_are_one_group_and_cells_without_a_score_none(rows):
    found = grouped(*zip(*rows, strict=True))

    expected = naive.ties(np.float32([s for s, _ in rows]), [y for _, y in rows])
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


@LAW
@given(cells)
def test_rates_are_the_isotonic_ones_and_the_slopes_of_the_convex_minorant(rows):
    groups = naive.ties(np.float32([s for s, _ in rows]), [y for _, y in rows])
    if not groups:
        return

    rates, _ = pooled(*(np.array(part) for part in zip(*groups, strict=True)))

    assert rates.tolist() == [float(rate) for rate in naive.isotonic(groups)]
    assert rates.tolist() == [float(slope) for slope in naive.minorant_slopes(groups)]


@LAW
@given(cells)
def test_blocks_hold_all_cells_and_their_rates_rise(rows):
    score, n, y = grouped(*zip(*rows, strict=True))
    if len(score) == 0:
        return

    rates, blocks = pooled(score, n, y)

    assert sum(held for _, _, held, _, _ in blocks) == n.sum()
    assert np.sum(n * rates) == pytest.approx(y.sum(), rel=1e-12)
    assert rates.min() >= (y / n).min()
    assert rates.max() <= (y / n).max()
    assert (np.diff([hits / held for _, _, held, hits, _ in blocks]) > 0).all()
    for first, last, held, hits, mean in blocks:
        part = slice(first, last + 1)
        assert (held, hits) == (n[part].sum(), y[part].sum())
        assert mean == pytest.approx(np.sum(n[part] * score[part] / held), rel=1e-12, abs=1e-12)
        assert score[first] <= mean <= score[last]


@LAW
@given(cells)
def test_fitting_the_fit_changes_nothing(rows):
    score, n, y = grouped(*zip(*rows, strict=True))
    if len(score) == 0:
        return

    rates, blocks = pooled(score, n, y)
    # each block as cells of its own rate: whole numbers stay whole over the product of the sizes
    held = np.array([b[2] for b in blocks])
    hits = np.array([b[3] for b in blocks])
    again, _ = pooled(np.arange(len(blocks)) * 1.0, held, hits)

    assert np.repeat(again, [b[1] - b[0] + 1 for b in blocks]).tolist() == rates.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_those_of_scikit_learn(seed):
    """Target 28."""
    rng = np.random.default_rng(seed)
    z = np.round(rng.normal(size=400) * 8) / 8 if seed % 2 else rng.normal(size=400)
    z = z.astype(np.float32)
    labels = rng.random(400) < 1 / (1 + np.exp(-z))

    score, n, y = grouped(z, labels)
    rates, _ = pooled(score, n, y)

    reference = IsotonicRegression(out_of_bounds="clip").fit(z.astype(np.float64), labels)
    np.testing.assert_allclose(rates, reference.predict(score), rtol=0, atol=1e-12)


def test_counts_of_a_large_matrix_do_not_overflow():
    n = np.array([6 * 10**8, 6 * 10**8])
    y = np.array([10**8, 10**8 - 1])

    rates, blocks = pooled(np.array([0.0, 1.0]), n, y)

    assert len(blocks) == 1
    assert rates[0] == (2 * 10**8 - 1) / (12 * 10**8)


@pytest.mark.parametrize("seed", range(3))
def test_f1_of_the_fixed_point_is_that_of_the_sweep(seed):
    """Target 14: rates and F = 2 sum of the rates above F / 2 reach what all cuts reach."""
    rng = np.random.default_rng(seed)
    for _ in range(100):
        n_rows = int(rng.integers(2, 60))
        z = np.round(rng.normal(size=n_rows) * 3) / 3 if rng.random() < 0.5 else (
            rng.normal(size=n_rows)
        )  # fmt: skip
        labels = rng.random(n_rows) < 1 / (1 + np.exp(1 - 1.5 * z))
        labels[rng.integers(n_rows)] = True

        score, n, y = grouped(z, labels)
        rates, _ = pooled(score, n, y)
        reached, before = 0.0, -1.0
        while reached > before:
            chosen = rates >= reached / 2
            before = reached
            reached = 2 * np.sum((n * rates)[chosen]) / (n[chosen].sum() + y.sum())

        best, _ = naive.best_cut(np.float32(z), labels, naive.f_beta(1))
        assert reached == pytest.approx(best, rel=1e-12)
