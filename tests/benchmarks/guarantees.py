"""Whether guarantees hold what they promise, by simulation.

Rows are drawn from worlds whose true recall and precision at every threshold are known. A guarantee
is fitted to some of them, many times anew, and what it promised is counted: the mean recall or
risk, how often the recall is too low, how often a precision is, how many of those certified, how
often a mean risk is too high. Prints a Markdown table with what was promised beside what was
reached and its standard error.

In the one world the labels of a row are independent given its scores; in the other the classes of a
row have most of their luck in common, so that whole rows are right or wrong. Precision is also
tested where it is exactly as high as forbidden at every threshold, the hardest case.

    python tests/benchmarks/guarantees.py [--draws 1000] [--seed 0]
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

import calibrate as cal
from calibrate import corrections
from calibrate.data import labelled_logits
from calibrate.risks import Risk, false_discovery_proportion, false_negative_rate, missed_any
from calibrate.statistics import lattice, risk_curve

POOL_ROWS, N_CLASSES, N_ROWS = 200_000, 20, 600
RECALL, PRECISION, CONFIDENCE = 0.9, 0.6, 0.9
RISKS = {false_negative_rate: 0.2, missed_any: 0.4, false_discovery_proportion: 0.4}


@dataclass(frozen=True)
class World:
    """A pool of rows to draw from, which is the whole world.

    Attributes
    ----------
    name : str
    logits : float32, (POOL_ROWS, N_CLASSES)
    labels : bool, (POOL_ROWS, N_CLASSES)
    at_bound : bool, (N_CLASSES,)
        Classes whose labels do not depend on their scores, a share `PRECISION` of them true: at
        every threshold the precision is exactly what it must be above.
    """

    name: str
    logits: np.ndarray
    labels: np.ndarray
    at_bound: np.ndarray

    def recall(self, thresholds: np.ndarray) -> np.ndarray:
        """Of each class, (N_CLASSES,)."""
        return self._above(thresholds)[1] / self.labels.sum(axis=0)

    def precision(self, thresholds: np.ndarray) -> np.ndarray:
        """Of each class, nan where nothing is predicted."""
        predicted, tp = self._above(thresholds)
        return np.where(predicted > 0, tp / np.maximum(predicted, 1), np.nan)

    @cached_property
    def _sorted(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Scores of each class in rising order, and how many positives lie at or above each."""
        found = []
        for scores, hits in zip(self.logits.T, self.labels.T, strict=True):
            order = np.argsort(scores)
            found.append((scores[order], np.append(np.cumsum(hits[order][::-1])[::-1], 0)))
        return found

    def _above(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts = [
            (len(scores) - place, positives[place])
            for (scores, positives), threshold in zip(self._sorted, thresholds, strict=True)
            for place in [np.searchsorted(scores, threshold)]
        ]
        predicted, tp = np.array(counts).T
        return predicted, tp


def worlds(seed: int, pool_rows: int = POOL_ROWS) -> list[World]:
    """Independent labels, dependent ones, and the hardest for precision."""
    rng = np.random.default_rng(seed)
    centre = np.linspace(-2.5, 0.5, N_CLASSES)
    logits = (centre + 1.5 * rng.normal(size=(pool_rows, N_CLASSES))).astype(np.float32)
    p = special.expit(logits.astype(np.float64))
    own = rng.random(p.shape) < p
    # one number of the row decides most of its labels
    common = special.ndtr(
        np.sqrt(0.8) * rng.normal(size=(pool_rows, 1)) + np.sqrt(0.2) * rng.normal(size=p.shape)
    )
    luck = special.ndtr(
        np.sqrt(0.8) * rng.normal(size=(pool_rows, 1)) + np.sqrt(0.2) * rng.normal(size=p.shape)
    )
    dependent = luck < p
    nowhere, half = np.zeros(N_CLASSES, bool), np.arange(N_CLASSES) < N_CLASSES // 2
    return [
        World("independent", logits, own, nowhere),
        World("dependent", logits, dependent, nowhere),
        World("dependent, half at the bound", logits, common < np.where(half, PRECISION, p), half),
    ]


@dataclass(frozen=True)
class Line:
    """One promise: what it is, what was promised, what was reached, and the error of that."""

    promise: str
    world: str
    promised: str
    reached: float
    error: float

    def markdown(self) -> str:
        cells = [self.promise, self.world, self.promised]
        return "| " + " | ".join([*cells, f"{self.reached:.4f}", f"{self.error:.4f}"]) + " |"


def thresholds(rule: object, world: World, n_draws: int, seed: int) -> np.ndarray:
    """Of fits to rows drawn anew, (n_draws, N_CLASSES)."""
    rng = np.random.default_rng(seed)
    made = np.empty((n_draws, N_CLASSES), np.float32)
    for draw in range(n_draws):
        rows = rng.integers(len(world.logits), size=N_ROWS)
        made[draw] = rule.fit(world.logits[rows], world.labels[rows]).op_.threshold
    return made


def line(promise: str, world: World, promised: str, values: np.ndarray) -> Line:
    """The mean of one value per draw."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return Line(promise, world.name, promised, float(values.mean()), float(error))


def recall_lines(world: World, n_draws: int, seed: int) -> list[Line]:
    found = []
    for name, options, promised in (
        ("recall, on average", {}, f"at least {RECALL}"),
        ("recall, surely, each class", {"confidence": CONFIDENCE}, f"at least {CONFIDENCE}"),
        (
            "recall, surely, all classes",
            {"confidence": CONFIDENCE, "simultaneous": True},
            f"at least {CONFIDENCE}",
        ),
    ):
        cuts = thresholds(cal.RecallGuarantee(RECALL, **options), world, n_draws, seed)
        recall = np.array([world.recall(cut) for cut in cuts])
        kept = recall >= RECALL
        values = {
            "recall, on average": recall.mean(axis=1),
            "recall, surely, each class": kept.mean(axis=1),
            "recall, surely, all classes": kept.all(axis=1).astype(float),
        }[name]
        found.append(line(name, world, promised, values))
    return found


def precision_lines(world: World, n_draws: int, seed: int) -> list[Line]:
    found = []
    error = 1 - CONFIDENCE
    for correction in corrections.NAMED.values():
        rule = cal.PrecisionGuarantee(PRECISION, CONFIDENCE, correction)
        cuts = thresholds(rule, world, n_draws, seed)
        precision = np.array([world.precision(cut) for cut in cuts])
        certified = cuts < np.inf
        broken = certified & ((precision <= PRECISION) | world.at_bound)
        if correction == corrections.none:
            worst = int(broken.mean(axis=0).argmax())
            for what, values in (
                ("broken promises, the mean class", broken.mean(axis=1)),
                ("the worst in these draws", broken[:, worst].astype(float)),
            ):
                found.append(
                    line(f"precision, none: {what}", world, f"at most {error:.1f}", values)
                )
            continue
        if correction == corrections.holm:
            values, what = broken.any(axis=1).astype(float), "any broken promise"
        else:
            values = broken.sum(axis=1) / np.maximum(certified.sum(axis=1), 1)
            what = "share of broken promises"
        found.append(
            line(f"precision, {correction.name}: {what}", world, f"at most {error:.1f}", values)
        )
        found.append(
            line(f"precision, {correction.name}: certified", world, "-", certified.mean(axis=1))
        )
    return found


def mean_risks(world: World, risk: Risk) -> tuple[np.ndarray, np.ndarray]:
    """Every threshold on a lattice, in rising order, and the mean risk of all rows at it."""
    tried = lattice()
    curve = risk_curve(labelled_logits(world.logits, world.labels), risk)
    return tried, curve.mean


def risk_lines(world: World, n_draws: int, seed: int) -> list[Line]:
    found = []
    rng = np.random.default_rng(seed)
    for risk, level in RISKS.items():
        tried, truth = mean_risks(world, risk)
        for confidence in (None, CONFIDENCE) if risk.monotone else (CONFIDENCE,):
            rule = cal.RiskControl(risk, level, confidence)
            reached = np.empty(n_draws)
            for draw in range(n_draws):
                rows = rng.integers(len(world.logits), size=N_ROWS)
                cut = rule.fit(world.logits[rows], world.labels[rows]).op_.threshold
                reached[draw] = truth[np.searchsorted(tried, cut)]
            if confidence is None:
                promised, values = f"at most {level}", reached
                found.append(line(f"{risk.name}, on average", world, promised, values))
            else:
                promised, values = f"at most {1 - confidence:.1f}", (reached > level).astype(float)
                name = f"{risk.name} above {level}"
                found.append(line(name, world, promised, values))
    return found


def report(n_draws: int, seed: int, pool_rows: int = POOL_ROWS) -> list[Line]:
    """All promises in all worlds."""
    found = []
    for world in worlds(seed, pool_rows):
        found += recall_lines(world, n_draws, seed + 1)
        found += precision_lines(world, n_draws, seed + 2)
        found += risk_lines(world, n_draws, seed + 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore", cal.FitWarning)
    print(
        f"{options.draws:,} fits to {N_ROWS} rows of {N_CLASSES} classes each; recall {RECALL}, "
        f"precision {PRECISION}, confidence {CONFIDENCE}\n"
    )
    print("| promise | labels | promised | reached | standard error |")
    print("|---|---|---:|---:|---:|")
    for one in report(options.draws, options.seed):
        print(one.markdown(), flush=True)


if __name__ == "__main__":
    main()
