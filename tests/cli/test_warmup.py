"""`calibrate warmup`: after it nothing is compiled, whatever the next process does."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest
import workload
from click.testing import CliRunner
from numba.core.dispatcher import Dispatcher

import calibrate as cal
from calibrate import compilation, kernels
from calibrate.cli import main

# every kernel is compiled from nothing, and every method run: minutes on a busy machine
pytestmark = pytest.mark.timeout(900)


def in_a_new_process(cache: Path, *arguments: object) -> str:
    """Output of a Python that keeps compiled kernels in the folder `cache`."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=dict(os.environ, NUMBA_CACHE_DIR=str(cache)),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file, by name."""
    found = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path.name: (state.st_size, state.st_mtime_ns) for path, state in found.items()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def first(cache) -> dict:
    """What the command says where nothing has been compiled before."""
    return json.loads(in_a_new_process(cache, "-m", "calibrate", "warmup", "--json"))


def test_every_kernel_there_is_gets_compiled(first):
    defined = {
        f"{file.name.removeprefix('calibrate.kernels.')}.{name}"
        for file in walk_packages(kernels.__path__, "calibrate.kernels.")
        for name, value in vars(import_module(file.name)).items()
        if isinstance(value, Dispatcher) and value.py_func.__module__ == file.name
    }

    assert defined
    assert {name for name, versions in first["compiled"].items() if versions > 0} == defined


def test_it_says_where_the_cache_lies_and_how_long_it_took(first, cache):
    assert first["seconds"] > 0
    assert [Path(folder).parent for folder in first["folders"]] == [cache]


def test_nothing_is_compiled_after_it_at_any_size_and_from_any_input(first, cache, tmp_path):
    before = files_in(cache)

    found = json.loads(in_a_new_process(cache, workload.__file__, "real", tmp_path))

    assert found["compiled"] == {}
    assert found["loaded"]
    assert files_in(cache) == before


def test_it_prints_what_was_compiled_and_what_was_there(monkeypatch):
    many = {f"curves.kernel_number_{number}": 1 for number in range(5)}
    compiled = {"histogram.count": 2, "logistic.fit": 0} | dict.fromkeys(many, 0)
    loaded = {"histogram.count": 0, "logistic.fit": 1} | many
    found = compilation.Warmup(compiled, loaded, 1.25, ("/home/me/.cache/numba",))
    monkeypatch.setattr(compilation, "warmup", lambda progress: found)

    result = CliRunner().invoke(main, ["warmup"])

    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout == (
        "compiled: 1 kernels\n"
        "  histogram: count\n"
        "found in the cache: 6 kernels\n"
        "  logistic: fit\n"
        "  curves: kernel_number_0, kernel_number_1, kernel_number_2, kernel_number_3,\n"
        "    kernel_number_4\n"
        "took 1.2 s\n"
        "kept in /home/me/.cache/numba\n"
    )


def test_a_cache_that_cannot_be_written_is_a_warning(monkeypatch):
    nowhere = compilation.Warmup({"file.kernel": 1}, {"file.kernel": 0}, 1.0, ())
    monkeypatch.setattr(compilation, "warmup", lambda progress: nowhere)

    result = CliRunner().invoke(main, ["warmup"])

    assert result.exit_code == 0
    assert result.stderr.startswith("warning: numba's cache cannot be written")
    assert "every process will compile anew" in result.stderr
    assert result.stdout == "compiled: 1 kernels\n  file: kernel\ntook 1.0 s\n"


def test_in_python_it_tells_how_far_it_is(monkeypatch):
    monkeypatch.setattr(compilation, "_all_that_users_do", lambda folder: iter([None] * 3))
    told = []

    found = cal.warmup(lambda done, total: told.append((done, total)))

    assert len(told) == 3
    assert {total for _, total in told} == {len(found.compiled)} == {len(found.loaded)}
    assert all(0 <= done <= total for done, total in told)


def test_a_method_that_it_cannot_make_is_named():
    unheard_of = inspect.Parameter("unheard_of", inspect.Parameter.POSITIONAL_OR_KEYWORD)

    with pytest.raises(TypeError, match=r"^warmup knows no value for 'unheard_of' of OddRule$"):
        compilation._choices("OddRule", unheard_of, 3)
