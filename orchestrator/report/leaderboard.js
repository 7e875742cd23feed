"use strict";
// Filters and sorts what is in the page already. It loads nothing, and makes no markup of any text.
(() => {
  const controls = document.getElementById("controls");
  const words = document.getElementById("words");
  const shown = document.getElementById("shown");
  const choices = Array.from(controls.querySelectorAll("select"));
  const tables = Array.from(document.querySelectorAll("table[data-sortable]"));

  // a row has what it is filtered by in data-model, data-scheme, data-device and data-verdict
  const fits = (data) =>
    choices.every((choice) => {
      const told = data[choice.dataset.by];
      return choice.value === "" || told === undefined || told === choice.value;
    });
  // in the overview a word may also be one of its columns'
  const says = (row, heads) => {
    const text = row.textContent.toLowerCase();
    return words.value.toLowerCase().split(/\s+/)
      .every((word) => text.includes(word) || heads.includes(word));
  };

  const filter = () => {
    const device = choices.find((choice) => choice.dataset.by === "device").value;
    for (const table of tables) {
      for (const cell of table.querySelectorAll("[data-column-device]")) {
        cell.hidden = device !== "" && cell.dataset.columnDevice !== device;
      }
      const devices = table.tHead.querySelectorAll("[data-column-device]");
      const heads = Array.from(devices, (cell) => cell.textContent.toLowerCase()).join(" ");
      for (const row of table.tBodies[0].rows) {
        row.hidden = !(fits(row.dataset) && says(row, heads));
      }
    }
    const rows = Array.from(document.getElementById("all").tBodies[0].rows);
    const left = rows.filter((row) => !row.hidden).length;
    shown.textContent = `${left} of ${rows.length} comparisons`;
  };

  const value = (row, column) => {
    const cell = row.cells[column];
    const number = cell.dataset.value;
    if (number === undefined) return cell.textContent;
    return number === "" ? NaN : Number(number);
  };
  const order = (a, b) => {
    if (typeof a === "string") return a.localeCompare(b, undefined, { numeric: true });
    if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : 1; // what was not measured comes last
    return Number.isNaN(b) ? -1 : a - b;
  };
  const sort = (table, header, column) => {
    const falling = header.getAttribute("aria-sort") === "ascending";
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const body = table.tBodies[0];
    const sorted = Array.from(body.rows, (row) => [value(row, column), row]);
    const missing = (key) => typeof key === "number" && Number.isNaN(key);
    sorted.sort(([a], [b]) =>
      falling && !missing(a) && !missing(b) ? -order(a, b) : order(a, b));
    body.append(...sorted.map(([, row]) => row));
  };
  for (const table of tables) {
    Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sort(table, header, column));
    });
  }

  words.addEventListener("input", filter);
  for (const choice of choices) choice.addEventListener("change", filter);
  controls.hidden = false;
  filter();
})();
