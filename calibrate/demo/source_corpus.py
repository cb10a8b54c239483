"""A real multilabel data set that every installation has: which modules a Python file imports.

The labels of a file are the modules it imports, its features are the identifiers it uses
elsewhere. Import statements, comments and strings are taken out before the identifiers are
counted, so that a label is never spelled out in its own row.
"""

from __future__ import annotations

import ast
import keyword
import re
import sysconfig
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

PACKAGES = ("numpy", "scipy", "sklearn", "torch", "sympy", "numba", "networkx", "joblib")
_STDLIB_SKIPPED = {"site-packages", "dist-packages", "test", "ensurepip", "idlelib", "lib2to3"}
_MAX_BYTES = 100_000  # longer files are mostly generated tables: much to read, little to learn
_FILES_PER_REPORT = 50

# Strings of all four quotings (prefix included) and comments, in one scan from left to right:
# only so is a '#' in a string or a quote in a comment taken for what it is.
_TEXT = re.compile(
    r"""
    \#[^\n]*
    | \b[rRbBuUfF]{1,2}(?=["']) | (?:
        \"{3} [^"\\]* (?: (?: \\. | "(?!"") ) [^"\\]* )* \"{3}
      | '{3}  [^'\\]* (?: (?: \\. | '(?!'') ) [^'\\]* )* '{3}
      | "  [^"\\\n]* (?: \\. [^"\\\n]* )* "
      | '  [^'\\\n]* (?: \\. [^'\\\n]* )* '
    )
    """,
    re.VERBOSE | re.DOTALL,
)
# `import` is a keyword: outside strings and comments it stands in import statements alone.
_IMPORT = re.compile(r"(?:\bfrom\b[ \t]*[.\w \t]*?)?\bimport\b(?:[ \t]*\([^)]*\)|[^\n;]*)")
_IDENTIFIER = re.compile(r"\b[^\W\d]\w*")


@dataclass(frozen=True)
class SourceFile:
    """One Python file and its dotted name; a package's own file is ``"a.b.__init__"``."""

    path: Path
    module: str


@dataclass(frozen=True, eq=False)
class SourceCorpus:
    """Files as features and labels; row i of both is the same file.

    Attributes
    ----------
    features : scipy.sparse.csr_array, float32, (n_files, n_tokens)
        TF-IDF weights, ``(1 + log count) * log(n_files / n_files_with_token)``, each row scaled
        to unit length.
    labels : scipy.sparse.csr_array, bool, (n_files, n_classes)
        Canonical. A row without any label is a file whose imports are all too rare.
    class_names : tuple of str, (n_classes,)
        The imported modules, sorted.
    """

    features: csr_array[np.float32]
    labels: csr_array[np.bool_]
    class_names: tuple[str, ...]


