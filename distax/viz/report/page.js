"use strict";

// Returns the sort key of a row: a number with all its digits, or text. Empty cells come last.
function key(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other));
}

function sort(table, head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const known = (row) => key(row, head.cellIndex) !== "";
  const rows = [...table.tBodies[0].rows];
  const sorted = rows.filter(known).sort((one, other) => {
    const order = compare(key(one, head.cellIndex), key(other, head.cellIndex));
    return descending ? -order : order;
  });
  table.tBodies[0].append(...sorted, ...rows.filter((row) => !known(row)));
}

function makeSortable(table) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head));
    head.append(button);
  }
}

// Shows only rows that contain every word of the search box.
function makeFilterable(table) {
  const rows = [...table.tBodies[0].rows];
  const label = document.createElement("label");
  const box = document.createElement("input");
  const shown = document.createElement("output");
  box.type = "search";
  label.append("Filter: ", box);
  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join(" ");
      row.hidden = !words.every((word) => text.includes(word));
    }
    shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} targets`;
  };
  box.addEventListener("input", filter);
  filter();
  table.parentElement.before(label, shown);
}

for (const table of document.querySelectorAll("table.targets")) {
  makeSortable(table);
  makeFilterable(table);
}
