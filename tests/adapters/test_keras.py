"""The real Keras feeds an accumulator in fit and in evaluate."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import calibrate as cal
from calibrate.adapters.keras import histogram_metric
from calibrate.statistics import Grid, ScoreHistogram
from calibrate.torch import HistogramAccumulator

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")
N_ROWS, N_CLASSES = 90, 3


def data(n_rows=N_ROWS):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n_rows, 4)).astype(np.float32)
    labels = features[:, :N_CLASSES] + rng.normal(size=(n_rows, N_CLASSES)) > 0.5
    return features, labels.astype(np.float32)


def model(metric):
    made = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(N_CLASSES)])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    made.compile(optimizer="sgd", loss=loss, metrics=[metric])
    return made


def arrays_of(h):
    return [h.counts.tolist(), h.positives.tolist(), h.offsets.tolist(), h.n_rows]


def counted(network, features, labels):
    logits = np.concatenate(
        [
            keras.ops.convert_to_numpy(network(features[start : start + 32], training=False))
            for start in range(0, len(features), 32)
        ]
    )
    return ScoreHistogram.of(cal.labelled_logits(logits, labels), Grid.even(N_CLASSES))


def test_an_evaluation_is_counted():
    accumulator = HistogramAccumulator(N_CLASSES)
    network, (features, labels) = model(histogram_metric(accumulator)), data()

    found = network.evaluate(features, labels, batch_size=32, verbose=0, return_dict=True)

    assert found["rows"] == N_ROWS
    assert arrays_of(accumulator.histogram()) == arrays_of(counted(network, features, labels))


def test_after_fit_the_rows_are_those_of_the_last_validation():
    accumulator = HistogramAccumulator(N_CLASSES)
    network, (features, labels) = model(histogram_metric(accumulator)), data()
    some = features[:40], labels[:40]

    network.fit(features, labels, validation_data=some, batch_size=32, epochs=2, verbose=0)

    assert arrays_of(accumulator.histogram()) == arrays_of(counted(network, *some))
    fitted = accumulator.fit(
        cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(cal.metrics.f_beta(1)))
    )
    assert fitted.decision_.provenance["n_rows"] == 40


def test_weights_of_rows_are_refused():
    metric = histogram_metric(HistogramAccumulator(N_CLASSES), name="counted")

    assert metric.name == "counted"
    with pytest.raises(ValueError, match="rows are counted without weights"):
        metric.update_state(np.zeros((2, 3)), np.zeros((2, 3)), sample_weight=np.ones(2))


def test_arrays_of_another_backend_are_counted():
    accumulator = HistogramAccumulator(N_CLASSES)
    metric = histogram_metric(accumulator)
    logits = np.zeros((5, N_CLASSES), np.float32)

    metric.update_state(logits > 0, logits)

    assert metric.result() == 5
    assert accumulator.histogram().positives.sum() == 0


def test_frameworks_that_are_not_there_are_named():
    code = """
import sys
sys.modules.update(keras=None, lightning=None, pytorch_lightning=None)
from calibrate.adapters.keras import histogram_metric
try:
    histogram_metric(None)
except ImportError as error:
    print(error)
import calibrate.adapters.lightning
"""

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert result.stdout == "calibrate.adapters.keras needs Keras 3: pip install keras\n"
    assert result.stderr.endswith(
        "ImportError: calibrate.adapters.lightning needs Lightning: pip install lightning\n"
    )