def read_corpus(
    *,
    max_files: int = 6_000,
    min_files: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> SourceCorpus:
    """Read the standard library and a fixed list of packages of the running environment.

    Parameters
    ----------
    max_files : int
        At most so many files, chosen by a hash of their module names: the choice is the same
        everywhere and does not favour a package.
    min_files : int
        A module is a class if at least so many of the files import it.
    progress : callable, optional
        Called now and then with the number of files read and the number of all files.

    Returns
    -------
    SourceCorpus

    Raises
    ------
    ValueError
        If ``max_files`` or ``min_files`` is not positive, or no module has enough files.
    """
    if max_files < 1:
        raise ValueError(f"max_files must be at least 1, got {max_files}")
    files = sorted(_list_files(), key=lambda file: (zlib.crc32(file.module.encode()), file.module))
    return read_files(files[:max_files], min_files=min_files, progress=progress)


def read_files(
    files: Sequence[SourceFile],
    *,
    min_files: int,
    min_token_files: int = 3,
    max_tokens: int = 20_000,
    progress: Callable[[int, int], None] | None = None,
) -> SourceCorpus:
    """Read the given files, rows in their order; a file without identifiers is left out.

    So is one that cannot be read. An identifier is a feature if at least ``min_token_files``
    files use it and it is among the ``max_tokens`` that most files use. All else is as in
    :func:`read_corpus`.
    """
    if min_files < 1:
        raise ValueError(f"min_files must be at least 1, got {min_files}")
    tokens, modules = _Table(), _Table()
    for done, file in enumerate(files, start=1):
        try:
            text = file.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            text = ""
        imported, counts = read_source(text, file.module)
        if counts:
            tokens.add_row(counts)
            modules.add_row(dict.fromkeys(imported, 1))
        if progress is not None and (done % _FILES_PER_REPORT == 0 or done == len(files)):
            progress(done, len(files))
    labels, class_names = modules.columns_in(min_files)
    if not class_names:
        raise ValueError(
            f"some module must be imported by at least min_files={min_files} files, "
            f"got none in the {len(files)} files given"
        )
    features, _ = tokens.columns_in(min_token_files, at_most=max_tokens)
    return SourceCorpus(_tf_idf(features), labels.astype(np.bool_), class_names)


def read_source(text: str, module: str) -> tuple[set[str], Counter[str]]:
    r"""Take one file apart; ``module`` is its dotted name, where relative imports start.

    Returns
    -------
    imported : set of str
        Absolute names of the modules imported anywhere in the file.
    counts : Counter of str
        The identifiers outside import statements, comments and strings, without keywords.

    Examples
    --------
    >>> read_source("from . import shapes\narea = shapes.area(2)", "draw.canvas")
    ({'draw'}, Counter({'area': 2, 'shapes': 1}))
    """
    code = _TEXT.sub(" ", text).replace("\\\n", " ")
    imported: set[str] = set()
    # The statements alone are parsed: the whole file would take ten times as long.
    for statement in _IMPORT.findall(code):
        imported.update(_modules(statement, module))
    counts = Counter(_IDENTIFIER.findall(_IMPORT.sub(" ", code)))
    for word in keyword.kwlist:
        counts.pop(word, None)
    return imported, counts


def _modules(statement: str, module: str) -> Iterator[str]:
    """Absolute module names of one import statement that stands in ``module``."""
    try:
        (node,) = ast.parse(statement).body
    except (SyntaxError, ValueError):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = module.split(".")[: -node.level] if node.level else []
        if package or not node.level:  # else it points above the top package
            yield ".".join([*package, node.module] if node.module else package)


def _list_files() -> Iterator[SourceFile]:
    library = Path(sysconfig.get_path("stdlib"))
    for file in _files_under(library, library):
        if file.module.split(".")[0] not in _STDLIB_SKIPPED:
            yield file
    for package in PACKAGES:
        spec = find_spec(package)  # of a top-level package: finds it without importing it
        for folder in (spec.submodule_search_locations or []) if spec is not None else []:
            yield from _files_under(Path(folder), Path(folder).parent)


def _files_under(folder: Path, root: Path) -> Iterator[SourceFile]:
    for path in sorted(folder.rglob("*.py")):
        if path.is_file() and path.stat().st_size <= _MAX_BYTES:
            yield SourceFile(path, ".".join(path.relative_to(root).with_suffix("").parts))


class _Table:
    """A growing count matrix with named columns, row by row."""

    def __init__(self) -> None:
        self._column: dict[str, int] = {}
        self._indptr, self._indices, self._counts = array("q", [0]), array("i"), array("f")

    def add_row(self, counts: dict[str, int]) -> None:
        column = self._column
        self._indices.extend([column.setdefault(name, len(column)) for name in counts])
        self._counts.extend(counts.values())
        self._indptr.append(len(self._indices))

    def columns_in(
        self, min_rows: int, at_most: int | None = None
    ) -> tuple[csr_array[np.float32], tuple[str, ...]]:
        """Keep the columns found in ``min_rows`` rows, the ``at_most`` most frequent, sorted."""
        from scipy.sparse import csr_array

        rows_in = np.bincount(self._indices, minlength=len(self._column))
        names = [name for name in self._column if rows_in[self._column[name]] >= min_rows]
        names.sort(key=lambda name: (-rows_in[self._column[name]], name))
        kept = sorted(names[:at_most])
        everything = csr_array(
            (np.asarray(self._counts), np.asarray(self._indices), np.asarray(self._indptr)),
            shape=(len(self._indptr) - 1, len(self._column)),
        )
        table = csr_array(everything[:, [self._column[name] for name in kept]])
        table.sort_indices()
        return table, tuple(kept)


def _tf_idf(counts: csr_array[np.float32]) -> csr_array[np.float32]:
    from scipy.sparse import csr_array

    n_files, n_tokens = counts.shape
    files_with = np.bincount(counts.indices, minlength=n_tokens)
    idf = np.log(n_files / np.maximum(files_with, 1)).astype(np.float32)
    weights = (1 + np.log(counts.data)) * idf[counts.indices]
    rows = np.repeat(np.arange(n_files), np.diff(counts.indptr))
    length = np.sqrt(np.bincount(rows, weights=weights**2, minlength=n_files))
    weights /= np.maximum(length, np.finfo(np.float32).tiny)[rows]
    return csr_array((weights.astype(np.float32), counts.indices, counts.indptr), counts.shape)
