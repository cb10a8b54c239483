"""The house stands as the README draws it: imports point down, heavy things come late."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from calibrate.cli import COMMANDS

PACKAGE = Path(__file__).parent.parent / "calibrate"

ROOMS = [
    {"ops", "metrics", "threads", "general_f", "risks"},
    {"kernels", "readers", "storage"},
    {"bulk"},
    {"data"},
    {"decision", "statistics"},
    {"base", "coordinate_ascent", "corrections", "label_shift", "logistic", "overrides"},
    {"hierarchy", "best_sets"},
    {"calibrators", "rules", "evaluation"},
    {"report"},
    {"pipeline", "plot", "onnx", "readable"},
    {"crossfit", "objectives", "torch"},
    {"adapters", "comparison", "compilation", "demo"},
    {"cli"},
]
"""From the ground up: a room may import from the floors below, and nothing else of ours."""

FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}

ONLY_HERE = {
    "torch": {"torch", "adapters", "readers/pt.py", "demo/network.py"},
    "lightning": {"adapters/lightning.py"},
    "pytorch_lightning": {"adapters/lightning.py"},
    "transformers": set(),
    "keras": {"adapters/keras.py"},
    "numba": {"kernels/__init__.py", "kernels/bits.py"},
    "sklearn": {"base.py", "pipeline.py", "adapters"},
    "onnx": {"onnx"},
    "onnxruntime": {"onnx"},
    "google": {"onnx"},
    "click": {"cli"},
    "tqdm": {"cli"},
    "bokeh": {"report/html.py"},
    "matplotlib": {"plot.py"},
}
"""Where a heavy or special package may be imported."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path, *, at_top: bool = False) -> set[str]:
    """Dotted names of what a file imports, relative ones resolved."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_top else list(ast.walk(tree))
    package = ["calibrate", *path.relative_to(PACKAGE).parts[:-1]]
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, node.module] if node.module else base)
            names |= {f"{start}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in imported(path) if name.startswith("calibrate.")]
    return {part[1] for part in parts if part[1] in FLOOR} - {room_of(path)}


def test_every_file_lies_in_a_known_room():
    rooms = {room_of(path) for path in modules()}

    assert rooms - {"__init__", "__main__"} == set(FLOOR)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path):
    here = FLOOR.get(room_of(path), len(ROOMS))

    upward = {room for room in rooms_imported(path) if FLOOR[room] >= here}

    assert upward == set()


@pytest.mark.parametrize("room", ["calibrators", "rules"])
def test_methods_never_import_each_other(room: str):
    for path in (PACKAGE / room).glob("*.py"):
        assert not {name for name in imported(path) if name.startswith(f"calibrate.{room}")}


def test_ops_import_numpy_alone():
    names = {name for path in (PACKAGE / "ops").glob("*.py") for name in imported(path)}

    strangers = {name for name in names if not name.startswith("calibrate.ops.")}
    assert {name.split(".")[0] for name in strangers} - set(sys.stdlib_module_names) == {"numpy"}


@pytest.mark.parametrize("package", sorted(ONLY_HERE))
def test_special_packages_stay_in_their_rooms(package: str):
    users = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if package in {name.split(".")[0] for name in imported(path)}
    }

    strangers = {user for user in users if not {user, user.split("/")[0]} & ONLY_HERE[package]}
    assert strangers == set()


def loaded_after(code: str) -> set[str]:
    """Top packages in ``sys.modules`` of a fresh interpreter after `code`."""
    script = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split("\n")[-2].split())


HEAVY = {
    "torch", "numba", "sklearn", "scipy", "onnx", "onnxruntime", "dask", "pandas", "matplotlib",
    "bokeh",
}  # fmt: skip


def test_import_brings_in_nothing_heavy():
    assert not loaded_after("import calibrate") & (HEAVY | {"numpy", "safetensors"})


def test_loading_a_rule_needs_numpy_and_safetensors_alone(tmp_path: Path):
    import numpy as np

    from calibrate.decision import Decision
    from calibrate.ops import Affine, Threshold

    rule = tmp_path / "rule.safetensors"
    steps = (Affine(np.ones(2, np.float32), np.zeros(2, np.float32)),)
    Decision(steps, Threshold(np.zeros(2, np.float32)), 2, ("a", "b")).save(rule)

    loaded = loaded_after(f"import calibrate; calibrate.load({str(rule)!r})")

    assert {"numpy", "safetensors"} <= loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_brings_in_nothing_heavy(command: list[str]):
    arguments = [*command, "--help"]
    code = f"from calibrate.cli import main\nmain({arguments!r}, standalone_mode=False)"

    assert not loaded_after(code) & (HEAVY | {"numpy", "tqdm"})


def test_public_names_resolve():
    import calibrate

    for name in dir(calibrate):
        assert getattr(calibrate, name) is not None


def test_every_name_of_the_torch_room_resolves():
    import calibrate.torch

    for name in calibrate.torch.__all__:
        assert getattr(calibrate.torch, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = calibrate.torch.Nonsense


def test_an_unknown_name_is_an_attribute_error():
    import calibrate

    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = calibrate.Nonsense


def test_a_method_is_found_by_the_name_of_its_file():
    import calibrate

    for room in ("calibrators", "rules"):
        for path in (PACKAGE / room).glob("[!_]*.py"):
            name = "".join(word.capitalize() for word in path.stem.split("_"))

            assert getattr(calibrate, name).__module__ == f"calibrate.{room}.{path.stem}"
