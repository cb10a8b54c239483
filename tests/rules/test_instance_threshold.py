import numpy as np
import pytest

from calibrate import InstanceThreshold, ScoreHistogram, metrics, ops
from calibrate.data import labelled_logits
from calibrate.statistics import best_instance_cut


def simulated(n_rows=200, n_classes=12, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.02, 0.4, n_classes)
    return (rng.normal(size=labels.shape) + 1.5 * labels - 1).astype(np.float32), labels


def instance_f1(predicted, labels):
    hits, sizes = (predicted & labels).sum(axis=1), predicted.sum(axis=1) + labels.sum(axis=1)
    return np.where(sizes, 2 * hits / np.maximum(sizes, 1), 1.0).mean()


@pytest.mark.parametrize("min_k", [0, 1, 2])
def test_the_fitting_rows_reach_what_the_best_cut_promises(min_k):
    scores, labels = simulated()

    fitted = InstanceThreshold(metrics.f_beta(1), min_k).fit(scores, labels)

    predicted = fitted.predict(scores).toarray()
    value, threshold = best_instance_cut(labelled_logits(scores, labels), metrics.f_beta(1), min_k)
    assert instance_f1(predicted, labels) == pytest.approx(value, abs=1e-9)
    assert fitted.op_.threshold == threshold
    assert predicted.sum(axis=1).min() == min_k
    assert isinstance(fitted.op_, ops.BoundedThreshold if min_k else ops.Threshold)


def test_another_metric_has_another_threshold():
    scores, labels = simulated()

    high, low = (
        InstanceThreshold(metrics.f_beta(beta)).fit(scores, labels).op_.threshold
        for beta in (0.3, 3)
    )

    assert high > low + 0.5


def test_more_labels_a_row_than_classes_are_all_of_them():
    scores, labels = simulated()

    fitted = InstanceThreshold(metrics.jaccard, min_k=99).fit(scores, labels)

    assert fitted.predict(scores).nnz == scores.size


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metric": metrics.f_beta}, TypeError, "metric must be a function of"),
        ({"metric": metrics.jaccard, "min_k": -1}, ValueError, "min_k must be at least 0, got -1"),
        ({"metric": metrics.jaccard, "min_k": 0.5}, ValueError, "min_k must be a whole number"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        InstanceThreshold(**options).fit(*simulated())


def test_without_any_positive_there_is_nothing_to_fit():
    with pytest.raises(ValueError, match="labels must hold at least one positive"):
        InstanceThreshold(metrics.jaccard).fit(np.ones((3, 2)), np.zeros((3, 2)))


def test_a_histogram_does_not_know_rows():
    histogram = ScoreHistogram.of(labelled_logits(*simulated()))

    with pytest.raises(TypeError, match="fitted from rows of logits, got a histogram"):
        InstanceThreshold(metrics.jaccard).fit_from(histogram)
