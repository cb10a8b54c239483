"""The real Lightning trainer fits in validation and writes logits, with one process and two."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import calibrate as cal
from calibrate.decision import Decision
from calibrate.statistics import Grid, ScoreHistogram

pytest.importorskip("lightning", reason="Lightning is not installed")
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from calibrate.adapters.lightning import (
    FitCallback,
    LogitWriter,
    decision_of_checkpoint,
)
from calibrate.torch import HistogramAccumulator

pytestmark = pytest.mark.filterwarnings("ignore")
SCRIPT = Path(__file__).with_name("lightning_run.py")


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    from importlib import util

    spec = util.spec_from_file_location("lightning_run", SCRIPT)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def one(script, tmp_path_factory):
    """Folder and callback of a run with one process."""
    folder = tmp_path_factory.mktemp("one")
    return folder, script.run(1, folder)


def logits_of(module, script):
    with torch.no_grad():
        return module.layer(script.data()[0]).numpy()


def trained(folder, script):
    """The module of a checkpoint."""
    module = script.Module()
    state = torch.load(folder / "model.ckpt", weights_only=True)["state_dict"]
    module.load_state_dict(state)
    return module


def expected_decision(logits, script):
    labels = script.data()[1].numpy()
    grid = Grid.even(script.N_CLASSES)
    histogram = ScoreHistogram.of(cal.labelled_logits(logits, labels), grid)
    return script.pipeline().fit_from(histogram).decision_


def same_decision(one, other):
    ops = zip((*one.steps, one.rule), (*other.steps, other.rule), strict=True)
    return all(a.same_as(b) for a, b in ops)


def test_the_last_validation_epoch_is_what_is_fitted(one, script):
    folder, callback = one

    expected = expected_decision(logits_of(trained(folder, script), script), script)

    assert same_decision(callback.decision, expected)
    assert callback.decision.provenance["n_rows"] == script.N_ROWS


def test_the_rule_is_in_the_checkpoint(one):
    folder, callback = one
    checkpoint = torch.load(folder / "model.ckpt", weights_only=True)

    found = decision_of_checkpoint(checkpoint)

    assert found.to_bytes() == callback.decision.to_bytes()


def test_a_resumed_run_has_the_rule_of_its_checkpoint(one, script, tmp_path):
    folder, callback = one
    resumed = FitCallback(script.pipeline(), HistogramAccumulator(script.N_CLASSES, reservoir=8))
    rows = DataLoader(TensorDataset(*script.data()), 16)
    running = script.trainer(1, tmp_path, resumed)

    running.fit(script.Module(), rows, ckpt_path=folder / "model.ckpt", weights_only=True)

    assert resumed.decision.to_bytes() == callback.decision.to_bytes()


def test_a_resumed_run_counts_on_the_grid_of_its_checkpoint(script, tmp_path):
    first, second = (
        FitCallback(script.pipeline(), HistogramAccumulator(script.N_CLASSES)) for _ in range(2)
    )
    rows = DataLoader(TensorDataset(*script.data()), 16)
    script.trainer(1, tmp_path, first).validate(script.Module(), rows)

    second.load_state_dict(first.state_dict())

    assert second.accumulator.grid.same_as(first.accumulator.grid)
    assert not second.accumulator.grid.same_as(Grid.even(script.N_CLASSES))


def test_a_checkpoint_without_a_rule_is_refused():
    with pytest.raises(ValueError, match="must hold a rule of FitCallback, it holds none"):
        decision_of_checkpoint({"state_dict": {}})


def test_the_few_batches_that_are_tried_first_make_no_rule(script, tmp_path):
    class Stop(Exception):  # noqa: N818
        pass

    class Watcher(FitCallback):
        def on_train_start(self, trainer, pl_module):
            raise Stop

    watcher = Watcher(script.pipeline(), HistogramAccumulator(script.N_CLASSES))
    rows = DataLoader(TensorDataset(*script.data()), 16)

    with pytest.raises(Stop):
        script.trainer(1, tmp_path, watcher).fit(script.Module(), rows, rows)

    assert watcher.accumulator.n_rows == 32  # it did see them
    assert watcher.decision is None
    assert watcher.state_dict() == {}


def test_the_grid_follows_the_logits(script, tmp_path):
    callback = FitCallback(script.pipeline(), HistogramAccumulator(script.N_CLASSES))
    rows, module = DataLoader(TensorDataset(*script.data()), 16), script.Module()

    for _ in range(2):
        script.trainer(1, tmp_path, callback).validate(module, rows)

    labels = script.data()[1].numpy()
    data = cal.labelled_logits(logits_of(module, script), labels)
    grid = Grid.around(ScoreHistogram.of(data, Grid.even(script.N_CLASSES)))
    expected = script.pipeline().fit_from(ScoreHistogram.of(data, grid)).decision_
    assert same_decision(callback.decision, expected)


def test_what_validation_step_returns_can_be_taken_otherwise(script, tmp_path):
    class Other(script.Module):
        def validation_step(self, batch, batch_idx):
            return self.layer(batch[0])

    callback = FitCallback(
        script.pipeline(),
        HistogramAccumulator(script.N_CLASSES),
        take=lambda outputs, batch: (outputs, batch[1]),
        class_names=["a", "b", "c", "d", "e"],
    )
    rows = DataLoader(TensorDataset(*script.data()), 16)

    script.trainer(1, tmp_path, callback).validate(Other(), rows)

    assert callback.decision.class_names == ("a", "b", "c", "d", "e")


def test_a_step_that_returns_something_else_is_told_so(script, tmp_path):
    class Other(script.Module):
        def validation_step(self, batch, batch_idx):
            return torch.zeros(())

    callback = FitCallback(script.pipeline(), HistogramAccumulator(script.N_CLASSES))
    rows = DataLoader(TensorDataset(*script.data()), 16)

    with pytest.raises(TypeError, match="must return a dict with 'logits' and 'targets'"):
        script.trainer(1, tmp_path, callback).validate(Other(), rows)


def test_other_validation_loaders_are_not_counted(script, tmp_path):
    class Other(script.Module):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            return super().validation_step(batch, batch_idx)

    callback = FitCallback(
        script.pipeline(), HistogramAccumulator(script.N_CLASSES), dataloader_idx=1
    )
    rows = [TensorDataset(*(part[:n] for part in script.data())) for n in (30, 50)]

    script.trainer(1, tmp_path, callback).validate(Other(), [DataLoader(r, 16) for r in rows])

    assert callback.decision.provenance["n_rows"] == 50


def test_the_logits_are_written_in_the_order_of_the_data(one, script):
    folder, _ = one

    found = np.load(folder / "logits.npy", mmap_mode="r", allow_pickle=False)

    np.testing.assert_allclose(found, logits_of(trained(folder, script), script), atol=1e-6)
    assert found.dtype == np.float32


def test_a_shuffled_loader_changes_nothing(script, tmp_path):
    module = script.Module()
    rows = DataLoader(TensorDataset(*script.data()), 7, shuffle=True)

    script.trainer(1, tmp_path, LogitWriter(tmp_path / "logits.npy")).predict(module, rows)

    found = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(found, logits_of(module, script), atol=1e-6)


def test_rows_that_are_not_predicted_are_missed(script, tmp_path):
    running = script.trainer(1, tmp_path, LogitWriter(tmp_path / "logits.npy"))
    running.limit_predict_batches = 2
    rows = DataLoader(TensorDataset(*script.data()), 7)

    with pytest.raises(ValueError, match="82 did not, the first of them that of row 14"):
        running.predict(script.Module(), rows)

    assert list(tmp_path.glob("*.npy")) == []


def test_an_error_in_prediction_leaves_no_file(script, tmp_path):
    class Broken(script.Module):
        def predict_step(self, batch, batch_idx):
            if batch_idx == 3:
                raise RuntimeError("broken")
            return super().predict_step(batch, batch_idx)

    folder = tmp_path / "out"
    folder.mkdir()
    rows = DataLoader(TensorDataset(*script.data()), 7)

    with pytest.raises(RuntimeError, match="broken"):
        script.trainer(1, tmp_path, LogitWriter(folder / "logits.npy")).predict(Broken(), rows)

    assert list(folder.iterdir()) == []


def test_rows_without_numbers_cannot_be_written(script, tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            yield from zip(*script.data(), strict=True)

        def __len__(self):
            return script.N_ROWS

    running = script.trainer(1, tmp_path, LogitWriter(tmp_path / "logits.npy"))

    with pytest.raises(TypeError, match="needs a loader that says which rows it gives"):
        running.predict(script.Module(), DataLoader(Stream(), 7))


def test_one_file_takes_one_loader(script, tmp_path):
    class Other(script.Module):
        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return super().predict_step(batch, batch_idx)

    rows = DataLoader(TensorDataset(*script.data()), 7)
    running = script.trainer(1, tmp_path, LogitWriter(tmp_path / "logits.npy"))

    with pytest.raises(ValueError, match="needs one predict loader, got 2"):
        running.predict(Other(), [rows, rows])


def test_outputs_that_are_no_logits_are_refused(script, tmp_path):
    class Other(script.Module):
        def predict_step(self, batch, batch_idx):
            return ["something"]

    rows = DataLoader(TensorDataset(*script.data()), 7)
    running = script.trainer(1, tmp_path, LogitWriter(tmp_path / "logits.npy"))

    with pytest.raises(TypeError, match="must return the logits, or a dict with 'logits'"):
        running.predict(Other(), rows)


def test_two_processes_fit_one_rule_and_write_one_file(script, tmp_path):
    result = subprocess.run(
        [sys.executable, SCRIPT, "2", tmp_path], capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr
    logits = logits_of(trained(tmp_path, script), script)

    rules = [np.load(tmp_path / f"rule-{rank}.npy").tobytes() for rank in (0, 1)]

    assert rules[0] == rules[1]
    found = Decision.from_bytes(rules[0])
    assert same_decision(found, expected_decision(logits, script))
    assert found.provenance["n_rows_sampled"] == 8
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), logits, atol=1e-6)
