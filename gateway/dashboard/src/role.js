// SPDX-License-Identifier: MIT
// One role: its URL to copy, what to write into each editor, replicas, speeds, what is on its way.
import { listOf } from "./data.js";
import { bytes, count, line, pace, percent, span } from "./format.js";
import { EDITOR_NAMES, snippetOf, urlOf } from "./snippets.js";
import { h } from "./view.js";

const chosen = { editor: EDITOR_NAMES[0] }; // one choice for all roles
const copied = { id: "", until: 0 };

async function copy(id, text, redraw) {
  try {
    await navigator.clipboard.writeText(text);
    copied.id = id;
  } catch {
    copied.id = `!${id}`; // no permission, or not a secure page: the text can still be selected
    const node = document.getElementById(id);
    if (node) getSelection().selectAllChildren(node);
  }
  copied.until = Date.now() + 2500;
  redraw();
  setTimeout(redraw, 2600);
}

function copyButton(id, label, text, redraw) {
  const fresh = Date.now() < copied.until;
  const word = fresh && copied.id === id ? "Copied" : fresh && copied.id === `!${id}` ? "Selected" : "Copy";
  return h("button", { type: "button", class: "copy", "aria-label": word === "Copy" ? `Copy ${label}` : word, "data-for": id, on: { click: () => copy(id, text, redraw) } }, word);
}

function snippet(role, redraw) {
  const s = snippetOf(chosen.editor, role, location.origin);
  const id = `snippet-${role.name}`, pick = `editor-${role.name}`;
  return h("details", { class: "editors" }, h("summary", null, "In your editor"),
    h("div", { class: "line" }, h("label", { for: pick }, "Editor"),
      h("select", { id: pick, on: { change: (e) => ((chosen.editor = e.target.value), redraw()) } }, EDITOR_NAMES.map((n) => h("option", { key: n, value: n, selected: n === chosen.editor }, n))),
      copyButton(id, `the lines for ${s.name}`, s.text, redraw)),
    h("p", { class: "where" }, s.where), s.note ? h("p", { class: s.served ? "notice" : "notice unserved" }, s.note) : null,
    h("pre", { id, tabindex: "0", role: "group", "aria-label": `Lines for ${s.name}` }, h("code", null, s.text)));
}

const mean = (list, of) => {
  const values = list.map(of).filter((v) => v > 0);
  return values.length ? values.reduce((a, b) => a + b, 0) / values.length : 0;
};

function figure(label, value) {
  return h("div", { class: "figure", key: label }, h("dt", null, label), h("dd", null, value));
}

// A percentile table if the gateway has one: {p50, p95} or a number.
const percentiles = (p, show) => (p && typeof p === "object" ? Object.entries(p).slice(0, 4).map(([k, v]) => `${line(k, 8)} ${show(v)}`).join(", ") : show(p));

function figures(role) {
  const hosts = listOf(role, "hosts");
  const prompt = hosts.reduce((n, x) => n + (x.prompt_tokens || 0), 0), cached = hosts.reduce((n, x) => n + (x.cached_tokens || 0), 0);
  const hit = Number.isFinite(role.prefix_hit_rate) ? role.prefix_hit_rate : prompt > 0 ? cached / prompt : NaN;
  return h("dl", { class: "figures" },
    figure("replicas ready", `${count(role.hosts_ready)} of ${count(role.replicas)}`), figure("lane", line(role.lane, 20)), figure("residency", line(role.residency, 20)), figure("context", `${count(role.context)}`),
    figure("in flight", count(role.in_flight)), figure("waiting", role.waiting > 0 ? `${count(role.waiting)}, ${span(role.oldest_ms)}` : "0"),
    figure("prefill tokens/s", pace(mean(hosts, (x) => x.prefill_tps))), figure("decode tokens/s", pace(mean(hosts, (x) => x.decode_tps))),
    figure("prefix cache hits", Number.isFinite(hit) ? percent(hit) : "–"),
    role.ttft_ms !== undefined ? figure("first token", percentiles(role.ttft_ms, span)) : null, role.tps !== undefined ? figure("tokens/s", percentiles(role.tps, pace)) : null,
    role.errors !== undefined ? figure("errors", typeof role.errors === "object" ? count(Object.values(role.errors || {}).reduce((a, b) => a + (Number(b) || 0), 0)) : count(role.errors)) : null);
}

function coming(role) {
  const l = role.loading;
  if (!l) return null;
  const eta = l.eta_ms > 0 ? `, ready in ${span(l.eta_ms)}` : "";
  return h("div", { class: "progress" }, h("progress", { max: "1", value: String(l.progress ?? 0), "aria-label": `${line(role.name, 64)} is on its way` }),
    h("span", null, `${line(l.state, 20)}${l.node ? ` on ${line(l.node, 64)}` : ""}${eta}${l.stalled ? ", no progress" : ""}`));
}

function badgeOf(role) {
  const [kind, text] = role.hosts_ready > 0 ? ["good", "ready"] : role.loading ? ["warn", line(role.loading.state, 20)] : role.residency === "on-demand" ? ["idle", "on demand"] : ["bad", "not ready"];
  return h("span", { class: `badge badge-${kind}` }, text);
}

export function roleCard(role, redraw) {
  const id = `role-${role.name}`, url = urlOf(role, location.origin);
  const hosts = listOf(role, "hosts");
  const others = (role.modes || []).slice(1);
  return h("article", { class: "card", key: role.name, "data-role": role.name, "aria-labelledby": id },
    h("h3", { id }, line(role.name, 64), " ", badgeOf(role)),
    h("div", { class: "url" }, h("code", { id: `url-${role.name}` }, line(url, 400)), copyButton(`url-${role.name}`, `the URL of ${line(role.name, 64)}`, url, redraw)),
    others.length ? h("p", { class: "facts" }, h("span", null, `also /${others.map((m) => line(m, 64)).join(", /")}`)) : null,
    h("p", { class: "facts" }, h("span", { class: "model" }, line(role.model, 120)), hosts.length ? h("span", null, `on ${hosts.map((x) => line(x.node, 64)).join(", ")} (${bytes(hosts.reduce((n, x) => n + (x.rss_bytes || 0), 0))})`) : null),
    coming(role), role.reason ? h("p", { class: role.loading || role.residency === "on-demand" ? "notice" : "fault" }, line(role.reason, 400)) : null,
    figures(role), snippet(role, redraw));
}
