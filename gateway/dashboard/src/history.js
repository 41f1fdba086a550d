// SPDX-License-Identifier: MIT
// Charts of the last hour, day and month, drawn by uPlot from /api/v1/history. Loaded when they are first looked at. Each
// chart is a slider too: the arrow keys move through its times, and what it shows there is said and stands in its table.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { ask, listOf } from "./api.js";
import { bytes, clock, count, line, moment, pace, percent, span } from "./format.js";
import { h } from "./view.js";

const RANGES = [["1h", "1 hour"], ["24h", "24 hours"], ["30d", "30 days"]];
const CHARTS = [["requests", "Requests"], ["errors", "Errors"], ["ttft_ms", "Time to first token"], ["queue_ms", "Wait for a host"], ["tokens_in", "Tokens in"], ["tokens_out", "Tokens out"],
  ["memory_committed", "Memory committed"], ["memory_used", "Memory used"], ["slots_busy", "Slots busy"], ["cpu_percent", "CPU"], ["gpu_percent", "GPU"]];
const REFRESH_MS = 60000;
const LINES = 6; // of one chart
const HEIGHT = 150;

const OF_REQUESTS = ["requests", "errors", "tokens_in", "tokens_out"]; // sums, which can be told apart by role
const PERCENTILES = ["ttft_ms", "queue_ms"]; // of all roles together, else there are too many lines

const shown = { range: "1h", of: "by=role", at: new Map(), redraw: () => {} };
const data = new Map(); // metric -> {body, error, busy, asked, query}
const plots = new WeakMap(); // element -> {u, key}

// ---- figures ----

function showOf(unit) {
  if (unit === "bytes") return bytes;
  if (unit === "ms") return span;
  if (unit === "percent") return (n) => percent(n / 100);
  return (n) => (n < 10 && n % 1 ? pace(n) : count(n));
}

const BINARY = Array.from({ length: 60 }, (_, i) => 2 ** i); // steps of an axis of bytes
const stepText = (s) => (s >= 3600 ? `${s / 3600} h` : `${s / 60} min`);
const known = (values) => values.filter(Number.isFinite);

// The busiest lines, named: what all of them share needs no name.
function linesOf(body) {
  const series = listOf(body, "series").map((s) => ({ ...s, values: (Array.isArray(s.points) ? s.points : []).map((p) => (Number.isFinite(p?.[1]) ? p[1] : null)) }));
  const stats = new Set(series.map((s) => s.stat));
  const weight = (s) => known(s.values).reduce((a, b) => a + b, 0);
  const name = (s) => [s.role === null || s.role === undefined ? null : line(s.role, 64), s.node === null || s.node === undefined ? null : line(s.node, 64), stats.size > 1 ? line(s.stat, 10) : null].filter(Boolean).join(" ") || "all";
  return series.map((s) => ({ ...s, name: name(s), weight: weight(s) })).sort((a, b) => b.weight - a.weight).slice(0, LINES).sort((a, b) => (a.name < b.name ? -1 : 1));
}

// What a chart asks for; null: there is no such figure. Metrics of nodes come by node, and of a role only its slots.
function queryOf(metric) {
  const [what, name] = [shown.of.slice(0, shown.of.indexOf("=")), shown.of.slice(shown.of.indexOf("=") + 1)];
  const query = `metric=${metric}&range=${shown.range}`;
  const sampled = !OF_REQUESTS.includes(metric) && !PERCENTILES.includes(metric);
  if (what === "role" && sampled && metric !== "slots_busy") return null;
  if (what !== "by") return `${query}&${what}=${encodeURIComponent(name)}`;
  return OF_REQUESTS.includes(metric) ? `${query}&by=${name}` : query;
}

async function look(metric) {
  const query = queryOf(metric);
  const d = data.get(metric) || { body: null, error: "", asked: 0 };
  data.set(metric, d);
  if (query === null || d.busy || (d.query === query && Date.now() - d.asked < REFRESH_MS)) return;
  Object.assign(d, { busy: true, asked: Date.now(), query });
  try {
    d.body = await ask(`/api/v1/history?${query}`);
    d.error = "";
  } catch (error) {
    d.body = null;
    d.error = error.message;
  }
  d.busy = false;
  shown.redraw();
}

// ---- a chart ----

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A value between gaps makes no line: it is drawn as a dot.
function alone(u, i) {
  const values = u.data[i];
  const at = values.map((v, k) => (v !== null && (values[k - 1] ?? null) === null && (values[k + 1] ?? null) === null ? k : -1)).filter((k) => k >= 0);
  return at.length ? at : null;
}

