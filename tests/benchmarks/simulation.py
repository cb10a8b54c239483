"""Decisions on simulated logits of which the true probabilities are known, in six settings.

Prints a Markdown table for each setting: macro-F1, of the rare, the middle and the frequent third
of the classes too, micro-F1, instance-F1, predicted over true labels and, of some, average
precision; means over the seeds, and beside them, in brackets, what another implementation gave on
logits of the same kind (`suite.reference`). Below stands the difference in macro-F1 of the default
from the best other practical method, paired over seeds.

    python tests/benchmarks/simulation.py [--settings A,B,Cn,D,E,F] [--seeds 3]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from suite import simulation_report
from suite.decided import DEFAULT, Rows, decisions, oracle
from suite.progress import say
from suite.reference import Row
from suite.settings import SETTINGS, Setting, simulate

import calibrate as cal
from calibrate.data import labelled_logits
from calibrate.decision import Decision
from calibrate.evaluation import evaluate_rows
from calibrate.evaluation.counts import mean

RANKED = ("raw, 0.5", "z - log w, 0.5", "default, one threshold", "oracle, plug-in")
NO_RIVALS = (DEFAULT, "default without row layer, plug-in", "default, one threshold",
             "default, expected count", "default, plug-in of the batch", "default, shrunk",
             "swept, on fitting rows", "oracle, plug-in")  # fmt: skip
"""Not to be compared with the default: itself, and what nobody can have."""


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    warnings.simplefilter("ignore", cal.FitWarning)
    records = []
    for name in options.settings:
        setting = SETTINGS[name]
        if options.fit_rows is not None:
            setting = dataclasses.replace(setting, fit_rows=options.fit_rows)
        runs = []
        for seed in range(options.seeds):
            say(f"setting {name}, seed {seed}")
            runs.append(run(setting, seed, options.test_rows, options.classes))
        records.append(summarised(setting, runs))
    print(simulation_report.markdown(records), end="")
    if options.output is not None:
        text = json.dumps(records, indent=1)
        options.output.write_text(text + "\n", encoding="utf-8")


def run(setting: Setting, seed: int, test_rows: int, n_classes: int) -> dict[str, Row]:
    """Figures of all methods on one draw."""
    drawn = simulate(setting, seed, test_rows, n_classes)
    fit = Rows(drawn.logits[0], drawn.labels[0], drawn.pos_weight)
    made = decisions(fit)
    test = (drawn.logits[1], drawn.labels[1])
    rarest_first = np.argsort(-drawn.pos_weight, kind="stable")
    figures = {name: _judged(name, one, *test, rarest_first) for name, one in made.items()}
    in_sample = _judged("swept", made["swept"], fit.logits, fit.labels, rarest_first)
    best = oracle(drawn.probability[0])
    true_logits = logit(drawn.probability[1]).astype(np.float32)
    return figures | {
        "swept, on fitting rows": in_sample,
        "oracle, plug-in": _judged(
            "oracle, plug-in", best, true_logits, drawn.labels[1], rarest_first
        ),
    }


def _judged(
    name: str,
    decision: Decision,
    logits: NDArray[np.float32],
    labels: NDArray[np.bool_],
    rarest_first: NDArray[np.int64],
) -> Row:
    rows = labelled_logits(logits, labels)
    evaluation = evaluate_rows(decision, rows, ranking=name in RANKED)
    summary = evaluation.summary
    f, known = evaluation.per_class["f"], evaluation.per_class["support"] > 0
    thirds = [mean(f[part][known[part]]) for part in np.array_split(rarest_first, 3)]
    keys = ("micro_f", "instance_f", "count_ratio", "micro_ap", "macro_ap")
    return Row(summary["macro_f"], *thirds, *(summary[key] for key in keys))


def summarised(setting: Setting, runs: list[dict[str, Row]]) -> dict[str, Any]:
    """Means over the draws, and the default beside the best other method, as JSON values."""
    macro = {name: np.array([draw[name].macro for draw in runs]) for name in runs[0]}
    rival = max(set(macro) - set(NO_RIVALS), key=lambda name: macro[name].mean())
    differences = macro[DEFAULT] - macro[rival]
    error = float("nan")
    if len(runs) > 1:
        error = float(differences.std(ddof=1) / math.sqrt(len(runs)))
    figures = {}
    for name in runs[0]:
        means = Row(*np.mean([draw[name] for draw in runs], axis=0).tolist())
        known = {key: value for key, value in means._asdict().items() if math.isfinite(value)}
        figures[name] = known
    return {
        "setting": dataclasses.asdict(setting),
        "seeds": len(runs),
        "figures": figures,
        "rival": rival,
        "default_minus_rival": float(differences.mean()),
        "standard_error": error if math.isfinite(error) else None,
    }


def _options(arguments: list[str] | None) -> argparse.Namespace:
    def some(text: str) -> list[str]:
        wanted = text.split(",")
        unknown = [name for name in wanted if name not in SETTINGS]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(SETTINGS)}")
        return wanted

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--settings", type=some, default=list(SETTINGS), metavar="NAME,...")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fit-rows", type=int, help="instead of those of the setting")
    parser.add_argument("--test-rows", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=500)
    parser.add_argument("--output", type=Path, help="JSON file for all that was measured")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
