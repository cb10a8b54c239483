"""Whether the cost is linear: time per cell at parts of the rows and of the classes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from suite.case import Case
from suite.jobs import Job
from suite.progress import say
from suite.record import ScalingRecord
from suite.rounds import timed


def scale(jobs: Sequence[Job], whole: Case, n_rounds: int) -> list[ScalingRecord]:
    """Time per cell at a quarter, a half and all of the rows, and of the classes, over all.

    The sizes alternate, and the ratios are taken within a round.
    """
    n_rows, n_classes = whole.logits.shape
    shapes = [(max(1, n_rows // 4), n_classes), (max(1, n_rows // 2), n_classes)]
    shapes += [(n_rows, max(1, n_classes // 4)), (n_rows, max(1, n_classes // 2))]
    parts = [*(whole.part(*shape) for shape in shapes), whole]
    records = []
    ratios: dict[tuple[str, tuple[int, ...]], list[float]] = {}
    for number in range(1, n_rounds + 1):
        for job in jobs:
            per_cell = [timed(job.run, part)[0] / part.logits.size for part in parts]
            for part, seconds in zip(parts, per_cell, strict=True):
                ratio = seconds / per_cell[-1]
                ratios.setdefault((job.name, part.logits.shape), []).append(ratio)
        say(f"scaling, round {number} of {n_rounds}")
    for part in parts:
        shape = part.logits.shape
        medians = {job.name: statistics.median(ratios[job.name, shape]) for job in jobs}
        records.append(ScalingRecord(*shape, medians))
    return records
