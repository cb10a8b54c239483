"""How fast histograms and exact sweeps are where the logits lie, in reads of the matrix.

Times, on the CUDA device if there is one and else on the CPU, the accumulator's `update` in
batches, on a device also compiled, and `best_cuts` for F1, beside what the same device needs to
copy the matrix and to read it once. Prints the shapes and a Markdown table, and says on which
device; checks that the results are those of the host on some rows before it times anything.

    python tests/benchmarks/gpu.py [--rows 80000] [--classes 7900] [--batch 1024] [--device cuda]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from suite import machine

from calibrate.data import labelled_logits
from calibrate.metrics import f_beta
from calibrate.statistics import ScoreHistogram
from calibrate.statistics import best_cuts as cuts_of_host
from calibrate.torch import HistogramAccumulator, best_cuts

TARGETS = {"histogram": 4.0, "histogram, compiled": 4.0, "exact F1 sweep": 30.0}
"""Reads of the matrix that a job may take on a GPU."""

LABELS_PER_ROW, SAMPLED_ROWS = 130, 512


@dataclass(frozen=True)
class Case:
    """Logits and targets on one device, (n_rows, n_classes)."""

    logits: torch.Tensor
    targets: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of the logits."""
        return self.logits.nbytes


def simulated(n_rows: int, n_classes: int, device: torch.device, seed: int = 0) -> Case:
    """Logits that lean towards rare labels, made in place, part by part."""
    generator = torch.Generator(device).manual_seed(seed)
    share = min(0.2, LABELS_PER_ROW / n_classes)
    logits = torch.empty(n_rows, n_classes, device=device)
    targets = torch.empty(n_rows, n_classes, dtype=torch.bool, device=device)
    height = max(1, (1 << 24) // n_classes)
    for start in range(0, n_rows, height):
        part = logits[start : start + height].normal_(generator=generator)
        chance = torch.rand(part.shape, device=device, generator=generator)
        targets[start : start + height] = chance < share
        part.mul_(1.5).sub_(3.0).add_(2.0 * (chance < share))
    return Case(logits, targets)


def counted(case: Case, batch: int, *, compiled: bool = False) -> HistogramAccumulator:
    """All rows in batches, as in a validation loop."""
    accumulator = HistogramAccumulator(
        case.logits.shape[1], device=case.logits.device, compiled=compiled
    )
    parts = zip(case.logits.split(batch), case.targets.split(batch), strict=True)
    for logits, targets in parts:
        accumulator.update(logits, targets)
    return accumulator


def check(case: Case, batch: int) -> None:
    """Stop if some rows do not give what they give on the host, bit for bit."""
    some = Case(case.logits[:SAMPLED_ROWS], case.targets[:SAMPLED_ROWS])
    rows = labelled_logits(some.logits.cpu().numpy(), some.targets.cpu().numpy())
    for compiled in (False, True) if some.logits.is_cuda else (False,):
        accumulator = counted(some, batch, compiled=compiled)
        found, expected = accumulator.histogram(), ScoreHistogram.of(rows, accumulator.grid)
        for name in ("counts", "positives", "offsets"):
            if not np.array_equal(getattr(found, name), getattr(expected, name)):
                raise SystemExit(f"the {name} differ from those of the host")
    cuts, (others,) = best_cuts(some.logits, some.targets, f_beta(1)), cuts_of_host(rows, f_beta(1))
    if not all(np.array_equal(a, b) for a, b in zip(cuts, others, strict=True)):
        raise SystemExit("the best cuts differ from those of the host")


def seconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """The median time of some rounds, after one that is not counted."""
    times = []
    for _ in range(rounds + 1):
        _wait(device)
        start = perf_counter()
        work()
        _wait(device)
        times.append(perf_counter() - start)
    return float(np.median(times[1:]))


def copy_seconds(logits: torch.Tensor, rounds: int) -> float:
    """How long the device takes to copy the matrix."""
    room = torch.empty_like(logits)
    return seconds(lambda: room.copy_(logits), logits.device, rounds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def report(options: argparse.Namespace) -> list[str]:
    """Lines of Markdown."""
    device = torch.device(options.device)
    case = simulated(options.rows, options.classes, device)
    check(case, options.batch)
    copy = copy_seconds(case.logits, options.rounds)
    read = seconds(lambda: case.logits.sum(), device, options.rounds)
    jobs = {
        "histogram": lambda: counted(case, options.batch),
        # the host has its own kernel
        "histogram, compiled": lambda: counted(case, options.batch, compiled=True),
        "exact F1 sweep": lambda: best_cuts(case.logits, case.targets, f_beta(1)),
    }
    if device.type != "cuda":
        del jobs["histogram, compiled"]
    bandwidth = 2 * case.nbytes / copy
    lines = [
        f"{options.rows:,} x {options.classes:,} float32, {case.nbytes / 1e9:.2f} GB, in batches "
        f"of {options.batch:,} rows; {options.rounds} rounds",
        "",
        f"{_device(device)}; torch {torch.__version__}; a copy {1e3 * copy:.2f} ms, "
        f"{bandwidth / 1e9:,.0f} GB/s; one read {1e3 * read:.2f} ms",
        "",
        "| job | time | reads of the matrix (target on a GPU) | of the copy's bandwidth |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, work in jobs.items():
        took = seconds(work, device, options.rounds)
        reads = took / read
        missed = ", missed" if device.type == "cuda" and reads > TARGETS[name] else ""
        lines.append(
            f"| {name} | {1e3 * took:,.1f} ms | {reads:.1f} ({TARGETS[name]:g}{missed}) "
            f"| {case.nbytes / took / bandwidth:.1%} |"
        )
    return lines


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = machine.describe()
    return f"no GPU: {cpu['cpu']}, {cpu['threads']} threads"


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=80_000)
    parser.add_argument("--classes", type=int, default=7_900)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    print("\n".join(report(parser.parse_args(arguments))))


if __name__ == "__main__":
    sys.exit(main())
