"""What the decision layer costs, beside the plain torch operation that it cannot do without.

Measured alternately, in one process; prints one Markdown table of medians: the mask of per-class
thresholds beside ``logits > 0``, and the mask of expected-count top-k beside ``torch.topk`` of as
many as the largest row has, eager and compiled.

    python tests/benchmarks/layer.py [--rounds 30] [--threads 2] [--device cpu]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

import calibrate as cal
from calibrate.ops import Affine, ExpectedCountTopK, Threshold
from calibrate.torch import DecisionLayer

SHAPES = [(64, 7_900), (1_024, 7_900), (1_024, 1_000)]


def decisions(n_classes: int, rng: np.random.Generator) -> tuple[cal.Decision, cal.Decision]:
    """Calibrated thresholds, and calibrated counts."""
    scale = rng.uniform(0.5, 1.5, n_classes).astype(np.float32)
    line = Affine(scale, rng.uniform(-0.1, 0.1, n_classes).astype(np.float32))
    cuts = Threshold(rng.uniform(-2, 0, n_classes).astype(np.float32))
    counts = ExpectedCountTopK(0.5, 0, None)
    return cal.Decision((line,), cuts, n_classes), cal.Decision((line,), counts, n_classes)


def medians(
    ways: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, float]:
    """Median milliseconds of each way, all of them in every round."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 2):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(times[2:])) for name, times in taken.items()}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    print(f"torch {torch.__version__}, {device}, {arguments.threads} threads, medians\n")
    print("| rows x classes | job | ms | beside | ms | ratio |\n|---|---|---:|---|---:|---:|")
    for n_rows, n_classes in SHAPES:
        rng = np.random.default_rng(0)
        logits = torch.from_numpy(rng.normal(-5, 1.5, (n_rows, n_classes)).astype(np.float32))
        logits = logits.to(device)
        cuts, counts = (DecisionLayer(one).to(device) for one in decisions(n_classes, rng))
        most = int(counts(logits).sum(dim=1).max())
        compiled = [torch.compile(one, fullgraph=True, dynamic=True) for one in (cuts, counts)]
        ways = {
            "bare": lambda x=logits: x > 0,
            "mask": lambda x=logits, f=cuts: f(x),
            "mask, compiled": lambda x=logits, f=compiled[0]: f(x),
            "topk": lambda x=logits, k=most: torch.topk(x, k),
            "count": lambda x=logits, f=counts: f(x),
            "count, compiled": lambda x=logits, f=compiled[1]: f(x),
        }
        found = medians(ways, arguments.rounds, device)
        for job, beside, name in (
            ("mask", "bare", "logits > 0"),
            ("mask, compiled", "bare", "logits > 0"),
            ("count", "topk", f"torch.topk({most})"),
            ("count, compiled", "topk", f"torch.topk({most})"),
        ):
            print(
                f"| {n_rows:,} x {n_classes:,} | {job} | {found[job]:.3f} | {name} | "
                f"{found[beside]:.3f} | {found[job] / found[beside]:.2f} |"
            )


if __name__ == "__main__":
    main()
