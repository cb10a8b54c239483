"""Laws that every calibrator and every rule keeps; a new method is tested from its file on."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

import calibrate as cal
from calibrate.base import Calibrator, DecisionRule, FitWarning
from calibrate.data import labelled_logits
from calibrate.ops import RowOp, flat
from calibrate.statistics import Evidence

PACKAGE = Path(cal.__file__).parent

OPTIONS = {
    "HierarchicalScaling": [
        {},
        {"pos_weight": np.linspace(0.5, 20, 7)},
        {"pos_weight": 3.0, "row_layer": True},
        {"row_layer": False},
    ],
    "RowScaling": [{}, {"gated": False}],
    "SoftmaxInclusion": [{}, {"row_layer": False}],
    "PosWeightCorrection": [
        {"pos_weight": 3.0},
        {"pos_weight": np.linspace(0.5, 20, 7)},
        {"pos_weight": 3.0, "label_smoothing": 1e-3},
    ],
    "ResamplingCorrection": [
        {"keep_negatives": 0.1},
        {"keep_positives": np.linspace(1, 5, 7), "keep_negatives": 0.5},
    ],
    "FocalCorrection": [{}, {"gamma": 1.0, "alpha": 0.25}],
    "AsymmetricLossCorrection": [{}, {"gamma_pos": 1.0, "clip": 0.0, "detached": False}],
    "LogitAdjustment": [{}, {"prior": np.linspace(0.1, 0.6, 7), "tau": 0.5}],
    "IsotonicCalibration": [
        {"min_positives": 20},
        {"min_positives": 20, "centered": True},
        {"per_class": False},
    ],
    "ScalingBinning": [{}, {"n_bins": 3}],
    "TemperatureScaling": [
        {"per_class": per_class, "bias": bias}
        for per_class in (False, True)
        for bias in (False, True)
    ],
    "PriorShift": [
        {"prevalence": 0.2},
        {"prevalence": np.linspace(0.01, 0.9, 7)},
        {"target": np.random.default_rng(7).normal(size=(150, 7)).astype(np.float32) * 2},
    ],
    "PerClassThreshold": [
        {"metric": cal.metrics.f_beta(1)},
        {"metric": cal.metrics.recall_at_precision(0.5)},
        {"metric": lambda tp, fp, fn, tn: tp - 0.5 * fp},
        {"metric": cal.metrics.f_beta(1), "shrinkage": "auto"},
        {"metric": cal.metrics.jaccard, "shrinkage": 0.3, "batch": True},
    ],
    "PlugInThreshold": [
        {"metric": cal.metrics.f_beta(1)},
        {"metric": cal.metrics.mcc},
        {"metric": lambda tp, fp, fn, tn: tp - 0.5 * fp},
        {"metric": cal.metrics.f_beta(2), "batch": True},
    ],
    "SCutFbr": [{"metric": cal.metrics.f_beta(1)}, {"metric": cal.metrics.mcc, "fbr": 0.0}],
    "SharedThreshold": [
        {"metric": cal.metrics.f_beta(1)},
        {"metric": cal.metrics.f_beta(2), "shrinkage": "auto"},
        {"metric": lambda tp, fp, fn, tn: tp - 0.5 * fp},
    ],
    "InstanceThreshold": [
        {"metric": cal.metrics.f_beta(1)},
        {"metric": cal.metrics.jaccard, "min_k": 1},
        {"metric": lambda tp, fp, fn, tn: tp - 0.5 * fp},
    ],
    "ExpectedFBeta": [{}, {"beta": 2.0, "exact": True}],
    "ExpectedJaccard": [{}, {"exact": True}],
    "TopK": [{"k": 2}],
    "RecallGuarantee": [{}, {"recall": 0.5, "confidence": 0.8, "simultaneous": True}],
    "PrecisionGuarantee": [
        {"precision": 0.3, "confidence": 0.8},
        {"precision": 0.3, "confidence": 0.8, "correction": cal.corrections.bh},
    ],
    "Overridden": [
        {"rule": cal.PerClassThreshold(cal.metrics.f_beta(1)), "min_labels": 1, "max_labels": 3}
    ],
    "ExpectedCountTopK": [{}, {"min_k": 1, "max_k": 3}, {"min_k": None, "mode": True}],
    "PrevalenceMatching": [{}, {"prevalence": np.linspace(0.02, 0.7, 7), "factor": 1.5}],
    "CardinalityMatching": [{}, {"cardinality": 1.5}],
    "MicroOptimalThreshold": [{}, {"beta": 2.0}],
    "PropensityTopK": [{"k": 2}],
    "RiskControl": [
        {"risk": cal.risks.false_negative_rate, "level": 0.3},
        {"risk": cal.risks.missed_any, "level": 0.5, "confidence": 0.8},
        {"risk": cal.risks.false_discovery_proportion, "level": 0.7, "confidence": 0.9},
    ],
    "BudgetedTopK": [
        {"k": 2, "metric": cal.metrics.f_beta(1)},
        {"k": 1, "metric": lambda tp, fp, fn, tn: tp - 0.5 * fp},
    ],
}
"""Constructor options to test a method with; a method without an entry is made without options."""

MAY_TIE = {"AsymmetricLossCorrection", "IsotonicCalibration", "ScalingBinning", "VennAbers"}
"""Maps with flat pieces: different logits may come out equal, but never in another order."""

EXACT_ON_ROWS = {"IsotonicCalibration", "VennAbers"}
"""Fitted to each distinct score of the rows, and only near that to the means of bins."""

NEED_ROWS = (cal.RowScaling, cal.SoftmaxInclusion)
"""Methods that look along rows even where that comes to nothing."""


def methods(room: str) -> list[object]:
    made = []
    for module in iter_modules([str(PACKAGE / room)]):
        name = "".join(word.capitalize() for word in module.name.split("_"))
        made += [getattr(cal, name)(**options) for options in OPTIONS.get(name, [{}])]
    return made


def name_of(step: object) -> str:
    return repr(step).replace("\n", "")[:80]


CALIBRATORS = methods("calibrators")
RULES = methods("rules")
STEPS = CALIBRATORS + RULES

every_step = pytest.mark.parametrize("step", STEPS, ids=name_of)
every_calibrator = pytest.mark.parametrize("step", CALIBRATORS, ids=name_of)
every_rule = pytest.mark.parametrize("step", RULES, ids=name_of)


@pytest.fixture(autouse=True)
def _findings_are_no_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        yield


def rows(n_rows: int = 300, n_classes: int = 7, seed: int = 0, *, distinct: bool = False):
    """Logits that lean towards the labels, with ties unless `distinct`, one class empty."""
    rng = np.random.default_rng(seed)
    prevalence = np.linspace(0.05, 0.6, n_classes)
    labels = rng.random((n_rows, n_classes)) < prevalence
    if n_classes > 2:
        labels[:, 2] = False
    logits = rng.normal(size=labels.shape) + 1.5 * labels + np.log(prevalence) + 1
    if not distinct:
        logits = np.round(logits * 8) / 8
    return logits.astype(np.float32), labels


def decision_of(step, logits, labels, **options):
    """The frozen decision of a pipeline that holds the step."""
    if isinstance(step, Calibrator):
        pipeline = cal.Pipeline([step], cal.ExpectedCountTopK())
    else:
        pipeline = cal.Pipeline([], step)
    return pipeline.fit(logits, labels, **options).decision_


def of_classes(step, classes):
    """The step with its numbers per class those of `classes`."""
    options = step.get_params(deep=False)
    taken = {name: v[..., classes] for name, v in options.items() if isinstance(v, np.ndarray)}
    return clone(step).set_params(**taken)


def same_labels(one, other) -> bool:
    return one.shape == other.shape and (one != other).nnz == 0


def test_every_method_registers_itself():
    calibrators = {type(step).__name__ for step in CALIBRATORS}
    rules = {type(step).__name__ for step in RULES}

    assert calibrators <= set(Calibrator.registry)
    assert rules <= set(DecisionRule.registry)


@every_step
def test_fit_returns_self_and_leaves_the_options_alone(step):
    step = clone(step)
    before = {name: repr(value) for name, value in step.get_params().items()}

    result = step.fit(*rows())

    assert result is step
    assert {name: repr(value) for name, value in step.get_params().items()} == before


@every_step
def test_the_callers_arrays_are_never_changed(step):
    logits, labels = rows()
    kept = logits.copy(), labels.copy()
    logits.setflags(write=False)

    decision_of(step, logits, labels).predict(logits)

    assert np.array_equal(logits, kept[0])
    assert np.array_equal(labels, kept[1])


@every_step
def test_the_block_size_changes_nothing(step, monkeypatch):
    logits, labels = rows()
    whole = decision_of(step, logits, labels)
    expected = whole.predict(logits)

    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", 50)
    monkeypatch.setattr("calibrate.data.dataset.STRIP_CELLS", 1)
    monkeypatch.setattr("calibrate.data.dataset._FEWEST_CLASSES", 2)
    pieces = decision_of(step, logits, labels)

    assert pieces.rule.same_as(whole.rule)
    assert same_labels(pieces.predict(logits), expected)


@every_step
def test_the_number_of_threads_changes_nothing(step, monkeypatch):
    logits, labels = rows()
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    one = decision_of(step, logits, labels)

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "5")
    five = decision_of(step, logits, labels)

    assert one.rule.same_as(five.rule)
    assert all(a.same_as(b) for a, b in zip(one.steps, five.steps, strict=True))


@every_step
def test_the_order_of_the_rows_changes_nothing(step):
    logits, labels = rows()
    order = np.random.default_rng(1).permutation(len(logits))
    expected = decision_of(step, logits, labels).predict(logits)

    shuffled = decision_of(step, logits[order], labels[order]).predict(logits[order])

    assert same_labels(shuffled, expected[order])


@every_step
def test_the_order_of_the_classes_changes_nothing(step):
    logits, labels = rows(distinct=True)
    order = np.random.default_rng(2).permutation(logits.shape[1])
    moved = of_classes(step, order)

    expected = decision_of(step, logits, labels)
    permuted = decision_of(moved, logits[:, order], labels[:, order])

    probabilities = expected.predict_proba(logits)[:, order]
    np.testing.assert_allclose(permuted.predict_proba(logits[:, order]), probabilities, rtol=1e-5)
    if type(step).__name__ not in MAY_TIE:  # among equals the lower class index wins
        labelled = permuted.predict(logits[:, order])
        assert same_labels(labelled, expected.predict(logits)[:, order])


@every_step
def test_the_container_changes_nothing(step, tmp_path):
    import torch

    logits, labels = rows()
    expected = decision_of(step, logits, labels).predict(logits)
    np.save(tmp_path / "logits.npy", logits)
    sparse.save_npz(tmp_path / "labels.npz", sparse.csr_array(labels))
    containers = [
        (np.asfortranarray(logits), labels.astype(np.uint8)),
        (logits.astype(np.float64), sparse.coo_array(labels)),
        (logits.astype(">f4"), labels.astype(np.int64)),
        (torch.from_numpy(logits.copy()), torch.from_numpy(labels)),
        (logits, [np.flatnonzero(row).tolist() for row in labels]),
        (tmp_path / "logits.npy", str(tmp_path / "labels.npz")),
        ([logits[:100], logits[100:]], sparse.csc_matrix(labels)),
    ]

    for other_logits, other_labels in containers:
        decision = decision_of(step, other_logits, other_labels)

        assert same_labels(decision.predict(other_logits), expected)


@every_step
def test_the_rule_file_changes_nothing(step, tmp_path):
    logits, labels = rows()
    names = [f"class {i}" for i in range(logits.shape[1])]
    decision = decision_of(step, logits, labels, class_names=names)

    decision.save(tmp_path / "rule.safetensors")
    loaded = cal.load(tmp_path / "rule.safetensors")

    assert same_labels(loaded.predict(logits), decision.predict(logits))
    assert np.array_equal(loaded.predict_proba(logits), decision.predict_proba(logits))
    assert loaded.class_names == tuple(names)
    assert dict(loaded.provenance) == dict(decision.provenance)


@every_step
def test_a_copy_for_another_process_decides_the_same(step):
    logits, labels = rows()
    decision = decision_of(step, logits, labels, class_names=[f"class {i}" for i in range(7)])

    for made in (pickle.loads(pickle.dumps(decision)), copy.deepcopy(decision)):
        assert same_labels(made.predict(logits), decision.predict(logits))
        assert dict(made.provenance) == dict(decision.provenance)
        assert made.class_names == decision.class_names
        assert not any(a.flags.writeable for op in made.steps for a in op.arrays().values())


@every_step
def test_the_same_fit_writes_the_same_bytes(step, tmp_path):
    logits, labels = rows()

    for name in ("one", "other"):
        decision_of(step, logits, labels).save(tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@every_step
def test_steps_one_by_one_decide_as_the_decision_does(step):
    logits, labels = rows()
    pipeline = cal.Pipeline(
        [cal.PosWeightCorrection(2.5), cal.TemperatureScaling(per_class=True, bias=True)],
        step if isinstance(step, DecisionRule) else cal.PerClassThreshold(cal.metrics.f_beta(1)),
    ).fit(logits, labels)
    new = rows(seed=9)[0]

    calibrated = new
    for calibrator in pipeline.calibrators_:
        calibrated = calibrator.transform(calibrated)

    assert same_labels(pipeline.predict(new), pipeline.rule_.predict(calibrated))


@every_calibrator
def test_calibration_keeps_the_order_within_a_class(step):
    logits, labels = rows()

    op = clone(step).fit(logits, labels).op_

    calibrated = logits
    for part in flat((op,)):
        # what its row adds to a cell is not the class's own
        own = isinstance(part, RowOp)
        none = np.zeros(len(logits), np.float32)
        calibrated = part.apply_terms(calibrated, none) if own else part.apply(calibrated)
    for before, after in zip(logits.T, calibrated.T, strict=True):
        order = np.argsort(before, kind="stable")
        assert (np.diff(after[order]) >= 0).all()
        if type(step).__name__ not in MAY_TIE:
            assert len(np.unique(after)) == len(np.unique(before))


@every_calibrator
def test_a_calibrator_is_fitted_from_a_histogram_as_from_rows(step):
    logits, labels = rows()
    histogram = Evidence(labelled_logits(logits, labels)).histogram

    from_rows = clone(step).fit(logits, labels).op_

    if isinstance(step, NEED_ROWS) or any(isinstance(op, RowOp) for op in flat((from_rows,))):
        with pytest.raises(TypeError, match="fitted from rows of logits, got a histogram"):
            clone(step).fit_from(histogram)
        return
    from_histogram = clone(step).fit_from(histogram).op_
    if type(step).__name__ in EXACT_ON_ROWS:
        apart = from_rows.apply(logits) - from_histogram.apply(logits)
        assert np.abs(apart).mean() < 0.01
    else:
        assert from_rows.same_as(from_histogram)


@every_step
def test_a_histogram_with_its_rows_beside_it_serves_for_rows(step):
    rows_and_labels = labelled_logits(*rows())
    histogram = Evidence(rows_and_labels).histogram
    pipeline = cal.Pipeline([step], cal.TopK(2)) if isinstance(step, Calibrator) else (
        cal.Pipeline([], step)
    )  # fmt: skip

    both = clone(pipeline).fit_from(histogram, rows=rows_and_labels).decision_

    try:
        expected = clone(pipeline).fit_from(histogram).decision_
    except TypeError:
        expected = clone(pipeline).fit_evidence(Evidence(rows_and_labels)).decision_
    if not any(isinstance(op, RowOp) for op in both.steps):
        assert both.rule.same_as(expected.rule)
        assert all(a.same_as(b) for a, b in zip(both.steps, expected.steps, strict=True))
    assert both.provenance["n_rows_sampled"] == 300


@every_step
def test_one_class_is_enough(step):
    logits, labels = rows(n_classes=1, seed=3)

    predicted = decision_of(of_classes(step, [0]), logits, labels).predict(logits)

    assert predicted.shape == (300, 1)


@every_step
def test_one_row_is_enough(step):
    logits = np.array([[2.0, -1.0, 0.5, 1.0, -3.0, 0.0, 0.25]], dtype=np.float32)
    labels = np.array([[1, 0, 0, 1, 0, 0, 0]])

    decision = decision_of(step, logits, labels)
    if decision.adapts:
        with pytest.raises(ValueError, match="labelled together: give at least two, got 1"):
            decision.predict(logits)
        return
    predicted = decision.predict(logits)

    assert predicted.shape == (1, 7)


@every_step
def test_no_rows_are_refused(step):
    with pytest.raises(ValueError, match="there must be at least one row"):
        clone(step).fit(np.empty((0, 7), np.float32), np.empty((0, 7), np.uint8))


@every_step
def test_other_classes_are_refused_after_the_fit(step):
    logits, labels = rows()

    decision = decision_of(step, logits, labels)

    with pytest.raises(ValueError, match="must have the 7 classes of the fitted rule, got 6"):
        decision.predict(logits[:, :6])


@every_step
def test_a_cell_without_a_score_is_decided_negative(step):
    logits, labels = rows()
    logits[5, 3] = np.nan
    logits[6] = np.nan

    pipeline = cal.Pipeline([step], cal.TopK(7)) if isinstance(step, Calibrator) else (
        cal.Pipeline([], step)
    )  # fmt: skip
    predicted = pipeline.fit(logits, labels, nan="negative").predict(logits, nan="negative")

    assert not predicted[5, 3]
    assert predicted[[6], :].nnz == 0


@every_step
def test_an_unfitted_step_says_so(step):
    from sklearn.exceptions import NotFittedError

    step = clone(step)

    with pytest.raises(NotFittedError, match=f"{type(step).__name__} must be fitted"):
        (step.transform if isinstance(step, Calibrator) else step.predict)(rows()[0])


@every_step
def test_the_docstring_says_what_a_user_needs(step):
    text = type(step).__doc__

    assert "Examples\n" in text
    assert ">>> " in text
