"use strict";
// The page of `cosmicgate view`: draws tiles of raw values, makes the mask of the network's candidates, and edits it.
// An image is addressed by pixels counted along its rows from the first row, which is drawn at the bottom.
const $ = (id) => document.getElementById(id);
const CONTENT = JSON.parse($("content").textContent); // null: a server is asked
const TILE = 256, MAX_TILES = 500, ROWS_SHOWN = 100;
const BAD = 1, BASE = 2, EDIT = 12, EDIT_SHIFT = 2, BASE_UNKNOWN = 16; // bits of a pixel's flags
const HIT = 1, NO_HIT = 2, UNKNOWN = 3; // what a person says of a pixel
const COLOURS = { hit: [230, 0, 40], hand: [255, 140, 0], no: [0, 165, 255], unknown: [190, 90, 255], bad: [70, 110, 170] };
const EDIT_NAMES = ["untouched", "hit", "no hit", "not known"];

// ------------------------------------------------------------------------------------------------ bytes and arrays

function bytesOf(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
  return bytes;
}
const uints = (text) => new Uint32Array(bytesOf(text).buffer);
const floats = (text) => new Float32Array(bytesOf(text).buffer);
function textOf(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength), parts = [];
  for (let k = 0; k < bytes.length; k += 32768) parts.push(String.fromCharCode(...bytes.subarray(k, k + 32768)));
  return btoa(parts.join(""));
}
function pixelsOfRuns(runs) { // runs of (first pixel, length, code) -> pixels, ascending
  let total = 0;
  for (let k = 0; k < runs.length; k += 3) total += runs[k + 1];
  const list = new Uint32Array(total);
  for (let k = 0, n = 0; k < runs.length; k += 3) for (let i = 0; i < runs[k + 1]; i++) list[n++] = runs[k] + i;
  return list;
}
function runsOfPixels(list, codeOf) { // pixels, ascending -> runs
  const runs = [];
  for (let k = 0; k < list.length; k++) {
    const code = codeOf(list[k]), last = runs.length - 3;
    if (last >= 0 && runs[last] + runs[last + 1] === list[k] && runs[last + 2] === code) runs[last + 1]++;
    else runs.push(list[k], 1, code);
  }
  return new Uint32Array(runs);
}
function firstAtLeast(list, value) {
  let low = 0, high = list.length;
  while (low < high) { const middle = (low + high) >> 1; if (list[middle] < value) low = middle + 1; else high = middle; }
  return low;
}
const logit = (p) => Math.log(p / (1 - p));
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const short = (value) => Number.isFinite(value) ? String(Number(value.toPrecision(6))) : "no number";

// --------------------------------------------------------------------------------------------------------- sources

async function ask(path, given, method) {
  const options = given === undefined ? { method: method || "GET" } : { method: "POST", body: JSON.stringify(given) };
  const answer = await fetch(path, options);
  if (!answer.ok) {
    let text = `the server answered ${answer.status}`;
    try { text = (await answer.json()).error || text; } catch { /* the answer is no JSON */ }
    throw new Error(text);
  }
  return answer;
}
const json = async (path, given, method) => (await ask(path, given, method)).json();

const server = {
  about: () => json("api"),
  describe: (image) => json(`api/${image}`),
  offset: (image, other) => json(`api/${image}/offset/${other}`),
  async tile(image, layer, version, level, row, column) {
    const answer = await ask(`api/${image}/tile/${layer}/${version}/${level}/${row}/${column}`);
    return new Float32Array(await answer.arrayBuffer());
  },
  async clean(image, hits) { return (await json(`api/${image}/clean`, { hits })).version; },
};

const inPage = { // the content of the page stands for the server
  levels: new Map(),
  about: async () => CONTENT,
  describe: async (image) => CONTENT.details[image],
  offset: async (image, other) => CONTENT.offsets[`${image}-${other}`] || { x: 0, y: 0, by: "pixels" },
  clean: async () => 1,
  async level(image, layer, number) {
    const key = `${image}/${layer}/${number}`;
    if (!this.levels.has(key)) this.levels.set(key, this.make(image, layer, number));
    return this.levels.get(key);
  },
  async make(image, layer, number) {
    const detail = CONTENT.details[image];
    if (number > 0) return blockMean(await this.level(image, layer, number - 1));
    if (layer === "cleaned") {
      const whole = await this.level(image, "image", 0), data = whole.data.slice();
      const index = uints(detail.cleaned.index), values = floats(detail.cleaned.values);
      index.forEach((pixel, k) => { data[pixel] = values[k]; });
      return { rows: whole.rows, columns: whole.columns, data };
    }
    const { sky, noise, step } = detail.pixels, [rows, columns] = detail.shape, n = rows * columns;
    const stream = new Blob([bytesOf(detail.pixels.data)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer()), data = new Float32Array(n);
    const table = new Map();
    for (let k = 0; k < n; k++) {
      const number_ = ((bytes[k] | (bytes[n + k] << 8)) << 16) >> 16;
      let value = table.get(number_);
      if (value === undefined) table.set(number_, value = number_ === -32768 ? NaN : sky + noise * Math.sinh(number_ * step));
      data[k] = value;
    }
    return { rows, columns, data };
  },
  async tile(image, layer, version, level, row, column) {
    const { rows, columns, data } = await this.level(image, layer, level);
    const y = row * TILE, x = column * TILE, height = Math.min(TILE, rows - y), width = Math.min(TILE, columns - x);
    const tile = new Float32Array(height * width);
    for (let k = 0; k < height; k++) tile.set(data.subarray((y + k) * columns + x, (y + k) * columns + x + width), k * width);
    return tile;
  },
};
function blockMean({ rows, columns, data }) {
  const height = (rows + 1) >> 1, width = (columns + 1) >> 1, out = new Float32Array(height * width);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    let total = 0, count = 0;
    for (let j = 2 * y; j < Math.min(2 * y + 2, rows); j++) for (let i = 2 * x; i < Math.min(2 * x + 2, columns); i++) {
      const value = data[j * columns + i];
      if (Number.isFinite(value)) { total += value; count++; }
    }
    out[y * width + x] = count ? total / count : NaN;
  }
  return { rows: height, columns: width, data: out };
}
const source = CONTENT ? inPage : server;

// ----------------------------------------------------------------------------------------------------------- state

let about, now = null, number = 0; // all images; the one that is shown, and its number
const images = new Map();
const view = { x: 0, y: 0, scale: 1 }; // centre, image pixels; CSS pixels of the screen per image pixel
const cursor = { x: 0, y: 0 };
let layer = "image", shown = "image", tool = "pan", label = HIT, sortKey = "snr", descending = true, rowsShown = ROWS_SHOWN;

