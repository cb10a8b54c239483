"""Work that tests hand to other processes: what a worker runs must be importable there."""

from __future__ import annotations

import json
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy import sparse

import calibrate as cal


def simulated(n_rows: int = 600, n_classes: int = 13) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels that leave a fit nothing to warn of."""
    rng = np.random.default_rng(0)
    labels = rng.random((n_rows, n_classes)) < np.geomspace(0.05, 0.4, n_classes)
    return (rng.normal(size=labels.shape) + 1.5 * labels).astype(np.float32), labels


def pipeline() -> cal.Pipeline:
    return cal.Pipeline([cal.PlattScaling()], quick_to_compile().rule)


def quick_to_compile() -> cal.Pipeline:
    """A pipeline of few kernels, for processes that find none of them compiled."""
    return cal.Pipeline([], cal.PerClassThreshold(cal.metrics.f_beta(1)))


def numbers(unfitted: cal.Pipeline) -> list[list[float]]:
    """All numbers of a decision that is fitted here and now."""
    decision = unfitted.fit(*simulated()).decision_
    return [
        values.tolist()
        for op in (*decision.steps, decision.rule)
        for values in op.arrays().values()
    ]


class Batches:
    """A data set as a `DataLoader` takes it: each item is decided in the worker."""

    def __init__(self, decision: cal.Decision) -> None:
        self.decision = decision

    def __len__(self) -> int:
        return 6

    def __getitem__(self, number: int) -> np.ndarray:
        logits, _ = simulated()
        return self.decision.predict(logits[100 * number : 100 * (number + 1)]).toarray()


def collate(items: list[np.ndarray]) -> tuple[np.ndarray, list[list[float]]]:
    """The items one below the other, and a fit made in the worker."""
    return np.concatenate(items), numbers(pipeline())


def versions(found: str) -> dict[str, list[str]]:
    """Versions of each kernel that this process ``compiled``, or ``loaded`` from numba's cache."""
    from calibrate.compilation import _kernels

    counter = {"compiled": "cache_misses", "loaded": "cache_hits"}[found]
    stats = {name: getattr(kernel.stats, counter) for name, kernel in _kernels().items()}
    return {name: [str(types) for types in counts] for name, counts in stats.items() if counts}


def report_fits(n_threads: int) -> None:
    """Fit in several threads at the same time, and say what came of it."""
    with ThreadPoolExecutor(n_threads) as pool:
        found = list(pool.map(numbers, [quick_to_compile() for _ in range(n_threads)]))
    report = {
        "package": cal.__file__,
        "numbers": found,
        "compiled": versions("compiled"),
        "loaded": versions("loaded"),
    }
    print(json.dumps(report))


def report_real_work(folder: Path) -> None:
    """Run each method at a real size, from arrays and from files, and say what was compiled."""
    import torch
    from click.testing import CliRunner
    from test_contract import methods

    from calibrate.cli import main
    from calibrate.torch import HistogramAccumulator

    warnings.simplefilter("ignore", cal.FitWarning)
    # more cells than any number from which on something is done in another way
    logits, labels = simulated(12_500, 350)
    labels[:, 0], labels[:, 1], logits[:, 2] = False, True, 0.0
    np.save(folder / "logits.npy", logits)
    sparse.save_npz(folder / "labels.npz", sparse.csr_array(labels))
    calibrators, rules = (
        [
            type(step)(
                **{
                    name: value[..., np.arange(350) % 7] if isinstance(value, np.ndarray) else value
                    for name, value in step.get_params(deep=False).items()
                }
            )
            for step in methods(room)
        ]
        for room in ("calibrators", "rules")
    )
    cheap = cal.FixedThreshold()
    file = folder / "logits.npy"
    for step in calibrators:
        cal.Pipeline([step], cheap).fit(logits, labels).predict(file)
        cal.Pipeline([cal.PlattScaling(), step], cheap).fit(file, labels).predict(logits)
    for rule in rules:
        cal.Pipeline([], rule).fit(file, folder / "labels.npz").predict(file)
        cal.Pipeline([cal.PlattScaling()], rule).fit(logits, labels).predict(logits)
    few, some = logits[:600], labels[:600]
    np.save(folder / "half.npy", few.astype(np.float16))
    np.save(folder / "few.npy", few)
    fitted = pipeline().fit(file, labels)
    for form in (
        few.astype(np.float64),
        np.asfortranarray(few),
        few.astype(">f4"),
        np.repeat(few, 2, axis=1)[:, ::2],
        folder / "half.npy",
        [folder / "few.npy", folder / "half.npy"],
    ):
        true = np.concatenate([some, some]) if isinstance(form, list) else some
        pipeline().fit(form, true).predict(form)
        cal.evaluate(fitted, form, true)
        cal.calibration_report(fitted, form, true)
    rows = cal.labelled_logits(file, labels)
    histogram = cal.ScoreHistogram.of(rows)
    pipeline().fit_from(histogram + histogram)
    accumulator = HistogramAccumulator(few.shape[1], reservoir=100)
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        accumulator.update(torch.from_numpy(few).to(dtype), torch.from_numpy(some.copy()))
    accumulator.fit(cal.Pipeline([cal.HierarchicalScaling()], cal.ExpectedCountTopK()))
    cal.evaluate(fitted, rows)
    cal.calibration_report(fitted, rows, n_draws=2)
    fitted.predict_proba(file)
    list(cal.threshold_curves(rows, every_cut=True))
    files = [str(file), str(folder / "labels.npz")]
    rule = str(folder / "rule.safetensors")
    for arguments in (
        ["fit", *files, "-o", rule, "--pos-weight", "auto"],
        ["apply", rule, files[0], "-o", str(folder / "labels.jsonl")],
        ["apply", rule, files[0], "-o", str(folder / "predicted.npz")],
        ["compare", *files, "--pos-weight", "auto"],
        ["inspect", files[0]],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    print(json.dumps({"compiled": versions("compiled"), "loaded": versions("loaded")}))


if __name__ == "__main__":
    work, argument = sys.argv[1:]
    if work == "fits":
        report_fits(int(argument))
    else:
        report_real_work(Path(argument))
