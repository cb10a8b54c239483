"""What was measured, as it is written to JSON; the tables are made from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

MOST_MEMMAP_OVER_RAM = 1.3
MOST_EXTRA_MEMORY = 0.15
"""Targets that all jobs share: time on a memmap over time in RAM, memory over the matrix."""

ANONYMOUS_LIMIT = 1 << 30
"""Bytes of private memory that must be enough for any job, the interpreter's own included."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the rounds."""

    median: float
    low_quartile: float
    high_quartile: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The spread of some values."""
        low, median, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
        return cls(median, low, high)


@dataclass(frozen=True)
class Target:
    """What was wanted, and whether it was reached."""

    wanted: float
    met: bool


@dataclass(frozen=True)
class LimitedRun:
    """A run with `limit_bytes` of private memory.

    Attributes
    ----------
    limit_bytes : int
    completed, same_result : bool
        Whether it ended, and with the bits of the unlimited run.
    error : str
        The last word of a run that did not end.
    """

    limit_bytes: int
    completed: bool
    same_result: bool
    error: str = ""


@dataclass
class JobRecord:
    """One of our jobs.

    Attributes
    ----------
    stream_reads, memmap_over_ram : Spread
        Ratios within a round, over the rounds: what slows one round slows both of its sides.
    extra_memory : float, optional
        Anonymous memory in a fresh process on the memmap, above what there was before the job,
        over the size of the matrix.
    """

    name: str
    title: str
    digest: str
    seconds: Spread
    stream_reads: Spread
    stream_reads_target: Target | None
    memmap_over_ram: Spread
    memmap_over_ram_target: Target
    extra_memory: float | None = None
    extra_memory_target: Target | None = None
    limited: LimitedRun | None = None


@dataclass(frozen=True)
class PeerRecord:
    """One peer at one job.

    Attributes
    ----------
    job, peer : str
    note : str
        Where it does not do quite the same.
    same_job : bool
        Whether it answers the same question exactly.
    unit, measured, of
        The classes (or rows) that it did in its time, and all there are.
    seconds, stream_reads : float
        For all of them: scaled in proportion where `measured` is less than `of`.
    times_ours : float, optional
        Its stream reads over ours.
    target : Target, optional
        On `times_ours`.
    verdict : str
        Its results beside ours.
    wrong : bool
        It claims the same job and its result is worse.
    not_measured : str
        Why there are no numbers.
    """

    job: str
    peer: str
    note: str
    same_job: bool
    unit: str
    measured: int = 0
    of: int = 0
    seconds: float | None = None
    stream_reads: float | None = None
    times_ours: float | None = None
    target: Target | None = None
    verdict: str = ""
    wrong: bool = False
    not_measured: str = ""


@dataclass(frozen=True)
class ScalingRecord:
    """Time per cell of a part of the matrix over that of the whole, by job."""

    n_rows: int
    n_classes: int
    time_per_cell: dict[str, float]


@dataclass
class Record:
    """A whole run.

    Attributes
    ----------
    failures : list of str
        Jobs of ours that broke, or that gave other bits in another run; there must be none.
    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    stream_read_seconds: Spread
    gigabytes_per_second: float
    jobs: list[JobRecord]
    peers: list[PeerRecord] = field(default_factory=list)
    scaling: list[ScalingRecord] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
