"""`Peer`, and how long it takes on as much as its time allows."""

from __future__ import annotations

import contextlib
import gc
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from suite.case import Case
from suite.jobs import JOBS, Result
from suite.peers.batch import Columns, Rows
from suite.peers.verdict import Verdict
from suite.progress import say
from suite.record import PeerRecord, Spread, Target
from suite.stream import stream_read_seconds

_MOST_CELLS = 1 << 25
"""Cells in a batch: what some peers make of them is a hundred times as large."""

_BATCHES_IN_BUDGET = 8
_WARM_UP = 64

Judge = Callable[[Any, Any, Result], Verdict]


@dataclass(frozen=True)
class Peer:
    """One way to do some of the jobs.

    Attributes
    ----------
    name : str
    batch : Columns or Rows
        Whether it can be given some classes alone, or some rows.
    run : callable
        ``run(prepared)``: what is timed. It imports its library itself.
    judges : mapping
        The jobs that it does, and for each ``judge(batch, made, our result) -> Verdict``, or None
        where we make nothing to compare.
    prepare : callable
        ``prepare(batch)``: its input, not timed.
    note : str
        Where it does not do quite the same.
    same_job : bool
        Whether it answers the same question exactly.
    """

    name: str
    batch: type[Columns] | type[Rows]
    run: Callable[[Any], Any]
    judges: Mapping[str, Judge | None]
    prepare: Callable[[Any], Any] = lambda batch: batch
    note: str = ""
    same_job: bool = True


@dataclass
class _Times:
    """Batches of a peer: how large each was, how long it took, and what came of it."""

    sizes: list[int]
    seconds: list[float]
    verdicts: dict[str, Verdict]

    def scaled_to(self, whole: int) -> float:
        """Seconds for all: the sum if all were done, else by the median of the largest batches."""
        if sum(self.sizes) == whole:
            return sum(self.seconds)
        largest = max(self.sizes)
        took = [s for size, s in zip(self.sizes, self.seconds, strict=True) if size == largest]
        return statistics.median(took) / largest * whole


def measure(
    peer: Peer,
    case: Case,
    tiny: Case,
    budget: float,
    jobs: Collection[str],
    results: Mapping[str, Result],
    our_reads: Mapping[str, Spread],
) -> list[PeerRecord]:
    """Measure `peer` for about `budget` seconds: one record for each of `jobs` that it does.

    A peer that cannot be had or that fails is no failure of the run: the record says why.

    Parameters
    ----------
    results, our_reads : mapping
        What we made of the jobs that we do, and in how many stream reads.
    """
    wanted = {job: judge for job, judge in peer.judges.items() if job in jobs}
    if not wanted:
        return []
    say(f"peer: {peer.name} ({', '.join(wanted)})")
    records = [
        PeerRecord(job, peer.name, peer.note, peer.same_job, peer.batch.unit) for job in wanted
    ]
    try:
        with quiet():
            peer.run(peer.prepare(peer.batch.of(tiny, 0, _WARM_UP)))
            gc.collect()
            read = stream_read_seconds(case.logits)
            times = _run(peer, case, budget, wanted, results)
            read = (read + stream_read_seconds(case.logits)) / 2
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        say(f"not measured: {reason}")
        return [replace(record, not_measured=reason) for record in records]
    of = peer.batch.there_are(case)
    seconds = times.scaled_to(of)
    for place, record in enumerate(records):
        job = record.job
        ratio = seconds / read / our_reads[job].median if job in our_reads else None
        verdict = times.verdicts.get(job)
        records[place] = replace(
            record,
            measured=sum(times.sizes),
            of=of,
            seconds=seconds,
            stream_reads=seconds / read,
            times_ours=ratio,
            target=_target(job, peer, ratio),
            verdict=str(verdict or ""),
            wrong=peer.same_job and verdict is not None and verdict.worse > 0,
        )
    return records


def _run(
    peer: Peer,
    case: Case,
    budget: float,
    wanted: Mapping[str, Judge | None],
    results: Mapping[str, Result],
) -> _Times:
    """Double the batch until a few of them fill the budget, and go on with that size."""
    times = _Times([], [], {})
    there_are = peer.batch.there_are(case)
    most = max(1, _MOST_CELLS // peer.batch.cells_each(case))
    size, first = peer.batch.fewest, 0
    while first < there_are and sum(times.seconds) < budget:
        last = min(first + size, there_are)
        batch = peer.batch.of(case, first, last)
        prepared = peer.prepare(batch)
        start = time.perf_counter()
        made = peer.run(prepared)
        seconds = time.perf_counter() - start
        times.sizes.append(last - first)
        times.seconds.append(seconds)
        for job, judge in wanted.items():
            if judge is not None:
                verdict = judge(batch, made, results[job])
                before = times.verdicts.get(job)
                times.verdicts[job] = verdict if before is None else before + verdict
        if seconds < budget / _BATCHES_IN_BUDGET / 2:
            size = min(2 * size, most)
        first = last
    return times


def _target(job: str, peer: Peer, ratio: float | None) -> Target | None:
    rivals = {one.name: one.rival for one in JOBS}
    rival = rivals.get(job)
    if rival is None or rival[0] != peer.name or ratio is None:
        return None
    return Target(rival[1], ratio >= rival[1])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Warnings of peers are not ours to show, and stdout is for the tables."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield
