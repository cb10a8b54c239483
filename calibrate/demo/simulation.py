"""Logits of a network trained with ``pos_weight = neg / pos``, simulated at any size.

For row r and class c, the true log-odds, the labels and the logits are::

    L[r, c] = a[c] + s[c] * (direction[c] . factors[r])
    y[r, c] ~ Bernoulli(sigmoid(L[r, c]))
    z[r, c] = T[c] * (L[r, c] + kappa * log w[c]) + delta[c] + noise[r, c]

``factors`` are standard normal, shared by all classes, and every direction has length one. The
first factor is the richness of the row: all classes have the same positive part of it, so that
rows differ in how many labels they have. ``a[c]`` is solved for, so that the class has exactly
its prevalence in expectation.

Prevalences are the quantiles of a Pareto law of exponent 3.13, cut to [900, 12,000] / 80,000, in
random order. Their mean is 0.01647: 130 labels in a row of 7,900 classes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibrate.threads import n_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Floats = NDArray[np.float32]
    _Progress = Callable[[int, int], None]
    _Positives = tuple[NDArray[np.int32], NDArray[np.int64]]  # their columns, their number by row

_RAREST, _MOST_FREQUENT, _PARETO = 900 / 80_000, 12_000 / 80_000, 3.13
_N_FACTORS = 16
_RICHNESS = 0.4
_SIGNAL = (1.75, 0.15)  # s: median and log-sd; average precision comes out at about 0.18
_KAPPA = 0.54  # the share of log w that reaches the logits: twice as many predictions as labels
_SLOPE = (1.3, 0.2)  # T: median and log-sd
_SHIFT = 0.3  # delta: sd, in nats
_NOISE = 0.4  # sd, in nats
_CELLS_PER_BLOCK = 2**17  # a few float32 arrays of this size stay in the cache of a core
_MAX_ROWS_PER_BLOCK = 1024
_PRODUCTS_PER_MATMUL = 2**17  # OpenBLAS starts threads of its own above 2**18


@dataclass(frozen=True)
class SimulatedFiles:
    """Where a simulation was written.

    Attributes
    ----------
    logits : Path
        ``.npy``, float32, (n_rows, n_classes), in nats.
    labels : Path
        ``.npz`` of ``scipy.sparse.save_npz``: CSR, bool, (n_rows, n_classes), canonical.
    class_names : Path
        One name a line.
    pos_weight : Path
        ``.npy``, float32, (n_classes,): rows without the label over rows with it. One half is
        added to both counts of a class that has no row, or every row.
    """

    logits: Path
    labels: Path
    class_names: Path
    pos_weight: Path


def simulate(
    folder: str | Path,
    n_rows: int,
    n_classes: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SimulatedFiles:
    """Write simulated logits and labels, a block of rows at a time.

    Parameters
    ----------
    folder : path
        Made if it is not there. The files appear in it when all of them are complete, and
        replace older ones of the same names.
    n_rows, n_classes : int
    seed : int
        The same seed and shape give the same files, whatever the number of threads.
    progress : callable, optional
        Called after each block with the number of rows done and of all rows.

    Returns
    -------
    SimulatedFiles

    Raises
    ------
    ValueError
        If ``n_rows`` or ``n_classes`` is not positive.
    """
    if n_rows < 1 or n_classes < 1:
        raise ValueError(f"n_rows and n_classes must be at least 1, got {n_rows} and {n_classes}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".simulate-", dir=folder) as unfinished:
        written = _files_in(Path(unfinished))
        _write(written, n_rows, n_classes, seed, progress)
        complete = _files_in(folder)
        for name in ("labels", "class_names", "pos_weight", "logits"):
            os.replace(getattr(written, name), getattr(complete, name))  # noqa: PTH105
    return complete


def _files_in(folder: Path) -> SimulatedFiles:
    return SimulatedFiles(
        logits=folder / "logits.npy",
        labels=folder / "labels.npz",
        class_names=folder / "class_names.txt",
        pos_weight=folder / "pos_weight.npy",
    )


def _draw_classes(n_classes: int, random: np.random.Generator) -> tuple[_Floats, _Floats]:
    """Weights of ``(factors[r], 1)`` for L and the noiseless z, (n_factors + 1, n_classes)."""
    prevalence = random.permutation(_prevalences(n_classes))
    spread = _log_normal(_SIGNAL, n_classes, random)
    direction = random.standard_normal((_N_FACTORS, n_classes))
    direction[0] = 0
    direction *= np.sqrt((1 - _RICHNESS**2) / np.sum(direction**2, axis=0))
    direction[0] = _RICHNESS
    log_odds = np.vstack([spread * direction, _intercepts(prevalence, spread)])
    slope = _log_normal(_SLOPE, n_classes, random)
    logit = slope * log_odds
    logit[-1] += slope * _KAPPA * np.log((1 - prevalence) / prevalence)
    logit[-1] += _SHIFT * random.standard_normal(n_classes)
    return log_odds.astype(np.float32), logit.astype(np.float32)


def _log_normal(
    law: tuple[float, float], size: int, random: np.random.Generator
) -> NDArray[np.float64]:
    return law[0] * np.exp(law[1] * random.standard_normal(size))


def _prevalences(n_classes: int) -> NDArray[np.float64]:
    """Quantiles of the cut Pareto law, float64, ascending: no sampling error in their mean."""
    level = (np.arange(n_classes) + 0.5) / n_classes
    beyond = (_RAREST / _MOST_FREQUENT) ** _PARETO
    return np.asarray(_RAREST * (1 - level * (1 - beyond)) ** (-1 / _PARETO))


def _intercepts(
    prevalence: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve E[sigmoid(a + spread * normal)] = prevalence for a, by halving; (n_classes,)."""
    node, weight = np.polynomial.hermite_e.hermegauss(32)
    weight /= weight.sum()
    middle = np.zeros_like(prevalence)
    for step in 16.0 / 2.0 ** np.arange(28):
        mean = (1 / (1 + np.exp(-(middle[:, None] + spread[:, None] * node)))) @ weight
        middle += np.where(mean < prevalence, step, -step)
    return middle


