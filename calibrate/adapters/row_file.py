"""`RowFile`: rows written in any order, by many processes, into one ``.npy`` file."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class RowFile:
    """A float32 matrix on disk that fills up row by row and then appears under its name, whole.

    Each process opens its own. Rows go to their places by ordinary writes, so that processes on
    several machines may share a folder. Which rows have come is kept beside the file.

    Parameters
    ----------
    path : path
        Of the file that is to be, ``.npy``.
    n_rows : int
    """

    def __init__(self, path: str | os.PathLike[str], n_rows: int) -> None:
        self.path, self.n_rows = Path(path), n_rows
        self._rows_path = self.path.with_name(f".{self.path.name}.rows")
        self._come_path = self.path.with_name(f".{self.path.name}.come")
        self._rows: io.FileIO | None = None
        self._come: io.FileIO | None = None
        self._begin = self._n_classes = 0

    def discard(self) -> None:
        """Remove what an earlier, interrupted run has left; for one process, before the others."""
        self.close()
        for path in (self._rows_path, self._come_path):
            path.unlink(missing_ok=True)

    def write(self, places: Sequence[int], rows: NDArray[np.float32]) -> None:
        """Put rows at their places; a row that comes twice is written twice.

        Parameters
        ----------
        places : sequence of int, (n,)
        rows : float32, (n, n_classes)

        Raises
        ------
        ValueError
            If a place lies outside, there are not as many places as rows, or not as many classes
            as before.
        """
        at = np.asarray(places, dtype=np.int64)
        if rows.ndim != 2 or len(rows) != len(at):
            raise ValueError(f"logits must be one row for each of {len(at)} rows, got {rows.shape}")
        if len(at) == 0:
            return
        if at.min() < 0 or at.max() >= self.n_rows:
            raise ValueError(f"rows must be numbered from 0 to {self.n_rows - 1}, got {at.max()}")
        if self._rows is None or self._come is None:
            self._rows, self._come = self._open(rows.shape[1])
        if rows.shape[1] != self._n_classes:
            raise ValueError(f"logits must have {self._n_classes} classes, got {rows.shape[1]}")
        rows = np.ascontiguousarray(rows, dtype="<f4")
        # consecutive rows at once
        for run in np.split(np.arange(len(at)), np.flatnonzero(np.diff(at) != 1) + 1):
            part = rows[run[0] : run[-1] + 1]
            first = int(at[run[0]])
            _put(self._rows, self._begin + first * part.itemsize * self._n_classes, part.tobytes())
            _put(self._come, first, b"\1" * len(part))

    def _open(self, n_classes: int) -> tuple[io.FileIO, io.FileIO]:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header,
            {"descr": "<f4", "fortran_order": False, "shape": (self.n_rows, n_classes)},
        )
        self._begin, self._n_classes = len(header.getvalue()), n_classes
        # every process writes the same header, whoever comes first
        rows = _opened(self._rows_path, self._begin + 4 * self.n_rows * n_classes)
        _put(rows, 0, header.getvalue())
        return rows, _opened(self._come_path, self.n_rows)

    def close(self) -> None:
        """Nothing more comes from this process."""
        for file in (self._rows, self._come):
            if file is not None:
                os.fsync(file.fileno())
                file.close()
        self._rows = self._come = None

    def finish(self) -> None:
        """Give the file its name; for one process, once all have closed it.

        Raises
        ------
        ValueError
            If rows are missing; the first is named, and no file appears.
        """
        come = np.zeros(self.n_rows, dtype=np.uint8)
        if self._come_path.exists():
            come = np.fromfile(self._come_path, dtype=np.uint8)
        if not come.all():
            missing = np.flatnonzero(come == 0)
            self.discard()
            raise ValueError(
                f"logits of all {self.n_rows} rows must come, {len(missing)} did not, the first "
                f"of them that of row {missing[0]}: {self.path} is not written"
            )
        os.replace(self._rows_path, self.path)  # noqa: PTH105
        self._come_path.unlink()


def _opened(path: Path, size: int) -> io.FileIO:
    """The file, at least `size` bytes long, whether it is there or not."""
    file = io.FileIO(
        os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+"
    )
    if file.seek(0, os.SEEK_END) < size:
        file.truncate(size)
    return file


def _put(file: io.FileIO, place: int, data: bytes) -> None:
    file.seek(place)
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
