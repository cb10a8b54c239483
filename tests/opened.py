"""A page of a report in a real browser, offline."""

from __future__ import annotations


class Opened:
    """A page, what it asked for, and what it complained of."""

    def __init__(self, page, path):
        self.page, self.path = page, path
        self.requests, self.complaints = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._listen)

    def _listen(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def go(self, fragment=""):
        self.page.goto(f"{self.path.as_uri()}{fragment}")
        self.page.wait_for_selector("#body a")
        self.page.wait_for_selector("#overview .plot:not(:empty) >> nth=4")
        return self

    def open(self, number, name):
        """Open a class by its address, and wait until it stands there."""
        self.page.evaluate("number => { location.hash = `#number=${number}`; }", number)
        self.page.locator("#class-name bdi").get_by_text(name, exact=True).wait_for()

    def figures(self):
        parts = self.page.query_selector_all("#figures dd")
        return {part.get_attribute("data-figure"): part.inner_text() for part in parts}

    def column(self, place):
        texts = "(rows, place) => rows.map(row => row.cells[place].textContent)"
        return self.page.eval_on_selector_all("#body tr:not(.gap)", texts, place)

    def slide(self, place):
        self.page.evaluate(
            "place => { const s = document.getElementById('slider'); s.value = place;"
            " s.dispatchEvent(new Event('input')); }",
            place,
        )

    def numbers(self, title, host="#overview"):
        """The table of text under the plot of this title."""
        figure = self.page.locator(
            f"{host} figure", has=self.page.get_by_role("heading", name=title)
        )
        figure.locator("summary").click()
        table = figure.locator("table")
        table.wait_for()
        cells = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        return table.locator("tbody tr").evaluate_all(cells)

    def place_of(self, number, x, y):
        """Where in the window the point (x, y) of a plot of the overview is drawn."""
        return self.page.evaluate(
            """([number, x, y]) => {
              const area = document.querySelectorAll("#overview .plot")[number];
              area.scrollIntoView({ block: "center" });
              const { el, frame } = Object.values(Bokeh.index).find(({ el }) => area.contains(el));
              const box = el.getBoundingClientRect();
              return [box.x + frame.x_scale.compute(x), box.y + frame.y_scale.compute(y)];
            }""",
            [number, x, y],
        )

    def drawn(self, number, host="#overview"):
        """What a plot draws: the data of each glyph, upright and level lines, and ticks."""
        return self.page.evaluate(
            """([host, number]) => {
              const area = document.querySelectorAll(`${host} .plot`)[number];
              const { model } = Object.values(Bokeh.index).find(({ el }) => area.contains(el));
              const plain = (values) => Array.from(values, (v) => Number.isNaN(v) ? null : v);
              const data = (source) => Object.fromEntries(
                Object.entries(source.data).map(([name, values]) => [name, plain(values)]));
              return {
                glyphs: model.renderers.map((r) => [r.glyph.type, data(r.data_source)]),
                spans: model.center.filter((p) => p.type === "Span").map((p) => p.location),
                ticks: [model.below[0], model.left[0]].map((axis) => axis.ticker.ticks ?? null),
                ends: [model.x_range, model.y_range].map((range) => [range.start, range.end]),
              };
            }""",
            [host, number],
        )
