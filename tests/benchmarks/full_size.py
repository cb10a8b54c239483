"""Exact per-class F1 thresholds of all classes of a full-size memmap, beside scikit-learn.

Simulates ROWS x CLASSES logits on disk (the forum's case), sweeps all classes exactly, and times a
loop over scikit-learn's precision_recall_curve on some of the classes in the same run, scaled to
all. Also the expected-count rule on Platt-scaled logits. The read of the file (its sum, block by
block) is timed as the yardstick.

    python tests/benchmarks/full_size.py [--rows 80000] [--classes 7900] [--folder DIR]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.metrics import precision_recall_curve

import calibrate as cal
from calibrate.demo.simulation import simulate

SCIKIT_LEARN_CLASSES = 20


def anonymous_memory() -> int:
    """Anonymous memory of this process, in bytes; file pages of a memmap do not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not report RssAnon")


def measured(job: Callable[[], object]) -> tuple[float, int]:
    """Seconds a job takes, and how far anonymous memory rises above where it was."""
    start_memory, peak, done = anonymous_memory(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, anonymous_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    job()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return seconds, max(0, peak - start_memory)


def read_all(logits: np.ndarray) -> float:
    total = 0.0
    for start in range(0, len(logits), 256):
        total += float(logits[start : start + 256].sum())
    return total


def scikit_learn_loop(logits: np.ndarray, labels: sparse.csc_array, classes: range) -> np.ndarray:
    thresholds = np.empty(len(classes))
    for place, c in enumerate(classes):
        truth = np.zeros(len(logits), dtype=bool)
        truth[labels.indices[labels.indptr[c] : labels.indptr[c + 1]]] = True
        precision, recall, cuts = precision_recall_curve(truth, logits[:, c])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        thresholds[place] = cuts[f1[:-1].argmax()]
    return thresholds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=80_000)
    parser.add_argument("--classes", type=int, default=7_900)
    parser.add_argument("--folder", type=Path, help="Keep the simulated files here.")
    options = parser.parse_args()
    warnings.simplefilter("ignore", cal.FitWarning)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        files = simulate(folder, options.rows, options.classes, seed=0)
        logits = np.load(files.logits, mmap_mode="r")
        labels = sparse.csr_array(sparse.load_npz(files.labels))
        columns = labels.tocsc()
        f1 = cal.metrics.f_beta(1)
        sweep = cal.Pipeline([], cal.PerClassThreshold(f1))
        counted = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK())
        for pipeline in (sweep, counted):
            pipeline.fit(logits[:200, :50], labels[:200, :50])  # compiled before it is timed

        read_s = statistics.median(measured(lambda: read_all(logits))[0] for _ in range(3))
        sweep_s, sweep_memory = measured(lambda: sweep.fit(logits, labels))
        some = range(0, options.classes, max(1, options.classes // SCIKIT_LEARN_CLASSES))
        peer: list[np.ndarray] = []
        peer_s, _ = measured(lambda: peer.append(scikit_learn_loop(logits, columns, some)))
        peer_s *= options.classes / len(some)
        count_s, count_memory = measured(lambda: counted.fit(logits, labels))

        ours = np.asarray(sweep.rule_.op_.threshold)
        agree = 0
        for c, theirs in zip(some, peer[0], strict=True):
            column = np.asarray(logits[:, c])
            agree += np.array_equal(column >= ours[c], column >= theirs)
        size = logits.size * 4
        print(f"{options.rows:,} x {options.classes:,} float32 memmap, {size / 1e9:.2f} GB\n")
        print("| job, all classes | stream reads | anonymous memory / matrix | vs scikit-learn |")
        print("|---|---:|---:|---:|")
        print(
            f"| exact F1 sweep per class | {sweep_s / read_s:.1f} | {sweep_memory / size:.1%} "
            f"| {peer_s / sweep_s:.0f}x faster |"
        )
        print(
            f"| Platt and expected-count top-k | {count_s / read_s:.1f} "
            f"| {count_memory / size:.1%} | - |"
        )
        print(
            f"\nscikit-learn: precision_recall_curve loop on {len(some)} classes, scaled to all "
            f"(in stream reads: {peer_s / read_s:.0f}); same decisions in {agree} of {len(some)}"
        )


if __name__ == "__main__":
    main()
