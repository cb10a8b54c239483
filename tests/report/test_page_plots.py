"""The plots of the page: what a pointer finds in them, and their numbers as text."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from reported import names, world
from scipy import sparse

import calibrate as cal
from calibrate.cli import main

PLAIN, HOSTILE = 0, 4
"""The most frequent class, and one whose name is markup."""


def said(value, digits):
    return "none" if value is None else f"{value:,}" if digits == 0 else f"{value:.{digits}f}"


def ratio(top, bottom):
    return top / bottom if bottom else None


def span(group):
    return (
        str(group["from"]) if group["from"] == group["to"] else f"{group['from']} to {group['to']}"
    )


def test_a_point_under_the_pointer_is_named(shared, report):
    per_class = report.per_class
    for c in (PLAIN, HOSTILE):
        for column in ("count_ratio_before", "count_ratio"):
            x, y = per_class["support"][c].item(), per_class[column][c].item()

            shared.page.mouse.move(*shared.place_of(0, x, y))

            tip = shared.page.locator(".bk-tooltip-content")
            tip.get_by_text(names()[c], exact=True).wait_for()
            shown = tip.inner_text()
            assert str(per_class["support"][c]) in shown
            assert f"{per_class['count_ratio_before'][c]:.2f}" in shown
            assert f"{per_class['count_ratio'][c]:.2f}" in shown
            shared.page.mouse.move(0, 0)
            tip.wait_for(state="hidden")
    assert shared.complaints == []


def test_a_click_on_a_point_opens_its_class(opened, report):
    from playwright.sync_api import expect

    per_class = report.per_class
    for c in (PLAIN, HOSTILE):
        x, y = per_class["support"][c].item(), per_class["count_ratio"][c].item()

        opened.page.mouse.click(*opened.place_of(0, x, y))

        expect(opened.page.locator("#class-name bdi")).to_have_text(names()[c])
        assert opened.figures()["recall"] == f"{per_class['recall'][c]:.4f}"


def test_a_click_on_a_rank_opens_the_class_of_that_rank(opened, report):
    from playwright.sync_api import expect

    support, predicted = report.per_class["support"], report.per_class["predicted"]
    ranked = sorted(np.flatnonzero(support), key=lambda c: -support[c])
    c = ranked[1]

    opened.page.mouse.click(*opened.place_of(1, 2, predicted[c].item()))

    expect(opened.page.locator("#class-name bdi")).to_have_text(names()[c])


@pytest.mark.parametrize(
    "title",
    [
        "Predicted over true labels, by frequency",
        "How often each class is true, and predicted",
        "F1 by frequency",
    ],
)
def test_the_numbers_by_frequency_are_those_of_the_report(shared, report, title):
    expected = [
        [
            span(group), said(group["n_classes"], 0),
            said(group["f_before"], 4), said(group["f"], 4),
            said(group["count_ratio_before"], 2), said(group["count_ratio"], 2),
        ]
        for group in report.as_dict()["overview"]["by_frequency"]
    ]  # fmt: skip

    assert shared.numbers(title) == expected


def test_the_numbers_of_the_labels_per_row_are_those_of_the_report(shared, report):
    expected = [
        [
            span(group), said(group["n_rows"], 0),
            said(group["before"], 2), said(group["after"], 2),
            *(said(group[f"after_{part}"], 0) for part in ("10_percent", "median", "90_percent")),
        ]
        for group in report.as_dict()["overview"]["labels_of_rows"]
    ]  # fmt: skip

    assert shared.numbers("Labels per row") == expected


def reliability_of(groups):
    """Four significant digits of each, and the counts."""
    rate = np.divide(groups["positives"], groups["cells"])
    columns = (groups["p"], rate, groups["low"], groups["high"])
    numbers = [[float(f"{value:.4g}") for value in row] for row in zip(*columns, strict=True)]
    counts = zip(groups["cells"], groups["positives"], strict=True)
    return [[*row, *pair] for row, pair in zip(numbers, counts, strict=True)]


def read(rows):
    return [[float(text.replace(",", "")) for text in row] for row in rows]


def test_the_numbers_of_the_pooled_diagram_are_those_of_the_report(shared, report):
    pooled = report.as_dict()["overview"]["reliability"]

    assert read(shared.numbers("Are the probabilities right?")) == reliability_of(pooled)


@pytest.fixture(params=[0, 3, 20, 38, 39])
def of_class(request, shared):
    """A class that is open, from the most frequent to one that is never true."""
    shared.open(request.param, names()[request.param])
    return request.param


def test_the_numbers_of_a_class_are_those_of_the_report(shared, report, of_class):
    curve, per_class = report.as_dict()["curves"][of_class], report.per_class
    support, own = int(per_class["support"][of_class]), per_class["threshold"][of_class]
    counts = zip(curve["threshold"], curve["tp"], curve["predicted"], strict=True)
    cuts = {
        threshold: (tp, predicted) for threshold, tp, predicted in counts if threshold is not None
    }
    cuts[own] = (int(per_class["tp"][of_class]), int(per_class["predicted"][of_class]))
    cuts[np.inf] = (0, 0)
    expected = [
        [
            "never" if np.isinf(threshold) else f"{threshold:.3f}", f"{1000 * predicted / 700:.2f}",
            said(ratio(tp, predicted), 4), said(ratio(tp, support), 4),
            said(ratio(2 * tp, predicted + support), 4),
        ]
        for threshold, (tp, predicted) in sorted(cuts.items())
    ]  # fmt: skip

    assert shared.numbers("Precision and recall", "#plots") == expected
    assert shared.numbers("Figures against the threshold", "#plots") == expected


def test_the_diagram_and_the_scores_of_a_class_are_those_of_the_report(shared, report, of_class):
    curve = report.as_dict()["curves"][of_class]
    scores = curve["scores"]
    edges = [scores["low"] + scores["width"] * b for b in range(len(scores["cells"]) + 1)]
    some = np.flatnonzero(scores["cells"])
    expected = [
        [
            f"{edges[b]:.3f}", f"{edges[b + 1]:.3f}",
            said(scores["cells"][b] - scores["positives"][b], 0), said(scores["positives"][b], 0),
        ]
        for b in range(some[0], some[-1] + 1)
    ]  # fmt: skip

    found = shared.numbers("Are its probabilities right?", "#plots")
    assert read(found) == reliability_of(curve["reliability"])
    assert shared.numbers("Scores of true and other labels", "#plots") == expected


@pytest.mark.filterwarnings("ignore::calibrate.FitWarning")
def test_the_command_takes_what_is_copied_and_cuts_where_the_page_said(browser, tmp_path):
    from opened import Opened

    def run(*arguments):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.stderr

    logits, labels = world()
    np.save(tmp_path / "z.npy", logits)
    sparse.save_npz(tmp_path / "y.npz", sparse.csr_array(labels))
    (tmp_path / "names.json").write_text(json.dumps(names()))
    rows = tmp_path / "z.npy", tmp_path / "y.npz"
    fit = (
        "fit", *rows, "--class-names", tmp_path / "names.json", "--folds", 0,
        "--calibrator", "none", "--rule", "per-class-threshold",
    )  # fmt: skip
    run(*fit, "-o", tmp_path / "rule", "--report", tmp_path / "page.html")
    context = browser.new_context(offline=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = Opened(context.new_page(), tmp_path / "page.html").go()
    shown = {}
    for c in (1, HOSTILE, 11, 25):
        opened.open(c, names()[c])
        last = int(opened.page.get_attribute("#slider", "max"))
        opened.slide(last if c == 25 else c + 2)
        shown[c] = opened.figures()
    opened.page.click("#copy")
    opened.page.wait_for_selector("#copied:has-text('Copied.')")
    (tmp_path / "overrides.json").write_text(
        opened.page.evaluate("navigator.clipboard.readText()"), encoding="utf-8"
    )
    context.close()

    run(*fit, "--overrides", tmp_path / "overrides.json", "-o", tmp_path / "moved")

    before, after = cal.load(tmp_path / "rule"), cal.load(tmp_path / "moved")
    judged = cal.evaluate(after, *rows, ranking=False)
    for c, figures in shown.items():
        threshold = after.rule.threshold[c]
        expected = "never predicted" if np.isinf(threshold) else f"{threshold:.3f}"
        assert figures["threshold"] == expected
        assert figures["recall"] == f"{judged.per_class['recall'][c]:.4f}"
    assert figures["threshold"] == "never predicted"
    assert figures["predicted / true, all classes"] == f"{judged.summary['count_ratio']:.4f}"
    others = np.setdiff1d(np.arange(40), list(shown))
    np.testing.assert_array_equal(after.rule.threshold[others], before.rule.threshold[others])
