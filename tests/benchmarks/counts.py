"""Predicted over true labels of the rules that meet counts, on saved logits of real networks.

Fitted on validation rows, measured on test rows, after hierarchical scaling. Prints four Markdown
tables: predicted/true of all classes, and of the third that is rarest in the validation rows,
macro-F1 and micro-F1; means over the networks stand below.

    python tests/benchmarks/counts.py [FOLDER] [--only NAME,...]

FOLDER holds one folder per data set (default: $CALIBRATE_REAL_LOGITS).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from suite.saved import default_folder, networks

import calibrate as cal
from calibrate.base import DecisionRule

F1 = cal.metrics.f_beta(1)


def rules(mean_labels: float) -> dict[str, DecisionRule]:
    """All rules by name; the first three rank the classes of a row."""
    k = max(1, round(mean_labels))
    return {
        "top-k": cal.TopK(k),
        "expected k": cal.ExpectedCountTopK(),
        "likeliest k": cal.ExpectedCountTopK(mode=True),
        "cardinality": cal.CardinalityMatching(),
        "MCut": cal.MCut(),
        "propensity": cal.PropensityTopK(k),
        "budgeted F1": cal.BudgetedTopK(k, F1),
        "prevalence": cal.PrevalenceMatching(),
        "F1 per class": cal.PerClassThreshold(F1),
        "micro-optimal": cal.MicroOptimalThreshold(),
        "shared F1": cal.SharedThreshold(F1),
    }


def figures(
    predicted: NDArray[np.bool_], labels: NDArray[np.bool_], rare: NDArray[np.intp]
) -> tuple[float, ...]:
    """predicted/true, the same of the rarest third, macro-F1, micro-F1."""
    tp, made, true = (predicted & labels).sum(0), predicted.sum(0), labels.sum(0)
    known = np.flatnonzero(true > 0)
    macro = np.mean(2 * tp[known] / (made + true)[known])
    micro = 2 * tp.sum() / (made.sum() + true.sum())
    return made.sum() / true.sum(), made[rare].sum() / true[rare].sum(), macro, micro


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=default_folder())
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="NAME,...")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        sys.exit(f"there is no folder of saved logits at {options.folder}")
    warnings.simplefilter("ignore", cal.FitWarning)
    names = list(rules(1))
    rows: dict[str, list[tuple[float, ...]]] = {}
    for network in networks(options.folder):
        if options.only is not None and network.name not in options.only:
            continue
        labels, truth = network.labels("val"), network.labels("test")
        scaling = cal.SoftmaxInclusion() if network.is_softmax else cal.HierarchicalScaling()
        scaling.fit(network.logits("val"), labels)
        fit, test = (scaling.transform(network.logits(part)) for part in ("val", "test"))
        # by the rows that were fitted: ranked by the test rows, their luck would be in the ratio
        rarest_first = np.argsort(labels.sum(axis=0), kind="stable")
        rare = rarest_first[: max(1, len(rarest_first) // 3)]
        made = rules(labels.sum(axis=1).mean()).values()
        rows[network.name] = [
            figures(rule.fit(fit, labels).predict(test).toarray(), truth, rare) for rule in made
        ]
    titles = ("predicted/true", "predicted/true, rarest third", "macro-F1", "micro-F1")
    for place, title in enumerate(titles):
        print(f"\n| {title} | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
        for name, found in rows.items():
            print(f"| {name} | {' | '.join(f'{one[place]:.3f}' for one in found)} |")
        means = np.mean([[one[place] for one in found] for found in rows.values()], axis=0)
        print(f"| mean | {' | '.join(f'{value:.3f}' for value in means)} |")


if __name__ == "__main__":
    main()
