"""How fast every job is, in reads of the matrix, beside the best that other libraries offer.

Makes the forum's case on disk (80,000 x 7,900 float32 logits, 130 labels per row), times our jobs
and the peers' in one process, and each job's memory in a process of its own. Prints Markdown
tables; ``--output`` also writes them and everything that was measured as JSON.

    python tests/benchmarks/speed.py [--rows 20000] [--classes 2000] [--peer-seconds 5] ...

A missed target is printed and is no failure. A job that breaks, or that gives other bits on the
memmap, in a later round, or with its memory limited, is one: the exit status is then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from suite import machine, peers, report
from suite.case import TINY_CLASSES, TINY_ROWS, Case, make
from suite.fresh import FreshRunError, in_fresh_process
from suite.jobs import JOBS, Job
from suite.progress import say
from suite.record import (
    ANONYMOUS_LIMIT,
    MOST_EXTRA_MEMORY,
    MOST_MEMMAP_OVER_RAM,
    JobRecord,
    LimitedRun,
    Record,
    Spread,
    Target,
)
from suite.rounds import Rounds, alternate
from suite.scaling import scale


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the exit status."""
    options = _options(arguments)
    with contextlib.ExitStack() as stack:
        tiny_folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make(tiny_folder, TINY_ROWS, TINY_CLASSES)
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make(folder, options.rows, options.classes)
        record = run(options, folder, tiny_folder)
    tables = report.markdown(record)
    print(tables, end="")
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "speed.md").write_text(tables, encoding="utf-8")
        text = json.dumps(dataclasses.asdict(record), indent=1)
        (options.output / "speed.json").write_text(text + "\n", encoding="utf-8")
    for failure in record.failures:
        say(f"FAILED: {failure}")
    return 1 if record.failures else 0


def run(options: argparse.Namespace, folder: Path, tiny_folder: Path) -> Record:
    """Everything that `options` ask for, on the case in `folder`."""
    description = machine.describe()
    jobs = [job for job in JOBS if job.name in options.jobs]
    tiny = Case.open(tiny_folder, in_ram=True)
    for small in (tiny, Case.open(tiny_folder, in_ram=False)):
        for job in jobs:
            job.run(small)
    case = Case.open(folder, in_ram=True)
    rounds = alternate(jobs, case, Case.open(folder, in_ram=False), options.rounds)
    read = Spread.of(rounds.read_seconds)
    record = Record(
        machine=description,
        settings={
            "rows": options.rows,
            "classes": options.classes,
            "labels": case.labels.nnz,
            "bytes": case.logits.nbytes,
            "rounds": options.rounds,
            "peer_seconds": options.peer_seconds if options.peers else None,
        },
        stream_read_seconds=read,
        gigabytes_per_second=case.logits.nbytes / read.median / 1e9,
        jobs=[_job_record(job, rounds) for job in jobs],
        failures=rounds.failures,
    )
    if options.peers:
        our_reads = {job.name: job.stream_reads for job in record.jobs}
        for peer in peers.PEERS:
            record.peers += peers.measure(
                peer, case, tiny, options.peer_seconds, options.jobs, rounds.results, our_reads
            )
    if options.scaling:
        record.scaling = scale(jobs, case, options.rounds)
    matrix_bytes = case.logits.nbytes
    del case  # room for the fresh processes
    for measured in record.jobs:
        if options.memory:
            _measure_memory(measured, folder, tiny_folder, matrix_bytes, record.failures)
        if options.limited:
            _run_limited(measured, folder, tiny_folder, record.failures)
    return record


def _job_record(job: Job, rounds: Rounds) -> JobRecord:
    reads = Spread.of(rounds.stream_reads[job.name])
    mapped = Spread.of(rounds.memmap_over_ram[job.name])
    most = job.most_reads
    return JobRecord(
        job.name,
        job.title,
        rounds.digests[job.name],
        Spread.of(rounds.seconds[job.name]),
        reads,
        None if most is None else Target(most, reads.median <= most),
        mapped,
        Target(MOST_MEMMAP_OVER_RAM, mapped.median <= MOST_MEMMAP_OVER_RAM),
    )


def _measure_memory(
    job: JobRecord, folder: Path, tiny: Path, matrix_bytes: int, failures: list[str]
) -> None:
    say(f"memory: {job.name}")
    try:
        fresh = in_fresh_process(job.name, folder, tiny)
    except FreshRunError as error:
        failures.append(f"{job.name}: in a fresh process: {error}")
        return
    if fresh.digest != job.digest:
        failures.append(f"{job.name}: another result in a fresh process")
    job.extra_memory = fresh.extra_memory / matrix_bytes
    job.extra_memory_target = Target(MOST_EXTRA_MEMORY, job.extra_memory <= MOST_EXTRA_MEMORY)


def _run_limited(job: JobRecord, folder: Path, tiny: Path, failures: list[str]) -> None:
    say(f"limited to {ANONYMOUS_LIMIT / 2**30:g} GB: {job.name}")
    try:
        fresh = in_fresh_process(job.name, folder, tiny, ANONYMOUS_LIMIT)
    except FreshRunError as error:
        job.limited = LimitedRun(ANONYMOUS_LIMIT, False, False, str(error))
        failures.append(f"{job.name}: with limited memory: {error}")
        return
    same = fresh.digest == job.digest
    job.limited = LimitedRun(ANONYMOUS_LIMIT, True, same)
    if not same:
        failures.append(f"{job.name}: another result with limited memory")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    names = [job.name for job in JOBS]

    def some_jobs(text: str) -> list[str]:
        wanted = text.split(",")
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(names)}")
        return wanted

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=80_000)
    parser.add_argument("--classes", type=int, default=7_900)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--jobs", type=some_jobs, default=names, metavar="NAME,...", help=", ".join(names)
    )
    yes_or_no = argparse.BooleanOptionalAction
    parser.add_argument("--peers", action=yes_or_no, default=True)
    parser.add_argument(
        "--peer-seconds", type=float, default=20.0, help="time for each peer, about"
    )
    parser.add_argument("--memory", action=yes_or_no, default=True, help="in fresh processes")
    parser.add_argument(
        "--limited", action=yes_or_no, default=True, help="each job with 1 GB of private memory"
    )
    parser.add_argument(
        "--scaling", action="store_true", help="time per cell at parts of rows and classes"
    )
    parser.add_argument("--folder", type=Path, help="keep the simulated files here, and reuse them")
    parser.add_argument("--output", type=Path, help="folder for speed.md and speed.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
