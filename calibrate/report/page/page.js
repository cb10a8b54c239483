"use strict";

// The page of a threshold report. All figures come computed; only the counts at the place of the
// slider are put into ratios here.

/** Rows of the class table that are printed at most. */
const PRINTED = 500;

const byId = (id) => document.getElementById(id);

/** An element with text alone: nothing of the data is ever read as markup. */
function make(tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  if (text !== "") element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** What an element holds as JSON, gzip and base64. */
async function unpacked(id) {
  const packed = atob(byId(id).textContent);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** A number with so many digits; exactly between two, the even one, as Python rounds. */
function fixed(value, digits) {
  if (value === null || !Number.isFinite(value)) return "none";
  const exact = value.toFixed(100);
  const kept = exact.slice(0, exact.length - 100 + digits);
  const tied = /^50*$/.test(exact.slice(exact.length - 100 + digits));
  return tied && digits > 0 && "02468".includes(kept.at(-1)) ? kept : value.toFixed(digits);
}

// made once: toLocaleString makes one for each number, which takes 100 ms for all classes
const thousands = new Intl.NumberFormat("en-US");
const words = (code) => code.replaceAll("_", " ");
const whole = (value) => thousands.format(value);
const shown = (value, digits) =>
  value === null ? "none" : digits === 0 ? whole(value) : fixed(value, digits);
const ratio = (top, bottom) => (bottom > 0 ? top / bottom : null);

/** Long enough for what was drawn to be painted: the page answers in between. */
const pause = () => new Promise((done) => { setTimeout(done, 40); });

/** A table of numbers under a plot, for who reads rather than looks. */
function numbers(heads, rows) {
  const box = make("details");
  box.append(make("summary", "Numbers"));
  const fill = () => {
    if (box.children.length > 1) return;
    const table = make("table");
    const head = table.createTHead().insertRow();
    for (const text of heads) head.append(make("th", text, { scope: "col" }));
    const body = table.createTBody();
    for (const cells of rows()) {
      const row = body.insertRow();
      for (const text of cells) row.insertCell().textContent = text;
    }
    const wide = make("div", "", {
      class: "numbers wide", tabindex: "0", role: "region", "aria-label": "Numbers of the plot",
    });
    wide.append(table);
    box.append(wide);
  };
  box.addEventListener("toggle", fill);
  return box;
}

/** A plot with its title, what it says, and its numbers; to be drawn once it is in its place. */
function figure(host, title, said, spec, table) {
  const box = make("figure");
  const caption = make("figcaption");
  caption.append(make("h3", title), make("p", said));
  const area = make("div", "", { class: "plot", role: "img", "aria-label": `${title}. ${said}` });
  box.append(caption, area);
  box.append(numbers(table.heads, table.rows));
  host.append(box);
  return new Plot(area, spec);
}

/** All about one report. */
class Page {
  constructor(data) {
    this.data = data;
    this.n = data.names.length;
    this.changed = new Map();
    this.lower = data.names.map((name) => name.toLowerCase());
    this.order = Array.from({ length: this.n }, (_, c) => c);
    this.visible = this.order;
    this.sortedBy = { key: null, down: false };
    this.current = null;
    this.classPlots = [];
    this.overviewPlots = [];
    this.columns = data.columns;
  }

  async start() {
    this.fillFilter();
    this.heads();
    this.choose();
    byId("search").addEventListener("input", () => this.choose());
    byId("filter").addEventListener("change", () => this.choose());
    byId("tools").addEventListener("submit", (event) => event.preventDefault());
    byId("scroller").addEventListener("scroll", () => this.rows(), { passive: true });
    addEventListener("resize", () => this.rows());
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
    addEventListener("hashchange", () => this.follow());
    byId("slider").addEventListener("input", () => this.move(Number(byId("slider").value)));
    byId("reset").addEventListener("click", () => this.move(this.places.at));
    byId("copy").addEventListener("click", () => this.copy());
    for (const button of document.querySelectorAll("button[data-code]")) {
      button.addEventListener("click", () => this.only(button.dataset.code));
      button.hidden = false;
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const plot of [...this.overviewPlots, ...this.classPlots]) plot.draw();
    });
    this.overriding();
    // the table is there first; curves take longer to unpack
    this.curves = pause().then(() => unpacked("curves")).then((curves) => Object.assign(this.data, curves));
    await this.curves;
    await pause();
    await this.follow();
    await this.overview();
  }

  // the class table

  fillFilter() {
    for (const [code, count] of this.data.codes) {
      byId("filter").append(make("option", `${words(code)} (${whole(count)})`, { value: code }));
    }
  }

  heads() {
    this.columns.forEach(({ key, label, title }) => {
      const head = make("th", "", { scope: "col", "data-key": key, "data-label": label });
      const button = make("button", label, { type: "button", title });
      button.addEventListener("click", () => this.sort(key));
      head.append(button);
      byId("heads").append(head);
    });
  }

  sort(key) {
    const same = this.sortedBy.key === key;
    const down = same ? !this.sortedBy.down : key !== "name";
    this.sortedBy = { key, down };
    const values = key === "name" ? this.data.names : this.data.per_class[key];
    const sign = down ? -1 : 1;
    this.order = Array.from({ length: this.n }, (_, c) => c).sort((a, b) => {
      const one = values[a], other = values[b];
      if (one === null || other === null) return (one === null) - (other === null) || a - b;
      return one < other ? -sign : one > other ? sign : a - b;
    });
    for (const head of byId("heads").children) {
      if (head.dataset.key !== key) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", down ? "descending" : "ascending");
    }
    this.choose();
  }

  /** The classes that match what is typed and chosen, in the order of the sort. */
  choose() {
    const text = byId("search").value.toLowerCase();
    const code = byId("filter").value;
    const place = this.data.codes.findIndex(([name]) => name === code);
    const flagged = (c) =>
      code === "" || (code === "*" ? this.data.flags[c].length > 0 : this.data.flags[c].includes(place));
    this.visible = this.order.filter((c) => this.lower[c].includes(text) && flagged(c));
    byId("shown").textContent = `${whole(this.visible.length)} of ${whole(this.n)} classes`;
    byId("printed").textContent =
      `${whole(Math.min(PRINTED, this.visible.length))} of ${whole(this.n)} classes, as the page shows them.`;
    byId("table").setAttribute("aria-rowcount", this.visible.length + 1);
    byId("scroller").scrollTop = 0;
    this.rows();
  }

  only(code) {
    byId("filter").value = code;
    byId("search").value = "";
    this.choose();
    byId("tools").scrollIntoView();
    byId("scroller").focus({ preventScroll: true });
  }

  /** Only the rows in view are in the document. */
  rows() {
    const scroller = byId("scroller"), height = this.rowHeight ?? 32;
    const first = this.printing ? 0 : Math.max(0, Math.floor(scroller.scrollTop / height) - 8);
    const many = this.printing ? PRINTED : Math.ceil(scroller.clientHeight / height) + 16;
    const last = Math.min(this.visible.length, first + many);
    const body = make("tbody", "", { id: "body" });
    const gap = (rows) => {
      const row = make("tr", "", { class: "gap", "aria-hidden": "true" });
      row.style.height = `${rows * height}px`;
      body.append(row);
    };
    if (first > 0) gap(first);
    for (let place = first; place < last; place++) body.append(this.row(place));
    if (last < this.visible.length) gap(this.visible.length - last);
    const focused = document.activeElement?.dataset?.number;
    byId("body").replaceWith(body);
    if (focused !== undefined) body.querySelector(`a[data-number="${focused}"]`)?.focus({ preventScroll: true });
    const real = body.querySelector("tr:not(.gap)")?.getBoundingClientRect().height;
    if (real && Math.abs(real - height) > 0.5 && this.rowHeight === undefined) {
      this.rowHeight = real;
      this.rows();
    }
  }

  /** On paper nothing can be scrolled to. */
  print(begins) {
    this.printing = begins;
    for (const plot of [...this.overviewPlots, ...this.classPlots]) plot.fit();
    this.rows();
  }

  row(place) {
    const c = this.visible[place];
    const row = make("tr", "", { "aria-rowindex": place + 2 });
    if (c === this.current) row.setAttribute("aria-current", "true");
    for (const { key, digits } of this.columns) {
      const cell = row.insertCell();
      if (key === "name") {
        const link = make("a", this.data.names[c], { href: this.address(c), "data-number": c });
        link.title = this.data.names[c];
        cell.append(link);
      } else if (key === "flags") {
        cell.textContent = this.flagsOf(c);
      } else {
        cell.textContent = this.cell(c, key, digits);
      }
    }
    return row;
  }

  cell(c, key, digits) {
    const value = this.data.per_class[key][c];
    if (value === null && (key === "threshold" || key === "probability")) {
      return this.data.never.includes(c) ? "never" : "";
    }
    return value === null ? "" : shown(value, digits);
  }

  flagsOf(c) {
    return this.data.flags[c].map((place) => words(this.data.codes[place][0])).join(", ");
  }

  address(c) {
    try {
      return `#class=${encodeURIComponent(this.data.names[c])}`;
    } catch {
      // half a character has no address of its own
      return `#number=${c}`;
    }
  }

  // one class

  async follow() {
    await this.curves;
    const found = /^#(class|number)=(.*)$/.exec(location.hash);
    if (!found) return;
    let text = found[2];
    try {
      text = decodeURIComponent(text);
    } catch {
      return;
    }
    const c = found[1] === "number" ? Number(text) : this.data.names.indexOf(text);
    if (c >= 0 && c < this.n) this.open(c);
  }

  open(c) {
    const { data } = this;
    this.current = c;
    this.places = places(data, c);
    byId("class").hidden = false;
    const name = byId("class-name");
    name.textContent = data.named ? "" : "Class ";
    name.append(make("bdi", data.names[c]));
    const flags = this.flagsOf(c);
    byId("class-flags").textContent =
      `${whole(data.per_class.support[c])} true labels in ${whole(data.n_rows)} rows. ` +
      (flags === "" ? "Nothing needs attention." : `Needs attention: ${flags}.`);
    byId("class-note").textContent = data.has_thresholds
      ? "In calibrated logits. Left: predicted everywhere. Right: nowhere."
      : "This rule looks along the row and has no threshold for a class. The slider shows what one would do.";
    const slider = byId("slider");
    slider.max = this.places.threshold.length - 1;
    this.plots();
    this.move(this.changed.get(c) ?? this.places.at);
    this.rows();
    byId("class").scrollIntoView();
    name.focus({ preventScroll: true });
  }

  /** The slider at a place: figures, plots and overrides follow. */
  move(place) {
    const { data, places: found, current: c } = this;
    this.place = place;
    const slider = byId("slider");
    slider.value = place;
    if (place === found.at) this.changed.delete(c);
    else this.changed.set(c, place);
    const support = data.per_class.support[c];
    const tp = found.tp[place], predicted = found.predicted[place];
    const threshold = found.threshold[place];
    const said = threshold === Infinity ? "never predicted" : fixed(threshold, 3);
    slider.setAttribute("aria-valuetext", said);
    const before = data.per_class.predicted[c];
    const figures = [
      ["threshold", said],
      ["probability", threshold === Infinity ? "never predicted" : fixed(1 / (1 + Math.exp(-threshold)), 4)],
      ["precision", shown(ratio(tp, predicted), 4)],
      ["recall", shown(ratio(tp, support), 4)],
      ["F1", shown(ratio(2 * tp, predicted + support), 4)],
      ["predictions per 1,000 rows", fixed((1000 * predicted) / data.n_rows, 2)],
      ["predicted / true, this class", shown(ratio(predicted, support), 2)],
      ["predicted / true, all classes", shown(ratio(this.total(), data.n_labels), 4)],
    ];
    const list = byId("figures");
    list.replaceChildren();
    for (const [term, value] of figures) {
      const part = make("div", "", place === found.at ? {} : { class: "changed" });
      part.append(make("dt", term), make("dd", value, { "data-figure": term }));
      list.append(part);
    }
    byId("reset").disabled = place === found.at;
    const upright = { x: threshold === Infinity ? null : threshold };
    this.curve.mark({ x: ratio(tp, support), y: ratio(tp, predicted) });
    this.tradeOff.mark(upright);
    this.histogram.mark(upright);
    this.overriding();
  }

  /** Labels predicted for all classes, with the thresholds as they are moved. */
  total() {
    const { data } = this;
    let sum = data.n_predicted;
    for (const [c, place] of this.changed) {
      const found = c === this.current ? this.places : places(data, c);
      sum += found.predicted[place] - data.per_class.predicted[c];
    }
    return sum;
  }

  plots() {
    const { data, places: found, current: c } = this;
    const host = byId("plots");
    for (const plot of this.classPlots) plot.remove();
    host.replaceChildren();
    const support = data.per_class.support[c];
    const precision = found.tp.map((tp, i) => ratio(tp, found.predicted[i]));
    const recall = found.tp.map((tp) => ratio(tp, support));
    const f = found.tp.map((tp, i) => ratio(2 * tp, found.predicted[i] + support));
    const works = [data.per_class.recall[c], data.per_class.precision[c]];
    const cuts = {
      heads: ["threshold", "predictions per 1,000 rows", "precision", "recall", "F1"],
      rows: () => found.threshold.map((t, i) => [
        t === Infinity ? "never" : fixed(t, 3), fixed((1000 * found.predicted[i]) / data.n_rows, 2),
        shown(precision[i], 4), shown(recall[i], 4), shown(f[i], 4),
      ]),
    };
    this.curve = figure(
      host, "Precision and recall",
      works.includes(null)
        ? "The rule predicts nothing here, or there is nothing to find."
        : `The rule works at recall ${fixed(works[0], 4)}, precision ${fixed(works[1], 4)}.`,
      {
        x: { label: "recall", min: 0, max: 1 }, y: { label: "precision", min: 0, max: 1 },
        series: [{ label: "all cuts", kind: "line", colour: "after", x: recall, y: precision }],
        marked: "point",
        point: works.includes(null) ? null : { x: works[0], y: works[1], label: "the rule" },
      },
      cuts,
    );
    const finite = found.threshold.map((t) => (t === Infinity ? null : t));
    this.tradeOff = figure(
      host, "Figures against the threshold", "The upright line is the slider.",
      {
        x: { label: "threshold (calibrated logit)" }, y: { label: "", min: 0, max: 1 }, marked: "line",
        series: [
          { label: "precision", kind: "line", dash: [6, 3], colour: "good", x: finite, y: precision },
          { label: "recall", kind: "line", dash: [2, 3], colour: "before", x: finite, y: recall },
          { label: "F1", kind: "line", colour: "after", x: finite, y: f },
        ],
      },
      cuts,
    );
    const groups = reliability(data, c);
    const right = figure(
      host, "Are its probabilities right?",
      `Slope ${shown(data.per_class.cox_slope[c], 2)} (1 is right), calibration error ` +
        `${shown(data.per_class.ece[c], 4)}. Grey: where the points would lie if all were right.`,
      diagram(groups), diagramNumbers(groups),
    );
    const bins = scores(data, c);
    this.histogram = figure(
      host, "Scores of true and other labels",
      "Share of the positives and of the negatives in each bin of the calibrated logit.",
      {
        x: { label: "calibrated logit" }, y: { label: "share" }, marked: "line",
        series: [
          { label: "negatives", kind: "bars", colour: "before", x: bins.edges, y: bins.negatives },
          { label: "positives", kind: "bars", colour: "after", x: bins.edges, y: bins.positives },
        ],
      },
      {
        heads: ["from", "to", "negatives", "positives"],
        rows: () => bins.counts.map(([negative, positive], b) => [
          fixed(bins.edges[b], 3), fixed(bins.edges[b + 1], 3), whole(negative), whole(positive),
        ]),
      },
    );
    this.classPlots = [this.curve, this.tradeOff, right, this.histogram];
    for (const plot of this.classPlots) plot.draw();
  }

  // all classes

  /** All have their places; then they are drawn one by one, so that the page answers in between. */
  async overview() {
    const { data } = this, host = byId("overview"), { per_class: all } = data;
    const place = (...parts) => this.overviewPlots.push(figure(host, ...parts));
    const some = data.names.map((_, c) => c).filter((c) => all.support[c] > 0);
    const lowest = Math.min(...some.flatMap((c) => [all.count_ratio_before[c], all.count_ratio[c]]).filter((v) => v > 0), 1) / 2;
    const lifted = (value) => (value > 0 ? value : lowest);
    const tips = (classes) => ({
      heads: { name: "", support: "true", before: "predicted / true before", after: "after" },
      columns: {
        name: classes.map((c) => data.names[c]),
        support: classes.map((c) => whole(all.support[c])),
        before: classes.map((c) => shown(all.count_ratio_before[c], 2)),
        after: classes.map((c) => shown(all.count_ratio[c], 2)),
      },
    });
    const open = (classes) => (place) => { location.hash = this.address(classes[place]); };
    place(
      "Predicted over true labels, by frequency",
      "Every class a point, on the line if it is predicted as often as it is true; at the bottom if never. Point at one for its name.",
      {
        x: { label: "true labels", log: true }, y: { label: "predicted / true", log: true },
        level: 1, tips: tips(some), open: open(some),
        series: [
          { label: "before", kind: "points", marker: "square", colour: "before", x: some.map((c) => all.support[c]), y: some.map((c) => lifted(all.count_ratio_before[c])) },
          { label: "after", kind: "points", colour: "after", x: some.map((c) => all.support[c]), y: some.map((c) => lifted(all.count_ratio[c])) },
        ],
      },
      frequencyNumbers(data),
    );
    const ranked = [...some].sort((a, b) => all.support[b] - all.support[a] || a - b);
    const rank = ranked.map((_, place) => place + 1);
    const half = (value) => Math.max(value, 0.5);
    place(
      "How often each class is true, and predicted",
      "Classes from the most frequent to the rarest; a class that is never predicted lies at the bottom.",
      {
        x: { label: "rank of the class", log: true }, y: { label: "rows", log: true },
        tips: tips(ranked), open: open(ranked),
        series: [
          { label: "predicted before", kind: "points", marker: "square", colour: "before", x: rank, y: ranked.map((c) => half(all.predicted_before[c])) },
          { label: "predicted after", kind: "points", colour: "after", x: rank, y: ranked.map((c) => half(all.predicted[c])) },
          { label: "true", kind: "line", colour: "text", x: rank, y: ranked.map((c) => all.support[c]) },
        ],
      },
      frequencyNumbers(data),
    );
    const pooled = data.overview.reliability;
    const groups = pooled.p.map((p, i) => ({
      p, rate: pooled.rate[i], low: pooled.low[i], high: pooled.high[i],
      cells: pooled.cells[i], positives: pooled.positives[i],
    }));
    place(
      "Are the probabilities right?",
      "All classes pooled, on logarithmic axes. Grey: where the points would lie if all were right and labels independent.",
      diagram(groups), diagramNumbers(groups),
    );
    const rows = data.overview.labels_of_rows;
    place(
      "Labels per row",
      "How many labels rows get that have so many. The band holds the middle 80 % of the rows, after.",
      {
        x: { label: "true labels of a row" }, y: { label: "predicted labels, mean" },
        diagonal: true,
        series: [
          { label: "80 % of the rows, after", kind: "band", colour: "band", x: rows.map((r) => r.true), y: rows.map((r) => r.after_10_percent), y2: rows.map((r) => r.after_90_percent) },
          { label: "before", kind: "line", dash: [6, 3], colour: "before", x: rows.map((r) => r.true), y: rows.map((r) => r.before) },
          { label: "after", kind: "line", dots: true, colour: "after", x: rows.map((r) => r.true), y: rows.map((r) => r.after) },
        ],
      },
      {
        heads: ["true labels", "rows", "mean before", "mean after", "10 %", "median", "90 %"],
        rows: () => rows.map((r) => [
          span(r), whole(r.n_rows), fixed(r.before, 2), fixed(r.after, 2),
          whole(r.after_10_percent), whole(r.after_median), whole(r.after_90_percent),
        ]),
      },
    );
    const parts = data.overview.by_frequency.filter((group) => group.f !== null);
    place(
      "F1 by frequency", "Mean F1 of the classes with about so many true labels.",
      {
        x: { label: "true labels", log: true }, y: { label: "mean F1", min: 0, max: 1 },
        series: [
          { label: "before", kind: "line", dots: true, dash: [6, 3], colour: "before", x: parts.map((g) => Math.sqrt(g.from * g.to)), y: parts.map((g) => g.f_before) },
          { label: "after", kind: "line", dots: true, colour: "after", x: parts.map((g) => Math.sqrt(g.from * g.to)), y: parts.map((g) => g.f) },
        ],
      },
      frequencyNumbers(data),
    );
    // from the last, which is small: the first drawing takes longest, whatever it draws
    for (const plot of this.overviewPlots.toReversed()) {
      plot.draw();
      await pause();
    }
  }

  // overrides

  /** What fit takes: what it was given before, then what was moved here. */
  overrides() {
    const { data } = this, given = data.overrides;
    const moved = [...this.changed].map(([c, place]) => {
      const threshold = (c === this.current ? this.places : places(data, c)).threshold[place];
      return [data.names[c], threshold === Infinity ? "never" : { threshold }];
    });
    const names = new Set(moved.map(([name]) => name));
    const entries = [...given.classes.filter(([name]) => !names.has(name)), ...moved];
    // by hand: an object would put names that are numbers first, and the last match holds
    const lines = entries.map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)}`);
    const parts = [`"classes": {${lines.length ? `\n${lines.join(",\n")}\n ` : ""}}`];
    if (given.min_labels) parts.push(`"min_labels": ${given.min_labels}`);
    if (given.max_labels !== null) parts.push(`"max_labels": ${given.max_labels}`);
    return `{${parts.join(",\n ")}}\n`;
  }

  overriding() {
    const { data } = this;
    if (data.overrides === null) {
      byId("overrides-note").textContent = "This rule decides by the whole row or the whole batch, and takes no overrides.";
      for (const part of byId("overriding").querySelectorAll("button, textarea, label")) part.hidden = true;
      return;
    }
    byId("overrides-note").textContent = this.changed.size === 0
      ? "Open a class and move its threshold; what you choose is collected here."
      : `${whole(this.changed.size)} moved; predicted over true labels of all classes would be ${shown(ratio(this.total(), data.n_labels), 4)}.`;
    byId("copy").disabled = this.changed.size === 0;
    byId("overrides").value = this.overrides();
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.overrides());
    } catch {
      // a file that is opened without a server may have no clipboard
      byId("overrides").select();
      document.execCommand("copy");
    }
    byId("copied").textContent = "Copied.";
    setTimeout(() => { byId("copied").textContent = ""; }, 3000);
  }
}

// what is packed, by class

/** A float32, some steps above the first that is no lower than `value`. */
function above(value, steps) {
  const float = new Float32Array([value]);
  if (float[0] < value) steps += 1;
  if (steps === 0) return float[0];
  const bits = new Int32Array(float.buffer);
  const place = (bits[0] >= 0 ? bits[0] : -(bits[0] & 0x7fffffff)) + steps;
  bits[0] = place >= 0 ? place : -place | 0x80000000;
  return float[0];
}

/** Where the slider can stand, from the lowest threshold to the highest; `at` is the rule. */
function places(data, c) {
  const { cuts, per_class: all } = data;
  const found = [];
  let edge = 0, tp = 0, predicted = 0;
  for (let i = cuts.start[c]; i < cuts.start[c + 1]; i++) {
    edge = i === cuts.start[c] ? cuts.edge[i] : edge - cuts.edge[i];
    tp += cuts.tp[i];
    predicted += cuts.predicted[i];
    found.push([above(data.low[c] + edge * data.width[c], cuts.steps[i] ?? 0), tp, predicted]);
  }
  let own = null;
  if (data.has_thresholds) {
    own = [data.exact[c] ?? Infinity, all.tp[c], all.predicted[c]];
    const place = found.findIndex(([threshold]) => threshold <= own[0]);
    if (place < 0) found.push(own);
    else found.splice(place, found[place][0] === own[0] ? 1 : 0, own);
  }
  if (found[0]?.[0] !== Infinity) found.unshift([Infinity, 0, 0]);
  found.reverse();
  let at = found.indexOf(own);
  if (at < 0) {
    const far = found.map(([, , count]) => Math.abs(count - all.predicted[c]));
    at = far.indexOf(Math.min(...far));
  }
  return {
    threshold: found.map(([t]) => t), tp: found.map(([, t]) => t),
    predicted: found.map(([, , p]) => p), at,
  };
}

function reliability(data, c) {
  const { start, p, low, high, cells, positives } = data.reliability;
  const groups = [];
  for (let i = start[c]; i < start[c + 1]; i++) {
    groups.push({
      p: p[i], low: low[i], high: high[i], cells: cells[i], positives: positives[i],
      rate: positives[i] / cells[i],
    });
  }
  return groups;
}

function scores(data, c) {
  const { bins } = data.scores;
  const cells = data.scores.cells.slice(c * bins, (c + 1) * bins);
  const positive = data.scores.positives.slice(c * bins, (c + 1) * bins);
  const first = Math.max(0, cells.findIndex((n) => n > 0));
  const last = cells.findLastIndex((n) => n > 0) + 1;
  const width = data.width[c] * data.scores.step;
  const edges = [], counts = [];
  for (let b = first; b < last; b++) {
    edges.push(data.low[c] + b * width);
    counts.push([cells[b] - positive[b], positive[b]]);
  }
  edges.push(data.low[c] + last * width);
  const sums = [0, 1].map((k) => counts.reduce((sum, pair) => sum + pair[k], 0));
  return {
    edges, counts,
    negatives: counts.map(([n]) => ratio(n, sums[0]) ?? 0),
    positives: counts.map(([, n]) => ratio(n, sums[1]) ?? 0),
  };
}

// parts that several plots share

const span = ({ from, to }) => (from === to ? whole(from) : `${whole(from)} to ${whole(to)}`);

function diagram(groups) {
  const log = groups.every((g) => g.p > 0);
  const ends = groups.flatMap((g) => [g.p, g.rate, g.high]).filter((v) => v > 0);
  const least = Math.min(...ends, 1) / 1.5, most = Math.min(1, Math.max(...ends, 1e-9) * 1.5);
  const lifted = (value) => Math.max(value, log ? least : 0);
  const scale = { log, min: log ? least : 0, max: most };
  return {
    x: { label: "mean probability", ...scale }, y: { label: "rate of positives", ...scale },
    diagonal: true,
    series: [
      { label: "if all were right", kind: "band", colour: "band", x: groups.map((g) => g.p), y: groups.map((g) => lifted(g.low)), y2: groups.map((g) => lifted(g.high)) },
      { label: "found", kind: "line", dots: true, colour: "after", x: groups.map((g) => g.p), y: groups.map((g) => lifted(g.rate)) },
    ],
  };
}

function diagramNumbers(groups) {
  const brief = (value) => (value === null ? "none" : String(Number(value.toPrecision(4))));
  return {
    heads: ["mean probability", "rate of positives", "would lie from", "to", "cells", "positives"],
    rows: () => groups.map((g) => [
      brief(g.p), brief(g.rate), brief(g.low), brief(g.high), whole(g.cells), whole(g.positives),
    ]),
  };
}

function frequencyNumbers(data) {
  return {
    heads: ["true labels", "classes", "F1 before", "F1 after", "predicted/true before", "after"],
    rows: () => data.overview.by_frequency.map((g) => [
      span(g), whole(g.n_classes), shown(g.f_before, 4), shown(g.f, 4),
      shown(g.count_ratio_before, 2), shown(g.count_ratio, 2),
    ]),
  };
}

unpacked("data").then((data) => new Page(data).start()).catch((error) => {
  byId("failure").hidden = false;
  byId("failure").textContent = `This browser cannot show the classes: ${error.message}`;
});
