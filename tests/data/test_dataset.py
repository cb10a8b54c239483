"""Logits and labels together: by rows, by classes, in parts."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from calibrate.data import as_logits, labelled_logits
from calibrate.ops import Affine, Chain, RowAffine
from calibrate.statistics import ScoreHistogram


def example(n_rows: int = 11, n_classes: int = 5):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n_rows, n_classes)).astype(np.float32)
    return logits, rng.random(logits.shape) < 0.4


@pytest.mark.parametrize("cells", [1, 7, 20, 1 << 20])
def test_blocks_hold_all_rows_and_their_labels(cells, monkeypatch):
    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", cells)
    logits, labels = example()

    blocks = list(labelled_logits(logits, labels).blocks())

    assert np.array_equal(np.concatenate([block.scores for block in blocks]), logits)
    for block in blocks:
        for i in range(len(block.scores)):
            found = block.indices[block.indptr[i] : block.indptr[i + 1]]
            assert np.array_equal(found, np.flatnonzero(labels[block.start + i]))


@pytest.mark.parametrize("width", [1, 2, 5, 64])
def test_strips_hold_all_classes_and_their_positive_rows(width, monkeypatch):
    monkeypatch.setattr("calibrate.data.dataset.STRIP_CELLS", 1)
    monkeypatch.setattr("calibrate.data.dataset._FEWEST_CLASSES", width)
    logits, labels = example()
    step = Affine(np.array([1, 2, 4, 8, 16.0], np.float32), np.arange(5, dtype=np.float32))

    strips = list(labelled_logits(logits, labels).after(step).strips())

    scores = np.concatenate([strip.scores for strip in strips])
    assert np.array_equal(scores, step.apply(logits).T)
    for strip in strips:
        assert strip.scores.flags.c_contiguous
        for c in range(len(strip.scores)):
            found = strip.rows[strip.indptr[c] : strip.indptr[c + 1]]
            assert np.array_equal(found, np.flatnonzero(labels[:, strip.start + c]))


class RowBlocks:
    """A memmap stand-in that notes how much each read asks for."""

    def __init__(self, rows):
        self.rows, self.shape, self.heights = rows, rows.shape, []

    def __getitem__(self, part):
        self.heights.append(part.stop - part.start)
        return self.rows[part]


def test_classes_are_never_read_one_column_at_a_time():
    logits, labels = example(400, 200)
    store = RowBlocks(logits)

    strips = list(labelled_logits(store, labels).strips())

    assert min(len(strip.scores) for strip in strips) >= 64
    assert len(store.heights) <= 4


@pytest.mark.parametrize("cells", [3, 1 << 20])
def test_taken_rows_read_as_those_rows(cells, monkeypatch):
    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", cells)
    logits, labels = example()
    rows = np.array([0, 3, 4, 10])

    taken = labelled_logits(logits, labels).take(rows)

    assert taken.shape == (4, 5)
    scores = np.concatenate([block.scores for block in taken.blocks()])
    assert np.array_equal(scores, logits[rows])
    assert taken.labels.n_labels == labels[rows].sum()


def test_strips_of_taken_rows_read_no_other_classes(monkeypatch):
    monkeypatch.setattr("calibrate.data.dataset.STRIP_CELLS", 1)
    monkeypatch.setattr("calibrate.data.dataset._FEWEST_CLASSES", 2)
    logits, labels = example()
    rows = np.array([1, 2, 7])
    taken = labelled_logits(logits, labels).take(rows)
    cells = []
    taken.source.watch(cells.append)

    scores = np.concatenate([strip.scores for strip in taken.strips()])

    assert np.array_equal(scores, logits[rows].T)
    assert sum(cells) == 7 * 5


@pytest.mark.parametrize("columns", [slice(None), slice(1, 4)])
def test_rows_taken_from_a_checked_matrix_are_gathered_alone(columns):
    logits, labels = example()
    rows = labelled_logits(logits.astype(np.float32), labels)
    chosen = np.array([1, 2, 7])
    assert rows.check_in_place()
    taken, cells = rows.take(chosen), []
    taken.source.watch(cells.append)

    scores = taken.source.read(1, 3, columns)

    assert np.array_equal(scores, logits[chosen[1:]][:, columns])
    assert scores.flags.c_contiguous
    assert scores.flags.writeable
    assert cells == [scores.size]
    assert not np.shares_memory(scores, logits)


def test_a_few_columns_of_taken_rows_are_gathered_without_those_of_all_rows():
    logits = np.zeros((4000, 64), dtype=np.float32)
    rows = labelled_logits(logits, np.eye(4000, 64, dtype=bool))
    assert rows.check_in_place()
    taken = rows.take(np.arange(0, 4000, 2))

    tracemalloc.start()
    taken.source.read(0, 10, slice(0, 32))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < logits.nbytes / 20


def test_no_taken_rows_are_no_rows():
    logits, labels = example()

    taken = labelled_logits(logits, labels).take(np.array([], dtype=np.int64))

    assert taken.source.read(0, 0).shape == (0, 5)
    assert list(taken.blocks()) == []


@pytest.mark.parametrize("rows", [[3, 1], [2, 2], [-1, 4], [5, 11]])
def test_rows_that_are_not_increasing_are_not_taken(rows):
    with pytest.raises(ValueError, match="increasing numbers from 0 to 10"):
        labelled_logits(*example()).take(np.array(rows))


def test_rows_that_disagree_are_refused():
    logits, labels = example()

    with pytest.raises(ValueError, match="got 11 rows of logits and 10 of labels"):
        labelled_logits(logits, labels[:10])


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match=r"at least one row, got logits of shape \(0, 5\)"):
        labelled_logits(np.empty((0, 5)), np.empty((0, 5)))


def test_names_of_label_columns_name_the_classes():
    logits, labels = example()

    rows = labelled_logits(logits, pd.DataFrame(labels, columns=list("abcde")))

    assert rows.class_names == tuple("abcde")


def test_names_of_label_columns_name_a_source_that_has_none():
    logits, labels = example()

    rows = labelled_logits(as_logits(logits), pd.DataFrame(labels, columns=list("abcde")))

    assert rows.class_names == tuple("abcde")


class FrontToBack(RowBlocks):
    """A stand-in for a compressed file: going backwards costs everything again."""

    sequential = True

    def __init__(self, rows):
        super().__init__(rows)
        self.starts = []

    def __getitem__(self, part):
        self.starts.append(part.start)
        return super().__getitem__(part)


@pytest.mark.parametrize("wrapped", [lambda store: store, lambda store: [store]])
def test_a_source_that_is_quick_only_in_order_is_read_in_order(wrapped, monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "4")
    monkeypatch.setattr("calibrate.data.dataset.TRANSPOSED_CELLS", 200)
    logits, labels = example(400, 20)
    store = FrontToBack(logits)
    rows = labelled_logits(wrapped(store), labels)
    store.starts.clear()

    (strip,) = rows.strips()

    assert np.array_equal(strip.scores, logits.T)
    assert store.starts == sorted(store.starts)
    assert len(store.starts) > 10


def test_a_compressed_file_and_shards_of_it_are_read_in_order(tmp_path):
    logits, labels = example()
    np.savez_compressed(tmp_path / "part1.npz", logits=logits)
    np.savez_compressed(tmp_path / "part2.npz", logits=logits)
    np.save(tmp_path / "logits.npy", logits)

    assert as_logits(tmp_path / "part1.npz").sequential
    assert as_logits(str(tmp_path / "part*.npz")).sequential
    assert not as_logits(tmp_path / "logits.npy").sequential
    assert labelled_logits(tmp_path / "part1.npz", labels).take(np.array([1, 3])).source.sequential


# steps that look along the row


def with_row_step(n_rows=50, n_classes=9):
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(n_rows, n_classes)).astype(np.float32)
    labels = rng.random(logits.shape) < 0.3
    steps = (
        Affine(np.linspace(0.5, 2, n_classes), 0.25),
        RowAffine(np.linspace(1, 2, n_classes), 0.0, by_count=-0.75, by_largest=0.5),
        Affine(1.5, np.linspace(-1, 1, n_classes)),
    )
    rows, expected = labelled_logits(logits, labels), logits
    for step in steps:
        expected = step.apply(expected)
    return rows.after(Chain(steps)), expected


def test_every_way_over_the_rows_sees_the_terms_of_whole_rows(monkeypatch):
    monkeypatch.setattr("calibrate.data.logits.BLOCK_CELLS", 70)
    monkeypatch.setattr("calibrate.data.logits.LOOK_CELLS", 30)
    monkeypatch.setattr("calibrate.data.dataset.STRIP_CELLS", 1)
    monkeypatch.setattr("calibrate.data.dataset._FEWEST_CLASSES", 4)
    monkeypatch.setattr("calibrate.data.dataset.PIECE_CELLS", 20)

    rows, expected = with_row_step()

    by_blocks = np.concatenate([block.scores for block in rows.blocks()])
    on_threads = np.concatenate(list(rows.each_block(lambda block: block.scores)))
    in_passes = np.concatenate([block.scores.copy() for block in rows.passes()])
    in_pieces = np.concatenate([piece.scores for piece in rows.pieces(2, 6)])
    in_strips = np.concatenate([strip.scores for strip in rows.strips()])
    for found in (by_blocks, on_threads, in_passes, in_strips.T):
        assert np.array_equal(found, expected)
    assert np.array_equal(in_pieces, expected[:, 2:6])


def test_rows_taken_keep_their_terms():
    rows, expected = with_row_step()
    chosen = np.array([0, 7, 8, 31, 49])

    taken = rows.take(chosen)

    found = np.concatenate([block.scores for block in taken.blocks()])
    assert np.array_equal(found, expected[chosen])
    histogram, whole = ScoreHistogram.of(taken), ScoreHistogram.of(rows)
    assert (histogram.n_rows, whole.n_rows) == (5, 50)
