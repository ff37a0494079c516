// The viewers of a page: each opens the cases that stand in it, and every dot, row and button that names one opens it.
for (const root of document.querySelectorAll(".viewer[data-cases]")) {
  const holders = new Map([...root.querySelectorAll("script[data-case]")].map((one) => [one.dataset.case, one]));
  const cases = JSON.parse(root.dataset.cases);
  const viewer = scantlingViewer(root, {
    cases, load: (id) => JSON.parse(holders.get(id).textContent), more: root.dataset.more,
  });
  const openers = document.querySelectorAll(`[data-viewer="${root.id}"]`);
  for (const opener of openers) {
    opener.addEventListener("click", (event) => {
      event.preventDefault();
      viewer.open(opener.dataset.opens);
      root.scrollIntoView({ block: "nearest" });
      viewer.stage.focus({ preventScroll: true });
    });
  }
  root.addEventListener("viewer:case", (event) => {
    for (const opener of openers) opener.toggleAttribute("data-open", opener.dataset.opens === event.detail);
  });
  viewer.open(cases[0].id);
  root.scantling = viewer;
}

// The dots of a chart are one stop of the Tab key; arrow keys go from dot to dot.
for (const chart of document.querySelectorAll("svg.dots")) {
  const dots = [...chart.querySelectorAll("a[data-opens]")];
  dots.forEach((dot, place) => {
    dot.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      const next = by && dots[place + by];
      if (event.key === " ") dot.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
      else if (next) {
        dot.setAttribute("tabindex", "-1");
        next.setAttribute("tabindex", "0");
        next.focus();
      } else return;
      event.preventDefault();
    });
  });
}
