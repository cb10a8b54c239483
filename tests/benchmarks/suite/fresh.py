"""One job on the memmap, in a process of its own: its memory, and whether 1 GB is enough.

Run as ``python -m suite.fresh JOB FOLDER TINY [LIMIT]`` it compiles on the tiny case, says that
it is ready, waits for a line, does the job, and prints what came out as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from suite.case import Case
from suite.jobs import JOBS, digest
from suite.memory import MemoryMeter


class FreshRunError(RuntimeError):
    """The process ended without a result; the message is its last word."""


@dataclass(frozen=True)
class FreshRun:
    """What one process did.

    Attributes
    ----------
    digest : str
    seconds : float
    extra_memory : int
        Bytes of anonymous memory above what there was when the job began.
    """

    digest: str
    seconds: float
    extra_memory: int


def in_fresh_process(job: str, folder: Path, tiny: Path, limit: int | None = None) -> FreshRun:
    """Do `job` in a new process, its private memory limited to `limit` bytes in all.

    Raises
    ------
    FreshRunError
        If it did not finish.
    """
    command = [sys.executable, "-m", "suite.fresh", job]
    command += [str(folder.resolve()), str(tiny.resolve()), *([str(limit)] if limit else [])]
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        answer = ""
        if process.stdout.readline() == "ready\n":
            with MemoryMeter(process.pid) as meter:
                process.stdin.write("go\n")
                process.stdin.flush()
                answer = process.stdout.readline()
        process.wait()
        if not answer:
            errors.seek(0)
            last = errors.read().strip().rpartition("\n")[2]
            raise FreshRunError(last or f"the process ended with status {process.returncode}")
    return FreshRun(**json.loads(answer), extra_memory=meter.extra)


def _main(name: str, folder: str, tiny: str, limit: str | None = None) -> None:
    if limit is not None:
        # writable private mappings, touched or not: a stricter measure than what is resident
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))
    (job,) = (job for job in JOBS if job.name == name)
    job.run(Case.open(Path(tiny), in_ram=False))
    case = Case.open(Path(folder), in_ram=False)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    result = job.run(case)
    seconds = time.perf_counter() - start
    print(json.dumps({"digest": digest(result), "seconds": seconds}), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
