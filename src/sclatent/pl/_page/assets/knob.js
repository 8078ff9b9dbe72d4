// The ring: a knob that turns all the way round for the cell cycle, and three quarters of a turn for an axis.

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

const polar = (radius, angle) => [radius * Math.sin(angle), -radius * Math.cos(angle)];

function arc(inner, outer, from, to) {
  const large = to - from > Math.PI ? 1 : 0;
  const [a, b, c, d] = [polar(outer, from), polar(outer, to), polar(inner, to), polar(inner, from)];
  return `M${a} A${outer} ${outer} 0 ${large} 1 ${b} L${c} A${inner} ${inner} 0 ${large} 0 ${d} Z`;
}

class Ring {
  constructor(node, onTurn) {
    this.node = node;
    this.onTurn = onTurn;
    node.addEventListener("pointerdown", (event) => {
      node.setPointerCapture(event.pointerId);
      node.focus({ preventScroll: true });
      this.drag(event);
    });
    node.addEventListener("pointermove", (event) => { if (node.hasPointerCapture(event.pointerId)) this.drag(event); });
    node.addEventListener("keydown", (event) => this.key(event));
  }

  // the angle on the dial (0 at the top, clockwise) of a position, and back
  toDial(x) {
    const part = (x - this.path.low) / (this.path.high - this.path.low || 1);
    return this.path.closed ? part * 2 * Math.PI : (part - 0.5) * 1.5 * Math.PI;
  }
  fromDial(angle) {
    const turn = 2 * Math.PI;
    const path = this.path;
    if (path.closed) return (((angle % turn) + turn) % turn);
    const centred = ((((angle + Math.PI) % turn) + turn) % turn) - Math.PI;
    const part = Math.min(1, Math.max(0, centred / (1.5 * Math.PI) + 0.5));
    return path.low + part * (path.high - path.low);
  }

  drag(event) {
    const box = this.node.getBoundingClientRect();
    const x = event.clientX - box.left - box.width / 2;
    const y = event.clientY - box.top - box.height / 2;
    if (Math.hypot(x, y) < box.width * 0.08) return;
    this.onTurn(this.fromDial(Math.atan2(x, -y)));
    event.preventDefault();
  }

  key(event) {
    const path = this.path;
    const span = path.high - path.low;
    const moves = { ArrowRight: 0.01, ArrowUp: 0.01, ArrowLeft: -0.01, ArrowDown: -0.01, PageUp: 0.1, PageDown: -0.1 };
    let x;
    if (event.key in moves) x = this.x + moves[event.key] * span;
    else if (event.key === "Home") x = path.low;
    else if (event.key === "End") x = path.high - (path.closed ? 0.01 * span : 0);
    else return;
    if (path.closed) x = (((x - path.low) % span) + span) % span + path.low;
    this.onTurn(Math.min(path.high, Math.max(path.low, x)));
    event.preventDefault();
  }

  // Draw the parts that stay while one path is turned.
  show(path, data) {
    this.path = path;
    this.node.replaceChildren();
    const colors = path.colors(data);
    const pieces = 90;
    for (let k = 0; k < pieces; k++) {
      const from = path.low + ((path.high - path.low) * k) / pieces;
      const to = path.low + ((path.high - path.low) * (k + 1)) / pieces;
      const color = colors[Math.min(colors.length - 1, Math.floor(((k + 0.5) / pieces) * colors.length))];
      svg("path", { d: arc(70, 84, this.toDial(from), this.toDial(to) + 0.008), fill: color }, this.node);
    }
    const n = path.nSteps;
    const half = (path.high - path.low) / (path.closed ? n : Math.max(n - 1, 1)) / 2;
    path.position.forEach((x, s) => {
      const from = this.toDial(path.closed ? x - half : Math.max(path.low, x - half));
      const to = this.toDial(path.closed ? x + half : Math.min(path.high, x + half));
      const height = 16 * (path.density[s] || 0);
      if (height > 0.2) svg("path", { d: arc(68 - height, 68, from, to), fill: "#c9c9c9" }, this.node);
      if (!path.supported[s]) svg("path", { d: arc(69, 85, from, to), fill: "#efefef", "fill-opacity": 0.88 }, this.node);
    });
    if (path.phase) this.phases(path, data, half);
    else {
      for (const x of [path.low, path.high]) {
        const at = polar(100, this.toDial(x));
        svg("text", { x: at[0], y: at[1] }, this.node).textContent = fixed(x, 1);
      }
    }
    this.pointer = svg("g", {}, this.node);
    svg("line", { x1: 0, y1: -30, x2: 0, y2: -86, stroke: "#222", "stroke-width": 3, "stroke-linecap": "round" }, this.pointer);
    svg("circle", { cx: 0, cy: -77, r: 8.5, fill: "#fff", stroke: "#222", "stroke-width": 3 }, this.pointer);
    this.words = svg("text", { class: "now", x: 0, y: 0 }, this.node);
    this.node.setAttribute("aria-valuemin", path.low.toFixed(2));
    this.node.setAttribute("aria-valuemax", path.high.toFixed(2));
  }

  // an arc outside the ring for every run of steps of one phase
  phases(path, data, half) {
    const n = path.nSteps;
    let start = 0;
    while (start < n && path.phase[start] === path.phase[(start + n - 1) % n]) start++;
    if (start === n) start = 0;
    for (let k = 0; k < n; ) {
      const name = path.phase[(start + k) % n];
      let length = 1;
      while (k + length < n && path.phase[(start + k + length) % n] === name) length++;
      const from = path.position[(start + k) % n] - half;
      const to = from + 2 * half * length - 0.02;
      svg("path", { d: arc(87, 103, from, to), fill: data.phaseColors[name] || "#b8b8b8" }, this.node);
      const middle = (((from + to) / 2) % (2 * Math.PI) + 2 * Math.PI) % (2 * Math.PI);
      const at = polar(95, middle);
      // along the ring, and never upside down
      const turned = (middle * 180) / Math.PI + (middle > Math.PI / 2 && middle < 1.5 * Math.PI ? 180 : 0);
      if (to - from > 0.35) svg("text", { class: "phase", transform: `translate(${at}) rotate(${turned})` }, this.node).textContent = name;
      k += length;
    }
  }

  turn(x, words, spoken) {
    this.x = x;
    this.pointer.setAttribute("transform", `rotate(${(this.toDial(x) * 180) / Math.PI})`);
    this.words.textContent = words;
    this.node.setAttribute("aria-valuenow", x.toFixed(3));
    this.node.setAttribute("aria-valuetext", spoken);
  }
}
