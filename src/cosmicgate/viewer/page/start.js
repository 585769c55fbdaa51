"use strict";
// Mouse and fingers, and the start of the page.
function pointers() {
  const down = new Map();
  let last = null, moved = false, spread = 0, resting = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, event);
    moved = false;
    spread = 0;
    if (down.size > 1) { endStroke(); return; }
    last = pixelAt(event);
    if (tool === "brush" && event.button === 0 && !event.shiftKey && !CONTENT) { beginStroke(); brushAt(last.x, last.y); }
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = pixelAt(event), before = down.get(event.pointerId);
    if (!before) {
      if (now && inside(at.x, at.y) && event.pointerType === "mouse") {
        cursor.x = at.x; cursor.y = at.y;
        clearTimeout(resting); // tiles are not asked for while the mouse moves
        resting = setTimeout(readOut, 60);
        draw();
      }
      return;
    }
    down.set(event.pointerId, event);
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    moved = moved || Math.abs(dx) + Math.abs(dy) > 2;
    if (down.size === 2) {
      const [a, b] = [...down.values()], wide = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY), box = canvas.getBoundingClientRect();
      if (spread) zoom(wide / spread, (a.clientX + b.clientX) / 2 - box.left, (a.clientY + b.clientY) / 2 - box.top);
      spread = wide;
      view.x -= dx / view.scale / 2; view.y += dy / view.scale / 2;
      keepInside();
    } else if (stroke) {
      brushLine(last, at);
      cursor.x = clamp(at.x, 0, now.columns - 1); cursor.y = clamp(at.y, 0, now.rows - 1);
      last = at;
    } else {
      view.x -= dx / view.scale; view.y += dy / view.scale;
      keepInside();
    }
  });
  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    const at = pixelAt(event);
    const painted = stroke !== null;
    endStroke();
    if (moved || !now || !inside(at.x, at.y)) return;
    cursor.x = at.x; cursor.y = at.y;
    if (tool === "flood" && !painted && event.type === "pointerup" && !CONTENT) flood(at.x, at.y).catch(showError);
    readOut();
    draw();
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
}

async function start() {
  about = await source.about();
  choices($("file"), about.images.map((each, k) => [String(k), [each.file, each.label && `HDU ${each.label}`].filter(Boolean).join(", ")]), "0");
  if (CONTENT) {
    $("correct").hidden = true;
    for (const each of document.querySelectorAll(".edit")) each.hidden = true;
    document.querySelectorAll(".legend .hand, .legend .no").forEach((each) => { each.hidden = !CONTENT.details.some((one) => one.touched); });
  }
  listen();
  await open(0);
  document.body.dataset.ready = "yes"; // for tests
}
start().catch(showError);
