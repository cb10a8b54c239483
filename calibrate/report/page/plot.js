"use strict";

// Plots by Bokeh. A spec has the axes `x` and `y` (label, log, min, max) and `series` of a kind:
// line, points, band (between y and y2), bars (x are edges). The numbers stand in a table beside it.

/** A colour of the style sheet, which knows light and dark. */
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Pixels across a sheet of A4 within its margins. */
const SHEET = 690;

const gaps = (values) => values.map((value) => value ?? NaN);

class Plot {
  constructor(area, spec) {
    this.area = area;
    this.spec = spec;
  }

  draw() {
    const { spec, area } = this;
    this.remove();
    area.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches);
    const colour = ink("soft");
    const figure = Bokeh.Plotting.figure({
      x_axis_type: spec.x.log ? "log" : "linear", y_axis_type: spec.y.log ? "log" : "linear",
      x_axis_label: spec.x.label, y_axis_label: spec.y.label,
      ...Plot.range("x_range", spec.x), ...Plot.range("y_range", spec.y),
      sizing_mode: "stretch_both", toolbar_location: null, tools: "",
      background_fill_color: null, border_fill_color: null, outline_line_color: ink("line"),
    });
    for (const axis of [figure.xaxis, figure.yaxis]) {
      Object.assign(axis, {
        axis_label_text_color: colour, axis_label_text_font_style: "normal",
        major_label_text_color: colour, axis_line_color: colour, major_tick_line_color: colour,
        minor_tick_line_color: null,
      });
    }
    for (const grid of [figure.xgrid, figure.ygrid]) grid.grid_line_color = ink("line");
    this.scale(spec.x, "x", figure.xaxis, figure.xgrid);
    this.scale(spec.y, "y", figure.yaxis, figure.ygrid);
    const items = spec.series.map((series) => Plot.item(series.label, this[series.kind](figure, series)));
    this.guides(figure);
    if (spec.point) items.push(Plot.item(spec.point.label, [this.rule(figure, spec.point)]));
    this.marks(figure);
    figure.add_layout(new Bokeh.Legend({
      items, orientation: "horizontal", border_line_color: null, background_fill_color: null,
      label_text_color: ink("text"), margin: 0, padding: 4, spacing: 10,
    }), "above");
    if (spec.tips) this.pointing(figure, items);
    this.view = Bokeh.Plotting.show(figure, area);
    this.document = Bokeh.documents.at(-1);
  }

  /** Let go of what is no longer shown. */
  remove() {
    if (!this.view) return;
    this.view.then((view) => view.remove?.());
    const place = Bokeh.documents.indexOf(this.document);
    if (place >= 0) Bokeh.documents.splice(place, 1);
    this.view = null;
  }

  static range(name, { log, min, max }) {
    if (min === undefined || max === undefined) return {};
    const room = log ? 0 : 0.02 * (max - min);
    return { [name]: new Bokeh.Range1d({ start: min - room, end: max + room }) };
  }

  /** 1, 2, 5, 10, ... along a logarithmic axis, or 1, 10, ...; a short one is left to Bokeh. */
  scale({ log, min, max }, name, axis, grid) {
    if (!log) return;
    const values = this.spec.series.flatMap((series) => series[name]).filter((value) => value > 0);
    const least = min ?? values.reduce((a, b) => Math.min(a, b), Infinity);
    const most = max ?? values.reduce((a, b) => Math.max(a, b), 0);
    const decades = Math.log10(most / least);
    if (!(decades > 0.7)) return;
    const ticks = [];
    for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
      for (const step of decades < 2.5 ? [1, 2, 5] : [1]) ticks.push(Number(`${step}e${power}`));
    }
    axis.ticker = grid.ticker = new Bokeh.FixedTicker({ ticks });
    axis.formatter = new Bokeh.BasicTickFormatter({ power_limit_low: -6, power_limit_high: 7 });
  }

  /** Two beside each other on a sheet of paper, or one that is wide. */
  fit() {
    const wide = this.area.offsetWidth, room = wide > 0.7 * SHEET ? SHEET : SHEET / 2 - 10;
    const { style } = this.area.parentElement;
    style.setProperty("--wide", `${wide}px`);
    style.setProperty("--scale", Math.min(1, room / wide));
  }

  static item(label, renderers) {
    return new Bokeh.LegendItem({ label, renderers });
  }

  // kinds of series

  line(figure, series) {
    const source = new Bokeh.ColumnDataSource({ data: { x: gaps(series.x), y: gaps(series.y) } });
    const colour = ink(series.colour);
    const drawn = [figure.line({ field: "x" }, { field: "y" }, {
      source, line_color: colour, line_width: 2, line_dash: series.dash ?? [],
    })];
    if (series.dots) {
      drawn.push(figure.scatter({ field: "x" }, { field: "y" }, {
        source, size: 6, fill_color: colour, line_color: null,
      }));
    }
    return drawn;
  }

  points(figure, series) {
    const data = { x: series.x, y: series.y, ...this.spec.tips?.columns };
    const alpha = series.x.length > 500 ? 0.5 : 0.9;
    const square = series.marker === "square";
    const look = square
      ? { fill_color: null, line_color: ink(series.colour), line_alpha: alpha }
      : { fill_color: ink(series.colour), fill_alpha: alpha, line_color: null };
    return [figure.scatter({ field: "x" }, { field: "y" }, {
      source: new Bokeh.ColumnDataSource({ data }), size: square ? 5 : 4,
      marker: square ? "square" : "circle", ...look,
      // a point that is chosen opens its class; the others stay as they are
      nonselection_fill_alpha: alpha, nonselection_line_alpha: alpha,
    })];
  }

  band(figure, series) {
    const source = new Bokeh.ColumnDataSource({ data: { x: series.x, low: series.y, high: series.y2 } });
    if (series.x.length === 1) {
      // which has no area
      return [figure.segment({ field: "x" }, { field: "low" }, { field: "x" }, { field: "high" }, {
        source, line_color: ink(series.colour), line_width: 5, line_alpha: 0.6,
      })];
    }
    return [figure.varea({ field: "x" }, { field: "low" }, { field: "high" }, {
      source, fill_color: ink(series.colour), fill_alpha: 0.6,
    })];
  }

  bars(figure, series) {
    const data = {
      left: series.x.slice(0, -1), right: series.x.slice(1), top: series.y,
      bottom: series.y.map(() => 0),
    };
    const colour = ink(series.colour);
    return [figure.quad({ field: "left" }, { field: "right" }, { field: "bottom" }, { field: "top" }, {
      source: new Bokeh.ColumnDataSource({ data }), fill_color: colour, fill_alpha: 0.35,
      line_color: colour,
    })];
  }

  // what stands beside the series

  guides(figure) {
    const { spec } = this;
    const look = { line_color: ink("soft"), line_dash: [4, 4] };
    if (spec.level !== undefined) {
      figure.add_layout(new Bokeh.Span({ location: spec.level, dimension: "width", ...look }));
    }
    if (spec.diagonal) {
      const ends = [spec.x.min ?? 0, spec.x.max ?? Math.max(...spec.series[0].x)];
      figure.line(ends, ends, look);
    }
  }

  rule(figure, { x, y }) {
    return figure.scatter([x], [y], { size: 9, fill_color: ink("text"), line_color: null });
  }

  /** What the slider moves: a ring, and a line upright. */
  marks(figure) {
    if (this.spec.marked === "point") {
      this.ring = new Bokeh.ColumnDataSource({ data: { x: [], y: [] } });
      figure.scatter({ field: "x" }, { field: "y" }, {
        source: this.ring, size: 15, fill_color: null, line_color: ink("text"), line_width: 2,
      });
    }
    if (this.spec.marked === "line") {
      this.upright = new Bokeh.Span({
        location: null, dimension: "height", line_color: ink("text"), line_width: 2,
      });
      figure.add_layout(this.upright);
    }
    this.mark(this.marked ?? {});
  }

  mark({ x = null, y = null }) {
    this.marked = { x, y };
    if (this.ring) this.ring.data = x === null || y === null ? { x: [], y: [] } : { x: [x], y: [y] };
    if (this.upright) this.upright.location = x;
  }

  /** Names under the pointer, and a class opened by a click on its point. */
  pointing(figure, items) {
    const { tips, open } = this.spec;
    const renderers = items.flatMap((item) => item.renderers).filter((r) => r.glyph.type === "Scatter");
    // Bokeh writes what stands for @column as text; its box is white on dark pages too
    const tooltips = `<div style="color: #1b1b1b; max-width: 16rem; overflow-wrap: anywhere">${
      Object.entries(tips.heads).map(([column, head]) => `<div>${head} @${column}</div>`).join("")
    }</div>`;
    figure.add_tools(
      new Bokeh.HoverTool({ renderers, tooltips, limit: 3 }), new Bokeh.TapTool({ renderers }),
    );
    for (const { data_source: source } of renderers) {
      source.selected.properties.indices.change.connect(() => {
        const [first] = source.selected.indices;
        if (first === undefined) return;
        source.selected.indices = [];
        open(first);
      });
    }
  }
}
