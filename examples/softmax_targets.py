"""Which threshold for a softmax that was trained with targets 1 / num_labels? Not one for all rows.

With such targets the network learns

    s_c = P(c) x E[1 / num_labels, given c], about P(c) / K(x),

K(x) being how many labels a row x has. "P(c) above t" is "s_c above t / K(x)": the threshold moves
from row to row. The outputs of a softmax add up to 1 in every row, so that it cannot tell K(x) by
itself. This trains such a network on rows whose number of labels varies strongly, and compares what
people do with what can be learned from validation rows.
"""

import warnings

import numpy as np
import torch
from sklearn.linear_model import PoissonRegressor

import calibrate as cal

warnings.simplefilter("ignore", cal.FitWarning)
TRAIN, HELD_OUT, CLASSES, FEATURES = 8000, 6000, 250, 40

# Rows differ in what they are about, and in how much there is to say about them. The features tell
# the first in part, and most of the second.
rng = np.random.default_rng(0)
features = rng.normal(size=(TRAIN + HELD_OUT, FEATURES)).astype(np.float32)
directions = rng.normal(size=(FEATURES, CLASSES + 1)) / np.sqrt(FEATURES)
told = features @ directions
richness = 0.8 * told[:, :1] + 0.4 * rng.normal(size=(len(features), 1))
log_odds = rng.normal(-4.5, 1.0, size=CLASSES) + richness + 1.5 * told[:, 1:]
labels = log_odds + rng.logistic(size=log_odds.shape) > 0
train, fit, test = np.split(np.arange(TRAIN + HELD_OUT), [TRAIN, TRAIN + HELD_OUT // 2])
n_labels = labels.sum(axis=1)


def trained_logits() -> np.ndarray:
    """Logits of all rows by a network that shares 1 among the labels of each training row."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.from_numpy(features)
    targets = torch.from_numpy((labels / np.maximum(n_labels, 1)[:, None]).astype(np.float32))
    network = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, 128), torch.nn.ReLU(), torch.nn.Linear(128, CLASSES)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(6):
        for rows in torch.randperm(TRAIN).split(128):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[rows]), targets[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        return network(x).numpy()


logits = trained_logits()
log_s = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
log_s_over_max = log_s - log_s.max(axis=1, keepdims=True)

# A count head: how many labels a row has, learned from the same training rows.
head = PoissonRegressor(alpha=1e-4, max_iter=1000).fit(features[train], n_labels[train])
with_counts = cal.SoftmaxInclusion.with_counts(logits, head.predict(features))

least, median, most = np.quantile(n_labels, [0.05, 0.5, 0.95])
print(
    f"{TRAIN:,} rows to train, {len(fit):,} to fit decisions, {len(test):,} to test; "
    f"{CLASSES} classes;\n{n_labels.mean():.1f} labels per row on average, {median:.0f} in the "
    f"middle, 5 % have {least:.0f} or fewer, 5 % {most:.0f} or more\n"
)

f1, inclusion = cal.metrics.f_beta(1), cal.SoftmaxInclusion()
one_cut, counted = cal.SharedThreshold(f1), cal.ExpectedCountTopK()
stories = {
    "one threshold on s": (log_s, cal.Pipeline([], one_cut)),
    "one threshold on s / max s": (log_s_over_max, cal.Pipeline([], one_cut)),
    "a threshold per class on s": (log_s, cal.Pipeline([], cal.PerClassThreshold(f1))),
    "inclusion, one threshold": (logits, cal.Pipeline([inclusion], one_cut)),
    "inclusion, expected count": (logits, cal.Pipeline([inclusion], counted)),
    "count head, one threshold": (with_counts, cal.Pipeline([inclusion], one_cut)),
    "count head, expected count": (with_counts, cal.Pipeline([inclusion], counted)),
}
heads = {
    "micro-F1": "micro_f",
    "instance-F1": "instance_f",
    "macro-F1": "macro_f",
    "pred/true": "count_ratio",
}
print(f"{'':26}" + "".join(f"{name:>13}" for name in heads))
found = {}
for name, (scores, pipeline) in stories.items():
    pipeline.fit(scores[fit], labels[fit])
    found[name] = cal.evaluate(pipeline, scores[test], labels[test]).summary
    print(f"{name:26}" + "".join(f"{found[name][key]:13.3f}" for key in heads.values()))

print("\nWhat SoftmaxInclusion found, with the count head:")
for sentence in pipeline.calibrators_[0].report_.sentences():
    print(f"- {sentence}")

above = [found[name]["micro_f"] - found["one threshold on s"]["micro_f"] for name in stories]
_, by_max, _, without, _, with_head, _ = (f"{gain:+.3f}" for gain in above)
print(f"""
What happened, in micro-F1 above the best fixed threshold on s:
- s / max s, {by_max}: the highest output tells how sure the network is more than how many labels
  there are.
- SoftmaxInclusion alone, {without}: it learns from labels what the logits let slip about their
  number, and keeps what helps on rows that it has not seen.
- With a count head, {with_head}: the number of labels is learned from the features, and trusted as
  far as the validation rows bear it out.
- No rule is best in all columns: the highest F1 takes more labels than are true; the expected
  count predicts as many.
- Here the number of labels varies strongly. Where it hardly does, K(x) is a constant, a fixed
  threshold is nearly right, and less is to be gained: tests/benchmarks/softmax.py prints how much
  it is on networks trained on real data.""")
