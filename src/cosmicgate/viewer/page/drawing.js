"use strict";
// The picture: tiles, overlays and cursor.
const canvas = $("image"), context = canvas.getContext("2d"), over = document.createElement("canvas");
function draw() { schedule(paint); }
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
  if (shown === "cleaned" && now.cleaned) paintTiles(here, number, "cleaned", now.cleaned);
  else paintTiles(here, ...(shown.startsWith("exposure ") ? [otherShown(), "image", 0, now.overlays[otherShown()]] : [number, "image", 0]));
  paintOverlays(here);
  paintCursor(here);
}
const otherShown = () => Number(shown.slice(9)); // number of the exposure that is shown instead of the image
const applyAffine = ([a, b, c, d, e, f], x, y) => [a * x + b * y + c, d * x + e * y + f]; // pixel of the image -> of the exposure
function invertAffine([a, b, c, d, e, f]) {
  const area = a * e - b * d, inverse = [e / area, -b / area, 0, -d / area, a / area, 0], [x, y] = applyAffine(inverse, c, f);
  return inverse.map((value, k) => k === 2 ? -x : k === 5 ? -y : value);
}
function paintTiles({ s, left, bottom, width, height }, image, kind, version, overlay) {
  const [rows, columns] = about.images[image].shape, depth = Math.max(Math.ceil(Math.log2(Math.max(rows, columns) / TILE)), 0);
  const level = clamp(Math.floor(Math.log2(1 / s) + 0.3), 0, depth), matrix = overlay ? overlay.matrix : [1, 0, 0, 0, 1, 0];
  const corners = [[left, bottom], [left + width / s, bottom], [left, bottom + height / s], [left + width / s, bottom + height / s]];
  const seen = corners.map(([x, y]) => applyAffine(matrix, x - 0.5, y - 0.5).map((value) => value + 0.5)); // from the corner of the first pixel
  const [xs, ys] = [0, 1].map((k) => seen.map((corner) => corner[k]));
  const [a, b, c, d, e, f] = invertAffine(matrix), middle = 0.5 - left, low = 0.5 - bottom;
  context.save();
  context.setTransform(s * a, -s * d, -s * b, s * e, s * (c + middle - (a + b) / 2), height - s * (f + low - (d + e) / 2)); // y runs down
  context.beginPath(); // blocks at the upper and right edge reach beyond the image
  context.rect(0, -rows, columns, rows);
  context.clip();
  if (!overlay) context.resetTransform(); // whole pixels of the screen: no seams
  const drawTile = (tile, side, row, column) => {
    const wide = tile.width * (side / TILE), high = tile.height * (side / TILE), more = 0.5 / s;
    if (overlay) { context.drawImage(picture(tile), column * side - more, -row * side - high - more, wide + 2 * more, high + 2 * more); return; }
    const x0 = Math.round((column * side - left) * s), x1 = Math.round((column * side + wide - left) * s);
    const y0 = Math.round(height - (row * side + high - bottom) * s), y1 = Math.round(height - (row * side - bottom) * s);
    context.drawImage(picture(tile), x0, y0, x1 - x0, y1 - y0);
  };
  for (const l of level < depth ? [depth, Math.min(level + 2, depth), level] : [depth]) { // coarse ones first
    const side = TILE * 2 ** l, first = (list) => Math.max(Math.floor(Math.min(...list) / side), 0);
    const last = (list, size) => Math.min(Math.floor(Math.max(...list) / side), Math.ceil(size / side) - 1);
    for (let row = first(ys); row <= last(ys, rows); row++) for (let column = first(xs); column <= last(xs, columns); column++) {
      const tile = tileOf(image, kind, version, l, row, column, l === level || l === depth);
      if (tile && tile.data) drawTile(tile, side, row, column);
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
function zoomToFit() {
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
