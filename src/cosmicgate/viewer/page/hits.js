"use strict";
// The mask of an image, its hits, and the list of them.
function remask() { // the mask of untouched pixels, by source, threshold and growth
  const one = now, { flags, rows, columns } = one;
  for (const pixel of one.base) flags[pixel] &= ~BASE;
  const g = one.grow;
  let list = [];
  if (!g) { // ascending already
    list = seedsOf(one).filter((pixel) => !(flags[pixel] & BAD));
    for (const pixel of list) flags[pixel] |= BASE;
  } else for (const pixel of seedsOf(one)) {
    const y = Math.floor(pixel / columns), x = pixel - y * columns;
    for (let j = Math.max(y - g, 0); j <= Math.min(y + g, rows - 1); j++) {
      for (let i = Math.max(x - g, 0); i <= Math.min(x + g, columns - 1); i++) {
        const p = j * columns + i;
        if (!(flags[p] & (BAD | BASE))) { flags[p] |= BASE; list.push(p); }
      }
    }
  }
  one.base = g ? Uint32Array.from(list).sort() : list;
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
  const hits = [], numbers = new Int32Array(n), { index, probability, excess } = one.candidates || { index: [], probability: [], excess: [] };
  const at = one.source === "network" ? Math.fround(one.threshold) : 0;
  let c = 0;
  for (let k = 0; k < n; k++) {
    const first = root(k), pixel = list[k];
    let hit = numbers[first] ? hits[numbers[first] - 1] : null;
    if (!hit) numbers[first] = hits.push(hit = { pixel, best: -Infinity, size: 0, sum: 0, counted: 0, probability: NaN, hand: false, pixels: [] });
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
  speaking = setTimeout(() => announce(text), 700);
}
function sorted() {
  const sign = descending ? -1 : 1;
  const value = (hit) => sortKey === "position" ? hit.pixel : Number.isNaN(hit[sortKey]) ? -Infinity : hit[sortKey];
  for (const hit of now.hits) hit.key = value(hit);
  return [...now.hits].sort((a, b) => a.key === b.key ? a.pixel - b.pixel : sign * (a.key < b.key ? -1 : 1));
}
function showList() {
  const hits = sorted(), rows = document.createDocumentFragment();
  now.order = hits;
  for (const hit of hits.slice(0, rowsShown)) {
    const row = document.createElement("tr");
    const position = document.createElement("td"), button = document.createElement("button");
    const y = Math.floor(hit.pixel / now.columns), x = hit.pixel - y * now.columns;
    button.type = "button";
    button.textContent = `${x + 1}, ${y + 1}`;
    button.addEventListener("click", () => goTo(hit));
    position.append(button);
    const cells = [hit.size, Number.isNaN(hit.snr) ? "" : hit.snr.toFixed(1), Number.isNaN(hit.probability) ? "" : hit.probability.toFixed(3)];
    if (hit.hand) cells[2] = cells[2] ? `${cells[2]} (hand)` : "by hand";
    row.append(position, ...cells.map((text) => { const cell = document.createElement("td"); cell.textContent = text; return cell; }));
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
  if (!now.order.length) { announce("There are no hits"); return; }
  const at = now.order.findIndex((hit) => hit.pixels.includes(now.chosenPixel));
  goTo(now.order[at < 0 ? 0 : (at + step + now.order.length) % now.order.length]);
}
