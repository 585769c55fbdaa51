"use strict";
// Where images come from: the server of `cosmicgate view`, or the content of a page without a server.
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
  overlay: (image, other) => json(`api/${image}/overlay/${other}`),
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
  overlay: async (image, other) => CONTENT.overlays[`${image}-${other}`],
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
      const full = await this.level(image, "image", 0), data = full.data.slice();
      const index = uints(detail.cleaned.index), values = floats(detail.cleaned.values);
      index.forEach((pixel, k) => { data[pixel] = values[k]; });
      return { rows: full.rows, columns: full.columns, data };
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
