"""Options that several commands share, and the names that stand for steps and metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from pkgutil import iter_modules
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


_WRAPPERS = {"overridden"}
"""Rules around another rule, which have an option of their own."""


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


def make_objective(text: str) -> Any:
    """An objective from its name.

    Raises
    ------
    click.UsageError
        If it is not known.
    """
    from calibrate import objectives

    try:
        return objectives.by_name(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def make_rule(text: str, metric: str | None = None) -> Any:
    """A rule from ``name:option=value,...``; a threshold rule maximises `metric`, F1 if None.

    Raises
    ------
    click.UsageError
        If something is not known, or a metric is given to a rule that maximises none.
    """
    rule = make_step("rules", text, {"metric": make_metric(metric or "f1")})
    if metric is not None and not hasattr(rule, "metric"):
        raise click.UsageError(f"--metric goes with a threshold rule; {text} maximises none")
    return rule


def step_names(room: str) -> list[str]:
    """Names of the methods in ``calibrators`` or ``rules``, as typed: ``platt-scaling``."""
    folder = Path(__file__).parent.parent / room
    names = {module.name.replace("_", "-") for module in iter_modules([str(folder)])}
    return sorted(names - _WRAPPERS)


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


def make_step(room: str, text: str, defaults: dict[str, Any]) -> Any:
    """A calibrator or rule from ``name`` or ``name:option=value,option=value``.

    Parameters
    ----------
    room : {"calibrators", "rules"}
    text : str
    defaults : dict
        Options for a step that takes them and is not given them, such as the metric.

    Raises
    ------
    click.UsageError
        If the name or an option is not known, or an option is missing.
    """
    import inspect

    import calibrate

    name, _, given = text.partition(":")
    if name not in step_names(room):
        raise click.UsageError(f"{name!r} is not one of the {room}: {', '.join(step_names(room))}")
    step = getattr(calibrate, "".join(word.capitalize() for word in name.split("-")))
    options = [part.partition("=") for part in given.split(",") if part]
    values = {key.strip().replace("-", "_"): _value(key, text) for key, _, text in options}
    takes = inspect.signature(step.__init__).parameters
    unknown = [key for key in values if key not in takes]
    if unknown:
        known = ", ".join(key for key in takes if key != "self") or "none"
        raise click.UsageError(f"{name} has no option {unknown[0]!r}; it has: {known}")
    values = {k: v for k, v in defaults.items() if k in takes and v is not None} | values
    try:
        inspect.signature(step).bind(**values)
    except TypeError as error:
        raise click.UsageError(f"{name}: {error} (as in {name}:option=value)") from error
    return step(**values)


_LEARNED = ("row_layer", "shrinkage")
"""Options that may be left to the data, by ``auto``."""


def _value(key: str, text: str) -> Any:
    """A value from the command line: a number, true, false, none, something named, or a file."""
    named = {"metric": make_metric, "risk": make_risk, "correction": make_correction}
    if key.strip() in named:
        return named[key.strip()](text)
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    if text == "auto" and key.strip().replace("-", "_") in _LEARNED:
        return text
    if key.strip() == "target":
        return text  # logits, in any form that a command reads
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return read_numbers(text)


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


METRICS = (
    "f1, f2, f0.5, f-beta=BETA, jaccard, mcc, balanced-accuracy, cost=FP:FN, "
    "precision-at-recall=R, recall-at-precision=P"
)


def make_metric(text: str) -> Any:
    """A metric from its name on the command line.

    Raises
    ------
    click.UsageError
        If it is not known.
    """
    from calibrate import metrics

    plain = {
        "f1": metrics.f_beta(1),
        "f2": metrics.f_beta(2),
        "f0.5": metrics.f_beta(0.5),
        "jaccard": metrics.jaccard,
        "mcc": metrics.mcc,
        "balanced-accuracy": metrics.balanced_accuracy,
    }
    with_number: dict[str, Callable[..., Any]] = {
        "f-beta": metrics.f_beta,
        "cost": metrics.cost,
        "precision-at-recall": metrics.precision_at_recall,
        "recall-at-precision": metrics.recall_at_precision,
    }
    name, _, numbers = text.partition("=")
    if text in plain:
        return plain[text]
    if name in with_number and numbers:
        try:
            return with_number[name](*(float(number) for number in numbers.split(":")))
        except (TypeError, ValueError) as error:
            raise click.UsageError(f"metric {text!r}: {error}") from error
    raise click.UsageError(f"{text!r} is not one of the metrics: {METRICS}")


def make_risk(text: str) -> Any:
    """A risk from its name on the command line.

    Raises
    ------
    click.UsageError
        If it is not known.
    """
    from calibrate.risks import NAMED

    if text not in NAMED:
        raise click.UsageError(f"{text!r} is not one of the risks: {', '.join(NAMED)}")
    return NAMED[text]


def make_correction(text: str) -> Any:
    """A correction for many tests from its name on the command line.

    Raises
    ------
    click.UsageError
        If it is not known.
    """
    from calibrate.corrections import NAMED

    if text not in NAMED:
        raise click.UsageError(f"{text!r} is not one of the corrections: {', '.join(NAMED)}")
    return NAMED[text]
