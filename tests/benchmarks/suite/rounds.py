"""Our jobs in this process, alternating with the stream read, in RAM and on the memmap."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from suite.case import Case
from suite.jobs import Job, Result, digest
from suite.progress import say
from suite.stream import stream_read_seconds


@dataclass
class Rounds:
    """What the rounds gave, job by job; one entry per round.

    Attributes
    ----------
    read_seconds : list of float
    seconds, stream_reads, memmap_over_ram : dict of lists
    results : dict
        The arrays of each job, of the first round.
    failures : list of str
        Jobs that gave other bits in a later round, or on the memmap.
    """

    read_seconds: list[float] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    stream_reads: dict[str, list[float]] = field(default_factory=dict)
    memmap_over_ram: dict[str, list[float]] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def timed(job: Callable[[Case], Result], case: Case) -> tuple[float, Result]:
    """Seconds and result of one run."""
    start = time.perf_counter()
    result = job(case)
    return time.perf_counter() - start, result


def alternate(jobs: Sequence[Job], in_ram: Case, mapped: Case, n_rounds: int) -> Rounds:
    """In each round: the stream read, every job once in RAM, then every job on the memmap.

    A job comes after the same other job both times, so that it finds the same heap: what was
    freed just before need not be had from the kernel again. The caller has run each job on small
    cases of both kinds, so that all is compiled.
    """
    rounds = Rounds()
    for number in range(1, n_rounds + 1):
        gc.collect()
        start = time.perf_counter()
        read = stream_read_seconds(in_ram.logits)
        rounds.read_seconds.append(read)
        ram_seconds = {}
        for job in jobs:
            seconds, result = timed(job.run, in_ram)
            _keep(rounds, job, result, f"in round {number}")
            rounds.seconds.setdefault(job.name, []).append(seconds)
            rounds.stream_reads.setdefault(job.name, []).append(seconds / read)
            ram_seconds[job.name] = seconds
        for job in jobs:
            seconds, result = timed(job.run, mapped)
            _keep(rounds, job, result, f"on the memmap in round {number}")
            ratio = seconds / ram_seconds[job.name]
            rounds.memmap_over_ram.setdefault(job.name, []).append(ratio)
        say(f"round {number} of {n_rounds}: {time.perf_counter() - start:.0f} s")
    return rounds


def _keep(rounds: Rounds, job: Job, result: Result, where: str) -> None:
    """Keep the first result; note where a later one has other bits."""
    bits = digest(result)
    if rounds.digests.setdefault(job.name, bits) != bits:
        rounds.failures.append(f"{job.name}: another result {where}")
    rounds.results.setdefault(job.name, result)
