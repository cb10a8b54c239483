import math

import naive
import naive_rules
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from calibrate import FitWarning, PerClassThreshold, PlugInThreshold, ScoreHistogram, metrics
from calibrate.data import dataset, labelled_logits, logits
from calibrate.rules.per_class_threshold import ShrinkageReport
from calibrate.statistics import Grid, curves, every_cut, shrunk_thresholds

LAW = settings(derandomize=True, deadline=None, max_examples=60)
quiet = pytest.mark.filterwarnings("ignore::calibrate.FitWarning", "ignore:all logits lie in")

cells = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1.0000001, 0.99999994, -1e30, 1e30, 1e-45, -1e-45]),
    st.just(-math.inf),
)


@st.composite
def rows(draw):
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    size = shape[0] * shape[1]
    scores = draw(st.lists(cells, min_size=size, max_size=size))
    labels = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(shape)
    labels[0, 0] = True
    labels[:, -1] |= draw(st.booleans())
    return np.array(scores, np.float32).reshape(shape), labels


def simulated(n_rows=1500, n_classes=12, seed=0, ties=True):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.004, 0.5, n_classes)
    scores = rng.normal(size=labels.shape) + 1.3 * labels - 1
    return (np.round(scores, 1) if ties else scores).astype(np.float32), labels


def f1_of(predicted, labels, c):
    tp = int((predicted[:, c] & labels[:, c]).sum())
    return 2 * tp / int(predicted[:, c].sum() + labels[:, c].sum())


# the optimum


@quiet
@pytest.mark.parametrize(
    "metric",
    [
        metrics.f_beta(1),
        metrics.f_beta(3),
        metrics.jaccard,
        metrics.mcc,
        metrics.balanced_accuracy,
        metrics.cost(1, 4),
        metrics.precision_at_recall(0.5),
        metrics.recall_at_precision(0.6),
        lambda tp, fp, fn, tn: np.cos(2 * fp + tp),
    ],
    ids=lambda m: getattr(m, "__name__", None) or repr(m),
)
@LAW
@given(rows())
def test_the_threshold_of_each_class_is_the_best_of_all_its_cuts(metric, case):
    scores, labels = case

    fitted = PerClassThreshold(metric).fit(scores, labels, nan="negative")

    for c, threshold in enumerate(fitted.op_.threshold):
        expected = naive.best_cut(scores[:, c], labels[:, c], metric)[1]
        assert threshold == (expected if labels[:, c].any() else np.inf)


@pytest.mark.parametrize("ties", [True, False])
def test_macro_f_is_that_of_a_loop_over_precision_recall_curves(ties):
    scores, labels = simulated(ties=ties)

    predicted = PerClassThreshold(metrics.f_beta(1)).fit(scores, labels).predict(scores).toarray()

    ours, peer = [], []
    for c in range(labels.shape[1]):
        precision, recall, _ = precision_recall_curve(labels[:, c], scores[:, c])
        f = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        peer.append(f.max())
        ours.append(f1_of(predicted, labels, c))
    assert np.mean(ours) == pytest.approx(np.mean(peer), abs=1e-12)


def test_a_lambda_is_tried_on_every_cut_and_may_turn_back():
    scores, labels = np.array([[4.0], [3.0], [2.0], [1.0]]), np.array([[1], [0], [0], [1]])

    fitted = PerClassThreshold(lambda tp, fp, fn, tn: -((fp - 1) ** 2)).fit(scores, labels)

    assert fitted.op_.threshold.tolist() == [2.5]


def test_a_metric_of_nan_at_some_cuts_is_best_at_another():
    scores, labels = np.array([[4.0], [3.0], [2.0]]), np.array([[1], [0], [1]])

    fitted = PerClassThreshold(lambda tp, fp, fn, tn: np.where(fp < 1, np.nan, tp)).fit(
        scores, labels
    )

    assert fitted.op_.threshold.tolist() == [np.finfo(np.float32).min]


def test_a_metric_of_nan_at_every_cut_predicts_nothing_and_is_listed():
    scores, labels = np.array([[4.0, 1.0], [3.0, 2.0]]), np.array([[1, 0], [0, 1]])

    with pytest.warns(FitWarning) as given:
        fitted = PerClassThreshold(lambda tp, fp, fn, tn: tp * np.nan).fit(scores, labels)

    assert fitted.op_.threshold.tolist() == [np.inf, np.inf]
    assert [(f.code, f.classes) for f in fitted.findings_] == [("undefined", (0, 1))]
    assert [str(w.message) for w in given] == [
        "PerClassThreshold: 2 of 2 classes have a metric of nan at every cut: they are never "
        "predicted"
    ]


