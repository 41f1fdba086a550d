// SPDX-License-Identifier: MIT
// One node: state, memory as one stacked bar, tokens a second, its hosts with progress, slots and queue.
import { listOf } from "./data.js";
import { bytes, count, line, pace, percent, span } from "./format.js";
import { HISTORY, isStale, memoryOf } from "./model.js";
import { h } from "./view.js";

const SLOTS_DRAWN = 32;

function badge(kind, text) {
  return h("span", { class: `badge badge-${kind}` }, text);
}

function stateOf(node, stale) {
  if (!node.seen) return badge("bad", "never seen");
  if (node.health === "down") return badge("bad", "down");
  if (node.health === "suspect") return badge("warn", "suspect");
  if (stale) return badge("warn", "stale");
  if (node.draining) return badge("warn", "draining");
  return badge("good", "up");
}

// Parts smaller than a hair are drawn as one: what is shown beside them says how much it is.
function memory(node) {
  const m = memoryOf(node);
  if (!m.whole) return h("p", { class: "empty" }, "No figures of its memory yet.");
  const width = (n) => `${((100 * n) / m.whole).toFixed(3)}%`;
  const shown = m.parts.filter((p) => p.bytes > 0);
  const said = shown.map((p) => `${line(p.name, 64)} ${bytes(p.bytes)}`).join(", ");
  return h("div", { class: "memory" },
    h("div", { class: "bar", role: "img", "aria-label": `Memory, ${bytes(m.whole)}: ${said}. Budget ${bytes(m.budget)}, committed ${bytes(m.committed)}.` },
      shown.map((p, i) => h("span", { key: `${p.kind}-${p.name}-${i}`, class: `part part-${p.kind} tone-${p.tone ?? 0}`, style: { width: width(p.bytes) }, "data-kind": p.kind, "data-name": line(p.name, 64), "data-bytes": p.bytes })),
      m.budget > 0 ? h("span", { key: "budget", class: "mark mark-budget", style: { left: width(Math.min(m.budget, m.whole)) }, "data-bytes": m.budget }) : null,
      m.committed > 0 ? h("span", { key: "committed", class: "mark mark-forecast", style: { left: width(Math.min(m.committed, m.whole)) }, "data-bytes": m.committed }) : null),
    h("ul", { class: "legend" }, shown.map((p, i) => h("li", { key: `${p.kind}-${p.name}-${i}` }, h("span", { class: `swatch part-${p.kind} tone-${p.tone ?? 0}`, "aria-hidden": "true" }), h("span", { class: "label" }, line(p.name, 64)), h("span", { class: "n" }, bytes(p.bytes)))),
      h("li", { key: "=budget" }, h("span", { class: "swatch line-budget", "aria-hidden": "true" }), h("span", { class: "label" }, "budget"), h("span", { class: "n" }, bytes(m.budget))),
      h("li", { key: "=committed" }, h("span", { class: "swatch line-forecast", "aria-hidden": "true" }), h("span", { class: "label" }, "forecast"), h("span", { class: "n" }, bytes(m.committed)))));
}

function spark(name, points, of) {
  const values = points.map(of);
  const now = values.at(-1) ?? 0;
  const most = Math.max(...values, 0);
  const x = (i) => (HISTORY - values.length + i) * (100 / (HISTORY - 1));
  const y = (v) => 22 - (most > 0 ? (20 * v) / most : 0);
  const path = values.length > 1 ? values.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join("") : "M0 22L100 22";
  return h("div", { class: "spark" },
    h("span", { class: "label" }, `tokens/s ${name}`), h("span", { class: "n" }, pace(now)),
    h("svg", { viewBox: "0 0 100 24", preserveAspectRatio: "none", role: "img", "aria-label": `Tokens a second ${name} in the last minute: now ${pace(now)}, at most ${pace(most)}` }, h("path", { d: path })));
}

function slots(host) {
  const list = Array.isArray(host.slots) ? host.slots.map((s) => s?.state || "idle") : null;
  const total = host.slots_total || 0, busy = Math.min(host.slots_busy || 0, total);
  const states = list || Array.from({ length: total }, (_, i) => (i < busy ? "busy" : "idle"));
  if (!states.length) return null;
  const dot = (s) => ({ idle: "idle", prefill: "prefill", decode: "decode" })[s] || "busy";
  return h("span", { class: "slots", role: "img", "aria-label": `${busy} of ${total} slots busy`, title: `${busy} of ${total} slots busy` },
    states.slice(0, SLOTS_DRAWN).map((s, i) => h("span", { key: i, class: `dot dot-${dot(s)}` })), states.length > SLOTS_DRAWN ? `+${states.length - SLOTS_DRAWN}` : null);
}

