"""How good the decisions are on saved logits of networks trained on real data, beside others.

Everything is fitted on validation rows and measured on test rows. Prints a Markdown table for each
objective (macro-F1, micro-F1, instance-F1, as many predictions as labels): our default for it
beside the best of the plain methods and of other libraries, with the difference on the same rows,
its 95 % interval, and whether ours is best, tied or worse. Below stands in how many cells it is
which, and each cell in which another method is better.

    python tests/benchmarks/quality.py [FOLDER] [--networks NAME,...] [--methods NAME,...]

FOLDER holds one folder per data set (default: $CALIBRATE_REAL_LOGITS). With ``--output`` the
figures of each network are kept as JSON in that folder, and the tables show all that it holds. The
labels that other libraries predict are kept there too: they are run again only for another version
of theirs, or for other scores. So a long run can be made in parts, and a new rule of ours is judged
beside them in seconds. ``--full`` prints all figures of all methods on the networks of this run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from suite import quality_report
from suite.deciders import OBJECTIVES, OURS, PLAIN, Objective
from suite.decision_quality import Difference, evaluated, figures
from suite.given import Given
from suite.kept import Kept, Outcome
from suite.peer_deciders import PEERS, PeerDecider
from suite.peers.peer import quiet
from suite.progress import say
from suite.saved import SavedNetwork, default_folder, networks

from calibrate.base import FitWarning
from calibrate.data import labelled_logits
from calibrate.evaluation import Evaluation
from calibrate.evaluation.result import finite_or_none

LABELS = "labels"
"""Where in the output folder the labels of peers lie."""


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
    kept = None if options.output is None else Kept(options.output / LABELS)
    records = []
    for network in chosen:
        records.append(measure(network, options.methods, options.peer_seconds, kept))
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            path = options.output / f"{network.name.replace('/', '-')}.json"
            path.write_text(json.dumps(records[-1], indent=1) + "\n", encoding="utf-8")
    if options.full:
        print("\n".join(quality_report.full(record) for record in records))
    if options.output is not None:
        records = _of_today(options.output)
    print(quality_report.markdown(records), end="")


def _of_today(folder: Path) -> list[dict[str, Any]]:
    """What the folder holds, but for networks that were judged with other defaults."""
    records = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["defaults"] == _defaults():
            records.append(record)
        else:
            say(f"{record['network']} was judged with other defaults and is left out: run it again")
    return records


def _defaults() -> dict[str, str]:
    return {objective.name: objective.default for objective in OBJECTIVES}


def measure(
    network: SavedNetwork, methods: Collection[str], budget: float, kept: Kept | None
) -> dict[str, Any]:
    """Figures of the methods that can be had, and ours less each of them, as plain JSON values.

    Parameters
    ----------
    methods : collection of str
        Peers to run; ours and the plain methods are always run.
    budget : float
        Seconds of processor time for each peer.
    kept : Kept, optional
        Labels of earlier runs, which count as well.
    """
    given = Given(network)
    ours, others = _ours(given), _others(given, methods, budget, kept)
    labels = ours | {
        name: one.labels for name, one in others.outcomes.items() if one.labels is not None
    }
    frequency = given.raw.labels.sum(axis=0, dtype=np.int64)
    test_rows = labelled_logits(given.raw.test, network.labels("test"))
    found = {name: evaluated(one, test_rows, frequency) for name, one in labels.items()}
    return {
        "network": network.name,
        "rows": [len(given.raw.labels), test_rows.shape[0]],
        "classes": test_rows.shape[1],
        "defaults": _defaults(),
        "figures": {name: _plain(figures(one, frequency)) for name, one in found.items()},
        "differences": {objective.name: _differences(objective, found) for objective in OBJECTIVES},
        "seconds": {name: others.outcomes[name].seconds for name in found if name in PEERS},
        "unfinished": {
            name: one.seconds for name, one in others.outcomes.items() if one.labels is None
        },
        "missing": others.missing,
        "failed": others.failed,
    }


def _differences(objective: Objective, found: dict[str, Evaluation]) -> dict[str, Any]:
    """Our default for an objective less every other method."""
    ours = found[objective.default]
    return {
        name: _plain(dataclasses.asdict(Difference.between(ours, other, objective.figure)))
        for name, other in found.items()
        if name != objective.default
    }


def _ours(given: Given) -> dict[str, Any]:
    """Labels of our methods and of the plain ones that apply."""
    say(f"{given.network.name}: ours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        made = {name: decide(given) for name, decide in (PLAIN | OURS).items()}
    return {name: labels for name, labels in made.items() if labels is not None}


@dataclasses.dataclass(frozen=True)
class _Others:
    """What came of the peers, which could not be had, and which failed, by name."""

    outcomes: dict[str, Outcome] = dataclasses.field(default_factory=dict)
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)


def _others(given: Given, methods: Collection[str], budget: float, kept: Kept | None) -> _Others:
    """A peer that cannot be had or that fails is no failure of the run: the record says why."""
    others = _Others()
    for name, peer in PEERS.items():
        try:
            outcome = _outcome(name, peer, given, budget if name in methods else None, kept)
        except ImportError as error:
            if name in methods:
                others.missing[name] = f"{type(error).__name__}: {error}"
        except Exception as error:
            others.failed[name] = " ".join(f"{type(error).__name__}: {error}".split())
        else:
            if outcome is not None:
                others.outcomes[name] = outcome
    return others


def _outcome(
    name: str, peer: PeerDecider, given: Given, budget: float | None, kept: Kept | None
) -> Outcome | None:
    """What was kept, or what comes of a run; None where there is neither."""
    network = given.network.name
    before, key = None, ""
    if kept is not None:
        key = f"{peer.version()}; {peer.scores(given).digest}"
        before = kept.outcome(network, name, key)
    if budget is None or (before is not None and before.serves(budget)):
        return before
    say(f"{network}: {name}")
    with quiet():
        outcome = peer.run(given, budget)
    if kept is not None:
        kept.keep(network, name, key, outcome)
    return outcome


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """For JSON: what is not a finite number becomes None."""
    return {
        name: finite_or_none(value) if isinstance(value, float) else value
        for name, value in values.items()
    }


def _options(arguments: list[str] | None) -> argparse.Namespace:
    names = list(PEERS)

    def some(text: str) -> list[str]:
        wanted = text.split(",") if text else []
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
        "--methods",
        type=some,
        default=names,
        metavar="NAME,...",
        help=f"others to run; ours and the plain methods always are. {', '.join(names)}",
    )
    parser.add_argument(
        "--peer-seconds", type=float, default=120.0, help="processor time for each peer and network"
    )
    parser.add_argument("--full", action="store_true", help="all figures of each network too")
    parser.add_argument("--output", type=Path, help="folder for JSON and the labels of peers")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
