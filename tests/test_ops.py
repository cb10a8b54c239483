import naive
import numpy as np
import pytest
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
    assert set(ops.OPS) == {"affine", "threshold", "top_k", "expected_count_top_k"}
    assert all(op.wire_name == name for name, op in ops.OPS.items())


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

    folded = ops.fold(steps, ops.Threshold(threshold), 1)

    tried = [*around(folded.threshold[0]), *logits, *around(0.0), ops.LOWEST, -ops.LOWEST]
    by_fold = mask_of(folded.decide(np.array(tried, np.float32)[:, None]), 1)[:, 0]
    assert by_fold.tolist() == one_by_one(chain, threshold, tried)


def test_each_class_is_folded_by_its_own_numbers():
    rng = np.random.default_rng(11)
    scale = rng.uniform(0.1, 3, size=(2, 50)).astype(np.float32)
    shift = rng.normal(size=(2, 50)).astype(np.float32)
    threshold = rng.normal(size=50).astype(np.float32)
    steps = (ops.Affine(scale[0], shift[0]), ops.Affine(scale[1], shift[1]))

    folded = ops.fold(steps, ops.Threshold(threshold), 50)

    for c in range(50):
        chain = [(scale[0, c], shift[0, c]), (scale[1, c], shift[1, c])]
        tried = around(folded.threshold[c], 20)
        decided = [bool(z >= folded.threshold[c]) for z in tried]
        assert decided == one_by_one(chain, threshold[c], tried)
        assert len(set(decided)) == 2


def test_one_threshold_for_all_classes_is_folded_to_one_for_each():
    folded = ops.fold((ops.Affine(1.0, [0.0, 1.0, -2.0]),), ops.Threshold(0.5), 3)

    assert folded.threshold.tolist() == [0.5, -0.5, 2.5]


def test_never_and_always_stay_so_when_folded():
    step = ops.Affine(0.5, [1.0, 1.0])

    folded = ops.fold((step,), ops.Threshold([np.inf, -np.inf]), 2)

    cells = np.array([[-ops.LOWEST, ops.LOWEST], [0.0, -np.inf]], np.float32)
    assert folded.threshold.tolist() == [np.inf, ops.LOWEST]
    assert mask_of(folded.decide(cells), 2).tolist() == [[False, True], [False, False]]


def test_a_threshold_that_no_finite_logit_reaches_folds_to_never():
    folded = ops.fold((ops.Affine(1e-3, 0.0),), ops.Threshold(3e38), 1)

    assert folded.threshold.tolist() == [np.inf]


def test_a_decision_along_the_row_and_one_without_steps_are_not_folded():
    top, cut = ops.TopK(1), ops.Threshold(0.0)

    assert ops.fold((ops.Affine(1.0, 0.0),), top, 2) is top
    assert ops.fold((), cut, 2) is cut
