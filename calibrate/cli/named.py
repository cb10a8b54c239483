"""Steps, metrics and goals from the names that stand for them on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import click

from calibrate.cli.options import read_numbers

_WRAPPERS = {"overridden"}
"""Rules around another rule, which have an option of their own."""


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
    from calibrate import corrections, risks

    named: dict[str, Callable[[str], Any]] = {
        "metric": make_metric,
        "risk": partial(_one_of, risks.NAMED, "risks"),
        "correction": partial(_one_of, corrections.NAMED, "corrections"),
    }
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


def _one_of(known: Mapping[str, Any], what: str, text: str) -> Any:
    """What has this name.

    Raises
    ------
    click.UsageError
        If nothing has.
    """
    if text not in known:
        raise click.UsageError(f"{text!r} is not one of the {what}: {', '.join(known)}")
    return known[text]