function optionsOf(el, metric, lines, unit, range) {
  const show = showOf(unit);
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const time = (u, ticks) => ticks.map((t) => (range === "30d" ? new Date(t * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short" }) : clock(new Date(t * 1000)).slice(0, 5)));
  return {
    width: Math.max(120, el.clientWidth), height: HEIGHT, legend: { show: false }, padding: [8, 6, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 }, sync: { key: "history" } },
    scales: { x: { time: true }, y: { range: (u, min, max) => [0, max > 0 ? max * 1.08 : 1] } },
    axes: [{ ...axis, values: time, size: 24, space: 60 }, { ...axis, values: (u, ticks) => ticks.map((v) => (v === 0 ? "0" : show(v))), size: unit === "bytes" ? 66 : 54, space: 30, ...(unit === "bytes" ? { incrs: BINARY } : {}) }],
    series: [{}, ...lines.map((s, i) => ({ label: s.name, stroke: colour(`--t${i % 6}`), width: 1.5, spanGaps: false, dash: s.stat === "p95" ? [5, 3] : undefined, points: { size: 4, width: 0, fill: colour(`--t${i % 6}`), show: false, filter: alone } }))],
    hooks: { setCursor: [(u) => {
      if (shown.at.get(metric) === u.cursor.idx) return;
      shown.at.set(metric, u.cursor.idx ?? null);
      shown.redraw();
    }] },
  };
}

// Makes or updates the chart in el; a new one when its lines, its range or the colours changed.
function drawPlot(el, metric, body, lines) {
  const times = (listOf(body, "series")[0]?.points || []).map((p) => p[0]);
  const key = [shown.range, body.unit, matchMedia("(prefers-color-scheme: dark)").matches, ...lines.map((s) => s.name)].join("\n");
  const had = plots.get(el);
  if (had && had.key === key) {
    if (had.body !== body) had.u.setData([times, ...lines.map((s) => s.values)]);
    had.body = body;
    return;
  }
  had?.u.destroy();
  if (!had) new ResizeObserver(() => plots.get(el)?.u.setSize({ width: Math.max(120, el.clientWidth), height: HEIGHT })).observe(el);
  plots.set(el, { u: new uPlot(optionsOf(el, metric, lines, body.unit, shown.range), [times, ...lines.map((s) => s.values)], el), key, body });
}

function moveBy(e, metric, n) {
  const last = n - 1, at = shown.at.get(metric) ?? last;
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowDown: at - 1, ArrowUp: at + 1, PageDown: at - 10, PageUp: at + 10, Home: 0, End: last }[e.key];
  if (to === undefined) return;
  e.preventDefault();
  const u = plots.get(e.currentTarget)?.u;
  const idx = Math.max(0, Math.min(last, to));
  u?.setCursor({ left: u.valToPos(u.data[0][idx], "x"), top: 10 });
  shown.at.set(metric, idx);
  shown.redraw();
}

function chart(metric, title) {
  const d = data.get(metric) || {};
  const id = `chart-${metric}`;
  const about = (text) => h("article", { class: "card chart", key: metric, "aria-labelledby": id }, h("h3", { id }, title), text);
  if (d.error) return about(h("p", { class: "fault" }, line(d.error, 200)));
  if (!d.body) return about(h("p", { class: "empty" }, "Asking the gateway …"));
  const lines = linesOf(d.body), show = showOf(d.body.unit);
  const times = (listOf(d.body, "series")[0]?.points || []).map((p) => p[0]);
  if (!lines.some((s) => known(s.values).length)) return about(h("p", { class: "empty" }, "Nothing was recorded in this time."));
  const idx = Math.min(shown.at.get(metric) ?? times.length - 1, times.length - 1);
  const value = (v) => (Number.isFinite(v) ? show(v) : "–");
  const when = moment(new Date(times[idx] * 1000));
  const all = listOf(d.body, "series").length;
  return h("article", { class: "card chart", key: metric, "data-metric": metric, "aria-labelledby": id },
    h("div", { class: "line" }, h("h3", { id }, title), h("span", { class: "where" }, `per ${stepText(d.body.step_s)}`)),
    h("div", { class: "plot", key: "plot", tabindex: "0", role: "slider", "aria-label": `${title}: time`, "aria-valuemin": "0", "aria-valuemax": String(times.length - 1), "aria-valuenow": String(idx), "aria-valuetext": `${when}: ${lines.map((s) => `${s.name} ${value(s.values[idx])}`).join(", ")}`,
      on: { keydown: (e) => moveBy(e, metric, times.length) }, own: (el) => drawPlot(el, metric, d.body, lines) }),
    h("table", { class: "speeds", key: "table" }, h("thead", null, h("tr", null, h("th", { scope: "col" }, h("span", { class: "unseen" }, "Line")), [when, "mean", "most"].map((t) => h("th", { scope: "col", class: "r", key: t }, t)))),
      h("tbody", null, lines.map((s, i) => h("tr", { key: s.name }, h("th", { scope: "row" }, h("span", { class: `swatch part-weights tone-${i % 6}`, "aria-hidden": "true" }), " ", s.name), h("td", { class: "r n" }, value(s.values[idx])),
        h("td", { class: "r n" }, known(s.values).length ? show(known(s.values).reduce((a, b) => a + b, 0) / known(s.values).length) : "–"), h("td", { class: "r n" }, known(s.values).length ? show(Math.max(...known(s.values))) : "–"))))),
    all > LINES ? h("p", { class: "where" }, `The ${LINES} largest of ${count(all)}.`) : null);
}

/** What the view shows. */
export function historyKids(model, redraw) {
  shown.redraw = redraw;
  if (model.link === "live") for (const [metric] of CHARTS) look(metric);
  const pick = (what) => (e) => {
    shown[what] = e.target.value;
    shown.at.clear();
    redraw();
  };
  const option = (value, text) => h("option", { key: value, value, selected: shown.of === value }, text);
  const names = (list, what) => listOf(list, `${what}s`).map((x) => option(`${what}=${x.name}`, `only ${what} ${line(x.name, 64)}`));
  return [
    h("div", { class: "line filters", key: "filters" }, h("fieldset", { class: "segments" }, h("legend", { class: "unseen" }, "Time"), RANGES.map(([value, text]) => h("label", { key: value }, h("input", { type: "radio", name: "range", value, checked: value === "1h", on: { change: pick("range") } }), h("span", null, text)))),
      h("label", { for: "history-of" }, "Requests"), h("select", { id: "history-of", on: { change: pick("of") } }, option("by=role", "by role"), option("by=node", "by node"), option("by=none", "all together"), names(model.snapshot.nodes, "node"), names(model.snapshot.roles, "role"))),
    h("div", { class: "cards charts", key: "charts" }, CHARTS.filter(([metric]) => queryOf(metric) !== null).map(([metric, title]) => chart(metric, title))),
  ];
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown.redraw());
