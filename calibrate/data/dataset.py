"""Logits and labels together, and the two ways to walk over them: by rows and by classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibrate import threads
from calibrate.bulk.steps import applied
from calibrate.data.labels import Labels, as_labels
from calibrate.data.logits import LogitSource, NanPolicy, as_logits
from calibrate.ops import CalibrationOp, ElementwiseOp, Float32, RowOp, flat

Result = TypeVar("Result")

STRIP_CELLS = 1 << 24
"""Cells in a strip of classes: 64 MiB of float32."""

TRANSPOSED_CELLS = 1 << 17
"""Cells that are transposed at once: 512 KiB of float32, which stay in the cache of a core."""

PIECE_CELLS = 1 << 19
"""Cells of some classes that are read at once where they cannot be looked at in place."""

_FEWEST_CLASSES = 64

_HASHED_ROWS = 64


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive rows: scores, and labels as CSR.

    Attributes
    ----------
    start : int
        The first row.
    scores : float32, (n_rows, n_classes)
        Logits after the steps so far; ``-inf`` marks a cell without a score.
    indptr, indices : int64 (n_rows + 1,), int32
    """

    start: int
    scores: NDArray[np.float32]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]

    def part(self, first: int, last: int) -> Block:
        """Some rows of the block, where they lie."""
        indptr = self.indptr[first : last + 1]
        indices = self.indices[indptr[0] : indptr[-1]]
        return Block(self.start + first, self.scores[first:last], indptr - indptr[0], indices)


class Piece(NamedTuple):
    """Consecutive rows of some classes, as they lie: not to be written to.

    Attributes
    ----------
    start : int
        The first row.
    scores : float32, (n_rows, any)
    column : int
        Where in `scores` the first of the classes is.
    indptr, indices : int64 (n_rows + 1,), int32
        Labels of the rows, of all classes, as CSR.
    """

    start: int
    scores: NDArray[np.float32]
    column: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class ClassStrip:
    """Consecutive classes over all rows, transposed: one class is one contiguous line.

    Attributes
    ----------
    start : int
        The first class.
    scores : float32, (n_classes_here, n_rows)
    indptr, rows : int64 (n_classes_here + 1,), int32
        The positive rows of each class.
    """

    start: int
    scores: NDArray[np.float32]
    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]

    def part(self, first: int, last: int) -> ClassStrip:
        """Some lines of the strip, where they lie."""
        indptr = self.indptr[first : last + 1]
        rows = self.rows[indptr[0] : indptr[-1]]
        return ClassStrip(self.start + first, self.scores[first:last], indptr - indptr[0], rows)


@dataclass(frozen=True, eq=False)
class KnownTerms:
    """A step that looks along the rows, with the number of each row known.

    So it can be applied to some of the classes alone.

    Attributes
    ----------
    step : RowOp
    terms : float32, (n_rows,)
    """

    step: RowOp
    terms: Float32

    def apply(self, scores: Float32, start: int) -> Float32:
        """Scores of the rows from `start` on after the step."""
        return self.step.apply_terms(scores, self.terms[start : start + len(scores)])

    def columns(self, start: int, stop: int) -> KnownTerms:
        """The same step for the classes ``start:stop`` alone."""
        return KnownTerms(self.step.columns(start, stop), self.terms)


def stepped(steps: Sequence[ElementwiseOp | KnownTerms], scores: Float32, start: int) -> Float32:
    """Scores of the rows from `start` on after all steps."""
    for step in steps:
        if isinstance(step, KnownTerms):
            scores = step.apply(scores, start)
        else:
            scores = applied(step, scores)
    return scores


