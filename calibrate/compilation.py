"""`warmup`: every kernel compiled ahead, by doing at a small size whatever users do.

Kernels are found, and so are the methods that call them: nothing here names one. numba compiles a
kernel anew for each type of its arrays (dtype, memory order, read-only or not), so that what counts
is the variety of the input more than its size.
"""

from __future__ import annotations

import contextlib
import inspect
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from pkgutil import iter_modules, walk_packages
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate import calibrators, kernels, metrics, risks, rules
from calibrate.base import Calibrator, DecisionRule
from calibrate.calibrators.row_scaling import RowScaling
from calibrate.calibrators.softmax_inclusion import SoftmaxInclusion
from calibrate.calibrators.temperature_scaling import TemperatureScaling
from calibrate.data import LabelledLogits, labelled_logits
from calibrate.evaluation import calibration_report, evaluate_rows
from calibrate.pipeline import Pipeline
from calibrate.rules.fixed_threshold import FixedThreshold
from calibrate.statistics import Evidence, Grid, ScoreHistogram, StreamedTables

_SMALL, _LARGER = (64, 7), (60_000, 70)
"""Rows x classes; labels are decided by kernels from 2**22 cells on."""

_DTYPES = (np.float32, np.float64, np.float16)


@dataclass(frozen=True)
class Warmup:
    """What `warmup` did.

    Attributes
    ----------
    compiled, loaded : dict of str to int
        Versions of each kernel that were compiled, and that came from numba's cache on disk. A
        kernel that only others call is not loaded by itself.
    seconds : float
    folders : tuple of str
        Where numba keeps the machine code; empty where it found no place that can be written.
    """

    compiled: dict[str, int]
    loaded: dict[str, int]
    seconds: float
    folders: tuple[str, ...]


def warmup(progress: Callable[[int, int], object] | None = None) -> Warmup:
    """Compile every kernel, or load it from numba's cache, so that no later call waits for it.

    Worth it before processes are forked that all would compile the same, when a service starts,
    and as ``calibrate warmup`` in the build of an image.

    Parameters
    ----------
    progress : callable, optional
        Called as things go on with the number of kernels that are ready, and of all.

    Returns
    -------
    Warmup

    Raises
    ------
    OSError
        If there is no folder for temporary files.
    """
    found = _kernels()
    before = {name: _versions(kernel) for name, kernel in found.items()}
    start = perf_counter()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        warnings.catch_warnings(),
    ):
        # the data is made up, and so is whatever there is to say about it
        warnings.simplefilter("ignore")
        for _ in _all_that_users_do(Path(folder)):
            if progress is not None:
                progress(sum(bool(kernel.signatures) for kernel in found.values()), len(found))
    after = {name: _versions(kernel) for name, kernel in found.items()}
    return Warmup(
        compiled={name: after[name].compiled - before[name].compiled for name in found},
        loaded={name: after[name].loaded - before[name].loaded for name in found},
        seconds=perf_counter() - start,
        folders=tuple(sorted({k.stats.cache_path for k in found.values() if k.stats.cache_path})),
    )


def _kernels() -> dict[str, Any]:
    """Every kernel of the package, by the names of its file and its own."""
    found = {}
    for file in walk_packages(kernels.__path__, "calibrate.kernels."):
        for name, value in vars(import_module(file.name)).items():
            if hasattr(value, "py_func") and value.py_func.__module__ == file.name:
                found[f"{file.name.removeprefix('calibrate.kernels.')}.{name}"] = value
    return found


class _Versions(NamedTuple):
    compiled: int
    loaded: int


def _versions(kernel: Any) -> _Versions:
    """How many versions of a kernel this process has compiled so far, and has loaded."""
    stats = kernel.stats
    return _Versions(sum(stats.cache_misses.values()), sum(stats.cache_hits.values()))


def _all_that_users_do(folder: Path) -> Iterator[None]:
    """Each method on an array and on a file, each form of array by itself; yields in between."""
    yield from _every_method(*_rows(*_SMALL))
    file = folder / "logits.npy"
    logits, labels = _rows(*_LARGER)
    np.save(file, logits)
    yield from _every_method(file, labels, in_pairs=False)
    logits, labels = _rows(*_SMALL)
    for number, form in enumerate(_forms(logits)):
        yield from _every_pass(form, labels)
        if form.flags.forc and form.flags.writeable:
            np.save(folder / f"{number}.npy", form)
            yield from _every_pass(folder / f"{number}.npy", labels)
    yield from _every_pass(1 / (1 + np.exp(-logits)), labels, probabilities=True)
    logits[::5, 3] = np.nan
    yield from _every_pass(logits, labels, nan="negative")


