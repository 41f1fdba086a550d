// SPDX-License-Identifier: MIT
// One node: state, memory as one stacked bar, CPU, GPU and tokens a second as lines of a minute, its hosts with what they
// take, progress, slots and queue.
import { hostActions, nodeActions } from "./actions.js";
import { listOf } from "./api.js";
import { bytes, count, line, pace, percent, span } from "./format.js";
import { bytesOfHost, HOST_PARTS, memoryOf } from "./memory.js";
import { isStale, MINUTE_MS } from "./model.js";
import { h } from "./view.js";

const SLOTS_DRAWN = 32;
const ON_ITS_WAY = ["fetching", "loading", "warming"];

const badge = (kind, text) => h("span", { class: `badge badge-${kind}` }, text);
const swatch = (kind, tone) => h("span", { class: `swatch part-${kind} tone-${tone ?? 0}`, "aria-hidden": "true" });

function stateOf(node, stale) {
  if (!node.seen) return badge("bad", "never seen");
  if (node.health === "down") return badge("bad", "down");
  if (node.health === "suspect") return badge("warn", "suspect");
  if (stale) return badge("warn", "stale");
  if (node.drained) return badge("warn", "drained");
  if (node.draining) return badge("warn", "draining");
  return badge("good", "up");
}

// ---- memory ----

function memory(node) {
  const m = memoryOf(node);
  if (!m.whole) return h("p", { class: "empty memory" }, "No figures of its memory yet.");
  const width = (n) => `${((100 * n) / m.whole).toFixed(3)}%`;
  const shown = m.parts.filter((p) => p.bytes > 0);
  const said = shown.map((p) => `${line(p.name, 80)} ${bytes(p.bytes)}`).join(", ");
  const sum = (kind) => m.parts.find((p) => p.kind === kind).bytes;
  const key = (kind, name, n) => h("li", { key: kind }, h("span", { class: `swatch part-${kind}`, "aria-hidden": "true" }), h("span", { class: "label" }, name), h("span", { class: "n" }, bytes(n)));
  return h("div", { class: "memory" },
    h("div", { class: "bar", role: "img", "aria-label": `Memory, ${bytes(m.whole)}: ${said}. Budget ${bytes(m.budget)}, forecast ${bytes(m.committed)}.` },
      shown.map((p) => h("span", { key: `${p.kind}-${p.role ?? ""}`, class: `part part-${p.kind} tone-${p.tone ?? 0}`, title: `${line(p.name, 80)} ${bytes(p.bytes)}`, style: { width: width(p.bytes) }, "data-kind": p.kind, "data-role": p.role === undefined ? null : line(p.role, 64), "data-bytes": p.bytes })),
      m.budget > 0 ? h("span", { key: "=budget", class: "mark mark-budget", style: { left: width(Math.min(m.budget, m.whole)) }, "data-bytes": m.budget }) : null,
      m.committed > 0 ? h("span", { key: "=committed", class: "mark mark-forecast", style: { left: width(Math.min(m.committed, m.whole)) }, "data-bytes": m.committed }) : null),
    h("ul", { class: "legend" }, key("free", "free", sum("free")), key("reserve", "reserve", m.reserve), key("others", "others", sum("others")), key("budget", "budget", m.budget), key("forecast", "forecast", m.committed)));
}

// ---- a minute of CPU, GPU, tokens ----

