"""A picture of a report: the README shows that of the demo.

    calibrate demo
    python tests/benchmarks/screenshot.py calibrate-demo/report.html examples/report.png

needs the `test` group of `pyproject.toml`, and chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1280, 1360
"""Down to the end of the first plots."""

COLOURS = 256


def screenshot(report: Path, picture: Path, width: int, height: int) -> None:
    """Open a report offline as it looks on a light screen; write its top as PNG with a palette."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(offline=True, viewport={"width": width, "height": height})
        page = context.new_page()
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("#overview .plot:not(:empty) >> nth=4")
        page.wait_for_timeout(1000)  # until what is drawn is painted
        shot = page.screenshot()
        browser.close()
    with Image.open(io.BytesIO(shot)) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
            picture, format="PNG", optimize=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--height", type=int, default=HEIGHT)
    arguments = parser.parse_args()
    screenshot(arguments.report, arguments.picture, arguments.width, arguments.height)


if __name__ == "__main__":
    main()
