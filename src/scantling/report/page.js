"use strict";
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const number = (text) => (text === "" ? NaN : Number(text));
      const rows = [...body.rows].map((row) => ({ row, text: key(row), value: number(key(row)) }));
      rows.sort((one, other) => {
        if (Number.isNaN(one.value) && Number.isNaN(other.value)) {
          return (down ? -1 : 1) * one.text.localeCompare(other.text, "en", { numeric: true });
        }
        if (Number.isNaN(one.value)) return 1;
        if (Number.isNaN(other.value)) return -1;
        return (down ? -1 : 1) * (one.value - other.value);
      });
      body.append(...rows.map((one) => one.row));
    });
  });
}
