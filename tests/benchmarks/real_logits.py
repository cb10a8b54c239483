"""What the main job reaches on saved logits of networks trained on real data, beside scikit-learn.

Fitted on validation rows, measured on test rows. Prints one Markdown table: predicted/true labels
before and after; macro-F1 of exact per-class F1 thresholds beside a loop over scikit-learn's
precision_recall_curve, the difference of the two on the fitting rows, and how much faster the
sweep is than the loop.

    python tests/benchmarks/real_logits.py [FOLDER]

FOLDER holds one folder per data set (default: $CALIBRATE_REAL_LOGITS).
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.metrics import precision_recall_curve
from suite.saved import default_folder, networks

import calibrate as cal


def per_class_f1(predicted: sparse.csr_array, labels: sparse.csr_array) -> np.ndarray:
    """F1 of each class; nan where the class has no true label."""
    tp = np.asarray(predicted.multiply(labels).sum(axis=0)).ravel()
    made = np.asarray(predicted.sum(axis=0)).ravel()
    true = np.asarray(labels.sum(axis=0)).ravel()
    return np.where(true > 0, 2 * tp / np.maximum(made + true, 1), np.nan)


def scikit_learn_thresholds(logits: np.ndarray, labels: sparse.csr_array) -> np.ndarray:
    """The cut of highest F1 of each class; inf without positives."""
    columns = labels.tocsc()
    thresholds = np.full(logits.shape[1], np.inf)
    for c in range(logits.shape[1]):
        truth = np.zeros(len(logits), dtype=bool)
        truth[columns.indices[columns.indptr[c] : columns.indptr[c + 1]]] = True
        if truth.any():
            precision, recall, cuts = precision_recall_curve(truth, logits[:, c])
            f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
            thresholds[c] = cuts[f1[:-1].argmax()]
    return thresholds


def ratio(predicted: sparse.csr_array, labels: sparse.csr_array) -> float:
    return predicted.sum() / labels.sum()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default_folder()
    if not folder.is_dir():
        sys.exit(f"there is no folder of saved logits at {folder}")
    warnings.simplefilter("ignore", cal.FitWarning)
    lines = [
        "| network | rows x classes | pred/true: raw, cut at 0.5 | Platt, expected count "
        "| z - log w, T, b, expected count | macro-F1: sweep | scikit-learn loop | on fitting rows "
        "| faster |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    f1 = cal.metrics.f_beta(1)
    cal.Pipeline([], cal.PerClassThreshold(f1)).fit(np.eye(2), np.eye(2))  # compiled before timed
    for network in networks(folder):
        logits, test = (network.logits(part) for part in ("val", "test"))
        labels, truth = (
            sparse.csr_array(network.labels(part).astype(np.int64)) for part in ("val", "test")
        )
        shape = f"{logits.shape[0]:,} x {logits.shape[1]:,}"
        pipelines = [
            cal.Pipeline([], cal.FixedThreshold()),
            cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK()),
        ]
        if network.pos_weight is not None:
            corrected = [
                cal.PosWeightCorrection(network.pos_weight),
                cal.TemperatureScaling(bias=True),
            ]
            pipelines.append(cal.Pipeline(corrected, cal.ExpectedCountTopK()))
        ratios = [ratio(p.fit(logits, labels).predict(test), truth) for p in pipelines]
        cells = [f"{value:.2f}" for value in ratios] + ["-"] * (3 - len(ratios))

        start = time.perf_counter()
        sweep = cal.Pipeline([], cal.PerClassThreshold(f1)).fit(logits, labels)
        ours_s = time.perf_counter() - start
        start = time.perf_counter()
        thresholds = scikit_learn_thresholds(logits, labels)
        theirs_s = time.perf_counter() - start
        ours, theirs = (
            [
                np.nanmean(per_class_f1(predicted, y))
                for predicted, y in zip(both, (labels, truth), strict=True)
            ]
            for both in (
                [sweep.predict(logits), sweep.predict(test)],
                [sparse.csr_array(logits >= thresholds), sparse.csr_array(test >= thresholds)],
            )
        )
        lines.append(
            f"| {network.name} | {shape} | {' | '.join(cells)} | {ours[1]:.4f} | {theirs[1]:.4f} "
            f"| {ours[0] - theirs[0]:+.0e} | {theirs_s / ours_s:.0f}x |"
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