function say(text) { $("say").textContent = ""; setTimeout(() => { $("say").textContent = text; }, 30); }
function tell(text) { $("state").textContent = text; }
function fail(error) { tell(`Error: ${error.message || error}`); }

async function open(which) {
  tell(`Reading ${about.images[which].file}.`);
  if (!images.has(which)) {
    const doc = await source.describe(which), [rows, columns] = doc.shape;
    const one = {
      doc, rows, columns, flags: new Uint8Array(rows * columns), base: new Uint32Array(0), edits: new Set(),
      hits: [], list: new Uint32Array(0), undo: [], redo: [], unsaved: false, identifier: doc.identifier,
      candidates: null, version: 0, cleanedOf: -1, cleaned: 0, cleaning: false, limits: {}, hasBad: false,
      threshold: doc.threshold ?? (about.model ? about.model.threshold : 0.5), grow: doc.grow || 0, source: "none",
    };
    const bad = uints(doc.bad);
    for (let k = 0; k < bad.length; k += 3) {
      one.flags.fill(bad[k + 2] === 1 ? BAD : BASE_UNKNOWN, bad[k], bad[k] + bad[k + 1]);
      one.hasBad = true;
    }
    if (doc.touched) {
      const runs = uints(doc.touched);
      for (let k = 0; k < runs.length; k += 3) for (let p = runs[k]; p < runs[k] + runs[k + 1]; p++) {
        one.flags[p] |= runs[k + 2] << EDIT_SHIFT;
        one.edits.add(p);
      }
    }
    if (doc.candidates) readCandidates(one, doc.candidates);
    one.source = doc.saved ? "saved" : doc.file_mask && !CONTENT ? "file_mask" : one.candidates ? "network" : "none";
    if (doc.file_mask && doc.file_mask.threshold && about.model && doc.file_mask.model === about.model.name && !CONTENT) {
      one.threshold = doc.file_mask.threshold;
    }
    images.set(which, one);
  }
  const before = now;
  now = images.get(which); number = which; layer = shown = "image";
  if (!before || before.rows !== now.rows || before.columns !== now.columns) whole();
  cursor.x = clamp(cursor.x || now.columns >> 1, 0, now.columns - 1);
  cursor.y = clamp(cursor.y || now.rows >> 1, 0, now.rows - 1);
  fillControls();
  setLimits();
  remask();
  tell([`${about.images[which].file}, ${now.columns} x ${now.rows} px.`, ...now.doc.notes].join(" "));
}
function readCandidates(one, given) {
  one.candidates = { index: uints(given.index), probability: floats(given.probability), excess: floats(given.excess), floor: given.floor };
}

// ------------------------------------------------------------------------------------------------ mask and its hits

function remask() { // the mask of untouched pixels, by source, threshold and growth
  const one = now, { flags, rows, columns } = one;
  for (const pixel of one.base) flags[pixel] &= ~BASE;
  const seeds = seedsOf(one), list = [];
  const g = one.grow;
  for (const pixel of seeds) {
    const y = Math.floor(pixel / columns), x = pixel - y * columns;
    for (let j = Math.max(y - g, 0); j <= Math.min(y + g, rows - 1); j++) {
      for (let i = Math.max(x - g, 0); i <= Math.min(x + g, columns - 1); i++) {
        const p = j * columns + i;
        if (!(flags[p] & (BAD | BASE))) { flags[p] |= BASE; list.push(p); }
      }
    }
  }
  one.base = Uint32Array.from(list).sort();
  recount();
}
function seedsOf(one) {
  if (one.source === "network" && one.candidates) {
    const { index, probability } = one.candidates, at = Math.fround(one.threshold);
    return index.filter((_, k) => probability[k] >= at);
  }
  if (one.source === "saved") return pixelsOfRuns(uints(one.doc.saved));
  if (one.source === "file_mask") return pixelsOfRuns(uints(one.doc.file_mask.hits));
  return new Uint32Array(0);
}
function editOf(one, pixel) { return (one.flags[pixel] & EDIT) >> EDIT_SHIFT; }

