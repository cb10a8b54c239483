import naive_counts
import numpy as np
import pytest

from calibrate import BudgetedTopK, TopK, block_coordinate_ascent
from calibrate.metrics import f_beta, precision_at_recall, recall
from calibrate.ops import sigmoid


def simulated(n_rows=1000, n_classes=20, seed=0):
    """Calibrated logits of classes of all frequencies: labels are drawn from their sigmoids."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n_rows, n_classes)) * 1.7 - np.linspace(0.5, 5, n_classes)
    scores = scores.astype(np.float32)
    return scores, rng.random(scores.shape) < sigmoid(scores)


def macro_f(predicted, labels):
    tp, made, true = (predicted & labels).sum(axis=0), predicted.sum(axis=0), labels.sum(axis=0)
    return np.mean(2 * tp / np.maximum(made + true, 1))


def expected_macro_f(p, mask):
    f1 = f_beta(1)
    return naive_counts.macro(p.tolist(), mask, lambda *c: float(f1(*map(np.float64, c))))


def test_it_nearly_reaches_what_the_rows_can_have_together():
    scores, labels = simulated(300)
    p = sigmoid(scores).astype(float)

    alone = BudgetedTopK(2, f_beta(1)).fit(scores, labels).predict(scores).toarray()
    together = block_coordinate_ascent(p, 2, f_beta(1)).toarray()

    plain = TopK(2).fit(scores, labels).predict(scores).toarray()
    reached = [expected_macro_f(p, mask) for mask in (plain, alone, together)]
    assert reached[0] < reached[1] <= reached[2]
    assert reached[2] - reached[1] < 0.1 * (reached[2] - reached[0])


def test_new_rows_have_a_higher_macro_metric_than_by_plain_top_k():
    scores, labels = simulated(4000)
    fit, new = (scores[:2000], labels[:2000]), (scores[2000:], labels[2000:])

    f = macro_f(BudgetedTopK(2, f_beta(1)).fit(*fit).predict(new[0]).toarray(), new[1])

    assert f > macro_f(TopK(2).fit(*fit).predict(new[0]).toarray(), new[1]) + 0.02


def test_for_recall_a_probability_counts_over_the_positives_of_its_class():
    scores, labels = simulated()

    op = BudgetedTopK(3, recall).fit(scores, labels).op_

    expected = 1 / sigmoid(scores).sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(op.gain, expected, rtol=1e-4)
    assert not op.offset.any()
    assert op.k == 3


def test_the_labels_play_no_part():
    scores, labels = simulated()

    fitted = [BudgetedTopK(2, f_beta(1)).fit(scores, y).op_ for y in (labels, ~labels)]

    assert fitted[0].same_as(fitted[1])


def test_the_frozen_line_is_that_of_the_f_measure():
    scores, labels = simulated()
    op = BudgetedTopK(2, f_beta(1)).fit(scores, labels).op_

    # F = 2 tp / (k + n): one more adds 2 (tp + p) / (k + 1 + n) - F
    n = sigmoid(scores).sum(axis=0, dtype=np.float64)
    below = 2 / op.gain
    f = -op.offset * below
    assert (below > n + 1 - 1e-3).all()
    np.testing.assert_allclose((below - 1 - n), np.round(below - 1 - n), atol=2e-3)
    assert ((f >= 0) & (f < 1)).all()


def test_a_metric_with_a_bound_is_refused():
    with pytest.raises(TypeError, match=r"^metric must have no bound, which no single label can"):
        BudgetedTopK(1, precision_at_recall(0.5)).fit(np.eye(3), np.eye(3))


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 1, "n_candidates": 0}])
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="must be a positive integer, got 0"):
        BudgetedTopK(metric=f_beta(1), **options).fit(np.eye(3), np.eye(3))
