"""Whether every runtime gives the labels that numpy gives, on saved logits of real networks.

For each network a pipeline for every goal, and one with each other kind of rule, is fitted on the
validation rows. The test rows are then decided by numpy, by the torch layer, as it is and
compiled, and by ONNX Runtime; on float32 logits and on those rounded to float16 and bfloat16, which
last no graph takes. Prints one Markdown line for each rule: labels that differ, summed over
networks, and how many of them lie within 1e-6 of the cut, which sums along a row may move by the
order of their terms. What a runtime cannot say is named so, and is no 0. Ends with status 1 if any
other label differs.

    python tests/benchmarks/parity.py [FOLDER] [--only NAME,...] [--output FOLDER]

FOLDER holds one folder per data set (default: $CALIBRATE_REAL_LOGITS). With ``--output`` the counts
of each network are kept as JSON in that folder, and the table and the status are of all that it
holds: so a long run can be made in parts.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from suite.progress import say
from suite.saved import SavedNetwork, default_folder, networks

import calibrate as cal
from calibrate.onnx import to_model
from calibrate.onnx.check import run_onnxruntime
from calibrate.torch import DecisionLayer

F1 = cal.metrics.f_beta(1)
NEAR = 1e-6
TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
GRAPHS = {"float32": np.float32, "float16": np.float16}
WAYS = [
    f"{name}, {way}"
    for name in TYPES
    for way in ("eager", "compiled", *(["ONNX Runtime"] if name in GRAPHS else []))
]

Decide = Callable[[torch.Tensor], NDArray[np.bool_]]
Counts = dict[str, int | None]
"""Of one pipeline: labels, those that differ by the way they were decided, and those near a cut.

None where that way cannot say the decision.
"""


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


def ways(decision: cal.Decision) -> dict[str, Decide | None]:
    """What decides tensors, by the name of its column; None if it cannot say the decision."""
    layer = DecisionLayer(decision)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, dynamic=True)
    found: dict[str, Decide | None] = {}
    for name in TYPES:
        found[f"{name}, eager"] = lambda given: layer(given).numpy()
        found[f"{name}, compiled"] = lambda given: compiled(given).numpy()
        if name in GRAPHS:
            found[f"{name}, ONNX Runtime"] = graph(decision, name)
    return found


def graph(decision: cal.Decision, name: str) -> Decide | None:
    """ONNX Runtime on logits of a type."""
    try:
        model = to_model(decision, dtype=GRAPHS[name])
    except ValueError as error:
        say(f"not said in ONNX: {error}")
        return None
    return lambda given: run_onnxruntime(model, {"logits": given.numpy()})[0]


def compare(decision: cal.Decision, logits: NDArray[np.float32]) -> Counts:
    """Labels of numpy, and those that differ."""
    found: Counts = {"labels": 0, "near": 0}
    for way, decide in ways(decision).items():
        if decide is None:
            found[way] = None
            continue
        given = torch.from_numpy(logits).to(TYPES[way.split(",")[0]])
        rounded = given.to(torch.float32).numpy()
        expected = mask_of(decision, rounded)
        differs = decide(given) != expected
        found[way] = int(differs.sum())
        found["near"] += near_the_cut(decision, rounded, differs) if differs.any() else 0
        found["labels"] += int(expected.sum()) if way.endswith("eager") else 0
    return found


def chosen(folder: Path, parts: list[str]) -> list[SavedNetwork]:
    """The networks with such names or, where none has one, with such parts of names."""
    every = networks(folder)
    found = []
    for part in parts:
        called = [n for n in every if n.name == part] or [n for n in every if part in n.name]
        if not called:
            sys.exit(f"there is no network {part!r} in {folder}")
        found += called
    return [network for network in every if network in found]


def measure(network: SavedNetwork) -> dict[str, Any]:
    """The counts of all pipelines on one network, as plain JSON values."""
    logits, labels, test = network.logits("val"), network.labels("val"), network.logits("test")
    counts = {}
    for name, pipeline in pipelines().items():
        pipeline.fit(logits, labels)
        counts[name] = compare(pipeline.decision_, test)
    say(f"{network.name} done")
    return {"network": network.name, "ways": WAYS, "counts": counts}


def kept(folder: Path) -> list[dict[str, Any]]:
    """What the folder holds, but for networks that were decided by other pipelines or ways."""
    records = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["ways"] == WAYS and list(record["counts"]) == list(pipelines()):
            records.append(record)
        else:
            say(f"{record['network']} was decided in other ways and is left out: run it again")
    return records


def cell(counts: list[int | None]) -> str:
    """One number of a pipeline over all networks; what could not be said is not counted as 0."""
    said = [count for count in counts if count is not None]
    if not said:
        return "not said in ONNX"
    unsaid = len(counts) - len(said)
    return f"{sum(said):,}" + (f" (not said in ONNX for {unsaid} networks)" if unsaid else "")


def report(records: list[dict[str, Any]]) -> int:
    """Print the table; how many labels differ that must not."""
    print(f"{len(records)} networks\n")
    print("| pipeline | labels | " + " | ".join(WAYS) + " | of these within 1e-6 of the cut |")
    print("|---|" + "---:|" * (len(WAYS) + 2))
    unexplained = 0
    for name in pipelines():
        counts = [record["counts"][name] for record in records]
        columns = [[one[column] for one in counts] for column in ("labels", *WAYS, "near")]
        print(f"| {name} | " + " | ".join(map(cell, columns)) + " |")
        unexplained += sum(one[way] or 0 for one in counts for way in WAYS)
        unexplained -= sum(one["near"] for one in counts)
    print(f"\nlabels that differ otherwise: {unexplained:,}")
    return unexplained


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=default_folder())
    parser.add_argument(
        "--only", default="", metavar="NAME,...", help="of networks, or parts of names"
    )
    parser.add_argument("--output", type=Path, help="folder in which the counts are kept")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        sys.exit(f"there is no folder of saved logits at {options.folder}")
    warnings.simplefilter("ignore", cal.FitWarning)
    records = []
    for network in chosen(options.folder, options.only.split(",")):
        records.append(measure(network))
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            path = options.output / f"{network.name.replace('/', '-')}.json"
            path.write_text(json.dumps(records[-1], indent=1) + "\n", encoding="utf-8")
    unexplained = report(records if options.output is None else kept(options.output))
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