def test_a_metric_of_the_wrong_shape_is_refused():
    scores, labels = np.array([[4.0], [3.0]]), np.array([[1], [0]])

    message = r"^a metric must return one real number per cut, got shape \(\) and dtype float64"
    with pytest.raises(ValueError, match=message):
        PerClassThreshold(lambda tp, fp, fn, tn: tp.sum()).fit(scores, labels)


def test_decisions_stay_when_the_scores_go_through_an_increasing_map():
    scores, labels = simulated()
    rule = PerClassThreshold(metrics.f_beta(1))
    integers = np.round(10 * scores).astype(np.float32)
    plain = rule.fit(integers, labels)
    threshold, decided = plain.op_.threshold, plain.predict(integers).toarray()

    for moved, expected in [
        (integers * 8, threshold * 8),
        (integers + 1024, threshold + 1024),
        (integers**3, None),
    ]:
        fitted = rule.fit(moved, labels)
        assert (fitted.predict(moved).toarray() == decided).all()
        if expected is not None:
            assert fitted.op_.threshold.tolist() == expected.tolist()


def test_the_order_of_rows_and_of_classes_changes_no_threshold():
    scores, labels = simulated()
    rng = np.random.default_rng(1)
    by_row, by_class = rng.permutation(1500), rng.permutation(12)
    rule = PerClassThreshold(metrics.f_beta(1))
    threshold = rule.fit(scores, labels).op_.threshold

    shuffled = rule.fit(scores[by_row][:, by_class], labels[by_row][:, by_class]).op_.threshold

    assert shuffled.tolist() == threshold[by_class].tolist()


@pytest.mark.parametrize("metric", [metrics.f_beta(1), lambda tp, fp, fn, tn: tp - 0.5 * fp])
def test_threads_blocks_and_strips_change_no_threshold(metric, monkeypatch):
    scores, labels = simulated()
    rule = PerClassThreshold(metric)
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    threshold = rule.fit(scores, labels).op_.threshold

    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "4")
    monkeypatch.setattr(logits, "BLOCK_CELLS", 1000)
    monkeypatch.setattr(dataset, "STRIP_CELLS", 7500)
    monkeypatch.setattr(dataset, "_FEWEST_CLASSES", 1)
    monkeypatch.setattr(dataset, "TRANSPOSED_CELLS", 300)
    monkeypatch.setattr(every_cut, "GROUP_CELLS", 7500)
    monkeypatch.setattr(every_cut, "_POINTS_AT_ONCE", 700)
    monkeypatch.setattr(curves, "_JUDGED_ENTRIES", 50)
    again = rule.fit(scores, labels).op_.threshold

    assert again.tolist() == threshold.tolist()


def test_float64_logits_and_float32_logits_get_the_same_thresholds():
    scores, labels = simulated()
    rule = PerClassThreshold(metrics.jaccard)

    thresholds = [rule.fit(s, labels).op_.threshold for s in (scores, scores.astype(np.float64))]

    assert thresholds[0].tolist() == thresholds[1].tolist()


@pytest.mark.parametrize("metric", [metrics.f_beta(1), lambda tp, fp, fn, tn: tp - 0.5 * fp])
def test_from_a_histogram_whose_bins_part_all_scores_the_thresholds_are_exact(metric):
    scores, labels = simulated()
    quarters = np.round(4 * scores) / 4
    data = labelled_logits(quarters, labels)
    histogram = ScoreHistogram.of(data, Grid(np.full(12, -16.0), np.full(12, 16.0), 512))

    fitted = PerClassThreshold(metric).fit_from(histogram)

    assert fitted.op_.threshold.tolist() == (
        PerClassThreshold(metric).fit(quarters, labels).op_.threshold.tolist()
    )


# classes without an optimum


def test_classes_without_positives_are_never_predicted_and_listed_in_one_warning():
    scores, labels = simulated(n_classes=5)
    labels[:, [1, 3]] = False

    with pytest.warns(FitWarning) as given:
        fitted = PerClassThreshold(metrics.f_beta(1)).fit(scores, labels)

    assert np.isinf(fitted.op_.threshold).tolist() == [False, True, False, True, False]
    assert [(f.code, f.classes, f.values) for f in fitted.findings_] == [
        ("no_positives", (1, 3), ())
    ]
    assert [str(w.message) for w in given] == [
        "PerClassThreshold: 2 of 5 classes have no positives: they are never predicted"
    ]


