"use strict";
const page = document.body.dataset.page;
const questions = document.body.dataset.questions.split(",");
const sections = [...document.querySelectorAll("section[data-case]")];
const reader = document.getElementById("reader");
const state = document.getElementById("state");
const kept = `scantling-reading-${page}`;
const grade = (number, name) => document.querySelector(`input[name="${name}-${number}"]:checked`)?.value ?? "";
const answers = () => sections.map(({ dataset }) => [dataset.case, ...questions.map((name) => grade(dataset.case, name))]);
const tell = () => {
  const left = answers().flat().filter((text) => text === "").length;
  state.textContent = left ? `${left} grades left` : "all graded";
};
const keep = () => {
  tell();
  try {
    localStorage.setItem(kept, JSON.stringify({ reader: reader.value, answers: answers() }));
  } catch { /* a browser may not let a file keep anything */ }
};
try {
  const before = JSON.parse(localStorage.getItem(kept) ?? "null");
  if (before) {
    reader.value = before.reader;
    for (const [number, ...grades] of before.answers) {
      grades.forEach((value, place) => {
        const input = document.querySelector(`input[name="${questions[place]}-${number}"][value="${value}"]`);
        if (input) input.checked = true;
      });
    }
  }
} catch { /* nothing was kept */ }
for (const section of sections) {
  const slider = section.querySelector("input[type=range]");
  const slices = [...section.querySelectorAll("img")];
  const show = () => slices.forEach((image, place) => image.classList.toggle("on", place === Number(slider.value) - 1));
  if (slider) {
    slider.addEventListener("input", show);
    section.querySelector(".picture").addEventListener("wheel", (event) => {
      event.preventDefault();
      slider.value = Number(slider.value) + Math.sign(event.deltaY);
      show();
    }, { passive: false });
    show();
  }
}
document.addEventListener("change", keep);
document.getElementById("save").addEventListener("click", () => {
  const name = reader.value.trim().replace(/[",\n]/g, " ");
  if (!name) {
    state.textContent = "write your name or initials first";
    reader.focus();
    return;
  }
  const rows = [["page", "reader", "case", ...questions], ...answers().map((row) => [page, `"${name}"`, ...row])];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([rows.map((row) => row.join(",")).join("\n") + "\n"], { type: "text/csv" }));
  link.download = `answers-${page}-${name.replace(/\W+/g, "-")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);  // some browsers read it after the click
});
tell();
