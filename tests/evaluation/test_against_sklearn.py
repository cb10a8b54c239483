"""The field's own functions give the same figures where both define them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics

from calibrate.decision import Decision
from calibrate.evaluation import evaluate
from calibrate.ops import Affine, Threshold


@pytest.fixture(scope="module")
def case():
    """Decided labels, true labels, calibrated logits and our evaluation of them."""
    rng = np.random.default_rng(7)
    labels = rng.random((400, 15)) < np.linspace(0.0, 0.5, 15)
    labels[:20] = False
    logits = (rng.normal(size=labels.shape) + 1.5 * labels).round(1).astype(np.float32)
    step = Affine(np.float32(0.5), np.linspace(-3, 0, 15, dtype=np.float32))
    decision = Decision((step,), Threshold(np.full(15, 0.3)), 15)
    decided = decision.predict(logits).toarray()
    return decided, labels, step.apply(logits), evaluate(decision, logits, labels, beta=2.0)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_precision_recall_and_f_over_classes_with_positives(case, average):
    decided, labels, _, evaluation = case
    kept = np.flatnonzero(labels.any(axis=0))
    over = kept if average == "macro" else None

    expected = metrics.precision_recall_fscore_support(
        labels, decided, beta=2.0, labels=over, average=average, zero_division=0.0
    )

    assert len(kept) == 14
    assert evaluation.summary["n_classes_without_positives"] == 1
    for name, value in zip(("precision", "recall", "f"), expected, strict=False):
        assert evaluation.summary[f"{average}_{name}"] == pytest.approx(value, abs=1e-14)


def test_instance_f_counts_an_empty_row_as_one(case):
    decided, labels, _, evaluation = case

    expected = metrics.fbeta_score(labels, decided, beta=2.0, average="samples", zero_division=1.0)

    assert (~decided.any(axis=1) & ~labels.any(axis=1)).any()
    assert evaluation.summary["instance_f"] == pytest.approx(expected, abs=1e-14)


def test_instance_precision_and_recall_add_the_empty_rows_to_those_of_sklearn(case):
    decided, labels, _, evaluation = case
    options = {"average": "samples", "zero_division": 0.0}

    precision = metrics.precision_score(labels, decided, **options)
    recall = metrics.recall_score(labels, decided, **options)

    empty = (~decided.any(axis=1) & ~labels.any(axis=1)).mean()
    assert evaluation.summary["instance_precision"] == pytest.approx(precision + empty, abs=1e-14)
    assert evaluation.summary["instance_recall"] == pytest.approx(recall + empty, abs=1e-14)


def test_average_precision_with_ties(case):
    _, labels, scores, evaluation = case
    columns, rows = labels.any(axis=0), labels.any(axis=1)
    average = metrics.average_precision_score

    macro = average(labels[:, columns], scores[:, columns], average="macro")
    micro = average(labels, scores, average="micro")
    instance = average(labels[rows], scores[rows], average="samples")

    assert evaluation.summary["macro_ap"] == pytest.approx(macro, abs=1e-13)
    assert evaluation.summary["micro_ap"] == pytest.approx(micro, abs=1e-13)
    assert evaluation.summary["instance_ap"] == pytest.approx(instance, abs=1e-13)


def test_log_loss_and_brier(case):
    _, labels, scores, evaluation = case
    p = expit(scores.astype(np.float64))

    log_loss = metrics.log_loss(labels.ravel(), p.ravel())
    brier = metrics.brier_score_loss(labels.ravel(), p.ravel())

    by_hand = -np.where(labels, np.log(p), np.log1p(-p)).sum(axis=1).mean()
    assert evaluation.summary["log_loss"] == pytest.approx(log_loss, rel=1e-12)
    assert evaluation.summary["log_loss_per_row"] == pytest.approx(by_hand, rel=1e-12)
    assert evaluation.summary["brier"] == pytest.approx(brier, rel=1e-12)