def test_a_class_of_positives_only_is_predicted_everywhere():
    scores = np.array([[1.0], [-2.0], [5.0]])

    fitted = PerClassThreshold(metrics.f_beta(1)).fit(scores, np.ones((3, 1)))

    assert fitted.predict(np.array([[-3e38], [0.0]])).toarray().tolist() == [[True], [True]]
    assert fitted.findings_ == ()


def test_a_class_of_equal_scores_is_predicted_as_one():
    scores, labels = np.full((4, 2), 1.5), np.array([[1, 1], [1, 0], [1, 0], [0, 0]])

    fitted = PerClassThreshold(metrics.cost(1, 1)).fit(scores, labels)

    assert fitted.predict(scores).toarray().tolist() == [[True, False]] * 4


def test_an_infeasible_precision_is_reported_with_the_best_that_is_reached():
    scores = np.array([[4.0, 4.0], [3.0, 3.0], [2.0, 2.0], [1.0, 1.0]])
    labels = np.array([[0, 1], [1, 0], [1, 0], [0, 0]])

    with pytest.warns(FitWarning) as given:
        fitted = PerClassThreshold(metrics.recall_at_precision(0.9)).fit(scores, labels)

    assert fitted.op_.threshold.tolist() == [np.inf, 3.5]
    (finding,) = fitted.findings_
    assert (finding.code, finding.classes) == ("infeasible", (0,))
    assert finding.values == (pytest.approx(2 / 3),)
    assert [str(w.message) for w in given] == [
        "PerClassThreshold: 1 of 2 classes reach precision 0.9 at no cut: they are never "
        "predicted; the values are the best precision"
    ]


def test_an_infeasible_recall_is_reported_where_positives_have_no_score():
    scores = np.array([[1.0], [-np.inf], [-np.inf], [-2.0]])
    labels = np.array([[1], [1], [1], [0]])

    with pytest.warns(FitWarning, match="1 of 1 classes reach recall 0.5 at no cut"):
        fitted = PerClassThreshold(metrics.precision_at_recall(0.5)).fit(
            scores, labels, nan="negative"
        )

    assert fitted.findings_[0].values == (pytest.approx(1 / 3),)
    assert fitted.op_.threshold.tolist() == [np.inf]


def test_a_class_without_positives_is_not_called_infeasible_as_well():
    scores, labels = np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([[0, 1], [0, 1]])

    with pytest.warns(FitWarning):
        fitted = PerClassThreshold(metrics.recall_at_precision(0.9)).fit(scores, labels)

    assert [(f.code, f.classes) for f in fitted.findings_] == [("no_positives", (0,))]


def test_a_higher_precision_is_asked_for_by_a_threshold_as_high_or_higher():
    scores, labels = simulated(n_classes=4)
    wanted = [0.1, 0.3, 0.5, 0.6]

    thresholds = [
        PerClassThreshold(metrics.recall_at_precision(p)).fit(scores[:, 3:], labels[:, 3:])
        for p in wanted
    ]

    cuts = [fitted.op_.threshold[0] for fitted in thresholds]
    assert cuts == sorted(cuts)
    assert cuts[0] < cuts[-1]


def test_one_row_of_one_class_is_fitted():
    fitted = PerClassThreshold(metrics.f_beta(1)).fit(np.array([[-3.0]]), np.array([[1]]))

    assert fitted.predict(np.array([[-3.0]])).toarray().tolist() == [[True]]


def test_without_any_positive_there_is_nothing_to_fit():
    message = "^labels must hold at least one positive, got none in 3 rows of 2 classes$"

    with pytest.raises(ValueError, match=message):
        PerClassThreshold(metrics.f_beta(1)).fit(np.ones((3, 2)), np.zeros((3, 2)))


# drawn to the plug-in thresholds


def network(n_rows=1500, n_classes=60, seed=0, bent=0.0):
    """Logits that are right but for `bent`, the deviation of a shift of each class, and labels."""
    rng = np.random.default_rng(seed)
    base = np.linspace(-6.5, -1, n_classes)
    logits = base + rng.normal(0, 1.6, size=(n_rows, n_classes))
    labels = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    shifts = np.random.default_rng(99).normal(0, bent, n_classes)
    return (logits + shifts).astype(np.float32), labels


def macro_f1(rule, logits, labels):
    predicted = rule.predict(logits).toarray()
    return np.mean(
        [f1_of(predicted, labels, c) for c in range(labels.shape[1]) if labels[:, c].any()]
    )


