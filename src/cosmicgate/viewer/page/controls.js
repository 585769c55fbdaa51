"use strict";
// Controls and keys.
function choices(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === chosen)));
}
function fillControls() {
  const { doc } = now, me = about.images[number];
  const others = about.images.map((each, k) => [each, k]).filter(([each, k]) => each.searchable && me.searchable && (CONTENT ? `${number}-${k}` in CONTENT.overlays : k !== number));
  const exposures = others.map(([each, k]) => [`exposure ${k}`, `${each.file}, ${each.label}`.replace(/, $/, "")]);
  const masked = now.source !== "none" || about.blind || now.edits.size;
  choices($("layer"), [["image", "Image"], ["cleaned", "Cleaned image"], ...exposures], shown);
  choices($("other"), [["cleaned", "Cleaned image"], ...exposures], $("other").value || "cleaned");
  showAligned(now);
  const sources = [];
  if (now.candidates) sources.push(["network", `the network ${about.model.name}`]);
  if (doc.saved !== null) sources.push(["saved", "the labels saved before"]);
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
  announce(radio.parentNode.textContent.trim());
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
function sizeBy(step) { $("size").value = $("size").valueAsNumber + step; $("size").dispatchEvent(new Event("input")); announce(`Brush of ${$("size").value} pixels`); }
const KEYS = {
  ArrowLeft: (n) => move(-n, 0), ArrowRight: (n) => move(n, 0), ArrowUp: (n) => move(0, n), ArrowDown: (n) => move(0, -n),
  "+": () => zoomAtCursor(1.5), "=": () => zoomAtCursor(1.5), "-": () => zoomAtCursor(1 / 1.5), w: zoomToFit, a: zoomOneToOne,
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
function zoomOneToOne() {
  view.scale = 1 / (window.devicePixelRatio || 1);
  view.x = cursor.x + 0.5; view.y = cursor.y + 0.5;
  draw();
}
let blinking = 0;
function listen() {
  $("file").addEventListener("change", () => open(Number($("file").value)).catch(showError));
  $("layer").addEventListener("change", () => show($("layer").value).catch(showError));
  $("blink").addEventListener("change", () => {
    clearInterval(blinking);
    if ($("blink").checked) blinking = setInterval(swap, 1000);
  });
  $("stretch").addEventListener("change", setLimits);
  $("invert").addEventListener("change", setLimits);
  for (const id of ["black", "white"]) $(id).addEventListener("change", () => {
    const [low, high] = [$("black").valueAsNumber, $("white").valueAsNumber];
    if (!(high > low)) { showError(new Error(`black ${low}, white ${high}: expected black below white`)); return; }
    now.limits[$("stretch").value] = [low, high];
    setLimits();
  });
  $("source").addEventListener("change", () => { now.source = $("source").value; fillControls(); remask(); });
  $("threshold").addEventListener("input", () => { const value = $("threshold").valueAsNumber; if (!Number.isNaN(value)) setThreshold(value, "number"); });
  $("threshold-slider").addEventListener("input", () => setThreshold(1 / (1 + Math.exp(-$("threshold-slider").valueAsNumber)), "threshold-slider"));
  $("rate-slider").addEventListener("input", () => setThreshold(thresholdAt(10 ** $("rate-slider").valueAsNumber), "rate-slider"));
  $("grow").addEventListener("input", () => { now.grow = $("grow").valueAsNumber; $("grow-value").textContent = now.grow; schedule(remask); });
  for (const id of ["mask-opacity", "probability-opacity"]) $(id).addEventListener("input", draw);
  $("size").addEventListener("input", () => { $("size-value").textContent = $("size").value; draw(); });
  for (const radio of document.querySelectorAll("input[name=tool]")) radio.addEventListener("change", () => { tool = radio.value; canvas.style.cursor = tool === "pan" ? "grab" : "crosshair"; draw(); });
  for (const radio of document.querySelectorAll("input[name=label]")) radio.addEventListener("change", () => { label = Number(radio.value); });
  for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
    descending = button.dataset.key === sortKey ? !descending : button.dataset.key !== "position";
    sortKey = button.dataset.key;
    showList();
  });
  const clicks = { "zoom-in": () => zoomAtCursor(1.5), "zoom-out": () => zoomAtCursor(1 / 1.5), whole: zoomToFit, actual: zoomOneToOne, undo, redo, save, find, more: () => { rowsShown += ROWS_SHOWN; showList(); } };
  for (const [id, work] of Object.entries(clicks)) $(id).addEventListener("click", () => work());
  $("cancel").addEventListener("click", () => ask(`api/${number}/search`, undefined, "DELETE").catch(showError));
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
