"""``calibrate export``: a rule as an ONNX graph, alone or behind a model, as JSON, or as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibrate.cli import options
from calibrate.cli.output import emit_json, note, refuse_overwrite

if TYPE_CHECKING:
    from calibrate.decision import Decision

_FORMS = ("onnx", "json", "csv")
_ONNX_ALONE = {
    "append": "--append",
    "output_name": "--output-name",
    "with_probabilities": "--with-probabilities",
    "float16": "--float16",
    "sample": "--sample",
}


@click.command("export")
@click.argument("rule", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write."
)
@click.option(
    "--to", "form", type=click.Choice(_FORMS), help="What to write.  [default: by the suffix]"
)
@click.option(
    "--append",
    metavar="MODEL",
    type=click.Path(exists=True, dir_okay=False),
    help="Put the decision behind this ONNX model, whose inputs and outputs all stay.",
)
@click.option(
    "--output-name", metavar="NAME", help="Its output with the logits, where it has several."
)
@click.option("--with-probabilities", is_flag=True, help="Give calibrated probabilities, too.")
@click.option("--float16", is_flag=True, help="Take float16 logits.")
@click.option(
    "--sample",
    metavar="LOGITS",
    help="Check on these logits (at most 1,024 rows), not on made-up ones.",
)
@options.force_option
@options.output_options
def command(
    rule: str,
    output: Path,
    form: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **for_onnx: Any,
) -> None:
    """Write the rule file RULE in a form that runs, or is read, without calibrate.

    \b
    onnx  a graph from `logits` (rows x classes) to `labels` (bool), which is
          kept only if it decides as the rule does, in ONNX's reference
          evaluator and, if it is installed, in onnxruntime. Thresholds are an
          input as well, which may be left out.
    json  steps, thresholds and names, every number exactly.
    csv   a line per class: class, name, threshold as logit and probability.
          A name that begins like a formula gets a ' in front.
    """  # noqa: D301
    form = form or output.suffix.removeprefix(".").lower()
    if form not in _FORMS:
        raise click.UsageError(
            f"say --to {'|'.join(_FORMS)}, or let the output end in one of these; got "
            f"{output.name!r}"
        )
    refuse_overwrite(output, force)
    for name, option in _ONNX_ALONE.items():
        if form != "onnx" and for_onnx[name]:
            raise click.UsageError(f"{option} goes with ONNX, not with {form}")
    if for_onnx["append"] is None and for_onnx["output_name"] is not None:
        raise click.UsageError("--output-name goes with --append")
    if for_onnx["append"] is not None and for_onnx["float16"]:
        raise click.UsageError("--float16 does not go with --append: the model says its type")
    from calibrate.decision import load

    decision = load(rule)
    told = _write_onnx(decision, output, **for_onnx) if form == "onnx" else {}
    if form != "onnx":
        _write_text(decision, output, form)
    if as_json:
        emit_json("export", {"output": str(output), "form": form, **told})
        return
    note(quiet, f"wrote {output}{_in_words(told)}")


def _write_text(decision: Decision, output: Path, form: str) -> None:
    from calibrate import readable
    from calibrate.storage import write_atomically

    text = readable.to_json(decision) if form == "json" else readable.to_csv(decision)
    write_atomically(output, lambda file: file.write(text.encode()))


def _write_onnx(
    decision: Decision,
    output: Path,
    append: str | None,
    output_name: str | None,
    with_probabilities: bool,
    float16: bool,
    sample: str | None,
) -> dict[str, Any]:
    """Write the graph; gives what it was checked against."""
    try:
        from calibrate import onnx
    except ImportError as error:
        raise click.UsageError(str(error)) from error
    checked = onnx.save(
        decision,
        output,
        behind=append,
        output_name=output_name,
        probabilities=with_probabilities,
        dtype="float16" if float16 else "float32",
        sample=sample,
    )
    return {
        "checked_rows": checked.n_rows,
        "runtimes": list(checked.runtimes),
        "labels_near_cut": checked.n_near,
        **({"whole_model_ran": checked.whole_model} if append is not None else {}),
    }


def _in_words(told: dict[str, Any]) -> str:
    """What a graph was checked against, as the rest of a line."""
    if not told:
        return ""
    near = sum(told["labels_near_cut"].values())
    found = "no label differs" if near == 0 else f"{near} labels within 1e-6 of the cut differ"
    words = f": {found} on {told['checked_rows']} rows, by {' and '.join(told['runtimes'])}"
    if "onnxruntime" not in told["runtimes"]:
        words += " (onnxruntime is not installed)"
    if told.get("whole_model_ran") is False:
        words += "; the whole model would not run on made-up inputs: only its form is checked"
    return words
