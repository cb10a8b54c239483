"""The report as Markdown and CSV, and the sentences of its verdict."""

from __future__ import annotations

import csv
import io
import math

import pytest
from reported import fitted, names, world

import calibrate as cal
from calibrate.report.text import in_words


def test_the_markdown_has_the_figures_with_their_intervals(report):
    text = report.markdown()

    before, after = (line for line in text.splitlines() if line.startswith(("| before", "| after")))
    for line, part in ((before, "before"), (after, "after")):
        figure = report.verdict[part]["macro_f"]
        assert f"{figure['estimate']:.4f} ({figure['low']:.4f} to {figure['high']:.4f})" in line
        assert f"{report.verdict[part]['count_ratio_rare']['estimate']:.2f}" in line
    for doubt in report.attention:
        assert f"- {doubt.code}: {doubt.message}" in text
    for group in report.overview["by_frequency"]:
        assert f"| {group['n_classes']} |" in text


def test_the_csv_has_all_digits_of_every_class(report):
    rows = list(csv.DictReader(io.StringIO(report.csv())))

    assert [row["class"] for row in rows] == names()
    for name, values in report.per_class.items():
        for row, value in zip(rows, values.tolist(), strict=True):
            assert row[name] == ("" if math.isnan(value) else str(value))
    assert rows[-1]["threshold"] == "inf"
    assert rows[-1]["flags"].split() == list(report.flags[-1])


def test_the_verdict_says_what_changed_and_on_which_rows(report):
    first, second, third = in_words(report.verdict)

    before, after = (report.verdict[part] for part in ("before", "after"))
    assert f"predicts {before['count_ratio']['estimate']:.2f} labels for each true one" in first
    assert first.endswith(f"with this rule it is {after['count_ratio']['estimate']:.2f}.")
    assert (
        f"macro-F1 {before['macro_f']['estimate']:.4f} to {after['macro_f']['estimate']:.4f}"
        in second
    )
    assert third == (
        "Out of sample: judged on 700 rows of 40 classes, which are not those the rule was fitted "
        "to."
    )


@pytest.mark.parametrize(
    ("judged_on", "said"),
    [
        ("cross-fit", "each was judged by one of 5 fits without it"),
        ("fitting rows", "In-sample: the 700 rows"),
        ("unknown", "does not say to which rows it was fitted"),
    ],
)
def test_it_says_what_flatters(report, judged_on, said):
    verdict = {**report.verdict, "judged_on": judged_on, "folds": 5}

    assert said in in_words(verdict)[-1]


def test_a_report_in_sample_says_so_in_markdown():
    logits, labels = world()

    text = cal.threshold_report(fitted(), logits[:800], labels[:800]).markdown()

    assert "In-sample" in text


def test_notebooks_show_the_verdict_and_nothing_as_markup(report, pipeline):
    assert f"{report.verdict['after']['macro_f']['estimate']:.4f}" in report._repr_html_()
    assert "<td>PerClassThreshold</td>" in pipeline._repr_html_()
    assert "fitted to 800 rows" in pipeline._repr_html_()
    bundle = pipeline._repr_mimebundle_()
    assert bundle == {"text/plain": repr(pipeline), "text/html": pipeline._repr_html_()}


def test_a_pipeline_that_is_not_fitted_shows_itself():
    unfitted = cal.Pipeline([], cal.TopK(3))

    assert unfitted._repr_html_() == f"<pre>{unfitted!r}</pre>"


def test_a_comparison_shows_its_tables_in_a_notebook():
    from calibrate.comparison import compare_cross_fitted

    logits, labels = world()
    pipelines = {"<b>two</b>": cal.Pipeline([], cal.TopK(2)), "cut": cal.Pipeline([], cal.TopK(5))}
    found = compare_cross_fitted(cal.labelled_logits(logits, labels), pipelines, folds=2)

    shown = found._repr_html_()

    assert "<td>&lt;b&gt;two&lt;/b&gt;</td>" in shown
    assert f"<td>{found.rows['cut']['macro_f']:.4f}</td>" in shown
    assert "<th>less the first</th>" in shown
