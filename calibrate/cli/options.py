"""Options that several commands share, and the reading of the files they name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from calibrate.data import LabelledLogits

Command = TypeVar("Command", bound=Callable[..., Any])


FOLDS = 5
"""Folds of a cross-fit where nobody says how many."""

FIGURES = {
    "macro_f": "macro-F1",
    "micro_f": "micro-F1",
    "instance_f": "instance-F1",
    "count_ratio": "pred/true",
}
"""What is shown of the figures of one rule, and the heading it gets."""


def _stack(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


logits_options = _stack(
    click.option("--logits-key", metavar="NAME", help="Array of a file that holds several."),
    click.option(
        "--nan",
        type=click.Choice(["raise", "negative"]),
        default="raise",
        show_default=True,
        help="What a nan (or -inf) logit means: an error, or decided negative.",
    ),
    click.option("--probabilities", is_flag=True, help="The values are probabilities, not logits."),
)

labels_options = _stack(
    click.option("--labels-key", metavar="NAME", help="Array of a file that holds several."),
    click.option(
        "--class-names",
        type=click.Path(exists=True, dir_okay=False),
        help="Names of the classes: .txt, one per line, or a .json list.",
    ),
)

output_options = _stack(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    click.option("--quiet", is_flag=True, help="No progress, no notes."),
)

force_option = click.option("--force", is_flag=True, help="Overwrite the output.")

pos_weight_option = click.option(
    "--pos-weight",
    metavar="FILE|auto",
    help="Weights of the training (.npy or .txt, one per class), or 'auto': negatives/positives "
    "of the labels given.",
)


groups_option = click.option(
    "--groups",
    metavar="FILE",
    help="One id per row (.npy, or .txt with one a line): rows of a group stay in one fold.",
)

folds_option = click.option(
    "--folds",
    type=click.IntRange(0),
    help=f"Folds of the cross-fit that the figures come from; 0 for none.  [default: {FOLDS}]",
)


OBJECTIVES = "macro-f1, micro-f1, instance-f1, count, recall=R, precision=P"


def objective_option(*, default: str | None, help: str) -> Callable[[Command], Command]:  # noqa: A002
    """``--objective``: a goal by its name."""
    return click.option(
        "--objective",
        default=default,
        show_default=default is not None,
        metavar="GOAL",
        help=f"{help}: {OBJECTIVES}.",
    )


def read_rows(
    logits: str,
    labels: str,
    *,
    logits_key: str | None,
    labels_key: str | None,
    class_names: str | None,
    nan: Any,
    probabilities: bool,
) -> LabelledLogits:
    """Checked rows from the arguments of a command."""
    from calibrate.data import labelled_logits

    return labelled_logits(
        logits,
        labels,
        class_names=class_names,
        nan=nan,
        logits_key=logits_key,
        labels_key=labels_key,
        probabilities=probabilities,
    )


def weights(text: str, rows: LabelledLogits) -> Any:
    """The ``--pos-weight`` of a command: numbers from a file, or from the labels for ``auto``."""
    if text != "auto":
        return read_numbers(text)
    from calibrate.calibrators.pos_weight_correction import PosWeightCorrection

    return PosWeightCorrection.from_counts(rows.labels.positives, rows.shape[0]).pos_weight


def read_numbers(path: str) -> Any:
    """One number per class from a ``.npy`` or text file.

    Raises
    ------
    click.UsageError
        If it is neither.
    """
    import numpy as np

    file = Path(path)
    if not file.is_file():
        raise click.UsageError(f"{path!r} is neither a number nor a file of numbers")
    try:
        if file.stat().st_size == 0:
            raise ValueError("the file is empty")
        if file.suffix == ".npy":
            return np.load(file, allow_pickle=False)
        return np.loadtxt(file, ndmin=1)
    except (ValueError, EOFError, OSError) as error:
        raise click.UsageError(f"{path} must hold one number per class: {error}") from error


def read_groups(path: str | None) -> Any:
    """One id per row from a ``.npy`` or text file, or None.

    Raises
    ------
    click.UsageError
        If it is neither.
    """
    import numpy as np

    if path is None:
        return None
    file = Path(path)
    try:
        if file.suffix == ".npy":
            return np.load(file, allow_pickle=False)
        return np.array(file.read_text(encoding="utf-8-sig").splitlines(), dtype=np.str_)
    except (ValueError, EOFError, OSError) as error:
        raise click.UsageError(f"{path} must hold one id per row: {error}") from error


def overridden(rule: Any, path: Path) -> Any:
    """The rule with the overrides of a JSON file.

    Raises
    ------
    click.UsageError
        If the file does not hold them.
    """
    from calibrate.overrides import from_json
    from calibrate.rules.overridden import Overridden

    known = {"classes", "min_labels", "max_labels"}
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(given, dict) or not given.keys() <= known:
            raise ValueError(f"an object of {', '.join(sorted(known))} is what it must be")
        classes = given.get("classes", {})
        if not isinstance(classes, dict):
            raise ValueError("classes must be an object of class names and what is done with them")
        read = {name: from_json(value) for name, value in classes.items()}
        least, most = given.get("min_labels", 0), given.get("max_labels")
        return Overridden(rule, read, least, most)
    except (ValueError, TypeError, OSError) as error:
        raise click.UsageError(f"{path} must hold overrides: {error}") from error
