"""The command line: one file per command, each heavy import inside the command that needs it."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

from calibrate import __version__
from calibrate.cli.output import report_warnings

_INTERRUPTED, _TERMINATED = 130, 143

COMMANDS = ("fit", "apply", "report", "compare", "inspect", "export", "demo", "warmup")


class _Commands(click.Group):
    """Commands found by the name of their file, imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"calibrate.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the library refuses is one line on stderr and exit code 2."""
        with report_warnings(), _terminated_as_interrupted(), _no_interrupt_lost() as lost:
            try:
                return super().invoke(ctx)
            except BrokenPipeError:
                raise
            except (Exception, KeyboardInterrupt) as error:
                if lost or isinstance(error, KeyboardInterrupt):
                    click.echo("interrupted", err=True)
                    ctx.exit(_INTERRUPTED)
                if isinstance(error, ValueError | TypeError | OSError | EOFError | ImportError):
                    raise _Refused(str(error) or type(error).__name__) from error
                raise


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let a polite kill clean up as Ctrl-C does: temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _no_interrupt_lost() -> Iterator[list[threading.Timer]]:
    """Raise a Ctrl-C again that was lost in a callback, such as LLVM's while a kernel is compiled.

    Python can only report an error there and go on, and what the callback was for may then fail;
    gives the interrupts that were lost so far.
    """
    report, lost = sys.unraisablehook, list[threading.Timer]()

    def hook(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            report(unraisable)
            return
        # a little later, when the callback is over
        lost.append(threading.Timer(0.05, _interrupt_main))
        lost[-1].start()

    sys.unraisablehook = hook
    try:
        yield lost
    finally:
        for timer in lost:
            timer.cancel()
        sys.unraisablehook = report


def _interrupt_main() -> None:
    """Ctrl-C once more, to the thread that waits for it."""
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:
        # a real signal: it also ends a wait
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class _Refused(click.ClickException):
    exit_code = 2


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="calibrate")
def main() -> None:
    """Turn the logits of a multilabel network into labels you can trust.

    \b
    calibrate compare val_logits.npy val_labels.npz     which pipeline is best?
    calibrate fit val_logits.npy val_labels.npz -o rule.safetensors
    calibrate apply rule.safetensors new_logits.npy -o labels.jsonl
    calibrate export rule.safetensors -o rule.onnx      decide without calibrate
    calibrate report rule.safetensors test_logits.npy test_labels.npz -o report.html

    Exit codes: 0 done, 2 refused or failed, 130 interrupted. Data goes to stdout, all else to
    stderr.
    """  # noqa: D301
