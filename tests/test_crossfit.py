"""Every row is judged by a fit that has not seen it; counts are summed before any metric."""

from __future__ import annotations

import json
import warnings
from copy import copy

import naive
import naive_evaluation
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import calibrate as cal
from calibrate import crossfit
from calibrate.base import FitWarning
from calibrate.crossfit import FoldError, cross_fit_many, deal_rows
from calibrate.data import labelled_logits
from calibrate.metrics import f_beta
from calibrate.ops import RowOp
from calibrate.statistics import Evidence, ScoreHistogram

LAW = settings(deadline=None, derandomize=True, max_examples=100)
ADJACENT = float(np.nextafter(np.float32(1), np.float32(2)))
UNRANKED = {"macro_ap", "micro_ap", "instance_ap"}


def tolerances(key):
    """Relative and absolute."""
    if "expected" in key:
        # the expected count of a row is summed from float32 probabilities
        return 1e-6, 1e-6
    # the bounds of scipy are found by halving
    return (1e-9, 1e-11) if key in ("f_low", "f_high") else (1e-12, 1e-13)


pytestmark = pytest.mark.filterwarnings("ignore:all logits lie in")

ROW_PIPELINES = {
    "per-class thresholds": lambda: cal.Pipeline([], cal.PerClassThreshold(f_beta(1))),
    "shared threshold": lambda: cal.Pipeline(
        [cal.PosWeightCorrection(2.0)], cal.SharedThreshold(f_beta(1))
    ),
    "expected count": lambda: cal.Pipeline([], cal.ExpectedCountTopK()),
    "top-k": lambda: cal.Pipeline([], cal.TopK(2)),
    "half": lambda: cal.Pipeline([], cal.FixedThreshold()),
}
"""Fitted from the rows themselves, so that the naive way gives the same numbers."""


def example(n_rows: int = 300, n_classes: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.linspace(0.4, 0.03, n_classes)
    logits = 1.5 * labels + rng.normal(size=labels.shape)
    return logits.astype(np.float32), labels


@st.composite
def rows(draw):
    """Rows with ties, empty and full classes, and rows without a score."""
    shape = draw(st.integers(2, 9)), draw(st.integers(1, 5))
    cells = st.sampled_from([np.nan, -5.0, -1.0, 0.0, 0.5, 1.0, ADJACENT, 3.0])
    logits = draw(arrays(np.float32, shape, elements=cells))
    labels = draw(arrays(np.bool_, shape))
    for c in range(shape[1]):
        fill = draw(st.sampled_from([None, None, None, False, True]))
        if fill is not None:
            labels[:, c] = fill
    return logits, labels


def fit_of(pipeline):
    """The naive harness's view of a pipeline: fitted on what it is given, one call per row."""

    def fit(logits, labels):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)
            decision = pipeline().fit(logits, labels, nan="negative").decision_

        def judge(some):
            decided = decision.predict(some, nan="negative").toarray()
            known = np.where(np.isnan(some), -np.inf, some).astype(np.float32)
            return decided, decision.calibrate(known)

        return judge

    return fit


# figures


@LAW
@given(
    case=rows(),
    name=st.sampled_from(list(ROW_PIPELINES)),
    seed=st.integers(0, 3),
    block_cells=st.sampled_from([1, 7, 1 << 21]),
    data=st.data(),
)
def test_the_figures_are_those_of_the_naive_way(case, name, seed, block_cells, data):
    logits, labels = case
    ids = data.draw(arrays(np.int64, len(logits), elements=st.integers(0, 5)))
    groups = data.draw(st.sampled_from([None, ids]))
    n_groups = len(logits) if groups is None else len(set(ids.tolist()))
    assume(n_groups >= 2)
    folds = data.draw(st.integers(2, n_groups))
    fold, _ = deal_rows(len(logits), folds, groups=groups, seed=seed)
    assume(len(set(fold[labels.any(axis=1)].tolist())) >= 2)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        patch.setattr("calibrate.data.logits.BLOCK_CELLS", block_cells)
        found = cal.cross_fit(
            ROW_PIPELINES[name](), logits, labels, folds=folds, groups=groups, seed=seed, beta=2.0,
            nan="negative",
        )  # fmt: skip

    decided, scores = naive_evaluation.cross_fitted(
        fit_of(ROW_PIPELINES[name]), logits, labels, fold.tolist()
    )
    summary, per_class = naive_evaluation.evaluate(decided, labels, scores, 2.0)
    assert set(found.out_of_sample.summary) == set(summary)
    for key in set(summary) - UNRANKED:
        np.testing.assert_allclose(
            found.out_of_sample.summary[key], summary[key], *tolerances(key), err_msg=key
        )
    for key in set(per_class) - {"average_precision"}:
        np.testing.assert_allclose(
            found.out_of_sample.per_class[key], per_class[key], *tolerances(key), err_msg=key
        )
    assert all(np.isnan(found.out_of_sample.summary[key]) for key in UNRANKED)
    # intervals count what is kept together once
    parts = np.arange(len(logits)) if groups is None else ids
    for key, added in naive_evaluation.influences(decided, labels, 2.0).items():
        sums = [added[parts == one].sum() * n_groups / len(logits) for one in sorted(set(parts))]
        np.testing.assert_allclose(
            found.out_of_sample.influence[key], sums, 1e-9, 1e-12, err_msg=key
        )
        expected = naive_evaluation.interval(
            summary[key], sums, 0.95, 0.0, np.inf if key == "count_ratio" else 1.0
        )
        np.testing.assert_allclose(
            found.out_of_sample.intervals[key], expected, 1e-9, 1e-9, err_msg=key
        )


