"use strict";
// Read-out of a pixel, and labels by hand: brush, flood, undo, save.
async function valueAt(x, y) {
  const kind = shown === "cleaned" && now.cleaned ? "cleaned" : "image", version = kind === "cleaned" ? now.cleaned : 0;
  let image = number;
  if (shown.startsWith("exposure ")) {
    image = otherShown();
    [x, y] = applyAffine(now.overlays[image].matrix, x, y).map(Math.round);
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
  if (aloud) announce([before, ...parts].filter(Boolean).join(". "));
}


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
  now.editions++;
  $("saved").textContent = "not saved";
  schedule(recount);
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
  announce("Undone");
}
function redo() {
  const step = now.redo.pop();
  if (!step) return;
  now.undo.push(step);
  set(step.pixels, () => step.code);
  announce("Redone");
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
  if (!pixels.length) { announce("This pixel is no brighter than its surroundings: nothing was labelled"); setStatus("The pixel is no brighter than its surroundings."); return; }
  if (pixels.length > 5000) { setStatus("More than 5000 pixels are connected here: use the brush."); announce("Too many pixels"); return; }
  edit(pixels, label);
  announce(`${pixels.length} pixels: ${EDIT_NAMES[label]}`);
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
  const noise = MAD_TO_SIGMA * median(good.map((value) => Math.abs(value - sky))) || now.doc.noise;
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
  if (tool === "brush") announce(`${brushAt(cursor.x, cursor.y)} pixels: ${EDIT_NAMES[label]}`);
  else if (tool === "flood") flood(cursor.x, cursor.y).catch(showError);
  else readOut(true);
}
async function save() {
  if ($("save").disabled) return; // it is being saved
  flush(remask);
  flush(recount);
  const one = now, which = number, unknown = [], { editions } = one;
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
    one.unsaved = one.editions !== editions;
    const since = one.unsaved ? ". What was labelled since is not saved." : "";
    const text = `Saved: ${done.hits} pixels are hits, ${done.touched} were labelled by hand. ${done.path}${done.note && `. Note: ${done.note}`}${since}`;
    if (one === now) $("saved").textContent = text;
    announce(text);
  } catch (error) {
    $("saved").textContent = `Not saved: ${error.message}`;
    announce(`Not saved: ${error.message}`);
  } finally {
    $("save").disabled = false;
  }
}
