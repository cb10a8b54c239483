"use strict";

// Plots on a canvas. A spec has the axes `x` and `y` (label, log, min, max) and `series` of a kind:
// line, points, band (between y and y2), bars (x are edges). The numbers stand in a table beside it.

const PAD = { left: 52, right: 10, top: 24, bottom: 38 };

/** A line from data to pixels, logarithmic where asked for. */
class Scale {
  constructor({ log = false, min = null, max = null }, values, from, to) {
    const known = values.filter((v) => v !== null && Number.isFinite(v) && (!log || v > 0));
    let low = min ?? known.reduce((a, b) => Math.min(a, b), Infinity);
    let high = max ?? known.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!(low <= high)) [low, high] = log ? [0.1, 1] : [0, 1];
    if (log && min === null) [low, high] = [low / 1.3, high * 1.3];
    if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    this.log = log;
    this.low = low;
    this.high = high;
    const [a, b] = [low, high].map((v) => this.bent(v));
    this.at = (v) => from + ((this.bent(v) - a) / (b - a)) * (to - from);
  }

  bent(value) {
    return this.log ? Math.log10(value) : value;
  }

  ticks() {
    if (this.log) {
      const first = Math.ceil(Math.log10(this.low) - 1e-9);
      const last = Math.floor(Math.log10(this.high) + 1e-9);
      const step = Math.max(1, Math.ceil((last - first + 1) / 6));
      const powers = [];
      for (let e = first; e <= last; e += step) powers.push(10 ** e);
      if (powers.length >= 2) return powers;
    }
    const rough = (this.high - this.low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((s) => s * power >= rough);
    const ticks = [];
    for (let k = Math.ceil(this.low / step - 1e-9); k * step <= this.high * (1 + 1e-9); k++) ticks.push(k * step);
    return ticks;
  }

  static label(value) {
    const size = Math.abs(value);
    if (size >= 1000) return value.toLocaleString("en-US", { notation: "compact" });
    return size > 0 && size < 0.001 ? value.toExponential(0) : String(Number(value.toPrecision(3)));
  }
}

class Plot {
  constructor(area, spec) {
    this.area = area;
    this.spec = spec;
    this.marks = [];
    this.canvas = document.createElement("canvas");
    area.append(this.canvas);
    new ResizeObserver(() => this.draw()).observe(area);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    if (spec.hover) this.listen();
  }

  mark(marks) {
    this.marks = marks;
    this.draw();
  }

  draw() {
    const { spec, canvas, area } = this;
    const width = area.clientWidth, height = area.clientHeight, dense = devicePixelRatio || 1;
    if (width === 0 || !area.isConnected) return;
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    const style = getComputedStyle(document.documentElement);
    this.ink = (name) => style.getPropertyValue(`--${name}`).trim();
    const all = (axis) => spec.series.flatMap((s) => [...s[axis], ...(axis === "y" ? s.y2 ?? [] : [])]);
    this.x = new Scale(spec.x, all("x"), PAD.left, width - PAD.right);
    this.y = new Scale(spec.y, all("y"), height - PAD.bottom, PAD.top);
    const pen = canvas.getContext("2d");
    this.pen = pen;
    pen.scale(dense, dense);
    pen.font = "12px system-ui, sans-serif";
    this.axes(width, height);
    pen.save();
    pen.beginPath();
    pen.rect(PAD.left - 4, PAD.top - 4, width - PAD.left - PAD.right + 8, height - PAD.top - PAD.bottom + 8);
    pen.clip();
    this.guides(width, height);
    for (const series of spec.series) this[series.kind](series);
    if (spec.point) this.dot(spec.point.x, spec.point.y, "text", 4);
    for (const mark of this.marks) this.moved(mark, height);
    pen.restore();
    this.legend(width);
  }

