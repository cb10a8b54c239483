"""How often intervals hold the truth, and how often tests of calibration cry wolf, by simulation.

Prints Markdown tables. In the first two, rows are drawn from a world whose true figures are known,
a fixed decision is judged on them, and the share of the intervals that hold the true figure is
counted, beside that of what is commonly used; draws that leave a figure undefined do not count. In
the third all probabilities are right, and each test at level 0.05 should reject about that share.

    python tests/benchmarks/interval_coverage.py [--draws 2000] [--seed 0]
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import special, stats

import calibrate as cal
from calibrate.decision import Decision
from calibrate.evaluation.intervals import f_intervals
from calibrate.metrics import f_beta
from calibrate.ops import Threshold

LEVEL = 0.95
POOL_ROWS, N_CLASSES = 100_000, 40


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def held(low: np.ndarray, high: np.ndarray, truth: float) -> str:
    """The share of the intervals that hold the truth, of those that are defined."""
    defined = ~np.isnan(low)
    return f"{np.mean((low[defined] <= truth) & (truth <= high[defined])):.3f}"


def width(low: np.ndarray, high: np.ndarray) -> str:
    return f"{np.nanmean(high - low):.3f}"


def delta(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, beta: float) -> tuple[np.ndarray, ...]:
    """The normal interval of F-beta from its derivatives by the three counts."""
    b = beta**2
    size = (1 + b) * tp + fp + b * fn
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (1 + b) * tp / size
        variance = (tp * ((1 + b) * (1 - f)) ** 2 + fp * f**2 + fn * (b * f) ** 2) / size**2
        reach = stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(variance)
    return f - reach, f + reach


def of_a_class(rng: np.random.Generator, n_draws: int) -> str:
    """Coverage for one class, by the number of true positives to be expected."""
    rows = []
    for expected_tp in (0.5, 2, 10, 50):
        for false, missed in ((1.0, 1.0), (4.0, 0.5), (0.1, 2.0)):
            expected = expected_tp * np.array([1.0, false, missed])
            n = 2000
            others = n - expected.sum()
            tp, fp, fn, _ = rng.multinomial(n, [*expected / n, others / n], size=n_draws).T
            cells = []
            for beta in (1.0, 2.0):
                truth = float(f_beta(beta)(*(np.array([x]) for x in (*expected, others)))[0])
                bounds = f_intervals(tp, tp + fp, tp + fn, beta, LEVEL)
                usual = delta(tp, fp, fn, beta)
                cells += [held(*bounds, truth), width(*bounds), held(*usual, truth)]
            rows.append([f"{expected_tp:g}, {expected[1]:g}, {expected[2]:g}", *cells])
    heads = ["expected tp, fp, fn", "F1", "width", "F1, delta", "F2", "width", "F2, delta"]
    return table(heads, rows)


def world(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of many rows: classes depend on each other, and rows differ in richness."""
    richness = rng.normal(0.0, 1.0, (POOL_ROWS, 1))
    topics = rng.normal(size=(POOL_ROWS, 4)) @ rng.normal(size=(4, N_CLASSES)) / 2
    base = special.logit(np.geomspace(0.004, 0.2, N_CLASSES))
    logit = base + 0.7 * richness + topics
    scores = logit + rng.normal(0.0, 1.0, logit.shape)
    return scores.astype(np.float32), rng.random(logit.shape) < special.expit(logit)


def independent_classes(evaluation: cal.evaluation.Evaluation) -> tuple[float, float]:
    """The interval of macro-F1 from the variances of the classes, as if they were independent."""
    tp, predicted, true = (evaluation.per_class[name] for name in ("tp", "predicted", "support"))
    low, high = delta(tp, predicted - tp, true - tp, 1.0)
    kept = true > 0
    reach = np.sqrt(np.sum(((high - low)[kept] / 2) ** 2)) / kept.sum()
    estimate = evaluation.summary["macro_f"]
    return estimate - reach, estimate + reach