@quiet
def test_where_the_probabilities_are_right_shrunk_thresholds_are_the_plug_in_ones():
    scores, labels = network()

    rule = PerClassThreshold(metrics.f_beta(1), shrinkage="auto").fit(scores, labels)

    assert rule.report_.shrunk.variance < 0.02
    plug_in = PlugInThreshold(metrics.f_beta(1)).fit(scores, labels).op_.threshold
    assert np.median(np.abs(rule.op_.threshold - plug_in)) < 0.1


@quiet
def test_on_new_rows_shrunk_thresholds_are_better_than_both_where_the_probabilities_are_wrong():
    fitting, new = network(bent=0.7), network(n_rows=20_000, seed=1, bent=0.7)
    f1 = metrics.f_beta(1)
    rules = PerClassThreshold(f1), PlugInThreshold(f1), PerClassThreshold(f1, shrinkage="auto")

    swept, plug_in, shrunk = (macro_f1(rule.fit(*fitting), *new) for rule in rules)

    assert shrunk > max(swept, plug_in) + 0.003
    assert rules[2].report_.shrunk.variance == pytest.approx(0.49, rel=0.6)


@quiet
def test_shrunk_thresholds_are_those_of_the_slow_way():
    scores, labels = network(n_rows=400, n_classes=20, bent=0.5)
    scores = np.round(scores * 4) / 4
    histogram = ScoreHistogram.of(
        labelled_logits(scores, labels), Grid(np.full(20, -64.0), np.full(20, 64.0), 512)
    )

    fitted = PerClassThreshold(metrics.f_beta(1), shrinkage="auto").fit_from(histogram)

    swept, plug_in = [], []
    for c in range(20):
        cut = naive.best_cut(scores[:, c], labels[:, c], metrics.f_beta(1))[1]
        swept.append(float(np.clip(cut, scores[:, c].min(), scores[:, c].max())))
        plug_in.append(naive_rules.plug_in(scores[:, c], 1.0))
    expected = naive_rules.shrunk(swept, plug_in, labels.sum(axis=0).tolist())
    assert fitted.op_.threshold == pytest.approx(np.array(expected[0]), abs=1e-4)
    assert fitted.report_.shrunk.variance == pytest.approx(expected[1], rel=1e-3)


@quiet
def test_a_share_of_nothing_is_the_plug_in_and_one_of_all_the_sweep():
    scores, labels = network(n_classes=12)
    f1 = metrics.f_beta(1)

    none, all_of_it = (PerClassThreshold(f1, shrinkage=v).fit(scores, labels) for v in (0, 1e9))

    plug_in = PlugInThreshold(f1).fit(scores, labels).op_.threshold
    assert none.op_.threshold == pytest.approx(plug_in + none.report_.shrunk.offset, abs=1e-6)
    assert all_of_it.op_.threshold == pytest.approx(
        PerClassThreshold(f1).fit(scores, labels).op_.threshold, abs=1e-5
    )


def test_what_was_learned_is_reported():
    scores, labels = network(bent=0.7)
    labels[:, 0] = False

    with pytest.warns(FitWarning, match="1 of 60 classes have no positives: they take the plug-in"):
        rule = PerClassThreshold(metrics.f_beta(1), shrinkage="auto").fit(scores, labels)

    shrunk, told = rule.report_.shrunk, rule.report_.as_dict()
    assert np.isfinite(rule.op_.threshold[0])
    assert told["learned"] is True
    assert told["variance"] == shrunk.variance
    assert list(told["mean_weight_from_positives"]) == ["5", "20", "100", "500"]
    weights = list(rule.report_.weights.values())
    assert weights == sorted(weights)
    n = labels.sum(axis=0)
    assert weights[0] == pytest.approx(shrunk.weight[(n >= 5) & (n < 20)].mean())
    said = rule.report_.sentences()
    assert said[0] == (
        f"thresholds of the classes differ from the plug-in ones by {shrunk.variance**0.5:.2f} "
        "(found) beside the luck of their positives"
    )
    assert said[1].startswith(f"swept thresholds lie {shrunk.gap:+.3f} from plug-in ones")
    assert said[2].startswith(f"share of the swept threshold by positives: from 5 {weights[0]:.2f}")