function recount() { // the hits of the mask: groups of pixels that touch, also by a corner
  const one = now, by = [];
  for (const pixel of one.edits) if (editOf(one, pixel) === HIT) by.push(pixel);
  const untouched = one.base.filter((pixel) => !(one.flags[pixel] & EDIT));
  const list = new Uint32Array(untouched.length + by.length);
  list.set(untouched);
  list.set(by, untouched.length);
  if (by.length) list.sort();
  one.list = list;
  one.hits = groups(one, list);
  one.version++;
  showCounts();
  showList();
  draw();
  readOut();
  if (shown === "cleaned") clean();
}
function groups(one, list) {
  const n = list.length, { columns } = one, parent = new Int32Array(n);
  const root = (k) => { while (parent[k] !== k) { parent[k] = parent[parent[k]]; k = parent[k]; } return k; };
  let before = new Int32Array(columns + 2).fill(-1), current = new Int32Array(columns + 2).fill(-1), row = -2;
  for (let k = 0; k < n; k++) {
    const y = Math.floor(list[k] / columns), x = list[k] - y * columns;
    if (y !== row) {
      [before, current] = [current, before];
      if (y !== row + 1) before.fill(-1);
      current.fill(-1);
      row = y;
    }
    parent[k] = k;
    for (const other of [current[x], before[x], before[x + 1], before[x + 2]]) {
      if (other >= 0) { const a = root(other), b = root(k); if (a < b) parent[b] = a; else parent[a] = b; }
    }
    current[x + 1] = k;
  }
  const found = new Map(), { index, probability, excess } = one.candidates || { index: [], probability: [], excess: [] };
  const at = one.source === "network" ? Math.fround(one.threshold) : 0;
  let c = 0;
  for (let k = 0; k < n; k++) {
    const first = root(k), pixel = list[k];
    let hit = found.get(first);
    if (!hit) found.set(first, hit = { pixel, best: -Infinity, size: 0, sum: 0, counted: 0, probability: NaN, hand: false, pixels: [] });
    hit.size++;
    hit.pixels.push(pixel);
    if (one.flags[pixel] & EDIT) hit.hand = true;
    while (c < index.length && index[c] < pixel) c++;
    if (c < index.length && index[c] === pixel) {
      if (!(hit.probability >= probability[c])) hit.probability = probability[c];
      if (probability[c] >= at || hit.hand) { hit.sum += excess[c]; hit.counted++; }
      if (excess[c] > hit.best) { hit.best = excess[c]; hit.pixel = pixel; }
    }
  }
  const hits = [...found.values()];
  for (const hit of hits) hit.snr = hit.counted ? hit.sum / Math.sqrt(hit.counted) : NaN;
  return hits;
}
let speaking = 0;
function showCounts() {
  const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  const text = `${plural(now.hits.length, "hit")}, ${plural(now.list.length, "pixel")}`;
  if ($("counts").textContent === text) return;
  $("counts").textContent = text;
  clearTimeout(speaking);
  speaking = setTimeout(() => say(text), 700);
}
function sorted() {
  const sign = descending ? -1 : 1;
  const value = (hit) => sortKey === "place" ? hit.pixel : Number.isNaN(hit[sortKey]) ? -Infinity : hit[sortKey];
  return [...now.hits].sort((a, b) => { const x = value(a), y = value(b); return x === y ? a.pixel - b.pixel : sign * (x < y ? -1 : 1); });
}
function showList() {
  const hits = sorted(), rows = document.createDocumentFragment();
  now.order = hits;
  for (const hit of hits.slice(0, rowsShown)) {
    const row = document.createElement("tr");
    const place = document.createElement("td"), button = document.createElement("button");
    const y = Math.floor(hit.pixel / now.columns), x = hit.pixel - y * now.columns;
    button.type = "button";
    button.textContent = `${x + 1}, ${y + 1}`;
    button.addEventListener("click", () => goTo(hit));
    place.append(button);
    const cells = [hit.size, Number.isNaN(hit.snr) ? "" : hit.snr.toFixed(1), Number.isNaN(hit.probability) ? "" : hit.probability.toFixed(3)];
    if (hit.hand) cells[2] = cells[2] ? `${cells[2]} (hand)` : "by hand";
    row.append(place, ...cells.map((text) => { const cell = document.createElement("td"); cell.textContent = text; return cell; }));
    if (hit === now.chosen || hit.pixels.includes(now.chosenPixel)) row.setAttribute("aria-current", "true");
    rows.append(row);
  }
  $("rows").replaceChildren(rows);
  $("more").hidden = hits.length <= rowsShown;
  for (const button of document.querySelectorAll("th button")) {
    const own = button.dataset.key === sortKey;
    if (own) button.parentNode.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else button.parentNode.removeAttribute("aria-sort");
  }
}
function goTo(hit) {
  cursor.y = Math.floor(hit.pixel / now.columns);
  cursor.x = hit.pixel - cursor.y * now.columns;
  now.chosen = hit;
  now.chosenPixel = hit.pixel;
  view.x = cursor.x + 0.5; view.y = cursor.y + 0.5;
  view.scale = Math.max(view.scale, 12);
  showList();
  readOut(true, `Hit of ${hit.size} pixels`);
  draw();
}
function nextHit(step) {
  if (!now.order.length) { say("There are no hits"); return; }
  const at = now.order.findIndex((hit) => hit.pixels.includes(now.chosenPixel));
  goTo(now.order[at < 0 ? 0 : (at + step + now.order.length) % now.order.length]);
}

// ------------------------------------------------------------------------------------------- false-positive rates

function thresholdAt(rate) { // as ModelCard.threshold_at: linear in logit of the threshold and logarithm of the rate
  const table = about.model.calibration, x = Math.log(rate);
  for (let k = 1; k < table.length; k++) {
    const [a, b] = [Math.log(table[k - 1][0]), Math.log(table[k][0])];
    if (x <= b || k === table.length - 1) {
      const part = clamp((x - a) / (b - a), 0, 1), u = logit(table[k - 1][1]), v = logit(table[k][1]);
      return 1 / (1 + Math.exp(-(u + part * (v - u))));
    }
  }
  return table[0][1];
}
function rateAt(threshold) { // NaN outside of the calibration
  const table = about.model.calibration, y = logit(threshold);
  for (let k = 1; k < table.length; k++) {
    const u = logit(table[k - 1][1]), v = logit(table[k][1]);
    if (y <= u + 1e-9 && y >= v - 1e-9) {
      const part = u === v ? 0 : (y - u) / (v - u);
      return Math.exp(Math.log(table[k - 1][0]) + part * Math.log(table[k][0] / table[k - 1][0]));
    }
  }
  return NaN;
}
function setThreshold(value, from) {
  if (!(value > 0 && value < 1)) { fail(new Error(`threshold ${value}: expected a probability between 0 and 1`)); return; }
  now.threshold = value;
  if (now.candidates && value < now.candidates.floor) {
    now.threshold = now.candidates.floor;
    tell(`Pixels below a probability of ${short(now.candidates.floor)} are not listed: the threshold is ${short(now.threshold)}.`);
  }
  showThreshold(from);
  later(remask);
}
function showThreshold(from) {
  if (from !== "number") $("threshold").value = Number(now.threshold.toPrecision(5));
  if (from !== "threshold-slider") $("threshold-slider").value = logit(now.threshold);
  $("threshold-slider").setAttribute("aria-valuetext", Number(now.threshold.toPrecision(3)));
  if (!about.model || about.model.calibration.length < 2) { $("rate").textContent = "not calibrated"; $("rate-slider").disabled = true; return; }
  const rate = rateAt(now.threshold), table = about.model.calibration;
  const text = Number.isNaN(rate) ? (now.threshold > table[0][1] ? `below ${table[0][0]}` : `above ${table[table.length - 1][0]}`) : rate.toExponential(1);
  $("rate").textContent = text;
  $("rate-slider").setAttribute("aria-valuetext", text);
  if (from !== "rate-slider" && !Number.isNaN(rate)) $("rate-slider").value = Math.log10(rate);
}
const waiting = new Set();
function later(work) { // once for each picture that is drawn
  if (waiting.has(work)) return;
  waiting.add(work);
  requestAnimationFrame(() => { waiting.delete(work); work(); });
}

// ------------------------------------------------------------------------------------------------------------ tiles