def over_rows(rng: np.random.Generator, n_draws: int) -> str:
    """Coverage of the intervals over the rows, and of paired differences."""
    scores, labels = world(rng)
    decisions = [
        Decision((), Threshold(np.full(N_CLASSES, cut, np.float32)), N_CLASSES)
        for cut in (-1.0, -0.5)
    ]
    truth = [cal.evaluate(decision, scores, labels, ranking=False) for decision in decisions]
    names = list(truth[0].intervals)
    rows = []
    for n_rows in (200, 1000, 5000):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in [*names, "independent"]}
        found |= {f"{name}, difference": [] for name in names}
        for _ in range(n_draws):
            some = rng.integers(0, POOL_ROWS, n_rows)
            judged = [
                cal.evaluate(decision, scores[some], labels[some], ranking=False)
                for decision in decisions
            ]
            difference = cal.paired_differences(*judged)
            for name in names:
                found[name].append(judged[0].intervals[name][1:])
                found[f"{name}, difference"].append(difference[name][1:])
            found["independent"].append(independent_classes(judged[0]))
        exact = {name: truth[0].summary[name] for name in names}
        exact["independent"] = exact["macro_f"]
        exact |= {
            f"{name}, difference": truth[0].summary[name] - truth[1].summary[name] for name in names
        }
        cells = {name: held(*np.transpose(bounds), exact[name]) for name, bounds in found.items()}
        rows.append(
            [f"{n_rows:,}", *(cells[name] for name in names), cells["independent"]]
            + [cells[f"{name}, difference"] for name in names]
        )
    heads = ["rows", "macro-F1", "micro-F1", "instance-F1", "pred/true"]
    heads += ["macro-F1, classes independent", *(f"difference: {head}" for head in heads[1:])]
    return table(heads, rows)


def false_alarms(rng: np.random.Generator, n_draws: int) -> str:
    """Share of calibrated classes that each test rejects, by the positives to be expected."""
    rows = []
    n_rows = 4000
    for positives in (4, 20, 100, 1000):
        logits = rng.normal(0.0, 1.0, (n_rows, n_draws))
        logits += special.logit(positives / n_rows) - 0.4
        logits = logits.astype(np.float32)
        labels = rng.random(logits.shape) < special.expit(logits.astype(float))
        decision = Decision((), Threshold(np.float32(0)), n_draws)
        report = cal.calibration_report(decision, logits, labels)
        few = slice(0, min(n_draws, 200))
        drawn = cal.calibration_report(
            Decision((), Threshold(np.float32(0)), few.stop), logits[:, few], labels[:, few],
            n_draws=99,
        )  # fmt: skip
        found = report.per_class
        error = found["debiased_squared_ece"]
        rows.append(
            [
                f"{labels.sum() / n_draws:.1f}",
                f"{np.nanmean(found['cox_p'] < 0.05):.3f}",
                f"{report.summary['n_tested'] / n_draws:.3f}",
                f"{np.mean(found['ks_p'] < 0.05):.3f}",
                f"{np.mean(abs(found['expected_z']) > stats.norm.ppf(0.975)):.3f}",
                f"{np.mean(drawn.per_class['log_loss_mcb_p'] <= 0.05):.3f}",
                f"{report.summary['n_miscalibrated']}",
                f"{error.mean():+.1e} ({error.std() / np.sqrt(n_draws):.0e})",
            ]
        )
    heads = ["positives per class", "Cox, Wald", "of classes tested", "Kolmogorov-Smirnov"]
    heads += ["expected count, z", "MCB, drawn (200 classes)", "listed at 5 % FDR"]
    return table([*heads, "debiased squared ECE (s.e.)"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000, help="simulated samples of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    print(f"Coverage of 95 % intervals, {options.draws:,} draws each.\n")
    print(f"One class, 2,000 rows:\n\n{of_a_class(rng, 10 * options.draws)}\n")
    print(
        f"{N_CLASSES} classes of 0.4 % to 20 % that depend on each other, a fixed decision, and "
        f"its difference from another:\n\n{over_rows(rng, options.draws)}\n"
    )
    print(
        "All probabilities right, 4,000 rows: share of classes rejected at level 0.05\n\n"
        f"{false_alarms(rng, options.draws)}"
    )


if __name__ == "__main__":
    main()
