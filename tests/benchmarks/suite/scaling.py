"""Whether the cost is linear: time per cell at parts of the rows and of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    ratios: dict[str, list[list[float]]] = {job.name: [] for job in jobs}
    for number in range(1, n_rounds + 1):
        for job in jobs:
            per_cell = [timed(job.run, part)[0] / part.logits.size for part in parts]
            ratios[job.name].append([seconds / per_cell[-1] for seconds in per_cell])
        say(f"scaling, round {number} of {n_rounds}")
    medians = {name: np.median(of_job, axis=0).tolist() for name, of_job in ratios.items()}
    return [
        ScalingRecord(*part.labels.shape, {name: of_job[place] for name, of_job in medians.items()})
        for place, part in enumerate(parts)
    ]
