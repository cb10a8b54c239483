"""Slow and obvious figures of decisions, to hold the fast ones against. Imports nothing of ours."""

from __future__ import annotations

import math

import naive_reliability
import numpy as np
from naive_reliability import probability
from scipy import stats


def _divide(top, bottom):
    return top / bottom if bottom != 0 else math.nan


def _mean(values):
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def rates(tp, predicted, true, beta):
    """Precision, recall and F-beta of three counts, nan where 0 / 0."""
    precision, recall = _divide(tp, predicted), _divide(tp, true)
    if predicted == 0 and true == 0:
        return precision, recall, math.nan
    if tp == 0:
        return precision, recall, 0.0
    f = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
    return precision, recall, f


def _zero_for_nan(values):
    return [0.0 if math.isnan(value) else value for value in values]


def average_precision(scores, labels):
    """Recall gained times precision, at each distinct score from the highest on; nan if no labels.

    A score of -inf is never retrieved.
    """
    if not labels.any():
        return math.nan
    total, recall_before = 0.0, 0.0
    for score in sorted(set(scores[scores > -np.inf].tolist()), reverse=True):
        retrieved = scores >= score
        precision = (retrieved & labels).sum() / retrieved.sum()
        recall = (retrieved & labels).sum() / labels.sum()
        total += (recall - recall_before) * precision
        recall_before = recall
    return total


def calibration_error(scores, labels, n_bins=15):
    """Mean distance of mean probability and rate of positives in bins, weighted by their cells."""
    cells = [(probability(s), bool(y)) for s, y in zip(scores, labels, strict=True) if s > -np.inf]
    if not cells:
        return math.nan
    total = 0.0
    for b in range(n_bins):
        low, high = b / n_bins, (b + 1) / n_bins
        inside = [(p, y) for p, y in cells if low < p <= high or (b == 0 and p == 0)]
        if inside:
            distance = abs(_mean(p for p, _ in inside) - _mean(y for _, y in inside))
            total += len(inside) / len(cells) * distance
    return total


