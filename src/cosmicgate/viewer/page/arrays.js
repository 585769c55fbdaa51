"use strict";
// Numbers that all scripts of the page use, and conversions between arrays and text.
// An image is addressed by pixels counted along its rows from the first row, which is drawn at the bottom.
const $ = (id) => document.getElementById(id);
const CONTENT = JSON.parse($("content").textContent); // null: a server is asked
const TILE = 256, MAX_TILES = 500, ROWS_SHOWN = 100;
const BAD = 1, BASE = 2, EDIT = 12, EDIT_SHIFT = 2, BASE_UNKNOWN = 16; // bits of a pixel's flags
const HIT = 1, NO_HIT = 2, UNKNOWN = 3; // manual label of a pixel
const COLOURS = { hit: [230, 0, 40], hand: [255, 140, 0], no: [0, 165, 255], unknown: [190, 90, 255], bad: [70, 110, 170] };
const MAD_TO_SIGMA = 1.4826; // of a Gaussian: standard deviation over median absolute deviation
const EDIT_NAMES = ["untouched", "hit", "no hit", "not known"];

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
