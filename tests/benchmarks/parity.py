"""Whether every runtime gives the labels that numpy gives, on saved logits of real networks.

For each network a pipeline for every goal, and one with each other kind of rule, is fitted on the
validation rows. The test rows are then decided by numpy and by the torch layer, as it is and
compiled, on float32 logits and on those rounded to float16 and bfloat16. Prints one Markdown line
for each rule: labels that differ, summed over networks, and how many of them lie within 1e-6 of the
cut, which sums along a row may move by the order of their terms. Ends with status 1 if any other
label differs.

    python tests/benchmarks/parity.py [FOLDER] [--only NAME,...]

FOLDER holds one folder per data set (default: $CALIBRATE_REAL_LOGITS).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from suite.saved import default_folder, networks

import calibrate as cal
from calibrate.torch import DecisionLayer

F1 = cal.metrics.f_beta(1)
NEAR = 1e-6
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def pipelines() -> dict[str, cal.Pipeline]:
    """Pipelines whose steps, together, are of every kind."""
    return {
        "macro-F1": cal.objectives.macro_f1.pipeline(),
        "micro-F1": cal.objectives.micro_f1.pipeline(),
        "instance-F1": cal.objectives.instance_f1.pipeline(),
        "count": cal.objectives.count.pipeline(),
        "Platt, per class": cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(F1)),
        "beta, prevalence": cal.Pipeline([cal.BetaCalibration()], cal.PrevalenceMatching()),
        "isotonic, expected k": cal.Pipeline([cal.IsotonicCalibration()], cal.ExpectedCountTopK()),
        "focal, top-k": cal.Pipeline([cal.FocalCorrection()], cal.TopK(5)),
        "Platt, likeliest k": cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK(mode=True)),
        "Platt, budgeted": cal.Pipeline([cal.PlattScaling()], cal.BudgetedTopK(5, F1)),
        "Platt, propensity": cal.Pipeline([cal.PlattScaling()], cal.PropensityTopK(5)),
        "Platt, MCut": cal.Pipeline([cal.PlattScaling()], cal.MCut()),
        "Platt, Jaccard": cal.Pipeline([cal.PlattScaling()], cal.ExpectedJaccard()),
        "Platt, bounded": cal.Pipeline(
            [cal.PlattScaling()],
            cal.Overridden(cal.PerClassThreshold(F1), {}, min_labels=1, max_labels=8),
        ),
    }


def mask_of(decision: cal.Decision, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    labels = decision.decide(logits)
    mask = np.zeros(logits.shape, dtype=bool)
    mask[np.repeat(np.arange(len(logits)), np.diff(labels.indptr)), labels.indices] = True
    return mask


def near_the_cut(
    decision: cal.Decision, logits: NDArray[np.float32], differs: NDArray[np.bool_]
) -> int:
    """How many of the labels that differ change if the calibrated logits of their row move by 1e-6.

    They move together, up or down, or each towards or away from the cut of its row.
    """
    rows = np.flatnonzero(differs.any(axis=1))
    z = decision.calibrate(logits[rows])
    step = np.float32(NEAR) * np.maximum(1, np.abs(z))
    rule = cal.Decision((), decision.rule, decision.n_classes)
    here = mask_of(rule, z)
    sign = np.where(here, np.float32(-1), np.float32(1))
    moved = np.zeros(here.shape, dtype=bool)
    for change in (step, -step, sign * step, -sign * step):
        moved |= mask_of(rule, z + change) != here
    return int((moved & differs[rows]).sum())


def compare(decision: cal.Decision, logits: NDArray[np.float32], found: Counter[str]) -> None:
    """Count labels, and those that differ by the way they were decided."""
    layer = DecisionLayer(decision)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, dynamic=True)
    for name, dtype in TYPES.items():
        given = torch.from_numpy(logits).to(dtype)
        rounded = given.to(torch.float32).numpy()
        expected = mask_of(decision, rounded)
        found["labels"] += int(expected.sum())
        for way, decide in (("eager", layer), ("compiled", compiled)):
            differs = decide(given).numpy() != expected
            found[f"{name}, {way}"] += int(differs.sum())
            found["near"] += near_the_cut(decision, rounded, differs) if differs.any() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=default_folder())
    parser.add_argument("--only", default="", metavar="NAME,...", help="parts of names of networks")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        sys.exit(f"there is no folder of saved logits at {arguments.folder}")
    warnings.simplefilter("ignore", cal.FitWarning)
    found: dict[str, Counter[str]] = {name: Counter() for name in pipelines()}
    n_networks = 0
    for network in networks(arguments.folder):
        if not any(part in network.name for part in arguments.only.split(",")):
            continue
        n_networks += 1
        logits, labels = network.logits("val"), network.labels("val")
        for name, pipeline in pipelines().items():
            pipeline.fit(logits, labels)
            compare(pipeline.decision_, network.logits("test"), found[name])
        print(f"{network.name} done", file=sys.stderr)
    ways = [f"{name}, {way}" for name in TYPES for way in ("eager", "compiled")]
    print(f"{n_networks} networks\n")
    print("| pipeline | labels | " + " | ".join(ways) + " | of these within 1e-6 of the cut |")
    print("|---|" + "---:|" * (len(ways) + 2))
    unexplained = 0
    for name, counts in found.items():
        differing = [counts[way] for way in ways]
        unexplained += sum(differing) - counts["near"]
        cells = [counts["labels"], *differing, counts["near"]]
        print(f"| {name} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    print(f"\nlabels that differ otherwise: {unexplained:,}")
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
