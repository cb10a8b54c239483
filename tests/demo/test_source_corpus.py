"""The corpus of Python files says what the files say."""

from __future__ import annotations

import ast
import hashlib
import inspect
from pathlib import Path

import numpy as np
import pytest

from calibrate.demo.source_corpus import (
    SourceCorpus,
    SourceFile,
    read_corpus,
    read_files,
    read_source,
)

TREE = {
    "zoo/__init__.py": "from .cage import lock\nfrom . import keeper\nopened = lock(keeper)\n",
    "zoo/cage.py": "import os.path as osp\nimport json, math\nsize = osp.join(math.pi, bars)\n",
    "zoo/keeper.py": "from ..zoo import cage\nfrom os import path\nbars = cage.bars\n",
    "zoo/birds/owl.py": "from ..cage import (\n    lock,  # the lock\n    size,\n)\nbars = size\n",
}


def files_of(folder: Path, tree: dict[str, str]) -> list[SourceFile]:
    files = []
    for name, text in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        files.append(SourceFile(path, name.removesuffix(".py").replace("/", ".")))
    return files


def labels_of(corpus: SourceCorpus, row: int) -> set[str]:
    return {corpus.class_names[c] for c in corpus.labels[[row]].indices}


def modules(text: str, module: str = "zoo.birds.owl") -> set[str]:
    return read_source(text, module)[0]


def test_each_file_is_labelled_with_the_absolute_names_of_what_it_imports(tmp_path):
    files = files_of(tmp_path, TREE)

    corpus = read_files(files, min_files=1, min_token_files=1)

    assert [labels_of(corpus, row) for row in range(4)] == [
        {"zoo.cage", "zoo"},
        {"os.path", "json", "math"},
        {"os"},  # ..zoo points above the top package
        {"zoo.cage"},
    ]
    assert corpus.class_names == ("json", "math", "os", "os.path", "zoo", "zoo.cage")
    assert corpus.labels.dtype == np.bool_
    assert corpus.labels.has_canonical_format


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import a.b.c as d", {"a.b.c"}),
        ("from a.b import c", {"a.b"}),
        ("from . import c", {"zoo.birds"}),
        ("from .c import d", {"zoo.birds.c"}),
        ("from ... import c", set()),
        ("from .. import c", {"zoo"}),
        ("from..c import d", {"zoo.c"}),
        ("from a import \\\n    b", {"a"}),
        ("import a; import b", {"a", "b"}),
        ("try: import a\nexcept ImportError: import b", {"a", "b"}),
        ("def f():\n    from a import (b,\n        c)", {"a"}),
        ("raise E from error\nimport a", {"a"}),
        ("yield from rows; import a", {"a"}),
        ("# import a", set()),
        ("'''\nimport a\n'''", set()),
        ("x = 'import a'\nimport b", {"b"}),
        ("x = '#'; import b", {"b"}),
        ("x = rb'\\''; import b", {"b"}),
        ('"""it\'s"""\nimport b  # don\'t\nimport c', {"b", "c"}),
        ("important = from_import", set()),
        ("import", set()),
    ],
)
def test_imports_are_found_as_python_finds_them(text, expected):
    assert modules(text) == expected


def test_the_imports_of_real_files_are_those_of_their_syntax_trees():
    for module in (ast, hashlib, inspect, np.lib, np.ma.core):
        text = Path(inspect.getfile(module)).read_text(encoding="utf-8")
        name = module.__name__

        expected: set[str] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                expected.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                expected.add(str(node.module))

        found = modules(text, name)
        assert expected <= found
        assert all(extra.startswith("numpy") for extra in found - expected)


def test_tokens_of_import_lines_comments_and_strings_are_no_features():
    text = (
        "import secret.a as hidden\n"
        "from veiled import (\n    one,\n    two)\n"
        "x = f(0x1F, rb'quoted')  # remark\n"
        'if x: """long\ntext"""\n'
        "x += one\n"
    )

    _, counts = read_source(text, "m")

    assert counts == {"x": 3, "f": 1, "one": 1}


def test_features_are_tf_idf_in_rows_of_unit_length(tmp_path):
    files = files_of(tmp_path, {"a.py": "import os\nx = x + y", "b.py": "import os\ny = z"})

    corpus = read_files(files, min_files=1, min_token_files=1)

    # columns x, y, z; y is in both files and so weighs nothing
    np.testing.assert_allclose(corpus.features.toarray(), [[1, 0, 0], [0, 0, 1]])
    assert corpus.features.dtype == np.float32


def test_repeated_tokens_weigh_by_the_logarithm_of_their_number(tmp_path):
    files = files_of(tmp_path, {"a.py": "import os\nx = x + y", "b.py": "import os\nz"})

    corpus = read_files(files, min_files=1, min_token_files=1)

    x, y, _ = corpus.features.toarray()[0]
    assert x / y == pytest.approx(1 + np.log(2))


def test_rare_modules_and_rare_tokens_are_dropped_but_their_rows_stay(tmp_path):
    files = files_of(tmp_path, TREE)

    corpus = read_files(files, min_files=2, min_token_files=2)

    assert corpus.class_names == ("zoo.cage",)
    assert corpus.labels.toarray().tolist() == [[True], [False], [False], [True]]
    assert corpus.features.shape == (4, 2)  # bars and size


def test_the_tokens_of_most_files_are_kept_when_there_are_too_many(tmp_path):
    files = files_of(tmp_path, {"a.py": "import os\nx = y = y", "b.py": "import os\nx = z"})

    corpus = read_files(files, min_files=1, min_token_files=1, max_tokens=2)

    # x and, of y and z in one file each, the first by name; x is in both files: no weight
    np.testing.assert_allclose(corpus.features.toarray(), [[0, 1], [0, 0]])


def test_files_that_cannot_be_read_or_hold_nothing_are_left_out(tmp_path):
    files = files_of(tmp_path, {"empty.py": "", "latin.py": "", "good.py": "import os\nx = os"})
    files[1].path.write_bytes(b"import os\n# caf\xe9\nx = 1\n")
    files.append(SourceFile(tmp_path / "missing.py", "missing"))

    corpus = read_files(files, min_files=1, min_token_files=1)

    assert corpus.labels.shape == (1, 1)


def test_progress_ends_at_the_number_of_files(tmp_path):
    files, seen = files_of(tmp_path, TREE), []

    read_files(files, min_files=1, progress=lambda done, total: seen.append((done, total)))

    assert seen == [(4, 4)]


def test_the_running_environment_gives_the_same_long_tailed_corpus_twice():
    first = read_corpus(max_files=300, min_files=5)
    second = read_corpus(max_files=300, min_files=5)

    assert first.class_names == second.class_names
    assert (first.features != second.features).nnz == 0
    assert (first.labels != second.labels).nnz == 0
    assert 200 <= first.labels.shape[0] <= 300
    files_by_class = first.labels.sum(axis=0)
    assert {"numpy", "torch"} <= set(first.class_names)
    assert files_by_class.min() >= 5
    assert files_by_class.max() > 5 * np.median(files_by_class)


def test_sizes_that_make_no_corpus_are_refused(tmp_path):
    files = files_of(tmp_path, TREE)

    with pytest.raises(ValueError, match="max_files must be at least 1, got 0"):
        read_corpus(max_files=0)
    with pytest.raises(ValueError, match="min_files must be at least 1, got 0"):
        read_files(files, min_files=0)
    with pytest.raises(ValueError, match="at least min_files=9 files, got none in the 4 files"):
        read_files(files, min_files=9)
