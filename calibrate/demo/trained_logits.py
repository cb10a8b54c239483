"""The demo's real input: a network trained with ``pos_weight``, and its logits on held-out rows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy import sparse

from calibrate.demo.network import split_rows, train_network
from calibrate.demo.source_corpus import SourceCorpus

EPOCHS = 10


@dataclass(frozen=True)
class TrainedFiles:
    """Where the logits of a trained network were written, as a user has them on disk.

    Attributes
    ----------
    validation_logits, test_logits : Path
        ``.npy``, float32, (n_rows, n_classes), in nats.
    validation_labels, test_labels : Path
        ``.npz``, SciPy CSR, bool.
    class_names, pos_weight : Path
    """

    validation_logits: Path
    validation_labels: Path
    test_logits: Path
    test_labels: Path
    class_names: Path
    pos_weight: Path


def train_and_save(
    corpus: SourceCorpus,
    folder: Path,
    *,
    weighted: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TrainedFiles:
    """Train on 60 % of the rows; write the logits of two other parts of 20 % each.

    Parameters
    ----------
    corpus : SourceCorpus
    folder : Path
        Must exist; files of the same names are replaced when all are complete.
    weighted : bool
        Train with ``pos_weight = negatives / positives`` of the training rows.
    seed : int
    progress : callable, optional
        Called after each epoch with the epochs done and all epochs.
    """
    train, *held_out = split_rows(corpus.labels.shape[0], seed=seed)
    positives = np.asarray(corpus.labels[train].sum(axis=0), dtype=np.float64).ravel()
    half = 0.5 * (positives == 0)
    pos_weight = ((len(train) - positives + half) / (positives + half)).astype(np.float32)
    network = train_network(
        corpus.features[train],
        corpus.labels[train],
        pos_weight=pos_weight if weighted else None,
        epochs=EPOCHS,
        seed=seed,
        progress=progress,
    )
    complete = _files_in(folder)
    with tempfile.TemporaryDirectory(prefix=".train-", dir=folder) as unfinished:
        written = _files_in(Path(unfinished))
        for rows, logits, labels in zip(
            held_out,
            (written.validation_logits, written.test_logits),
            (written.validation_labels, written.test_labels),
            strict=True,
        ):
            np.save(logits, network.logits(corpus.features[rows]))
            sparse.save_npz(labels, corpus.labels[rows])
        np.save(written.pos_weight, pos_weight)
        written.class_names.write_text("".join(f"{name}\n" for name in corpus.class_names), "utf-8")
        for field in fields(written):
            getattr(written, field.name).replace(getattr(complete, field.name))
    return complete


def _files_in(folder: Path) -> TrainedFiles:
    return TrainedFiles(
        folder / "validation_logits.npy",
        folder / "validation_labels.npz",
        folder / "test_logits.npy",
        folder / "test_labels.npz",
        folder / "class_names.txt",
        folder / "pos_weight.npy",
    )
