"""The benchmark itself at a tiny size: what it writes, and that it notices what it must notice."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import speed
from suite import case, fresh
from suite.jobs import JOBS, digest
from suite.memory import MemoryMeter
from suite.peers import Peer, measure
from suite.peers.batch import Columns
from suite.peers.verdict import same_decisions
from suite.record import Spread

from calibrate.metrics import f_beta

SMALL = ["--rows", "300", "--classes", "12", "--rounds", "2", "--no-peers"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    case.make(folder, case.TINY_ROWS, case.TINY_CLASSES)
    return folder


def test_a_small_run_writes_all_that_it_measured(tmp_path: Path, capsys):
    folder, output = tmp_path / "case", tmp_path / "output"
    without = ["--no-memory", "--no-limited", "--scaling"]
    to = ["--folder", str(folder), "--output", str(output)]

    status = speed.main([*SMALL, *without, *to])

    record = json.loads((output / "speed.json").read_text())
    assert status == 0
    assert (output / "speed.md").read_text() == capsys.readouterr().out
    assert (record["settings"]["rows"], record["settings"]["classes"]) == (300, 12)
    assert record["machine"]["threads"] >= 1
    assert record["machine"]["packages"]["numpy"] == np.__version__
    assert [job["name"] for job in record["jobs"]] == [job.name for job in JOBS]
    for job, made in zip(record["jobs"], JOBS, strict=True):
        reads = job["stream_reads"]
        assert 0 < reads["low_quartile"] <= reads["median"] <= reads["high_quartile"]
        target, most = job["stream_reads_target"], made.most_reads
        assert target == (most and {"wanted": most, "met": reads["median"] <= most})
        assert job["memmap_over_ram"]["median"] > 0
    assert len(record["scaling"]) == 5
    assert set(record["scaling"][-1]["time_per_cell"].values()) == {1.0}
    assert record["failures"] == []


def test_fresh_processes_measure_memory_and_keep_to_the_limit(tmp_path: Path):
    to = ["--jobs", "row_sums", "--output", str(tmp_path)]

    status = speed.main([*SMALL, *to])

    (job,) = json.loads((tmp_path / "speed.json").read_text())["jobs"]
    assert status == 0
    assert job["extra_memory"] >= 0
    assert job["limited"] == {
        "limit_bytes": 1 << 30, "completed": True, "same_result": True, "error": ""
    }  # fmt: skip


def test_another_result_or_a_broken_job_fails_the_run(tmp_path: Path, monkeypatch, capsys):
    def unsteady(job: str, folder: Path, tiny: Path, limit: int | None = None) -> fresh.FreshRun:
        if limit is not None:
            raise fresh.FreshRunError("MemoryError")
        return fresh.FreshRun("other bits", 0.0, 0)

    monkeypatch.setattr(speed, "in_fresh_process", unsteady)

    status = speed.main([*SMALL, "--jobs", "row_sums", "--output", str(tmp_path)])

    record = json.loads((tmp_path / "speed.json").read_text())
    assert status == 1
    assert record["failures"] == [
        "row_sums: another result in a fresh process",
        "row_sums: with limited memory: MemoryError",
    ]
    assert record["jobs"][0]["limited"]["completed"] is False
    assert "FAILED" in capsys.readouterr().out


def test_the_limit_bites(tiny: Path):
    with pytest.raises(fresh.FreshRunError):
        fresh.in_fresh_process("f1", tiny, tiny, limit=1 << 20)


def test_the_digest_sees_every_bit_type_and_shape():
    result = {"threshold": np.zeros(4, np.float32)}
    others = [np.zeros((2, 2), np.float32), np.zeros(4, np.int32), -np.zeros(4, np.float32)]

    digests = {digest(result), *(digest({"threshold": other}) for other in others)}

    assert digest({"threshold": np.zeros(4, np.float32)}) == digest(result)
    assert digest({"threshold": np.float32(0).reshape(())})
    assert len(digests) == 4


def test_the_meter_sees_what_is_taken_and_given_back():
    with MemoryMeter(os.getpid()) as meter:
        taken = np.ones(25_000_000)
        size = taken.nbytes
        del taken

    assert meter.extra == pytest.approx(size, rel=0.1)


def _thresholds_of_zero(batch: Columns) -> np.ndarray:
    return np.zeros(len(batch.scores))


def _judge(batch: Columns, made: np.ndarray, ours: dict[str, np.ndarray]):
    here = slice(batch.first, batch.last)
    theirs, mine = (batch.scores >= t[:, None] for t in (made, ours["threshold"][here]))
    return same_decisions("F1", batch.unit, f_beta(1), batch.truth, theirs, mine)


def test_a_peer_is_measured_on_all_classes_and_judged(tiny: Path):
    here = case.Case.open(tiny, in_ram=True)
    (f1,) = (job for job in JOBS if job.name == "f1")
    peer = Peer("zero", Columns, _thresholds_of_zero, {"f1": _judge})
    ours = {"f1": f1.run(here)}

    (record,) = measure(peer, here, here, 9.0, ["f1"], ours, {"f1": Spread(1.0, 1.0, 1.0)})

    assert (record.measured, record.of) == (12, 12)
    assert record.times_ours == record.stream_reads > 0
    assert record.wrong
    assert "lower in" in record.verdict
    assert measure(peer, here, here, 9.0, ["platt"], ours, {}) == []


def test_a_peer_that_cannot_be_had_is_reported_and_no_failure(tiny: Path):
    def run(batch: Columns) -> None:
        raise ModuleNotFoundError("No module named 'peer'")

    here = case.Case.open(tiny, in_ram=True)
    peer = replace(Peer("zero", Columns, _thresholds_of_zero, {"f1": _judge}), run=run)

    (record,) = measure(peer, here, here, 1.0, ["f1"], {}, {})

    assert record.not_measured == "ModuleNotFoundError: No module named 'peer'"
    assert record.stream_reads is None
