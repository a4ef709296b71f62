"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const shared = data.shared.map((text) => JSON.parse(text));
  const curve = ([steps, losses]) => losses.map((loss, i) => [shared[steps][i], loss]);
  data.cells = data.cells.map((values) => {
    const cell = Object.fromEntries(data.columns.map((key, i) => [key, values[i] === null ? undefined : values[i]]));
    cell.trials = cell.trials.map(([lr, status, ...rest]) => [lr, status, curve(rest)]);
    cell.losses = curve(cell.losses);
    return cell;
  });
  const by = (id) => document.getElementById(id);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const AXES = { ms: ["ms a step", 1], forwards: ["forwards of a run", 1], seconds: ["seconds of training", 1], bytes: ["peak memory, MiB", 1 / 1048576], share: ["parameters that may move, %", 100] };
  let section = data.sections[0];

  const config = () => {
    const ink = dark.matches ? "#e6edf3" : "#1f2328", line = dark.matches ? "#3d444d" : "#d1d9e0";
    return {
      background: "transparent", font: "system-ui, sans-serif",
      axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, labelLimit: 220 },
      legend: { labelColor: ink, titleColor: ink, labelLimit: 260, columns: innerWidth < 700 ? 1 : 3, orient: "bottom" },
      title: { color: ink }, view: { stroke: line }, text: { color: ink },
    };
  };
  const draw = (id, spec) => vegaEmbed("#" + id, { $schema: "", width: "container", ...spec, config: config() }, { actions: { export: true, source: false, compiled: false, editor: false }, renderer: "svg" })
    .catch((error) => console.error(id, error));
  const options = (select, pairs) => {
    select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
  };
  const colour = { field: "name", type: "nominal", title: null, scale: { scheme: "tableau20" } };

  function points() {
    const [title, scale] = AXES[by("axis").value], of = by("of").value;
    return section.rows.filter((row) => by("references").checked || !row.reference).map((row) => {
      const score = of === "" ? [row.average, row.half] : row.scores[of] || [null, null];
      const price = row[by("axis").value];
      if (score[0] === null || price === null) return null;
      const half = score[1] === null ? 0 : 100 * score[1];
      return { name: row.name, kind: row.reference ? "reference" : "method", price: scale * price, score: 100 * score[0], low: 100 * score[0] - half, high: 100 * score[0] + half, title };
    }).filter((one) => one !== null);
  }
  function front(found) {
    let best = -Infinity;
    return [...found].sort((a, b) => a.price - b.price || b.score - a.score).filter((one) => one.score > best && ((best = one.score), true));
  }
  function pareto() {
    const found = points(), title = AXES[by("axis").value][0];
    if (found.length === 0) { by("pareto").replaceChildren("No method has both a score and this price."); return; }
    const prices = found.map((one) => one.price), wide = Math.min(...prices) > 0 && Math.max(...prices) > 20 * Math.min(...prices);
    const x = { field: "price", type: "quantitative", title, scale: wide ? { type: "log" } : { zero: false } };
    const y = { type: "quantitative", title: "test, " + section.unit, scale: { zero: false } };
    const tooltip = ["name", "score", "low", "high", "price"].map((field) => ({ field, type: field === "name" ? "nominal" : "quantitative", format: field === "name" ? undefined : ".4g" }));
    const hue = found.length > 20 ? { ...colour, legend: null } : colour;
    draw("pareto", { height: 340, layer: [
      { data: { values: front(found) }, mark: { type: "line", interpolate: "step-after", strokeDash: [4, 3], color: "#888" }, encoding: { x, y: { ...y, field: "score" } } },
      { data: { values: found }, mark: { type: "rule", opacity: 0.9, strokeWidth: 1.5 }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color: hue } },
      { data: { values: found }, mark: { type: "point", filled: true, size: 80 }, encoding: { x, y: { ...y, field: "score" }, color: hue, shape: { field: "kind", type: "nominal", title: null, legend: null }, tooltip } },
    ] });
  }

  const cells = () => data.cells.filter((cell) => data.sections[cell.section] === section);
  function curves() {
    const which = by("which").value, sums = new Map();
    for (const cell of cells()) {
      if (cell.task !== by("task").value) continue;
      const trial = cell.trials.find((one) => one[0] === cell.lr);
      for (const [step, loss] of (which === "train" ? cell.losses : trial && trial[2]) || []) {
        const name = section.rows[cell.row].name, key = name + "\u0000" + step, one = sums.get(key) || { name, step, sum: 0, n: 0 };
        one.sum += loss; one.n += 1; sums.set(key, one);
      }
    }
    const values = [...sums.values()].map((one) => ({ name: one.name, step: one.step, loss: one.sum / one.n }));
    if (values.length === 0) { by("curves").replaceChildren(which === "train" ? "No log of training losses lies beside these records." : "No curves."); return; }
    const many = new Set(values.map((one) => one.name)).size > 20;
    draw("curves", { height: 300, data: { values }, mark: { type: "line", point: { size: 20 } }, encoding: {
      x: { field: "step", type: "quantitative", title: "step" }, y: { field: "loss", type: "quantitative", title: which + " loss", scale: { zero: false } },
      color: many ? { ...colour, legend: null } : colour, tooltip: [{ field: "name" }, { field: "step" }, { field: "loss", format: ".4g" }] } });
  }
  function layers() {
    by("heat").hidden = section.layers.length === 0;
    if (section.layers.length === 0) return;
    const values = section.layers.map((one) => ({ ...one, score: 100 * one.score, half: 100 * (one.half || 0) }));
    draw("layers", { data: { values }, mark: "rect", height: { step: 22 }, encoding: {
      x: { field: "block", type: "ordinal", title: "decoder block" }, y: { field: "task", type: "nominal", title: null }, row: { field: "method", type: "nominal", title: null },
      color: { field: "score", type: "quantitative", title: "test, " + section.unit, scale: { scheme: "viridis" } },
      tooltip: [{ field: "method" }, { field: "task" }, { field: "block" }, { field: "score", format: ".1f" }, { field: "half", title: "±", format: ".1f" }] }, width: { step: 28 } });
  }
  function grid() {
    const { names, cells: found } = section.grid;
    const values = found.flatMap(([a, b, better, same, worse]) => [[a, b, better, same, worse], [b, a, worse, same, better]]).map(([a, b, better, same, worse]) => ({ a: names[a], b: names[b], text: `${better}/${same}/${worse}`, net: better - worse }));
    if (values.length === 0) { by("grid").replaceChildren("Fewer than two methods can be compared: three seeds of each are needed."); return; }
    const encoding = { y: { field: "a", type: "nominal", sort: names, title: null }, x: { field: "b", type: "nominal", sort: names, title: null, axis: { labelAngle: -50, orient: "top" } } };
    const most = Math.max(1, ...values.map((one) => Math.abs(one.net)));
    draw("grid", { data: { values }, width: { step: 44 }, height: { step: 26 }, layer: [
      { mark: "rect", encoding: { ...encoding, color: { field: "net", type: "quantitative", title: "better less worse", scale: { scheme: "blueorange", domain: [-most, most], reverse: true }, legend: null }, tooltip: [{ field: "a", title: "method" }, { field: "b", title: "against" }, { field: "text", title: "better/same/worse" }] } },
      { mark: { type: "text", fontSize: 10 }, encoding: { ...encoding, text: { field: "text" }, color: { condition: { test: `abs(datum.net) > ${0.55 * most}`, value: "#fff" }, value: "#1f2328" } } },
    ] });
  }

  const fixed = (digits, scale = 1) => (cell) => (cell.getValue() === undefined ? "" : (scale * cell.getValue()).toFixed(digits));
  const text = { headerFilter: "input", headerFilterPlaceholder: "filter" };
  const number = { hozAlign: "right", sorter: "number", sorterParams: { alignEmptyValues: "bottom" } };
  const range = { ...number, headerFilter: "input", headerFilterPlaceholder: "≥", headerFilterFunc: (wanted, value) => { const x = parseFloat(String(wanted).replace(/^[<>≥≤=\s]+/, "")); return Number.isNaN(x) || (/^\s*[<≤]/.test(wanted) ? value <= x : value >= x); } };
  const lines = data.cells.map((cell, at) => {
    const of = data.sections[cell.section], row = of.rows[cell.row];
    return { at, model: of.model, task: cell.task, method: row.method, scope: row.scope, engine: cell.engine || "", seed: cell.seed, status: cell.status, budget: cell.forwards, score: cell.score === undefined ? undefined : 100 * cell.score, gain: cell.score === undefined || cell.zero === undefined ? undefined : 100 * (cell.score - cell.zero), ms: cell.ms, speedup: cell.speedup, memory: cell.bytes === undefined ? undefined : cell.bytes / 1048576, lr: cell.lr };
  });
  const table = new Tabulator("#table", {
    data: lines, height: Math.min(560, 110 + 30 * lines.length), index: "at", layout: "fitDataFill", placeholder: "No cell passes the filters",
    columns: [
      { title: "model", field: "model", ...text }, { title: "task", field: "task", ...text }, { title: "method", field: "method", ...text }, { title: "scope", field: "scope", ...text },
      { title: "test", field: "score", formatter: fixed(1), ...range }, { title: "gain", field: "gain", formatter: fixed(1), ...range },
      { title: "seed", field: "seed", ...number, ...text }, { title: "engine", field: "engine", ...text }, { title: "budget", field: "budget", ...range, headerTooltip: "forwards of training, all learning rates" },
      { title: "ms/step", field: "ms", formatter: fixed(1), ...range }, { title: "speed-up", field: "speedup", formatter: fixed(2), ...range }, { title: "MiB", field: "memory", formatter: fixed(0), ...range },
      { title: "lr", field: "lr", ...number }, { title: "status", field: "status", ...text },
    ].filter((column) => lines.some((line) => line[column.field] !== undefined && line[column.field] !== "")),
    rowFormatter: (row) => row.getElement().setAttribute("tabindex", "0"),
  });
  const counted = (rows) => { by("count").textContent = `${rows.length} of ${lines.length} cells`; };
  table.on("rowClick", (event, row) => detail(row.getData().at));
  table.on("dataFiltered", (filters, rows) => counted(rows));
  table.on("tableBuilt", () => {
    for (const head of document.querySelectorAll("#table .tabulator-col")) {
      const title = head.querySelector(".tabulator-col-title"), input = head.querySelector("input");
      if (input && title) input.setAttribute("aria-label", "filter " + title.textContent);
      if (title) { title.setAttribute("tabindex", "0"); title.setAttribute("role", "button"); }
    }
    counted(table.getRows("active"));
    document.body.dataset.ready = "1";
  });
  by("table").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    if (event.target.classList.contains("tabulator-col-title") || event.target.classList.contains("tabulator-row")) event.target.click();
  });
  by("clear").addEventListener("click", () => table.clearHeaderFilter());

  const percent = (cell, value) => (cell.percent ? (100 * value).toFixed(1) + " %" : value.toFixed(3) + " " + cell.metric);
  function detail(at) {
    const cell = data.cells[at], of = data.sections[cell.section], row = of.rows[cell.row], facts = [];
    by("detail").hidden = false;
    by("cell").textContent = `${cell.task}, ${row.name}, seed ${cell.seed}`;
    facts.push(["id", cell.id], ["status", cell.status + (cell.error ? ": " + cell.error : "")]);
    if (cell.score !== undefined) facts.push(["test", percent(cell, cell.score)], ["zero-shot", percent(cell, cell.zero)]);
    if (cell.dev !== undefined) facts.push(["dev", percent(cell, cell.dev)]);
    if (cell.lr !== undefined) facts.push(["chosen", `lr ${cell.lr} at step ${cell.step}`]);
    if (cell.layers.length > 0) facts.push(["blocks that moved", cell.layers.join(", ")]);
    if (cell.seconds !== undefined) facts.push(["seconds in all", cell.seconds]);
    if (cell.items) {
      facts.push(["test items", `${cell.items.n}: ${cell.items.won} made better than by zero-shot, ${cell.items.lost} made worse`]);
    }
    items(cell.items);
    by("facts").replaceChildren(...facts.flatMap(([name, value]) => { const dt = document.createElement("dt"), dd = document.createElement("dd"); dt.textContent = name; dd.textContent = value; return [dt, dd]; }));
    by("again").textContent = shared[cell.again].replace("{task}", () => cell.task).replace("{seed}", cell.seed);
    const pretty = (value) => JSON.stringify(value, null, 1);
    by("settings").textContent = pretty(shared[cell.settings]);
    by("environment").textContent = pretty(shared[cell.environment]);
    by("protocol").textContent = pretty(JSON.parse(of.protocol));
    const values = cell.trials.flatMap(([lr, status, curve]) => curve.map(([step, loss]) => ({ step, loss, name: `dev, lr ${lr}${status === "ok" ? "" : " (" + status + ")"}` })));
    values.push(...cell.losses.map(([step, loss]) => ({ step, loss, name: `training, lr ${cell.lr}` })));
    if (values.length === 0) by("trials").replaceChildren("Nothing was trained.");
    else draw("trials", { height: 240, data: { values }, mark: { type: "line", point: { size: 20 } }, encoding: { x: { field: "step", type: "quantitative" }, y: { field: "loss", type: "quantitative", scale: { zero: false } }, color: colour, tooltip: [{ field: "name" }, { field: "step" }, { field: "loss", format: ".4g" }] } });
    by("detail").scrollIntoView({ block: "start" });
    by("cell").focus({ preventScroll: true });
  }
  function items(found) {
    by("changed").hidden = !found || found.won + found.lost === 0;
    if (by("changed").hidden) return;
    const row = (tag, texts) => { const tr = document.createElement("tr"); tr.append(...texts.map((text) => { const td = document.createElement(tag); td.textContent = text; return td; })); return tr; };
    const lines = found.first.flat().map(([item, was, now, before, after]) => {
      const change = was === 0 && now === 1 ? "wrong, now right" : was === 1 && now === 0 ? "right, now wrong" : `${was}, now ${now}`;
      return row("td", ["#" + item, change, before ?? "not kept", after ?? "not kept"]);
    });
    by("changed-rows").replaceChildren(...lines);
    const shown = found.first[0].length + found.first[1].length, all = found.won + found.lost;
    by("changed-note").textContent = `${shown} of ${all} test items whose score tuning changed. An item is its number in test; its text is not kept.`;
  }
  by("copy").addEventListener("click", () => {
    const range = document.createRange(); range.selectNodeContents(by("again"));
    getSelection().removeAllRanges(); getSelection().addRange(range); document.execCommand("copy");
  });

  function show() {
    options(by("of"), [["", "average"], ...section.tasks.map((task) => [task, task])]);
    options(by("task"), section.tasks.map((task) => [task, task]));
    options(by("axis"), Object.entries(AXES).filter(([key]) => section.rows.some((row) => row[key] !== null)).map(([key, [title]]) => [key, title]));
    pareto(); curves(); layers(); grid();
  }
  options(by("section"), data.sections.map((one, at) => [at, one.title]));
  by("pick").hidden = data.sections.length < 2;
  by("section").addEventListener("change", () => { section = data.sections[by("section").value]; show(); });
  for (const id of ["axis", "of", "references"]) by(id).addEventListener("change", pareto);
  for (const id of ["task", "which"]) by(id).addEventListener("change", curves);
  dark.addEventListener("change", () => { pareto(); curves(); layers(); grid(); });
  show();
})();
