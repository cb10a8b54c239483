"""The real Trainer of transformers hands over its batches, and a rule is fitted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

import calibrate as cal
from calibrate.adapters.transformers import FitMetrics
from calibrate.statistics import Grid, ScoreHistogram
from calibrate.torch import HistogramAccumulator

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")
N_ROWS, N_CLASSES = 100, 4
F1 = cal.metrics.f_beta(1)


class Network(torch.nn.Module):
    """One layer, its output in the form that the Trainer expects."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, N_CLASSES)

    def forward(self, features, labels=None):
        logits = self.layer(features)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        return {"loss": loss, "logits": logits}


class Rows(torch.utils.data.Dataset):
    def __init__(self, n_rows=N_ROWS):
        generator = torch.Generator().manual_seed(1)
        self.features = torch.randn(n_rows, 3, generator=generator)
        noise = torch.randn(n_rows, N_CLASSES, generator=generator)
        self.labels = (self.features.sum(1, keepdim=True) + noise > 1).float()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, place):
        return {"features": self.features[place], "labels": self.labels[place]}


def pipeline():
    return cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(F1))


def trainer(metrics, folder, **rows):
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_eval_batch_size=16, batch_eval_metrics=True,
        report_to=[], use_cpu=True, disable_tqdm=True, label_names=["labels"],
    )  # fmt: skip
    return transformers.Trainer(Network(), arguments, compute_metrics=metrics, **rows)


def logits_and_labels(rows):
    with torch.no_grad():
        return Network().layer(rows.features).numpy(), rows.labels.numpy()


def test_an_evaluation_fits_the_pipeline_to_its_rows(tmp_path):
    rows = Rows()
    metrics = FitMetrics(pipeline(), HistogramAccumulator(N_CLASSES), class_names=list("abcd"))

    trainer(metrics, tmp_path, eval_dataset=rows).evaluate()

    data = cal.labelled_logits(*logits_and_labels(rows))
    expected = pipeline().fit_from(ScoreHistogram.of(data, Grid.even(N_CLASSES))).decision_
    assert metrics.decision.rule.same_as(expected.rule)
    assert metrics.decision.class_names == tuple("abcd")
    assert metrics.decision.provenance["n_rows"] == N_ROWS


def test_the_figures_are_those_of_the_rows(tmp_path):
    rows = Rows()
    # so fine a grid that no two scores share a bin
    grid = Grid.even(N_CLASSES, -4, 4, 1 << 16)
    metrics = FitMetrics(pipeline(), HistogramAccumulator(N_CLASSES, grid=grid))

    found = trainer(metrics, tmp_path, eval_dataset=rows).evaluate()

    logits, labels = logits_and_labels(rows)
    precision = average_precision_score(labels, logits, average="macro")
    best = [
        max(f1_score(labels[:, c], logits[:, c] >= cut) for cut in logits[:, c])
        for c in range(N_CLASSES)
    ]
    assert found["eval_macro_average_precision"] == pytest.approx(precision, abs=1e-6)
    assert found["eval_macro_f1_at_best_cuts"] == pytest.approx(np.mean(best), abs=1e-6)


def test_the_next_evaluation_begins_anew(tmp_path):
    metrics = FitMetrics(pipeline(), HistogramAccumulator(N_CLASSES))
    running = trainer(metrics, tmp_path, eval_dataset=Rows())

    running.evaluate()
    running.evaluate(Rows(60))

    grid = Grid.even(N_CLASSES)
    for rows in (Rows(), Rows(60)):
        histogram = ScoreHistogram.of(cal.labelled_logits(*logits_and_labels(rows)), grid)
        grid = Grid.around(histogram)
    assert metrics.decision.rule.same_as(pipeline().fit_from(histogram).decision_.rule)
    assert metrics.accumulator.n_rows == 0
    assert metrics.accumulator.grid.same_as(grid)


def test_logits_may_be_led_by_a_tuple():
    rows = Rows()
    logits, labels = logits_and_labels(rows)
    metrics = FitMetrics(pipeline(), HistogramAccumulator(N_CLASSES))
    batch = transformers.EvalPrediction(predictions=(logits, None), label_ids=labels)

    assert metrics(batch, compute_result=False) == {}
    assert metrics(batch, compute_result=True)["macro_average_precision"] > 0

    assert metrics.decision.provenance["n_rows"] == 2 * N_ROWS


def test_classes_without_positives_are_no_part_of_the_figures():
    logits, labels = logits_and_labels(Rows())
    labels[:, 1] = 0
    metrics = FitMetrics(pipeline(), HistogramAccumulator(N_CLASSES))
    batch = transformers.EvalPrediction(predictions=logits, label_ids=labels)

    found = metrics(batch, compute_result=True)

    some = [0, 2, 3]
    expected = average_precision_score(labels[:, some], logits[:, some], average="macro")
    assert found["macro_average_precision"] == pytest.approx(expected, abs=0.02)
    assert found["macro_f1_at_best_cuts"] > 0.5
