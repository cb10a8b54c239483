"""Arrays in, labels out: the five lines of the README with something to run them on."""

import numpy as np

import calibrate as cal

rng = np.random.default_rng(0)
labels = rng.random((2000, 50)) < np.linspace(0.01, 0.2, 50)  # true labels, rows x classes
pos_weight = (1 - labels.mean(axis=0)) / labels.mean(axis=0)  # as the network was trained
logits = 2 * labels + rng.normal(size=labels.shape) - 3 + np.log(pos_weight)
fit, new = slice(0, 1000), slice(1000, 2000)

pipeline = cal.Pipeline([cal.HierarchicalScaling()], cal.ExpectedCountTopK())
pipeline.fit(logits[fit], labels[fit])
predicted = pipeline.predict(logits[new])  # scipy CSR, bool
pipeline.save("rule.safetensors")
same = cal.load("rule.safetensors").predict(logits[new])

print(f"true labels           {labels[new].sum():6}")
print(f"predicted, cut at 0.5 {(logits[new] > 0).sum():6}")
print(f"predicted, calibrated {predicted.sum():6}")
print(f"the rule file decides the same: {(predicted != same).nnz == 0}")
