"""The report as one page that opens offline; nothing is computed here.

Plots are Bokeh's, whose scripts its Python package carries; table, slider and overrides are those
of `page/page.js`. Everything that can be known before the page is
opened stands in it as text: rounded here, the way the rest of the library prints. The data of the
classes are JSON, gzip and base64, so that no class name is ever read as markup; scripts set text
alone. Scripts are allowed by their hash, and nothing may be asked of the network.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrate.report.text import HEADS, digits, in_words
from calibrate.report.verdict import CROSS_FIT, FITTING_ROWS
from calibrate.statistics.histogram import N_BINS

if TYPE_CHECKING:
    from calibrate.report.result import ThresholdReport

COLUMNS: dict[str, tuple[str, int, str]] = {
    "support": ("true", 0, "True labels in the rows judged"),
    "threshold": ("threshold", 3, "In calibrated logits"),
    "probability": ("probability", 4, "The threshold as a probability"),
    "precision": ("precision", 4, "Share of the predictions that are true"),
    "recall": ("recall", 4, "Share of the true labels that are predicted"),
    "f": ("F1", 4, "Harmonic mean of precision and recall"),
    "f_low": ("F1 from", 4, "Lower bound of the interval of F1"),
    "f_high": ("F1 to", 4, "Upper bound of the interval of F1"),
    "count_ratio_before": ("pred/true before", 2, "Raw logits cut at 0"),
    "count_ratio": ("pred/true after", 2, "Predictions of the rule per true label"),
    "average_precision": ("average precision", 4, "Area under the precision-recall steps"),
    "cox_slope": ("slope", 2, "Of the calibration line; 1 is right, less is too sure"),
    "ece": ("calibration error", 4, "Mean distance of probability and rate, 15 bins"),
    "calibration_shrinkage": ("shrinkage", 2, "How far its line is drawn to all others, 0 to 1"),
    "threshold_shrinkage": ("of threshold", 2, "How far its threshold is drawn to the plug-in one"),
}
"""Columns of the class table between name and flags: heading, digits, what it is."""

_MORE = ("tp", "predicted", "predicted_before")
"""Counts that the page needs beside the columns."""

_BOKEH: list[Any] = ["bokeh", "bokeh-api"]
"""Neither its tables nor its widgets, and not what sets formulas."""

_BRIEF = 4
"""Significant digits of the numbers of a reliability diagram."""


def page(report: ThresholdReport) -> str:
    """The page, the same bytes for the same report."""
    scripts = [*scripts_of_bokeh(), _asset("plot.js"), _asset("page.js")]
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    in_sample = report.verdict["judged_on"] in (CROSS_FIT, FITTING_ROWS)
    warning = "In-sample: these are the rows that the rule was fitted to, and flatter it."
    return Template(_asset("page.html")).substitute(
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'",
        style=_asset("page.css"),
        verdict=_verdict(report),
        attention=_attention(report),
        key="Before is the raw logits cut at 0, which is probability one half; after is the rule.",
        insample=f'<p class="note"><strong>{warning}</strong></p>' if in_sample else "",
        reading=_asset("reading.html"),
        provenance=_provenance(report),
        data=_packed(_data(report)),
        curves=_packed(_curves(report)),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def summary(report: ThresholdReport) -> str:
    """The verdict and what needs attention, without the rest of the page."""
    return _verdict(report) + _attention(report)


def _asset(name: str) -> str:
    return files("calibrate.report").joinpath("page", name).read_text(encoding="utf-8")


def scripts_of_bokeh() -> list[str]:
    """The scripts of Bokeh that draw, and those that put plots together.

    Raises
    ------
    ImportError
        With the command that installs it.
    """
    try:
        from bokeh.resources import Resources
    except ImportError as error:
        raise ImportError(
            'the page needs bokeh: pip install "calibrate-multilabel[report]"'
        ) from error
    return list(Resources(mode="inline", components=_BOKEH, log_level="warn").js_raw)


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _packed(data: dict[str, Any]) -> str:
    """JSON as gzip in base64, without the time."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode()


