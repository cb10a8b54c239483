"""``calibrate warmup``: kernels compiled ahead, so that the first real call is quick."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from calibrate.cli import options
from calibrate.cli.output import bar, emit_json

if TYPE_CHECKING:
    from calibrate.compilation import Warmup


@click.command("warmup")
@options.output_options
def command(as_json: bool, quiet: bool) -> None:
    """Compile all kernels now, so that no later command waits for it.

    The machine code is kept on disk for this version of calibrate, numba and Python and this type
    of processor, in the first of these folders that can be written: NUMBA_CACHE_DIR, the folder of
    the package, the user's cache. Only a user who can write there finds it again: in the build of
    an image that will run as another user, set NUMBA_CACHE_DIR to a folder that is open to both.
    """
    from calibrate.compilation import warmup

    with bar(quiet, 0, "kernels") as advance:
        shown = 0

        def report(done: int, total: int) -> None:
            nonlocal shown
            advance(done - shown, total)
            shown = done

        found = warmup(report)
    if not found.folders:
        click.echo(
            "warning: numba's cache cannot be written (neither the package's folder nor the user's "
            "cache): every process will compile anew; set NUMBA_CACHE_DIR to a folder that can be "
            "written",
            err=True,
        )
    if as_json:
        content = {"seconds": found.seconds, "folders": list(found.folders)}
        emit_json("warmup", {"compiled": found.compiled, "loaded": found.loaded, **content})
        return
    click.echo("\n".join(_lines(found)))


def _lines(found: Warmup) -> list[str]:
    """What was compiled and what was there, by file, and where it lies."""
    lines = []
    for done, versions in (("compiled", found.compiled), ("found in the cache", found.loaded)):
        by_file: dict[str, list[str]] = {}
        for kernel in (kernel for kernel, number in versions.items() if number):
            file, _, name = kernel.rpartition(".")
            by_file.setdefault(file, []).append(name)
        if by_file:
            lines.append(f"{done}: {sum(map(len, by_file.values()))} kernels")
        for file, names in by_file.items():
            text = f"  {file}: {', '.join(names)}"
            lines += textwrap.wrap(text, 80, subsequent_indent="    ")
    lines.append(f"took {found.seconds:.1f} s")
    return [*lines, *(f"kept in {folder}" for folder in found.folders)]
