// The page of `scantling view`: a list that is searched and sorted, and the viewer; with --correct, the tools too.

const MOST_LISTED = 300; // buttons; a longer list is narrowed by searching
const ORDERS = {
  given: ["As listed", () => 0],
  worst: ["Worst Dice first", (one, other) => (one.dice ?? 2) - (other.dice ?? 2)],
  best: ["Best Dice first", (one, other) => (other.dice ?? -1) - (one.dice ?? -1)],
  uncertain: ["Most uncertain first", (one, other) => (other.uncertainty ?? -1) - (one.uncertainty ?? -1)],
  id: ["By name", (one, other) => one.id.localeCompare(other.id, undefined, { numeric: true })],
};

async function fetchJson(path, options = {}) {
  const answer = await fetch(path, { ...options, credentials: "omit", redirect: "error" });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error ?? answer.statusText);
  return found;
}

(async function begin() {
  const [search, order, count, list] = ["search", "order", "count", "cases"].map((id) => document.getElementById(id));
  let all;
  try {
    all = await fetchJson("cases");
  } catch (error) {
    count.textContent = `The list of cases cannot be read: ${error.message}`;
    return;
  }
  const { cases, remarks, writes } = all;
  const corrected = new Set(all.corrected ?? []);
  document.getElementById("remarks").append(...remarks.map((text) => element("p", { class: "quiet" }, text)));
  const shown = cases.map(({ id }) => ({ id, title: id, note: "" })); // in the order of the list, which N and B follow
  const viewer = scantlingViewer(document.getElementById("viewer"), {
    cases: shown, load: (id) => fetchJson(`case/${encodeURIComponent(id)}`),
  });
  const known = { worst: "dice", best: "dice", uncertain: "uncertainty" };
  for (const [name, [title]] of Object.entries(ORDERS)) {
    if (!known[name] || cases.some((one) => one[known[name]] !== null)) order.append(element("option", { value: name }, title));
  }
  order.value = writes ? "given" : order.querySelector("[value=worst]") ? "worst" : "given";

  function numberOf(one) {
    const value = order.value === "uncertain" || one.dice === null ? one.uncertainty : one.dice;
    return value === null ? "" : value.toFixed(2);
  }

  function stateOf(one) {
    return [corrected.has(one.id) ? "corrected" : "", one.unlike ? "unlike the training images" : ""].filter(Boolean).join(", ");
  }

  function fill() {
    const wanted = search.value.trim().toLowerCase();
    const fits = cases.filter(({ id, subject }) => !wanted || `${id} ${subject}`.toLowerCase().includes(wanted));
    fits.sort(ORDERS[order.value][1]);
    shown.splice(0, shown.length, ...fits.map(({ id }) => ({ id, title: id, note: "" })));
    list.replaceChildren(...fits.slice(0, MOST_LISTED).map((one) => {
      const state = stateOf(one);
      return element("li", {}, element(
        "button", { type: "button", "data-id": one.id, "aria-current": String(viewer.current?.id === one.id),
                    click: () => viewer.open(one.id) },
        element("span", { class: "w-id" }, one.id), element("span", { class: "w-number" }, numberOf(one)),
        state ? element("span", { class: "w-state" }, state) : null,
      ));
    }));
    const more = fits.length > MOST_LISTED ? `, the first ${MOST_LISTED} listed` : "";
    const what = order.value === "uncertain" || !cases.some((one) => one.dice !== null) ? "uncertainty" : "Dice";
    const number = cases.some((one) => one.dice !== null || one.uncertainty !== null) ? `; numbers: ${what}` : "";
    count.textContent = `${fits.length.toLocaleString("en")} of ${cases.length.toLocaleString("en")} cases${more}${number}`;
  }

  search.addEventListener("input", fill);
  order.addEventListener("change", fill);
  viewer.root.addEventListener("viewer:case", (event) => {
    for (const button of list.querySelectorAll("button")) {
      const open = button.dataset.id === event.detail;
      button.setAttribute("aria-current", String(open));
      if (open) button.scrollIntoView({ block: "nearest" });
    }
  });
  if (writes) {
    correctWith(viewer, {
      author: all.author, exclusive: all.exclusive, minutes: all.minutes,
      save: (id, content) => fetchJson(`save/${encodeURIComponent(id)}`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content),
      }),
      saved: (told) => {
        for (const id of told.corrected) corrected.add(id);
        fill();
      },
    });
  }
  fill();
  window.scantling = viewer;
  if (shown.length) viewer.open(shown[0].id);
})();