def _write(
    files: SimulatedFiles, n_rows: int, n_classes: int, seed: int, progress: _Progress | None
) -> None:
    from scipy.sparse import csr_array, save_npz

    block = min(max(_CELLS_PER_BLOCK // n_classes, 1), _MAX_ROWS_PER_BLOCK)
    starts = range(0, n_rows, block)
    of_classes, *of_blocks = np.random.SeedSequence(seed).spawn(1 + len(starts))
    log_odds, logit = _draw_classes(n_classes, np.random.default_rng(of_classes))
    layout = {"shape": (n_rows, n_classes), "fortran_order": False}
    with files.logits.open("wb") as file:
        descr = np.lib.format.dtype_to_descr(np.dtype(np.float32))
        np.lib.format.write_array_header_1_0(file, {**layout, "descr": descr})
        offset = file.tell()

    def write_block(start: int, seeds: np.random.SeedSequence) -> _Positives:
        n_block = min(block, n_rows - start)
        logits, labels = _draw_rows(log_odds, logit, n_block, np.random.default_rng(seeds))
        # Not by a memory map: there a full disk ends the process instead of raising OSError.
        with files.logits.open("r+b") as file:
            file.seek(offset + start * logits[0].nbytes)
            file.write(logits.data)
        column = np.flatnonzero(labels) % n_classes
        return column.astype(np.int32), np.count_nonzero(labels, axis=1)

    columns, counts, done = [], [np.zeros(1, np.int64)], 0
    with ThreadPoolExecutor(n_threads()) as pool:
        try:
            for column, count in pool.map(write_block, starts, of_blocks):
                columns.append(column)
                counts.append(count)
                done += len(count)
                if progress is not None:
                    progress(done, n_rows)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    indices, indptr = np.concatenate(columns), np.cumsum(np.concatenate(counts))
    if len(indices) <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)  # else scipy widens the indices: twice the file
    labels = csr_array((np.ones(len(indices), np.bool_), indices, indptr), (n_rows, n_classes))
    save_npz(files.labels, labels, compressed=False)
    positives = np.bincount(indices, minlength=n_classes)
    half = np.where((positives == 0) | (positives == n_rows), 0.5, 0.0)
    pos_weight = (n_rows - positives + half) / (positives + half)
    np.save(files.pos_weight, pos_weight.astype(np.float32))
    width = len(str(n_classes - 1))
    names = "".join(f"class_{number:0{width}d}\n" for number in range(n_classes))
    files.class_names.write_text(names, encoding="utf-8")


def _draw_rows(
    log_odds: _Floats, logit: _Floats, n_rows: int, random: np.random.Generator
) -> tuple[_Floats, NDArray[np.bool_]]:
    """Logits and labels of one block of rows, (n_rows, n_classes)."""
    shape = (n_rows, logit.shape[1])
    factors = np.ones((n_rows, _N_FACTORS + 1), np.float32)
    factors[:, :-1] = random.standard_normal((n_rows, _N_FACTORS), np.float32)
    logits = random.standard_normal(shape, np.float32)
    logits *= np.float32(_NOISE)
    logits += _product(factors, logit)
    # uniform < sigmoid(L), without a division
    odds_against = _product(-factors, log_odds)
    np.exp(odds_against, out=odds_against)
    odds_against += np.float32(1)
    odds_against *= random.random(shape, np.float32)
    return logits, odds_against < 1


def _product(left: _Floats, right: _Floats) -> _Floats:
    """``left @ right`` on this thread alone: stripes too small for BLAS to share out.

    Its threads and ours would wait for each other: two to four times as long in all.
    """
    result = np.empty((left.shape[0], right.shape[1]), np.float32)
    width = max(_PRODUCTS_PER_MATMUL // left.size, 1)
    for start in range(0, right.shape[1], width):
        stripe = slice(start, start + width)
        np.matmul(left, right[:, stripe], out=result[:, stripe])
    return result
