"""``calibrate inspect``: what is in a file of logits, labels, names or numbers, or in a rule."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibrate.cli import options
from calibrate.cli.output import emit_json

if TYPE_CHECKING:
    from calibrate.readers.source import LabelFile

_COLUMNS = 80
_NAMES_SHOWN = 5
_BLOCK_CELLS = 1 << 22
_ONLY_IF_ANY = ("also_holds", "error", "learned")
_SPARSE = {"format", "shape", "data"}  # members of any sparse matrix that SciPy stored


@click.command("inspect")
@click.argument("file")
@click.option("--key", metavar="NAME", help="Array of a file that holds several.")
@click.option(
    "--labels", "as_labels", is_flag=True, help="Read FILE as labels, not as logits or a rule."
)
@click.option("--class-names", type=click.Path(exists=True, dir_okay=False), help="For labels.")
@options.output_options
def command(
    file: str,
    key: str | None,
    as_labels: bool,
    class_names: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say what FILE holds: a rule, logits, labels, class names, or numbers.

    Labels are SciPy .npz files, .jsonl files, and arrays of bool or of the integers 0 and 1; other
    arrays are logits, unless --labels is given. A .txt file holds class names, or numbers if each
    line is one; a one-axis .npy file holds numbers. FILE may be a pattern, such as 'part*.npy':
    the first file that matches decides what all of them are.
    """
    content = _content(file, key, as_labels, class_names, quiet)
    if as_json:
        emit_json("inspect", {"file": file, **content})
        return
    shown = {
        name.replace("_", " "): _paragraphs(name, value)
        for name, value in content.items()
        if value or name not in _ONLY_IF_ANY
    }
    column = max(len(name) for name in shown) + 2
    for name, paragraphs in shown.items():
        lines = [
            line
            for text in paragraphs
            for line in textwrap.wrap(text, _COLUMNS - column, break_on_hyphens=False)
        ]
        click.echo(f"{name:<{column}}" + f"\n{' ' * column}".join(lines))


def _content(
    file: str, key: str | None, as_labels: bool, class_names: str | None, quiet: bool
) -> dict[str, Any]:
    from calibrate.cli import described
    from calibrate.readers import shards

    paths = shards.matching(file) if shards.is_pattern(file) else [Path(file)]
    first = paths[0]
    if not as_labels and first.is_file():
        for kind, holds, describe in (
            ("a rule", _holds_rule, described.rule),
            ("a list of numbers", _holds_numbers, described.numbers),
            ("a list of class names", _holds_class_names, described.class_names),
        ):
            if holds(first):
                if len(paths) > 1:
                    raise click.UsageError(f"{file} matches {len(paths)} files; {kind} is one file")
                return describe(first)
    members = _members(first)
    says_labels = as_labels or _says_labels(first, members, key)
    rows, are_labels = _opened(file, key, says_labels)
    if not are_labels:
        content = described.logits(rows, quiet)
    elif class_names is None and described.CLASS_NAMES in members:
        content = described.labels(rows, described.names_within(first))
    else:
        content = described.labels(rows, class_names)
    others = _others(members, key, says_labels)
    return {**content, "also_holds": [name for name in others if name != described.CLASS_NAMES]}


def _holds_rule(path: Path) -> bool:
    from calibrate.storage import is_rule

    return is_rule(path)


def _holds_numbers(path: Path) -> bool:
    if path.suffix.lower() == ".txt":
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        return any(lines) and all(_is_number(line) for line in lines if line.strip())
    if path.suffix.lower() != ".npy":
        return False
    from calibrate.readers.npy_format import read_header

    try:
        with path.open("rb") as file:
            header = read_header(file, str(path))
    except ValueError:  # the reader of matrices says what is wrong
        return False
    return len(header.shape) == 1 and header.dtype.kind in "fiub"


def _is_number(line: str) -> bool:
    try:
        float(line)
    except ValueError:
        return False
    return "_" not in line  # a name such as 12_3, which Python alone takes for a number


def _holds_class_names(path: Path) -> bool:
    return path.suffix.lower() in (".txt", ".json")


