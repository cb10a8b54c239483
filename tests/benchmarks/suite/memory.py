"""How far the anonymous memory of a process rises."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_EVERY_SECONDS = 0.002


def anonymous_memory(pid: int) -> int:
    """Bytes of anonymous memory; file pages, those of a memmap, do not count."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not report RssAnon")


class MemoryMeter:
    """While it is open, the highest anonymous memory of a process, polled every few ms.

    Watch another process where you can: this one's polling thread waits for the interpreter
    lock, which the work that is measured may hold.

    Attributes
    ----------
    extra : int
        Bytes at the highest point above those at the start.
    """

    def __init__(self, pid: int) -> None:
        self.extra = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._start = anonymous_memory(self._pid)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            try:
                now = anonymous_memory(self._pid)
            except (OSError, RuntimeError):
                return  # the process is gone
            self.extra = max(self.extra, now - self._start)
            if self._done.wait(_EVERY_SECONDS):
                return
