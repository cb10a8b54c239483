"""One report that many tests read, and a browser to open its page in."""

from __future__ import annotations

import os
import shutil
from importlib import import_module

import pytest
from opened import Opened
from reported import fitted, world

import calibrate as cal

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def rows():
    """Rows that the pipeline is not fitted to."""
    logits, labels = world()
    return logits[800:], labels[800:]


@pytest.fixture(scope="session")
def pipeline():
    return fitted()


@pytest.fixture(scope="session")
def report(pipeline, rows):
    return cal.threshold_report(pipeline, *rows)


@pytest.fixture(scope="module")
def browser():
    reason = "no chromium to open pages in"
    chromium = shutil.which("chromium")
    if chromium is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    sync_api = import_module("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def path(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.save_page(path)
    return path


@pytest.fixture(scope="module")
def shared(browser, path):
    """A page for tests that only look."""
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    yield Opened(context.new_page(), path).go()
    context.close()


@pytest.fixture
def opened(browser, path):
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    yield Opened(context.new_page(), path).go()
    context.close()
