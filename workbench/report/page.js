// What a report page does beyond being read: sort each table, filter the whole page, save each figure. The page is whole
// without it. No library: itables' offline bundle (DataTables) weighs 726 kB a page, more than all tables of a report, and
// neither hides a generator's marks inside figures nor keeps a filter across tables. Texts enter as text, never as HTML.
(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const make = (tag, set = {}, ...inside) => {
    const element = Object.assign(document.createElement(tag), set);
    element.append(...inside);
    return element;
  };

  // Sorting: a head's button goes through ascending, descending and the page's own order. What has no value stays last.
  const value = (cell) => {
    const marked = cell.querySelector("[data-v]");
    const shown = [...cell.childNodes].filter((node) => node.nodeName !== "SMALL").map((node) => node.textContent);
    const text = marked ? marked.dataset.v : shown.join("").trim();
    if (!text || text === "–" || cell.querySelector(":scope > .none")) return null;
    const number = text.replace(/[,+]|^below /g, "").replace(/^−/, "-").match(/^-?\d+(\.\d+)?(?![\d.]*[\p{L}=])/u);
    return number ? Number(number[0]) : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  const sort = (table, column, head) => {
    table.order ??= [...table.tBodies[0].rows];
    const next = { none: "ascending", ascending: "descending", descending: "none" }[head.ariaSort];
    all("thead th", table).forEach((other) => { other.ariaSort = other === head ? next : "none"; });
    const [keyed, sign] = [table.order.map((row) => [value(row.cells[column]), row]), next === "descending" ? -1 : 1];
    if (next !== "none") keyed.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
    table.tBodies[0].append(...keyed.map(([, row]) => row));
  };
  for (const table of all("table")) {
    if (!table.tHead || !table.tBodies.length || table.tBodies[0].rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.append(make("button", { className: "sort", onclick: () => sort(table, column, head) }, ...head.childNodes));
      head.ariaSort = "none";
    });
  }

  // Figures: a link that saves what is shown; a hidden generator's marks carry its id inside the SVG and are dimmed there.
  const figures = all("figure img[src^='data:image/svg+xml;base64,']").map((image) => {
    const name = image.dataset.file || "figure.svg";
    const link = make("a", { className: "save", download: name, href: image.src, ariaLabel: `Save figure ${name}` }, "SVG");
    image.closest("figure").querySelector("figcaption").append(link);
    return { image, link, source: image.src };
  });
  const dim = ({ image, link, source }, hidden) => {
    const style = `<style>${[...hidden].map((id) => `#${id}`).join()}{opacity:.07}</style></svg>`;
    const [start, data] = source.split(",");
    image.src = link.href = hidden.size ? `${start},${btoa(atob(data).replace(/<\/svg>\s*$/, style))}` : source;
  };

  // Printing: tables too wide for a page are set as several, each with the first column; gone again afterwards.
  addEventListener("beforeprint", () => all(".scores:has(thead th:nth-child(13))").forEach((box) => {
    box.classList.add("whole");
    const shown = [...box.querySelector("tr").cells].flatMap((head, at) => at && !head.classList.contains("no-m") ? [at] : []);
    for (let from = shown.length - 1 - ((shown.length - 1) % 10); from >= 0; from -= 10) {
      const [part, keep] = [box.cloneNode(true), new Set([0, ...shown.slice(from, from + 10)])];
      all("tr", part).forEach((row) => [...row.cells].forEach((cell, at) => keep.has(at) || cell.remove()));
      part.classList.replace("whole", "split");
      box.after(part);
    }
  }));
  addEventListener("afterprint", () => {
    all(".split").forEach((part) => part.remove());
    all(".whole").forEach((box) => box.classList.remove("whole"));
  });

  // Filters. Each of the three hides by a class of its own, so that they can be combined.
  const labels = new Map(all("[data-g]").map((element) => [element.dataset.g, element.textContent]));
  const texts = (query) => [...new Set(all(query).map((element) => element.textContent))];
  if (labels.size < 2) return;
  let [hidden, wanted, shown] = [new Set(), "", ""];
  const byGenerator = () => {
    all("tbody tr, details").forEach((element) => element.classList.toggle("no-g",
      all(":scope > :is(th, summary) [data-g]", element).some((name) => hidden.has(name.dataset.g))));
    figures.forEach((figure) => dim(figure, hidden));
  };
  const byMetric = () => {
    all("[data-m]").forEach((element) => {
      const out = !element.textContent.toLowerCase().includes(wanted);
      const place = element.closest("thead th, figure, caption, summary");
      if (place?.tagName !== "TH") return place?.closest("figure, .table, details").classList.toggle("no-m", out);
      all("tr", place.closest("table")).forEach((row) => row.cells[place.cellIndex]?.classList.toggle("no-m", out));
    });
    all(".family + .cards").forEach((cards) =>
      cards.previousElementSibling.classList.toggle("no-m", !cards.querySelector("figure:not(.no-m)")));
  };
  const byDataset = () => all("h3[data-d]").forEach((head) => {
    let element = head;
    do element.classList.toggle("no-d", shown !== "" && head.dataset.d !== shown);
    while ((element = element.nextElementSibling) && element.tagName !== "H3");
  });
  const told = make("span", { role: "status" });
  const apply = (...filters) => {
    filters.forEach((filter) => filter());
    const generators = `${labels.size - hidden.size} of ${labels.size} generators`;
    told.textContent = [generators, wanted && `metrics like “${wanted}”`, shown].filter(Boolean).join(" · ");
  };
  const boxes = [...labels].map(([id, text]) => {
    const box = make("input", { type: "checkbox", checked: true, value: id });
    box.onchange = () => { hidden[box.checked ? "delete" : "add"](id); apply(byGenerator); };
    return [box, make("label", {}, box, make("bdi", { title: text }, text))];
  });
  const every = (checked) => make("button", { type: "button", onclick: () => {
    boxes.forEach(([box]) => { box.checked = checked; hidden[checked ? "delete" : "add"](box.value); });
    apply(byGenerator);
  } }, checked ? "All" : "None");
  const search = make("input", { type: "search", placeholder: "any part of its name",
    oninput: () => { wanted = search.value.trim().toLowerCase(); apply(byMetric); } });
  search.setAttribute("list", "metrics");
  const choice = make("select", { onchange: () => { shown = choice.value; apply(byDataset); } },
    make("option", { value: "" }, "all"), ...texts("h3[data-d]").map((name) => make("option", { value: name }, name)));
  const panel = make("details", { className: "filter" }, make("summary", {}, "Filter: ", told),
    make("div", {}, make("label", {}, "Metric ", search),
      make("datalist", { id: "metrics" }, ...texts("[data-m]").map((value) => make("option", { value }))),
      ...(choice.length > 2 ? [make("label", {}, "Dataset ", choice)] : [])),
    make("fieldset", {}, make("legend", {}, "Generators "), every(true), every(false), ...boxes.map(([, label]) => label)));
  (document.querySelector("nav") ?? document.querySelector("h1")).after(panel);
  apply();
})();