@dataclass(frozen=True, eq=False)
class LabelledLogits:
    """What every fit is given: a source of logits, labels of the same shape, steps so far.

    Attributes
    ----------
    source : LogitSource
    labels : Labels
    steps : tuple of ElementwiseOp or KnownTerms
        Applied to each block as it is read.
    """

    source: LogitSource
    labels: Labels
    steps: tuple[ElementwiseOp | KnownTerms, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_classes)."""
        return self.source.shape

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Class names, or None."""
        return self.source.class_names

    def after(self, step: CalibrationOp) -> LabelledLogits:
        """The same rows with one more step applied as they are read.

        A step that looks along the rows goes over them now, for the number of each.
        """
        rows = self
        for part in flat((step,)):
            if isinstance(part, RowOp):
                rows = replace(rows, steps=(*rows.steps, KnownTerms(part, rows.row_terms(part))))
            elif isinstance(part, ElementwiseOp):
                rows = replace(rows, steps=(*rows.steps, part))
        return rows

    def row_terms(self, step: RowOp) -> Float32:
        """The number that each row decides for `step`, float32, (n_rows,)."""
        return np.concatenate(list(self.each_block(lambda block: step.row_terms(block.scores))))

    def take(self, rows: NDArray[np.int64]) -> LabelledLogits:
        """Some rows, given in increasing order; nothing is read yet."""
        steps = (
            replace(step, terms=step.terms[rows]) if isinstance(step, KnownTerms) else step
            for step in self.steps
        )
        return LabelledLogits(self.source.take(rows), self.labels.take(rows), tuple(steps))

    def thinned(self, n_rows: int) -> LabelledLogits:
        """About `n_rows` rows, evenly spaced, read into memory once; all of them if no more."""
        if self.shape[0] <= n_rows:
            return self
        chosen = np.unique(np.linspace(0, self.shape[0] - 1, n_rows).astype(np.int64))
        some = self.take(chosen)
        return replace(some, source=some.source.held())

    def fingerprint(self) -> str:
        """SHA-256 of the labels of all rows and the logits of the first, before any step.

        It tells whether two sets of rows are the same, whatever container they come in.
        """
        found = hashlib.sha256(np.array(self.shape, dtype="<i8").tobytes())
        found.update(self.source.read(0, min(_HASHED_ROWS, self.shape[0])).astype("<f4").tobytes())
        found.update(self.labels.indptr.astype("<i8").tobytes())
        found.update(self.labels.indices.astype("<i4").tobytes())
        return found.hexdigest()

    def blocks(self) -> Iterator[Block]:
        """All rows, in blocks."""
        for start, scores in self.source.blocks():
            scores = stepped(self.steps, scores, start)
            yield Block(start, scores, *self.labels.rows(start, start + len(scores)))

    def check_in_place(self) -> bool:
        """Check all logits now if they can be looked at where they lie; whether they can.

        Work of many passes, or of many threads, does it first.
        """
        return not self.steps and self.source.matrix is not None

    def each_block(self, work: Callable[[Block], Result]) -> Iterator[Result]:
        """``work(block)`` for all rows in blocks, on all threads; results in order.

        The scores are not to be written to.
        """

        def on_block(start: int, scores: NDArray[np.float32]) -> Result:
            scores = stepped(self.steps, scores, start)
            scores.flags.writeable = False
            return work(Block(start, scores, *self.labels.rows(start, start + len(scores))))

        return self.source.each_block(on_block)

    def passes(self) -> Iterator[Block]:
        """All rows in few blocks, each for all threads at once; not to be written to.

        One block where the logits lie if nothing is to be done to them; else blocks that the
        threads fill, one after the other in the same place.
        """
        matrix = self.source.matrix
        if matrix is None:
            yield from self.blocks()
        elif not self.steps:
            yield Block(0, matrix, *self.labels.rows(0, len(matrix)))
        else:
            yield from self._stepped_passes(matrix)

    def _stepped_passes(self, matrix: Float32) -> Iterator[Block]:
        n_rows, n_classes = self.shape
        height = min(n_rows, max(1, STRIP_CELLS // n_classes))
        part = max(1, TRANSPOSED_CELLS // n_classes)
        room = np.empty((height, n_classes), dtype=np.float32)
        for start in range(0, n_rows, height):
            stop = min(start + height, n_rows)

            def fill(row: int, start: int = start, stop: int = stop) -> None:
                end = min(row + part, stop)
                room[row - start : end - start] = stepped(self.steps, matrix[row:end], row)

            threads.each(fill, range(start, stop, part))
            scores = room[: stop - start]
            scores.flags.writeable = False
            yield Block(start, scores, *self.labels.rows(start, stop))

    def pieces(self, first: int, last: int) -> Iterator[Piece]:
        """All rows of the classes ``first:last``: at once where they lie, or block by block."""
        matrix = self.source.matrix if self.check_in_place() else None
        if matrix is not None:
            yield Piece(0, matrix, first, *self.labels.rows(0, len(matrix)))
            return
        steps = [step.columns(first, last) for step in self.steps]
        height = max(1, PIECE_CELLS // (last - first))
        for start in range(0, self.shape[0], height):
            stop = min(start + height, self.shape[0])
            scores = stepped(steps, self.source.read(start, stop, slice(first, last)), start)
            scores.flags.writeable = False
            yield Piece(start, scores, 0, *self.labels.rows(start, stop))

    def strips(self) -> Iterator[ClassStrip]:
        """All classes, in strips of many, each read by blocks of rows and transposed in memory."""
        n_rows, n_classes = self.shape
        width = min(n_classes, max(_FEWEST_CLASSES, STRIP_CELLS // max(1, n_rows)))
        for start in range(0, n_classes, width):
            stop = min(start + width, n_classes)
            steps = [step.columns(start, stop) for step in self.steps]
            scores = np.empty((stop - start, n_rows), dtype=np.float32)
            self._fill_strip(scores, slice(start, stop), steps)
            indptr, rows = self.labels.by_class
            part = indptr[start : stop + 1]
            yield ClassStrip(start, scores, part - part[0], rows[part[0] : part[-1]])
        self.source.warn_of_probabilities()

    def _fill_strip(
        self, scores: Float32, columns: slice, steps: Sequence[ElementwiseOp | KnownTerms]
    ) -> None:
        """Read all rows of some classes and lay them down transposed, block by block."""
        height = max(1, TRANSPOSED_CELLS // len(scores))
        starts = range(0, self.shape[0], height)

        def fill(first: int, last: int) -> None:
            for row in starts[first:last]:
                end = min(row + height, self.shape[0])
                scores[:, row:end] = stepped(steps, self.source.read(row, end, columns), row).T

        if self.source.sequential:
            fill(0, len(starts))
        else:
            threads.over_ranges(fill, len(starts))


def unlabelled(source: LogitSource) -> LabelledLogits:
    """Rows whose labels nobody knows, as rows without labels: only their scores say something."""
    n_rows, n_classes = source.shape
    none = Labels(np.zeros(n_rows + 1, np.int64), np.empty(0, np.int32), n_classes)
    return LabelledLogits(source, none)


def labelled_logits(
    logits: Any,
    labels: Any,
    *,
    class_names: Any = None,
    nan: NanPolicy = "raise",
    logits_key: str | None = None,
    labels_key: str | None = None,
    probabilities: bool = False,
) -> LabelledLogits:
    """Logits and labels of any container, checked to belong together.

    Parameters are those of `as_logits` and `as_labels`.

    Raises
    ------
    ValueError
        If the shapes disagree or there are no rows.
    """
    if class_names is None and hasattr(labels, "columns") and not hasattr(logits, "columns"):
        named = isinstance(logits, LogitSource) and logits.class_names is not None
        class_names = None if named else [str(name) for name in labels.columns]
    source = as_logits(
        logits, class_names=class_names, nan=nan, key=logits_key, probabilities=probabilities
    )
    n_rows, n_classes = source.shape
    truth = as_labels(labels, n_classes, class_names=source.class_names, key=labels_key)
    if truth.shape[0] != n_rows:
        raise ValueError(
            f"logits and labels must have as many rows, got {n_rows} rows of logits and "
            f"{truth.shape[0]} of labels"
        )
    if n_rows == 0:
        raise ValueError(f"there must be at least one row, got logits of shape {source.shape}")
    return LabelledLogits(source, truth)
