"""The page in a real browser, offline: it does what it says, with the library's numbers."""

from __future__ import annotations

import json
import warnings
from importlib import import_module

import numpy as np
import pytest
from opened import Opened
from reported import HOSTILE, fitted, names

import calibrate as cal


def test_it_asks_for_nothing_and_complains_of_nothing(opened):
    opened.page.click("#body a >> nth=0")
    opened.slide(3)

    assert opened.requests == [opened.path.as_uri()]
    assert opened.complaints == []


def test_names_are_text(opened):
    from playwright.sync_api import expect

    for name in HOSTILE:
        opened.page.fill("#search", name)
        assert name in opened.column(0)
        link = opened.page.query_selector_all("#body a")[opened.column(0).index(name)]
        link.click()
        expect(opened.page.locator("#class-name bdi")).to_have_text(name)

    assert opened.page.query_selector("#body img, #class-name img, #body b") is None
    assert opened.complaints == []


def test_search_filter_and_sort_show_what_they_say(opened, report):
    page = opened.page
    page.fill("#search", "class 1")
    expected = [name for name in names() if "class 1" in name]
    assert opened.column(0) == expected
    assert page.inner_text("#shown") == f"{len(expected)} of 40 classes"

    page.fill("#search", "")
    page.select_option("#filter", "few_positives")
    few = next(doubt for doubt in report.attention if doubt.code == "few_positives").classes
    assert page.inner_text("#shown") == f"{len(few)} of 40 classes"
    page.select_option("#filter", "")

    page.click('th[data-key="f"] button')
    known = [value for value in report.per_class["f"].tolist() if not np.isnan(value)]
    shown = [text for text in opened.column(6) if text]
    assert shown == [f"{value:.4f}" for value in sorted(known, reverse=True)][: len(shown)]
    assert page.get_attribute('th[data-key="f"]', "aria-sort") == "descending"


def test_each_cell_is_the_number_of_the_report(opened, report):
    from calibrate.report.html import COLUMNS

    shown = [key for key in COLUMNS if not np.isnan(report.per_class[key]).all()]
    for place, key in enumerate(shown, start=1):
        for c, text in enumerate(opened.column(place)):
            value = report.per_class[key][c]
            if key in ("threshold", "probability") and np.isposinf(
                report.per_class["threshold"][c]
            ):
                assert text == "never"
            else:
                digits = COLUMNS[key][1]
                assert text == ("" if np.isnan(value) else f"{value:.{digits}f}")


def test_a_link_opens_a_class_with_the_figures_of_the_rule(opened, report):
    opened.go("#class=class%200")
    opened.page.reload()
    opened.page.wait_for_selector("#figures dd")

    found, per_class = opened.figures(), report.per_class
    assert found["precision"] == f"{per_class['precision'][0]:.4f}"
    assert found["recall"] == f"{per_class['recall'][0]:.4f}"
    assert found["F1"] == f"{per_class['f'][0]:.4f}"
    assert found["predictions per 1,000 rows"] == f"{1000 * per_class['predicted'][0] / 700:.2f}"
    ratio = report.verdict["after"]["count_ratio"]["estimate"]
    assert found["predicted / true, all classes"] == f"{ratio:.4f}"


@pytest.mark.filterwarnings("ignore::calibrate.FitWarning")
@pytest.mark.parametrize("c", [0, 4, 20])
def test_what_is_copied_does_what_the_slider_said(opened, pipeline, rows, c, tmp_path):
    from calibrate.cli.options import overridden

    opened.page.click(f"#body a[data-number='{c}']")
    opened.page.wait_for_selector("#figures dd")
    for place in range(1, int(opened.page.get_attribute("#slider", "max")), 7):
        opened.slide(place)
        said = opened.figures()
        (tmp_path / "overrides.json").write_text(opened.page.input_value("#overrides"))
        if json.loads(opened.page.input_value("#overrides"))["classes"] == {}:
            continue  # where the rule itself stands

        rule = overridden(cal.PerClassThreshold(cal.metrics.f_beta(1)), tmp_path / "overrides.json")
        found = cal.evaluate(fitted(rule), *rows, ranking=False)

        per_class = found.per_class
        assert said["recall"] == f"{per_class['recall'][c]:.4f}"
        assert said["F1"] == f"{per_class['f'][c]:.4f}"
        assert said["predicted / true, all classes"] == f"{found.summary['count_ratio']:.4f}"


def test_the_button_copies_and_the_other_goes_back(opened):
    opened.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened.page.click("#body a[data-number='2']")
    opened.page.wait_for_selector("#figures dd")
    before = opened.figures()
    opened.slide(5)

    opened.page.click("#copy")
    opened.page.wait_for_selector("#copied:has-text('Copied.')")
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    opened.page.click("#reset")

    assert list(json.loads(copied)["classes"]) == ["class 2"]
    assert opened.figures() == before
    assert json.loads(opened.page.input_value("#overrides"))["classes"] == {}


def test_a_rule_along_the_row_has_a_slider_but_no_overrides(browser, rows, tmp_path):
    page = cal.threshold_report(fitted(cal.ExpectedCountTopK()), *rows)
    page.save_page(tmp_path / "page.html")
    context = browser.new_context(offline=True)
    opened = Opened(context.new_page(), tmp_path / "page.html").go()

    opened.page.click("#body a >> nth=0")
    opened.page.wait_for_selector("#figures dd")

    assert "has no threshold for a class" in opened.page.inner_text("#class-note")
    assert opened.page.is_hidden("#copy")
    assert opened.complaints == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_bars_a_keyboard_or_a_screen_reader(browser, path, scheme, width):
    axe = import_module("axe_core_python.sync_playwright")
    context = browser.new_context(
        offline=True, bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    opened = Opened(context.new_page(), path).go("#class=class%200")
    opened.page.wait_for_selector("#plots figure >> nth=3")

    found = axe.Axe().run(opened.page)["violations"]

    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in grave] == []
    wide = opened.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    context.close()


def test_thousands_of_classes_stay_out_of_the_document(browser, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.random((60, 3000)) < 0.2
    logits = (labels + rng.normal(size=labels.shape)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cal.FitWarning)
        pipeline = cal.Pipeline([], cal.SharedThreshold(cal.metrics.f_beta(1))).fit(logits, labels)
    pipeline.report(logits, labels, tmp_path / "page.html")
    context = browser.new_context(offline=True)
    opened = Opened(context.new_page(), tmp_path / "page.html").go()

    opened.page.evaluate("document.getElementById('scroller').scrollTop = 1e6")
    opened.page.wait_for_selector("#body a[data-number='2999']")

    assert len(opened.page.query_selector_all("#body tr")) < 80

    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")

    assert len(opened.page.query_selector_all("#body tr:not(.gap)")) == 500
    assert opened.page.text_content("#printed") == ("500 of 3,000 classes, as the page shows them.")
    context.close()
