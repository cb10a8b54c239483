"""A small module and its data, trained and predicted with as many processes as are asked for.

Usage: ``python lightning_run.py N_PROCESSES FOLDER``.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

import calibrate as cal
from calibrate.adapters.lightning import FitCallback, LogitWriter
from calibrate.torch import HistogramAccumulator

N_ROWS, N_CLASSES, N_FEATURES = 96, 5, 4


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(N_ROWS, N_FEATURES, generator=generator)
    weights = torch.randn(N_FEATURES, N_CLASSES, generator=generator)
    noise = torch.randn(N_ROWS, N_CLASSES, generator=generator)
    return features, (features @ weights + noise > 0.5).float()


class Module(LightningModule):
    """One layer with a loss for each label."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(N_FEATURES, N_CLASSES)
        self.seen: list[torch.Tensor] = []

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.binary_cross_entropy_with_logits(self.layer(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        return {"logits": self.layer(batch[0]), "targets": batch[1]}

    def predict_step(self, batch, batch_idx):
        return self.layer(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def pipeline() -> cal.Pipeline:
    return cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(cal.metrics.f_beta(1)))


def trainer(n_processes: int, folder: Path, *callbacks) -> Trainer:
    return Trainer(
        accelerator="cpu", devices=n_processes, strategy="auto" if n_processes == 1 else "ddp",
        max_epochs=2, callbacks=list(callbacks), default_root_dir=folder, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip


def run(n_processes: int, folder: Path) -> FitCallback:
    """Train, write a checkpoint, then predict with these weights; the callback of the fits."""
    accumulator = HistogramAccumulator(N_CLASSES, reservoir=8)
    fits = FitCallback(pipeline(), accumulator, regrid=False)
    rows, module = TensorDataset(*data()), Module()
    running = trainer(n_processes, folder, fits, LogitWriter(folder / "logits.npy"))
    running.fit(module, DataLoader(rows, 16), DataLoader(rows, 12))
    running.save_checkpoint(folder / "model.ckpt")
    running.predict(module, DataLoader(rows, 7), return_predictions=False)
    return fits


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    callback = run(int(sys.argv[1]), Path(sys.argv[2]))
    np.save(
        Path(sys.argv[2]) / f"rule-{callback.accumulator.rank}.npy",
        np.frombuffer(callback.decision.to_bytes(), np.uint8),
    )
