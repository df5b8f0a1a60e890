"use strict";
(function () {
  const root = document.documentElement;
  const content = JSON.parse(document.getElementById("charts").textContent);
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  let views = [];
  let drawing = 0;

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  }

  async function draw() {
    const mine = ++drawing;
    const dark = isDark();
    button.textContent = dark ? "Light theme" : "Dark theme";
    views.forEach((view) => view.finalize());
    views = [];
    root.removeAttribute("data-drawn");
    for (const place of document.querySelectorAll("[data-chart]")) {
      const result = await vegaEmbed(place, content.charts[place.dataset.chart], {
        mode: "vega-lite",
        renderer: "svg",
        actions: false,
        ast: true, // expressions are interpreted: the page's policy forbids eval
        config: content.themes[dark ? "dark" : "light"],
      });
      if (mine !== drawing) {
        result.finalize();
        return;
      }
      views.push(result);
    }
    root.dataset.drawn = dark ? "dark" : "light";
  }

  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    draw();
  });
  system.addEventListener("change", () => {
    if (!root.dataset.theme) draw();
  });

  function compare(a, b, numeric) {
    if (a === undefined || b === undefined) return 0;
    return numeric ? Number(a) - Number(b) : a.localeCompare(b);
  }

  function sort(table, head) {
    const heads = [...head.parentElement.children];
    const column = heads.indexOf(head);
    const numeric = head.classList.contains("number");
    const first = numeric ? "descending" : "ascending";
    const other = numeric ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    heads.forEach((h) => h.setAttribute("aria-sort", h === head ? order : "none"));
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const value = (row) => row.cells[column].dataset.value;
    const rows = [...body.rows].filter((row) => !row.classList.contains("total"));
    const last = [...body.rows].filter((row) => row.classList.contains("total"));
    const known = rows.filter((row) => value(row) !== undefined);
    const unknown = rows.filter((row) => value(row) === undefined);
    known.sort((a, b) => sign * compare(value(a), value(b), numeric));
    body.append(...known, ...unknown, ...last);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.querySelectorAll("tr.heads th")) {
      head.firstElementChild.addEventListener("click", () => sort(table, head));
    }
  }

  for (const input of document.querySelectorAll("[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    input.closest(".filter").hidden = false;
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      for (const row of table.tBodies[0].rows) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
      }
    });
  }

  draw();
})();