  axes(width, height) {
    const { pen, spec } = this;
    pen.strokeStyle = this.ink("line");
    pen.fillStyle = this.ink("soft");
    pen.lineWidth = 1;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const tick of this.x.ticks()) {
      this.line2(this.x.at(tick), PAD.top, this.x.at(tick), height - PAD.bottom);
      pen.fillText(Scale.label(tick), this.x.at(tick), height - PAD.bottom + 4);
    }
    pen.fillText(spec.x.label, (PAD.left + width - PAD.right) / 2, height - 16);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const tick of this.y.ticks()) {
      this.line2(PAD.left, this.y.at(tick), width - PAD.right, this.y.at(tick));
      pen.fillText(Scale.label(tick), PAD.left - 5, this.y.at(tick));
    }
    pen.save();
    pen.translate(10, (PAD.top + height - PAD.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(spec.y.label, 0, 0);
    pen.restore();
  }

  guides(width, height) {
    const { pen, spec } = this;
    pen.strokeStyle = this.ink("soft");
    pen.setLineDash([3, 3]);
    if (spec.level !== undefined) {
      this.line2(PAD.left, this.y.at(spec.level), width - PAD.right, this.y.at(spec.level));
    }
    if (spec.diagonal) {
      const low = Math.max(this.x.low, this.y.low), high = Math.min(this.x.high, this.y.high);
      if (low < high) this.line2(this.x.at(low), this.y.at(low), this.x.at(high), this.y.at(high));
    }
    pen.setLineDash([]);
  }

  line2(x0, y0, x1, y1) {
    this.pen.beginPath();
    this.pen.moveTo(x0, y0);
    this.pen.lineTo(x1, y1);
    this.pen.stroke();
  }

  line(series) {
    const { pen } = this;
    pen.strokeStyle = this.ink(series.colour);
    pen.lineWidth = 1.8;
    pen.setLineDash(series.dash ?? []);
    pen.beginPath();
    let on = false;
    series.x.forEach((x, i) => {
      const y = series.y[i];
      if (x === null || y === null) {
        on = false;
        return;
      }
      if (on) pen.lineTo(this.x.at(x), this.y.at(y));
      else pen.moveTo(this.x.at(x), this.y.at(y));
      on = true;
    });
    pen.stroke();
    pen.setLineDash([]);
    if (series.dots) series.x.forEach((x, i) => series.y[i] !== null && this.dot(x, series.y[i], series.colour, 3));
  }

  dot(x, y, colour, radius) {
    const { pen } = this;
    pen.fillStyle = this.ink(colour);
    pen.beginPath();
    pen.arc(this.x.at(x), this.y.at(y), radius, 0, 2 * Math.PI);
    pen.fill();
  }

  points(series) {
    const { pen } = this;
    pen.fillStyle = pen.strokeStyle = this.ink(series.colour);
    pen.lineWidth = 1;
    pen.globalAlpha = series.x.length > 500 ? 0.45 : 0.9;
    series.x.forEach((x, i) => {
      const left = this.x.at(x), top = this.y.at(series.y[i]);
      if (series.marker === "square") pen.strokeRect(left - 2, top - 2, 4, 4);
      else pen.fillRect(left - 1.5, top - 1.5, 3, 3);
    });
    pen.globalAlpha = 1;
  }

  band(series) {
    const { pen } = this;
    pen.fillStyle = this.ink(series.colour);
    pen.globalAlpha = 0.6;
    if (series.x.length === 1) {
      const top = this.y.at(series.y2[0]);
      pen.fillRect(this.x.at(series.x[0]) - 6, top, 12, this.y.at(series.y[0]) - top);
    }
    pen.beginPath();
    series.x.forEach((x, i) => pen.lineTo(this.x.at(x), this.y.at(series.y2[i])));
    for (let i = series.x.length - 1; i >= 0; i--) pen.lineTo(this.x.at(series.x[i]), this.y.at(series.y[i]));
    pen.fill();
    pen.globalAlpha = 1;
  }

  bars(series) {
    const { pen } = this;
    pen.fillStyle = pen.strokeStyle = this.ink(series.colour);
    series.y.forEach((y, i) => {
      const left = this.x.at(series.x[i]), top = this.y.at(y), base = this.y.at(0);
      const width = this.x.at(series.x[i + 1]) - left;
      pen.globalAlpha = 0.35;
      pen.fillRect(left, top, width, base - top);
      pen.globalAlpha = 1;
      pen.strokeRect(left, top, width, base - top);
    });
  }

  /** Where the slider stands: a ring, or a line upright where there is no y. */
  moved({ x, y }, height) {
    if (x === null || x === undefined || y === null) return;
    const { pen } = this;
    pen.strokeStyle = this.ink("text");
    pen.lineWidth = 2;
    if (y === undefined) {
      this.line2(this.x.at(x), PAD.top, this.x.at(x), height - PAD.bottom);
      return;
    }
    pen.beginPath();
    pen.arc(this.x.at(x), this.y.at(y), 7, 0, 2 * Math.PI);
    pen.stroke();
  }

  legend(width) {
    const { pen, spec } = this;
    const parts = [...spec.series, ...(spec.point ? [{ ...spec.point, kind: "points", colour: "text" }] : [])];
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    let left = PAD.left;
    for (const part of parts) {
      const room = pen.measureText(part.label).width + 34;
      if (left + room > width + 8 || part.label === "") continue;
      pen.strokeStyle = pen.fillStyle = this.ink(part.colour);
      pen.lineWidth = 2;
      pen.setLineDash(part.dash ?? []);
      if (part.kind === "line") this.line2(left, 10, left + 18, 10);
      else if (part.marker === "square") pen.strokeRect(left + 6, 7, 6, 6);
      else pen.fillRect(left + (part.kind === "points" ? 6 : 0), 7, part.kind === "points" ? 6 : 18, 6);
      pen.setLineDash([]);
      pen.fillStyle = this.ink("text");
      pen.fillText(part.label, left + 23, 10);
      left += room;
    }
  }

  // which point is meant

  listen() {
    const { area, spec } = this;
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    area.append(tip);
    const find = (event) => {
      const box = area.getBoundingClientRect();
      return this.nearest(event.clientX - box.left, event.clientY - box.top);
    };
    area.addEventListener("pointermove", (event) => {
      const found = find(event);
      tip.hidden = found === null;
      area.style.cursor = found === null ? "" : "pointer";
      if (found === null) return;
      tip.textContent = spec.hover(spec.ids[found.place]);
      tip.style.left = `${Math.min(found.x + 8, Math.max(0, area.clientWidth - 200))}px`;
      tip.style.top = `${found.y + 10}px`;
    });
    area.addEventListener("pointerleave", () => { tip.hidden = true; });
    area.addEventListener("click", (event) => {
      const found = find(event);
      if (found !== null) spec.open(spec.ids[found.place]);
    });
  }

  nearest(x, y) {
    let best = null, least = 12 ** 2;
    for (const series of this.spec.series) {
      if (series.kind !== "points") continue;
      for (let i = 0; i < series.x.length; i++) {
        const dx = this.x.at(series.x[i]) - x, dy = this.y.at(series.y[i]) - y;
        if (dx * dx + dy * dy < least) {
          least = dx * dx + dy * dy;
          best = { place: i, x: dx + x, y: dy + y };
        }
      }
    }
    return best;
  }
}
