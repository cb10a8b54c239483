"""What commands print and write: data on stdout, the rest on stderr, files all or nothing."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from calibrate.data import LogitSource

SCHEMA = 1
"""Version of the JSON objects that ``--json`` prints."""


@contextlib.contextmanager
def report_warnings() -> Iterator[None]:
    """Show warnings as one line each on stderr."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        click.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("once", UserWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def bar(quiet: bool, total: int, unit: str) -> Iterator[Callable[..., None]]:
    """A bar on stderr once a second has gone by; gives what to call with every advance.

    Nothing is shown where stderr is not a terminal. Work that goes on beyond `total` is another
    pass, which the total then takes in; a second argument corrects the total.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from tqdm import tqdm

    with tqdm(total=total, delay=1.0, unit=unit, unit_scale=True, leave=False) as shown:

        def advance(amount: int, new_total: int | None = None) -> None:
            if new_total is not None:
                shown.total = new_total
            elif shown.n + amount > shown.total:
                shown.total += total
            shown.update(amount)

        yield advance


@contextlib.contextmanager
def progress(quiet: bool, *sources: LogitSource) -> Iterator[None]:
    """A bar for each pass over the logits of `sources`, which are watched from here on."""
    total = sum(source.shape[0] * source.shape[1] for source in sources)
    with bar(quiet, total, "logits") as advance:
        for source in sources:
            source.watch(advance)
        yield


def emit_json(command: str, content: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps({"schema": SCHEMA, "command": command, **content}, allow_nan=False))


def refuse_overwrite(path: Path, force: bool) -> None:
    """Refuse before any work is done if the output exists, or its folder does not.

    Raises
    ------
    click.UsageError
        Exit code 2.
    """
    if path.is_dir():
        raise click.UsageError(f"{path} is a folder; name a file to write")
    if path.exists() and not force:
        raise click.UsageError(f"{path} exists; give --force to overwrite it")
    if not path.parent.is_dir():
        raise click.UsageError(f"there is no folder {path.parent} to write {path.name} in")


def note(quiet: bool, text: str) -> None:
    """A line for people, on stderr."""
    if not quiet:
        click.echo(text, err=True)
