"""``calibrate demo``: the main job on real input, from training to the before/after table."""

from __future__ import annotations

import json
import shlex
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibrate.cli import options
from calibrate.cli.output import bar, emit_json, note, progress

if TYPE_CHECKING:
    from calibrate.comparison import Comparison
    from calibrate.data import LabelledLogits
    from calibrate.decision import Decision


@click.command("demo")
@click.option(
    "-o",
    "--output",
    default="calibrate-demo",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the logits, the rule file, its page and the tables.",
)
@click.option(
    "--simulate",
    nargs=2,
    type=click.IntRange(min=1),
    metavar="ROWS CLASSES",
    help="Simulate logits at this size instead of training a network.",
)
@click.option("--seed", default=0, show_default=True)
@options.force_option
@options.output_options
def command(
    output: Path,
    simulate: tuple[int, int] | None,
    seed: int,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show on real data how a network that predicts too many labels is brought to the right number.

    A small network learns which modules a Python source file imports from the other words in it,
    on the files of this very installation, with BCEWithLogitsLoss(pos_weight=neg/pos). It then
    predicts far too many. Rules are fitted on one half of the held-out files and judged on the
    other half. One of them is left as a rule file, with its page of `calibrate report`.
    """
    if output.exists() and any(output.iterdir()) and not force:
        raise click.UsageError(f"{output} is not empty; give --force to overwrite its files")
    if simulate and simulate[0] < 10:
        raise click.UsageError(f"--simulate needs at least 10 rows to split, got {simulate[0]}")
    output.mkdir(parents=True, exist_ok=True)
    made = _simulated(output, *simulate, seed, quiet) if simulate else _trained(output, seed, quiet)
    fit_rows, test_rows, weights = made
    from calibrate.comparison import compare, standard_pipelines

    pipelines = standard_pipelines(fit_rows.labels.n_labels / fit_rows.shape[0], weights)
    sources = {id(rows.source): rows.source for rows in (fit_rows, test_rows)}
    note(quiet, "comparing pipelines ...")
    with progress(quiet, *sources.values()):
        found = compare(fit_rows, test_rows, pipelines)
        rule, decision = output / "rule.safetensors", found.decisions["expected k"]
        decision.save(rule)
        command_line = _command_line(output, simulate, seed)
        page = _write_page(output, decision, test_rows, command_line, quiet)
    _write_tables(output, found)
    if as_json:
        files = {"folder": str(output), "rule": str(rule), "report": page and str(page)}
        emit_json("demo", {**files, **found.as_dict()})
        return
    click.echo(
        f"\nfitted on {found.n_fit:,} held-out rows, judged on {found.n_test:,} others, "
        f"{fit_rows.shape[1]:,} classes;\nmacro-F1 leaves out {found.n_left_out:,} without a true "
        "label among the latter\n"
    )
    click.echo(found.table())
    click.echo()
    click.echo(found.difference_table())
    click.echo()
    click.echo(textwrap.fill(found.advice(), 80, break_on_hyphens=False))
    written = [rule.name, *([page.name] if page else []), "comparison.md", "comparison.json"]
    click.echo(f"\nwrote to {output}: {', '.join(written)}, and the logits")
    if page:
        click.echo(f"open in a browser: {page}, what {rule.name} does to each class")
    click.echo(f"next: calibrate inspect {rule}")


def _trained(output: Path, seed: int, quiet: bool) -> tuple[LabelledLogits, LabelledLogits, Any]:
    import numpy as np

    from calibrate.data import labelled_logits
    from calibrate.demo.source_corpus import read_corpus
    from calibrate.demo.trained_logits import EPOCHS, train_and_save

    note(quiet, "reading the Python source files of this installation ...")
    with bar(quiet, 0, "files") as advance:
        corpus = read_corpus(progress=_steps(advance))
    n_rows, n_classes = corpus.labels.shape
    note(
        quiet,
        f"{n_rows:,} files, {n_classes:,} modules that they import, "
        f"{corpus.labels.nnz / n_rows:.1f} per file\n"
        "training with pos_weight = negatives / positives ...",
    )
    with bar(quiet, EPOCHS, "epochs") as advance:
        files = train_and_save(corpus, output, seed=seed, progress=_steps(advance))
    names = str(files.class_names)
    fit = labelled_logits(
        str(files.validation_logits), str(files.validation_labels), class_names=names
    )
    test = labelled_logits(str(files.test_logits), str(files.test_labels), class_names=names)
    return fit, test, np.load(files.pos_weight, allow_pickle=False)


def _simulated(
    output: Path, n_rows: int, n_classes: int, seed: int, quiet: bool
) -> tuple[LabelledLogits, LabelledLogits, Any]:
    import numpy as np

    from calibrate.comparison import split_rows
    from calibrate.data import labelled_logits
    from calibrate.demo.simulation import simulate

    note(quiet, f"simulating logits of {n_rows:,} rows x {n_classes:,} classes ...")
    with bar(quiet, n_rows, "rows") as advance:
        files = simulate(output, n_rows, n_classes, seed=seed, progress=_steps(advance))
    rows = labelled_logits(str(files.logits), str(files.labels), class_names=str(files.class_names))
    return *split_rows(rows, seed=seed), np.load(files.pos_weight, allow_pickle=False)


def _steps(advance: Any) -> Any:
    """Turn calls with (done, total) into advances of a bar."""
    seen = 0

    def report(done: int, total: int) -> None:
        nonlocal seen
        advance(done - seen, total)
        seen = done

    return report


def _command_line(output: Path, simulate: tuple[int, int] | None, seed: int) -> str:
    """The command that makes all files again."""
    size = ["--simulate", *map(str, simulate)] if simulate else []
    chosen = ["--seed", str(seed)] if seed else []
    return shlex.join(["calibrate", "demo", "--output", str(output), *size, *chosen])


def _write_page(
    output: Path, decision: Decision, rows: LabelledLogits, command_line: str, quiet: bool
) -> Path | None:
    """The page of the rule on the rows judged, or a note that says what it needs."""
    from calibrate.report import threshold_report
    from calibrate.report.html import scripts_of_bokeh

    try:
        scripts_of_bokeh()
    except ImportError as error:
        note(quiet, str(error))
        return None
    note(quiet, "writing the report ...")
    page = output / "report.html"
    threshold_report(decision, rows, command=command_line).save_page(page)
    return page


def _write_tables(output: Path, found: Comparison) -> None:
    from calibrate.storage import write_atomically

    text = json.dumps(found.as_dict(), indent=1, allow_nan=False)
    write_atomically(output / "comparison.json", lambda file: file.write(text.encode()))
    table = f"{found.markdown()}\n\n{found.difference_markdown()}\n\n{found.advice()}\n"
    write_atomically(output / "comparison.md", lambda file: file.write(table.encode()))
