// The case viewer: one case at a time, of those that a page holds or a server delivers.
//
//   const viewer = scantlingViewer(root, { cases: [{ id, title, note }], load: (id) => payload, more: "sentence" });
//   viewer.open(id)
//
// `load` gives the payload of a case, or a promise of it; nothing else is fetched or decoded before a case is opened.
// A payload (report/viewer.py):
//   { id, classes: [{name, colour}], codes: [{code, name, colour}], shape: [D, H, W], spacing, unit,
//     planes: [{name, axes: [slices, rows, columns], marks: [left, right, top, bottom] | null, numbers, errors, start}],
//     channels: [{name, colour, low, high, ...array}], truth | mask: {layers: [array]} | null,
//     errors: array | null, counted: array | null, uncertainty: [{name, highest, unit, said, ...array}], glow,
//     facts: [[name, value]], notes: [sentence], missing: [sentence] }
// with arrays as in viewer_arrays.js. For tools of others: `viewer.current` is what is open ({ payload, volume, plane,
// slice, mode, ... }), whose masks `viewer.current.volume.mask.at(k)` may be written before `viewer.redraw()`;
// `viewer.toolbar` is an empty place for controls, `viewer.overlay` a canvas above the contours, and
// `viewer.voxel(event)` the [z, y, x] below a pointer. The root hears "viewer:case" and "viewer:slice".

const VIEWER_MODES = [
  ["image", "Image", "I"],
  ["contours", "Contours", "C"],
  ["errors", "Errors", "E"],
  ["uncertainty", "Uncertainty", "U"],
];
const VIEWER_TONES = { opacity: 1, brightness: 0, contrast: 1 };

