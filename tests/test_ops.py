import naive
import numpy as np
import pytest
from every_op import calibration_steps, decision_steps
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate import ops

LAW = settings(derandomize=True, deadline=None, max_examples=100)

EPSILON = np.finfo(np.float32).smallest_subnormal
UGLY = [
    0.0, -0.0, 1.0, np.nextafter(np.float32(1), np.float32(2)), -2.5, 7.25, EPSILON, -EPSILON,
    3e38, -3e38, ops.LOWEST, -ops.LOWEST,
]  # fmt: skip

finite = st.one_of(
    st.sampled_from([float(u) for u in UGLY]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(-40, 40).map(lambda i: i / 4),
)
scores = st.one_of(finite, st.just(-np.inf))
scales = st.floats(np.float32(1e-3), np.float32(1e3), width=32)
shifts = st.floats(-100, 100, width=32)


@st.composite
def matrices(draw, cells=scores):
    n_rows, n_classes = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    flat = draw(st.lists(cells, min_size=n_rows * n_classes, max_size=n_rows * n_classes))
    return np.array(flat, dtype=np.float32).reshape(n_rows, n_classes)


def mask_of(labels, n_classes):
    mask = np.zeros((len(labels.indptr) - 1, n_classes), dtype=bool)
    for row in range(len(mask)):
        mask[row, labels.indices[labels.indptr[row] : labels.indptr[row + 1]]] = True
    return mask


def one_by_one(steps, threshold, logits):
    """Decisions of single logits by scalar arithmetic."""
    with np.errstate(over="ignore"):
        passed = []
        for logit in logits:
            for scale, shift in steps:
                logit = naive.affine(logit, scale, shift)
            passed.append(bool(logit >= np.float32(threshold)))
    return passed


def around(value, n=4):
    """The float32 numbers next to a value, on both sides, that are finite."""
    found = [np.float32(value)]
    up = down = np.float32(value)
    with np.errstate(over="ignore"):
        for _ in range(n):
            up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(-np.inf))
            found += [up, down]
    return [f for f in found if np.isfinite(f)]


# labels_from_mask


def test_labels_of_a_mask_are_its_true_cells_row_by_row():
    mask = np.array([[True, False, True], [False, False, False], [False, True, False]])

    labels = ops.labels_from_mask(mask)

    assert labels.indptr.tolist() == [0, 2, 2, 3]
    assert labels.indices.tolist() == [0, 2, 1]
    assert (labels.indptr.dtype, labels.indices.dtype) == (np.int64, np.int32)


# sigmoid and expected counts


@LAW
@given(matrices())
def test_sigmoid_is_that_of_float64_to_float32_precision(logits):
    probabilities = ops.sigmoid(logits)

    expected = [[naive.sigmoid(float(z)) if z > -np.inf else 0.0 for z in row] for row in logits]
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, rtol=3e-7, atol=1e-37)


@LAW
@given(matrices())
def test_expected_counts_are_the_sums_of_the_probabilities(logits):
    counts = ops.expected_counts(logits)

    expected = [naive.expected_count(row) for row in logits]
    assert counts.dtype == np.float64
    np.testing.assert_allclose(counts, expected, rtol=2e-7, atol=1e-37)


def test_expected_counts_of_many_classes_add_up_in_float64():
    logits = np.full((2, 200_000), -4.0, dtype=np.float32)
    logits[1] = -np.inf

    counts = ops.expected_counts(logits)

    np.testing.assert_allclose(counts, [200_000 * naive.sigmoid(-4.0), 0.0], rtol=2e-7)


def test_expected_counts_do_not_depend_on_the_rows_around():
    logits = np.random.default_rng(3).normal(size=(17, 9001)).astype(np.float32)

    together = ops.expected_counts(logits)

    alone = np.concatenate([ops.expected_counts(row[None]) for row in logits])
    np.testing.assert_array_equal(together, alone)


# top_mask and TopK


