// The parts that the viewer is made of: elements, buttons, sliders, lists.

/** An element with attributes (functions are listeners, true is an empty attribute, null none) and children. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Buttons of which one is pressed: `choices` are [value, text, key]; `set(value)` shows which it is. */
function buttonRow(label, choices, choose) {
  const buttons = choices.map(([value, text, key]) =>
    element(
      "button",
      { type: "button", "data-value": value, "aria-pressed": "false", "aria-keyshortcuts": key ?? null,
        title: key ? `key ${key}` : null, click: () => choose(value) },
      text,
    ),
  );
  const row = element("div", { class: "v-buttons", role: "group", "aria-label": label }, ...buttons);
  row.set = (value) => buttons.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.value === value)));
  row.allow = (values) => buttons.forEach((one) => (one.disabled = !values.includes(one.dataset.value)));
  return row;
}

/** A slider below its name. */
function sliderRow(label, { least, most, step, value }, change) {
  const input = element("input", {
    type: "range", min: least, max: most, step, value, "aria-label": label,
    input: (event) => change(Number(event.target.value)),
  });
  const row = element("label", { class: "v-slider" }, element("span", {}, label), input);
  row.input = input;
  return row;
}

/** A list to choose from; `choices` are [value, text]. */
function selectRow(label, choose) {
  const select = element("select", { "aria-label": label, change: (event) => choose(event.target.value) });
  const row = element("label", { class: "v-select" }, element("span", {}, label), select);
  row.select = select;
  row.fill = (choices, value) => {
    select.replaceChildren(...choices.map(([one, text]) => element("option", { value: one }, text)));
    select.value = value;
    row.hidden = choices.length < 2;
  };
  return row;
}

/** A box to tick, with a sample of what it shows. */
function tickRow(text, sample, change) {
  const box = element("input", { type: "checkbox", checked: true, change: (event) => change(event.target.checked) });
  return element("label", { class: "v-tick" }, box, sample, element("span", {}, text));
}

/** The number of errors of each slice as bars; a click goes to the slice, as the slider below it does. */
function errorStrip(choose) {
  const canvas = element("canvas", { class: "v-strip", "aria-hidden": "true" });
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return Math.floor(((event.clientX - box.left) / box.width) * canvas.counts.length);
  };
  canvas.counts = [];
  canvas.addEventListener("pointerdown", (event) => choose(at(event)));
  canvas.addEventListener("pointermove", (event) => event.buttons && choose(at(event)));
  canvas.draw = (slice) => {
    const { counts } = canvas;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    const pen = canvas.getContext("2d");
    const most = Math.max(1, ...counts);
    const step = canvas.width / counts.length;
    const style = getComputedStyle(canvas);
    counts.forEach((count, place) => {
      const tall = (canvas.height - 2) * (count / most);
      pen.fillStyle = place === slice ? style.getPropertyValue("--accent") : style.getPropertyValue("--soft");
      pen.globalAlpha = place === slice ? 1 : 0.45;
      const gap = step > 3 * ratio ? ratio : 0;
      pen.fillRect(place * step, canvas.height - tall, Math.max(1, step - gap), tall);
      if (place === slice) pen.fillRect(place * step, canvas.height - 2, Math.max(2, step - gap), 2);
    });
  };
  return canvas;
}
