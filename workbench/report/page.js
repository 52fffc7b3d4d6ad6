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

  // Sorting: a head's button puts the best first, then the worst, then restores the page's own order. Which end is best the head
  // says; a column that says nothing ascends. What has no value stays last.
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
    const best = head.querySelector("[data-best]")?.dataset.best;
    const [first, second] = best === "high" ? ["descending", "ascending"] : ["ascending", "descending"];
    const next = { none: first, [first]: second, [second]: "none" }[head.ariaSort];
    const read = (cell) => { const found = value(cell); return best === "near" && typeof found === "number" ? Math.abs(found) : found; };
    all("thead th", table).forEach((other) => { other.ariaSort = other === head ? next : "none"; });
    const [keyed, sign] = [table.order.map((row) => [read(row.cells[column]), row]), next === "descending" ? -1 : 1];
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

  // Figures: a link that saves what is shown. A hidden generator's marks carry its id inside the SVG; they go, and the lines
  // below them move up.
  const figures = all("figure img[src^='data:image/svg+xml;base64,']").map((image) => {
    const name = image.dataset.file || "figure.svg";
    const link = make("a", { className: "save", download: name, href: image.src, ariaLabel: `Save figure ${name}` }, "SVG");
    image.closest("figure").querySelector("figcaption").append(link);
    return { image, link, source: image.src };
  });
  const withdraw = ({ image, link, source }, hidden) => {
    const [start, data] = source.split(",");
    if (!hidden.size) { image.src = link.href = source; return; }
    const svg = atob(data);
    const pitch = svg.match(/data-pitch="([\d.]+)"/)?.[1];
    let [above, moved] = [0, ""];
    if (pitch) for (const [, id] of svg.matchAll(/<g id="(g\w+)">/g)) {
      if (hidden.has(id)) above += 1;
      else if (above) moved += `#${id}{transform:translateY(-${above * pitch}px)}`;
    }
    const style = `<style>${[...hidden].map((id) => `#${id}`).join()}{display:none}${moved}</style></svg>`;
    image.src = link.href = `${start},${btoa(svg.replace(/<\/svg>\s*$/, style))}`;
  };

  // Printing: tables too wide for a page are set as several, each with the first column; gone again afterwards.
  addEventListener("beforeprint", () => all(".scores:has(thead th:nth-child(13))").forEach((box) => {
    if (box.closest("details:not([open])")) return;
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

  // Filters. Each hides by a class of its own, so that they can be combined.
  const labels = new Map(all("[data-g]").map((element) => [element.dataset.g, element.textContent]));
  if (labels.size < 2) return;
  const facts = new Map(all("[data-g][data-family]").map((element) => [element.dataset.g, element.dataset]));
  let [unticked, hidden, wanted, shown] = [new Set(), new Set(), "", ""];
  const chosen = { family: "", private: "", uses: "" };
  const note = make("p", { className: "note", hidden: true }, "The sentences over all generators are left out while some are hidden.");
  const byGenerator = () => {
    const out = (id) => unticked.has(id) || Object.entries(chosen).some(([name, value]) =>
      value && !(facts.get(id)?.[name] ?? "").split(name === "uses" ? " " : "\n").includes(value));
    hidden = new Set([...labels.keys()].filter(out));
    all(":is(tbody, tfoot) > tr, details").forEach((element) => element.classList.toggle("no-g",
      all(":scope > :is(th, summary) [data-g]", element).some((name) => hidden.has(name.dataset.g))));
    all("[data-all]").forEach((element) => element.classList.toggle("no-g", hidden.size > 0));
    note.hidden = !hidden.size;
    figures.forEach((figure) => withdraw(figure, hidden));
  };
  const byMetric = () => {
    all("[data-m]").forEach((element) => {
      const out = !`${element.dataset.m} ${element.textContent}`.toLowerCase().includes(wanted);
      const place = element.closest("thead th, figure, caption, summary");
      if (place?.tagName !== "TH") return place?.closest("figure, .table, details").classList.toggle("no-m", out);
      all("tr", place.closest("table")).forEach((row) => row.cells[place.cellIndex]?.classList.toggle("no-m", out));
    });
    all(".family + .cards").forEach((cards) =>
      cards.previousElementSibling.classList.toggle("no-m", !cards.querySelector("figure:not(.no-m)")));
  };
  const byDataset = () => {
    all(".across").forEach((box) => box.classList.toggle("no-d", shown !== ""));
    all("h3[data-d]").forEach((head) => {
      let element = head;
      do {
        element.classList.toggle("no-d", shown !== "" && head.dataset.d !== shown);
        if (element.matches("details:has(> .board)")) element.open = head.dataset.d === shown;
      } while ((element = element.nextElementSibling) && element.tagName !== "H3");
    });
  };
  const told = make("span", { role: "status" });
  const apply = (...filters) => {
    filters.forEach((filter) => filter());
    const generators = `${labels.size - hidden.size} of ${labels.size} generators`;
    told.textContent = [generators, wanted && `metrics like “${wanted}”`, shown].filter(Boolean).join(" · ");
  };
  const boxes = [...labels].map(([id, text]) => {
    const box = make("input", { type: "checkbox", checked: true, value: id });
    box.onchange = () => { unticked[box.checked ? "delete" : "add"](id); apply(byGenerator); };
    return [box, make("label", {}, box, make("bdi", { title: text }, text))];
  });
  const every = (checked) => make("button", { type: "button", onclick: () => {
    boxes.forEach(([box]) => { box.checked = checked; unticked[checked ? "delete" : "add"](box.value); });
    apply(byGenerator);
  } }, checked ? "All" : "None");
  const search = make("input", { type: "search", placeholder: "any part of its name",
    oninput: () => { wanted = search.value.trim().toLowerCase(); apply(byMetric); } });
  search.setAttribute("list", "metrics");
  const select = (words, values, change) => {
    const choice = make("select", { onchange: () => change(choice.value) }, make("option", { value: "" }, "all"),
      ...values.map((name) => make("option", { value: name }, name)));
    return values.length > 1 ? [make("label", {}, words, choice)] : [];
  };
  const unique = (values) => [...new Set(values)];
  const known = (name) => unique([...facts.values()].flatMap((fact) => fact[name].split(name === "uses" ? " " : "\n"))).filter(Boolean);
  const byFact = (words, name) => select(words, known(name), (value) => { chosen[name] = value; apply(byGenerator); });
  const metrics = unique(all("[data-m]").map((element) => element.dataset.m));
  const panel = make("details", { className: "filter" }, make("summary", {}, "Filter: ", told),
    make("div", {}, make("label", {}, "Metric ", search),
      make("datalist", { id: "metrics" }, ...metrics.map((value) => make("option", { value }))),
      ...select("Dataset ", unique(all("h3[data-d]").map((head) => head.textContent)), (value) => { shown = value; apply(byDataset); }),
      ...byFact("Family ", "family"), ...byFact("Private ", "private"), ...byFact("Use shown ", "uses")),
    make("fieldset", {}, make("legend", {}, "Generators "), every(true), every(false), ...boxes.map(([, label]) => label)));
  const place = document.querySelector(".board")?.closest(".result") ?? document.querySelector("nav, h1");
  place[place.matches(".result") ? "before" : "after"](panel, note);
  // What a link leads to must not end up below the bar.
  new ResizeObserver(() => {
    document.documentElement.style.scrollPaddingTop = `${panel.offsetHeight + 12}px`;
  }).observe(panel);
  apply();
})();