const tiles = new Map(); // key -> {data, width, height, canvas, stretch}
function tileOf(image, kind, version, level, row, column, wanted = true) {
  const key = `${image}/${kind}/${version}/${level}/${row}/${column}`;
  let tile = tiles.get(key);
  if (tile) { tiles.delete(key); tiles.set(key, tile); return tile; }
  if (!wanted) return null;
  const [rows, columns] = about.images[image].shape;
  tile = {
    data: null, canvas: null, stretch: "",
    height: Math.min(TILE, Math.ceil(rows / 2 ** level) - row * TILE), width: Math.min(TILE, Math.ceil(columns / 2 ** level) - column * TILE),
  };
  tile.ready = source.tile(image, kind, version, level, row, column).then(
    (data) => { tile.data = data; draw(); return tile; },
    (error) => { tiles.delete(key); fail(error); return tile; },
  );
  tiles.set(key, tile);
  if (tiles.size > MAX_TILES) tiles.delete(tiles.keys().next().value);
  return tile;
}
let table = new Uint8Array(65536), limits = { low: 0, high: 1 }, stretchKey = "";
function setLimits() {
  const mode = $("stretch").value, { doc } = now;
  const [low, high] = now.limits[mode] || {
    zscale: doc.zscale, linear: doc.range, log: [doc.sky - doc.noise, Math.max(doc.range[1], doc.sky + 10 * doc.noise)],
    asinh: [doc.sky - 3 * doc.noise, Math.max(doc.range[1], doc.sky + 10 * doc.noise)],
  }[mode];
  limits = { low, high };
  $("black").value = Number(low.toPrecision(6));
  $("white").value = Number(high.toPrecision(6));
  const bend = mode === "log" ? 1000 : clamp((high - low) / (4 * doc.noise), 3, 3000), invert = $("invert").checked;
  for (let k = 0; k < 65536; k++) {
    const t = k / 65535;
    const grey = mode === "log" ? Math.log1p(bend * t) / Math.log1p(bend) : mode === "asinh" ? Math.asinh(bend * t) / Math.asinh(bend) : t;
    table[k] = Math.round(255 * (invert ? 1 - grey : grey));
  }
  stretchKey = `${mode} ${low} ${high} ${bend} ${invert}`;
  draw();
}
function picture(tile) { // the tile as a canvas, its first row at the bottom
  if (tile.canvas && tile.stretch === stretchKey) return tile.canvas;
  const { width, height, data } = tile, canvas = tile.canvas || document.createElement("canvas");
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d"), out = context.createImageData(width, height), words = new Uint32Array(out.data.buffer);
  const factor = 65535 / (limits.high - limits.low);
  for (let y = 0; y < height; y++) {
    const to = (height - 1 - y) * width;
    for (let x = 0; x < width; x++) {
      const value = data[y * width + x];
      if (Number.isNaN(value)) { words[to + x] = 0xff6e3c28; continue; }
      const grey = table[clamp((value - limits.low) * factor, 0, 65535) | 0];
      words[to + x] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
  }
  context.putImageData(out, 0, 0);
  tile.canvas = canvas; tile.stretch = stretchKey;
  return canvas;
}

// ---------------------------------------------------------------------------------------------------------- drawing

const canvas = $("image"), context = canvas.getContext("2d"), over = document.createElement("canvas");
function draw() { later(paint); }
function paint() {
  if (!now) return;
  const ratio = window.devicePixelRatio || 1, width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const s = view.scale * ratio, left = view.x - width / 2 / s, bottom = view.y - height / 2 / s; // image pixels
  context.fillStyle = "#20262c";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingEnabled = s < 1;
  const here = { s, left, bottom, width, height };
  let [image, kind, version, dx, dy] = [number, "image", 0, 0, 0];
  if (shown === "cleaned" && now.cleaned) [kind, version] = ["cleaned", now.cleaned];
  if (shown.startsWith("exposure ")) {
    image = Number(shown.slice(9));
    const offset = now.offsets?.[image];
    if (offset) [dx, dy] = [offset.x, offset.y];
  }
  paintTiles(here, image, kind, version, dx, dy);
  paintOverlays(here);
  paintCursor(here);
}
function paintTiles({ s, left, bottom, width, height }, image, kind, version, dx, dy) {
  const [rows, columns] = about.images[image].shape, depth = Math.max(Math.ceil(Math.log2(Math.max(rows, columns) / TILE)), 0);
  const level = clamp(Math.floor(Math.log2(1 / s) + 0.3), 0, depth);
  const place = (tile, side, row, column) => {
    const x0 = Math.round((column * side - dx - left) * s), y1 = Math.round(height - (row * side - dy - bottom) * s);
    const x1 = Math.round((column * side + tile.width * (side / TILE) - dx - left) * s);
    const y0 = Math.round(height - (row * side + tile.height * (side / TILE) - dy - bottom) * s);
    context.drawImage(picture(tile), x0, y0, x1 - x0, y1 - y0);
  };
  context.save();
  context.beginPath(); // blocks at the upper and right edge reach beyond the image
  context.rect((-dx - left) * s, height - (rows - dy - bottom) * s, columns * s, rows * s);
  context.clip();
  for (const l of level < depth ? [depth, Math.min(level + 2, depth), level] : [depth]) { // coarse ones first
    const side = TILE * 2 ** l;
    const c0 = Math.max(Math.floor((left + dx) / side), 0), c1 = Math.min(Math.floor((left + dx + width / s) / side), Math.ceil(columns / side) - 1);
    const r0 = Math.max(Math.floor((bottom + dy) / side), 0), r1 = Math.min(Math.floor((bottom + dy + height / s) / side), Math.ceil(rows / side) - 1);
    for (let row = r0; row <= r1; row++) for (let column = c0; column <= c1; column++) {
      const tile = tileOf(image, kind, version, l, row, column, l === level || l === depth);
      if (tile && tile.data) place(tile, side, row, column);
    }
  }
  context.restore();
}
function paintOverlays({ s, left, bottom, width, height }) {
  const one = now, { flags, rows, columns } = one;
  const mask = $("mask-opacity").valueAsNumber, probable = $("probability-opacity").valueAsNumber;
  if (!mask && !probable) return;
  const near = s >= 1;
  const x0 = Math.max(Math.floor(left), 0), x1 = Math.min(Math.ceil(left + width / s), columns);
  const y0 = Math.max(Math.floor(bottom), 0), y1 = Math.min(Math.ceil(bottom + height / s), rows);
  if (x0 >= x1 || y0 >= y1) return;
  const w = near ? x1 - x0 : width, h = near ? y1 - y0 : height;
  over.width = w; over.height = h;
  const pen = over.getContext("2d"), out = pen.createImageData(w, h), data = out.data;
  const put = (at, colour, opacity) => {
    const k = 4 * at;
    data[k] = colour[0]; data[k + 1] = colour[1]; data[k + 2] = colour[2]; data[k + 3] = Math.max(Math.round(255 * opacity), 0);
  };
  const spot = (pixel, colour, opacity) => { // a pixel of the image, at least two of the screen
    const y = Math.floor(pixel / columns), x = pixel - y * columns;
    if (near) { if (x >= x0 && x < x1 && y >= y0 && y < y1) put((y1 - 1 - y) * w + x - x0, colour, opacity); return; }
    const px = Math.floor((x + 0.5 - left) * s), py = Math.floor(height - (y + 0.5 - bottom) * s);
    for (let j = py; j < py + 2; j++) for (let i = px; i < px + 2; i++) if (i >= 0 && i < w && j >= 0 && j < h) put(j * w + i, colour, opacity);
  };
  if (mask && one.hasBad) {
    for (let j = 0; j < h; j++) {
      const y = near ? y1 - 1 - j : Math.floor(bottom + (height - j - 0.5) / s);
      if (y < 0 || y >= rows) continue;
      for (let i = 0; i < w; i++) {
        const x = near ? x0 + i : Math.floor(left + (i + 0.5) / s);
        if (x < 0 || x >= columns) continue;
        const flag = flags[y * columns + x];
        if (flag & BASE_UNKNOWN) put(j * w + i, COLOURS.unknown, 0.5 * mask);
        else if (flag & BAD) put(j * w + i, COLOURS.bad, 0.6 * mask);
      }
    }
  }
  if (probable && one.candidates) {
    const { index, probability } = one.candidates;
    const end = firstAtLeast(index, y1 * columns);
    for (let k = firstAtLeast(index, y0 * columns); k < end; k++) spot(index[k], [255, 225, 0], probable * (0.15 + 0.85 * probability[k]));
  }
  if (mask) {
    const { list } = one, end = firstAtLeast(list, y1 * columns);
    for (let k = firstAtLeast(list, y0 * columns); k < end; k++) spot(list[k], flags[list[k]] & EDIT ? COLOURS.hand : COLOURS.hit, mask);
    for (const pixel of one.edits) {
      const edit = editOf(one, pixel);
      if (edit === NO_HIT) spot(pixel, COLOURS.no, 0.5 * mask);
      if (edit === UNKNOWN) spot(pixel, COLOURS.unknown, 0.7 * mask);
      if (edit === HIT) spot(pixel, COLOURS.hand, mask);
    }
  }
  pen.putImageData(out, 0, 0);
  context.imageSmoothingEnabled = false;
  if (near) context.drawImage(over, (x0 - left) * s, height - (y1 - bottom) * s, w * s, h * s);
  else context.drawImage(over, 0, 0);
}
function paintCursor({ s, left, bottom, height }) {
  const size = tool === "brush" ? $("size").valueAsNumber : 1, side = Math.max(size * s, 9);
  const x = (cursor.x + 0.5 - left) * s - side / 2, y = height - (cursor.y + 0.5 - bottom) * s - side / 2;
  for (const [colour, grow] of [["#000", 1], ["#6dff5a", 0]]) {
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.strokeRect(x - grow - 0.5, y - grow - 0.5, side + 2 * grow + 1, side + 2 * grow + 1);
  }
}
function whole() {
  view.scale = Math.min(canvas.clientWidth / now.columns, canvas.clientHeight / now.rows) || 1;
  view.x = now.columns / 2; view.y = now.rows / 2;
  draw();
}
function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) { // about a point of the screen
  const scale = clamp(view.scale * factor, 0.005, 64), dx = x - canvas.clientWidth / 2, dy = y - canvas.clientHeight / 2;
  view.x += dx / view.scale - dx / scale;
  view.y -= dy / view.scale - dy / scale;
  view.scale = scale;
  keepInside();
}
function keepInside() {
  view.x = clamp(view.x, 0, now.columns);
  view.y = clamp(view.y, 0, now.rows);
  draw();
}
function pixelAt(event) {
  const box = canvas.getBoundingClientRect();
  const x = view.x + (event.clientX - box.left - box.width / 2) / view.scale, y = view.y - (event.clientY - box.top - box.height / 2) / view.scale;
  return { x: Math.floor(x), y: Math.floor(y) };
}
const inside = (x, y) => x >= 0 && y >= 0 && x < now.columns && y < now.rows;

