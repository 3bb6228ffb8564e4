
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const photos = JSON.parse(byId("data").textContent).photos;
  if (!photos.length) return;

  const stage = byId("stage"), handle = byId("handle"), before = byId("before"), after = byId("after");
  const selects = { photo: byId("photo"), scale: byId("scale"), left: byId("left"), right: byId("right") };
  // zoom: CSS pixels of the page for one of the image, null to fit. x, y: what is in the middle, as shares of it.
  const state = { photo: 0, scale: 0, left: "", right: "", split: 0.5, zoom: null, x: 0.5, y: 0.5 };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const here = () => photos[state.photo].scales[state.scale];
  const named = (name) => here().panels.find((panel) => panel.name === name);

  function fill(select, names, chosen) {
    select.replaceChildren(...names.map((name, index) => {
      const option = document.createElement("option");
      option.value = String(index);
      option.textContent = name;
      option.selected = index === chosen;
      return option;
    }));
  }

  function chooseScale(wanted) {
    const scales = photos[state.photo].scales.map((one) => one.scale);
    const distance = (scale) => Math.abs(Math.log(scale / wanted));
    state.scale = scales.reduce((best, scale, i) => (distance(scale) < distance(scales[best]) ? i : best), 0);
  }

  function fillSystems() {
    const names = here().panels.map((panel) => panel.name);
    const labels = names.map((name) => (name === "LR" ? "LR (nearest)" : name));
    const systems = names.slice(1, -1);
    if (!names.includes(state.left)) state.left = systems[0] || names[0];
    if (!names.includes(state.right)) {
      state.right = systems.includes("ours") ? "ours" : systems[systems.length - 1] || names[names.length - 1];
    }
    fill(selects.left, labels, names.indexOf(state.left));
    fill(selects.right, labels, names.indexOf(state.right));
  }

  function fillAll() {
    fill(selects.photo, photos.map((photo) => photo.name), state.photo);
    fill(selects.scale, photos[state.photo].scales.map((one) => "x" + one.scale), state.scale);
    fillSystems();
    showPanels();
  }

  function showPanels() {
    for (const [side, image] of [["left", before], ["right", after]]) {
      const panel = named(state[side]), source = byId(panel.id);
      image.src = source.src;
      image.alt = source.alt;
      byId("tag-" + side).textContent = panel.name;
    }
    byId("scores").textContent = [state.left, state.right]
      .map((name) => name + ": " + named(name).score).join("\n");
    layOut();
  }

  function place(room, size, centre) {
    const start = size <= room ? (room - size) / 2 : clamp(room / 2 - centre * size, room - size, 0);
    return [start, size <= room ? 0.5 : (room / 2 - start) / size];
  }

  function layOut() {
    const [width, height] = here().size, room = stage.clientWidth;
    const tall = Math.round(Math.min(room * height / width, Math.max(240, window.innerHeight * 0.7)));
    stage.style.height = tall + "px";
    const fit = Math.min(room / width, tall / height), zoom = state.zoom === null ? fit : state.zoom;
    const w = width * zoom, h = height * zoom;
    const [left, x] = place(room, w, state.x), [top, y] = place(tall, h, state.y);
    Object.assign(state, { x, y, shown: zoom, w, h });
    for (const image of [before, after]) {
      Object.assign(image.style, { left: left + "px", top: top + "px", width: w + "px", height: h + "px" });
    }
    stage.classList.toggle("pannable", w > room + 1 || h > tall + 1);
    byId("zoom").value = String(Math.log2(zoom));
    byId("zoom").setAttribute("aria-valuetext", zoom.toFixed(2) + " times");
    byId("zoom-value").textContent = zoom.toFixed(2) + "x";
    const cut = state.split * room;
    byId("over").style.clipPath = "inset(0 0 0 " + cut + "px)";
    handle.style.left = cut + "px";
    const percent = Math.round(state.split * 100);
    handle.setAttribute("aria-valuenow", String(percent));
    handle.setAttribute("aria-valuetext", percent + " percent " + state.left + ", the rest " + state.right);
  }

  function zoomTo(zoom) {
    state.zoom = zoom === null ? null : clamp(zoom, 0.5, 64);
    layOut();
  }

  function splitAt(share) {
    state.split = clamp(share, 0, 1);
    layOut();
  }

  selects.photo.addEventListener("change", () => {
    const wanted = here().scale;
    state.photo = Number(selects.photo.value);
    chooseScale(wanted);
    fillAll();
  });
  selects.scale.addEventListener("change", () => {
    // One zoom shows another part of a larger image: the same part stays in view instead.
    const old = here().size[0];
    state.scale = Number(selects.scale.value);
    if (state.zoom !== null) state.zoom = clamp(state.zoom * old / here().size[0], 0.5, 64);
    fillAll();
  });
  for (const side of ["left", "right"]) {
    selects[side].addEventListener("change", () => {
      state[side] = here().panels[Number(selects[side].value)].name;
      showPanels();
    });
  }
  byId("zoom").addEventListener("input", (event) => zoomTo(2 ** Number(event.target.value)));
  byId("fit").addEventListener("click", () => zoomTo(null));
  byId("one").addEventListener("click", () => zoomTo(1));

  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const onHandle = handle.contains(event.target);
    const mode = onHandle || !stage.classList.contains("pannable") ? "split" : "pan";
    drag = { mode, id: event.pointerId, x: event.clientX, y: event.clientY, cx: state.x, cy: state.y };
    stage.setPointerCapture(event.pointerId);
    (mode === "split" ? handle : stage).focus({ preventScroll: true });
    move(event);
    event.preventDefault();
  });
  function move(event) {
    if (!drag || event.pointerId !== drag.id) return;
    const box = stage.getBoundingClientRect();
    if (drag.mode === "split") {
      splitAt((event.clientX - box.left) / box.width);
    } else {
      state.x = drag.cx - (event.clientX - drag.x) / state.w;
      state.y = drag.cy - (event.clientY - drag.y) / state.h;
      layOut();
    }
  }
  stage.addEventListener("pointermove", move);
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => { drag = null; });

  handle.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.1 : 0.02;
    const share = {
      ArrowLeft: state.split - step, ArrowDown: state.split - step, ArrowRight: state.split + step,
      ArrowUp: state.split + step, PageDown: state.split - 0.1, PageUp: state.split + 0.1, Home: 0, End: 1,
    }[event.key];
    if (share === undefined) return;
    splitAt(share);
    event.preventDefault();
    event.stopPropagation();
  });
  stage.addEventListener("keydown", (event) => {
    const step = 0.1 / Math.max(state.w / stage.clientWidth, 1);
    const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (way) {
      state.x += way[0];
      state.y += way[1];
      layOut();
    } else if (event.key === "+" || event.key === "=") zoomTo(state.shown * Math.SQRT2);
    else if (event.key === "-") zoomTo(state.shown / Math.SQRT2);
    else if (event.key === "0") zoomTo(null);
    else return;
    event.preventDefault();
  });
  window.addEventListener("resize", layOut);

  byId("viewer").hidden = false;
  byId("gallery").open = false;
  const scales = photos[0].scales;
  state.scale = Math.floor((scales.length - 1) / 2);
  fillAll();
})();