@quiet
@pytest.mark.parametrize("gap", [0.0, 1.5])
def test_a_shrunk_rule_adapts_to_the_batch_with_its_own_share(gap):
    scores, labels = network(bent=0.7)
    new = network(n_rows=300, seed=4, bent=0.7)[0] + np.float32(gap)
    scores, f1 = scores + np.float32(gap), metrics.f_beta(1)

    swept = PerClassThreshold(f1).fit(scores, labels).op_.threshold
    plain = PerClassThreshold(f1, shrinkage="auto").fit(scores, labels).report_.shrunk
    rule = PerClassThreshold(f1, shrinkage="auto", batch=True).fit(scores, labels)
    predicted = rule.predict(new).toarray()

    assert (plain.offset != 0) == (gap != 0)
    assert rule.op_.own_weight == pytest.approx(plain.weight, abs=1e-7)
    for c in range(0, 60, 7):
        threshold = naive_rules.adapted(
            new[:, c], 1.0, float(swept[c]), float(rule.op_.own_weight[c]), plain.offset
        )
        assert predicted[:, c].tolist() == (new[:, c] >= np.float32(threshold)).tolist()


@quiet
def test_a_class_that_is_positive_everywhere_is_drawn_from_its_lowest_score():
    scores, labels = network(n_classes=3)
    labels[:, 2] = True
    f1 = metrics.f_beta(1)

    rule = PerClassThreshold(f1, shrinkage=0.1).fit(scores, labels)

    plug_in, lowest = PlugInThreshold(f1).fit(scores, labels).op_.threshold[2], scores[:, 2].min()
    v = 2.3 * len(labels) ** (-2 / 3)
    expected = (0.1 * lowest + v * plug_in) / (0.1 + v)
    assert rule.op_.threshold[2] == pytest.approx(expected, abs=0.02)


@quiet
def test_equal_scores_are_never_predicted_with_shrinkage():
    scores, labels = network(n_classes=3)
    scores[:, 1] = 0.0

    rule = PerClassThreshold(metrics.f_beta(1), shrinkage=0.1).fit(scores, labels)

    assert np.isinf(rule.op_.threshold).tolist() == [False, True, False]
    assert [(f.code, f.classes) for f in rule.findings_] == [("uninformative", (1,))]


@quiet
@pytest.mark.parametrize("batch", [False, True])
def test_a_class_without_scores_or_positives_is_listed_once_and_never_predicted(batch):
    scores, labels = network(n_classes=4)
    scores[:, 1], scores[:, 2] = np.nan, 0.0
    labels[:, 1] = labels[:, 2] = False
    rule = PerClassThreshold(metrics.f_beta(1), shrinkage="auto", batch=batch)

    fitted = rule.fit(scores, labels, nan="negative")

    assert [(f.code, f.classes) for f in fitted.findings_] == [("uninformative", (1, 2))]
    predicted = fitted.predict(scores, nan="negative").toarray()
    assert predicted.any(axis=0).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shrinkage": "much"}, r"^shrinkage must be None, 'auto' or a finite number .* 'much'$"),
        ({"shrinkage": -0.1}, r"^shrinkage must be None, 'auto' or a finite .* got -0\.1$"),
        ({"shrinkage": math.inf}, r"^shrinkage must be None, 'auto' or a finite .* got inf$"),
        ({"shrinkage": math.nan}, r"^shrinkage must be None, 'auto' or a finite .* got nan$"),
        ({"shrinkage": True}, r"^shrinkage must be None, 'auto' or a finite .* got True$"),
        ({"batch": True}, r"^batch=True needs shrinkage: a swept threshold knows no batch$"),
        ({"shrinkage": "auto", "metric": metrics.mcc}, r"^shrinkage goes with f_beta and jaccard, "
         r"got the metric mcc$"),
        ({"shrinkage": "auto", "metric": metrics.recall_at_precision(0.9)}, r"^shrinkage goes with "
         r"f_beta .* recall_at_precision\(0\.9\): between two thresholds a bound is kept by nei"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(options, message):
    scores, labels = simulated(n_rows=20)
    options = {"metric": metrics.f_beta(1), **options}

    with pytest.raises(ValueError, match=message):
        PerClassThreshold(**options).fit(scores, labels)


def test_a_line_of_the_report_holds_the_classes_from_its_number_of_positives_on():
    positives = np.array([1, 4, 5, 19, 20, 100, 499, 500])
    shrunk = shrunk_thresholds(np.ones(8), np.zeros(8), positives, 0.1)

    weights = ShrinkageReport(shrunk, positives, learned=False).weights

    w = shrunk.weight
    expected = {1: w[:2].mean(), 5: w[2:4].mean(), 20: w[4], 100: w[5:7].mean(), 500: w[7]}
    assert weights == pytest.approx(expected)
