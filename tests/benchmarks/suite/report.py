"""The tables, made from the record alone."""

from __future__ import annotations

from collections.abc import Sequence

from suite.machine import last_level_cache
from suite.record import JobRecord, PeerRecord, Record, Target

_CACHE_SHARE = 4

_NOTES = """\
One stream read is one sum of the matrix in RAM on all threads. Times are medians over the rounds,
of ratios to the read of the same round. A peer that did only some classes (or rows) in its time is
scaled in proportion; it is given contiguous columns and the input it asks for, which is not timed.
"Best peer" is the fastest that answers the same question, or, in brackets, another question where
none does."""


def markdown(record: Record) -> str:
    """All tables, with what one must know to read them."""
    settings = record.settings
    parts = [
        f"{settings['rows']:,} x {settings['classes']:,} float32, "
        f"{settings['bytes'] / 1e9:.3g} GB, {settings['labels'] / settings['rows']:.0f} labels "
        f"per row; {settings['rounds']} rounds",
        _machine(record),
        _jobs(record),
        _NOTES,
    ]
    if settings["bytes"] < _CACHE_SHARE * last_level_cache():
        parts.append("The matrix nearly fits the cache: at this size the ratios say little.")
    if record.peers:
        parts.append(_peers(record))
    if record.scaling:
        parts.append(_scaling(record))
    if record.failures:
        parts.append("\n".join(["FAILED:", *(f"- {failure}" for failure in record.failures)]))
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], n_words: int) -> str:
    """A Markdown table; all columns but the first `n_words` hold numbers."""
    rule = ["---" if place < n_words else "---:" for place in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def _machine(record: Record) -> str:
    machine = record.machine
    packages = ", ".join(f"{name} {v}" for name, v in machine["packages"].items() if v)
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads; one stream "
        f"read {record.stream_read_seconds.median * 1e3:.3g} ms, "
        f"{record.gigabytes_per_second:.3g} GB/s; Python {machine['python']}, {packages}"
    )


def _against(text: str, target: Target | None, wanted: str) -> str:
    """A number with its target and whether it is met."""
    if target is None:
        return text
    return f"{text} ({wanted}{'' if target.met else ', missed'})"


def _jobs(record: Record) -> str:
    rows = [
        [job.title, *_ours(job), *_theirs(best_peer(record.peers, job.name)), *_conditions(job)]
        for job in record.jobs
    ]
    header = ["job, all classes", "ours", "stream reads (target)", "best peer"]
    header += ["its stream reads", "ratio", "memmap / RAM", "extra memory", "in 1 GB"]
    return _table(header, rows, 1)


def best_peer(peers: Sequence[PeerRecord], job: str) -> PeerRecord | None:
    """The fastest that does the same and does it right, else the fastest that does the like."""
    measured = [p for p in peers if p.job == job and p.stream_reads is not None and not p.wrong]
    return min(measured, key=lambda p: (not p.same_job, p.stream_reads), default=None)


def _ours(job: JobRecord) -> list[str]:
    reads, target = job.stream_reads.median, job.stream_reads_target
    wanted = "" if target is None else f"{target.wanted:g}"
    return [_time(job.seconds.median), _against(f"{reads:.3g}", target, wanted)]


def _theirs(peer: PeerRecord | None) -> list[str]:
    if peer is None:
        return ["-", "-", "-"]
    name = peer.peer if peer.same_job else f"({peer.peer})"
    scaled = f", scaled from {_measured(peer)}" if peer.measured < peer.of else ""
    ratio = "-" if peer.times_ours is None else _times(peer.times_ours)
    return [f"{name}{scaled}", f"{peer.stream_reads:.3g}", ratio]


def _conditions(job: JobRecord) -> list[str]:
    ratio, target = job.memmap_over_ram.median, job.memmap_over_ram_target
    memory = "-"
    if job.extra_memory is not None and job.extra_memory_target is not None:
        wanted = f"{job.extra_memory_target.wanted:.0%}"
        memory = _against(f"{job.extra_memory:.1%}", job.extra_memory_target, wanted)
    limited = "-"
    if job.limited is not None:
        limited = "same result" if job.limited.same_result else "another result"
        limited = limited if job.limited.completed else f"failed: {job.limited.error}"
    return [_against(f"{ratio:.2f}", target, f"{target.wanted:g}"), memory, limited]


def _peers(record: Record) -> str:
    titles = {job.name: job.title for job in record.jobs}
    rows = []
    for job, title in titles.items():
        of_job = [peer for peer in record.peers if peer.job == job]
        for peer in sorted(of_job, key=lambda p: p.stream_reads or float("inf")):
            rows.append([title, peer.peer + (f" ({peer.note})" if peer.note else "")])
            if peer.not_measured:
                rows[-1] += ["", "", "", f"not measured: {_cell(peer.not_measured)}"]
                continue
            ratio = "-"
            if peer.times_ours is not None:
                wanted = f"target {peer.target.wanted:g}x" if peer.target else ""
                ratio = _against(_times(peer.times_ours), peer.target, wanted)
            verdict = f"WRONG: {peer.verdict}" if peer.wrong else peer.verdict or "-"
            rows[-1] += [_measured(peer), f"{peer.stream_reads:.3g}", ratio, verdict]
    header = ["job", "peer", "measured", "stream reads, all", "ratio to ours", "same result?"]
    return _table(header, rows, 2)


def _cell(text: str) -> str:
    """One line without the sign that ends a cell, and not endless."""
    text = text.replace("|", "/")
    return text if len(text) <= 160 else text[:157] + "..."


def _scaling(record: Record) -> str:
    """Time per cell of each part over that of the whole: 1 throughout is a linear cost."""
    titles = {job.name: job.title for job in record.jobs}
    shapes = [f"{part.n_rows:,} x {part.n_classes:,}" for part in record.scaling]
    rows = [
        [title, *(f"{part.time_per_cell[name]:.2f}" for part in record.scaling)]
        for name, title in titles.items()
    ]
    return _table(["time per cell, whole = 1", *shapes], rows, 1)


def _measured(peer: PeerRecord) -> str:
    if peer.measured == peer.of:
        return f"all {peer.of:,} {peer.unit}"
    return f"{peer.measured:,} of {peer.of:,} {peer.unit}"


def _times(ratio: float) -> str:
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.2g}x"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
