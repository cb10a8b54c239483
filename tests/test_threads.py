import os
import threading
import time

import numpy as np
import pytest

import calibrate as cal
from calibrate import decision, threads
from calibrate.data import dataset, logits
from calibrate.statistics import histogram, sweep


@pytest.fixture
def simulated():
    rng = np.random.default_rng(0)
    labels = rng.random((700, 13)) < np.geomspace(0.01, 0.4, 13)
    return (rng.normal(size=labels.shape) + 1.5 * labels).astype(np.float32), labels


def test_the_number_of_threads_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "7")

    assert threads.n_threads() == 7


def test_without_a_word_there_are_as_many_threads_as_cores(monkeypatch):
    monkeypatch.delenv("CALIBRATE_NUM_THREADS", raising=False)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert threads.n_threads() == cores


@pytest.mark.parametrize("wanted", ["0", "-1", "two", "1.5", ""])
def test_a_number_of_threads_that_is_none_is_refused(wanted, monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", wanted)

    message = f"^CALIBRATE_NUM_THREADS must be a positive integer, got '{wanted}'$"
    with pytest.raises(ValueError, match=message):
        threads.n_threads()


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n_items", [0, 1, 2, 7, 100])
def test_the_ranges_cover_every_item_once_and_none_is_empty(n_threads, n_items, monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", str(n_threads))
    seen, ranges = [], []

    threads.over_ranges(lambda a, b: (ranges.append((a, b)), seen.extend(range(a, b))), n_items)

    assert sorted(seen) == list(range(n_items))
    assert len(ranges) >= min(n_threads, n_items)
    assert all(a < b for a, b in ranges) or n_items == 0


def test_the_ranges_are_worked_on_at_the_same_time(monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "2")
    meeting = threading.Barrier(2, timeout=20)
    met = []

    threads.over_ranges(lambda a, b: met.append(meeting.wait()), 2)

    assert sorted(met) == [0, 1]


def test_an_error_in_any_range_is_raised(monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "3")

    def work(start, stop):
        if stop == 9:
            raise RuntimeError("the last range failed")

    with pytest.raises(RuntimeError, match="the last range failed"):
        threads.over_ranges(work, 9)


@pytest.mark.parametrize("n_threads", ["1", "2", "5"])
def test_each_gives_the_results_in_the_order_of_the_items(n_threads, monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", n_threads)

    def slow_at_first(item):
        time.sleep(0.02 if item < 3 else 0)
        return item * item

    assert threads.each(slow_at_first, (n for n in range(20))) == [n * n for n in range(20)]
    assert threads.each(slow_at_first, []) == []


@pytest.mark.parametrize("n_threads", ["1", "3"])
def test_after_an_error_nothing_further_is_begun(n_threads, monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", n_threads)
    begun = []

    def work(item):
        begun.append(item)
        if item == 4:
            raise RuntimeError("the fifth failed")
        time.sleep(0.01)

    with pytest.raises(RuntimeError, match="the fifth failed"):
        threads.each(work, range(1000))
    assert len(begun) < 20


def test_an_error_of_the_items_themselves_is_raised(monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "2")

    def items():
        yield 1
        raise OSError("the file ended early")

    with pytest.raises(OSError, match="the file ended early"):
        threads.each(lambda item: item, items())


def test_within_the_work_there_are_no_further_threads(monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "2")

    def work(_):
        here = threading.get_ident()
        return all(thread == here for thread in threads.each(lambda _: threading.get_ident(), "ab"))

    assert threads.each(work, range(4)) == [True] * 4


def test_no_thread_is_left_behind(monkeypatch):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "4")
    before = threading.active_count()

    threads.over_ranges(lambda a, b: None, 100)

    assert threading.active_count() == before


@pytest.mark.parametrize(
    "pipeline",
    [
        cal.Pipeline([cal.PlattScaling()], cal.PerClassThreshold(cal.metrics.f_beta(1))),
        cal.Pipeline(
            [cal.PosWeightCorrection(3.0), cal.TemperatureScaling(True, True)],
            cal.SharedThreshold(cal.metrics.f_beta(1)),
        ),
        cal.Pipeline([cal.TemperatureScaling(bias=True)], cal.ExpectedCountTopK(min_k=1)),
        cal.Pipeline([], cal.PerClassThreshold(lambda tp, fp, fn, tn: tp - 0.3 * fp)),
    ],
    ids=lambda p: type(p.rule).__name__,
)
def test_a_fitted_pipeline_is_the_same_with_any_threads_blocks_and_strips(
    pipeline, simulated, monkeypatch
):
    monkeypatch.setenv("CALIBRATE_NUM_THREADS", "1")
    expected = pipeline.fit(*simulated).decision_
    labels = expected.predict(simulated[0]).toarray()

    for n_threads, cells in [("2", 100), ("5", 1300), ("16", 1 << 24)]:
        monkeypatch.setenv("CALIBRATE_NUM_THREADS", n_threads)
        monkeypatch.setattr(logits, "BLOCK_CELLS", cells)
        monkeypatch.setattr(dataset, "STRIP_CELLS", cells)
        monkeypatch.setattr(dataset, "_FEWEST_CLASSES", 2)
        monkeypatch.setattr(dataset, "TRANSPOSED_CELLS", 300)
        monkeypatch.setattr(dataset, "PIECE_CELLS", cells)
        monkeypatch.setattr(logits, "LOOK_CELLS", cells)
        monkeypatch.setattr(sweep, "GROUP_CLASSES", 3)
        monkeypatch.setattr(sweep, "COLLECTED_CELLS", cells)
        monkeypatch.setattr(histogram, "_GROUP_CLASSES", 2)
        monkeypatch.setattr(decision, "_MANY_CELLS", cells)
        found = pipeline.fit(*simulated).decision_
        for one, other in zip(
            (*expected.steps, expected.rule), (*found.steps, found.rule), strict=True
        ):
            assert one.numbers() == other.numbers()
            for name, values in one.arrays().items():
                np.testing.assert_array_equal(values, other.arrays()[name])
        assert (found.predict(simulated[0]).toarray() == labels).all()