// --------------------------------------------------------------------------------------------------------- read-out

async function valueAt(x, y) {
  const kind = shown === "cleaned" && now.cleaned ? "cleaned" : "image", version = kind === "cleaned" ? now.cleaned : 0;
  let image = number;
  if (shown.startsWith("exposure ")) {
    image = Number(shown.slice(9));
    const offset = now.offsets?.[image] || { x: 0, y: 0 };
    x += Math.round(offset.x); y += Math.round(offset.y);
    const [rows, columns] = about.images[image].shape;
    if (x < 0 || y < 0 || x >= columns || y >= rows) return NaN;
  }
  const tile = tileOf(image, kind, version, 0, Math.floor(y / TILE), Math.floor(x / TILE));
  await tile.ready;
  return tile.data ? tile.data[(y % TILE) * tile.width + x % TILE] : NaN;
}
let reading = 0;
async function readOut(aloud = false, before = "") {
  const { x, y } = cursor, turn = ++reading, one = now, pixel = y * one.columns + x;
  const value = await valueAt(x, y);
  if (turn !== reading || one !== now) return;
  const parts = [`x ${x + 1}, y ${y + 1}: ${short(value)}`], edit = editOf(one, pixel), flag = one.flags[pixel];
  if (one.candidates) {
    const { index, probability, floor } = one.candidates, k = firstAtLeast(index, pixel);
    parts.push(flag & BAD ? "not searched" : index[k] === pixel ? `probability ${probability[k].toFixed(3)}` : `probability below ${Number(floor.toPrecision(2))}`);
  } else if (flag & BAD) parts.push("not searched");
  if (edit) parts.push(`${EDIT_NAMES[edit]}, by hand`);
  else if (flag & BASE) parts.push("hit");
  else if (flag & BASE_UNKNOWN) parts.push("not known");
  $("readout").textContent = parts.join(", ");
  if (aloud) say([before, ...parts].filter(Boolean).join(". "));
}

// ------------------------------------------------------------------------------------------------------ corrections