def test_a_fit_from_histograms_is_the_fit_to_the_other_folds_on_the_grid_of_all_rows():
    logits, labels = example()
    pipeline = cal.Pipeline(
        [cal.PosWeightCorrection(3.0), cal.PlattScaling()], cal.FixedThreshold()
    )
    fold, _ = deal_rows(300, 4, seed=2)
    grid = Evidence(labelled_logits(logits, labels)).histogram.grid

    def fit(some_logits, some_labels):
        some = ScoreHistogram.of(labelled_logits(some_logits, some_labels), grid)
        decision = cal.Pipeline(pipeline.calibrators, pipeline.rule).fit_from(some).decision_
        return lambda x: (decision.predict(x).toarray(), decision.calibrate(x))

    found = cal.cross_fit(pipeline, logits, labels, folds=4, seed=2).out_of_sample.summary

    decided, scores = naive_evaluation.cross_fitted(fit, logits, labels, fold)
    expected, _ = naive_evaluation.evaluate(decided, labels, scores)
    for key in set(expected) - UNRANKED:
        np.testing.assert_allclose(found[key], expected[key], *tolerances(key), err_msg=key)


@pytest.mark.filterwarnings("ignore::calibrate.base.FitWarning")
@pytest.mark.parametrize("rows_looked_at", [None, 200])
def test_a_row_layer_is_fitted_to_the_rows_of_the_other_folds(rows_looked_at, monkeypatch):
    """A histogram is at hand for each fit, but the layer that needs rows is not left out."""
    if rows_looked_at is not None:
        monkeypatch.setattr("calibrate.hierarchy.rows._FEWEST_ROWS", rows_looked_at)
        monkeypatch.setattr("calibrate.hierarchy.rows._MOST_LOOKED", 1)
    rng = np.random.default_rng(0)
    truth = 2 * rng.normal(size=(600, 30)) - 3
    labels = rng.random(truth.shape) < 1 / (1 + np.exp(-truth))
    logits = truth + 3 * rng.normal(size=(600, 1))  # a row's level says nothing of its labels
    logits = logits.astype(np.float32)
    fold, _ = deal_rows(600, 3, seed=1)
    grid = Evidence(labelled_logits(logits, labels)).histogram.grid
    made = []

    def fit(some_logits, some_labels):
        some = labelled_logits(some_logits, some_labels)
        evidence = Evidence(some, ScoreHistogram.of(some, grid))
        decision = pipeline().fit_evidence(evidence).decision_
        made.append(decision)
        return lambda x: (decision.predict(x).toarray(), decision.calibrate(x))

    def pipeline(row_layer="auto"):
        scaling = cal.HierarchicalScaling(row_layer=row_layer)
        return cal.Pipeline([scaling], cal.FixedThreshold())

    found, without = (
        cal.cross_fit(pipeline(row_layer), logits, labels, folds=3, seed=1).out_of_sample.summary
        for row_layer in ("auto", False)
    )

    decided, scores = naive_evaluation.cross_fitted(fit, logits, labels, fold)
    expected, _ = naive_evaluation.evaluate(decided, labels, scores)
    assert all(any(isinstance(op, RowOp) for op in decision.steps) for decision in made)
    for key in set(expected) - UNRANKED:
        np.testing.assert_allclose(found[key], expected[key], 1e-9, 1e-12, err_msg=key)
    assert found["log_loss"] < 0.95 * without["log_loss"]