const ON_ITS_WAY = ["fetching", "loading", "warming"];

function progress(host) {
  if (!ON_ITS_WAY.includes(host.state)) return null;
  const eta = host.eta_ms > 0 ? `, ${span(host.eta_ms)} left` : "";
  return h("div", { class: "progress" }, h("progress", { max: "1", value: String(host.progress ?? 0), "aria-label": `${line(host.role, 64)}: ${host.state}` }), h("span", null, `${percent(host.progress)}${eta}`));
}

function hostBadge(host, stale) {
  if (stale) return badge("idle", `was ${line(host.state, 20)}`);
  const kind = host.state === "failed" ? "bad" : host.health !== "up" ? "warn" : ["ready", "busy"].includes(host.state) ? (host.closed ? "warn" : "good") : "warn";
  return badge(kind, host.closed && host.state !== "failed" ? "draining" : line(host.state, 20));
}

function hostRow(host, tone, stale) {
  const error = host.last_error;
  return h("li", { class: "host", key: host.role },
    h("div", { class: "line" }, h("span", { class: `swatch part-host tone-${tone % 6}`, "aria-hidden": "true" }), h("strong", null, line(host.role, 64)), hostBadge(host, stale), slots(host),
      host.queue > 0 ? h("span", { class: "queue" }, `${count(host.queue)} queued`) : null),
    h("div", { class: "facts" }, h("span", { class: "model" }, line(host.model, 120)), h("span", null, `KV ${count(host.kv_used)} of ${count(host.kv_total)}`),
      h("span", null, `${pace(host.prefill_tps)} in, ${pace(host.decode_tps)} out/s`), h("span", null, `${bytes(host.rss_bytes)} of ${bytes(host.forecast_bytes)}`),
      host.restarts > 0 ? h("span", null, `${count(host.restarts)} restarts`) : null),
    progress(host),
    host.notice ? h("p", { class: "notice" }, line(host.notice, 400)) : null,
    error && host.state === "failed" ? h("p", { class: "fault" }, line(`${error.cause}: ${error.text}`, 400)) : null);
}

function facts(node, model, stale) {
  const silent = (node.silent_ms || 0) + (Date.now() - model.at);
  const swap = node.memory?.swap_used > 0 ? `, ${bytes(node.memory.swap_used)} swapped` : "";
  return h("p", { class: "facts" },
    h("span", null, node.host ? `${line(node.host, 80)}:${node.port}` : "no address"),
    Number.isFinite(node.rtt_ms) ? h("span", null, `${node.rtt_ms.toFixed(1)} ms`) : null, node.path ? h("span", null, line(node.path, 40)) : null,
    node.seen && !stale ? h("span", null, `up ${span(node.uptime_ms)}`) : null, node.seen && stale ? h("span", { class: "fault" }, `last heard ${span(silent)} ago`) : null,
    Number.isFinite(node.cpu) ? h("span", null, `CPU ${percent(node.cpu)}`) : null,
    node.memory?.vram_total > 0 ? h("span", null, `GPU memory ${bytes(node.memory.vram_used)} of ${bytes(node.memory.vram_total)}`) : null,
    node.memory?.pressure > 0 || swap ? h("span", null, `memory pressure ${(node.memory.pressure || 0).toFixed(1)} %${swap}`) : null,
    node.version ? h("span", null, line(node.version, 40)) : null);
}

export function nodeCard(node, model) {
  const stale = isStale(node, Date.now(), model.at);
  const hosts = listOf(node, "hosts");
  const points = model.rates.get(node.name)?.points || [];
  const id = `node-${node.name}`;
  return h("article", { class: stale ? "card stale" : "card", key: node.name, "data-node": node.name, "aria-labelledby": id },
    h("h3", { id }, line(node.name, 64), " ", stateOf(node, stale)),
    facts(node, model, stale),
    node.last_error && stale ? h("p", { class: "fault" }, line(node.last_error, 300)) : null,
    memory(node),
    h("div", { class: "sparks" }, spark("in", points, (p) => p.in), spark("out", points, (p) => p.out)),
    hosts.length ? h("ul", { class: "hosts", "aria-label": `Hosts on ${line(node.name, 64)}` }, hosts.map((x, i) => hostRow(x, i, stale))) : h("p", { class: "empty" }, "Nothing is loaded here."));
}
