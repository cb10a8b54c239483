"""Labels that slow peers have predicted, kept from one run to the next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Outcome:
    """What came of a peer.

    Attributes
    ----------
    labels : sparse.csr_array, bool, (n_test, n_classes), or None
        None if its time was over before it was done.
    seconds : float
        Of processor time, until it was done or given up.
    """

    labels: sparse.csr_array | None
    seconds: float

    def serves(self, budget: float) -> bool:
        """Whether a run with so many seconds need not try again."""
        return self.labels is not None or self.seconds >= budget


@dataclass(frozen=True)
class Kept:
    """A folder of outcomes, one file for each network and peer.

    An outcome counts only for the key that it was kept with: the version of the peer's package
    and all that the peer was given.
    """

    folder: Path

    def outcome(self, network: str, peer: str, key: str) -> Outcome | None:
        path = self._path(network, peer)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as stored:
            if stored["key"] != key:
                return None
            labels = None
            if "indices" in stored:
                indices, shape = stored["indices"], tuple(stored["shape"].tolist())
                ones = np.ones(len(indices), dtype=bool)
                labels = sparse.csr_array((ones, indices, stored["indptr"]), shape=shape)
            return Outcome(labels, float(stored["seconds"]))

    def keep(self, network: str, peer: str, key: str, outcome: Outcome) -> None:
        path = self._path(network, peer)
        path.parent.mkdir(parents=True, exist_ok=True)
        made = {"key": np.array(key), "seconds": np.array(outcome.seconds)}
        if outcome.labels is not None:
            made["indptr"], made["indices"] = outcome.labels.indptr, outcome.labels.indices
            made["shape"] = np.array(outcome.labels.shape)
        np.savez_compressed(path, **made)

    def _path(self, network: str, peer: str) -> Path:
        slug = re.sub(r"[^a-z0-9]+", "-", peer.lower()).strip("-")
        return self.folder / network.replace("/", "-") / f"{slug}.npz"
