"use strict";
// Search for hits, cleaned image, and what blinks with the image.
async function find() {
  const one = now, which = number;
  $("find").disabled = true;
  $("cancel").hidden = $("progress").hidden = false;
  $("progress").value = 0;
  announce("Searching for hits");
  try {
    let state = await json(`api/${which}/search`, undefined, "POST");
    while (state.state === "running") {
      $("progress").value = state.fraction;
      setStatus(`Searching ${about.images[which].file}: ${Math.round(100 * state.fraction)} %.`);
      await new Promise((resolve) => setTimeout(resolve, 300));
      state = await json(`api/${which}/search`);
    }
    if (state.state === "failed") throw new Error(`${about.images[which].file}: ${state.message}`);
    setStatus(state.state === "cancelled" ? "The search was stopped." : `Searched ${about.images[which].file}. ${state.message}`);
    if (state.candidates) {
      readCandidates(one, state.candidates);
      if (one.doc.file_mask?.probability && one.source === "file_mask") one.grow = one.doc.file_mask.grow || 0; // the mask stays as it is
      if (!one.doc.file_mask?.probability || one.source !== "saved") one.source = "network";
      if (one === now) { fillControls(); remask(); }
    }
  } catch (error) {
    showError(error);
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
    showError(error);
    one.cleanedOf = version;
  } finally {
    one.cleaning = false;
  }
  draw();
  if (one === now && shown === "cleaned" && one.cleanedOf !== one.version) clean();
}
let showing = 0;
async function show(what) {
  const one = now, turn = ++showing;
  if (what.startsWith("exposure ")) {
    const other = Number(what.slice(9)), { file } = about.images[other];
    if (!one.overlays[other]) {
      setStatus(`Aligning ${file}.`);
      one.overlays[other] = await source.overlay(number, other);
      showAligned(one);
    }
    if (one !== now || turn !== showing) return;
    const { by, reason } = one.overlays[other], how = { wcs: "aligned by its WCS", stars: "aligned by its stars", pixels: "not aligned" }[by];
    setStatus(`${file}, ${how}${reason ? `: ${reason}` : ""}${reason.endsWith("?") ? "" : "."}`);
  }
  shown = what;
  $("layer").value = what;
  if (what === "cleaned") await clean();
  draw();
  readOut();
}
function showAligned(one) { // which exposures lie pixel on pixel, and why
  const lost = Object.entries(one.overlays).filter(([, { by }]) => by === "pixels");
  $("aligned").textContent = lost.length ? `Not aligned, shown pixel on pixel: ${lost.map(([k, { reason }]) => `${about.images[k].file} (${reason})`).join("; ")}` : "";
}
function swap() { show(shown === "image" ? $("other").value : "image").catch(showError); }
