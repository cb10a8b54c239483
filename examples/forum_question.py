"""The question this library began with, told from start to end at a size that runs in a minute.

A network for thousands of classes predicts almost twice as many labels as are true when trained
with BCEWithLogitsLoss(pos_weight=neg/pos), and next to none without the weights. What now?
"""

import warnings

import numpy as np
import torch

import calibrate as cal

warnings.simplefilter("ignore", cal.FitWarning)
TRAIN, HELD_OUT, CLASSES, FEATURES = 6000, 4000, 300, 40

# Many labels, most of them rare, and features that say only so much about them.
rng = np.random.default_rng(0)
prevalence = np.sort(0.01 * 15 ** rng.random(CLASSES) ** 3)
features = rng.normal(size=(TRAIN + HELD_OUT, FEATURES)).astype(np.float32)
signal = features @ rng.normal(size=(FEATURES, CLASSES)) * (1.3 / np.sqrt(FEATURES))
labels = signal + rng.logistic(size=signal.shape) > np.log(1 / prevalence - 1) + 0.5
train, fit, test = np.split(np.arange(TRAIN + HELD_OUT), [TRAIN, TRAIN + HELD_OUT // 2])
positives = labels[train].sum(axis=0)
pos_weight = ((TRAIN - positives) / positives).astype(np.float32)


def trained_logits(weights: np.ndarray | None) -> np.ndarray:
    """Logits of all rows by a small network trained on the training rows."""
    torch.manual_seed(0)
    x, y = torch.from_numpy(features), torch.from_numpy(labels.astype(np.float32))
    network = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, 64), torch.nn.ReLU(), torch.nn.Linear(64, CLASSES)
    )
    weight = None if weights is None else torch.from_numpy(weights)
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=weight)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(6):
        for rows in torch.randperm(TRAIN).split(64):
            optimizer.zero_grad()
            loss(network(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        return network(x).numpy()


weighted, unweighted = trained_logits(pos_weight), trained_logits(None)
print(
    f"{TRAIN:,} rows to train, {len(fit):,} to fit decisions, {len(test):,} to test; "
    f"{CLASSES} classes of\n{labels.mean(axis=0).min():.1%} to {labels.mean(axis=0).max():.1%}, "
    f"{labels.sum(axis=1).mean():.1f} labels per row\n"
)

f1, half = cal.metrics.f_beta(1), cal.FixedThreshold()
correction, layered = cal.PosWeightCorrection(pos_weight), cal.HierarchicalScaling(pos_weight)
stories = [
    ("weighted, cut at 0.5", weighted, cal.Pipeline([], half)),
    ("unweighted, cut at 0.5", unweighted, cal.Pipeline([], half)),
    ("z - log w, cut at 0.5", weighted, cal.Pipeline([correction], half)),
    ("temperature, cut at 0.5", weighted, cal.Pipeline([cal.TemperatureScaling()], half)),
    ("per-class F1 thresholds", weighted, cal.Pipeline([], cal.PerClassThreshold(f1))),
    ("one F1 cut, hierarchical", weighted, cal.Pipeline([layered], cal.SharedThreshold(f1))),
    ("expected k, hierarchical", weighted, cal.Pipeline([layered], cal.ExpectedCountTopK())),
]
heads = {
    "macro-F1": "macro_f",
    "micro-F1": "micro_f",
    "pred/true": "count_ratio",
    "macro-AP": "macro_ap",
    "micro-AP": "micro_ap",
}
print(f"{'':24}" + "  ".join(f"{head:>9}" for head in heads))
for name, logits, pipeline in stories:
    pipeline.fit(logits[fit], labels[fit])
    found = cal.evaluate(pipeline, logits[test], labels[test]).summary
    print(f"{name:24}" + "  ".join(f"{found[key]:9.3f}" for key in heads.values()))

print("""
What happened:
- With pos_weight the cut at 0.5 asks "is this label likelier here than usual?", not "is it
  likely?": far too many are.
- Without weights hardly any probability passes one half: the signals are weak, the labels rare.
- z - log w undoes the weights; a temperature cannot, since it does not move the zero. A cut at
  0.5 then predicts next to nothing, and rightly so: calibration needs a decision rule after it.
- The highest F1 needs more labels than are true. "As many predictions as labels" is another
  goal, and top-k by expected count is its rule.
- A map of each class keeps the order within the class, so macro-AP stays where it was. Micro-AP
  compares classes with each other, and rises once their logits mean the same.""")
