// Dials of the decoded scores, bars of the genes that change most, curves of chosen genes.

// Plotly reads a little HTML in its labels; a name is only ever a name.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const short = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);
const fixed = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
const CURVE_COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A6F00", "#000000"];
const CONFIG = { displayModeBar: false, responsive: true };
const FONT = { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", size: 12, color: "#222" };

class Dial {
  constructor(parent, name, color) {
    const figure = document.createElement("figure");
    this.node = svg("svg", { viewBox: "-62 -58 124 106", role: "img" }, figure);
    parent.append(figure);
    this.name = name;
    const half = Math.PI / 2;
    svg("path", { d: arc(40, 50, -half, half), fill: "#e4e4e4" }, this.node);
    this.level = svg("path", { fill: color }, this.node);
    this.band = svg("path", { fill: color, "fill-opacity": 0.35 }, this.node);
    this.needle = svg("g", { class: "needle" }, this.node);
    svg("line", { x1: 0, y1: 0, x2: 0, y2: -44, stroke: "#222", "stroke-width": 2.5, "stroke-linecap": "round" }, this.needle);
    svg("circle", { r: 4, fill: "#222" }, this.node);
    this.low = svg("text", { x: -45, y: 12 }, this.node);
    this.high = svg("text", { x: 45, y: 12 }, this.node);
    this.value = svg("text", { class: "value", x: 0, y: 28 }, this.node);
    svg("text", { x: 0, y: 43 }, this.node).textContent = `${name} score`;
  }

  // One scale for all paths: on a path that has nothing to do with the cycle the needle hardly moves.
  scale(paths, key) {
    const known = paths.flatMap((path) => path[key].filter((v, s) => v !== null && path.supported[s]));
    this.range = known.length ? [Math.min(...known), Math.max(...known)] : null;
    this.low.textContent = this.range ? fixed(this.range[0]) : "";
    this.high.textContent = this.range ? fixed(this.range[1]) : "";
  }

  // from the left end (-90°) to the right end (90°) of the scale
  angle(value) {
    const part = (value - this.range[0]) / (this.range[1] - this.range[0] || 1);
    return (Math.min(1, Math.max(0, part)) - 0.5) * Math.PI;
  }

  turn(value, sd) {
    if (value === null || !this.range) {
      this.value.textContent = "n/a";
      this.node.setAttribute("aria-label", `${this.name} score: not known`);
      return;
    }
    const angle = this.angle(value);
    if (sd) this.band.setAttribute("d", arc(52, 57, this.angle(value - sd), this.angle(value + sd)));
    this.needle.setAttribute("transform", `rotate(${(angle * 180) / Math.PI})`);
    this.level.setAttribute("d", arc(40, 50, -Math.PI / 2, Math.max(angle, -Math.PI / 2 + 0.001)));
    this.value.textContent = fixed(value);
    const spread = sd ? ` ± ${sd.toFixed(2)}` : "";
    this.node.setAttribute("aria-label", `${this.name} score ${fixed(value)}${spread}, on a scale from ${fixed(this.range[0])} to ${fixed(this.range[1])}`);
  }
}

class Bars {
  constructor(node) { this.node = node; }

  // One frame for the whole path, so that only the bars move.
  show(path, genes) {
    this.path = path;
    this.genes = [...path.top].reverse();
    this.labels = this.genes.map((g) => genes[g]);
    let limit = 0.1;
    for (const g of this.genes) for (let s = 0; s < path.nSteps; s++) {
      if (path.supported[s]) limit = Math.max(limit, Math.abs(path.change[g * path.nSteps + s]) + path.sd[g * path.nSteps + s]);
    }
    limit = Math.min(limit * 1.05, 12);
    // coordinates of a peak are told apart by their end, so labels are not cut where genes alone would be
    const names = this.labels.map((l) => short(l, 25));
    const layout = {
      font: FONT, margin: { l: 16 + 7.1 * Math.max(12, ...names.map((l) => l.length)), r: 12, t: 6, b: 40 }, bargap: 0.25, dragmode: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: { range: [-limit, limit], zeroline: true, zerolinecolor: "#222", gridcolor: "#eee", title: { text: "log₂ fold change" }, fixedrange: true },
      yaxis: { tickmode: "array", tickvals: this.genes.map((_, k) => k), ticktext: names.map(plain), fixedrange: true },
    };
    this.trace = { type: "bar", orientation: "h", y: this.genes.map((_, k) => k), hovertemplate: "%{customdata}: %{x:.2f}<extra></extra>", customdata: this.labels.map(plain) };
    this.layout = layout;
    this.node.style.height = `${46 + 25 * this.genes.length}px`;
  }

  turn(at) {
    const path = this.path;
    this.values = this.genes.map((g) => path.gene(path.change, g, at));
    const sd = this.genes.map((g) => path.gene(path.sd, g, at));
    const trace = { ...this.trace, x: this.values, marker: { color: this.values.map((v) => (v > 0 ? "#b2182b" : "#2166ac")) }, error_x: { type: "data", array: sd, color: "#555", thickness: 1, width: 2 } };
    return Plotly.react(this.node, [trace], this.layout, CONFIG);
  }

  words() {
    const order = this.values.map((v, k) => [v, this.labels[k]]).sort((a, b) => b[0] - a[0]);
    const up = order.filter(([v]) => v > 0).slice(0, 3).map(([, l]) => l);
    const down = order.filter(([v]) => v < 0).slice(-3).map(([, l]) => l);
    return `up: ${up.join(", ") || "none"}; down: ${down.join(", ") || "none"}`;
  }
}

class Curves {
  constructor(node) { this.node = node; this.chosen = []; }

  color(k) { return CURVE_COLORS[k % CURVE_COLORS.length]; }

  show(path, genes) {
    this.path = path;
    const x = path.grid();
    const traces = [];
    this.chosen.forEach((g, k) => {
      const y = path.curve(path.change, g), sd = path.curve(path.sd, g);
      const color = this.color(k), name = plain(short(genes[g], 24));
      traces.push({ x: [...x, ...[...x].reverse()], y: [...y.map((v, i) => v + sd[i]), ...y.map((v, i) => v - sd[i]).reverse()], fill: "toself", fillcolor: color + "22", line: { width: 0 }, hoverinfo: "skip", showlegend: false, mode: "lines" });
      traces.push({ x, y, name, mode: "lines", line: { color, width: 2 }, hovertemplate: `${name}: %{y:.2f}<extra></extra>` });
    });
    const turns = path.closed ? { tickmode: "array", tickvals: [0, 1, 2, 3, 4].map((k) => (k * Math.PI) / 2), ticktext: ["0", "π/2", "π", "3π/2", "2π"] } : {};
    this.layout = {
      font: FONT, margin: { l: 48, r: 12, t: 10, b: 44 }, dragmode: false, showlegend: this.chosen.length > 0,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: { range: [path.low, path.high], title: { text: path.closed ? "cycle angle (radians)" : `${plain(path.id)} (${path.unit})` }, gridcolor: "#eee", zeroline: false, fixedrange: true, ...turns },
      yaxis: { title: { text: "log₂ fold change" }, gridcolor: "#eee", zerolinecolor: "#999", fixedrange: true },
    };
    this.grey = [];
    const half = (path.high - path.low) / (path.closed ? path.nSteps : Math.max(path.nSteps - 1, 1)) / 2;
    path.position.forEach((p, s) => {
      if (!path.supported[s]) this.grey.push({ type: "rect", xref: "x", yref: "paper", x0: p - half, x1: p + half, y0: 0, y1: 1, fillcolor: "#e6e6e6", opacity: 0.7, line: { width: 0 }, layer: "above" });
    });
    this.traces = traces;
    this.drawn = false;
  }

  turn(x) {
    const line = { type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color: "#222", width: 2 } };
    const shapes = [...this.grey, line];
    if (this.drawn) return Plotly.relayout(this.node, { shapes });
    this.drawn = true;
    return Plotly.react(this.node, this.traces, { ...this.layout, shapes }, CONFIG);
  }
}
