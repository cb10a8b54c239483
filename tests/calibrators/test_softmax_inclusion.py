import itertools
import math
import warnings

import naive
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit, log_softmax, logsumexp

import calibrate as cal
from calibrate import FitWarning, ScoreHistogram, SoftmaxInclusion
from calibrate.data import labelled_logits
from calibrate.ops import Affine, RowAffine

FIXTURE = [0.9, 0.6, 0.3, 0.2]


def fit_quietly(step, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return step.fit(*arguments, **options)


def shared(p):
    """``E[y_c / |Y|]`` of all rows, the sum in `naive.shared_targets` as an integral over t."""
    expected = np.zeros_like(p)
    for x, weight in zip(*np.polynomial.legendre.leggauss(64), strict=True):
        others = 1 + p * ((x + 1) / 2 - 1)
        expected += weight / 2 * np.exp(np.log(others).sum(axis=1, keepdims=True)) / others
    return p * expected


def rich_and_poor_rows(n_rows=4000, n_classes=220, seed=0):
    """Rows that differ in their number of labels: what a softmax has learned of them at best.

    The logarithm of a row's richness has standard deviation 0.8, the rows have 11 labels on
    average. The counts are those of a model that is wrong by 30 % here and there.
    """
    rng = np.random.default_rng(seed)
    richness = 0.8 * rng.normal(size=(n_rows, 1))
    level = rng.normal(-4.25, 1.0, size=n_classes)
    p = expit(level + richness + 1.3 * rng.normal(size=(n_rows, n_classes)))
    learned = shared(p)
    counts = p.sum(axis=1) * np.exp(0.3 * rng.normal(size=n_rows))
    return log_softmax(np.log(learned), axis=1).astype(np.float32), rng.random(p.shape) < p, counts


@pytest.fixture(scope="module")
def rows():
    return rich_and_poor_rows()


FIT, TEST = slice(0, 2000), slice(2000, 4000)


def judged(calibrators, logits, labels, rule=None):
    rule = cal.SharedThreshold(cal.metrics.f_beta(1)) if rule is None else rule
    pipeline = fit_quietly(cal.Pipeline(calibrators, rule), logits[FIT], labels[FIT])
    return cal.evaluate(pipeline, logits[TEST], labels[TEST]).summary


# what the softmax learns


def test_18_the_targets_of_a_row_are_less_than_its_probabilities_by_a_factor_of_its_own():
    """Verification target 18: ``s_c = p_c E[1 / |Y| given c]``, worked for four labels.

    The sum is 1 less the chance of an empty row; the first is the expected Jaccard index of
    predicting that label alone.
    """
    targets = naive.shared_targets(FIXTURE)

    assert targets == pytest.approx([0.5049, 0.2739, 0.1209, 0.0779], abs=5e-5)
    assert sum(targets) == pytest.approx(1 - 0.1 * 0.4 * 0.7 * 0.8, abs=1e-12)
    assert sum(targets) == pytest.approx(0.9776, abs=1e-12)


def test_the_integral_used_here_is_that_sum():
    assert shared(np.array([FIXTURE]))[0] == pytest.approx(naive.shared_targets(FIXTURE), abs=1e-12)


def test_a_softmax_ends_at_the_targets_over_their_sum_since_empty_rows_weigh_nothing():
    sets = [y for y in itertools.product([0, 1], repeat=4) if any(y)]
    chance = [math.prod(p if on else 1 - p for on, p in zip(y, FIXTURE, strict=True)) for y in sets]

    def loss(logits):
        per_set = np.array(sets) / np.sum(sets, axis=1, keepdims=True) @ log_softmax(logits)
        return -np.dot(chance, per_set)

    learned = np.exp(log_softmax(optimize.minimize(loss, np.zeros(4), tol=1e-12).x))

    targets = np.array(naive.shared_targets(FIXTURE))
    assert learned == pytest.approx(targets / targets.sum(), abs=1e-5)


# counts


def test_logits_with_counts_are_the_log_softmax_and_the_log_count():
    logits = np.random.default_rng(0).normal(size=(50, 6)) * 3
    counts = np.linspace(0.2, 5, 50)

    carrying = SoftmaxInclusion.with_counts(logits, counts)

    assert carrying.dtype == np.float32
    assert logsumexp(carrying.astype(np.float64), axis=1) == pytest.approx(np.log(counts), abs=1e-6)
    expected = log_softmax(logits, axis=1) + np.log(counts)[:, None]
    np.testing.assert_allclose(carrying, expected, atol=2e-6)


def test_a_number_added_to_the_logits_of_a_row_is_lost_beside_its_count():
    rng = np.random.default_rng(0)
    logits, counts = rng.normal(size=(50, 6)), rng.uniform(1, 4, size=50)

    moved = SoftmaxInclusion.with_counts(logits + rng.normal(size=(50, 1)) * 5, counts)

    np.testing.assert_allclose(moved, SoftmaxInclusion.with_counts(logits, counts), atol=3e-6)


def test_counts_go_with_blocks_and_files(tmp_path, monkeypatch):
    logits = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    counts = np.linspace(0.2, 5, 50)
    whole = SoftmaxInclusion.with_counts(logits, counts)

    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", 40)
    np.save(tmp_path / "logits.npy", logits)

    assert np.array_equal(SoftmaxInclusion.with_counts(tmp_path / "logits.npy", counts), whole)


@pytest.mark.parametrize("shape", [(4,), (5, 1), ()])
def test_there_is_one_count_for_each_row(shape):
    with pytest.raises(ValueError, match=r"one for each of the 5 rows, got shape \("):
        SoftmaxInclusion.with_counts(np.zeros((5, 3)), np.ones(shape))


@pytest.mark.parametrize(
    ("wrong", "said"), [(0.0, "0"), (-2.5, "-2.5"), (np.nan, "nan"), (np.inf, "inf")]
)
def test_a_count_that_is_no_count_is_named_with_its_row(wrong, said):
    counts = np.ones(5)
    counts[3] = wrong

    with pytest.raises(
        ValueError, match=f"counts must be positive and finite, got {said} at row 3"
    ):
        SoftmaxInclusion.with_counts(np.zeros((5, 3)), counts)


def test_a_logit_that_is_nan_is_named_with_its_row():
    logits = np.zeros((5, 3))
    logits[2, 1] = np.nan

    with pytest.raises(ValueError, match="logits must be finite, got nan at row 2, class 1"):
        SoftmaxInclusion.with_counts(logits, np.ones(5))


def test_cells_without_a_score_stay_without_one_beside_counts(rows):
    logits, labels, counts = rows[0][:300, :20].copy(), rows[1][:300, :20], rows[2][:300]
    logits[5, 3], logits[6] = np.nan, np.nan

    carrying = SoftmaxInclusion.with_counts(logits, counts, nan="negative")
    pipeline = cal.Pipeline([SoftmaxInclusion()], cal.TopK(20))
    predicted = fit_quietly(pipeline, carrying, labels, nan="negative").predict(
        carrying, nan="negative"
    )

    assert not predicted[5, 3]
    assert predicted[[5], :].nnz == 19
    assert predicted[[6], :].nnz == 0


# what helps where rows differ


def test_with_a_count_is_better_than_without_and_that_better_than_a_fixed_threshold(rows):
    logits, labels, counts = rows
    carrying = SoftmaxInclusion.with_counts(logits, counts)

    fixed = judged([], logits, labels)
    without = judged([SoftmaxInclusion()], logits, labels)
    with_count = judged([SoftmaxInclusion()], carrying, labels)

    assert without["micro_f"] > fixed["micro_f"] + 0.03
    assert with_count["micro_f"] > without["micro_f"] + 0.004
    assert with_count["log_loss"] < without["log_loss"] - 0.001
    # one threshold of highest micro-F1 leaves poor rows empty, however good the count is
    assert without["instance_f"] > fixed["instance_f"] + 0.005
    assert with_count["instance_f"] > fixed["instance_f"] + 0.005


def test_the_totals_come_out_right_and_counts_follow_the_rows(rows):
    logits, labels, counts = rows
    carrying = SoftmaxInclusion.with_counts(logits, counts)

    step = fit_quietly(SoftmaxInclusion(), carrying[FIT], labels[FIT])

    expected = expit(step.transform(carrying[TEST])).sum(axis=1)
    true = labels[TEST].sum(axis=1)
    assert expected.sum() == pytest.approx(true.sum(), rel=0.03)
    # a quarter of the rows at a time, from the poorest by the count to the richest
    for part in np.array_split(np.argsort(counts[TEST]), 4):
        assert expected[part].sum() == pytest.approx(true[part].sum(), rel=0.08)


def test_what_helped_is_said(rows):
    logits, labels, counts = rows

    step = fit_quietly(
        SoftmaxInclusion(), SoftmaxInclusion.with_counts(logits, counts)[FIT], labels[FIT]
    )

    largest, count = step.report_.row_layers[:2]
    assert (largest.terms, count.terms) == (("by_largest",), ("by_log_sum", "by_largest"))
    assert largest.on
    assert count.on
    # with all of the count in it, a probability is s K: less is taken of a count that is wrong
    assert 0.3 < count.slope + count.coefficients[0] + count.coefficients[1] < 1.0
    assert any("row layer on (log sum" in sentence for sentence in step.report_.sentences())


def test_classes_get_lines_of_their_own_after_the_row(rows):
    logits, labels, _ = rows
    bias = np.random.default_rng(1).normal(size=labels.shape[1]).astype(np.float32)

    step = fit_quietly(SoftmaxInclusion(), logits[FIT] + bias, labels[FIT])

    first, *rest = step.op_.parts
    assert isinstance(first, RowAffine)
    assert first.n_classes is None
    assert [part.n_classes for part in rest if isinstance(part, Affine)] == [labels.shape[1]]
    frequent = labels[FIT].sum(axis=0) > 100
    expected = expit(step.transform(logits[FIT] + bias)).sum(axis=0)[frequent]
    before = expit(first.apply(logits[FIT] + bias)).sum(axis=0)[frequent]
    true = labels[FIT].sum(axis=0)[frequent]
    assert np.abs(np.log(before / true)).mean() > 0.5
    assert np.abs(np.log(expected / true)).max() < 0.1


# what changes nothing


def test_a_number_added_to_the_logits_of_a_row_changes_nothing_without_row_layers(rows):
    logits, labels, _ = rows
    added = 3 * np.random.default_rng(1).normal(size=(len(logits), 1)).astype(np.float32)

    plain = fit_quietly(SoftmaxInclusion(row_layer=False), logits[FIT], labels[FIT])
    moved = fit_quietly(SoftmaxInclusion(row_layer=False), (logits + added)[FIT], labels[FIT])

    assert plain.report_.row_layers == moved.report_.row_layers == ()
    # bins of the histogram take up what float32 rounds away
    np.testing.assert_allclose(
        moved.transform((logits + added)[TEST]), plain.transform(logits[TEST]), atol=2e-4
    )


def test_a_number_of_the_rows_that_tells_nothing_is_found_useless_and_left_out(rows):
    logits, labels, _ = rows
    added = np.random.default_rng(1).normal(size=(len(logits), 1)).astype(np.float32)

    plain = fit_quietly(SoftmaxInclusion(), logits[FIT], labels[FIT])
    moved = fit_quietly(SoftmaxInclusion(), (logits + added)[FIT], labels[FIT])

    for step in (plain, moved):
        assert [layer.on for layer in step.report_.row_layers] == [True, False, False]
    # other cells are drawn for the fit of the row layers
    np.testing.assert_allclose(
        moved.transform((logits + added)[TEST]), plain.transform(logits[TEST]), atol=0.03
    )


@pytest.mark.parametrize("stored", [np.float32, np.float16])
def test_no_coefficient_rests_on_the_rounding_of_a_norm_that_is_nought(rows, stored):
    logits, labels, _ = rows

    step = fit_quietly(SoftmaxInclusion(), logits[FIT].astype(stored), labels[FIT])

    *_, second = (t for t in step.report_.row_layers if "by_log_sum" in t.terms)
    assert all(abs(coefficient) < 5 for coefficient in second.coefficients)


def test_a_rule_file_decides_the_same_and_says_what_was_found(rows, tmp_path):
    logits, labels, counts = rows
    carrying = SoftmaxInclusion.with_counts(logits, counts)
    pipeline = cal.Pipeline([SoftmaxInclusion()], cal.ExpectedCountTopK())
    fit_quietly(pipeline, carrying[FIT], labels[FIT]).save(tmp_path / "rule.safetensors")

    loaded = cal.load(tmp_path / "rule.safetensors")

    assert (loaded.predict(carrying[TEST]) != pipeline.predict(carrying[TEST])).nnz == 0
    step, _ = loaded.provenance["pipeline"]
    assert step["step"] == "SoftmaxInclusion"
    assert [layer["on"] for layer in step["report"]["row_layers"]][:2] == [True, True]


# what is refused


def test_without_positives_there_is_nothing_to_fit():
    with pytest.raises(ValueError, match="at least one positive, got none in 4 rows of 3 classes"):
        SoftmaxInclusion().fit(3 * np.eye(4, 3), np.zeros((4, 3)))


def test_a_histogram_has_no_norm():
    histogram = ScoreHistogram.of(labelled_logits(3 * np.eye(4, 3), np.eye(4, 3)))

    with pytest.raises(TypeError, match="fitted from rows of logits, got a histogram"):
        SoftmaxInclusion().fit_from(histogram)


@pytest.mark.parametrize("wrong", ["yes", None, 2])
def test_other_options_are_refused(wrong):
    with pytest.raises(ValueError, match=f"row_layer must be 'auto', True or False, got {wrong!r}"):
        SoftmaxInclusion(row_layer=wrong).fit(3 * np.eye(4, 3), np.eye(4, 3))


def test_outputs_given_as_probabilities_are_refused():
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    outputs = cal.as_logits(shares, probabilities=True)

    with pytest.raises(ValueError, match="must be given as their logarithms, in the place of"):
        cal.SoftmaxInclusion().fit(outputs, np.array([[1, 0, 0], [0, 0, 1]]))