@LAW
@given(matrices(), st.data())
def test_the_top_mask_is_that_of_sorting_by_score_and_index(logits, data):
    n_rows, n_classes = logits.shape
    k = data.draw(st.lists(st.integers(0, n_classes), min_size=n_rows, max_size=n_rows))

    mask = ops.top_mask(logits, np.array(k, dtype=np.int64))

    assert mask.tolist() == [naive.top_k(row, k_row) for row, k_row in zip(logits, k, strict=True)]


@LAW
@given(matrices(finite), st.integers(0, 9))
def test_top_k_gives_every_row_exactly_k_labels_or_all(logits, k):
    labels = ops.TopK(k).decide(logits)

    assert np.diff(labels.indptr).tolist() == [min(k, logits.shape[1])] * len(logits)


def test_among_equal_scores_the_lower_class_index_wins():
    logits = np.array([[1, 2, 2, 2, 0], [5, 5, 5, 5, 5], [0.0, -0.0, 0.0, -0.0, -1]], np.float32)

    mask = mask_of(ops.TopK(2).decide(logits), 5)

    assert mask.astype(int).tolist() == [[0, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]


def test_top_k_never_predicts_a_cell_without_a_score():
    logits = np.array([[-np.inf, 3.0, -np.inf], [-np.inf, -np.inf, -np.inf]], np.float32)

    mask = mask_of(ops.TopK(3).decide(logits), 3)

    assert mask.tolist() == [[False, True, False], [False, False, False]]


def test_top_zero_predicts_nothing():
    logits = np.array([[1.0, 2.0]], np.float32)

    labels = ops.TopK(0).decide(logits)

    assert len(labels.indices) == 0


def test_top_k_refuses_a_negative_k():
    with pytest.raises(ValueError, match=r"^k must be at least 0, got -1$"):
        ops.TopK(-1)


# ExpectedCountTopK


@LAW
@given(matrices(), st.floats(-2, 2), st.integers(0, 3), st.one_of(st.none(), st.integers(3, 9)))
def test_each_row_gets_the_floor_of_its_sum_within_the_bounds(logits, offset, min_k, max_k):
    rule = ops.ExpectedCountTopK(offset, min_k, max_k)
    n_classes = logits.shape[1]

    mask = mask_of(rule.decide(logits), n_classes)

    most = n_classes if max_k is None else min(max_k, n_classes)
    for row, chosen, total in zip(logits, mask, ops.expected_counts(logits), strict=True):
        k = naive.total_count([total], offset, min(min_k, most), most)
        assert chosen.tolist() == naive.top_k(row, k)


def test_an_offset_of_a_half_rounds():
    logits = np.array([[0.0, 0.0, 0.0], [0.0, -9.0, -9.0], [-1.0, -9.0, -9.0]], np.float32)

    counts = ops.ExpectedCountTopK(0.5, 0, None).counts(logits)

    assert counts.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("offset", "min_k", "max_k", "message"),
    [
        (np.nan, 0, None, "offset must be finite, got nan"),
        (np.inf, 0, None, "offset must be finite, got inf"),
        (0.5, -1, None, "min_k must be at least 0, got -1"),
        (0.5, 3, 2, "max_k must be at least min_k = 3, got 2"),
    ],
)
def test_expected_count_refuses_bounds_that_make_no_sense(offset, min_k, max_k, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ops.ExpectedCountTopK(offset, min_k, max_k)


# Affine


@LAW
@given(matrices(), st.data())
def test_an_affine_step_rounds_the_product_and_then_the_sum(logits, data):
    n_classes = logits.shape[1]
    size = {"min_size": n_classes, "max_size": n_classes}
    scale, shift = data.draw(st.lists(scales, **size)), data.draw(st.lists(shifts, **size))

    calibrated = ops.Affine(scale, shift).apply(logits)

    one = [[naive.affine(z, a, b) for z, a, b in zip(r, scale, shift, strict=True)] for r in logits]
    assert calibrated.dtype == np.float32
    np.testing.assert_array_equal(calibrated, one)


def test_an_affine_step_leaves_its_argument_as_it_was():
    logits = np.array([[1.0, 2.0]], np.float32)

    ops.Affine(2.0, 1.0).apply(logits)

    assert logits.tolist() == [[1.0, 2.0]]


def test_an_affine_step_in_float64_is_the_same_map():
    step = ops.Affine([2.0, 0.5], [1.0, -1.0])

    means = step.apply_float64(np.array([[0.25, 8.0]]))

    assert means.tolist() == [[1.5, 3.0]]
    assert means.dtype == np.float64


def test_columns_of_an_affine_step_are_the_step_of_those_classes():
    both = ops.Affine([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).columns(1, 3)
    shared = ops.Affine(2.0, [4.0, 5.0, 6.0]).columns(0, 1)

    assert (both.scale.tolist(), both.shift.tolist()) == ([2.0, 3.0], [5.0, 6.0])
    assert (shared.scale.tolist(), shared.shift.tolist()) == (2.0, [4.0])


@pytest.mark.parametrize(
    ("scale", "shift", "message"),
    [
        ([1.0, 0.0], 0.0, "scale must be positive, got 0.0"),
        (-1.0, 0.0, "scale must be positive, got -1.0"),
        (np.inf, 0.0, "scale of an affine step must be finite"),
        (1.0, [0.0, -np.inf], "shift of an affine step must be finite"),
        ([1.0, np.nan], 0.0, "scale must not hold nan, got nan at class 1"),
        (1.0, [[0.0]], r"shift must be a number or one per class, got shape \(1, 1\)"),
    ],
)
def test_an_affine_step_refuses_what_does_not_keep_the_order(scale, shift, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ops.Affine(scale, shift)


def test_the_arrays_of_a_step_are_its_own_and_cannot_be_written():
    scale = np.array([1.0, 2.0], dtype=np.float32)
    step = ops.Affine(scale, 0.0)

    scale[0] = 9.0

    assert step.scale.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        step.scale[0] = 3.0


def test_a_step_says_how_many_classes_its_arrays_fix():
    steps = [ops.Affine(1.0, 0.0), ops.Affine(1.0, [0.0, 1.0]), ops.TopK(1), ops.Threshold([0.0])]

    n_classes = [step.n_classes for step in steps]

    assert n_classes == [None, 2, None, 1]


def test_a_step_tells_its_arrays_from_its_numbers():
    rule = ops.ExpectedCountTopK(0.25, 1, None)

    assert rule.numbers() == {"offset": 0.25, "min_k": 1, "max_k": None}
    assert rule.arrays() == {}
    assert set(ops.Affine(1.0, 0.0).arrays()) == {"scale", "shift"}
    assert ops.Affine(1.0, 0.0).numbers() == {}


def test_the_closed_set_of_ops_is_named_by_wire_names():
    assert set(ops.OPS) == {
        "affine", "asymmetric_loss", "batch_plug_in", "beta", "bounded_threshold",
        "expected_count_top_k", "expected_f_beta", "expected_jaccard", "focal", "label_smoothing",
        "largest_gap", "mode_top_k", "piecewise_linear", "row_affine", "threshold", "top_k",
        "weighted_top_k",
    }  # fmt: skip
    assert all(op.wire_name == name for name, op in ops.OPS.items())


def test_the_catalogue_has_every_kind_that_decides_rows_by_themselves():
    rng = np.random.default_rng(0)
    every = calibration_steps(rng, 3) | decision_steps(rng, 3)

    assert {op.wire_name for op in every.values()} == set(ops.OPS) - {"batch_plug_in"}
    assert all(name.split(",")[0] == op.wire_name for name, op in every.items())


# Threshold


@LAW
@given(matrices(), st.data())
def test_a_threshold_predicts_scores_at_least_as_high_and_no_cell_without_one(logits, data):
    n_classes = logits.shape[1]
    cuts = data.draw(
        st.lists(
            st.one_of(finite, st.sampled_from([np.inf, -np.inf])),
            min_size=n_classes,
            max_size=n_classes,
        )
    )

    mask = mask_of(ops.Threshold(cuts).decide(logits), n_classes)

    expected = [
        [bool(z > -np.inf and z >= t) for z, t in zip(row, cuts, strict=True)] for row in logits
    ]
    assert mask.tolist() == expected


def test_a_threshold_of_plus_infinity_is_never_reached():
    overflown = ops.Affine(2.0, 0.0).apply(np.array([[3e38]], np.float32))

    labels = ops.Threshold(np.inf).decide(overflown)

    assert len(labels.indices) == 0


def test_a_threshold_refuses_nan():
    with pytest.raises(ValueError, match=r"^threshold must not hold nan, got nan at class 1$"):
        ops.Threshold([0.0, np.nan])


# fold


@LAW
@given(
    st.lists(st.tuples(scales, shifts), min_size=1, max_size=4),
    st.one_of(finite, st.floats(-20, 20, width=32)),
    st.lists(finite, max_size=8),
)
def test_the_folded_threshold_decides_as_the_steps_do_on_every_float_near_the_cut(
    chain, threshold, logits
):
    steps = tuple(ops.Affine(scale, shift) for scale, shift in chain)

    kept, folded = ops.fold(steps, ops.Threshold(threshold), 1)

    tried = [*around(folded.threshold[0]), *logits, *around(0.0), ops.LOWEST, -ops.LOWEST]
    assert kept == ()
    by_fold = mask_of(folded.decide(np.array(tried, np.float32)[:, None]), 1)[:, 0]
    assert by_fold.tolist() == one_by_one(chain, threshold, tried)


def test_each_class_is_folded_by_its_own_numbers():
    rng = np.random.default_rng(11)
    scale = rng.uniform(0.1, 3, size=(2, 50)).astype(np.float32)
    shift = rng.normal(size=(2, 50)).astype(np.float32)
    threshold = rng.normal(size=50).astype(np.float32)
    steps = (ops.Affine(scale[0], shift[0]), ops.Affine(scale[1], shift[1]))

    _, folded = ops.fold(steps, ops.Threshold(threshold), 50)

    for c in range(50):
        chain = [(scale[0, c], shift[0, c]), (scale[1, c], shift[1, c])]
        tried = around(folded.threshold[c], 20)
        decided = [bool(z >= folded.threshold[c]) for z in tried]
        assert decided == one_by_one(chain, threshold[c], tried)
        assert len(set(decided)) == 2


def test_one_threshold_for_all_classes_is_folded_to_one_for_each():
    _, folded = ops.fold((ops.Affine(1.0, [0.0, 1.0, -2.0]),), ops.Threshold(0.5), 3)

    assert folded.threshold.tolist() == [0.5, -0.5, 2.5]


def test_never_and_always_stay_so_when_folded():
    step = ops.Affine(0.5, [1.0, 1.0])

    _, folded = ops.fold((step,), ops.Threshold([np.inf, -np.inf]), 2)

    cells = np.array([[-ops.LOWEST, ops.LOWEST], [0.0, -np.inf]], np.float32)
    assert folded.threshold.tolist() == [np.inf, ops.LOWEST]
    assert mask_of(folded.decide(cells), 2).tolist() == [[False, True], [False, False]]


def test_a_threshold_that_no_finite_logit_reaches_folds_to_never():
    _, folded = ops.fold((ops.Affine(1e-3, 0.0),), ops.Threshold(3e38), 1)

    assert folded.threshold.tolist() == [np.inf]


def test_a_decision_along_the_row_and_one_without_steps_are_not_folded():
    top, cut = ops.TopK(1), ops.Threshold(0.0)

    line = ops.Affine(1.0, 0.0)
    assert ops.fold((line,), top, 2) == ((line,), top)
    assert ops.fold((), cut, 2) == ((), cut)


def test_a_step_that_looks_along_the_row_is_kept_and_what_follows_is_folded():
    rows = ops.RowAffine(2.0, [0.0, 1.0], by_count=-0.5)
    bend = ops.PiecewiseLinear([0, 2], [0.0, 1.0], [0.0, 3.0], [1.0], [0.5])
    steps = (ops.Affine(0.5, 0.25), rows, ops.Affine([1.0, 3.0], -0.5), bend)
    logits = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)

    kept, folded = ops.fold(steps, ops.Threshold([0.5, 1.5]), 2)

    before, after = logits, logits
    for step in kept:
        before = step.apply(before)
    for step in steps:
        after = step.apply(after)
    assert kept == steps[:2]
    decided = mask_of(folded.decide(before), 2)
    assert (decided == (after >= np.float32([0.5, 1.5]))).all()
    assert 20 < decided.sum() < 380


# chains


def test_a_chain_is_its_parts_one_after_the_other():
    parts = (ops.Affine(2.0, [0.5, 1.0]), ops.RowAffine(1.0, 0.0, by_largest=-1.0))
    chain = ops.Chain((ops.Chain(parts[:1]), parts[1]))
    logits = np.array([[0.5, -1.0], [2.0, 3.0]], dtype=np.float32)

    assert ops.flat((chain,)) == parts
    assert (chain.apply(logits) == parts[1].apply(parts[0].apply(logits))).all()
    assert chain.n_classes == 2
    assert chain.same_as(ops.Chain((ops.Chain(parts[:1]), parts[1])))
    assert not chain.same_as(ops.Chain(parts))
    assert logits.tolist() == [[0.5, -1.0], [2.0, 3.0]]


def test_columns_of_a_chain_are_the_columns_of_its_parts():
    chain = ops.Chain((ops.Affine([1.0, 2.0], 0.0), ops.Affine(1.0, [3.0, 4.0])))

    assert chain.columns(1, 2).apply(np.ones((1, 1), np.float32)).tolist() == [[6.0]]


def test_a_chain_of_nothing_is_a_copy():
    logits = np.ones((1, 1), np.float32)

    same = ops.Chain(()).apply(logits)

    assert same.tolist() == logits.tolist()
    assert same is not logits
    assert ops.Chain(()).n_classes is None


# steps that look along the row

coefficients = st.sampled_from([0.0, -1.0, 0.5, 1.75])


moderate = st.one_of(st.integers(-40, 40).map(lambda i: i / 4), st.floats(-90, 90, width=32))


@LAW
@given(
    matrices(st.one_of(moderate, st.just(-np.inf))), scales, shifts,
    coefficients, coefficients, coefficients,
)  # fmt: skip
def test_a_row_step_is_the_sum_of_its_parts(logits, scale, shift, count, largest, log_sum):
    step = ops.RowAffine(scale, shift, by_count=count, by_largest=largest, by_log_sum=log_sum)

    moved = step.apply(logits)

    for row, got in zip(logits, moved, strict=True):
        term = naive.row_term(row, count, largest, log_sum)
        tolerance = 3e-7 * (abs(term) + 1)
        low, high = (
            [naive.row_affine(z, scale, shift, np.float32(t)) for z in row]
            for t in (term - tolerance, term + tolerance)
        )
        assert (np.asarray(low) <= got).all()
        assert (got <= np.asarray(high)).all()
        assert (np.isneginf(got) >= np.isneginf(row)).all()


def test_a_row_term_stays_finite():
    step = ops.RowAffine(1e3, 0.0, by_largest=1.75)

    moved = step.apply(np.float32([[3e38, -3e38, 1.0]]))

    assert moved[0, :2].tolist() == [np.inf, -np.inf]
    assert moved[0, 2] == -ops.LOWEST


def test_the_log_softmax_is_a_row_step():
    logits = np.array([[1.0, 2.0, -np.inf], [1000.0, 1000.0, 998.0]], dtype=np.float32)

    softmax = np.exp(ops.RowAffine(1.0, 0.0, by_log_sum=-1.0).apply(logits))

    expected = [[1 / (1 + np.e), np.e / (1 + np.e), 0], [0.4843, 0.4843, 0.0655]]
    np.testing.assert_allclose(softmax[:1], expected[:1], rtol=1e-5)
    np.testing.assert_allclose(softmax[1], [1 / (2 + np.exp(-2))] * 2 + [0.063379], rtol=1e-3)


def test_a_row_without_scores_keeps_them_so():
    logits = np.full((1, 3), -np.inf, dtype=np.float32)

    step = ops.RowAffine(1.0, 5.0, by_count=1.0, by_largest=1.0, by_log_sum=1.0)

    assert step.row_terms(logits).tolist() == [0.0]
    assert step.apply(logits).tolist() == [[-np.inf] * 3]


def test_columns_of_a_row_step_take_the_terms_of_whole_rows():
    logits = np.random.default_rng(5).normal(size=(4, 6)).astype(np.float32)
    step = ops.RowAffine(np.linspace(1, 2, 6), np.linspace(-1, 1, 6), -0.5, 0.25, 1.5)

    part = step.columns(2, 5).apply_terms(logits[:, 2:5], step.row_terms(logits))

    assert (part == step.apply(logits)[:, 2:5]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0, "shift": 0.0}, r"^scale must be positive, got 0\.0$"),
        ({"scale": 1.0, "shift": np.inf}, r"^shift of a row step must be finite$"),
        ({"scale": 1.0, "shift": 0.0, "by_count": np.nan}, r"^by_count of a row step must be fi"),
    ],
)
def test_a_row_step_refuses_what_makes_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        ops.RowAffine(**options)


