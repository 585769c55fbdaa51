"use strict";
// Tiles of raw values, and their stretch to grey.
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
    (error) => { tiles.delete(key); showError(error); return tile; },
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
