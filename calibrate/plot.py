"""Pictures of a `ThresholdReport` for papers and notebooks, drawn with matplotlib.

Each function draws into the axes it is given, or into new ones, and returns them. Nothing is
computed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from calibrate.report import ThresholdReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER, BAND = "#E69F00", "#0072B2", "#BBBBBB"
"""Colours that everybody can tell apart (Okabe and Ito)."""


def reliability(
    report: ThresholdReport, label: int | str | None = None, ax: Axes | None = None
) -> Axes:
    """Rate of positives against mean probability, with a consistency band.

    Where all probabilities are right and cells independent, each point lies in the band with the
    probability of the report's level.

    Parameters
    ----------
    report : ThresholdReport
    label : int or str, optional
        A class, by number or name; by default all cells pooled.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no such class.

    Examples
    --------
    >>> import numpy as np
    >>> import calibrate as cal
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(-2.0, 1.5, (500, 2))
    >>> labels = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    >>> fitted = cal.Pipeline([cal.PlattScaling()], cal.ExpectedCountTopK()).fit(logits, labels)
    >>> ax = cal.plot.reliability(cal.threshold_report(fitted, logits, labels))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('mean probability', 'rate of positives')
    """
    ax = _axes(ax)
    if label is None:
        found = report.overview["reliability"]
        p, low, high = (np.array(found[name]) for name in ("p", "low", "high"))
        rate = np.array(found["rate"])
    else:
        c, groups = _class_number(report, label), report.curves.reliability
        some = groups.cells[c] > 0
        p, low, high = groups.p[c][some], groups.low[c][some], groups.high[c][some]
        rate = groups.positives[c][some] / groups.cells[c][some]
    ax.plot([0, 1], [0, 1], color=BAND, linewidth=1, linestyle="--")
    ax.fill_between(p, low, high, color=BAND, alpha=0.5, label="if all were right")
    ax.plot(p, rate, color=AFTER, marker="o", label=_title(report, label))
    ax.set(xlabel="mean probability", ylabel="rate of positives")
    ax.legend()
    return ax


def precision_recall(
    report: ThresholdReport, label: int | str, ax: Axes | None = None, **line: Any
) -> Axes:
    """Precision against recall of a class at all cuts, and the point where the rule works.

    Parameters
    ----------
    report : ThresholdReport
    label : int or str
        A class, by number or name.
    ax : matplotlib axes, optional
    **line
        What else the line is drawn with, such as its ``color``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no such class.
    """
    ax, c = _axes(ax), _class_number(report, label)
    _, tp, predicted = _cuts(report, c)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = tp / report.per_class["support"][c]
    (drawn,) = ax.plot(recall, tp / predicted, **{"label": _name(report, c), **line})
    works = [report.per_class[name][c] for name in ("recall", "precision")]
    ax.plot(*([value] for value in works), color=drawn.get_color(), marker="o", linestyle="none")
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    ax.legend()
    return ax


def ratio_against_frequency(report: ThresholdReport, ax: Axes | None = None) -> Axes:
    """Predicted over true labels of each class against its true labels, before and after.

    Classes without true labels, or without predictions, have no place on the logarithmic axes.

    Parameters
    ----------
    report : ThresholdReport
    ax : matplotlib axes, optional

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    ax = _axes(ax)
    support = report.per_class["support"]
    parts = (
        ("count_ratio_before", BEFORE, "s", "before: logits cut at 0"),
        ("count_ratio", AFTER, "o", "after"),
    )
    for name, colour, marker, said in parts:
        ratio = report.per_class[name]
        shown = ratio > 0
        ax.scatter(
            support[shown], ratio[shown], s=9, color=colour, marker=marker, alpha=0.6, label=said
        )
    ax.axhline(1, color=BAND, linewidth=1, linestyle="--")
    ax.set(xscale="log", yscale="log", xlabel="true labels", ylabel="predicted / true")
    ax.legend()
    return ax


def threshold_trade_off(report: ThresholdReport, label: int | str, ax: Axes | None = None) -> Axes:
    """Precision, recall and F1 of a class against the threshold, and the threshold of the rule.

    Parameters
    ----------
    report : ThresholdReport
    label : int or str
        A class, by number or name.
    ax : matplotlib axes, optional

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no such class.
    """
    ax, c = _axes(ax), _class_number(report, label)
    threshold, tp, predicted = _cuts(report, c)
    support = report.per_class["support"][c]
    with np.errstate(divide="ignore", invalid="ignore"):
        figures = {
            "precision": tp / predicted,
            "recall": tp / support,
            "F1": 2 * tp / (predicted + support),
        }
    for (name, values), style in zip(figures.items(), ("--", ":", "-"), strict=True):
        ax.plot(threshold, values, linestyle=style, label=name)
    works = report.per_class["threshold"][c]
    if np.isfinite(works):
        ax.axvline(works, color=BAND, label="threshold")
    ax.set(xlabel="threshold (calibrated logit)", ylim=(0, 1.02), title=_name(report, c))
    ax.legend()
    return ax


def _axes(ax: Axes | None) -> Axes:
    """The axes given, or new ones.

    Raises
    ------
    ImportError
        With the command that installs what is missing.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError(
            'pictures need matplotlib: pip install "calibrate-multilabel[report]"'
        ) from error
    return plt.subplots()[1]


def _cuts(report: ThresholdReport, c: int) -> tuple[Any, Any, Any]:
    cuts = report.curves.cuts
    here = slice(cuts.indptr[c], cuts.indptr[c + 1])
    return cuts.threshold[here], cuts.tp[here], cuts.predicted[here]


def _class_number(report: ThresholdReport, label: int | str) -> int:
    if isinstance(label, str):
        if label not in report.names:
            raise ValueError(f"label must be the name of a class, got {label!r}")
        return report.names.index(label)
    if not 0 <= label < report.n_classes:
        raise ValueError(f"label must be a class from 0 to {report.n_classes - 1}, got {label}")
    return int(label)


def _name(report: ThresholdReport, c: int) -> str:
    """A class name as matplotlib prints it: no formula, and never left out of a legend."""
    name = report.names[c].replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def _title(report: ThresholdReport, label: int | str | None) -> str:
    return "all classes" if label is None else _name(report, _class_number(report, label))