function spark(name, points, of, { show, top, now }) {
  const values = points.map(of);
  const last = now ?? values.at(-1);
  const known = values.filter(Number.isFinite);
  const most = Math.max(...known, 0);
  const scale = top || most || 1;
  const x = (i) => (100 - (100 * (points.at(-1).at - points[i].at)) / MINUTE_MS).toFixed(1);
  const y = (v) => (22 - (20 * Math.min(v, scale)) / scale).toFixed(1);
  let pen = "M";
  const path = values.map((v, i) => {
    if (!Number.isFinite(v)) {
      pen = "M";
      return "";
    }
    const step = `${pen}${x(i)} ${y(v)}`;
    pen = "L";
    return step;
  }).join("");
  const text = Number.isFinite(last) ? show(last) : "–";
  return h("div", { class: "spark", key: name }, h("span", { class: "label" }, name), h("span", { class: "n" }, text),
    h("svg", { viewBox: "0 0 100 24", preserveAspectRatio: "none", role: "img", "aria-label": `${name} in the last minute: now ${text === "–" ? "not known" : text}${known.length ? `, at most ${show(most)}` : ""}` }, h("path", { class: "floor", d: "M0 23L100 23" }), h("path", { d: path || "M0 23" })));
}

function sparks(node, model) {
  const points = model.rates.get(node.name) || [];
  const part = { show: (n) => percent(n / 100), top: 100 };
  return h("div", { class: "sparks" }, spark("CPU", points, (p) => p.cpu, { ...part, now: node.cpu_percent }), spark("GPU", points, (p) => p.gpu, { ...part, now: node.gpu_percent }),
    spark("tokens in/s", points, (p) => p.in, { show: pace, now: node.tokens_in_per_s }), spark("tokens out/s", points, (p) => p.out, { show: pace, now: node.tokens_out_per_s }));
}

// ---- hosts ----

function slots(host) {
  const states = (Array.isArray(host.slots) ? host.slots : []).map((s) => (["prefill", "decode"].includes(s) ? s : "idle"));
  if (!states.length) return null;
  const many = (s) => states.filter((t) => t === s).length;
  const said = `${states.length - many("idle")} of ${states.length} slots busy${many("prefill") ? `, ${many("prefill")} in prefill` : ""}${many("decode") ? `, ${many("decode")} in decode` : ""}`;
  return h("span", { class: "slots", role: "img", "aria-label": said, title: said },
    states.slice(0, SLOTS_DRAWN).map((s, i) => h("span", { key: i, class: `dot dot-${s}` })), states.length > SLOTS_DRAWN ? `+${states.length - SLOTS_DRAWN}` : null);
}

function hostBadge(host, stale) {
  if (stale) return badge("idle", `was ${line(host.state, 20)}`);
  if (host.state === "failed") return badge("bad", "failed");
  if (host.closed && ["ready", "busy"].includes(host.state)) return badge("warn", host.wanted === "drained" ? "drained" : "draining");
  if (host.health !== "up" || !["ready", "busy"].includes(host.state)) return badge("warn", line(host.state, 20));
  return badge("good", line(host.state, 20));
}

// One line of always the same height: what it runs at, or how far it is.
function pulse(host) {
  if (ON_ITS_WAY.includes(host.state)) {
    const eta = host.eta_ms > 0 ? `, ${span(host.eta_ms)} left` : "";
    return h("div", { class: "pulse progress", key: "way" }, h("progress", { max: "1", value: String(host.progress ?? 0), "aria-label": `${line(host.role, 64)}: ${host.state}` }), h("span", { class: "n" }, `${percent(host.progress)}${eta}`));
  }
  return h("div", { class: "pulse", key: "pulse" }, h("span", { class: "model", title: line(host.model, 120) }, line(host.model, 120)),
    h("span", { class: "n" }, host.decode_tps > 0 ? `${pace(host.prefill_tps)} in, ${pace(host.decode_tps)} out tokens/s` : "no speed measured yet"));
}

function takes(host, tone) {
  return h("dl", { class: "takes" }, HOST_PARTS.map(([kind, name, of]) => h("div", { key: kind }, h("dt", null, swatch(kind, tone), name), h("dd", { class: "n" }, bytes(of(host) || 0)))));
}

