"""Rows written in any order, by any number of writers, are one file in their order."""

from __future__ import annotations

import numpy as np
import pytest

from calibrate.adapters.row_file import RowFile

ROWS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_rows_in_any_order_become_the_matrix(tmp_path):
    file = RowFile(tmp_path / "logits.npy", 20)
    order = np.random.default_rng(1).permutation(20)

    for some in np.split(order, [3, 4, 11]):
        file.write(some.tolist(), ROWS[some])
    file.close()
    file.finish()

    found = np.load(tmp_path / "logits.npy", mmap_mode="r", allow_pickle=False)
    assert np.array_equal(found, ROWS)
    assert names(tmp_path) == ["logits.npy"]


def test_several_writers_fill_one_file(tmp_path):
    writers = [RowFile(tmp_path / "logits.npy", 20) for _ in range(3)]

    for start in range(20):
        writers[start % 3].write([start], ROWS[[start]])
    writers[0].write([5, 6], ROWS[5:7])  # rows that come twice
    for writer in writers:
        writer.close()
    writers[1].finish()

    assert np.array_equal(np.load(tmp_path / "logits.npy"), ROWS)


def test_nothing_has_the_name_before_all_rows_are_there(tmp_path):
    file = RowFile(tmp_path / "logits.npy", 20)

    file.write(range(19), ROWS[:19])
    file.close()

    assert not (tmp_path / "logits.npy").exists()
    text = "logits of all 20 rows must come, 1 did not, the first of them that of row 19"
    with pytest.raises(ValueError, match=text):
        file.finish()
    assert names(tmp_path) == []


def test_an_interrupted_run_leaves_nothing_in_the_next(tmp_path):
    interrupted = RowFile(tmp_path / "logits.npy", 20)
    interrupted.write(range(20), ROWS)
    interrupted.close()

    again = RowFile(tmp_path / "logits.npy", 20)
    again.discard()
    again.write(range(10), -ROWS[:10])
    again.close()

    with pytest.raises(ValueError, match="10 did not, the first of them that of row 10"):
        again.finish()


def test_no_row_at_all_is_a_missing_row(tmp_path):
    with pytest.raises(ValueError, match="20 did not, the first of them that of row 0"):
        RowFile(tmp_path / "logits.npy", 20).finish()


@pytest.mark.parametrize(
    ("places", "rows", "text"),
    [
        ([0], ROWS[:2], r"one row for each of 1 rows, got \(2, 3\)"),
        ([0], ROWS[0], r"one row for each of 1 rows, got \(3,\)"),
        ([-1], ROWS[:1], "numbered from 0 to 19"),
        ([20], ROWS[:1], "numbered from 0 to 19, got 20"),
        ([1], ROWS[:1, :2], "must have 3 classes, got 2"),
    ],
)
def test_rows_that_fit_nowhere_are_refused(tmp_path, places, rows, text):
    file = RowFile(tmp_path / "logits.npy", 20)
    file.write([0], ROWS[:1])

    with pytest.raises(ValueError, match=text):
        file.write(places, rows)
    file.discard()