@pytest.mark.parametrize("held_bytes", [1, 3 * 6 * 512 * 8 * 2, 1 << 27])
def test_each_fold_is_counted_once_however_many_histograms_are_held(held_bytes, monkeypatch):
    logits, labels = example()
    monkeypatch.setattr(crossfit, "_HELD_BYTES", held_bytes)
    counted = []
    count = ScoreHistogram._count

    def counting(self, block, chosen):
        counted.append(len(chosen))
        count(self, block, chosen)

    monkeypatch.setattr(ScoreHistogram, "_count", counting)
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK())

    found = cal.cross_fit(pipeline, logits, labels, folds=4)

    assert sum(counted) == 2 * 300
    assert counted[1:] == [75] * 4
    assert found.out_of_sample.summary["micro_f"] == pytest.approx(0.5, abs=0.2)


def test_nothing_is_counted_where_no_step_asks_for_a_histogram(monkeypatch):
    monkeypatch.setattr(ScoreHistogram, "_count", lambda *_: pytest.fail("counted"))

    cal.cross_fit(cal.Pipeline([cal.PosWeightCorrection(2.0)], cal.TopK(1)), *example())


def test_the_decision_is_that_of_the_fit_to_all_rows_and_holds_the_figures():
    logits, labels = example()
    names = [f"class {i}" for i in range(6)]
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(f_beta(1)))

    found = cal.cross_fit(pipeline, logits, labels, class_names=names)

    alone = pipeline.fit(logits, labels, class_names=names).decision_
    assert found.decision.rule.same_as(alone.rule)
    assert all(a.same_as(b) for a, b in zip(found.decision.steps, alone.steps, strict=True))
    told = found.decision.header()["provenance"]
    assert told.pop("cross_fit") == json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told == alone.header()["provenance"]
    assert found.decision.class_names == found.out_of_sample.class_names == tuple(names)
    in_sample = cal.evaluate(alone, logits, labels, ranking=False).summary
    np.testing.assert_equal(found.in_sample.summary, in_sample)


def test_the_pipeline_stays_unfitted():
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK())

    cal.cross_fit(pipeline, *example())

    assert not hasattr(pipeline, "decision_")


def test_optimism_is_in_sample_minus_out_of_sample_of_all_that_is_no_count():
    found = cal.cross_fit(cal.Pipeline([], cal.PerClassThreshold(f_beta(1))), *example())

    summary = found.summary()

    assert summary["optimism"]["macro_f"] == (
        summary["in_sample"]["macro_f"] - summary["out_of_sample"]["macro_f"]
    )
    assert summary["optimism"]["macro_f"] > 0.01
    dropped = set(summary["in_sample"]) - set(summary["optimism"])
    assert {name for name in dropped if not name.startswith("n_")} == {"beta", "level"}


def test_optimism_is_what_new_rows_show():
    """Thresholds of rare classes: in-sample F1 flatters, the cross-fit tells what new rows give."""
    rng = np.random.default_rng(3)
    labels, new_labels = (rng.random((1000, 200)) < 0.01 for _ in range(2))
    logits, new_logits = (2 * y + rng.normal(size=y.shape) for y in (labels, new_labels))

    found = cal.cross_fit(cal.Pipeline([], cal.PerClassThreshold(f_beta(1))), logits, labels)

    new = cal.evaluate(found.decision, new_logits, new_labels, ranking=False).summary["macro_f"]
    assert found.out_of_sample.summary["macro_f"] == pytest.approx(new, abs=0.01)
    assert found.in_sample.summary["macro_f"] > new + 0.1


def test_copies_of_rows_in_one_group_narrow_no_interval():
    logits, labels = example()
    four = np.arange(300).repeat(4)
    decide = [cal.Pipeline([], cal.TopK(k)) for k in (1, 2)]

    once = [cal.cross_fit(one, logits, labels).out_of_sample for one in decide]
    copied = [
        cal.cross_fit(one, logits[four], labels[four], groups=four).out_of_sample for one in decide
    ]
    alone = cal.cross_fit(decide[0], logits[four], labels[four]).out_of_sample

    for name, interval in once[0].intervals.items():
        assert copied[0].intervals[name] == pytest.approx(interval, rel=1e-9)
    found, expected = (cal.paired_differences(*pair) for pair in (copied, once))
    for name, interval in expected.items():
        assert found[name] == pytest.approx(interval, rel=1e-9)
    with pytest.raises(ValueError, match="over the same groups of rows, got 300 and 1200 of them"):
        cal.paired_differences(copied[0], alone)


