"use strict";
// Search for hits, cleaned image, and what blinks with the image.
async function find() {
  const one = now, which = number;
  $("find").disabled = true;
  $("cancel").hidden = $("progress").hidden = false;
  $("progress").value = 0;
  say("Searching for hits");
  try {
    let state = await json(`api/${which}/search`, undefined, "POST");
    while (state.state === "running") {
      $("progress").value = state.fraction;
      tell(`Searching ${about.images[which].file}: ${Math.round(100 * state.fraction)} %.`);
      await new Promise((resolve) => setTimeout(resolve, 300));
      state = await json(`api/${which}/search`);
    }
    if (state.state === "failed") throw new Error(state.message);
    tell(state.state === "cancelled" ? "The search was stopped." : `Searched ${about.images[which].file}. ${state.message}`);
    if (state.candidates) {
      readCandidates(one, state.candidates);
      one.source = "network";
      if (one === now) { fillControls(); remask(); }
    }
  } catch (error) {
    fail(error);
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
    fail(error);
    one.cleanedOf = version;
  } finally {
    one.cleaning = false;
  }
  draw();
  if (one === now && shown === "cleaned" && one.cleanedOf !== one.version) clean();
}
async function show(what) {
  shown = what;
  $("layer").value = what;
  if (what === "cleaned") await clean();
  if (what.startsWith("exposure ")) {
    const other = Number(what.slice(9));
    now.offsets = now.offsets || {};
    if (!now.offsets[other]) {
      try {
        now.offsets[other] = await source.offset(number, other);
      } catch (error) { fail(error); }
    }
    const { x, y, by } = now.offsets[other] || { by: "pixels" }, name = about.images[other].file;
    tell(by === "wcs" ? `${name}, shifted by ${x.toFixed(1)}, ${y.toFixed(1)} px (WCS).` : `${name}, pixel on pixel.`);
  }
  draw();
  readOut();
}
function swap() { show(shown === "image" ? $("other").value : "image").catch(fail); }
