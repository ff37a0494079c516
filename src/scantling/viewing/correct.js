// Tools that correct the mask of the open case, in the toolbar of the viewer: with the mouse, a pen or the keyboard.

const TOOLS = [["brush", "Brush", "D"], ["eraser", "Eraser", "X"], ["fill", "Outline", "G"]];
const COUNTED = [["shown", "slices shown"], ["changed", "slices changed"], ["all", "all slices"]];

function correctWith(viewer, { author, exclusive, minutes, save, saved }) {
  const { root, overlay, toolbar, stage } = viewer;
  const drafts = new Map(); // by case: layers, history, slices, and whether there is anything to save
  const timer = workTimer();
  let tool = "brush";
  let number = 0; // the class
  let stroke = null; // {last, before, target} while a button is pressed
  let outline = []; // [row, column] of an outline that is being drawn
  let cursor = null; // [row, column], of the mouse or moved by keys
  let pen = false; // whether the key pen is down
  let total = minutes;

  const tools = buttonRow("Tool", TOOLS, choose);
  const classes = selectRow("Class", (value) => (number = Number(value)));
  const size = sliderRow("Size", { least: 1, most: 60, step: 1, value: 8 }, drawOverlay);
  const counted = selectRow("Count", () => {});
  counted.fill(COUNTED, "shown");
  const undo = element("button", { type: "button", title: "key Z", "aria-keyshortcuts": "Z", click: () => step("undo") }, "Undo");
  const redo = element("button", { type: "button", title: "key Y", "aria-keyshortcuts": "Y", click: () => step("redo") }, "Redo");
  const keep = element("button", { type: "button", class: "w-save", title: "key S", "aria-keyshortcuts": "S", click: () => send(false) }, "Save");
  const onward = element("button", { type: "button", title: "key W", "aria-keyshortcuts": "W", click: () => send(true) }, "Save, next");
  const name = element("input", { type: "text", maxlength: "200", value: author ?? "", "aria-label": "Author" });
  const said = element("p", { class: "w-said", role: "status" });
  toolbar.append(
    element("h2", {}, "Correct"), tools, classes, size, counted,
    element("div", { class: "v-buttons" }, undo, redo), element("div", { class: "v-buttons" }, keep, onward),
    element("label", { class: "v-select" }, element("span", {}, "Author"), name), said,
    element("p", { class: "v-keys" }, "D, X, G: tool. K: class. Comma, full stop: size. Z, Y: undo, redo. S: save. " +
      "W: save and next. Shift and arrow keys move the cursor; space draws, or sets a corner of an outline, which Enter closes."),
  );
  choose(tool);

  const draft = () => drafts.get(viewer.current?.id);
  const plane = () => viewer.current.payload.planes[viewer.current.plane];
  /** How many slices the first plane has, which is that of the slices of the file. */
  const depth = () => viewer.current.payload.shape[viewer.current.payload.planes[0].axes[0]];
  const target = () => sliceOf(viewer.current.volume, viewer.current.payload.shape, plane().axes, viewer.current.slice);

  root.addEventListener("viewer:case", ({ detail }) => {
    const { payload, volume } = viewer.current;
    for (const [id, other] of drafts) {
      if (id !== detail && !other.dirty) drafts.delete(id); // what is saved is read anew
    }
    if (!drafts.has(detail)) {
      drafts.set(detail, { history: history(), shown: new Set(), changed: new Set(), dirty: false, version: 0, saving: false, seconds: 0, layers: null });
    }
    const one = draft();
    if (one.layers && volume.mask) volume.mask.at = (place) => one.layers[place];
    one.layers = volume.mask ? Array.from({ length: volume.mask.classes }, (_, place) => volume.mask.at(place)) : null;
    classes.fill(payload.classes.map(({ name: title }, place) => [String(place), title]), String(number));
    if (classes.select.selectedIndex < 0) classes.select.selectedIndex = 0;
    number = Number(classes.select.value);
    counted.hidden = depth() < 2;
    forget();
    timer.start(one.seconds);
    tell(one.dirty ? "Not saved yet." : "");
    viewer.redraw();
    buttons();
  });

  function forget() {
    outline = [];
    stroke = cursor = null;
    pen = false;
  }

  root.addEventListener("viewer:slice", ({ detail }) => {
    if (draft() && detail.plane === 0) draft().shown.add(detail.slice);
    drawOverlay();
  });

  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel"]) {
    root.addEventListener(kind, () => {
      timer.used();
      if (draft()) draft().seconds = timer.seconds;
    }, { capture: true, passive: true });
  }

  function choose(value) {
    liftPen();
    tool = value;
    tools.set(tool);
    outline = [];
    if (viewer.current) drawOverlay();
  }

  /** End what the key pen draws, before anything else is done. */
  function liftPen() {
    if (pen && stroke) end();
    pen = false;
  }

  function tell(text, wrong = false) {
    said.textContent = text;
    said.classList.toggle("wrong", wrong);
  }

  function buttons() {
    const [done, undone] = draft()?.history.sizes ?? [0, 0];
    undo.disabled = !done;
    redo.disabled = !undone;
    keep.disabled = onward.disabled = !draft()?.layers;
  }

  // Drawing.
  function options() {
    const { payload } = viewer.current;
    const { axes } = plane();
    return { size: Number(size.input.value), spacing: [payload.spacing[axes[1]], payload.spacing[axes[2]]], number,
             erase: tool === "eraser", exclusive };
  }

  function at(event) {
    const found = viewer.voxel(event);
    if (!found) return null;
    const { axes } = plane();
    return [found[axes[1]], found[axes[2]]];
  }

  function begin(place) {
    stroke = { last: place, target: target() };
    stroke.before = stroke.target.copy();
  }

  function end() {
    const { current } = viewer;
    const after = stroke.target.copy();
    const same = after.every((layer, one) => layer.every((value, index) => value === stroke.before[one][index]));
    if (!same) {
      draft().history.push({ plane: current.plane, slice: current.slice, before: stroke.before, after });
      touched(current.plane, current.slice);
    }
    stroke = null;
    viewer.redraw();
    buttons();
  }

  function touched(number_, slice) {
    const one = draft();
    one.dirty = true;
    one.version++;
    if (number_ === 0) one.changed.add(slice);
    else for (let other = 0; other < depth(); other++) one.changed.add(other);
    tell("Not saved yet.");
  }

  function closeOutline() {
    if (outline.length > 2) {
      begin(outline[0]);
      fillOutline(stroke.target, outline, { ...options(), erase: false });
      outline = [];
      end();
    } else {
      outline = [];
      drawOverlay();
    }
  }

  overlay.addEventListener("pointerdown", (event) => {
    const place = at(event);
    if (event.button !== 0 || !place || !draft()?.layers) return;
    event.preventDefault();
    stage.focus({ preventScroll: true });
    overlay.setPointerCapture(event.pointerId);
    cursor = place;
    if (tool === "fill") outline = [place];
    else {
      begin(place);
      paintLine(stroke.target, place, place, options());
      viewer.redraw();
    }
  });
  overlay.addEventListener("pointermove", (event) => {
    const place = at(event);
    if (!place || !draft()?.layers) return;
    cursor = place;
    if (stroke) {
      paintLine(stroke.target, stroke.last, place, options());
      stroke.last = place;
      viewer.redraw();
    } else {
      if (tool === "fill" && event.buttons & 1 && outline.length) outline.push(place);
      drawOverlay();
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    overlay.addEventListener(kind, () => {
      if (stroke) end();
      else if (tool === "fill" && outline.length > 1) closeOutline();
    });
  }
  root.addEventListener("wheel", liftPen, { capture: true, passive: true });
  overlay.addEventListener("click", (event) => event.stopPropagation()); // which would enlarge
  overlay.addEventListener("pointerleave", () => {
    if (!stroke && !pen) cursor = null;
    drawOverlay();
  });

  function drawOverlay() {
    if (!viewer.current) return;
    const brush = overlay.getContext("2d");
    brush.clearRect(0, 0, overlay.width, overlay.height);
    if (!cursor) return;
    const { payload } = viewer.current;
    const { axes } = plane();
    const [tall, wide] = [overlay.height / payload.shape[axes[1]], overlay.width / payload.shape[axes[2]]];
    const middle = ([row, column]) => [(column + 0.5) * wide, (row + 0.5) * tall];
    const colour = payload.classes[number]?.colour ?? "#ffffff";
    const draw = (path) => {
      for (const [style, width] of [["rgb(0 0 0 / .8)", 4], [tool === "eraser" ? "#ffffff" : colour, 2]]) {
        brush.strokeStyle = style;
        brush.lineWidth = width * (window.devicePixelRatio || 1);
        brush.stroke(path);
      }
    };
    const path = new Path2D();
    const [x, y] = middle(cursor);
    if (tool === "fill") {
      outline.forEach((point, place) => path[place ? "lineTo" : "moveTo"](...middle(point)));
      if (outline.length) path.lineTo(x, y);
      const mark = new Path2D();
      for (const [dx, dy] of [[7, 0], [0, 7]]) {
        mark.moveTo(x - dx, y - dy);
        mark.lineTo(x + dx, y + dy);
      }
      draw(mark);
    } else {
      const { size: across, spacing } = options();
      const [r, c] = spacing.map((one) => Math.max(0.5, (across * Math.min(...spacing)) / one / 2));
      path.ellipse(x, y, c * wide, r * tall, 0, 0, 2 * Math.PI);
    }
    draw(path);
  }

  function step(which) {
    const found = draft()?.history[which]();
    if (!found) return;
    const { payload, volume } = viewer.current;
    sliceOf(volume, payload.shape, payload.planes[found.plane].axes, found.slice).restore(found.copy);
    touched(found.plane, found.slice);
    viewer.redraw();
    buttons();
  }

  // Keys: letters anywhere but in a text, the cursor on the picture alone.
  function move(rows, columns) {
    const { payload } = viewer.current;
    const { axes } = plane();
    const [height, width] = [payload.shape[axes[1]], payload.shape[axes[2]]];
    const before = cursor ?? [Math.floor(height / 2), Math.floor(width / 2)];
    cursor = [Math.max(0, Math.min(height - 1, before[0] + rows)), Math.max(0, Math.min(width - 1, before[1] + columns))];
    if (pen && stroke) {
      paintLine(stroke.target, before, cursor, options());
      viewer.redraw();
    } else drawOverlay();
  }

  function space() {
    if (!cursor) return move(0, 0);
    if (tool === "fill") {
      outline.push(cursor);
      return drawOverlay();
    }
    pen = !pen;
    if (pen) {
      begin(cursor);
      paintLine(stroke.target, cursor, cursor, options());
      viewer.redraw();
    } else end();
  }

  function resize(by) {
    size.input.value = Number(size.input.value) + by;
    drawOverlay();
  }

  root.addEventListener("keydown", (event) => {
    const { target: on } = event;
    if (event.altKey || !viewer.current || !draft()?.layers) return;
    if (/^(SELECT|TEXTAREA)$/.test(on.tagName) || (on.tagName === "INPUT" && on.type === "text")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const control = event.ctrlKey || event.metaKey;
    if (control && !["z", "y", "s"].includes(key)) return;
    if (pen && !event.shiftKey && key !== " ") liftPen();
    const shifted = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const does = {
      d: () => choose("brush"), x: () => choose("eraser"), g: () => choose("fill"),
      z: () => step(event.shiftKey ? "redo" : "undo"), y: () => step("redo"),
      s: () => send(false), w: () => send(true),
      ",": () => resize(-1), ".": () => resize(1),
      k: () => {
        number = (number + 1) % viewer.current.payload.classes.length;
        classes.select.value = String(number);
        drawOverlay();
      },
    };
    if (on === stage) {
      does[" "] = space;
      if (outline.length) does.Enter = closeOutline;
      if (outline.length) does.Escape = () => choose(tool);
    }
    if (event.shiftKey && key in shifted && on === stage) move(...shifted[key]);
    else if (key in does) does[key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, true);

  // Saving.
  function slicesToCount() {
    const one = draft();
    const which = counted.select.value;
    if (depth() < 2 || which === "all") return null;
    const found = [...one[which]].sort((a, b) => a - b);
    return found.length === depth() ? null : found;
  }

  async function send(next) {
    const { current } = viewer;
    const one = draft();
    if (!one?.layers || one.saving) return; // what is on its way is not sent, nor its time counted, twice
    if (stroke) end();
    timer.used();
    const seconds = timer.seconds;
    const { version } = one;
    one.saving = true;
    tell("Saving …");
    try {
      const told = await save(current.id, {
        shape: current.payload.shape, layers: one.layers.map(runLengths), seconds, slices: slicesToCount(), author: name.value,
      });
      const here = viewer.current?.id === current.id;
      one.dirty = one.version !== version; // what was drawn meanwhile is still to be saved
      one.seconds = Math.max(0, (here ? timer.seconds : one.seconds) - seconds);
      if (here) timer.start(one.seconds);
      total = told.minutes;
      saved(told);
      tell(here && one.dirty ? "Not saved yet." : `Saved. ${total} minutes of correcting so far.`);
      if (next && here && !one.dirty) viewer.next();
    } catch (error) {
      tell(`${current.id} is not saved: ${error.message}`, true);
    } finally {
      one.saving = false;
    }
  }

  window.addEventListener("beforeunload", (event) => {
    if ([...drafts.values()].some(({ dirty }) => dirty)) event.preventDefault();
  });
}