def _rows(n_rows: int, n_classes: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits and labels with classes of every kind that a fit goes around."""
    random = np.random.default_rng(0)
    labels = random.random((n_rows, n_classes)) < 0.3
    logits = 2.0 * labels + random.normal(size=labels.shape)
    labels[:, 0], labels[:, 1], logits[:, 2] = False, True, 1.0
    return logits.astype(np.float32), labels


def _forms(logits: NDArray[np.float32]) -> Iterator[NDArray[Any]]:
    """The same logits in each dtype, memory order and permission to write."""
    for dtype, writeable in product(_DTYPES, (True, False)):
        strided = np.repeat(logits, 2, axis=1).astype(dtype)[:, ::2]
        for form in (logits.astype(dtype), np.asfortranarray(logits, dtype), strided):
            form.setflags(write=writeable)
            yield form


def _every_method(logits: Any, labels: Any, *, in_pairs: bool = True) -> Iterator[None]:
    """Each calibrator and each rule, from rows and from a histogram, at first and after another."""
    rows = labelled_logits(logits, labels)
    evidence = Evidence(rows)
    evidence.build_histogram()
    steps: list[Calibrator] = _methods(calibrators, rows.shape[1])
    last: list[DecisionRule] = _methods(rules, rows.shape[1])
    # what comes before matters by its kind: none, each cell by itself, or along the rows
    before = [[], [TemperatureScaling()], [RowScaling(gated=False)]]
    for first in before if in_pairs else [[]]:
        alone = [Pipeline(first, rule) for rule in last]
        for pipeline in [Pipeline([*first, step], last[0]) for step in steps] + alone:
            pipeline.fit_evidence(evidence).predict(logits)
            with contextlib.suppress(TypeError):  # a rule that needs rows
                pipeline.fit_from(evidence.histogram)
            yield
        evaluate_rows(pipeline, rows)
        calibration_report(pipeline, rows, n_draws=1)


def _every_pass(logits: Any, labels: Any, **options: Any) -> Iterator[None]:
    """Each way of walking over the logits: to fit, by rows and by classes; to judge; to predict."""
    rows = labelled_logits(logits, labels, **options)
    some_rows = rows.take(np.arange(0, rows.shape[0], 3))
    steps = _methods(calibrators, rows.shape[1], ends=True)
    if rows.source.probabilities:
        # it takes no outputs of single labels
        steps = [step for step in steps if not isinstance(step, SoftmaxInclusion)]
    last = _methods(rules, rows.shape[1])
    alone = [Pipeline([], rule) for rule in last]
    for pipeline in [Pipeline([step], last[0]) for step in steps] + alone:
        pipeline.fit_evidence(Evidence(rows))
        yield
    pipeline.predict(rows.source)
    pipeline.predict_proba(rows.source)
    evaluate_rows(pipeline, rows)
    calibration_report(pipeline, rows, n_draws=1)
    yield
    pipeline.fit_evidence(Evidence(some_rows))
    evaluate_rows(pipeline, some_rows)
    calibration_report(pipeline, some_rows)
    ScoreHistogram.of(some_rows)
    _stream(rows)
    yield


def _stream(rows: LabelledLogits) -> None:
    """Count rows as if they were a batch of a training loop."""
    n_rows, n_classes = rows.shape
    grid = Grid.even(n_classes)
    tables = StreamedTables.empty(grid)
    tables.add(grid, rows.source.look(0, n_rows), *rows.labels.rows(0, n_rows))
    tables.unload()


def _methods(room: Any, n_classes: int, *, ends: bool = False) -> list[Any]:
    """Every method of a room with every choice of options that could lead to other kernels.

    Or with the first and the last choice alone, `ends` of all of them: the ways that a calibrator
    walks over the rows are among these two.
    """
    made = []
    for file in iter_modules(room.__path__, f"{room.__name__}."):
        name = "".join(word.capitalize() for word in file.name.split(".")[-1].split("_"))
        method = getattr(import_module(file.name), name)
        choices = {
            parameter.name: _choices(name, parameter, n_classes)
            for parameter in inspect.signature(method).parameters.values()
        }
        options = list(product(*choices.values()))
        if ends and len(options) > 2:
            options = [options[0], options[-1]]
        made += [method(**dict(zip(choices, values, strict=True))) for values in options]
    return made


def _choices(method: str, parameter: inspect.Parameter, n_classes: int) -> tuple[Any, ...]:
    """Values for a parameter of a method: by its name, both of a flag, else the default."""
    known = {
        "k": (2,),
        "min_positives": (2,),
        # decided without kernels, and not for every metric
        "batch": (False,),
        "metric": (metrics.f_beta(1), metrics.recall_at_precision(0.5), _promising_nothing),
        "rule": (FixedThreshold(),),
        # nothing without a confidence
        "simultaneous": (False,),
        "risk": (risks.false_negative_rate,),
        "pos_weight": (2.0, np.full(n_classes, 2.0)),
        # as probabilities they mean something as well
        "target": (np.linspace(0.1, 0.9, 4 * n_classes, dtype=np.float32).reshape(4, n_classes),),
    }
    if (method, parameter.name) == ("InstanceThreshold", "metric"):
        # a bound on the counts of all rows is none on those of one
        return metrics.f_beta(1), _promising_nothing
    if (method, parameter.name) == ("BudgetedTopK", "metric"):
        # any other is judged row by row, without kernels
        return (metrics.f_beta(1),)
    if parameter.name in known:
        return known[parameter.name]
    if isinstance(parameter.default, bool):
        return (False, True)
    if parameter.default is parameter.empty:
        raise TypeError(f"warmup knows no value for {parameter.name!r} of {method}")
    return (parameter.default,)


def _promising_nothing(*counts: metrics.Counts) -> metrics.Counts:
    """A metric of the user's own, for which every cut is tried.

    It wants what ties forbid, all negatives and no positive, so that such classes are sorted too.
    """
    return counts[1] - counts[0]
