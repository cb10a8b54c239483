"""Ctrl-C in the middle of real work: it ends at once, says so in one line, and leaves nothing."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import sparse

import calibrate as cal
from calibrate.cli import main, options

pty = pytest.importorskip("pty", reason="the platform has no terminals to press Ctrl-C on")
termios = pytest.importorskip("termios")

PATIENCE = 10
"""Seconds until an interrupted command must have ended, on a machine that is busy."""

SHARDS, ROWS, CLASSES = 800, 1000, 5000


@pytest.fixture(scope="module")
def endless(tmp_path_factory) -> Path:
    """A folder with 16 GB of logits, all links to one file: no machine is through in a second."""
    folder = tmp_path_factory.mktemp("endless")
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, ROWS)
    logits = rng.normal(-3, 1, (ROWS, CLASSES)).astype(np.float32)
    logits[np.arange(ROWS), label] += 3
    np.save(folder / "shard.npy", logits)
    (folder / "shards").mkdir()
    for number in range(SHARDS):
        (folder / "shards" / f"{number}.npy").symlink_to(folder / "shard.npy")
    n_labels = ROWS * SHARDS
    labels = sparse.csr_array(
        (np.ones(n_labels, np.bool_), np.tile(label, SHARDS), np.arange(n_labels + 1)),
        shape=(n_labels, CLASSES),
    )
    sparse.save_npz(folder / "labels.npz", labels)
    sparse.save_npz(folder / "shard_labels.npz", labels[:ROWS])
    pipeline = cal.Pipeline([cal.PosWeightCorrection(2.0)], cal.ExpectedCountTopK())
    pipeline.fit(logits, labels[:ROWS]).save(folder / "rule.safetensors")
    return folder


class OnTerminal:
    """A command whose stderr is a terminal, so that it shows a progress bar."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._terminal, stderr = pty.openpty()
        termios.tcsetwinsize(stderr, (24, 80))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "calibrate", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
        )
        os.close(stderr)
        self.shown = ""

    def read_until(self, pattern: str) -> None:
        """Read what is shown until it has the pattern."""
        while not re.search(pattern, self.shown):
            part = self._read()
            assert part, f"it ended too early: {self.shown!r}"
            self.shown += part

    def read_until_the_end(self) -> None:
        """Read what is shown until the command has ended."""
        while part := self._read():
            self.shown += part

    def _read(self) -> str:
        ready, _, _ = select.select([self._terminal], [], [], 60)
        assert ready, f"nothing more came after {self.shown!r}"
        try:
            return os.read(self._terminal, 4096).decode(errors="replace")
        except OSError:  # Linux's way to say that nobody holds the other end any more
            return ""

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        os.close(self._terminal)


COMMANDS = {
    "fit": ["fit", "shards/*.npy", "labels.npz", "-o", "kept.safetensors", "--force"],
    "apply to lines": ["apply", "rule.safetensors", "shards/*.npy", "-o", "kept.jsonl", "--force"],
    "apply to a matrix": ["apply", "rule.safetensors", "shards/*.npy", "-o", "new.npz"],
    "compare": ["compare", "shards/*.npy", "labels.npz"],
}
ENDS = {signal.SIGINT: (130, "interrupted\r\n"), signal.SIGTERM: (143, "")}
"""Exit code and last words."""


@pytest.mark.parametrize(
    ("command", "kill"),
    [*((command, signal.SIGINT) for command in COMMANDS), ("apply to lines", signal.SIGTERM)],
)
def test_a_command_that_is_interrupted_says_so_in_one_line_and_leaves_nothing(
    endless, command, kill
):
    code, said = ENDS[kill]
    for name in ("kept.safetensors", "kept.jsonl"):
        (endless / name).write_text("precious")
    before = sorted(path.name for path in endless.iterdir())

    with OnTerminal(endless, *COMMANDS[command]) as running:
        # the bar comes after a second of reading, and is drawn ten times a second
        running.read_until(r"logits/s.*logits/s")
        time.sleep(0.03)
        meanwhile = {path.name for path in endless.iterdir()} - set(before)
        running.process.send_signal(kill)
        start = time.monotonic()
        running.read_until_the_end()
        output, _ = running.process.communicate(timeout=PATIENCE)
        took = time.monotonic() - start

    assert running.process.returncode == code
    assert took < PATIENCE
    assert output == b""
    *bars, wiped, last = running.shown.split("\r", running.shown.count("\r") - said.count("\r"))
    assert all("logits/s" in bar for bar in bars if bar)
    assert wiped.isspace()
    assert last == said
    assert bool(meanwhile) == command.startswith("apply"), "the file that is being written"
    assert sorted(path.name for path in endless.iterdir()) == before
    assert (endless / "kept.safetensors").read_text() == "precious"
    assert (endless / "kept.jsonl").read_text() == "precious"


SCRIPT = """
import warnings
import calibrate as cal
warnings.simplefilter("ignore")
pipeline = cal.Pipeline({pipeline})
rows = cal.labelled_logits("shard.npy", "shard_labels.npz")
rows.source.watch(lambda cells: print("reading", flush=True))
while True:
    pipeline.fit(rows.source, rows.labels)
    print("fitted", flush=True)
"""

PIPELINES = {
    "by rows": "[cal.PlattScaling()], cal.ExpectedCountTopK()",
    "by classes": "[], cal.PerClassThreshold(lambda tp, fp, fn, tn: tp - 0.5 * fp)",
}


@pytest.mark.parametrize(("walk", "n_threads"), [("by rows", "1"), ("by classes", "3")])
def test_a_script_that_is_interrupted_in_a_fit_ends_by_keyboard_interrupt(endless, walk, n_threads):
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(pipeline=PIPELINES[walk])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=endless,
        env=dict(os.environ, CALIBRATE_NUM_THREADS=n_threads),
    )
    try:
        while script.stdout.readline() != b"fitted\n":
            assert script.poll() is None
        script.stdout.readline()  # the next fit has read its first rows
        script.send_signal(signal.SIGINT)
        start = time.monotonic()
        _, stderr = script.communicate(timeout=PATIENCE)
        took = time.monotonic() - start
    finally:
        script.kill()
        script.communicate()

    assert took < PATIENCE
    assert stderr.startswith(b"Traceback")
    assert stderr.endswith(b"\nKeyboardInterrupt\n")
    assert stderr.count(b"Traceback") == 1
    assert script.returncode == -signal.SIGINT


class Careless:
    """Its end swallows whatever is raised, as a callback of LLVM's does."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


@pytest.mark.parametrize("then", ["goes on", "fails"])
def test_an_interrupt_that_falls_into_a_callback_is_not_lost(then, tmp_path, monkeypatch):
    def read_rows(*_: object, **__: object) -> None:
        Careless()
        if then == "fails":
            raise RuntimeError("no compiled object yet")
        time.sleep(PATIENCE)

    monkeypatch.setattr(options, "read_rows", read_rows)
    start = time.monotonic()

    result = CliRunner().invoke(main, ["fit", "logits", "labels", "-o", str(tmp_path / "rule")])

    assert time.monotonic() - start < PATIENCE
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"
    assert list(tmp_path.iterdir()) == []
