from functools import partial

import naive
import naive_sets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import decision as decision_module
from calibrate import ops
from calibrate.decision import Decision
from calibrate.ops import best_sets, expected_sets

LAW = settings(derandomize=True, deadline=None, max_examples=100)

FIXTURE = [0.9, 0.6, 0.3, 0.2]

probabilities = st.one_of(
    st.sampled_from([0.0, 1e-30, 1e-6, 0.02, 0.0199, 0.25, 0.5, 0.999, 1 - 1e-9, 1.0]),
    st.floats(0, 1),
    st.integers(0, 20).map(lambda i: i / 20),
)
betas = st.sampled_from([0.2, 0.5, 1.0, 1.7, 2.0, 5.0])
scores = st.one_of(
    st.integers(-24, 16).map(lambda i: i / 4),
    st.floats(-12, 12, width=32),
    st.sampled_from([-np.inf, -200.0, -0.0, 20.0, 120.0]),
)


def likely(p):
    """All classes of one row, as likely ones."""
    falling = -np.sort(-np.asarray(p, dtype=np.float64))[None]
    return expected_sets.Likely(falling, np.array([len(p)]), falling.sum(axis=1))


def sizes(p):
    return np.arange(1, len(p) + 1)[None]


NO_OTHERS = np.zeros((1, 6))


def f_value(beta):
    return partial(naive_sets.f_beta, beta=beta)


def exact_f(p, beta=1.0):
    return expected_sets.exact_f(likely(p), sizes(p), NO_OTHERS, beta * beta)[0]


def exact_jaccard(p):
    return expected_sets.exact_jaccard(likely(p), sizes(p), NO_OTHERS)[0]


def logits_of(p):
    with np.errstate(divide="ignore"):
        return np.atleast_2d(np.log(p) - np.log1p(-np.asarray(p))).astype(np.float32)


def f_op(exact=True, intercept=None, slope=0.0, beta=1.0):
    return ops.ExpectedFBeta(exact, intercept, slope, beta)


def jaccard_op(exact=True, intercept=None, slope=0.0):
    return ops.ExpectedJaccard(exact, intercept, slope)


