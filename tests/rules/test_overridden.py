import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import calibrate as cal
from calibrate import FitWarning, metrics, ops, overrides
from calibrate.rules.overridden import Overridden

LAW = settings(derandomize=True, deadline=None, max_examples=60)
quiet = pytest.mark.filterwarnings("ignore::calibrate.FitWarning", "ignore:all logits lie in")
F1 = metrics.f_beta(1)


def simulated(n_rows=200, n_classes=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.linspace(0.1, 0.5, n_classes)
    return np.round(rng.normal(size=labels.shape) + 1.5 * labels - 1, 1).astype(np.float32), labels


@quiet
def test_classes_set_by_hand_get_their_thresholds_and_the_others_keep_theirs():
    logits, labels = simulated()
    plain = cal.PerClassThreshold(F1).fit(logits, labels).op_.threshold
    given_ = {0: overrides.never, 1: overrides.always, 3: overrides.at_threshold(0.25)}

    fitted = Overridden(cal.PerClassThreshold(F1), given_).fit(logits, labels)

    threshold = fitted.op_.threshold
    assert threshold[0] == np.inf
    assert threshold[3] == 0.25
    assert threshold[[2, 4]].tolist() == plain[[2, 4]].tolist()
    predicted = fitted.predict(logits).toarray()
    assert not predicted[:, 0].any()
    assert predicted[:, 1].all()


@quiet
def test_a_threshold_of_nought_is_one():
    logits, labels = simulated()
    given_ = {1: overrides.at_threshold(0.0), 2: overrides.at_probability(0.5)}

    fitted = Overridden(cal.FixedThreshold(0.75), given_).fit(logits, labels)

    assert fitted.op_.threshold.tolist() == [0.75, 0.0, 0.0, 0.75, 0.75]


def test_a_finding_lists_what_was_set_by_hand():
    logits, labels = simulated()
    rule = Overridden(cal.FixedThreshold(), {2: overrides.never, 4: overrides.with_min_recall(0.5)})

    with pytest.warns(FitWarning, match="1 of 5 classes have a threshold given by hand"):
        fitted = rule.fit(logits, labels)

    assert [(f.code, f.classes) for f in fitted.findings_] == [("overridden", (2,))]


@pytest.mark.parametrize("bound", ["min_precision", "min_recall"])
@pytest.mark.parametrize("metric", [F1, metrics.mcc, metrics.cost(1, 4)], ids=repr)
def test_a_bound_gives_the_best_cut_that_keeps_it(bound, metric):
    logits, labels = simulated()
    override = overrides.from_json({bound: 0.8})

    fitted = Overridden(cal.PerClassThreshold(metric), {1: override, 2: override}).fit(
        logits, labels
    )

    wanted = metrics.constrained(metric, **{bound: 0.8})
    for c in (1, 2):
        value, threshold = naive.best_cut(logits[:, c], labels[:, c], wanted)
        assert value > -np.inf
        assert fitted.op_.threshold[c] == threshold
    for c in (0, 3, 4):
        assert fitted.op_.threshold[c] == naive.best_cut(logits[:, c], labels[:, c], metric)[1]


def test_classes_with_different_bounds_get_each_their_own():
    logits, labels = simulated()
    rule = Overridden(
        cal.PerClassThreshold(F1),
        {0: overrides.with_min_precision(0.6), 4: overrides.with_min_recall(0.95)},
    )

    predicted = rule.fit(logits, labels).predict(logits).toarray()

    hits = (predicted & labels).sum(axis=0)
    assert hits[0] >= 0.6 * predicted[:, 0].sum() > 0
    assert hits[4] >= 0.95 * labels[:, 4].sum()


def test_a_rule_without_a_metric_keeps_bounds_by_f1():
    logits, labels = simulated()

    fitted = Overridden(cal.FixedThreshold(9.0), {1: overrides.with_min_recall(0.7)}).fit(
        logits, labels
    )

    wanted = metrics.constrained(F1, min_recall=0.7)
    assert fitted.op_.threshold[1] == naive.best_cut(logits[:, 1], labels[:, 1], wanted)[1]
    assert fitted.op_.threshold[0] == 9.0


def test_a_bound_that_no_cut_keeps_is_listed_with_the_best_there_is():
    logits = np.array([[3.0, 1.0], [2.0, 0.0], [1.0, 2.0]])
    labels = np.array([[0, 1], [1, 0], [0, 1]])
    rule = Overridden(cal.PerClassThreshold(F1), {0: overrides.with_min_precision(0.9)})

    with pytest.warns(FitWarning, match="1 of 2 classes reach precision 0.9 at no cut"):
        fitted = rule.fit(logits, labels)

    assert fitted.op_.threshold[0] == np.inf
    (found,) = fitted.findings_
    assert (found.code, found.classes, found.values) == ("infeasible", (0,), (0.5,))


def test_each_bound_lists_its_own_classes_alone():
    logits = np.array([[3.0, 1.0], [2.0, 0.0], [1.0, 2.0]])
    labels = np.array([[0, 1], [1, 0], [0, 1]])
    bounds = {0: overrides.with_min_precision(0.9), 1: overrides.with_min_precision(0.95)}

    with pytest.warns(FitWarning, match="1 of 2 classes reach precision 0.9 at no cut"):
        fitted = Overridden(cal.PerClassThreshold(F1), bounds).fit(logits, labels)

    assert [(f.code, f.classes) for f in fitted.findings_] == [("infeasible", (0,))]


@quiet
def test_a_shared_threshold_can_be_overridden_for_one_class():
    logits, labels = simulated()
    shared = cal.SharedThreshold(F1).fit(logits, labels).op_.threshold

    fitted = Overridden(cal.SharedThreshold(F1), {0: overrides.never}).fit(logits, labels)

    assert fitted.op_.threshold.tolist() == [np.inf, *([float(shared)] * 4)]


scores = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1e-45, 3e38, -3e38, 1.0000001]),
    st.just(-np.inf),
)