def _verdict(report: ThresholdReport) -> str:
    verdict = report.verdict
    parts = [("before", verdict["before"]), ("after", verdict["after"])]
    if verdict["judged_on"] == CROSS_FIT:
        parts.insert(1, ("after, in-sample", verdict["in_sample"]))
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name, _ in parts)
    rows = "".join(
        f'<tr><th scope="row">{escape(head)}</th>'
        + "".join(f"<td>{_with_bounds(figures[key], digits(key))}</td>" for _, figures in parts)
        + "</tr>"
        for key, head in HEADS.items()
    )
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in in_words(verdict))
    return (
        f'{said}<div class="wide"><table class="verdict"><caption class="hidden">Figures before '
        f"and after, with {verdict['level']:.0%} intervals</caption><thead><tr><td></td>{heads}"
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _with_bounds(figure: dict[str, float | None], places: int) -> str:
    estimate, low, high = (_text(figure[name], places) for name in ("estimate", "low", "high"))
    return f"{estimate} <small>{low} to {high}</small>" if figure["low"] is not None else estimate


def _text(value: float | None, places: int) -> str:
    return "none" if value is None else f"{value:.{places}f}"


def _attention(report: ThresholdReport) -> str:
    if not report.attention:
        return "<p>Nothing.</p>"
    items = "".join(
        f"<li><span>{escape(doubt.message)}</span>"
        + (
            f' <button type="button" data-code="{escape(doubt.code)}" hidden>Show them</button>'
            if doubt.classes
            else ""
        )
        + "</li>"
        for doubt in report.attention
    )
    return f'<ul class="attention">{items}</ul>'


def _provenance(report: ThresholdReport) -> str:
    told = report.provenance
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    steps = [
        f"{part['step']}({', '.join(f'{k}={v}' for k, v in part['options'].items())})"
        for part in told["pipeline"]
    ]
    learned = [sentence for part in told["pipeline"] for sentence in part["learned"]]
    fitted_to = "unknown" if told["n_rows"] is None else f"{told['n_rows']:,}"
    apart = f", and {told['n_rows_apart']:,} rows apart" if told["n_rows_apart"] else ""
    rows: dict[str, str | list[str]] = {
        "rule": ", then ".join(steps) or ", then ".join(told["steps"]),
        "learned": learned or "nothing that is reported",
        "rows fitted to": fitted_to + apart,
        "rows judged": f"{report.verdict['n_rows']:,} x {report.verdict['n_classes']:,} classes, "
        f"{report.verdict['n_labels']:,} labels",
        "fitted by": f"calibrate {told['fitted_by'] or 'of unknown version'}",
        "reported by": versions,
        "command": told["command"] or "in Python",
    }
    told_by_term = {term: [told] if isinstance(told, str) else told for term, told in rows.items()}
    return (
        '<dl class="provenance">'
        + "".join(
            f"<dt>{escape(term)}</dt>" + "".join(f"<dd>{escape(one)}</dd>" for one in told)
            for term, told in told_by_term.items()
        )
        + "</dl>"
    )


def _data(report: ThresholdReport) -> dict[str, Any]:
    """What the table and the overview need, rounded as it is shown."""
    threshold = report.per_class["threshold"]
    has_thresholds = not np.isnan(threshold).any()
    shown = {
        name: column
        for name, column in COLUMNS.items()
        if not np.isnan(report.per_class[name]).all()
    }
    codes: dict[str, int] = {}
    for code in (code for flags in report.flags for code in flags):
        codes[code] = codes.get(code, 0) + 1
    place = {code: number for number, code in enumerate(codes)}
    counts = report.per_class
    return {
        "named": report.class_names is not None,
        "names": list(report.names),
        "n_rows": report.verdict["n_rows"],
        "n_labels": report.verdict["n_labels"],
        "n_predicted": int(counts["predicted"].sum()),
        "columns": [
            {"key": "name", "label": "class", "title": "Name of the class"},
            *({"key": k, "label": v[0], "digits": v[1], "title": v[2]} for k, v in shown.items()),
            {"key": "flags", "label": "needs attention", "title": "What needs attention"},
        ],
        "per_class": {
            **{name: _rounded(counts[name], column[1]) for name, column in COLUMNS.items()},
            **{name: counts[name].tolist() for name in _MORE},
            "flags": [len(flags) for flags in report.flags],
        },
        "has_thresholds": has_thresholds,
        "exact": [t if math.isfinite(t) else None for t in threshold.tolist()],
        "never": np.flatnonzero(np.isposinf(threshold)).tolist(),
        "codes": list(codes.items()),
        "flags": [[place[code] for code in flags] for flags in report.flags],
        "overview": report.overview,
        "overrides": _overrides(report.overrides),
    }


def _overrides(given: dict[str, Any] | None) -> dict[str, Any] | None:
    """In a list, whose order no reader changes."""
    return None if given is None else {**given, "classes": list(given["classes"].items())}


def _rounded(values: NDArray[Any], places: int) -> list[float | int | None]:
    """Numbers as they are printed; None where there is none."""
    if places == 0:
        return [int(value) for value in values]
    return [float(f"{v:.{places}f}") if math.isfinite(v) else None for v in values.tolist()]


def _curves(report: ThresholdReport) -> dict[str, Any]:
    """Curves of all classes one after the other; what rises or falls as differences."""
    curves, groups = report.curves, report.curves.reliability
    cuts, bins = curves.cuts, curves.cells.shape[1]
    classes = np.repeat(np.arange(report.n_classes), np.diff(cuts.indptr))
    some = groups.cells > 0
    return {
        "low": curves.low.tolist(),
        "width": curves.width.tolist(),
        "cuts": {
            "start": cuts.indptr.tolist(),
            "edge": np.abs(_differences(cuts.edge, cuts.indptr)).tolist(),
            "tp": _differences(cuts.tp, cuts.indptr).tolist(),
            "predicted": _differences(cuts.predicted, cuts.indptr).tolist(),
            "steps": _steps(
                cuts.threshold, curves.low[classes] + cuts.edge * curves.width[classes]
            ),
        },
        "scores": {
            "bins": bins,
            "step": N_BINS // bins,
            "cells": curves.cells.ravel().tolist(),
            "positives": curves.positives.ravel().tolist(),
        },
        "reliability": {
            "start": [0, *np.cumsum(some.sum(axis=1)).tolist()],
            "cells": groups.cells[some].tolist(),
            "positives": groups.positives[some].tolist(),
            **{
                name: [float(f"{v:.{_BRIEF}g}") for v in values[some].tolist()]
                for name, values in (("p", groups.p), ("low", groups.low), ("high", groups.high))
            },
        },
    }


def _differences(values: NDArray[np.int64], indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each value less the one before it; the first of each class as it is."""
    found = np.diff(values, prepend=0)
    starts = indptr[:-1][np.diff(indptr) > 0]
    found[starts] = values[starts]
    return found


def _steps(threshold: NDArray[np.float32], edge: NDArray[np.float64]) -> dict[str, int]:
    """How many float32 the threshold lies above the first that is no lower than the edge.

    Of most cuts it is that one, so that the page can find it and only the others are listed.
    """
    with np.errstate(over="ignore"):
        first = edge.astype(np.float32)
        first = np.where(first < edge, np.nextafter(first, np.float32(np.inf)), first)
    places = (_ordinal(threshold) - _ordinal(first)).tolist()
    return {str(entry): place for entry, place in enumerate(places) if place}


def _ordinal(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Places of float32 numbers in their order."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))
