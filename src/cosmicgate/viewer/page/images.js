"use strict";
// The images that were opened, the one that is shown, and where the view and the cursor are.
let about, now = null, number = 0; // all images; the one that is shown, and its number
const images = new Map();
const view = { x: 0, y: 0, scale: 1 }; // centre, image pixels; CSS pixels of the screen per image pixel
const cursor = { x: 0, y: 0 };
let shown = "image", tool = "pan", label = HIT, sortKey = "snr", descending = true, rowsShown = ROWS_SHOWN;

function announce(text) { $("announcement").textContent = ""; setTimeout(() => { $("announcement").textContent = text; }, 30); }
function setStatus(text) { $("state").textContent = text; }
function showError(error) { setStatus(`Error: ${error.message || error}`); }
const waiting = new Set();
function schedule(work) { // once for each picture that is drawn
  if (waiting.has(work)) return;
  waiting.add(work);
  requestAnimationFrame(() => flush(work));
}
function flush(work) { if (waiting.delete(work)) work(); } // unless it was done

async function open(which) {
  setStatus(`Reading ${about.images[which].file}.`);
  if (!images.has(which)) {
    const doc = await source.describe(which), [rows, columns] = doc.shape;
    const one = {
      doc, rows, columns, flags: new Uint8Array(rows * columns), base: new Uint32Array(0), edits: new Set(),
      hits: [], list: new Uint32Array(0), undo: [], redo: [], unsaved: false, editions: 0, identifier: doc.identifier,
      candidates: null, version: 0, cleanedOf: -1, cleaned: 0, cleaning: false, limits: {}, overlays: {}, hasBad: false,
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
    one.source = doc.saved !== null ? "saved" : doc.file_mask && !CONTENT ? "file_mask" : one.candidates ? "network" : "none";
    if (doc.file_mask?.same_network && doc.file_mask.threshold && !CONTENT) {
      one.threshold = doc.file_mask.threshold;
    }
    images.set(which, one);
  }
  const before = now;
  now = images.get(which); number = which; shown = "image";
  if (!before || before.rows !== now.rows || before.columns !== now.columns) zoomToFit();
  cursor.x = clamp(cursor.x || now.columns >> 1, 0, now.columns - 1);
  cursor.y = clamp(cursor.y || now.rows >> 1, 0, now.rows - 1);
  fillControls();
  setLimits();
  remask();
  setStatus([`${about.images[which].file}, ${now.columns} x ${now.rows} px.`, ...now.doc.notes].join(" "));
  if (now.doc.file_mask?.probability && !now.candidates) find().catch(showError);
}
function readCandidates(one, given) {
  one.candidates = { index: uints(given.index), probability: floats(given.probability), excess: floats(given.excess), floor: given.floor };
  one.threshold = Math.max(one.threshold, given.floor); // an image with too many candidates
}
