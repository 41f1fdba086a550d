// SPDX-License-Identifier: MIT
// One role: its URL to copy, what to write into each editor, replicas, speeds, what is on its way.
import { roleActions } from "./actions.js";
import { listOf } from "./api.js";
import { count, line, pace, percent, span } from "./format.js";
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

function snippet(role, model, redraw) {
  const s = snippetOf(chosen.editor, role, location.origin, model.session.who.keys_exist === true);
  const id = `snippet-${role.name}`, pick = `editor-${role.name}`;
  return h("details", { class: "editors" }, h("summary", null, "In your editor"),
    h("div", { class: "line" }, h("label", { for: pick }, "Editor"),
      h("select", { id: pick, on: { change: (e) => ((chosen.editor = e.target.value), redraw()) } }, EDITOR_NAMES.map((n) => h("option", { key: n, value: n, selected: n === chosen.editor }, n))),
      copyButton(id, `the lines for ${s.name}`, s.text, redraw)),
    h("p", { class: "where" }, s.where), s.note ? h("p", { class: s.served ? "notice" : "notice unserved" }, s.note) : null,
    h("pre", { id, tabindex: "0", role: "group", "aria-label": `Lines for ${s.name}` }, h("code", null, s.text)));
}

const figure = (label, value, kind) => h("div", { class: "figure", key: label }, h("dt", null, label), h("dd", { class: kind || null }, value));

function figures(role) {
  const share = role.requests > 0 ? ` of ${count(role.requests)}` : "";
  return h("dl", { class: "figures" },
    figure("replicas ready", `${count(role.hosts_ready)} of ${count(role.replicas)}`), figure("in flight", count(role.in_flight)), figure("waiting", role.waiting > 0 ? `${count(role.waiting)}, ${span(role.oldest_ms)}` : "0"),
    figure("prefix cache hits", Number.isFinite(role.cached_share) ? percent(role.cached_share) : "–"), figure("errors", `${count(role.errors)}${share}`, role.errors > 0 ? "fault" : null), figure("context", `${count(role.context)}`));
}

const PERCENTILES = ["p50", "p95", "p99"];

function speeds(role) {
  const row = (name, p, show) => h("tr", { key: name }, h("th", { scope: "row" }, name), PERCENTILES.map((k) => h("td", { key: k, class: "r n" }, Number.isFinite(p?.[k]) ? show(p[k]) : "–")));
  return h("table", { class: "speeds" }, h("thead", null, h("tr", null, h("td", null), PERCENTILES.map((k) => h("th", { scope: "col", class: "r", key: k }, k)))),
    h("tbody", null, row("first token", role.ttft_ms, span), row("tokens/s", role.decode_tps, pace)));
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

function where(role, others) {
  const hosts = listOf(role, "hosts");
  return h("p", { class: "facts" }, h("span", { class: "model" }, line(role.model, 120)), hosts.length ? h("span", null, `on ${hosts.map((x) => line(x.node, 64)).join(", ")}`) : null,
    h("span", null, line(role.lane, 20)), h("span", null, line(role.residency, 20)), others.length ? h("span", null, `also ${others.map((u) => line(u, 80)).join(", ")}`) : null);
}

export function roleCard(role, model, redraw) {
  const id = `role-${role.name}`, url = urlOf(role, location.origin);
  const others = (Array.isArray(role.urls) ? role.urls.slice(1) : []).filter((u) => typeof u === "string");
  return h("article", { class: "card", key: role.name, "data-role": line(role.name, 64), "aria-labelledby": id },
    h("div", { class: "line" }, h("h3", { id }, line(role.name, 64)), badgeOf(role), h("span", { class: "gap" }),
      model.session.acts ? h("button", { type: "button", id: `act-role-${role.name}`, class: "quiet more", "aria-label": `Load ${line(role.name, 64)} on a node`, on: { click: () => roleActions(role, model, redraw) } }, "⋯") : null),
    h("div", { class: "url" }, h("code", { id: `url-${role.name}` }, line(url, 400)), copyButton(`url-${role.name}`, `the URL of ${line(role.name, 64)}`, url, redraw)),
    where(role, others), coming(role), role.reason ? h("p", { class: role.loading || role.residency === "on-demand" ? "notice" : "fault" }, line(role.reason, 400)) : null,
    figures(role), speeds(role), snippet(role, model, redraw));
}
