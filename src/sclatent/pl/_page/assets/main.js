// One state (which path, where on it, which genes); everything on the page is drawn from it.

const byId = (id) => document.getElementById(id);

function trouble(line) {
  const node = byId("trouble");
  node.textContent = line;
  node.hidden = false;
}

class Page {
  constructor(data, xy, columns) {
    this.data = data;
    this.paths = data.paths.map((entry) => new Path(entry, data));
    this.lookup = new Map();
    data.genes.forEach((name, g) => { const key = name.toLowerCase(); if (!this.lookup.has(key)) this.lookup.set(key, g); });
    this.map = new CellMap(byId("map"), data.cells, xy, columns, data.missing);
    this.ring = new Ring(byId("ring"), (x) => { this.stop(); this.turn(x); });
    this.dials = { s: new Dial(byId("dials"), "S", data.phaseColors.S), g2m: new Dial(byId("dials"), "G2/M", data.phaseColors["G2/M"]) };
    this.dials.s.scale(this.paths, "s");
    this.dials.g2m.scale(this.paths, "g2m");
    byId("scores-panel").hidden = !this.dials.s.range && !this.dials.g2m.range;
    this.bars = new Bars(byId("bars"));
    this.curves = new Curves(byId("curves"));
    byId("map-box").style.aspectRatio = String(data.cells.size[0] / data.cells.size[1]);
    this.words();
    this.controls();
  }

  // the head of the page: how sure we are, and what is not here
  words() {
    const { data } = this;
    for (const test of data.tests) {
      const item = document.createElement("li");
      const verdict = document.createElement("span");
      verdict.className = test.passed ? "passed" : "failed";
      verdict.textContent = test.passed ? "passed: " : "failed: ";
      item.append(verdict, `${test.name}: ${test.found} (needed: ${test.needed})`);
      byId("tests").append(item);
    }
    byId("tests-box").hidden = !data.tests.length;
    if (data.left_out.length) {
      byId("left-out").textContent = `Left out to keep this file small: ${data.left_out.join(", ")}. traversals.h5ad holds ${data.left_out.length > 1 ? "them" : "it"}.`;
      byId("left-out").hidden = false;
    }
    if (data.weak) {
      byId("weak").textContent = `${data.weak}.`;
      byId("weak").hidden = false;
    }
    const { shown, total, uncolored } = data.cells;
    byId("color-help").textContent = `No colours here for ${uncolored}. The atlas holds them.`;
    byId("color-help").hidden = !uncolored;
    this.cellWords = shown < total ? `${shown.toLocaleString("en")} of ${total.toLocaleString("en")} cells are drawn.` : `All ${total.toLocaleString("en")} cells are drawn.`;
  }

  controls() {
    const select = byId("path");
    this.paths.forEach((path, k) => select.add(new Option(path.title + (path.technical ? " (technical)" : ""), String(k))));
    select.addEventListener("change", () => this.choose(Number(select.value)));
    const color = byId("color");
    color.add(new Option("what is turned", "path"));
    this.map.columns.forEach((column, k) => color.add(new Option(column.name, String(k))));
    color.addEventListener("change", () => { this.map.colored = color.value; this.legend(); this.turn(this.x); });
    const slider = byId("slider");
    slider.addEventListener("input", () => {
      this.stop();
      const { low, high } = this.path;
      this.turn(low + (high - low) * (slider.value / 1000));
    });
    byId("play").addEventListener("click", () => (this.timer ? this.stop() : this.play()));
    byId("gene").addEventListener("input", () => this.suggest());
    byId("search").addEventListener("submit", (event) => { event.preventDefault(); this.add(byId("gene").value); });
    new ResizeObserver(() => { if (this.path && this.path.change) { this.map.resize(); this.turn(this.x); } }).observe(byId("map-box"));
  }

  async choose(k) {
    this.stop();
    const path = this.paths[k];
    await path.load();
    this.path = path;
    this.ring.show(path, this.data);
    this.bars.show(path, this.data.genes);
    if (!this.chosen) this.curves.chosen = this.pick(path);
    this.chips();
    this.curves.show(path, this.data.genes);
    this.map.resize();
    this.legend();
    const facts = byId("facts");
    facts.replaceChildren();
    for (const [what, text] of path.facts) {
      const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
      dt.textContent = what;
      dd.textContent = text;
      facts.append(dt, dd);
    }
    byId("slider-label").textContent = path.closed ? "Phase (0 is the start of G1)" : `Position on ${path.id}`;
    const first = path.supported.indexOf(true);
    this.turn(path.closed ? path.position[Math.max(first, 0)] : path.low + (path.high - path.low) / 2);
  }

  // a few genes to begin with: evenly spaced among those that change most
  pick(path) {
    const n = path.top.length;
    return [...new Set([0, 0.33, 0.66, 1].map((part) => path.top[Math.round(part * (n - 1))]))].filter((g) => g !== undefined);
  }