def rows_of(n_rows, n_classes, total, seed=0, spread=1.6):
    """Logits of rows whose probabilities add up to about `total`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_rows, n_classes)) * spread
    low, high = -30.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        sums = 1 / (1 + np.exp(-(logits + middle)))
        low, high = (middle, high) if sums.sum(axis=1).mean() < total else (low, middle)
    return (logits + middle).astype(np.float32)


# the values of sets


def test_the_slow_forms_give_the_numbers_of_the_fixture():
    """Target 16, and the law of the count of target 17."""
    f1 = [0.0224, 0.62076, 0.73484, 0.6940114286, 0.6396457143]
    f2 = [0.0224, 0.542360181, 0.7517714286, 0.7915997266, 0.7919]
    half = [0.0224, 0.74985, 0.7378666667, 0.631185989, 0.5459417957]
    index = [0.0224, 0.5049, 0.6325, 0.57, 0.5]

    for beta, expected in ((1.0, f1), (2.0, f2), (0.5, half)):
        assert naive_sets.of_highest(FIXTURE, f_value(beta)) == pytest.approx(expected, abs=1e-10)
        assert naive_sets.ye(FIXTURE, beta) == pytest.approx(expected, abs=1e-10)
    assert naive_sets.of_highest(FIXTURE, naive_sets.jaccard) == pytest.approx(index, abs=1e-10)
    assert naive_sets.count_law(FIXTURE) == pytest.approx([0.0224, 0.2504, 0.4644, 0.2304, 0.0324])


@pytest.mark.parametrize("beta", [1.0, 2.0, 0.5, 0.3, 3.7])
def test_the_integral_gives_the_numbers_of_the_fixture(beta):
    """Target 16."""
    expected = naive_sets.of_highest(FIXTURE, f_value(beta))[1:]

    assert exact_f(FIXTURE, beta) == pytest.approx(expected, abs=1e-10)
    assert exact_jaccard(FIXTURE) == pytest.approx([0.5049, 0.6325, 0.57, 0.5], abs=1e-10)


@LAW
@given(st.lists(probabilities, min_size=1, max_size=7), betas)
def test_the_integral_is_the_sum_over_all_outcomes(p, beta):
    in_all = naive_sets.of_highest(p, f_value(beta))[1:]
    index = naive_sets.of_highest(p, naive_sets.jaccard)[1:]

    assert exact_f(p, beta) == pytest.approx(in_all, abs=2e-9)
    assert exact_jaccard(p) == pytest.approx(index, abs=2e-9)


@pytest.mark.parametrize("beta", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("shape", [(0.2, 4.0), (0.05, 0.4), (2.0, 2.0)])
def test_the_integral_is_the_recursion_of_ye_and_others(beta, shape):
    p = np.random.default_rng(1).beta(*shape, size=60)

    assert exact_f(p, beta) == pytest.approx(naive_sets.ye(list(p), beta)[1:], abs=1e-9)


@LAW
@given(st.lists(probabilities, min_size=1, max_size=6), betas)
def test_no_set_beats_the_likeliest_labels(p, beta):
    best = max(naive_sets.of_highest(p, f_value(beta)))

    assert naive_sets.best_of_all_sets(p, f_value(beta)) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_unlikely_classes_are_known_by_the_powers_of_their_probabilities(beta):
    p = np.sort(np.random.default_rng(2).beta(0.3, 20, size=3000))[::-1].astype(np.float32)
    floor = np.array([float(np.float32(expected_sets.SMALL))])
    n = int((p > np.float32(expected_sets.SMALL)).sum())
    others = expected_sets.powers_of_others(p[None], floor)
    top = expected_sets.Likely.above(floor, p[None], p[None].sum(axis=1, dtype=np.float64))

    some = expected_sets.exact_f(top, sizes(p[:n]), others, beta**2)[0]
    index = expected_sets.exact_jaccard(top, sizes(p[:n]), others)[0]

    assert n == top.n[0] > 100
    assert some == pytest.approx(exact_f(p, beta)[:n], rel=1e-8)
    assert index == pytest.approx(exact_jaccard(p)[:n], rel=1e-8)


@LAW
@given(st.lists(probabilities, min_size=1, max_size=6), betas)
def test_the_second_order_is_the_formula_label_by_label(p, beta):
    p = sorted(p, reverse=True)
    total, variance = sum(p), sum(q * (1 - q) for q in p)
    found = expected_sets.second_order_f(likely(p), sizes(p), np.array([variance]), beta**2)[0]
    index = expected_sets.second_order_jaccard(likely(p), sizes(p), np.array([variance]))[0]

    for k in range(1, len(p) + 1):
        value = 0.0
        for q in p[:k]:
            mean = k + beta**2 * (1 + total - q)
            others = max(variance - q * (1 - q), 0.0)
            value += (1 + beta**2) * q / mean * (1 + beta**4 * others / mean**2)
        union, rest = k + sum(p[k:]), sum(q * (1 - q) for q in p[k:])
        assert found[k - 1] == pytest.approx(value, rel=1e-9, abs=1e-12)
        expected = sum(p[:k]) / union * (1 + rest / union**2)
        assert index[k - 1] == pytest.approx(expected, rel=1e-9, abs=1e-12)


# how many labels


@LAW
@given(st.lists(scores, min_size=1, max_size=7), betas, st.sampled_from([None, -2.0, 0.5]))
def test_no_other_number_of_labels_is_worth_more(row, beta, intercept):
    logits = np.array([row], dtype=np.float32)
    p = [naive.sigmoid(float(z)) if z > -np.inf else 0.0 for z in logits[0]]
    none = np.prod([1 - q for q in p])

    for op, value in (
        (f_op(True, intercept, 0.5, beta), f_value(beta)),
        (jaccard_op(True, intercept, 0.5), naive_sets.jaccard),
    ):
        k = int(op.counts(logits)[0])

        values = naive_sets.of_highest(p, value)
        if intercept is None:
            assert k >= 1
            assert values[k] >= max(values[1:]) * (1 - 1e-6) - 1e-12
        elif 1e-9 < none < 1 - 1e-9:
            odds = intercept + 0.5 * np.log(none / (1 - none))
            values = naive_sets.with_empty(values, p, 1 / (1 + np.exp(-odds)))
            assert values[k] >= max(values) * (1 - 1e-6)


@pytest.mark.parametrize("total", [0.4, 3.0, 12.0, 60.0])
@pytest.mark.parametrize("spread", [0.05, 1.6, 4.0])
@pytest.mark.parametrize("make", [partial(f_op, beta=b) for b in (1.0, 0.3, 4.0)] + [jaccard_op])
def test_classes_that_are_left_out_could_not_be_in_the_best_set(make, total, spread):
    logits = rows_of(4, 300, total, spread=spread)
    p = ops.sigmoid(logits)

    for exact in (True, False):
        k, value = make(exact=exact).by_law(p, p.sum(axis=1, dtype=np.float64))

        for row in range(len(p)):
            own, all_k = likely(p[row]), np.arange(1, 301)[None]
            variance = (own.p * (1 - own.p)).sum(axis=1)
            op = make(exact=exact)
            if isinstance(op, ops.ExpectedJaccard):
                values = (
                    expected_sets.exact_jaccard(own, all_k, NO_OTHERS)
                    if exact
                    else expected_sets.second_order_jaccard(own, all_k, variance)
                )
            else:
                square = op.beta**2
                values = (
                    expected_sets.exact_f(own, all_k, NO_OTHERS, square)
                    if exact
                    else expected_sets.second_order_f(own, all_k, variance, square)
                )
            # the squares behind the second order are summed in float32
            near = 1e-10 if exact else 1e-7
            assert value[row] == pytest.approx(values.max(), rel=near)
            assert values[0, k[row] - 1] == pytest.approx(values.max(), rel=near)


@LAW
@given(st.lists(probabilities, min_size=1, max_size=30), betas)
def test_every_value_lies_between_its_bounds(p, beta):
    own = likely(p)
    hits, total = np.cumsum(own.p, axis=1), own.total[:, None]
    variance = (own.p * (1 - own.p)).sum(axis=1)
    square = beta**2
    judged = {
        f_op(beta=beta): (
            expected_sets.exact_f(own, sizes(p), NO_OTHERS, square),
            expected_sets.second_order_f(own, sizes(p), variance, square),
        ),
        jaccard_op(): (
            expected_sets.exact_jaccard(own, sizes(p), NO_OTHERS),
            expected_sets.second_order_jaccard(own, sizes(p), variance),
        ),
    }

    for op, both in judged.items():
        ratio = op._ratio(hits, sizes(p), total)
        most = op._factor * ratio * op._excess(sizes(p), hits, total)
        least = op._factor * op._surely(hits, sizes(p), total)
        for values in both:
            assert (values <= most + 1e-9).all()
            assert (values >= least - 1e-9).all()


@pytest.mark.parametrize("row", [[0.5] * 20 + [0.08] * 300, [0.95, 0.19, 0.19]])
def test_classes_of_middling_probability_are_judged_one_by_one(row):
    p = np.array([row], dtype=np.float32)

    for op, values in (
        (f_op(), exact_f(p[0])),
        (jaccard_op(), exact_jaccard(p[0])),
    ):
        k, value = op.by_law(p, p.sum(axis=1, dtype=np.float64))

        assert k[0] == values.argmax() + 1
        assert value[0] == pytest.approx(values.max(), rel=1e-9)


@LAW
@given(st.lists(probabilities.filter(bool), min_size=1, max_size=8), betas)
def test_by_means_no_set_has_a_higher_ratio(p, beta):
    p32 = np.array([p], dtype=np.float32)
    total = p32.sum(axis=1, dtype=np.float64)
    falling, size = np.sort(p32[0].astype(np.float64))[::-1], np.arange(1, len(p) + 1)

    k, value = f_op(False, beta=beta).by_means(p32, total)
    index_k, index = jaccard_op(False).by_means(p32, total)

    hits = np.cumsum(falling)
    f = (1 + beta**2) * hits / (size + beta**2 * total)
    jaccard = hits / (size + total - hits)
    assert value[0] == pytest.approx(f.max(), rel=1e-12)
    assert f[k[0] - 1] == pytest.approx(f.max(), rel=1e-12)
    assert index[0] == pytest.approx(jaccard.max(), rel=1e-12)
    assert jaccard[index_k[0] - 1] == pytest.approx(jaccard.max(), rel=1e-12)


@pytest.mark.parametrize(
    ("total", "by_means", "to_second_order"),
    [
        (3.0, (1.9e-4, 8e-4), (4e-8, 3e-6)),
        (10.0, (1.3e-5, 9e-5), (2e-8, 3e-6)),
        (40.0, (5e-7, 6e-6), (5e-10, 5e-8)),
        (130.0, (2e-8, 3e-7), (1e-12, 1e-11)),
    ],
)
def test_the_fast_forms_lose_next_to_nothing(total, by_means, to_second_order):
    p = ops.sigmoid(rows_of(100, 2000, total, seed=3, spread=1.0))
    sums = p.sum(axis=1, dtype=np.float64)

    exact, value = f_op(True).by_law(p, sums)
    second, _ = f_op(False).by_law(p, sums)
    first, _ = f_op(False).by_means(p, sums)

    for found, (mean, most) in ((first, by_means), (second, to_second_order)):
        lost = [
            best - exact_f(row)[k - 1] if k != at else 0.0
            for row, best, k, at in zip(p, value, found, exact, strict=True)
        ]
        assert np.mean(lost) < mean
        assert max(lost) < most


@LAW
@given(st.lists(scores, min_size=1, max_size=9), betas, betas)
def test_more_weight_on_recall_never_takes_a_label_away(row, one, other):
    logits = np.array([row], dtype=np.float32)
    low, high = sorted((one, other))

    fewer, more = (f_op(True, beta=beta).counts(logits)[0] for beta in (low, high))

    assert fewer <= more


def test_many_rows_never_lose_a_label_as_recall_counts_more():
    for exact, total in ((True, 2.0), (True, 30.0), (False, 4.0), (False, 50.0)):
        logits = rows_of(60, 200, total, seed=4)

        counts = [f_op(exact, beta=b).counts(logits) for b in (0.25, 0.5, 1.0, 1.5, 2.0, 4.0)]

        assert (np.diff(counts, axis=0) >= 0).all()
        assert (counts[-1] > counts[0]).all()


def test_from_twenty_expected_labels_on_means_decide():
    below, above = rows_of(1, 100, 19.9), rows_of(1, 100, 20.1)
    # where the second order would choose differently, what is called says which was taken
    called = []

    class Told(ops.ExpectedFBeta):
        def by_means(self, p, total):
            called.append("means")
            return super().by_means(p, total)

        def by_law(self, p, total):
            called.append("law")
            return super().by_law(p, total)

    Told(False, None, 0.0, 1.0).counts(np.vstack([below, above]))
    Told(True, None, 0.0, 1.0).counts(np.vstack([below, above]))

    assert called == ["means", "law", "law"]


# the empty set


def test_the_empty_set_is_taken_where_it_is_worth_as_much():
    logits = logits_of([0.4, 0.1, 0.1, 0.1])
    none = 0.6 * 0.9**3
    value = exact_f([0.4, 0.1, 0.1, 0.1]).max()
    # e is worth as much as a label at e = (1 - e) / (1 - none) value
    odds = np.log(value / (1 - none))

    assert f_op(True, odds + 1e-4).counts(logits).tolist() == [0]
    assert f_op(True, odds - 1e-4).counts(logits).tolist() == [1]
    assert f_op(True, None).counts(logits).tolist() == [1]


def test_the_empty_set_wins_a_tie():
    # a sure label is worth 1, over what rounds to the chance that it is there: 1 + 2^-52
    sure, even = np.array([[200.0, -200.0]], np.float32), np.log1p(2.0**-52)

    assert f_op(False, even).counts(sure).tolist() == [0]
    assert f_op(False, 0.0).counts(sure).tolist() == [1]


def test_the_line_of_the_empty_set_is_in_the_log_odds_of_independent_labels():
    p = np.array([[0.4, 0.1, 0.1, 0.1], [0.9, 0.9, 0.2, 0.2], [1e-6, 0, 0, 0]])
    none = (1 - p).prod(axis=1)

    odds = ops.log_odds_of_none(p.astype(np.float32))

    assert odds == pytest.approx(np.log(none / (1 - none)), rel=1e-5)


def test_certain_and_impossible_labels_leave_the_odds_finite():
    p = np.array([[1.0, 0.5], [0.0, 0.0], [1e-40, 0.0]], dtype=np.float32)

    odds = ops.log_odds_of_none(p)

    assert np.isfinite(odds).all()
    assert odds[0] < -30
    assert odds[1:].tolist() == [50.0, 50.0]


@pytest.mark.parametrize("op", [f_op(), f_op(False), jaccard_op(), jaccard_op(False)])
def test_rows_without_probability_get_their_highest_label_or_none(op):
    logits = np.array([[-200, -150, -300], [-np.inf] * 3, [-np.inf, -400, -np.inf]], np.float32)
    may_be_empty = type(op)(*(-9.0 if v is None else v for v in op.numbers().values()))

    assert op.decide(logits).indices.tolist() == [1, 1]
    assert np.diff(op.decide(logits).indptr).tolist() == [1, 0, 1]
    assert may_be_empty.decide(logits).indices.tolist() == []


@pytest.mark.parametrize("op", [f_op(), f_op(False), jaccard_op(), jaccard_op(False)])
def test_one_class_is_predicted_always_or_where_it_is_likelier_than_none(op):
    logits = np.array([[-3.0], [3.0], [-np.inf]], np.float32)
    often_empty, seldom_empty = (
        type(op)(*(intercept if v is None else v for v in op.numbers().values()))
        for intercept in (0.01, -0.01)
    )

    assert np.diff(op.decide(logits).indptr).tolist() == [1, 1, 0]
    # if there is a label it is this one, so that the chance of an empty row decides
    assert often_empty.counts(logits).tolist() == [0, 0, 0]
    assert np.diff(seldom_empty.decide(logits).indptr).tolist() == [1, 1, 0]


def test_among_equal_logits_the_lower_class_wins():
    logits = np.array([[0.0, 1.0, 0.0, 0.0, -4.0]], np.float32)

    for op in (f_op(), f_op(False), jaccard_op()):
        labels = op.decide(logits).indices.tolist()

        assert labels == sorted([1, 0, 2, 3][: len(labels)])


# rows, blocks, files


@pytest.mark.parametrize("op", [
    f_op(), f_op(False), f_op(False, -2.0, 0.5, 2.0), jaccard_op(), jaccard_op(False, -1.0, 1.0),
])  # fmt: skip
def test_the_rows_around_change_nothing(op, monkeypatch):
    logits = np.vstack([rows_of(6, 500, t, seed=5) for t in (0.5, 3, 15, 25, 60)])
    logits[::4, ::3] = -np.inf
    sums = ops.sigmoid(logits).sum(axis=1, dtype=np.float64)

    together = op.counts(logits)
    worth = op.by_law(ops.sigmoid(logits), sums)[1]

    alone = np.concatenate([op.counts(row[None]) for row in logits])
    assert np.array_equal(together, alone)
    assert together.max() > 20
    each = [
        op.by_law(ops.sigmoid(z[None]), s[None])[1][0] for z, s in zip(logits, sums, strict=True)
    ]
    assert np.array_equal(worth, each)
    monkeypatch.setattr(best_sets, "_CACHED_CELLS", 1)
    monkeypatch.setattr(best_sets, "_JUDGED_CELLS", 1)
    assert np.array_equal(op.counts(logits), together)


@pytest.mark.parametrize("op", [f_op(), f_op(False, -1.0, 0.5), jaccard_op(False)])
def test_many_rows_are_decided_by_kernels_as_few_are_without(op, monkeypatch):
    logits = np.round(rows_of(300, 70, 4.0), 1)
    logits[::7, ::5] = -np.inf
    decision = Decision((), op, 70)
    expected = decision.predict(logits, nan="negative")
    monkeypatch.setattr(decision_module, "_MANY_CELLS", 1)

    found = decision.predict(logits, nan="negative")

    assert found.nnz == expected.nnz > 300
    assert (found != expected).nnz == 0


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ((1, None, 0.0, 1.0), TypeError, "exact must be true or false, got 1"),
        ((True, "a", 0.0, 1.0), TypeError, "empty_intercept must be a number, got 'a'"),
        ((True, np.nan, 0.0, 1.0), ValueError, "empty_intercept must be above -inf and finite"),
        ((True, 0.0, np.inf, 1.0), ValueError, "empty_slope must be above -inf and finite, got in"),
        ((True, 0.0, None, 1.0), TypeError, "empty_slope must be a number, got None"),
        ((True, None, 0.0, 0.0), ValueError, "beta must be above 0 and finite, got 0"),
        ((True, None, 0.0, 1e80), ValueError, r"fourth power finite, got beta = 1e\+80"),
        ((True, None, 0.0, 1e-200), ValueError, "the square of beta must be above 0"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        ops.ExpectedFBeta(*fields)
    if fields[3] == 1.0:
        with pytest.raises(error, match=message):
            ops.ExpectedJaccard(*fields[:3])
