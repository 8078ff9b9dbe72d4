"use strict";
// What is embedded in the page, made readable: gzip + base64 → bytes → curves.

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function loadLibrary() {
  const source = new TextDecoder().decode(await unpack(document.getElementById("library").textContent));
  const script = document.createElement("script");
  script.textContent = source;
  document.head.append(script);
}

// One path: curves are kept as 8-bit numbers and made into log2 fold changes when the path is first turned.
class Path {
  constructor(entry, data) {
    Object.assign(this, entry);
    this.nGenes = data.genes.length;
    this.nSteps = entry.position.length;
    this.sdUnit = data.sdUnit;
    this.nCells = data.cells.shown;
    this.low = entry.closed ? 0 : entry.position[0];
    this.high = entry.closed ? 2 * Math.PI : entry.position[this.nSteps - 1];
  }

  async load() {
    if (this.change) return this;
    const bytes = await unpack(this.blob);
    const { nGenes, nSteps } = this;
    const view = new DataView(bytes.buffer);
    const size = nGenes * nSteps;
    const level = bytes.slice(8 * nGenes, 8 * nGenes + size);
    const sd = bytes.slice(8 * nGenes + size, 8 * nGenes + 2 * size);
    this.cells = bytes.slice(8 * nGenes + 2 * size);
    this.change = new Float32Array(size);
    this.sd = new Float32Array(size);
    const steps = this.supported.some((s) => s) ? this.supported : this.supported.map(() => true);
    const used = steps.filter((s) => s).length;
    for (let g = 0; g < nGenes; g++) {
      const at = g * nSteps;
      const low = view.getFloat32(4 * g, true);
      const span = view.getFloat32(4 * (nGenes + g), true);
      let a = 0, b = 0, mean = 0;
      for (let s = 0; s < nSteps; s++) {
        a = (a + level[at + s]) & 255;
        b = (b + sd[at + s]) & 255;
        this.change[at + s] = low + (a / 255) * span;
        this.sd[at + s] = b * this.sdUnit;
        if (steps[s]) mean += this.change[at + s] / used;
      }
      for (let s = 0; s < nSteps; s++) this.change[at + s] -= mean;
    }
    return this;
  }

  // Where between which steps a position is.
  locate(x) {
    const p = this.position;
    const n = this.nSteps;
    if (this.closed) {
      let i = n - 1;
      while (i > 0 && p[i] > x) i--;
      const j = (i + 1) % n;
      const width = (j ? p[j] : 2 * Math.PI) - p[i];
      return { i, j, t: width > 0 ? (x - p[i]) / width : 0 };
    }
    let i = 0;
    while (i < n - 2 && p[i + 1] <= x) i++;
    const j = Math.min(i + 1, n - 1);
    const width = p[j] - p[i];
    return { i, j, t: width > 0 ? Math.min(1, Math.max(0, (x - p[i]) / width)) : 0 };
  }

  nearest(at) { return at.t < 0.5 ? at.i : at.j; }
  mix(values, at) {
    const a = values[at.i], b = values[at.j];
    return a === null || b === null ? null : a + (b - a) * at.t;
  }
  gene(curve, g, at) {
    const o = g * this.nSteps;
    return curve[o + at.i] + (curve[o + at.j] - curve[o + at.i]) * at.t;
  }
  // a whole curve, closed up at the end of the turn
  curve(values, g) {
    const out = Array.from(values.subarray(g * this.nSteps, (g + 1) * this.nSteps));
    if (this.closed) out.push(out[0]);
    return out;
  }
  grid() { return this.closed ? [...this.position, 2 * Math.PI + this.position[0]] : this.position; }
  colors(data) { return this.closed ? data.cycleColors : data.axisColors; }
}