function scantlingViewer(root, { cases, load, more = "" }) {
  const state = { mode: "contours", ...VIEWER_TONES };
  let view = null;
  let opening = 0;
  const unique = `v${document.querySelectorAll(".viewer.built").length}`;

  // What it is made of.
  const list = element(
    "select",
    { "aria-label": "Case", change: () => open(list.value) },
    ...cases.map(({ id, title }) => element("option", { value: id }, title || id)),
  );
  const canvas = element("canvas", { class: "v-canvas" });
  const overlay = element("canvas", { class: "v-overlay" });
  const letters = ["left", "right", "top", "bottom"].map((side) => element("span", { class: `v-letter ${side}` }));
  const frame = element("div", { class: "v-frame", "aria-hidden": "true" }, canvas, overlay, ...letters);
  const stage = element("div", {
    class: "v-stage", tabindex: "0", role: "application", "aria-roledescription": "case viewer",
    "aria-describedby": `${unique}-keys`, wheel: onWheel, keydown: onKey, click: () => !enlarged() && enlarge(),
  }, frame);
  const caption = element("p", { class: "v-caption", role: "status" });
  const strip = errorStrip(goTo);
  const slices = sliderRow("Slice", { least: 0, most: 0, step: 1, value: 0 }, goTo);
  const stack = element("div", { class: "v-stack" }, strip, slices);
  const modes = buttonRow("What is shown", VIEWER_MODES, (mode) => change({ mode }));
  const planes = element("div");
  const legend = element("div", { class: "v-legend" });
  const channel = selectRow("Channel", chooseChannel);
  const map = selectRow("Map", chooseMap);
  const tones = {
    opacity: sliderRow("Opacity", { least: 0, most: 1, step: 0.05, value: 1 }, (opacity) => change({ opacity })),
    brightness: sliderRow("Brightness", { least: -0.5, most: 0.5, step: 0.02, value: 0 },
      (brightness) => change({ brightness })),
    contrast: sliderRow("Contrast", { least: 0.2, most: 4, step: 0.05, value: 1 }, (contrast) => change({ contrast })),
  };
  const reset = element("button", { type: "button", click: () => change(VIEWER_TONES) }, "Reset");
  const larger = element("button", { type: "button", "aria-keyshortcuts": "F", title: "key F", click: enlarge });
  const facts = element("dl", { class: "numbers" });
  const notes = element("div", { class: "v-notes" });
  const toolbar = element("div", { class: "v-toolbar" });
  const step = (by, name, sign, key) =>
    element("button", { type: "button", "aria-label": name, title: `${name} (key ${key})`, click: () => stepCase(by) },
      sign);
  const keys = element("p", { class: "v-keys", id: `${unique}-keys` });
  const dialog = element("dialog", { class: "v-window", "aria-label": "Case viewer, full window", close: shrink });
  const body = element(
    "div", { class: "v-body" },
    element("div", { class: "v-head" }, step(-1, "Previous case", "‹", "B"), list, step(1, "Next case", "›", "N"), larger),
    element("div", { class: "v-main" }, stage, caption, stack),
    element("div", { class: "v-side" }, modes, planes, legend, channel, map, ...Object.values(tones), reset, toolbar,
      facts),
    element("div", { class: "v-foot" }, keys, notes, more ? element("p", { class: "quiet" }, more) : null),
  );
  root.classList.add("viewer", "built");
  root.setAttribute("role", "region");
  root.setAttribute("aria-label", "Case viewer");
  root.append(body, dialog);
  shrink();
  new ResizeObserver(() => draw()).observe(stage);
  body.addEventListener("keydown", (event) => event.target !== stage && onKey(event));

  // Opening a case.
  async function open(id) {
    const mine = ++opening;
    list.value = id;
    caption.textContent = "Opening …";
    let found;
    try {
      const payload = await load(id);
      found = { payload, volume: await volumeOf(payload) };
    } catch (error) {
      if (mine === opening) caption.textContent = `The case cannot be shown: ${error.message}`;
      return;
    }
    if (mine !== opening) return; // another case was chosen in the meantime
    const { payload, volume } = found;
    view = { ...state, ...found, id, shown: { truth: true, mask: true }, plane: 0, slice: payload.planes[0]?.start ?? 0, glow: payload.glow,
             classes: payload.classes.map(() => true), image: null, doubt: null, only: null };
    const allowed = VIEWER_MODES.map(([mode]) => mode).filter(
      (mode) => mode === "image" || (mode === "contours" ? volume.truth || volume.mask
        : mode === "errors" ? volume.errors : payload.uncertainty.length),
    );
    modes.allow(allowed);
    view.mode = allowed.includes(state.mode) ? state.mode : allowed.includes("contours") ? "contours" : "image";
    describe();
    frame.hidden = !payload.shape;
    stack.hidden = true;
    caption.textContent = payload.shape ? "" : "Nothing of this case can be shown.";
    await chooseChannel(channel.select.value || "0");
    await chooseMap("0");
    if (mine !== opening) return;
    draw();
    root.dispatchEvent(new CustomEvent("viewer:case", { detail: id }));
  }

  /** The arrays of a case; images and maps are decoded when they are shown. */
  async function volumeOf(payload) {
    const masks = async (side) => {
      if (!payload[side]) return null;
      const layers = await Promise.all(payload[side].layers.map(decodeArray));
      return { classes: layers.length, at: (number) => layers[number] };
    };
    const once = (array) => (array ? decodeArray(array) : null);
    const [truth, mask, errors, counted] = await Promise.all([
      masks("truth"), masks("mask"), once(payload.errors), once(payload.counted),
    ]);
    return { truth, mask, errors, counted, decoded: new Map() };
  }

  async function decoded(array) {
    const { volume } = view;
    if (!volume.decoded.has(array)) volume.decoded.set(array, decodeArray(array));
    return { bytes: await volume.decoded.get(array), shape: array.shape };
  }

  async function chooseChannel(value) {
    const choices = channelChoices(view.payload);
    const chosen = choices.find(([one]) => one === value) ?? choices[0];
    const mine = view;
    if (chosen) {
      const [number, only] = chosen[0].split(".");
      const image = await decoded(mine.payload.channels[Number(number)]);
      Object.assign(mine, { image, only: only === undefined ? null : Number(only) });
      channel.select.value = chosen[0];
    }
    if (mine === view) draw();
  }

  async function chooseMap(value) {
    const mine = view;
    const array = mine.payload.uncertainty[Number(value)];
    if (array) Object.assign(mine, { doubt: await decoded(array), map: Number(value) });
    if (mine === view) draw();
  }

  // What stands around the picture.
  function describe() {
    const { payload, volume } = view;
    channel.fill(channelChoices(payload), channel.select.value || "0");
    if (channel.select.selectedIndex < 0) channel.select.selectedIndex = 0;
    map.fill(payload.uncertainty.map(({ name }, number) => [String(number), name]), "0");
    const several = payload.planes.length > 1;
    planes.replaceChildren();
    if (several) {
      planes.append(buttonRow("Plane", payload.planes.map(({ name }, number) => [String(number), name]),
        (number) => turn(Number(number))));
    }
    facts.replaceChildren(...payload.facts.map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value))));
    notes.replaceChildren(...[...payload.notes, ...payload.missing].map((text) => element("p", { class: "quiet" }, text)));
    keys.textContent = `${several ? "Arrow keys or wheel: slice. P: plane. " : ""}I, C, E, U: what is shown. ` +
      "1 to 9: channel. + −: brightness. [ ]: contrast. N, B: next and previous case. F: full window.";
    writeLegend(payload, volume);
  }

  function writeLegend(payload, volume) {
    const line = (side) => element("span", { class: `v-line ${side}`, "aria-hidden": "true" });
    const swatch = (colour) => element("span", { class: "swatch", style: `background:${colour}`, "aria-hidden": "true" });
    const contours = element("div", { "data-mode": "contours" });
    const switching = (shown, key) => (on) => {
      shown[key] = on;
      draw();
    };
    for (const side of ["truth", "mask"].filter((one) => volume[one])) {
      const text = side === "truth" ? "Truth, solid" : "Mask, dashed";
      contours.append(tickRow(text, line(side), switching(view.shown, side)));
    }
    payload.classes.forEach(({ name, colour }, number) =>
      contours.append(tickRow(name, swatch(colour), switching(view.classes, number))));
    const errors = element("ul", { class: "v-codes", "data-mode": "errors" },
      ...payload.codes.map(({ code, name, colour }) =>
        element("li", { "data-code": code }, swatch(colour), element("span", {}, name), element("b", {}))));
    const scale = element("div", { class: "v-scale", "data-mode": "uncertainty" });
    legend.replaceChildren(contours, errors, scale);
  }

  // What a reader does.
  function change(what) {
    for (const name of Object.keys(what)) state[name] = what[name];
    if (view) Object.assign(view, what);
    draw();
  }

  function goTo(slice) {
    if (!view) return;
    const last = (view.payload.planes[view.plane]?.numbers.length ?? 1) - 1;
    view.slice = Math.max(0, Math.min(last, slice));
    draw();
  }

  function turn(plane) {
    if (!view.payload.planes[plane]) return;
    Object.assign(view, { plane, slice: view.payload.planes[plane].start });
    draw();
  }

  function stepCase(by) {
    const place = cases.findIndex(({ id }) => id === list.value);
    open(cases[(place + by + cases.length) % cases.length].id);
  }

  function onWheel(event) {
    const time = performance.now();
    const scrolling = time - (onWheel.elsewhere ?? -1e9) < 250; // the page is being scrolled past the picture
    const last = view ? view.payload.planes[view.plane]?.numbers.length - 1 : 0;
    const next = view ? view.slice + Math.sign(event.deltaY) : 0;
    if (!view || !last || next < 0 || next > last || (scrolling && !enlarged())) {
      if (scrolling) onWheel.elsewhere = time;
      return;
    }
    event.preventDefault();
    goTo(next);
  }
  document.addEventListener("wheel", (event) => {
    if (!stage.contains(event.target)) onWheel.elsewhere = performance.now();
  }, { passive: true });

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !view) return;
    const typed = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    const arrows = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, PageUp: -10, PageDown: 10 };
    const { numbers } = view.payload.planes[view.plane] ?? { numbers: [] };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const tone = (name, by) => change({ [name]: clamp(view[name] + by, tones[name].input) });
    const mode = VIEWER_MODES.find(([, , letter]) => letter.toLowerCase() === key);
    const moves = {
      Home: () => goTo(0), End: () => goTo(numbers.length - 1),
      p: () => turn((view.plane + 1) % view.payload.planes.length),
      f: () => (enlarged() ? dialog.close() : enlarge()), n: () => stepCase(1), b: () => stepCase(-1),
      "+": () => tone("brightness", 0.04), "=": () => tone("brightness", 0.04), "-": () => tone("brightness", -0.04),
      "[": () => tone("contrast", -0.1), "]": () => tone("contrast", 0.1),
    };
    if (event.target === stage) moves.Enter = () => !enlarged() && enlarge();
    if (typed && (key in arrows || key === "Home" || key === "End" || event.target.tagName === "SELECT")) return;
    if (key in arrows && numbers.length > 1) goTo(view.slice + arrows[key]);
    else if (mode) modes.querySelector(`[data-value=${mode[0]}]:enabled`)?.click();
    else if (/^[1-9]$/.test(key)) {
      const choice = channelChoices(view.payload)[Number(key) - 1];
      if (choice) chooseChannel(choice[0]);
    } else if (key in moves) moves[key]();
    else return;
    event.preventDefault();
  }

  // Full window: the same elements in a dialog, which the browser leaves with Escape.
  function enlarged() {
    return dialog.open;
  }

  function enlarge() {
    if (enlarged()) return dialog.close();
    root.style.minHeight = `${root.offsetHeight}px`;
    dialog.append(body);
    dialog.showModal();
    larger.textContent = "Close";
    stage.removeAttribute("title");
    stage.focus();
    draw();
  }

  function shrink() {
    root.prepend(body);
    root.style.minHeight = "";
    larger.textContent = "Full window";
    stage.setAttribute("title", "Click to enlarge");
    draw();
    if (view) stage.focus({ preventScroll: true });
  }

  // Drawing.
  function draw() {
    if (!view || !view.payload.shape || !stage.clientWidth) return;
    const { payload } = view;
    const plane = payload.planes[view.plane];
    const [height, width] = [1, 2].map((n) => payload.shape[plane.axes[n]] * payload.spacing[plane.axes[n]]);
    const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    view.ratio = window.devicePixelRatio || 1;
    frame.style.width = `${width * scale}px`;
    frame.style.height = `${height * scale}px`;
    for (const one of [canvas, overlay]) {
      one.width = Math.max(1, Math.round(width * scale * view.ratio));
      one.height = Math.max(1, Math.round(height * scale * view.ratio));
    }
    drawSlice(canvas, view);
    letters.forEach((letter, number) => (letter.textContent = plane.marks ? plane.marks[number] : ""));
    write(plane);
    root.dispatchEvent(new CustomEvent("viewer:slice", { detail: { plane: view.plane, slice: view.slice } }));
  }

  function write(plane) {
    const { payload, volume, mode, slice } = view;
    const count = plane.numbers.length;
    const wrong = plane.errors?.[slice];
    const unit = payload.shape[0] > 1 ? "voxels" : "pixels";
    const where = count > 1 ? `${plane.name}, slice ${plane.numbers[slice]} of ${count}` : "";
    const parts = [where, wrong === undefined ? "" : `${wrong.toLocaleString("en")} wrong ${unit}`];
    caption.textContent = parts.filter(Boolean).join(" · ");
    stage.setAttribute("aria-label", `Case ${view.id}, ${mode}${where ? `, ${where}` : ""}`);
    modes.set(mode);
    planes.firstChild?.set(String(view.plane));
    stack.hidden = count < 2;
    slices.input.max = count - 1;
    slices.input.value = slice;
    slices.input.setAttribute("aria-valuetext", caption.textContent);
    strip.hidden = !plane.errors;
    if (plane.errors && count > 1) {
      strip.counts = plane.errors;
      strip.draw(slice);
    }
    for (const name of Object.keys(tones)) tones[name].input.value = view[name];
    for (const part of legend.children) part.hidden = part.dataset.mode !== mode;
    map.hidden = mode !== "uncertainty" || payload.uncertainty.length < 2;
    if (mode === "errors" && volume.errors) {
      const codes = planeOf(volume.errors, payload.shape, plane.axes, slice).bytes;
      for (const item of legend.querySelectorAll("[data-code]")) {
        const code = Number(item.dataset.code);
        item.querySelector("b").textContent = codes.reduce((sum, one) => sum + (one === code), 0).toLocaleString("en");
      }
    }
    const doubt = payload.uncertainty[view.map ?? 0];
    if (doubt) {
      const end = `${Number(doubt.highest.toPrecision(3))} ${doubt.unit}`.trim();
      legend.lastChild.replaceChildren(
        element("div", { class: "v-bar", "aria-hidden": "true", style: `--glow:${view.glow}` }),
        element("div", { class: "v-ends", "aria-hidden": "true" }, element("span", {}, "0"), element("span", {}, end)),
        element("p", { class: "quiet" }, doubt.said),
      );
    }
  }

  function voxel(event) {
    const { axes } = view.payload.planes[view.plane];
    const box = frame.getBoundingClientRect();
    const { shape } = view.payload;
    const row = Math.floor(((event.clientY - box.top) / box.height) * shape[axes[1]]);
    const column = Math.floor(((event.clientX - box.left) / box.width) * shape[axes[2]]);
    if (row < 0 || column < 0 || row >= shape[axes[1]] || column >= shape[axes[2]]) return null;
    const found = [0, 0, 0];
    [found[axes[0]], found[axes[1]], found[axes[2]]] = [view.slice, row, column];
    return found;
  }

  return {
    open, voxel, toolbar, overlay, stage, root,
    next: () => stepCase(1), previous: () => stepCase(-1), redraw: draw, goTo,
    get current() {
      return view;
    },
  };
}

/** The images to choose from, [value, name]; a photograph has its three colours as greys, too. */
function channelChoices(payload) {
  return payload.channels.flatMap(({ name, colour }, number) => [
    [String(number), name],
    ...(colour ? ["red", "green", "blue"].map((one, place) => [`${number}.${place}`, one]) : []),
  ]);
}

function clamp(value, input) {
  return Math.max(Number(input.min), Math.min(Number(input.max), value));
}
