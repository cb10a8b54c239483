"""`.npz`: named arrays in a zip, mapped where stored plainly, streamed where compressed."""

from __future__ import annotations

import io
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from .csr import as_csr
from .keys import LABELS_KEYS, LOGITS_KEYS, choose_key, refuse_key
from .npy_format import ArrayHeader, check_size, map_matrix, read_header, refuse_pickle
from .source import Array, MatrixSource, check_matrix, pickled, row_range, sparse_scores

if TYPE_CHECKING:
    from .source import LabelFile

_LOCAL_HEADER = 30  # bytes before the name; the lengths of name and extra field are its last four
_CHUNK = 1 << 20
_DAMAGE = (  # what zipfile raises over bytes that are not as they were written
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


def open_matrix(path: Path, key: str | None = None) -> MatrixSource:
    """Open the logits of a `.npz` file.

    Parameters
    ----------
    path : Path
        The file, which is there.
    key : str, optional
        The array's name; without it a usual name, or the only matrix.

    Returns
    -------
    MatrixSource
        Views of the file where the array is stored plainly. A compressed array is inflated as it
        is read, from front to back; going back starts anew. A compressed array in Fortran order
        is kept in memory whole from the first slice on, because its rows lie scattered in it.

    Raises
    ------
    ValueError
        If the file is damaged, the key is not clear, or the array is no matrix of real numbers.
    """
    return _open(path, key, LOGITS_KEYS)


def open_labels(path: Path, key: str | None = None) -> LabelFile:
    """Open the labels of a `.npz` file: SciPy's sparse form, or a dense array.

    Parameters
    ----------
    path : Path
        The file, which is there.
    key : str, optional
        The array's name; without it a usual name, or the only matrix.

    Returns
    -------
    scipy.sparse.csr_array or MatrixSource
        As `open_matrix` where the labels are dense.

    Raises
    ------
    ValueError
        If the file is damaged, the key is not clear, or the array is no matrix of real numbers.
    """
    if _is_sparse(path):
        refuse_key(key, str(path))
        return _read_sparse(path)
    return _open(path, key, LABELS_KEYS)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} must be a whole .npz (zip) file, it is truncated or damaged: {error}"
    )


def _is_sparse(path: Path) -> bool:
    refuse_pickle(path)
    with _archive(path) as archive:
        names = set(archive.namelist())
        if not names >= {"format.npy", "shape.npy", "data.npy"}:
            return False
        header = _header(archive, "format", path)
        return header.shape == () and header.dtype.kind in "SU"


def _read_sparse(path: Path) -> LabelFile:
    from scipy import sparse

    with _archive(path) as archive:
        for name in _members(archive):
            where = f"{name!r} in {path}"
            header = _header(archive, name, path)
            if header.dtype.hasobject:
                raise pickled(where)
            check_size(header, archive.getinfo(f"{name}.npy").file_size, where)
        try:
            matrix = sparse.load_npz(path)
        except (ValueError, TypeError, KeyError, IndexError, OSError) as error:
            raise ValueError(f"{path} must be a whole sparse matrix: {error}") from None
    return as_csr(matrix, str(path))


def _open(path: Path, key: str | None, known: tuple[str, ...]) -> MatrixSource:
    if _is_sparse(path):
        raise sparse_scores(str(path))
    with _archive(path) as archive:
        name = choose_key(
            _members(archive),
            key,
            known,
            lambda member: _header(archive, member, path).shape,
            str(path),
        )
        where = f"{name!r} in {path}"
        header = _header(archive, name, path)
        check_matrix(header.shape, header.dtype, where)
        info = archive.getinfo(f"{name}.npy")
        check_size(header, info.file_size, where)
    if info.compress_type == zipfile.ZIP_STORED:
        return map_matrix(path, header, _payload(path, info) + header.size, where)
    return CompressedSource(path, name, header)


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _header(archive: zipfile.ZipFile, name: str, path: Path) -> ArrayHeader:
    with archive.open(f"{name}.npy") as file:
        return read_header(file, f"{name!r} in {path}")


def _payload(path: Path, info: zipfile.ZipInfo) -> int:
    # The extra field beside the data may differ in length from the one in the zip's directory.
    with path.open("rb") as file:
        file.seek(info.header_offset + _LOCAL_HEADER - 4)
        lengths = file.read(4)
    name_length = int.from_bytes(lengths[:2], "little")
    extra_length = int.from_bytes(lengths[2:], "little")
    return info.header_offset + _LOCAL_HEADER + name_length + extra_length


class CompressedSource:
    """A `MatrixSource` over a compressed member of a zip, inflated as its rows are asked for.

    Reading from front to back inflates everything once. The place in the stream is kept between
    slices; a slice before it starts from the front. Safe to share between threads, which take
    turns.

    Parameters
    ----------
    path : Path
        The zip.
    name : str
        The member, without `.npy`.
    header : ArrayHeader
        What it declares, checked to be a matrix that fills the member.
    """

    sequential = True

    def __init__(self, path: Path, name: str, header: ArrayHeader) -> None:
        self.shape: tuple[int, int] = (header.shape[0], header.shape[1])
        self._path = path
        self._name = name
        self._header = header
        self._stream: io.BufferedIOBase | None = None
        self._whole: Array | None = None
        self._lock = threading.Lock()

    def __getitem__(self, rows: slice) -> Array:
        """Rows, newly inflated."""
        start, stop = row_range(rows, self.shape[0])
        n_rows, n_classes = self.shape
        with self._lock:
            if not self._header.fortran:
                return self._read(start, stop).reshape(stop - start, n_classes)
            if self._whole is None:
                self._whole = self._read(0, n_rows).reshape(self.shape, order="F")
            return self._whole[start:stop]

    def _read(self, start: int, stop: int) -> Array:
        row_bytes = self.shape[1] * self._header.dtype.itemsize
        # Bytes first: a buffer of a foreign byte order cannot be read into.
        numbers = np.empty((stop - start) * row_bytes, np.uint8)
        if numbers.size == 0:  # no reason to inflate what lies before
            return numbers.view(self._header.dtype)
        try:
            stream = self._stream or self._reopened()
            stream.seek(self._header.size + start * row_bytes)
            for begin in range(0, numbers.size, _CHUNK):
                part = numbers.data[begin : begin + _CHUNK]
                if stream.readinto(part) != len(part):
                    raise EOFError(f"{self._name!r} ends early")
            if stop == self.shape[0]:
                stream.close()  # the zip's checksum was compared with the last byte
                self._stream = None
        except _DAMAGE as error:
            raise _damaged(self._path, error) from None
        return numbers.view(self._header.dtype)

    def _reopened(self) -> io.BufferedIOBase:
        with zipfile.ZipFile(self._path) as archive:
            # The member keeps the file open after the archive is closed.
            self._stream = cast(io.BufferedIOBase, archive.open(f"{self._name}.npy"))
        return self._stream
