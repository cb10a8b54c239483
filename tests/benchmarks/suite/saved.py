"""Saved logits of trained networks: one folder per data set, with the files of each loss."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibrate.data import as_logits

DEFAULT = Path(__file__).parents[4] / "shared" / "data" / "logits"


def default_folder() -> Path:
    """``$CALIBRATE_REAL_LOGITS``, or where they lie beside this project."""
    return Path(os.environ.get("CALIBRATE_REAL_LOGITS", DEFAULT))


@dataclass(frozen=True)
class SavedNetwork:
    """``<loss>_val.npy``, ``<loss>_test.npy`` and the labels beside them.

    Attributes
    ----------
    folder : Path
    loss : str
    """

    folder: Path
    loss: str

    @property
    def name(self) -> str:
        return f"{self.folder.name}/{self.loss}"

    @property
    def is_softmax(self) -> bool:
        return self.loss == "softmax"

    def logits(self, part: str) -> NDArray[np.float32]:
        """All of ``val`` or ``test``; probabilities are turned into logits."""
        path = self.folder / f"{self.loss}_{part}.npy"
        source = as_logits(path, probabilities=self.loss == "probabilities")
        return source.read(0, source.shape[0])

    def labels(self, part: str) -> NDArray[np.bool_]:
        """Labels of ``val`` or ``test``, (n_rows, n_classes)."""
        return sparse.load_npz(self.folder / f"labels_{part}.npz").toarray().astype(bool)

    @property
    def pos_weight(self) -> NDArray[np.float64] | None:
        """Weights of the training, or None if there were none."""
        if not self.loss.startswith("weighted"):
            return None
        return np.load(self.folder / "pos_weight.npy", allow_pickle=False)


def networks(folder: Path) -> list[SavedNetwork]:
    return [
        SavedNetwork(dataset, path.name.removesuffix("_val.npy"))
        for dataset in sorted(folder.iterdir())
        for path in sorted(dataset.glob("*_val.npy"))
    ]
