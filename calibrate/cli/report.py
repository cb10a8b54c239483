"""``calibrate report``: a rule file and labelled rows in, one page out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from calibrate.cli import options
from calibrate.cli.output import note, progress, refuse_overwrite

if TYPE_CHECKING:
    from calibrate.report import ThresholdReport

Command = TypeVar("Command", bound=Callable[..., Any])


def _file_option(name: str, what: str) -> Callable[[Command], Command]:
    return click.option(
        f"--{name}", f"as_{name}", type=click.Path(path_type=Path), metavar="FILE", help=what
    )


@click.command("report")
@click.argument("rule", type=click.Path(exists=True, dir_okay=False))
@click.argument("logits")
@click.argument("labels")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="The page, .html."
)
@_file_option("json", "All numbers of the page.")
@_file_option("csv", "The class table.")
@_file_option("markdown", "The verdict, what needs attention, and F1 by frequency.")
@options.labels_options
@options.logits_options
@options.force_option
@click.option("--quiet", is_flag=True, help="No progress, no notes.")
def command(
    rule: str,
    logits: str,
    labels: str,
    output: Path | None,
    as_json: Path | None,
    as_csv: Path | None,
    as_markdown: Path | None,
    force: bool,
    quiet: bool,
    **reading: Any,
) -> None:
    """Write a page that shows what RULE does to the rows of LOGITS and LABELS.

    It opens offline in any browser: the verdict, what needs attention, all classes in a table, and
    each class with its curves and a slider for its threshold, whose overrides `calibrate fit
    --overrides` takes.

    Judge on rows that the rule was not fitted to. Those it was fitted to are recognised: the
    verdict is then that of the cross-fit that the rule file holds, and all else is called
    in-sample.
    """
    files = {"html": output, "json": as_json, "csv": as_csv, "markdown": as_markdown}
    wanted = {form: file for form, file in files.items() if file is not None}
    if not wanted:
        raise click.UsageError("name a file to write: --output, --json, --csv or --markdown")
    for file in wanted.values():
        refuse_overwrite(file, force)
    from calibrate.decision import load
    from calibrate.report import threshold_report
    from calibrate.report.html import scripts_of_bokeh
    from calibrate.storage import write_atomically

    if output is not None:
        scripts_of_bokeh()  # says now, not after the work, that it is missing
    decision = load(rule)
    if reading["class_names"] is None:
        reading["class_names"] = decision.class_names
    reading["probabilities"] |= decision.provenance.get("input") == "probabilities"
    rows = options.read_rows(logits, labels, **reading)
    with progress(quiet, rows.source):
        report = threshold_report(decision, rows, command=command_line(rule, logits, labels))
    for form, file in wanted.items():
        content = _written(report, form).encode()

        def write(opened: BinaryIO, content: bytes = content) -> int:
            return opened.write(content)

        write_atomically(file, write)
    note(quiet, f"wrote {', '.join(str(file) for file in wanted.values())}")
    for sentence in sentences(report):
        note(quiet, sentence)


def command_line(rule: str, logits: str, labels: str) -> str:
    """The command that makes a report again, without its output."""
    return shlex.join(["calibrate", "report", rule, logits, labels])


def sentences(report: ThresholdReport) -> list[str]:
    """The verdict in words, and how much needs attention."""
    from calibrate.report.text import in_words

    return [*in_words(report.verdict), f"{len(report.attention)} things need attention."]


def _written(report: ThresholdReport, form: str) -> str:
    if form == "json":
        return json.dumps(report.as_dict(), allow_nan=False) + "\n"
    return {"html": report.html, "csv": report.csv, "markdown": report.markdown}[form]()
