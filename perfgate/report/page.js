"use strict";
// Sorts, searches and opens. Everything is on the page without it.
(() => {
  const table = document.getElementById("page-table");
  const controls = document.getElementById("page-controls");
  const cases = new Map();
  for (const one of document.querySelectorAll("details.case")) {
    cases.set(one.querySelector(".body").id, one);
  }

  const target = () => {
    let name;
    try {
      name = decodeURIComponent(location.hash.slice(1));
    } catch {
      return null; // not of this page
    }
    return name ? document.getElementById(name) : null;
  };

  const goToHash = () => {
    const found = target();
    const folded = found && found.closest("details.case");
    if (!folded) return;
    folded.open = true; // for browsers that do not by themselves
    folded.hidden = false;
    folded.scrollIntoView();
    folded.querySelector("summary").focus({ preventScroll: true });
  };

  for (const dot of document.querySelectorAll("svg .dot")) {
    dot.addEventListener("click", () => {
      location.hash = encodeURIComponent(dot.dataset.case);
    });
  }

  if (table) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const search = document.getElementById("page-search");
    const status = document.getElementById("page-status");
    const count = document.getElementById("page-count");
    const passing = new Set(["same", "faster", "right"]);

    const show = () => {
      const wanted = search.value.trim().toLowerCase();
      const kind = status.value;
      let shown = 0;
      for (const row of rows) {
        const is = row.dataset.status;
        const fits = kind === "" || kind === is || (kind === "look" && !passing.has(is));
        row.hidden = !(fits && row.textContent.toLowerCase().includes(wanted));
        cases.get(row.dataset.for).hidden = row.hidden;
        if (!row.hidden) shown += 1;
      }
      count.textContent = `${shown} of ${rows.length} cases shown`;
    };

    const value = (row, column) => {
      const cell = row.cells[column];
      return cell.dataset.key === undefined ? cell.textContent : Number(cell.dataset.key);
    };

    const compare = (a, b, sign) => {
      const unknown = (v) => v === "-" || v === "";
      if (unknown(a) || unknown(b)) return unknown(a) - unknown(b); // last, whichever way
      if (typeof a === "number" && typeof b === "number") return sign * (a - b);
      return sign * String(a).localeCompare(String(b), "en", { numeric: true });
    };

    const sort = (head, column) => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      rows.sort((a, b) => compare(value(a, column), value(b, column), falling ? -1 : 1));
      body.append(...rows);
      const list = document.getElementById("page-each-list");
      list.append(...rows.map((row) => cases.get(row.dataset.for)));
    };

    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => sort(head, column));
      head.replaceChildren(button);
    });

    search.addEventListener("input", show);
    status.addEventListener("change", show);
    const openAll = (open) => {
      for (const one of cases.values()) if (!one.hidden) one.open = open;
    };
    document.getElementById("page-open").addEventListener("click", () => openAll(true));
    document.getElementById("page-close").addEventListener("click", () => openAll(false));
    controls.hidden = false;
    show();
  }

  window.addEventListener("hashchange", goToHash);
  window.addEventListener("load", goToHash); // after the browser's own way there, which takes the focus
})();