function edit(pixels, code) { // label pixels; what they were is remembered
  const changed = pixels.filter((pixel) => editOf(now, pixel) !== code);
  if (!changed.length) return 0;
  const old = changed.map((pixel) => editOf(now, pixel));
  const step = stroke || { pixels: [], old: [], code };
  step.pixels.push(...changed);
  step.old.push(...old);
  if (!stroke) { now.undo.push(step); now.redo = []; }
  set(changed, () => code);
  return changed.length;
}
function set(pixels, codeOf) {
  pixels.forEach((pixel, k) => {
    const code = codeOf(k);
    now.flags[pixel] = (now.flags[pixel] & ~EDIT) | (code << EDIT_SHIFT);
    if (code) now.edits.add(pixel); else now.edits.delete(pixel);
  });
  now.unsaved = true;
  $("saved").textContent = "not saved";
  later(recount);
  buttons();
}
let stroke = null; // the edits of one movement of the brush, undone together
function beginStroke() { stroke = { pixels: [], old: [], code: label }; }
function endStroke() {
  if (stroke && stroke.pixels.length) { now.undo.push(stroke); now.redo = []; }
  stroke = null;
  buttons();
}
function undo() {
  const step = now.undo.pop();
  if (!step) return;
  now.redo.push(step);
  const pixels = [...step.pixels].reverse(), old = [...step.old].reverse(); // a pixel may occur twice
  set(pixels, (k) => old[k]);
  say("Undone");
}
function redo() {
  const step = now.redo.pop();
  if (!step) return;
  now.undo.push(step);
  set(step.pixels, () => step.code);
  say("Redone");
}
function buttons() {
  $("undo").disabled = !now.undo.length;
  $("redo").disabled = !now.redo.length;
}
function brushAt(x, y) {
  const reach = ($("size").valueAsNumber - 1) / 2, pixels = [];
  for (let j = y - Math.floor(reach); j <= y + Math.floor(reach); j++) for (let i = x - Math.floor(reach); i <= x + Math.floor(reach); i++) {
    if (inside(i, j) && (i - x) ** 2 + (j - y) ** 2 <= (reach + 0.5) ** 2) pixels.push(j * now.columns + i);
  }
  return edit(pixels, label);
}
function brushLine(from, to) {
  const steps = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y), 1);
  for (let k = 0; k <= steps; k++) brushAt(Math.round(from.x + (to.x - from.x) * k / steps), Math.round(from.y + (to.y - from.y) * k / steps));
}
async function flood(x, y) { // the hit under the cursor, or the bright pixels around it
  const one = now, pixel = y * one.columns + x;
  const hit = one.list[firstAtLeast(one.list, pixel)] === pixel ? one.hits.find((each) => each.pixels.includes(pixel)) : null;
  const pixels = hit ? hit.pixels : await brightAround(x, y);
  if (one !== now) return;
  if (!pixels.length) { say("This pixel is no brighter than its surroundings: nothing was labelled"); tell("The pixel is no brighter than its surroundings."); return; }
  if (pixels.length > 5000) { tell("More than 5000 pixels are connected here: use the brush."); say("Too many pixels"); return; }
  edit(pixels, label);
  say(`${pixels.length} pixels: ${EDIT_NAMES[label]}`);
}
async function brightAround(x, y, sigmas = 3, reach = 48) {
  const x0 = Math.max(x - reach, 0), x1 = Math.min(x + reach + 1, now.columns), y0 = Math.max(y - reach, 0), y1 = Math.min(y + reach + 1, now.rows);
  const values = new Map(), kind = shown;
  shown = "image";
  const jobs = [];
  for (let j = y0; j < y1; j++) for (let i = x0; i < x1; i++) jobs.push(valueAt(i, j).then((value) => values.set(j * now.columns + i, value)));
  shown = kind;
  await Promise.all(jobs);
  const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
  const good = [...values.values()].filter(Number.isFinite), sky = median([...good]);
  const noise = 1.4826 * median(good.map((value) => Math.abs(value - sky))) || now.doc.noise;
  const bright = (pixel) => values.get(pixel) > sky + sigmas * noise;
  const start = y * now.columns + x, found = new Set(), open_ = bright(start) ? [start] : [];
  while (open_.length) {
    const pixel = open_.pop(), py = Math.floor(pixel / now.columns), px = pixel - py * now.columns;
    if (found.has(pixel)) continue;
    found.add(pixel);
    for (let j = py - 1; j <= py + 1; j++) for (let i = px - 1; i <= px + 1; i++) {
      const other = j * now.columns + i;
      if (inside(i, j) && !found.has(other) && bright(other)) open_.push(other);
    }
  }
  return [...found];
}
function apply() { // the tool at the cursor
  if (CONTENT) return;
  if (tool === "brush") say(`${brushAt(cursor.x, cursor.y)} pixels: ${EDIT_NAMES[label]}`);
  else if (tool === "flood") flood(cursor.x, cursor.y).catch(fail);
  else readOut(true);
}
async function save() {
  const one = now, which = number, unknown = [];
  for (let pixel = 0; one.hasBad && pixel < one.flags.length; pixel++) {
    if ((one.flags[pixel] & BASE_UNKNOWN) && !(one.flags[pixel] & (EDIT | BASE))) unknown.push(pixel);
  }
  for (const pixel of one.edits) if (editOf(one, pixel) === UNKNOWN) unknown.push(pixel);
  const touched = Uint32Array.from(one.edits).sort();
  const origin = { network: `${about.model?.name} at ${short(one.threshold)}, grown by ${one.grow}`, saved: `labels saved before, grown by ${one.grow}`, file_mask: `mask of the file, grown by ${one.grow}`, none: "no detector" }[one.source];
  $("save").disabled = true;
  try {
    const done = await json(`api/${which}/labels`, {
      hits: textOf(runsOfPixels(one.list, () => 1)),
      unknown: textOf(runsOfPixels(Uint32Array.from(unknown).sort(), () => 1)),
      touched: textOf(runsOfPixels(touched, (pixel) => editOf(one, pixel))),
      only_touched: $("only-touched").checked, origin, identifier: one.identifier,
    });
    one.identifier = done.identifier;
    one.unsaved = false;
    const text = `Saved: ${done.hits} pixels are hits, ${done.touched} were labelled by hand. ${done.path}`;
    if (one === now) $("saved").textContent = text;
    say(text);
  } catch (error) {
    $("saved").textContent = `Not saved: ${error.message}`;
    say(`Not saved: ${error.message}`);
  } finally {
    $("save").disabled = false;
  }
}

// --------------------------------------------------------------------------------------------- search and cleaning

