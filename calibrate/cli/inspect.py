"""``calibrate inspect``: what is in a file of logits, of labels, or in a rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calibrate.cli import options
from calibrate.cli.output import bar, emit_json


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
    """Say what FILE holds: a rule, logits, or labels.

    A .safetensors file made by `calibrate fit` is read as a rule; SciPy .npz and .jsonl files as
    labels; any other as logits, unless --labels is given.
    """
    if as_labels or _holds_labels(file):
        content = _labels(file, key, class_names)
    elif _holds_rule(file):
        content = _rule(file)
    else:
        content = _logits(file, key, quiet)
    if as_json:
        emit_json("inspect", {"file": file, **content})
        return
    width = max(len(name) for name in content)
    for name, value in content.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(str(part) for part in value).replace("\n", "\n    ") or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _holds_labels(file: str) -> bool:
    if Path(file).suffix == ".jsonl":
        return True
    if Path(file).suffix != ".npz" or not Path(file).is_file():
        return False
    import zipfile

    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return {"indices.npy", "indptr.npy"} <= set(archive.namelist())


def _holds_rule(file: str) -> bool:
    if Path(file).suffix != ".safetensors" or not Path(file).is_file():
        return False
    from calibrate.storage import is_rule

    return is_rule(file)


def _rule(file: str) -> dict[str, Any]:
    import numpy as np

    from calibrate.decision import load

    decision = load(file)
    steps = []
    for op in (*decision.steps, decision.rule):
        numbers = [f"{name} {value}" for name, value in op.numbers().items()]
        for name, array in op.arrays().items():
            finite = array[np.isfinite(array)]
            span = f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "none finite"
            never = f", {int(np.isposinf(array).sum())} never" if np.isposinf(array).any() else ""
            numbers.append(f"{name} {span}{never}")
        steps.append(f"{op.wire_name}: {', '.join(numbers)}")
    provenance = decision.provenance
    findings = [
        f"{part['step']}: {finding['message']}"
        for part in provenance.get("pipeline", [])
        for finding in part["findings"]
    ]
    return {
        "kind": "rule",
        "n_classes": decision.n_classes,
        "class_names": _first_names(decision.class_names),
        "steps": steps,
        "fitted_by": f"calibrate {provenance.get('calibrate', 'of unknown version')}",
        "n_rows": provenance.get("n_rows"),
        "n_positives": provenance.get("n_positives"),
        "findings": findings,
    }


def _logits(file: str, key: str | None, quiet: bool) -> dict[str, Any]:
    import numpy as np

    from calibrate import readers

    rows = readers.open_matrix(file, key)
    n_rows, n_classes = rows.shape
    step = max(1, (1 << 22) // max(1, n_classes))
    low, high, above, n_nan, n_infinite = np.inf, -np.inf, 0, 0, 0
    dtype = str(np.asarray(rows[0:1]).dtype)
    with bar(quiet, n_rows, "rows") as advance:
        for start in range(0, n_rows, step):
            block = np.asarray(rows[start : start + step], dtype=np.float64)
            finite = block[np.isfinite(block)]
            n_nan += int(np.isnan(block).sum())
            n_infinite += int(np.isinf(block).sum())
            low = min(low, float(finite.min(initial=np.inf)))
            high = max(high, float(finite.max(initial=-np.inf)))
            above += int((finite >= 0).sum())
            advance(len(block))
    some = low <= high
    return {
        "kind": "logits",
        "n_rows": n_rows,
        "n_classes": n_classes,
        "dtype": dtype,
        "lowest": low if some else None,
        "highest": high if some else None,
        "nan": n_nan,
        "infinite": n_infinite,
        "labels_per_row_at_0.5": round(above / n_rows, 3) if n_rows else None,
        "look_like_probabilities": bool(some and low >= 0 and high <= 1),
    }


def _labels(file: str, key: str | None, class_names: str | None) -> dict[str, Any]:
    import numpy as np

    from calibrate.data import as_class_names, as_labels

    names = as_class_names(class_names)
    labels = as_labels(file, _classes_of_lines(file, names), class_names=names, key=key)
    n_rows, n_classes = labels.shape
    per_row, per_class = np.diff(labels.indptr), labels.positives
    return {
        "kind": "labels",
        "n_rows": n_rows,
        "n_classes": n_classes,
        "n_labels": labels.n_labels,
        "labels_per_row": round(labels.n_labels / n_rows, 3) if n_rows else None,
        "rows_without_labels": int((per_row == 0).sum()),
        "classes_without_positives": int((per_class == 0).sum()),
        "positives_per_class": (
            f"{per_class.min()} to {per_class.max()}, median {np.median(per_class):g}"
            if n_classes
            else None
        ),
        "class_names": _first_names(names),
    }


def _classes_of_lines(file: str, names: tuple[str, ...] | None) -> int | None:
    """How many classes a file of ids speaks of at least: it does not say so itself."""
    if Path(file).suffix != ".jsonl" or names is not None:
        return None
    from calibrate import readers

    rows = readers.open_label_file(file)
    highest = 0
    for row in rows if isinstance(rows, list) else []:
        for label in row:
            if isinstance(label, str):
                raise click.UsageError("labels by name need --class-names")
            highest = max(highest, label)
    return highest + 1


def _first_names(names: tuple[str, ...] | None) -> str | None:
    if names is None:
        return None
    return ", ".join(names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")
