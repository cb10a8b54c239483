"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

ROOT = Path(__file__).parent.parent
REAL_LOGITS = Path(
    os.environ.get("CALIBRATE_REAL_LOGITS", ROOT.parent / "shared" / "data" / "logits")
)


@dataclass(frozen=True)
class SavedLogits:
    """Saved logits of one network: paths, as a user has them."""

    folder: Path
    loss: str

    def logits(self, part: str) -> Path:
        return self.folder / f"{self.loss}_{part}.npy"

    def labels(self, part: str) -> Path:
        return self.folder / f"labels_{part}.npz"

    def arrays(self, part: str) -> tuple[np.ndarray, sparse.csr_array]:
        logits = np.load(self.logits(part), mmap_mode="r", allow_pickle=False)
        return logits, sparse.csr_array(sparse.load_npz(self.labels(part)))

    @property
    def class_names(self) -> Path:
        return self.folder / "class_names.txt"

    @property
    def pos_weight(self) -> np.ndarray:
        return np.load(self.folder / "pos_weight.npy", allow_pickle=False)


@pytest.fixture
def real_logits():
    """Give a function ``(set, loss) -> SavedLogits`` of networks trained on real data."""
    if not REAL_LOGITS.is_dir():
        reason = f"no saved logits of real networks at {REAL_LOGITS} (CALIBRATE_REAL_LOGITS)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return lambda name, loss: SavedLogits(REAL_LOGITS / name, loss)