# piecewise linear


@st.composite
def bends(draw):
    n = draw(st.integers(1, 6))
    knots = np.cumsum(
        draw(st.lists(st.sampled_from([0.0, 1e-3, 0.5, 3.0]), min_size=n, max_size=n))
    )
    rises = draw(st.lists(st.sampled_from([0.0, 1e-6, 0.3, 7.0]), min_size=n, max_size=n))
    knots = (knots - 2).astype(np.float32)
    values = (np.cumsum(rises) - 4).astype(np.float32)
    below, above = draw(st.sampled_from([0.0, 1.0, 0.5])), draw(st.sampled_from([0.0, 1.0]))
    return knots, values, below, above


@LAW
@given(
    st.lists(bends(), min_size=1, max_size=3),
    st.lists(st.one_of(moderate, st.just(-np.inf)), min_size=1, max_size=12),
)
def test_a_bend_is_straight_between_its_knots_and_never_falls(maps, logits):
    n_maps = len(maps)
    step = ops.PiecewiseLinear(
        np.cumsum([0, *(len(m[0]) for m in maps)]),
        np.concatenate([m[0] for m in maps]),
        np.concatenate([m[1] for m in maps]),
        [m[2] for m in maps],
        [m[3] for m in maps],
    )
    tried = np.sort(np.float32([*logits, *(k for m in maps for k in m[0])]))
    rows = np.repeat(tried[:, None], n_maps, axis=1)

    mapped, exact = step.apply(rows), step.apply_float64(rows.astype(np.float64))

    assert (mapped[1:] >= mapped[:-1]).all()
    for c, (knots, values, below, above) in enumerate(maps):
        expected = [naive.piecewise_linear(z, knots, values, below, above) for z in tried]
        np.testing.assert_allclose(exact[:, c], expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(mapped[:, c], expected, rtol=2e-6, atol=2e-6)
        assert (step.columns(c, c + 1).apply(rows[:, [c]]) == mapped[:, [c]]).all()


def test_where_two_knots_are_equal_the_map_jumps_and_the_second_value_holds():
    jump = ops.PiecewiseLinear([0, 2], [1.0, 1.0], [-1.0, 2.0], [0.0], [0.0])

    below = np.nextafter(np.float32(1), np.float32(0))

    assert jump.apply(np.float32([[-9.0, below, 1.0, 9.0]])).tolist() == [[-1.0, -1.0, 2.0, 2.0]]


def test_between_knots_as_close_as_floats_can_be_the_map_stays_a_number():
    low = np.float32(1e-45)
    knots = [-1.0, 0.0, low, 2 * low, 1.0, 3e38, 3.3e38]
    step = ops.PiecewiseLinear([0, 7], knots, [-9.0, -4.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0], [0.0])

    mapped = step.apply(np.float32([[-1.0, 0.0, low, 2 * low, 1.0, 2e38, 3e38, 3.4e38]]))[0]

    assert mapped[:5].tolist() == [-9.0, -4.0, 1.0, 2.0, 3.0]
    assert (np.diff(mapped) >= 0).all()
    assert mapped[-1] == 5.0


def test_both_zeros_are_one_place_for_maps_of_classes_and_for_one():
    zeros = np.float32([[0.0, 0.0], [-0.0, -0.0]])

    for knot in (0.0, -0.0):
        jump = ops.PiecewiseLinear([0, 2], [knot, knot], [-1.0, 2.0], [0.0], [0.0])
        two = ops.PiecewiseLinear(
            [0, 2, 4], [knot] * 4, [-1.0, 2.0, -1.0, 2.0], [0.0, 0.0], [0.0, 0.0]
        )

        assert (jump.apply(zeros) == 2.0).all()
        assert (two.apply(zeros) == 2.0).all()


def test_maps_of_classes_are_those_of_each_alone_in_any_number_of_rows():
    rng = np.random.default_rng(4)
    sizes = rng.integers(1, 9, size=40)
    maps = [(np.sort(rng.normal(size=n)), np.sort(rng.normal(size=n))) for n in sizes]
    step = ops.PiecewiseLinear.flat_beyond(maps)
    logits = rng.normal(size=(3000, 40)).astype(np.float32)

    mapped = step.apply(logits)

    for c in range(40):
        assert (mapped[:, c] == step.columns(c, c + 1).apply(logits[:, [c]])[:, 0]).all()
        assert mapped[:, c] == pytest.approx(np.interp(logits[:, c], *maps[c]), abs=1e-5)


def test_a_map_that_is_flat_beyond_leaves_out_knots_that_change_nothing():
    maps = [
        ([0.0, 1.0, 1.0, 2.0, 3.0], [1.0, 1.0, 2.0, 2.0, 2.0]),
        ([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 2.0, 3.0]),
        ([5.0, 6.0], [7.0, 7.0]),
    ]

    step = ops.PiecewiseLinear.flat_beyond(maps)

    assert step.indptr.tolist() == [0, 2, 6, 7]
    assert step.knots.tolist() == [1.0, 1.0, 0.0, 1.0, 2.0, 3.0, 5.0]
    assert step.values.tolist() == [1.0, 2.0, 1.0, 2.0, 2.0, 3.0, 7.0]


def test_a_bend_leaves_a_cell_without_a_score_and_overflow_alone():
    flat_ends = ops.PiecewiseLinear([0, 2], [0.0, 1.0], [0.0, 1.0], [0.0], [0.0])
    steep_ends = ops.PiecewiseLinear([0, 1], [0.0], [0.0], [9.0], [9.0])
    cells = np.array([[-np.inf, np.inf, 3e38, -3e38]], np.float32)

    assert flat_ends.apply(cells).tolist() == [[-np.inf, 1.0, 1.0, 0.0]]
    assert steep_ends.apply(cells)[0, [0, 1]].tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([0, 2], [0.0, -1.0], [0.0, 1.0], [1.0], [1.0]), "knots must not fall within a map"),
        (([0, 2], [0.0, 1.0], [0.0, -1.0], [1.0], [1.0]), "values must not fall within a map"),
        (([0, 1], [0.0, 1.0], [0.0, 1.0], [1.0], [1.0]), "indptr must lead from 0 to the 2 knots"),
        (([0, 0, 2], [0.0, 1.0], [0.0, 1.0], [1, 1], [1, 1]), "indptr must lead from 0 to the 2"),
        (([0, 2], [0.0, 1.0], [0.0], [1.0], [1.0]), "there must be 2 values and 1 slopes"),
        (([0, 2], [0.0, 1.0], [0.0, 1.0], [1.0], [-1.0]), "slopes must be at least 0"),
        (([0, 1], [np.nan], [0.0], [1.0], [1.0]), "knots of a piecewise linear step must be a fin"),
    ],
)
def test_a_bend_refuses_what_is_no_rising_map(arrays, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ops.PiecewiseLinear(*arrays)


def test_maps_of_classes_may_begin_lower_than_the_former_ended():
    step = ops.PiecewiseLinear([0, 1, 2], [5.0, -5.0], [3.0, -3.0], [1.0, 1.0], [1.0, 1.0])

    assert step.n_classes == 2
    assert step.apply(np.zeros((1, 2), np.float32)).tolist() == [[-2.0, 2.0]]
