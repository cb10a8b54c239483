"""The page on paper: nothing to click, nothing cut off, every row of the table up to a number."""

from __future__ import annotations

import re

import pytest
from opened import Opened
from reported import names

SHEET = {"table": 1047, "rest": 718}
"""Pixels across A4 within its margins: the table lies across, the rest upright."""


@pytest.fixture(scope="module")
def printed(browser, path):
    """The page as it is laid out for paper, with a class open, for tests that only look."""
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    opened = Opened(context.new_page(), path).go("#number=6")
    opened.page.wait_for_selector("#plots .plot:not(:empty) >> nth=3")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    opened.page.emulate_media(media="print")
    yield opened
    context.close()


def test_what_is_to_be_clicked_is_not_printed(printed):
    page = printed.page

    for hidden in ("#tools", ".operate", "#overriding", "button", "summary", "#shown"):
        for part in page.locator(hidden).all():
            assert part.is_hidden()
    for shown in (".verdict", ".attention", "#printed", "#class-name", "#figures", ".provenance"):
        assert page.locator(shown).is_visible()
    assert page.locator("#overview figure >> visible=true").count() == 5
    assert page.locator("#plots figure >> visible=true").count() == 4


def test_the_heads_of_the_columns_are_printed_without_their_buttons(printed):
    heads = printed.page.locator("#heads th").evaluate_all(
        "heads => heads.map(head => [getComputedStyle(head, '::before').content, head.textContent])"
    )

    assert [content for content, _ in heads] == [f'"{text}"' for _, text in heads]


def test_numbers_that_are_open_are_printed_whole(opened):
    opened.numbers("Labels per row")
    opened.page.emulate_media(media="print")

    box = opened.page.locator("#overview .numbers")

    assert box.is_visible()
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    assert opened.page.locator("#overview details >> visible=true").count() == 1


@pytest.mark.parametrize(
    ("part", "selector"),
    [("table", "#classes *"), ("rest", "header *, main > section:not(#classes) *")],
)
def test_nothing_is_cut_off_at_the_edge_of_the_sheet(printed, part, selector):
    page = printed.page

    page.set_viewport_size({"width": SHEET[part], "height": 900})

    beyond = page.locator(selector).evaluate_all(
        "(all, width) => all.filter(part => part.getBoundingClientRect().right > width + 1)"
        ".map(part => part.outerHTML.slice(0, 100))",
        SHEET[part],
    )

    assert beyond == []
    assert page.locator("#plots .plot").first.evaluate("part => part.offsetWidth") > 300


def test_every_row_is_printed(printed):
    assert printed.column(0) == names()
    assert printed.page.inner_text("#printed") == "40 of 40 classes, as the page shows them."


def test_a_search_holds_on_paper(opened):
    opened.page.fill("#search", "class 2")

    assert opened.page.text_content("#printed") == "11 of 40 classes, as the page shows them."


def test_a_pdf_holds_all_rows_and_the_page_scrolls_again_afterwards(opened):
    page = opened.page
    page.click("#body a[data-number='6']")
    page.evaluate(
        """() => addEventListener("beforeprint", () => {
          const style = document.querySelector("#plots figure").style;
          window.seen = [document.querySelectorAll("#body tr:not(.gap)").length,
            parseFloat(style.getPropertyValue("--wide")) * style.getPropertyValue("--scale")];
        })"""
    )
    before = page.locator("#body tr:not(.gap)").count()

    paper = page.pdf(format="A4")

    rows, width = page.evaluate("window.seen")
    boxes = [
        tuple(float(number) for number in box.split())
        for box in re.findall(rb"/MediaBox \[([\d. ]+)\]", paper)
    ]
    upright = {right < top for _, _, right, top in boxes}
    assert rows == 40
    assert 300 < width <= SHEET["rest"]
    assert upright == {True, False}
    assert page.locator("#body tr:not(.gap)").count() == before < 40


def test_paper_is_white_whatever_the_screen_is(browser, path):
    context = browser.new_context(offline=True, color_scheme="dark")
    opened = Opened(context.new_page(), path).go()
    ink = "getComputedStyle(document.body).color"
    on_screen = opened.page.evaluate(ink)

    opened.page.emulate_media(media="print", color_scheme="dark")

    assert on_screen == "rgb(236, 236, 236)"
    assert opened.page.evaluate(ink) == "rgb(27, 27, 27)"
    filters = opened.page.locator("#overview .plot").evaluate_all(
        "plots => plots.map(plot => getComputedStyle(plot).filter)"
    )
    assert filters == ["invert(1) hue-rotate(180deg)"] * 5
    context.close()