async function find() {
  const one = now, which = number;
  $("find").disabled = true;
  $("cancel").hidden = $("progress").hidden = false;
  $("progress").value = 0;
  say("Searching for hits");
  try {
    let state = await json(`api/${which}/search`, undefined, "POST");
    while (state.state === "running") {
      $("progress").value = state.fraction;
      tell(`Searching ${about.images[which].file}: ${Math.round(100 * state.fraction)} %.`);
      await new Promise((resolve) => setTimeout(resolve, 300));
      state = await json(`api/${which}/search`);
    }
    if (state.state === "failed") throw new Error(state.message);
    tell(state.state === "cancelled" ? "The search was stopped." : `Searched ${about.images[which].file}. ${state.message}`);
    if (state.candidates) {
      readCandidates(one, state.candidates);
      one.source = "network";
      if (one === now) { fillControls(); remask(); }
    }
  } catch (error) {
    fail(error);
  } finally {
    $("find").disabled = false;
    $("cancel").hidden = $("progress").hidden = true;
  }
}
async function clean() {
  const one = now, which = number;
  if (CONTENT) { one.cleaned = 1; return; }
  if (one.cleaning || one.cleanedOf === one.version) return;
  one.cleaning = true;
  const version = one.version;
  try {
    one.cleaned = await source.clean(which, textOf(runsOfPixels(one.list, () => 1)));
    one.cleanedOf = version;
  } catch (error) {
    fail(error);
    one.cleanedOf = version;
  } finally {
    one.cleaning = false;
  }
  draw();
  if (one === now && shown === "cleaned" && one.cleanedOf !== one.version) clean();
}
async function show(what) {
  shown = what;
  $("layer").value = what;
  if (what === "cleaned") await clean();
  if (what.startsWith("exposure ")) {
    const other = Number(what.slice(9));
    now.offsets = now.offsets || {};
    if (!now.offsets[other]) {
      try {
        now.offsets[other] = await source.offset(number, other);
      } catch (error) { fail(error); }
    }
    const { x, y, by } = now.offsets[other] || { by: "pixels" }, name = about.images[other].file;
    tell(by === "wcs" ? `${name}, shifted by ${x.toFixed(1)}, ${y.toFixed(1)} px (WCS).` : `${name}, pixel on pixel.`);
  }
  draw();
  readOut();
}
function swap() { show(shown === "image" ? $("other").value : "image").catch(fail); }

// --------------------------------------------------------------------------------------------------------- controls

