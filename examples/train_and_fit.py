"""A rule fitted in the validation loop and saved with the model, without keeping the logits."""

import warnings

import numpy as np
import torch
from sklearn.datasets import make_multilabel_classification

import calibrate as cal
from calibrate.torch import HistogramAccumulator

warnings.simplefilter("ignore", cal.FitWarning)
ROWS, CLASSES, EPOCHS = 9000, 60, 4

features, labels = make_multilabel_classification(
    ROWS, n_features=80, n_classes=CLASSES, n_labels=3, length=40, random_state=0
)
x = torch.from_numpy((features / features.std(axis=0)).astype(np.float32))
y = torch.from_numpy(labels.astype(np.float32))
train, validation, test = torch.arange(ROWS).split([5000, 2000, 2000])
positives = y[train].sum(dim=0)
pos_weight = (len(train) - positives) / positives.clamp(min=1)

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(80, 64), torch.nn.ReLU(), torch.nn.Linear(64, CLASSES))
loss = torch.nn.BCEWithLogitsLoss(pos_weight=pos_weight)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

# The row layer and the expected count look along rows: a sample of them is kept beside the counts.
accumulator = HistogramAccumulator(CLASSES, reservoir=1024)
pipeline = cal.Pipeline([cal.HierarchicalScaling(pos_weight.numpy())], cal.ExpectedCountTopK())
print(f"{CLASSES} classes of {y.mean(0).min():.1%} to {y.mean(0).max():.1%}; {accumulator}\n")

for epoch in range(1, EPOCHS + 1):
    model.train()
    for rows in train[torch.randperm(len(train))].split(64):
        optimizer.zero_grad()
        loss(model(x[rows]), y[rows]).backward()
        optimizer.step()

    model.eval()
    accumulator.reset()
    with torch.no_grad():
        for rows in validation.split(256):
            accumulator.update(model(x[rows]), y[rows])
    # one process here; on several, each gets the sum
    decision = accumulator.all_reduce().fit(pipeline).decision_
    rule = torch.frombuffer(bytearray(decision.to_bytes()), dtype=torch.uint8)
    torch.save({"model": model.state_dict(), "rule": rule}, "model.pt")
    print(f"epoch {epoch}: a rule of {len(rule):,} bytes, {decision.provenance['n_rows']:,} rows")

checkpoint = torch.load("model.pt", weights_only=True)
model.load_state_dict(checkpoint["model"])
decision = cal.Decision.from_bytes(bytes(checkpoint["rule"].numpy()))
with torch.no_grad():
    logits = model(x[test])

print(f"\n{len(test):,} rows that neither has seen    micro-F1  instance-F1    pred/true")
for name, decided in (
    ("logit > 0", cal.Pipeline([], cal.FixedThreshold()).fit(logits, y[test]).decision_),
    ("the rule of the checkpoint", decision),
):
    found = cal.evaluate(decided, logits, y[test], ranking=False).summary
    figures = (found[key] for key in ("micro_f", "instance_f", "count_ratio"))
    print(f"{name:32}" + "".join(f"{figure:13.3f}" for figure in figures))