@LAW
@given(st.data())
def test_bounds_add_and_leave_out_the_nearest_to_their_thresholds(data):
    n_rows, n_classes = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    cells = st.lists(scores, min_size=n_classes, max_size=n_classes)
    logits = np.array([data.draw(cells) for _ in range(n_rows)], np.float32)
    cuts = data.draw(
        st.lists(
            st.sampled_from([0.0, 1.0, -2.0, np.inf, -np.inf, 0.5]),
            min_size=n_classes, max_size=n_classes,
        )
    )  # fmt: skip
    low = data.draw(st.integers(0, 3))
    high = data.draw(st.one_of(st.none(), st.integers(low, 6)))
    op = ops.BoundedThreshold(np.array(cuts, np.float32), low, high)

    labels = op.decide(logits)

    for i, row in enumerate(logits):
        expected = naive.bounded_labels(row, op.threshold, low, high)
        assert labels.indices[labels.indptr[i] : labels.indptr[i + 1]].tolist() == expected


def test_without_bounds_the_labels_are_those_of_the_thresholds():
    logits, _ = simulated()
    cuts = np.array([0.5, -np.inf, np.inf, -0.3, 0.1], np.float32)

    bounded = ops.BoundedThreshold(cuts, 0, None).decide(logits)

    plain = ops.Threshold(cuts).decide(logits)
    assert bounded.indices.tolist() == plain.indices.tolist()
    assert bounded.indptr.tolist() == plain.indptr.tolist()


def test_an_overflowing_logit_is_never_predicted_where_the_class_never_is():
    op = ops.BoundedThreshold(np.array([np.inf, 0.0], np.float32), 1, 2)

    labels = op.decide(np.array([[np.inf, -1.0]], np.float32))

    assert labels.indices.tolist() == [1]