function choices(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === chosen)));
}
function fillControls() {
  const { doc } = now, me = about.images[number];
  const others = about.images.map((each, k) => [each, k]).filter(([each, k]) => k !== number && each.searchable && me.searchable && each.shape.join() === me.shape.join());
  const exposures = others.map(([each, k]) => [`exposure ${k}`, `${each.file}, ${each.label}`.replace(/, $/, "")]);
  const masked = now.source !== "none" || about.blind || now.edits.size;
  choices($("layer"), [["image", "Image"], ["cleaned", "Cleaned image"], ...exposures], shown);
  choices($("other"), [["cleaned", "Cleaned image"], ...exposures], $("other").value || "cleaned");
  const sources = [];
  if (now.candidates) sources.push(["network", `the network ${about.model.name}`]);
  if (doc.saved) sources.push(["saved", "the labels saved before"]);
  if (doc.file_mask && !CONTENT) sources.push(["file_mask", "the file of masks"]);
  if (!sources.length || about.blind) sources.push(["none", about.blind ? "no detector (blind)" : "none"]);
  choices($("source"), sources, now.source);
  $("search").hidden = about.blind || Boolean(CONTENT) || Boolean(now.candidates) || !me.searchable;
  $("find").textContent = about.model ? `Find hits (${about.model.name})` : "Find hits";
  $("network").hidden = now.source !== "network";
  $("grow-label").hidden = !masked || now.source === "none";
  $("about").textContent = about.blind ? "Blind: no detector's mask is shown."
    : now.source === "saved" ? "Labels saved before; untouched pixels as they were saved."
      : now.source === "file_mask" ? `Mask by ${doc.file_mask.model || "a detector"}${doc.file_mask.threshold ? `, threshold ${doc.file_mask.threshold}` : ""}, from its file.`
        : now.source === "none" && me.searchable ? "No mask yet." : me.searchable ? "" : "This HDU is no image of the sky: it is not searched.";
  if (CONTENT) $("about").textContent = `The cleaned image is that of ${doc.cleaned.of}. Values are rounded.`;
  $("probability-opacity").parentNode.hidden = !now.candidates;
  $("grow").value = now.grow;
  $("grow-value").textContent = now.grow;
  if (now.candidates) {
    $("threshold-slider").min = logit(Math.max(now.candidates.floor, 1e-6));
    $("threshold-slider").max = logit(0.9999);
    if (about.model.calibration.length > 1) {
      $("rate-slider").min = Math.log10(about.model.calibration[0][0]);
      $("rate-slider").max = Math.log10(about.model.calibration[about.model.calibration.length - 1][0]);
    }
    showThreshold();
  }
  $("saved").textContent = now.unsaved ? "not saved" : now.identifier ? "Labels of this image were saved before." : "";
  buttons();
}
function toggle(id, value) {
  const slider = $(id);
  if (slider.valueAsNumber) { slider.dataset.before = slider.value; slider.value = 0; } else slider.value = slider.dataset.before || value;
  draw();
}
function choose(name, value) {
  const radio = document.querySelector(`input[name=${name}][value="${value}"]`);
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
  say(radio.parentNode.textContent.trim());
}
function move(dx, dy) {
  cursor.x = clamp(cursor.x + dx, 0, now.columns - 1);
  cursor.y = clamp(cursor.y + dy, 0, now.rows - 1);
  const wide = canvas.clientWidth / 2 / view.scale - 1, high = canvas.clientHeight / 2 / view.scale - 1;
  view.x = clamp(view.x, cursor.x + 0.5 - Math.max(wide, 0), cursor.x + 0.5 + Math.max(wide, 0));
  view.y = clamp(view.y, cursor.y + 0.5 - Math.max(high, 0), cursor.y + 0.5 + Math.max(high, 0));
  draw();
  readOut(true);
}
function sizeBy(step) { $("size").value = $("size").valueAsNumber + step; $("size").dispatchEvent(new Event("input")); say(`Brush of ${$("size").value} pixels`); }
const KEYS = {
  ArrowLeft: (n) => move(-n, 0), ArrowRight: (n) => move(n, 0), ArrowUp: (n) => move(0, n), ArrowDown: (n) => move(0, -n),
  "+": () => zoomAtCursor(1.5), "=": () => zoomAtCursor(1.5), "-": () => zoomAtCursor(1 / 1.5), w: whole, a: actual,
  n: () => nextHit(1), N: () => nextHit(-1), x: swap, m: () => toggle("mask-opacity", 0.6), o: () => toggle("probability-opacity", 0.6),
};
const EDIT_KEYS = {
  p: () => choose("tool", "pan"), b: () => choose("tool", "brush"), f: () => choose("tool", "flood"),
  h: () => choose("label", HIT), e: () => choose("label", NO_HIT), u: () => choose("label", UNKNOWN), r: () => choose("label", 0),
  "[": () => sizeBy(-2), "]": () => sizeBy(2), Enter: apply, " ": apply, z: undo, y: redo, s: () => save(),
};
function zoomAtCursor(factor) {
  const x = canvas.clientWidth / 2 + (cursor.x + 0.5 - view.x) * view.scale, y = canvas.clientHeight / 2 - (cursor.y + 0.5 - view.y) * view.scale;
  const seen = x >= 0 && y >= 0 && x <= canvas.clientWidth && y <= canvas.clientHeight;
  if (seen) zoom(factor, x, y); else zoom(factor);
}
function actual() {
  view.scale = 1 / (window.devicePixelRatio || 1);
  view.x = cursor.x + 0.5; view.y = cursor.y + 0.5;
  draw();
}
let blinking = 0;
function listen() {
  $("file").addEventListener("change", () => open(Number($("file").value)).catch(fail));
  $("layer").addEventListener("change", () => show($("layer").value).catch(fail));
  $("blink").addEventListener("change", () => {
    clearInterval(blinking);
    if ($("blink").checked) blinking = setInterval(swap, 1000);
  });
  $("stretch").addEventListener("change", setLimits);
  $("invert").addEventListener("change", setLimits);
  for (const id of ["black", "white"]) $(id).addEventListener("change", () => {
    const [low, high] = [$("black").valueAsNumber, $("white").valueAsNumber];
    if (!(high > low)) { fail(new Error(`black ${low}, white ${high}: expected black below white`)); return; }
    now.limits[$("stretch").value] = [low, high];
    setLimits();
  });
  $("source").addEventListener("change", () => { now.source = $("source").value; fillControls(); remask(); });
  $("threshold").addEventListener("input", () => { const value = $("threshold").valueAsNumber; if (!Number.isNaN(value)) setThreshold(value, "number"); });
  $("threshold-slider").addEventListener("input", () => setThreshold(1 / (1 + Math.exp(-$("threshold-slider").valueAsNumber)), "threshold-slider"));
  $("rate-slider").addEventListener("input", () => setThreshold(thresholdAt(10 ** $("rate-slider").valueAsNumber), "rate-slider"));
  $("grow").addEventListener("input", () => { now.grow = $("grow").valueAsNumber; $("grow-value").textContent = now.grow; later(remask); });
  for (const id of ["mask-opacity", "probability-opacity"]) $(id).addEventListener("input", draw);
  $("size").addEventListener("input", () => { $("size-value").textContent = $("size").value; draw(); });
  for (const radio of document.querySelectorAll("input[name=tool]")) radio.addEventListener("change", () => { tool = radio.value; canvas.style.cursor = tool === "pan" ? "grab" : "crosshair"; draw(); });
  for (const radio of document.querySelectorAll("input[name=label]")) radio.addEventListener("change", () => { label = Number(radio.value); });
  for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
    descending = button.dataset.key === sortKey ? !descending : button.dataset.key !== "place";
    sortKey = button.dataset.key;
    showList();
  });
  const clicks = { "zoom-in": () => zoomAtCursor(1.5), "zoom-out": () => zoomAtCursor(1 / 1.5), whole, actual, undo, redo, save, find, more: () => { rowsShown += ROWS_SHOWN; showList(); } };
  for (const [id, work] of Object.entries(clicks)) $(id).addEventListener("click", () => work());
  $("cancel").addEventListener("click", () => ask(`api/${number}/search`, undefined, "DELETE").catch(fail));
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !now) return;
    const key = event.key.startsWith("Arrow") || event.key === "N" ? event.key : event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const work = KEYS[key] || (CONTENT ? null : EDIT_KEYS[key]);
    if (!work) return;
    event.preventDefault();
    work(event.shiftKey ? 10 : 1);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    zoom(Math.exp(-clamp(event.deltaY, -240, 240) / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  pointers();
  new ResizeObserver(draw).observe(canvas);
  window.addEventListener("beforeunload", (event) => { if ([...images.values()].some((one) => one.unsaved)) event.preventDefault(); });
}
function pointers() {
  const down = new Map();
  let last = null, moved = false, spread = 0, resting = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, event);
    moved = false;
    spread = 0;
    if (down.size > 1) { endStroke(); return; }
    last = pixelAt(event);
    if (tool === "brush" && event.button === 0 && !event.shiftKey && !CONTENT) { beginStroke(); brushAt(last.x, last.y); }
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = pixelAt(event), before = down.get(event.pointerId);
    if (!before) {
      if (now && inside(at.x, at.y) && event.pointerType === "mouse") {
        cursor.x = at.x; cursor.y = at.y;
        clearTimeout(resting); // tiles are not asked for while the mouse moves
        resting = setTimeout(readOut, 60);
        draw();
      }
      return;
    }
    down.set(event.pointerId, event);
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    moved = moved || Math.abs(dx) + Math.abs(dy) > 2;
    if (down.size === 2) {
      const [a, b] = [...down.values()], wide = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY), box = canvas.getBoundingClientRect();
      if (spread) zoom(wide / spread, (a.clientX + b.clientX) / 2 - box.left, (a.clientY + b.clientY) / 2 - box.top);
      spread = wide;
      view.x -= dx / view.scale / 2; view.y += dy / view.scale / 2;
      keepInside();
    } else if (stroke) {
      brushLine(last, at);
      cursor.x = clamp(at.x, 0, now.columns - 1); cursor.y = clamp(at.y, 0, now.rows - 1);
      last = at;
    } else {
      view.x -= dx / view.scale; view.y += dy / view.scale;
      keepInside();
    }
  });
  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    const at = pixelAt(event);
    const painted = stroke !== null;
    endStroke();
    if (moved || !now || !inside(at.x, at.y)) return;
    cursor.x = at.x; cursor.y = at.y;
    if (tool === "flood" && !painted && event.type === "pointerup" && !CONTENT) flood(at.x, at.y).catch(fail);
    readOut();
    draw();
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
}

async function start() {
  about = await source.about();
  choices($("file"), about.images.map((each, k) => [String(k), [each.file, each.label && `HDU ${each.label}`].filter(Boolean).join(", ")]), "0");
  if (CONTENT) {
    $("correct").hidden = true;
    for (const each of document.querySelectorAll(".edit")) each.hidden = true;
    document.querySelectorAll(".legend .hand, .legend .no").forEach((each) => { each.hidden = !CONTENT.details.some((one) => one.touched); });
  }
  listen();
  await open(0);
  document.body.dataset.ready = "yes"; // for tests
}
start().catch(fail);