  turn(x) {
    const { path } = this;
    this.x = x;
    const at = path.locate(x);
    const step = path.nearest(at);
    const phase = path.phase ? path.phase[step] : "";
    const text = path.closed ? `${fixed(x)} rad${phase ? ` · ${phase}` : ""}` : fixed(x);
    const empty = !path.supported[step];
    byId("position").textContent = path.closed ? `${text} · ${((100 * x) / (2 * Math.PI)).toFixed(0)} % of a turn` : `${path.id} = ${text}`;
    byId("slider").value = String(Math.round((1000 * (x - path.low)) / (path.high - path.low || 1)));
    const spoken = text + (empty ? ", hardly any cell here" : "");
    byId("slider").setAttribute("aria-valuetext", spoken);
    byId("unsupported").hidden = !empty;
    byId("app").classList.toggle("guess", empty);
    this.ring.turn(x, path.closed ? phase || fixed(x) : fixed(x), spoken);
    this.dials.s.turn(path.mix(path.s, at), path.mix(path.sSd, at));
    this.dials.g2m.turn(path.mix(path.g2m, at), path.mix(path.g2mSd, at));
    if (!this.frame) {
      this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
    }
  }

  // what takes longer than a turn event: at most once a frame
  draw() {
    const at = this.path.locate(this.x);
    const near = this.map.draw(this.path, this.data, this.x, at);
    byId("map").dataset.dot = this.map.dot.map((v) => v.toFixed(3)).join(" ");
    byId("map-help").textContent = `Yellow dot: where most cells of this step are; line: its way. Outlined: the ${near.toLocaleString("en")} cells within 1.5 steps. ${this.cellWords}`;
    this.bars.turn(at);
    this.curves.turn(this.x);
    clearTimeout(this.speech);
    this.speech = setTimeout(() => { byId("status").textContent = `${byId("position").textContent}. ${this.bars.words()}`; }, 700);
  }

  play() {
    const { path } = this;
    byId("play").textContent = "Stop";
    byId("play").setAttribute("aria-pressed", "true");
    const span = path.high - path.low;
    let way = 1;
    this.timer = setInterval(() => {
      let x = this.x + (way * span) / 160;
      if (path.closed) x = (x - path.low) % span + path.low;
      else if (x >= path.high || x <= path.low) { way = -way; x = Math.min(path.high, Math.max(path.low, x)); }
      this.turn(x);
    }, 50);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    byId("play").textContent = "Play";
    byId("play").setAttribute("aria-pressed", "false");
  }

  legend() {
    const list = byId("legend");
    list.replaceChildren();
    const category = this.map.columns[this.map.colored];
    const item = (color, text) => {
      const node = document.createElement("li"), mark = document.createElement("i");
      mark.style.background = color;
      node.append(mark, text);
      list.append(node);
    };
    if (category) category.levels.forEach((level, k) => item(category.colors[k], level));
    else {
      const node = document.createElement("li"), bar = document.createElement("span");
      bar.className = "bar";
      bar.style.background = `linear-gradient(90deg, ${this.path.colors(this.data).join(",")})`;
      node.append(this.path.closed ? "0" : fixed(this.path.low, 1), bar, this.path.closed ? "2π" : fixed(this.path.high, 1));
      list.append(node);
    }
    if (this.path.cells.includes(this.data.missing)) item("#dcdcdc", category ? "none" : "not cycling");
  }

  suggest() {
    const typed = byId("gene").value.trim().toLowerCase();
    const list = byId("gene-list");
    list.replaceChildren();
    if (!typed) return;
    const found = this.data.genes.filter((name) => name.toLowerCase().startsWith(typed)).slice(0, 30);
    for (const name of found) list.append(new Option(name, name));
  }

  add(name) {
    const typed = name.trim();
    const message = byId("gene-message");
    if (!typed) return;
    const g = this.lookup.get(typed.toLowerCase());
    if (g === undefined) {
      const near = this.data.genes.filter((n) => n.toLowerCase().includes(typed.toLowerCase())).slice(0, 5);
      message.textContent = `The model has no ${this.data.feature} “${typed}”.${near.length ? ` There is ${near.join(", ")}.` : ""}`;
      return;
    }
    message.textContent = this.curves.chosen.includes(g) ? `${this.data.genes[g]} is already there.` : `${this.data.genes[g]} added.`;
    if (!this.curves.chosen.includes(g)) this.curves.chosen.push(g);
    byId("gene").value = "";
    this.refresh();
  }

  // from now on the reader's genes stay when another path is chosen
  refresh() {
    this.chosen = true;
    this.chips();
    this.curves.show(this.path, this.data.genes);
    this.turn(this.x);
  }

  chips() {
    const list = byId("chips");
    list.replaceChildren();
    this.curves.chosen.forEach((g, k) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const name = this.data.genes[g];
      const label = document.createElement("span");
      label.textContent = name;
      label.style.color = this.curves.color(k);
      button.type = "button";
      button.textContent = "×";
      button.setAttribute("aria-label", `Remove ${name}`);
      button.addEventListener("click", () => { this.curves.chosen.splice(k, 1); this.refresh(); });
      item.append(label, button);
      list.append(item);
    });
  }
}

async function start() {
  const data = JSON.parse(byId("data").textContent);
  if (typeof DecompressionStream === "undefined") {
    trouble("This browser is too old to unpack the page (it needs DecompressionStream: Chrome 80, Firefox 113, Safari 16.4 or newer).");
    return;
  }
  if (!data.paths.length) {
    trouble(data.left_out.length ? "No path fits on this page." : "No axis of this model is active, so there is nothing to turn.");
    return;
  }
  await loadLibrary();
  const columns = [];
  for (const column of data.cells.colors) columns.push({ ...column, codes: await unpack(column.codes) });
  byId("app").hidden = false;
  const page = new Page(data, await unpack(data.cells.xy), columns);
  await page.choose(0);
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => { trouble(`This page could not be drawn: ${error.message}`); throw error; });
