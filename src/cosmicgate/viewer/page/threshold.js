"use strict";
// Threshold and false-positive rate, converted by the calibration of the network.
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
  if (!(value > 0 && value < 1)) { showError(new Error(`threshold ${value}: expected a probability between 0 and 1`)); return; }
  now.threshold = value;
  if (now.candidates && value < now.candidates.floor) {
    now.threshold = now.candidates.floor;
    setStatus(`Pixels below a probability of ${short(now.candidates.floor)} are not listed: the threshold is ${short(now.threshold)}.`);
  }
  showThreshold(from);
  schedule(remask);
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
