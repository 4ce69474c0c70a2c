"use strict";
(() => {
  const form = document.getElementById("controls");
  const apply = () => {
    document.body.dataset.def = form.elements.def.value;
    const boxes = [...form.querySelectorAll("input[name=model]")];
    const off = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    for (const node of document.querySelectorAll("[data-model]")) node.hidden = off.has(node.dataset.model);
    for (const box of form.querySelectorAll("input[name=published]")) document.body.classList.toggle(`with-${box.value}`, box.checked);
  };
  if (form) {
    form.hidden = false;
    form.addEventListener("change", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }
  const compare = (a, b) => {
    if (a.classList.contains("t")) return a.textContent.localeCompare(b.textContent, "en", { numeric: true });
    const number = (cell) => parseFloat(cell.textContent.replace("<", ""));
    return number(a) - number(b);
  };
  for (const table of document.querySelectorAll("main table")) {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const gap = (row) => row.cells[at].textContent === "–";
      const rows = [...table.tBodies[0].rows].sort((a, b) =>
        gap(a) - gap(b) || (down ? -1 : 1) * compare(a.cells[at], b.cells[at]));
      table.tBodies[0].append(...rows);
    }));
  }
  // A link to a table opens the fold that it is in, and paper has no folds but for endless tables.
  const unfold = () => {
    const at = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let fold = at?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  };
  window.addEventListener("hashchange", unfold);
  unfold();
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("main details")) fold.open = !fold.querySelector(".many");
  });
})();