def test_findings_are_said_once_and_not_for_every_fold():
    logits, labels = example()
    labels[:, 3] = False

    with pytest.warns(FitWarning) as warned:
        cal.cross_fit(cal.Pipeline([], cal.PerClassThreshold(f_beta(1))), logits, labels)

    assert len(warned) == 1


def test_many_pipelines_have_the_figures_that_each_has_alone():
    logits, labels = example()
    pipelines = {name: make() for name, make in ROW_PIPELINES.items()} | {
        "Platt": cal.Pipeline([cal.PlattScaling()], cal.SharedThreshold(f_beta(1)))
    }

    found = cross_fit_many(pipelines, labelled_logits(logits, labels), folds=3, seed=5)

    for name, pipeline in pipelines.items():
        alone = cal.cross_fit(pipeline, logits, labels, folds=3, seed=5)
        np.testing.assert_equal(found[name].as_dict(), alone.as_dict())


@pytest.mark.parametrize("name", ["expected count", "per-class thresholds"])
def test_threads_and_containers_change_nothing(name, monkeypatch, tmp_path):
    logits, labels = example()
    np.save(tmp_path / "logits.npy", logits)
    pipeline = cal.Pipeline([cal.PlattScaling()], ROW_PIPELINES[name]().rule)
    expected = cal.cross_fit(pipeline, logits, labels).as_dict()

    for threads, container in (("1", logits), ("5", logits), ("2", tmp_path / "logits.npy")):
        monkeypatch.setenv("CALIBRATE_NUM_THREADS", threads)
        assert cal.cross_fit(pipeline, container, labels).as_dict() == expected
    assert cal.cross_fit(pipeline, logits.astype(np.float64), labels).as_dict() == expected
    assert cal.cross_fit(pipeline, labelled_logits(logits, labels)).as_dict() == expected


# dealing


