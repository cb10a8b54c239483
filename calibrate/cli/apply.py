"""``calibrate apply``: a rule file and logits in, labels out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from calibrate.cli import options
from calibrate.cli.output import emit_json, note, progress, refuse_overwrite

if TYPE_CHECKING:
    from calibrate.data import LogitSource
    from calibrate.decision import Decision


@click.command("apply")
@click.argument("rule", type=click.Path(exists=True, dir_okay=False))
@click.argument("logits")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Labels: .npz (SciPy CSR), .jsonl (a line of names or ids per row) or .npy (dense bool).",
)
@click.option(
    "--adapt",
    is_flag=True,
    help="Of a rule that decides by the rows labelled together: take LOGITS for them.",
)
@options.logits_options
@options.force_option
@options.output_options
def command(
    rule: str,
    logits: str,
    output: Path,
    adapt: bool,
    logits_key: str | None,
    nan: Any,
    probabilities: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Decide the labels of LOGITS by the rule file RULE.

    A rule fitted with batch=true finds its thresholds anew on the rows that are labelled together:
    --adapt says that all rows of LOGITS are these. The same row may then get other labels in other
    company.

    Class names, where the rule has them, are the labels of .jsonl lines, and the array
    `class_names` of an .npz file.
    """
    writer = _WRITERS.get(output.suffix)
    if writer is None:
        raise click.UsageError(
            f"the output must end in {', '.join(_WRITERS)}, got {output.suffix or output.name!r}"
        )
    refuse_overwrite(output, force)
    from calibrate.decision import load
    from calibrate.storage import write_atomically

    decision = load(rule)
    _check_adapt(rule, decision, adapt)
    source = decision.source(logits, nan=nan, key=logits_key, probabilities=probabilities)
    n_labels = 0

    def write(file: BinaryIO) -> None:
        nonlocal n_labels
        n_labels = writer(file, decision, source)

    with progress(quiet, source):
        if adapt:
            decision = decision.adapted(source)
        write_atomically(output, write)
    n_rows = source.shape[0]
    if as_json:
        emit_json("apply", {"output": str(output), "n_rows": n_rows, "n_labels": n_labels})
        return
    note(quiet, f"wrote {output}: {n_labels:,} labels for {n_rows:,} rows")


def _check_adapt(rule: str, decision: Decision, adapt: bool) -> None:
    """Refuse a rule that would adapt without being told to, or cannot."""
    if decision.adapts and not adapt:
        raise click.UsageError(
            f"{rule} adapts to the rows that are labelled together: say --adapt if all rows of "
            "LOGITS are to be"
        )
    if adapt and not decision.adapts:
        raise click.UsageError(
            f"{rule} decides each row by itself ({decision.rule.wire_name}): leave out --adapt"
        )


def _write_csr(file: BinaryIO, decision: Decision, source: LogitSource) -> int:
    import zipfile

    import numpy as np
    from scipy import sparse

    labels = decision.predict(source)
    sparse.save_npz(file, labels)
    if decision.class_names is not None:
        names = np.array(decision.class_names, dtype=np.str_)
        with (
            zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive,
            archive.open("class_names.npy", "w") as member,
        ):
            np.lib.format.write_array(member, names)
    return int(labels.nnz)


def _write_lines(file: BinaryIO, decision: Decision, source: LogitSource) -> int:
    names = decision.class_names
    n_labels = 0
    for _, labels in decision.blocks(source):
        n_labels += len(labels.indices)
        for start, stop in zip(labels.indptr[:-1], labels.indptr[1:], strict=True):
            ids = labels.indices[start:stop].tolist()
            row = ids if names is None else [names[i] for i in ids]
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return n_labels


def _write_dense(file: BinaryIO, decision: Decision, source: LogitSource) -> int:
    import numpy as np

    header = {"descr": "|b1", "fortran_order": False, "shape": source.shape}
    np.lib.format.write_array_header_1_0(file, header)
    n_labels = 0
    for _, labels in decision.blocks(source):
        counts = np.diff(labels.indptr)
        mask = np.zeros((len(counts), source.shape[1]), dtype=np.bool_)
        mask[np.repeat(np.arange(len(counts)), counts), labels.indices] = True
        file.write(mask.tobytes())
        n_labels += len(labels.indices)
    return n_labels


_WRITERS: dict[str, Callable[[BinaryIO, Decision, LogitSource], int]] = {
    ".npz": _write_csr,
    ".jsonl": _write_lines,
    ".npy": _write_dense,
}
