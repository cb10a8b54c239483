import warnings

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from calibrate import IsotonicCalibration, PerClassThreshold, metrics
from calibrate.data import labelled_logits
from calibrate.statistics import Evidence

pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")

LAW = settings(derandomize=True, deadline=None, max_examples=80)


def drawn(n_rows=600, n_classes=4, seed=0, *, ties=False):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.linspace(0.1, 0.5, n_classes)
    scores = rng.normal(size=labels.shape) + 1.2 * labels
    if ties:
        scores = np.round(scores * 4) / 4
    return scores.astype(np.float32), labels


def fit(scores, labels, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return IsotonicCalibration(**{"min_positives": 1, **options}).fit(scores, labels)


def sigmoids(calibrated):
    return 1 / (1 + np.exp(-calibrated.astype(float)))


def knots_of(op, c):
    part = slice(op.indptr[c], op.indptr[c + 1])
    return op.knots[part], op.values[part]


def blocks_of(scores, labels):
    """(rate, cells, lowest, highest, mean) of each block, from the naive fit.

    A rate of 0 or 1 is that of Laplace; the block is one with the next if that is beyond.
    """
    groups = naive.ties(scores, labels)
    blocks = []
    for (score, n, y), rate in zip(groups, naive.isotonic(groups), strict=True):
        if not blocks or blocks[-1][0] != rate:
            blocks.append([rate, [], 0])
        blocks[-1][1].extend([score] * n)
        blocks[-1][2] += y

    def rate_of(block):
        n, y = len(block[1]), block[2]
        return {0: 1 / (n + 2), n: (n + 1) / (n + 2)}.get(y, y / n)

    for lower in (len(blocks) - 2, 0):
        while len(blocks) > 1 and 0 <= lower < len(blocks) - 1 and (
            blocks[lower + bool(lower)][2] in (0, len(blocks[lower + bool(lower)][1]))
        ) and rate_of(blocks[lower]) >= rate_of(blocks[lower + 1]):  # fmt: skip
            _, more, hits = blocks.pop(lower + 1)
            blocks[lower][1].extend(more)
            blocks[lower][2] += hits
            lower = min(lower, len(blocks) - 2)
    return [(rate_of(b), len(b[1]), min(b[1]), max(b[1]), sum(b[1]) / len(b[1])) for b in blocks]


@pytest.mark.parametrize("ties", [False, True])
def test_at_the_scores_it_is_scikit_learn_but_for_rates_of_zero_and_one(ties):
    """Target 28."""
    scores, labels = drawn(ties=ties)

    p = sigmoids(fit(scores, labels).transform(scores))

    for c in range(4):
        z = scores[:, c].astype(float)
        reference = IsotonicRegression(out_of_bounds="clip").fit(z, labels[:, c]).predict(z)
        low, high = p[reference == 0, c].max(initial=0), p[reference == 1, c].min(initial=1)
        inner = (p[:, c] > low + 1e-6) & (p[:, c] < high - 1e-6)
        assert inner.sum() > 300
        np.testing.assert_allclose(p[inner, c], reference[inner], atol=2e-7)
        assert (p[reference == 0, c] <= p[inner, c].min() + 1e-6).all()
        assert (p[reference == 1, c] >= p[inner, c].max() - 1e-6).all()


def test_between_the_scores_it_stays_between_the_rates_and_beyond_them_it_is_constant():
    scores, labels = drawn(n_rows=80)
    new = np.linspace(-6, 6, 2001, dtype=np.float32)

    p = sigmoids(fit(scores, labels).transform(np.repeat(new[:, None], 4, axis=1)))

    for c in range(4):
        blocks = blocks_of(scores[:, c], labels[:, c])
        rates = [b[0] for b in blocks]
        edges = [edge for b in blocks for edge in b[2:4]]
        low = np.array([rates[0], *np.repeat(rates, 2)])[np.searchsorted(edges, new, "right")]
        high = np.array([*np.repeat(rates, 2), rates[-1]])[np.searchsorted(edges, new, "left")]
        assert (p[:, c] >= low - 1e-6).all()
        assert (p[:, c] <= high + 1e-6).all()


rows_of_one = st.lists(
    st.tuples(
        st.one_of(
            st.integers(-3, 3).map(float),
            st.sampled_from([1.0000001, -0.0, 1e-45, 3e38, -3e38, -np.inf]),
        ),
        st.booleans(),
    ),
    min_size=2,
    max_size=12,
)


@LAW
@given(rows_of_one, st.booleans())
def test_each_block_has_its_rate_where_it_should(rows, centered):
    scores, labels = np.float32([[z] for z, _ in rows]), np.array([[y] for _, y in rows])
    scored = scores[:, 0] > -np.inf
    if not labels.any() or labels[scored].all() or not labels[scored].any():
        return
    fitted = IsotonicCalibration(centered=centered, min_positives=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(scores, labels, nan="negative")

    blocks = blocks_of(scores[:, 0], labels[:, 0])
    rates = [b[0] for b in blocks]
    for rate, (_, _, lowest, highest, mean) in zip(rates, blocks, strict=True):
        for at in [mean] if centered else [lowest, highest]:
            value = fitted.op_.apply(np.float32([[at]]))[0, 0]
            assert value == pytest.approx(naive.logit(rate), abs=1e-5)
    assert np.isfinite(fitted.transform(scores, nan="negative")[scored]).all()


@LAW
@given(rows_of_one, st.booleans())
def test_any_rows_give_a_map_that_never_falls(rows, per_class):
    scores, labels = np.float32([[z, z] for z, _ in rows]), np.array([[y, 1 - y] for _, y in rows])

    fitted = IsotonicCalibration(per_class=per_class, min_positives=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(scores, labels, nan="negative")

    mapped = fitted.transform(np.sort(scores, axis=0), nan="negative")
    for column in mapped.T:
        scored = column[column > -np.inf]
        assert (np.diff(scored) >= 0).all()
        assert np.isfinite(scored).all()


def test_the_fit_of_the_fit_is_the_fit():
    scores, labels = drawn()
    first = fit(scores, labels)
    calibrated = first.transform(scores)

    again = fit(calibrated, labels).transform(calibrated)

    assert again == pytest.approx(calibrated, abs=1e-5)


def test_centred_blocks_lie_at_their_mean_and_ties_are_left_at_both_ends_alone():
    """Oron and Flournoy (2017), but straight between logits."""
    scores, labels = drawn(n_rows=120)

    fitted = fit(scores, labels, centered=True)

    for c in range(4):
        blocks = blocks_of(scores[:, c], labels[:, c])
        rates = [b[0] for b in blocks]
        middles = [b[4] for b in blocks]
        expected = np.interp(scores[:, c], middles, [naive.logit(rate) for rate in rates])
        assert fitted.transform(scores)[:, c] == pytest.approx(expected, abs=1e-4)


def test_probabilities_add_up_to_the_positives_but_for_the_outermost_blocks():
    scores, labels = drawn(n_rows=2000)

    p = sigmoids(fit(scores, labels).transform(scores))

    assert p.sum(axis=0) == pytest.approx(labels.sum(axis=0), abs=2.0)
    for c in range(4):
        blocks = blocks_of(scores[:200, c], labels[:200, c])
        # the rates of Laplace are of no whole number of positives
        inner = [b for b in blocks if abs(b[0] * b[1] - round(b[0] * b[1])) < 1e-9]
        some = fit(scores[:200], labels[:200])
        z = scores[:200, c]
        chosen = (z >= inner[0][2]) & (z <= inner[-1][3])
        total = sigmoids(some.transform(scores[:200]))[chosen, c].sum()
        assert total == pytest.approx(labels[:200, c][chosen].sum(), abs=1e-4)


def test_a_class_of_few_takes_the_map_of_all_cells_and_is_listed():
    scores, labels = drawn(ties=True)
    labels[:, 1] = np.arange(600) < 5
    labels[:, 2] = np.arange(600) >= 5

    with pytest.warns(UserWarning, match="2 of 4 classes have fewer than 30 positives or neg"):
        fitted = IsotonicCalibration(min_positives=30).fit(scores, labels)

    pooled = IsotonicCalibration(per_class=False).fit(scores, labels).op_
    assert [(f.code, f.classes) for f in fitted.findings_] == [("pooled", (1, 2))]
    for c in (1, 2):
        assert fitted.op_.columns(c, c + 1).same_as(pooled)
    assert not fitted.op_.columns(0, 1).same_as(pooled)


def test_where_all_classes_are_of_few_there_is_one_map():
    scores, labels = drawn()

    fitted = fit(scores, labels, min_positives=1000)

    assert fitted.op_.n_classes is None
    assert fitted.findings_[0].classes == (0, 1, 2, 3)
    pooled = IsotonicCalibration(per_class=False).fit(scores, labels).op_
    assert fitted.op_.same_as(pooled)


def test_all_cells_together_are_fitted_as_one_class():
    scores, labels = drawn(n_rows=150, n_classes=3, ties=True)
    scores += np.float32(0.125)

    p = sigmoids(fit(scores, labels, per_class=False).transform(scores))

    blocks = blocks_of(scores.reshape(-1), labels.reshape(-1))
    rates = [b[0] for b in blocks]
    for rate, (_, cells, lowest, highest, _) in zip(rates, blocks, strict=True):
        within = (scores >= lowest) & (scores <= highest)
        assert within.sum() == cells
        assert p[within] == pytest.approx(rate, abs=1e-6)


def test_a_class_whose_scores_say_nothing_gets_its_frequency_and_is_listed():
    scores, labels = drawn()
    scores[:, 2] = -scores[:, 2] - 20 * labels[:, 2]

    fitted = fit(scores, labels)

    assert [(f.code, f.classes) for f in fitted.findings_] == [("constant", (2,))]
    assert sigmoids(fitted.transform(scores))[:, 2] == pytest.approx(labels[:, 2].mean(), abs=1e-6)


def test_a_cell_without_a_score_is_no_cell_and_does_not_count_as_support():
    scores, labels = drawn()
    gone = np.arange(600) % 3 == 0
    scores[gone] = np.nan
    support = int(labels[~gone].sum(axis=0).min())

    fitted = IsotonicCalibration(min_positives=support)
    fitted.fit(scores, labels, nan="negative")

    assert fitted.findings_ == ()
    assert fitted.op_.same_as(fit(scores[~gone], labels[~gone]).op_)
    with pytest.warns(UserWarning, match="1 of 4 classes have fewer"):
        IsotonicCalibration(min_positives=support + 1).fit(scores, labels, nan="negative")


def test_from_a_histogram_it_is_the_fit_to_the_bins_and_near_that_of_the_rows():
    scores, labels = drawn(n_rows=3000)
    histogram = Evidence(labelled_logits(scores, labels)).histogram

    from_bins = fit(scores, labels)
    from_bins.fit_from(histogram)

    for c in range(4):
        filled = histogram.counts[c] > 0
        n, y = histogram.counts[c][filled], histogram.positives[c][filled]
        means = histogram.scores[c][filled]
        rates = IsotonicRegression().fit(means, y / n, sample_weight=n).predict(means)
        p = sigmoids(from_bins.op_.apply(np.repeat(means[:, None], 4, 1).astype(np.float32)))[:, c]
        low, high = p[rates == 0].max(initial=0), p[rates == 1].min(initial=1)
        inner = (p > low + 1e-6) & (p < high - 1e-6)
        assert inner.sum() > 100
        np.testing.assert_allclose(p[inner], rates[inner], atol=1e-5)
    near = sigmoids(from_bins.transform(scores)) - sigmoids(fit(scores, labels).transform(scores))
    assert np.abs(near).mean() < 1e-2


def test_thresholds_on_the_rates_reach_what_thresholds_on_the_scores_reach():
    """Target 14: isotonic rates give no protection from a threshold that follows luck."""
    scores, labels = drawn(n_rows=200)
    calibrated = fit(scores, labels).transform(scores)
    rule = PerClassThreshold(metrics.f_beta(1))

    for z in (scores, calibrated):
        reached = []
        cuts = rule.fit(z, labels).op_.threshold
        for c in range(4):
            best, _ = naive.best_cut(scores[:, c], labels[:, c], naive.f_beta(1))
            counts = naive.counts_at(cuts[c], z[:, c], labels[:, c])
            reached.append((naive.f_beta(1)(*counts), best))
        assert all(got == pytest.approx(best, abs=1e-12) for got, best in reached)


@pytest.mark.parametrize("min_positives", [0, -1, np.nan])
def test_a_support_below_one_is_refused(min_positives):
    with pytest.raises(ValueError, match=f"^min_positives must be at least 1, got {min_positives}"):
        IsotonicCalibration(min_positives=min_positives).fit(*drawn())