def thirds(frequency):
    """Classes in three parts, rarest first; among equals the lower index is the rarer."""
    order = sorted(range(len(frequency)), key=lambda c: (frequency[c], c))
    longer = len(order) % 3
    sizes = [len(order) // 3 + (part < longer) for part in range(3)]
    rare, middle = order[: sizes[0]], order[sizes[0] : sizes[0] + sizes[1]]
    return {"rare": rare, "middle": middle, "frequent": order[sizes[0] + sizes[1] :]}


def f_interval(tp, predicted, true, beta, level):
    """Bounds of the F-beta of one class, nan where it is not defined.

    Given how many cells are predicted or true, the true positives are binomial, and so, given the
    errors, are the missed labels among them: two exact intervals, put together as Newcombe does.
    """
    errors, missed = predicted + true - 2 * tp, true - tp
    if tp + errors == 0:
        return math.nan, math.nan

    def f(jaccard, share):
        cost = (1 - jaccard) * (1 - share + beta**2 * share)
        top = (1 + beta**2) * jaccard
        return top / (top + cost)

    def exact(successes, trials):
        if trials == 0:
            return 0.0, 1.0
        interval = stats.binomtest(int(successes), int(trials)).proportion_ci(level)
        return interval.low, interval.high

    jaccard, (j_low, j_high) = tp / (tp + errors), exact(tp, tp + errors)
    best, worst = exact(missed, errors) if beta >= 1 else exact(missed, errors)[::-1]
    share = missed / errors if errors else worst
    here = f(jaccard, share)
    down = math.hypot(here - f(j_low, share), here - f(jaccard, worst))
    up = math.hypot(f(j_high, share) - here, f(jaccard, best) - here)
    return max(here - down, 0.0), min(here + up, 1.0)


def influences(decided, labels, beta=1.0):
    """What each row adds to macro-, micro-, instance-F and the count ratio, beyond their mean."""
    n_rows, n_classes = labels.shape
    h, y, b = decided.astype(float), labels.astype(float), beta**2
    kept = [c for c in range(n_classes) if labels[:, c].any()]
    found = {name: np.zeros(n_rows) for name in ("macro_f", "micro_f", "instance_f")}
    for c in kept:
        size = h[:, c].mean() + b * y[:, c].mean()
        f = (1 + b) * (h[:, c] * y[:, c]).mean() / size
        part = (1 + b) * h[:, c] * y[:, c] - f * (h[:, c] + b * y[:, c])
        found["macro_f"] += part / size / len(kept)
    if not kept:
        found["macro_f"] += math.nan
        found["micro_f"] += math.nan
        found["count_ratio"] = np.full(n_rows, math.nan)
    else:
        size = h.sum(axis=1) + b * y.sum(axis=1)
        f = (1 + b) * (h * y).sum() / size.sum()
        found["micro_f"] += ((1 + b) * (h * y).sum(axis=1) - f * size) / size.mean()
        ratio = h.sum() / y.sum()
        found["count_ratio"] = (h.sum(axis=1) - ratio * y.sum(axis=1)) / y.sum(axis=1).mean()
    for i in range(n_rows):
        if not decided[i].any() and not labels[i].any():
            found["instance_f"][i] = 1.0
        else:
            found["instance_f"][i] = (1 + b) * (h[i] @ y[i]) / (h[i].sum() + b * y[i].sum())
    found["instance_f"] -= found["instance_f"].mean()
    return found


def interval(estimate, influence, level, lowest, highest):
    """A normal interval from what the rows add."""
    if len(influence) < 2:
        return estimate, math.nan, math.nan
    reach = stats.norm.ppf((1 + level) / 2) * np.std(influence, ddof=1) / math.sqrt(len(influence))
    return estimate, max(estimate - reach, lowest), min(estimate + reach, highest)


def evaluate(decided, labels, scores, beta=1.0, frequency=None, level=0.95):
    """All figures, from dense arrays of one shape (n_rows, n_classes).

    Parameters
    ----------
    decided, labels : bool
    scores : float32
        Calibrated logits; -inf where there is no score.

    Returns
    -------
    summary, per_class : dict
    """
    n_rows, n_classes = labels.shape
    frequency = labels.sum(axis=0) if frequency is None else frequency
    summary, per_class = {}, {}

    by_class = []
    for c in range(n_classes):
        tp = (decided[:, c] & labels[:, c]).sum()
        by_class.append(rates(tp, decided[:, c].sum(), labels[:, c].sum(), beta))
    with_positives = [c for c in range(n_classes) if labels[:, c].any()]
    by_row = []
    for i in range(n_rows):
        if not decided[i].any() and not labels[i].any():
            by_row.append((1.0, 1.0, 1.0))
        else:
            tp = (decided[i] & labels[i]).sum()
            by_row.append(_zero_for_nan(rates(tp, decided[i].sum(), labels[i].sum(), beta)))
    pooled = rates((decided & labels).sum(), decided.sum(), labels.sum(), beta)
    for place, name in enumerate(("precision", "recall", "f")):
        per_class[name] = [figures[place] for figures in by_class]
        summary[f"macro_{name}"] = _mean(_zero_for_nan(by_class[c])[place] for c in with_positives)
        summary[f"micro_{name}"] = _zero_for_nan(pooled)[place] if labels.any() else math.nan
        summary[f"instance_{name}"] = _mean(figures[place] for figures in by_row)

    per_class["support"] = [labels[:, c].sum() for c in range(n_classes)]
    per_class["predicted"] = [decided[:, c].sum() for c in range(n_classes)]
    per_class["tp"] = [(decided[:, c] & labels[:, c]).sum() for c in range(n_classes)]
    per_class["count_ratio"] = [
        _divide(decided[:, c].sum(), labels[:, c].sum()) for c in range(n_classes)
    ]
    summary["count_ratio"] = _divide(decided.sum(), labels.sum())
    for third, classes in thirds(frequency).items():
        summary[f"count_ratio_{third}"] = _divide(
            decided[:, classes].sum(), labels[:, classes].sum()
        )

    summary["count_mae"] = _mean(abs(decided.sum(axis=1).astype(int) - labels.sum(axis=1)))
    intervals = [
        f_interval(*counts, beta, level)
        for counts in zip(
            per_class["tp"], per_class["predicted"], per_class["support"], strict=True
        )
    ]
    per_class["f_low"], per_class["f_high"] = zip(*intervals, strict=True)

    by_class = [
        naive_reliability.expected_count(scores[:, c], labels[:, c]) for c in range(n_classes)
    ]
    per_class["expected"] = [expected for expected, *_ in by_class]
    per_class["expected_ratio"] = [_divide(expected, true) for expected, true, _ in by_class]
    per_class["expected_z"] = [z for *_, z in by_class]
    summary["expected_ratio"] = _divide(
        sum(per_class["expected"]), sum(true for _, true, _ in by_class)
    )
    sums = [sum(probability(s) for s in row) for row in scores]
    summary["expected_count_mae"] = _mean(abs(np.array(sums) - labels.sum(axis=1)))
    debiased = naive_reliability.debiased_squared_ece
    summary["debiased_squared_ece"] = debiased(scores, labels)
    per_class["debiased_squared_ece"] = [
        debiased(scores[:, c], labels[:, c]) for c in range(n_classes)
    ]
    summary["debiased_squared_ece_classes"] = _mean(
        error for error in per_class["debiased_squared_ece"] if not math.isnan(error)
    )

    log_losses, squares = [], []
    for score, label in zip(scores.ravel(), labels.ravel(), strict=True):
        if score > -np.inf:
            against = -np.float64(score) if label else np.float64(score)
            log_losses.append(np.logaddexp(0.0, against))
            squares.append((probability(score) - label) ** 2)
    summary["log_loss"] = _mean(log_losses)
    summary["log_loss_per_row"] = sum(log_losses) / n_rows if log_losses else math.nan
    summary["brier"] = _mean(squares)
    summary["ece"] = calibration_error(scores.ravel(), labels.ravel())
    per_class["ece"] = [calibration_error(scores[:, c], labels[:, c]) for c in range(n_classes)]
    summary["ece_classes"] = _mean(e for e in per_class["ece"] if not math.isnan(e))

    per_class["average_precision"] = [
        average_precision(scores[:, c], labels[:, c]) for c in range(n_classes)
    ]
    summary["macro_ap"] = _mean(per_class["average_precision"][c] for c in with_positives)
    summary["micro_ap"] = average_precision(scores.ravel(), labels.ravel())
    summary["instance_ap"] = _mean(
        average_precision(scores[i], labels[i]) for i in range(n_rows) if labels[i].any()
    )

    summary |= {"n_rows": n_rows, "n_classes": n_classes, "beta": beta, "level": level}
    summary |= {"n_labels": labels.sum(), "n_predicted": decided.sum()}
    summary["n_classes_without_positives"] = n_classes - len(with_positives)
    return summary, per_class


def cross_fitted(fit, logits, labels, fold):
    """Decided labels and calibrated logits of every row, by a fit to the rows of other folds.

    `fit(logits, labels)` gives a function from logits to (decided, calibrated).
    """
    decided, scores = np.zeros(labels.shape, bool), np.zeros(labels.shape, np.float32)
    for one in sorted(set(fold)):
        inside = np.array([other == one for other in fold])
        judge = fit(logits[~inside], labels[~inside])
        for i in np.flatnonzero(inside):
            decided[[i]], scores[[i]] = judge(logits[[i]])
    return decided, scores
