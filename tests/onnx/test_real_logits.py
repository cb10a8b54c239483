"""Graphs of fitted rules on the logits of real networks: no label differs that must not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnx_cases import by_onnxruntime, by_reference

import calibrate as cal
from calibrate.base import FitWarning
from calibrate.data import labelled_logits
from calibrate.onnx import to_model
from calibrate.onnx.check import compared
from calibrate.statistics import Evidence

SETS = [
    ("bibtex", "weighted"),
    ("corel5k", "unweighted"),
    ("delicious", "weighted_long"),
    ("goemotions_tfidf", "softmax"),
    ("human_go", "unweighted"),
    ("ptbxl_xresnet1d101", "probabilities"),
]

F1 = cal.metrics.f_beta(1)


def pipelines() -> dict[str, cal.Pipeline]:
    return {
        "expected count": cal.Pipeline([cal.HierarchicalScaling()], cal.ExpectedCountTopK()),
        "thresholds": cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(F1)),
        "after isotonic": cal.Pipeline([cal.IsotonicCalibration()], cal.TopK(3)),
        "best sets": cal.Pipeline([cal.BetaCalibration()], cal.ExpectedFBeta()),
        "likeliest count": cal.Pipeline([], cal.ExpectedCountTopK(mode=True)),
        "largest gap": cal.Pipeline([], cal.MCut()),
    }


@pytest.mark.parametrize(("name", "loss"), SETS)
@pytest.mark.parametrize("pipeline", pipelines())
def test_the_labels_are_those_of_numpy_on_the_logits_of_a_real_network(
    real_logits, name, loss, pipeline
):
    saved = real_logits(name, loss)
    probabilities = loss == "probabilities"
    rows = labelled_logits(saved.logits("val"), saved.labels("val"), probabilities=probabilities)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        decision = pipelines()[pipeline].fit_evidence(Evidence(rows.take(np.arange(300)))).decision_
    raw = np.array(np.load(saved.logits("test"), mmap_mode="r")[:300], dtype=np.float32)
    source = decision.source(raw)
    model = to_model(decision)
    given = model.graph.input[0].name

    labels = by_onnxruntime(model, {given: raw})[0]
    by_the_book = by_reference(model, {given: raw[:12]})[0]

    rows = source.read(0, len(raw))
    assert labels.any()
    assert compared(decision, rows, decision.decide(rows), labels, "onnxruntime") <= 1
    first = rows[:12]
    assert compared(decision, first, decision.decide(first), by_the_book, "the reference") == 0
