"""`ThresholdReport`: all numbers of the report, and the forms they are written in."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.evaluation.diagrams import Diagrams
from calibrate.evaluation.result import finite_or_none
from calibrate.report.attention import Doubt
from calibrate.statistics.coarse_cuts import CoarseCuts
from calibrate.statistics.histogram import N_BINS
from calibrate.storage import write_atomically

SCHEMA = 1
"""Version of `ThresholdReport.as_dict`."""


@dataclass(frozen=True, eq=False)
class ClassCurves:
    """What the curves of each class are drawn from.

    Attributes
    ----------
    cuts : CoarseCuts
        On calibrated logits.
    low, width : float64, (n_classes,)
        The grid that the cuts lie on: bin b begins at ``low + b * width``.
    positives, cells : int64, (n_classes, 32)
        Scores in equal bins, each of 16 of the grid; the outer ones take what lies beyond.
    reliability : Diagrams
    """

    cuts: CoarseCuts
    low: NDArray[np.float64]
    width: NDArray[np.float64]
    positives: NDArray[np.int64]
    cells: NDArray[np.int64]
    reliability: Diagrams


@dataclass(frozen=True, eq=False)
class ThresholdReport:
    """What `threshold_report` returns.

    Attributes
    ----------
    verdict : dict
        ``before`` (raw logits cut at 0, probability one half) and ``after``: for each of
        ``count_ratio``, ``count_ratio_rare``, ``macro_f``, ``micro_f``, ``instance_f`` (see
        `calibrate.evaluation.Evaluation`) the ``estimate`` and the bounds ``low`` and ``high``.
        ``judged_on`` says on which rows ``after`` was found: ``"other rows"`` than the rule was
        fitted to; ``"cross-fit"``, where these are the fitting rows and each was judged by one of
        ``folds`` fits without it; ``"fitting rows"``, where there is no cross-fit; ``"unknown"``,
        where the rule does not say what it was fitted to. In the two cases between, ``in_sample``
        holds the flattering figures of the rule on its own rows.
    attention : tuple of Doubt
    overview : dict
        ``reliability`` of all cells pooled: lists ``p``, ``rate``, ``low``, ``high`` (consistency
        band), ``cells``, ``positives``. ``by_frequency``: for groups of classes with ``from`` to
        ``to`` true labels their number, mean F1 and predicted/true, before and after.
        ``labels_of_rows``: for the rows with ``from`` to ``to`` true labels their number, and how
        many labels they get, before and after.
    per_class : dict of str to array, (n_classes,)
        As in `calibrate.evaluation.Evaluation`: ``support``, ``tp``, ``predicted``, ``precision``,
        ``recall``, ``f``, ``f_low``, ``f_high``, ``count_ratio``, ``average_precision``, ``ece``;
        ``predicted_before``, ``f_before``, ``count_ratio_before`` of the raw logits cut at 0.
        ``threshold`` in calibrated logits (``inf``: never predicted; nan: the rule looks along the
        rows) and as ``probability``. As in `calibrate.evaluation.CalibrationReport`:
        ``cox_slope``, ``cox_intercept``, ``cox_q``. From the rule, nan where it does not say:
        ``rule_positives`` that the threshold rests on; ``calibration_shrinkage`` and
        ``threshold_shrinkage``, how far line and threshold are drawn to what all classes have in
        common, 0 to 1.
    curves : ClassCurves
    overrides : dict or None
        What the rule was overridden with, as ``calibrate fit --overrides`` reads it; None where the
        rule takes no overrides.
    provenance : dict
    class_names : tuple of str, or None
    """

    verdict: dict[str, Any]
    attention: tuple[Doubt, ...]
    overview: dict[str, Any]
    per_class: dict[str, NDArray[Any]]
    curves: ClassCurves
    overrides: dict[str, Any] | None
    provenance: dict[str, Any]
    class_names: tuple[str, ...] | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.per_class["support"])

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, or the numbers of the classes where they have none."""
        return self.class_names or tuple(str(c) for c in range(self.n_classes))

    @cached_property
    def flags(self) -> tuple[tuple[str, ...], ...]:
        """For each class the codes of what needs attention in it."""
        found: list[list[str]] = [[] for _ in range(self.n_classes)]
        for doubt in self.attention:
            for c in doubt.classes:
                found[c].append(doubt.code)
        return tuple(tuple(dict.fromkeys(codes)) for codes in found)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not a finite number becomes None.

        ``per_class`` holds a list per column, with ``class`` and ``flags``. ``curves`` holds for
        each class ``threshold``, ``tp`` and ``predicted`` at some cuts from the highest to the
        lowest; ``reliability`` as in the overview; ``scores`` in equal bins from ``low`` on,
        ``width`` wide.
        """
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "attention": [asdict(doubt) for doubt in self.attention],
            "overview": self.overview,
            "per_class": {
                "class": list(self.names),
                **{
                    name: [finite_or_none(value) for value in values.tolist()]
                    for name, values in self.per_class.items()
                },
                "flags": [list(codes) for codes in self.flags],
            },
            "curves": [self._curve(c) for c in range(self.n_classes)],
            "overrides": self.overrides,
            "provenance": self.provenance,
        }

    def _curve(self, c: int) -> dict[str, Any]:
        curves = self.curves
        cuts, groups = curves.cuts, curves.reliability
        here, some = slice(cuts.indptr[c], cuts.indptr[c + 1]), groups.cells[c] > 0
        reliability = {name: part[c][some].tolist() for name, part in groups._asdict().items()}
        bins = curves.cells.shape[1]
        return {
            "threshold": [finite_or_none(t) for t in cuts.threshold[here].tolist()],
            "tp": cuts.tp[here].tolist(),
            "predicted": cuts.predicted[here].tolist(),
            "reliability": reliability,
            "scores": {
                "low": float(curves.low[c]),
                "width": float(curves.width[c]) * N_BINS / bins,
                "positives": curves.positives[c].tolist(),
                "cells": curves.cells[c].tolist(),
            },
        }

    def markdown(self) -> str:
        """The verdict, what needs attention, and F1 by frequency, for a pull request."""
        from calibrate.report.text import markdown

        return markdown(self)

    def csv(self) -> str:
        """The class table, one line per class, all digits."""
        from calibrate.report.text import csv_table

        return csv_table(self)

    def html(self) -> str:
        """The page: one file that opens offline."""
        from calibrate.report.html import page

        return page(self)

    def _repr_html_(self) -> str:
        """The verdict and what needs attention, for a notebook."""
        from calibrate.report.html import summary

        return summary(self)

    def save_page(self, path: str | os.PathLike[str]) -> None:
        """Write the page, all or nothing.

        Raises
        ------
        OSError
            If `path` cannot be written.
        """
        text = self.html().encode()
        write_atomically(path, lambda file: file.write(text))