@LAW
@given(
    ids=st.lists(st.integers(-2, 6), min_size=2, max_size=30),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_groups_are_dealt_as_in_the_naive_way(ids, seed, data):
    n_groups = len(set(ids))
    assume(n_groups >= 2)
    folds = data.draw(st.integers(2, n_groups))

    fold, found_groups = deal_rows(len(ids), folds, groups=ids, seed=seed)

    shuffled = np.random.default_rng(seed).permutation(n_groups)
    assert fold.tolist() == naive.deal(ids, folds, shuffled)
    assert found_groups == n_groups
    assert set(fold.tolist()) == set(range(folds))
    assert len({(one, f) for one, f in zip(ids, fold.tolist(), strict=True)}) == n_groups


def test_folds_of_single_rows_are_of_one_size_and_no_blocks():
    fold, n_groups = deal_rows(103, 5)

    assert sorted(np.bincount(fold)) == [20, 20, 21, 21, 21]
    assert n_groups is None
    halves = np.bincount(fold[:50], minlength=5)
    assert halves.min() >= 5
    assert halves.max() <= 15


def test_the_deal_is_decided_by_the_seed():
    deals = [deal_rows(50, 3, seed=seed)[0].tolist() for seed in (0, 0, 1)]

    assert deals[0] == deals[1] != deals[2]


def test_groups_of_one_row_are_as_no_groups():
    alone, named = deal_rows(40, 4, seed=1), deal_rows(40, 4, groups=np.arange(40), seed=1)

    assert np.array_equal(alone[0], named[0])


def test_the_order_of_the_rows_moves_no_group():
    ids = np.random.default_rng(0).integers(0, 12, size=100)
    order = np.random.default_rng(1).permutation(100)

    assert np.array_equal(
        deal_rows(100, 3, groups=ids)[0][order], deal_rows(100, 3, groups=ids[order])[0]
    )


def test_ids_may_be_text_or_a_column_of_a_frame():
    import pandas as pd

    ids = ["b", "a", "b", "c", "a"]
    expected = deal_rows(5, 3, groups=np.array([1, 0, 1, 2, 0]))[0]

    for groups in (ids, np.array(ids), pd.Series(ids), np.array(ids, dtype=object)):
        assert np.array_equal(deal_rows(5, 3, groups=groups)[0], expected)


REFUSED = {
    "one fold": ({"folds": 1}, ValueError, "folds must be at least 2, got 1"),
    "half a fold": ({"folds": 2.5}, TypeError, "folds must be a whole number, got 2.5"),
    "true": ({"folds": True}, TypeError, "folds must be a whole number, got True"),
    "few rows": ({"folds": 7}, FoldError, "7 folds need at least as many rows, got 6"),
    "one group": (
        {"folds": 2, "groups": ["a"] * 6},
        FoldError,
        "2 folds need at least as many groups of rows, got 1 among 6 rows",
    ),
    "other rows": (
        {"folds": 2, "groups": [1, 2, 3]},
        ValueError,
        r"groups must be one id per row, shape \(6,\), got shape \(3,\)",
    ),
    "fractions": (
        {"folds": 2, "groups": np.linspace(0, 1, 6)},
        TypeError,
        "groups must be whole numbers or text, got dtype float64",
    ),
    "none": (
        {"folds": 2, "groups": ["a", None, "b", "c", "d", "e"]},
        TypeError,
        "groups must be whole numbers or text, got dtype object",
    ),
}


@pytest.mark.parametrize(("options", "error", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_dealt_is_refused(options, error, text):
    logits, labels = example(6)
    labels[:, 0] = True

    with pytest.raises(error, match=text):
        cal.cross_fit(cal.Pipeline([], cal.TopK(1)), logits, labels, **options)


def test_positives_in_one_fold_alone_are_refused():
    logits, labels = example(10)
    labels[:], labels[3] = False, True
    pipeline = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK())
    fold = deal_rows(10, 5)[0][3]

    with pytest.raises(FoldError, match=f"of 6 positives all of them lie in fold {fold}"):
        cal.cross_fit(pipeline, logits, labels)
    labels[3] = False
    with pytest.raises(FoldError, match="of 0 positives there are none"):
        cal.cross_fit(pipeline, logits, labels)


def test_rows_that_are_checked_take_no_other_labels_and_no_steps():
    logits, labels = example()
    checked = labelled_logits(logits, labels)
    pipeline = cal.Pipeline([], cal.TopK(1))

    with pytest.raises(TypeError, match="have their labels: give no others"):
        cal.cross_fit(pipeline, checked, labels)
    with pytest.raises(ValueError, match=r"must come without calibration steps, .* got 1"):
        cal.cross_fit(
            pipeline, checked.after(cal.PosWeightCorrection(2.0).fit(checked.source, labels).op_)
        )


def test_a_wrong_beta_is_refused_before_anything_is_fitted(monkeypatch):
    monkeypatch.setattr(cal.Pipeline, "fit_evidence", lambda *_: pytest.fail("fitted"))

    with pytest.raises(ValueError, match="beta"):
        cal.cross_fit(cal.Pipeline([], cal.TopK(1)), *example(), beta=-1.0)


# rules that adapt to the rows labelled together


def test_the_rows_of_a_fold_are_the_batch_of_the_fit_without_them(monkeypatch):
    logits, labels = example(n_rows=90)
    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", 50)
    pipeline = cal.Pipeline(
        [cal.PlattScaling()], cal.PerClassThreshold(f_beta(1), shrinkage=0.2, batch=True)
    )
    fold, _ = deal_rows(90, 3)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        found = cal.cross_fit(pipeline, logits, labels, folds=3)

    rows = labelled_logits(logits, labels)
    everything, n_predicted = Evidence(rows), 0
    for number in range(3):
        part, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        grid = everything.histogram.grid
        evidence = Evidence(rows.take(rest), ScoreHistogram.of(rows.take(rest), grid))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)
            n_predicted += copy(pipeline).fit_evidence(evidence).predict(logits[part]).nnz
    assert found.out_of_sample.summary["n_predicted"] == n_predicted
    assert found.in_sample.summary["n_predicted"] == found.decision.predict(logits).nnz
    assert found.decision.adapts


def test_folds_of_one_row_are_no_batch():
    logits, labels = example(n_rows=8)
    pipeline = cal.Pipeline([], cal.PlugInThreshold(f_beta(1), batch=True))

    with pytest.raises(FoldError, match="needs two rows in each fold, got 1"):
        cal.cross_fit(pipeline, logits, labels, folds=5)