def _members(path: Path) -> list[str]:
    """Names of the arrays in a file of several; none where it cannot be read, as its reader says.

    A sparse matrix of SciPy is several arrays as well.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        return []
    if suffix == ".npz":
        import zipfile

        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, NotImplementedError):
            return []
        return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    if suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                return list(file.keys())
        except SafetensorError:
            return []
    if suffix in (".pt", ".pth"):
        from calibrate.readers import pt

        try:
            saved = pt.load_checked(path)  # mapped, not read
        except ValueError:
            return []
        return [name for name in saved if isinstance(name, str)] if isinstance(saved, dict) else []
    return []


def _says_labels(path: Path, members: list[str], key: str | None) -> bool:
    """Whether the form of a file, or the names in it, say that it holds labels."""
    from calibrate.readers.keys import LABELS_KEYS, LOGITS_KEYS

    if path.suffix.lower() == ".jsonl" or _is_sparse(path, members):
        return True
    if key is not None:
        return key in LABELS_KEYS
    return not set(members) & set(LOGITS_KEYS) and bool(set(members) & set(LABELS_KEYS))


def _is_sparse(path: Path, members: list[str]) -> bool:
    return path.suffix.lower() == ".npz" and set(members) >= _SPARSE


def _opened(file: str, key: str | None, says_labels: bool) -> tuple[LabelFile, bool]:
    """Rows of a file, and whether they are labels."""
    from calibrate import readers

    if says_labels:
        return readers.open_label_file(file, key), True
    try:
        rows = readers.open_matrix(file, key)
    except ValueError as refusal:
        from scipy import sparse

        try:
            labels = readers.open_label_file(file, key)
        except ValueError:
            raise refusal from None
        if not sparse.issparse(labels):
            raise
        return labels, True
    dtype = rows[0:1].dtype
    if dtype.kind not in "iu":
        return rows, dtype.kind == "b"
    block = rows[0 : max(1, _BLOCK_CELLS // max(1, rows.shape[1]))]
    return rows, bool(((block == 0) | (block == 1)).all())


def _others(members: list[str], key: str | None, says_labels: bool) -> list[str]:
    """Arrays beside the one described, where a name said which that is."""
    from calibrate.readers.keys import LABELS_KEYS, LOGITS_KEYS

    known = LABELS_KEYS if says_labels else LOGITS_KEYS
    chosen = key or next((name for name in known if name in members), None)
    return [name for name in members if name != chosen] if chosen in members else []


def _paragraphs(name: str, value: Any) -> list[str]:
    """A value in words, each paragraph to begin a line."""
    if value is None or value == []:
        return ["none"]
    if name == "class_names":
        first = [part if len(part) <= 30 else f"{part[:27]}..." for part in value[:_NAMES_SHOWN]]
        more = f", ... ({len(value)} in all)" if len(value) > _NAMES_SHOWN else ""
        return [", ".join(first) + more]
    if name == "steps":
        return [_step(step) for step in value]
    if name == "cross_fit":
        return [
            f"{value['folds']} folds, each row judged by a fit without its fold",
            *_figures(value),
        ]
    if name == "learned":
        return [sentence for part in value for sentence in part["in_words"]]
    if name == "findings":
        return [f"{finding['step']}: {finding['message']}" for finding in value]
    if name == "positives_per_class":
        return [f"{value['lowest']:,} to {value['highest']:,}, median {value['median']:g}"]
    if isinstance(value, list):
        return [", ".join(value)]
    return [_number(value)]


def _figures(cross_fit: dict[str, Any]) -> list[str]:
    """Each figure out of sample, and how much better it is on the fitting rows."""
    lines = []
    for key, head in options.FIGURES.items():
        value, more = cross_fit["out_of_sample"][key], cross_fit["optimism"][key]
        known = value is not None and more is not None
        lines.append(f"{head} {value:.4f}, optimism {more:+.4f}" if known else f"{head} none")
    return lines


def _step(step: dict[str, Any]) -> str:
    parts = [f"{name} {_number(value)}" for name, value in step["numbers"].items()]
    for name, array in step["arrays"].items():
        low, high = array["lowest"], array["highest"]
        one = low == high
        span = "none finite" if low is None else f"{low:.4g}" + ("" if one else f" to {high:.4g}")
        parts.append(f"{name} {span}" + (f", {array['never']} never" if array["never"] else ""))
    return f"{step['op']}: {', '.join(parts)}"


def _number(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
