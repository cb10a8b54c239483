"""One of several processes that count together; writes what it found to a file.

Usage: ``python one_rank.py RANK N_RANKS MEETING_FILE OUTPUT``.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import torch.distributed as dist

from calibrate.statistics import Grid
from calibrate.torch import HistogramAccumulator

N_ROWS, N_CLASSES, N_KEPT = 211, 9, 40
# rows of each of two processes: as many, most of them, none
SHARES = {"even": (105, 106), "uneven": (7, 204), "one idle": (211, 0)}
BATCHES = (13, 50)


def example() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    labels = rng.random((N_ROWS, N_CLASSES)) < 0.2
    logits = (rng.normal(size=labels.shape) * 9 + labels).astype(np.float32)
    logits[::2, 0] = -0.0
    return logits, labels


def feed(accumulator: HistogramAccumulator, rows: np.ndarray, batch: int) -> None:
    logits, labels = (torch.from_numpy(part) for part in example())
    for some in torch.from_numpy(rows).split(batch):
        accumulator.update(logits[some], labels[some], ids=some)


def found(accumulator: HistogramAccumulator) -> dict[str, np.ndarray]:
    """Everything that a fit is made from."""
    histogram, data = accumulator.histogram(), accumulator.rows()
    return {
        "counts": histogram.counts,
        "positives": histogram.positives,
        "offsets": histogram.offsets,
        "n_rows": np.array(histogram.n_rows),
        "kept": data.source.read(0, N_ROWS).view(np.int32),
        "kept_labels": data.labels.indices,
        "kept_starts": data.labels.indptr,
    }


def refused(accumulator: HistogramAccumulator) -> str:
    try:
        accumulator.all_reduce()
    except ValueError as error:
        return str(error)
    return "nothing"


def main(rank: int, n_ranks: int, meeting: str, output: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=n_ranks)
    results: dict[str, np.ndarray] = {}
    for name, sizes in SHARES.items():
        own = np.random.default_rng(1).permutation(N_ROWS)[: sizes[0]]
        if rank == 1:
            own = np.random.default_rng(1).permutation(N_ROWS)[sizes[0] :]
        accumulator = HistogramAccumulator(N_CLASSES, reservoir=N_KEPT)
        feed(accumulator, own, BATCHES[rank])
        for again in ("", " again"):
            total = accumulator.all_reduce()
            results |= {f"{name}{again}/{key}": value for key, value in found(total).items()}
        results[f"{name}/own rows"] = np.array(accumulator.n_rows)
    results["rank"] = np.array(HistogramAccumulator(2).rank)
    other = HistogramAccumulator(2, grid=Grid.even(2, -8 - rank, 8))
    results["other grid"] = np.array(refused(other))
    results["other size"] = np.array(refused(HistogramAccumulator(2 + rank)))
    np.savez(output, **results)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
