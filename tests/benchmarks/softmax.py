"""Which threshold a softmax needs, on saved logits of networks trained with targets 1 / |Y|.

Fitted on validation rows, measured on test rows; s are the outputs of the softmax. Three Markdown
tables, each with the best fixed threshold on s (the one with the highest value of the table's own
metric on the validation rows), with thresholds per class on s, and with `SoftmaxInclusion` before
a rule that fits the metric; the last line is the mean difference from the best fixed threshold.
A fourth table says how many labels are predicted for each true one. What the calibrator found is
said on stderr.

    python tests/benchmarks/softmax.py [FOLDER]

FOLDER holds one folder per data set (default: $CALIBRATE_REAL_LOGITS).
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.special import log_softmax

import calibrate as cal
from calibrate.data import as_logits

DEFAULT = Path(__file__).parents[3] / "shared" / "data" / "logits"
CUTS = 200

Figure = Callable[[np.ndarray, np.ndarray], float]


def _f1(tp: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    return 2 * tp / np.maximum(predicted + true, 1)


def micro(predicted: np.ndarray, labels: np.ndarray) -> float:
    return float(_f1((predicted & labels).sum(), predicted.sum(), labels.sum()))


def instance(predicted: np.ndarray, labels: np.ndarray) -> float:
    """A row with neither true nor predicted labels counts as 1."""
    made, true = predicted.sum(axis=1), labels.sum(axis=1)
    return float(np.where(made + true, _f1((predicted & labels).sum(axis=1), made, true), 1).mean())


def macro(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes with true labels."""
    made, true = predicted.sum(axis=0), labels.sum(axis=0)
    return float(_f1((predicted & labels).sum(axis=0), made, true)[true > 0].mean())


def best_threshold(scores: np.ndarray, labels: np.ndarray, figure: Figure) -> float:
    """The best of 200 thresholds for all classes, even among the scores of positives."""
    tried = np.quantile(scores[labels], (np.arange(CUTS) + 0.5) / CUTS)
    return float(tried[np.argmax([figure(scores >= cut, labels) for cut in tried])])


def of_set(folder: Path) -> dict[str, list[float]]:
    """The figures of one network, by table."""
    (raw, y), (raw_test, truth) = (
        (
            as_logits(folder / f"softmax_{part}.npy").read(0, 1 << 30),
            sparse.load_npz(folder / f"labels_{part}.npz").toarray().astype(bool),
        )
        for part in ("val", "test")
    )
    s, s_test = (log_softmax(z.astype(np.float64), axis=1) for z in (raw, raw_test))
    relative, relative_test = (z - z.max(axis=1, keepdims=True) for z in (s, s_test))
    inclusion = cal.SoftmaxInclusion().fit(raw, y)
    ours, ours_test = inclusion.transform(raw), inclusion.transform(raw_test)
    print(folder.name, *inclusion.report_.sentences(), sep="; ", file=sys.stderr)

    def tuned(figure: Figure, fit: np.ndarray, test: np.ndarray) -> float:
        return figure(test >= best_threshold(fit, y, figure), truth)

    def by(rule: cal.base.DecisionRule, fit: np.ndarray, test: np.ndarray) -> np.ndarray:
        return rule.fit(fit, y).predict(test).toarray()

    f1 = cal.metrics.f_beta(1)
    sweep = by(cal.PerClassThreshold(f1), s, s_test)
    shared = by(cal.SharedThreshold(f1), ours, ours_test)
    counted = by(cal.ExpectedCountTopK(min_k=int(y.any(axis=1).all())), ours, ours_test)
    plug_in = by(cal.PlugInThreshold(f1), ours, ours_test)
    sets = by(cal.ExpectedFBeta(exact=True), ours, ours_test)
    return {
        "micro-F1": [
            tuned(micro, s, s_test),
            tuned(micro, relative, relative_test),
            micro(sweep, truth),
            micro(shared, truth),
        ],
        "instance-F1": [
            tuned(instance, s, s_test),
            instance(sweep, truth),
            instance(shared, truth),
            instance(by(cal.InstanceThreshold(f1), ours, ours_test), truth),
            instance(counted, truth),
            instance(sets, truth),
        ],
        "macro-F1": [tuned(macro, s, s_test), macro(sweep, truth), macro(plug_in, truth)],
        "predicted/true": [
            float(made.sum() / truth.sum()) for made in (sweep, shared, counted, sets, plug_in)
        ],
    }


HEADS = {
    "micro-F1": ["fixed threshold on s", "s / max s", "per-class sweep on s", "ours, shared"],
    "instance-F1": [
        "fixed threshold on s",
        "per-class sweep on s",
        "ours, shared",
        "ours, shared for instance-F1",
        "ours, expected count",
        "ours, expected F1",
    ],
    "macro-F1": ["fixed threshold on s", "per-class sweep on s", "ours, plug-in F1 per class"],
    "predicted/true": [
        "per-class sweep on s",
        "ours, shared",
        "ours, expected count",
        "ours, expected F1",
        "ours, plug-in F1 per class",
    ],
}


def main() -> None:
    folder = Path(
        sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CALIBRATE_REAL_LOGITS", DEFAULT)
    )
    if not folder.is_dir():
        sys.exit(f"there is no folder of saved logits at {folder}")
    warnings.simplefilter("ignore", cal.FitWarning)
    sets = [path.parent for path in sorted(folder.glob("*/softmax_val.npy"))]
    found = {dataset.name: of_set(dataset) for dataset in sets}
    for table, heads in HEADS.items():
        print(f"| {table} | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
        figures = np.array([of[table] for of in found.values()])
        for name, row in zip(found, figures, strict=True):
            print(f"| {name} | {' | '.join(f'{value:.3f}' for value in row)} |")
        if "fixed" in heads[0]:
            above = (figures - figures[:, :1]).mean(axis=0)
            cells = " | ".join(f"{value:+.3f}" for value in above[1:])
            print(f"| mean over the fixed threshold | | {cells} |")
        print()


if __name__ == "__main__":
    main()
