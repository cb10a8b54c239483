"""How good the probabilities are on saved logits of networks trained on real data, beside others.

Every calibrator is fitted on validation rows and measured on test rows. Prints Markdown tables:
log loss per row with the difference of the default from the best other method, calibration error,
sum of probabilities over labels, and average precision. What other libraries offer is run one class
after the other, where it is installed (tests/benchmarks/requirements.txt).

    python tests/benchmarks/calibration.py [FOLDER] [--networks NAME,...] [--methods NAME,...]

FOLDER holds one folder per data set (default: $CALIBRATE_REAL_LOGITS). With ``--output`` each
network's figures are kept as JSON in that folder, and the tables show all that it holds: a long run
can be made in parts, a few networks or methods at a time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from suite import calibration_report
from suite.calibrators import METHODS, OURS, PEERS
from suite.judged import Difference, Figures, row_losses
from suite.progress import say
from suite.saved import SavedNetwork, default_folder, networks


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    if not options.folder.is_dir():
        sys.exit(f"there is no folder of saved logits at {options.folder}")
    chosen = networks(options.folder)
    if options.networks is not None:
        unknown = set(options.networks) - {network.name for network in chosen}
        if unknown:
            sys.exit(f"there is no network {sorted(unknown)[0]} in {options.folder}")
        chosen = [network for network in chosen if network.name in options.networks]
    records = []
    for network in chosen:
        record = measure(network, options.methods)
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            path = options.output / f"{network.name.replace('/', '-')}.json"
            if path.exists():
                record = _added(json.loads(path.read_text(encoding="utf-8")), record)
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        records.append(record)
    if options.output is not None:
        paths = sorted(options.output.glob("*.json"))
        records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    print(calibration_report.markdown(records), end="")


def measure(network: SavedNetwork, methods: list[str]) -> dict[str, Any]:
    """Figures of the methods that can be had, and ours less each of them, as plain JSON values."""
    labels = network.labels("test")
    figures, losses, seconds, missing = {}, {}, {}, {}
    for name in dict.fromkeys([OURS, *methods]):
        say(f"{network.name}: {name}")
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                # a class that they find too rare, or an option of their own that is out of date
                warnings.simplefilter("ignore")
                log_odds = (METHODS | PEERS)[name](network)
        except ImportError as error:
            missing[name] = f"{type(error).__name__}: {error}"
            continue
        if log_odds is None:
            continue
        seconds[name] = time.perf_counter() - start
        figures[name] = dataclasses.asdict(Figures.of(log_odds, labels))
        losses[name] = row_losses(log_odds, labels)
    differences = {
        name: dataclasses.asdict(Difference.between(losses[OURS], loss))
        for name, loss in losses.items()
        if name != OURS
    }
    return {
        "network": network.name,
        "rows": [len(network.labels("val")), len(labels)],
        "classes": labels.shape[1],
        "figures": figures,
        "differences": differences,
        "seconds": seconds,
        "missing": missing,
    }


def _added(before: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """The record, and what was measured before by other methods."""
    parts = ("figures", "differences", "seconds")
    return record | {part: before[part] | record[part] for part in parts}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    names = [*METHODS, *PEERS]

    def some(text: str) -> list[str]:
        wanted = text.split(",")
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(names)}")
        return wanted

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=default_folder())
    parser.add_argument(
        "--networks", type=lambda text: text.split(","), metavar="SET/LOSS,...", help="default: all"
    )
    parser.add_argument(
        "--methods", type=some, default=names, metavar="NAME,...", help=", ".join(names)
    )
    parser.add_argument("--output", type=Path, help="folder for one JSON file per network")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
