// The map of the cells: those near the step in colour, the others pale, and the dot.

class CellMap {
  constructor(canvas, cells, xy, columns, missing) {
    this.canvas = canvas;
    this.cells = cells;
    this.n = cells.shown;
    const words = new Uint16Array(xy.buffer);
    this.x = words.subarray(0, this.n);
    this.y = words.subarray(this.n, 2 * this.n);
    this.columns = columns;
    this.missing = missing;
    this.colored = "path";
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.canvas.width = Math.max(1, Math.round(box.width * ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * ratio));
    this.ratio = ratio;
  }

  // pixel of a point of the map, both from 0 to 1; y grows upwards on the map
  pixel(x, y) {
    const margin = 12 * this.ratio;
    return [margin + x * (this.canvas.width - 2 * margin), margin + (1 - y) * (this.canvas.height - 2 * margin)];
  }

  disc(context, px, py, radius) {
    context.beginPath();
    context.arc(px, py, radius, 0, 2 * Math.PI);
    context.fill();
  }

  draw(path, data, x, at) {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const size = Math.max(1.2, Math.min(4, 160 / Math.sqrt(this.n))) * this.ratio;
    const now = (254 * (x - path.low)) / (path.high - path.low || 1);
    const width = (254 * 1.5) / path.nSteps;
    const category = this.columns[this.colored];
    const palette = category ? category.colors : path.colors(data);
    const near = [];
    context.fillStyle = "#dcdcdc";
    for (let k = 0; k < this.n; k++) {
      const value = path.cells[k];
      let off = Math.abs(value - now);
      if (path.closed) off = Math.min(off, 254 - off);
      if (value !== this.missing && off <= width) { near.push(k); continue; }
      const color = category ? this.pick(category.codes[k], palette) : this.shade(value, palette);
      context.globalAlpha = color ? 0.38 : 0.55;
      context.fillStyle = color || "#dcdcdc";
      const [px, py] = this.pixel(this.x[k] / 65535, this.y[k] / 65535);
      context.fillRect(px - size / 2, py - size / 2, size, size);
    }
    context.globalAlpha = 1;
    for (const k of near) {
      const color = category ? this.pick(category.codes[k], palette) : this.shade(path.cells[k], palette);
      const [px, py] = this.pixel(this.x[k] / 65535, this.y[k] / 65535);
      context.fillStyle = "#222";
      this.disc(context, px, py, 1.05 * size);
      context.fillStyle = color || "#dcdcdc";
      this.disc(context, px, py, 0.75 * size);
    }
    this.route(context, path, at);
    return near.length;
  }

  route(context, path, at) {
    const place = (point) => this.pixel((point[0] - this.cells.low[0]) / this.cells.size[0], (point[1] - this.cells.low[1]) / this.cells.size[1]);
    const points = path.route.map(place);
    if (path.closed) points.push(points[0]);
    for (const [color, width] of [["rgba(255,255,255,.8)", 4], ["rgba(34,34,34,.65)", 1.5]]) {
      context.strokeStyle = color;
      context.lineWidth = width * this.ratio;
      context.beginPath();
      points.forEach(([px, py], k) => (k ? context.lineTo(px, py) : context.moveTo(px, py)));
      context.stroke();
    }
    const [ax, ay] = path.route[at.i], [bx, by] = path.route[at.j];
    this.dot = [ax + (bx - ax) * at.t, ay + (by - ay) * at.t];
    const [px, py] = place(this.dot);
    context.beginPath();
    context.arc(px, py, 8 * this.ratio, 0, 2 * Math.PI);
    context.fillStyle = "#f0e442";
    context.strokeStyle = "#000";
    context.lineWidth = 2.5 * this.ratio;
    context.fill();
    context.stroke();
  }

  shade(code, palette) {
    return code === this.missing ? null : palette[Math.min(palette.length - 1, Math.floor((code / 255) * palette.length))];
  }
  pick(code, palette) { return code === this.missing ? null : palette[code]; }
}