def test_bounds_decide_the_same_with_and_without_kernels(monkeypatch):
    logits, labels = simulated()
    rule = Overridden(cal.PerClassThreshold(F1), {1: overrides.never}, 1, 2)
    with pytest.warns(FitWarning):
        decision = cal.Pipeline([cal.PlattScaling()], rule).fit(logits, labels).decision_
    plain = decision.predict(logits)

    monkeypatch.setattr("calibrate.decision._MANY_CELLS", 1)
    compiled = decision.predict(logits)

    counts = np.diff(plain.indptr)
    assert (counts.min(), counts.max()) == (1, 2)
    assert (plain != compiled).nnz == 0


def test_bounds_make_the_op_with_bounds_and_only_they_do():
    logits, labels = simulated()

    plain = Overridden(cal.FixedThreshold()).fit(logits, labels).op_
    least = Overridden(cal.FixedThreshold(), min_labels=1).fit(logits, labels).op_
    most = Overridden(cal.FixedThreshold(), max_labels=2).fit(logits, labels).op_
    none = Overridden(cal.FixedThreshold(), max_labels=0).fit(logits, labels)

    assert isinstance(plain, ops.Threshold)
    assert (least.min_k, least.max_k) == (1, None)
    assert (most.min_k, most.max_k) == (0, 2)
    assert none.predict(logits).nnz == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rule": cal.TopK(1)}, TypeError, "where a rule makes thresholds; TopK does not"),
        ({"rule": "top"}, TypeError, "rule must be a DecisionRule object, got 'top'"),
        ({"min_labels": -1}, ValueError, "min_labels must be at least 0, got -1"),
        ({"min_labels": None}, ValueError, "min_labels must be a whole number, got None"),
        ({"min_labels": 3, "max_labels": 2}, ValueError, "at least min_labels = 3, got 2"),
        ({"max_labels": 1.5}, ValueError, "max_labels must be a whole number, got 1.5"),
        ({"classes": {9: overrides.never}}, ValueError, "must be from 0 to 4, got 9"),
    ],
)
def test_what_cannot_be_overridden_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        Overridden(**{"rule": cal.FixedThreshold(), **options}).fit(*simulated())


def test_a_bound_for_a_callable_that_promises_nothing_is_refused():
    def plain(tp, fp, fn, tn):
        return tp - fp

    rule = Overridden(cal.PerClassThreshold(plain), {0: overrides.with_min_recall(0.5)})
    with pytest.raises(TypeError, match=r"must be one of calibrate.metrics, got <function"):
        rule.fit(*simulated())


def test_the_rule_file_says_what_was_overridden(tmp_path):
    logits, labels = simulated()
    rule = Overridden(cal.PerClassThreshold(F1), {"a": overrides.never}, max_labels=3)
    with pytest.warns(FitWarning):
        pipeline = cal.Pipeline([], rule).fit(logits, labels, class_names=list("abcde"))

    pipeline.save(tmp_path / "rule.safetensors")

    (step,) = cal.load(tmp_path / "rule.safetensors").provenance["pipeline"]
    options = step["options"]
    assert dict(options["classes"]) == {"a": "never"}
    assert options["rule"]["step"] == "PerClassThreshold"
    assert options["rule"]["options"]["metric"] == "f_beta(1)"
    assert options["max_labels"] == 3


@quiet
@pytest.mark.parametrize(
    "options",
    [{"classes": {0: overrides.never}}, {"min_labels": 1}, {"max_labels": 1}],
    ids=str,
)
@pytest.mark.parametrize(
    "rule", [cal.RecallGuarantee(0.5), cal.PrecisionGuarantee(0.3, 0.6)], ids=repr
)
def test_a_promise_does_not_survive_what_is_overridden(rule, options):
    logits, labels = simulated()

    with pytest.warns(FitWarning, match="promises holds any more"):
        fitted = Overridden(rule, **options).fit(logits, labels)

    assert fitted.findings_[-1].code == "promise_withdrawn"
    assert not hasattr(fitted, "report_")


def test_a_promise_stands_where_nothing_is_overridden():
    logits, labels = simulated()

    fitted = Overridden(cal.RecallGuarantee(0.5)).fit(logits, labels)

    assert fitted.findings_ == ()
    assert fitted.report_.as_dict()["n_certified"] == 5