function hostRow(host, tone, stale, model, redraw) {
  const error = host.last_error;
  const id = `act-${host.role}@${host.node}`;
  const kept = host.wanted === "loaded" ? h("span", { class: "wish" }, "kept") : null;
  const restarts = host.restarts > 0 ? h("span", { class: "wish" }, `${count(host.restarts)} restarts`) : null;
  return h("li", { class: "host", key: host.role },
    h("div", { class: "line" }, swatch("weights", tone), h("strong", null, line(host.role, 64)), hostBadge(host, stale), kept, restarts, h("span", { class: "gap" }),
      host.queue > 0 ? h("span", { class: "queue" }, `${count(host.queue)} queued`) : null, slots(host),
      h("span", { class: "all n", title: `${bytes(bytesOfHost(host))} count for it; its process holds ${bytes(host.rss_bytes)}` }, bytes(bytesOfHost(host))),
      model.session.acts ? h("button", { type: "button", id, class: "quiet more", "aria-label": `Actions for ${line(host.role, 64)} on ${line(host.node, 64)}`, on: { click: () => hostActions(host, redraw) } }, "⋯") : null),
    pulse(host), takes(host, tone),
    host.notice ? h("p", { class: "notice" }, line(host.notice, 400)) : null,
    error && host.state === "failed" ? h("p", { class: "fault" }, line(`${error.cause}: ${error.text}`, 400), host.retry_ms > 0 ? `. Tried again in ${span(host.retry_ms)}.` : "") : null);
}

// ---- the card ----

// Two lines, whatever is in them: how it is reached, and how it is.
function facts(node, model, stale) {
  const silent = (node.silent_ms || 0) + (Date.now() - model.at);
  const m = node.memory || {};
  const fact = (text, kind) => (text ? h("span", { class: kind || null }, text) : null);
  const rtt = Number.isFinite(node.rtt_ms) ? `${node.rtt_ms < 10 ? node.rtt_ms.toFixed(1) : Math.round(node.rtt_ms)} ms` : null;
  return [
    h("p", { class: "facts one", key: "where" }, fact(node.host ? `${line(node.host, 80)}:${node.port}` : "no address"), fact(node.path ? line(node.path, 40) : null), fact(rtt)),
    h("p", { class: "facts one", key: "how" }, fact(line(node.version, 40)), stale ? (node.seen ? fact(`last heard ${span(silent)} ago`, "fault") : null) : fact(`up ${span(node.uptime_ms)}`),
      fact(m.vram_total > 0 ? `VRAM ${bytes(m.vram_used)} of ${bytes(m.vram_total)}` : null), fact(m.swap_used > 0 ? `${bytes(m.swap_used)} swapped` : null), fact(m.pressure > 0 ? `memory pressure ${m.pressure.toFixed(1)} %` : null)),
  ];
}

export function nodeCard(node, model, redraw) {
  const stale = isStale(node, Date.now(), model.at);
  const hosts = listOf(node, "hosts");
  const id = `node-${node.name}`;
  return h("article", { class: stale ? "card stale" : "card", key: node.name, "data-node": line(node.name, 64), "aria-labelledby": id },
    h("div", { class: "line" }, h("h3", { id }, line(node.name, 64)), stateOf(node, stale), h("span", { class: "gap" }),
      model.session.acts ? h("button", { type: "button", id: `act-${node.name}`, class: "quiet more", "aria-label": `Actions for node ${line(node.name, 64)}`, on: { click: () => nodeActions(node, model, redraw) } }, "⋯") : null),
    facts(node, model, stale),
    node.last_error && stale ? h("p", { class: "fault" }, line(node.last_error, 300)) : null,
    Array.isArray(node.unloaded) && node.unloaded.length ? h("p", { class: "where" }, `Kept off this node until somebody loads it here: ${node.unloaded.map((r) => line(r, 64)).join(", ")}`) : null,
    memory(node), sparks(node, model),
    hosts.length ? h("ul", { class: "hosts", "aria-label": `Hosts on ${line(node.name, 64)}` }, hosts.map((x, i) => hostRow(x, i, stale, model, redraw))) : h("p", { class: "empty" }, "Nothing is loaded here."));
}
