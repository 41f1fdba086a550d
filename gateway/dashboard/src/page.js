// SPDX-License-Identifier: MIT
// The whole page as a description: header with the connection and the views, and the view that is chosen.
import { listOf } from "./api.js";
import { alarmBox, eventList } from "./events.js";
import { bytes, clock, count, line, span } from "./format.js";
import { alarmsOf } from "./model.js";
import { nodeCard } from "./node.js";
import { planParts } from "./plan.js";
import { requestsAll, requestsInFlight } from "./requests.js";
import { roleCard } from "./role.js";
import { keyForm, sessionCorner } from "./session.js";
import { h } from "./view.js";

const empty = (text) => h("p", { class: "empty", key: "empty" }, text);

function section(id, title, extra, ...kids) {
  return h("section", { id, key: id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title, extra), kids);
}

function mesh(model, redraw) {
  const nodes = listOf(model.snapshot.nodes, "nodes");
  const roles = listOf(model.snapshot.roles, "roles");
  const whole = nodes.reduce((n, node) => n + (node.memory?.total || 0), 0);
  const small = (text) => h("small", null, text);
  return [
    section("alarms", "Needs a look", null, alarmBox(model)),
    section("nodes", "Nodes", whole ? small(`${bytes(whole)} in all`) : null, nodes.length ? h("div", { class: "cards" }, nodes.map((n) => nodeCard(n, model, redraw))) : empty("The role map names no node.")),
    section("roles", "Roles", null, roles.length ? h("div", { class: "cards" }, roles.map((r) => roleCard(r, model, redraw))) : empty("The role map names no role.")),
    section("flight", "In flight", null, requestsInFlight(model, redraw)),
  ];
}

function plan(model, redraw) {
  const { current, proposed, editor } = planParts(model, redraw);
  return [section("current", "What is where", null, current), section("proposed", "What would move", null, proposed), section("try", "Try a role map", null, editor)];
}

// The charts come with their library when they are first looked at.
const charts = { kids: null };

function history(model, redraw) {
  if (!charts.kids) {
    charts.kids = () => empty("Loading the charts …");
    import("./history.js").then((m) => (charts.kids = m.historyKids), () => (charts.kids = () => empty("The charts could not be loaded. Load the page again."))).then(redraw);
  }
  return section("charts", "History", null, charts.kids(model, redraw));
}

/** id, name, and what it shows. */
export const VIEWS = [
  ["mesh", "Mesh", mesh],
  ["requests", "Requests", (model, redraw) => section("recent", "Requests", null, requestsAll(model, redraw))],
  ["plan", "Plan", plan],
  ["history", "History", history],
  ["events", "Events", (model, redraw) => [section("alarms", "Needs a look", null, alarmBox(model)), section("happened", "Events", null, eventList(model, redraw))]],
];

function linkState(model) {
  const words = { wait: "connecting …", live: "live", lost: "gateway not reachable", key: "a key is needed" };
  const detail = model.link === "lost" ? ` for ${span(Date.now() - model.linkSince)}` : "";
  return h("p", { class: `link link-${model.link}`, id: "link", title: line(model.linkText) }, h("span", { class: "lamp", "aria-hidden": "true" }), words[model.link] + detail);
}

function totals(snapshot) {
  const nodes = listOf(snapshot?.nodes, "nodes");
  const roles = listOf(snapshot?.roles, "roles");
  const sum = (of) => count(roles.reduce((n, r) => n + (of(r) || 0), 0));
  const figure = (value, label) => h("div", { class: "figure", key: label }, h("dt", null, label), h("dd", null, value));
  const of = (part, all) => (snapshot ? `${part}/${all}` : "–");
  return h("dl", { class: "totals" }, figure(of(nodes.filter((n) => n.health === "up").length, nodes.length), "nodes up"), figure(of(roles.filter((r) => r.hosts_ready > 0).length, roles.length), "roles ready"),
    figure(snapshot ? sum((r) => r.in_flight) : "–", "in flight"), figure(snapshot ? sum((r) => r.waiting) : "–", "waiting"));
}

function top(model) {
  const alarms = model.snapshot ? alarmsOf(model.snapshot).length : 0;
  return h("header", { class: "top", key: "top" }, h("h1", null, "rolemesh"), linkState(model), totals(model.snapshot),
    h("nav", { "aria-label": "Views" }, VIEWS.map(([id, name]) => h("a", { href: `#${id}`, key: id, "aria-current": id === model.view ? "page" : null }, name,
      id === "events" && alarms ? h("span", { class: "count", "aria-label": `, ${count(alarms)} to look at` }, count(alarms)) : null))),
    sessionCorner(model.session));
}

function keyCard(model) {
  return h("div", { class: "card ask", key: "keys" }, h("h2", null, "This gateway wants a key"), h("p", null, "Its figures are for people with a key."), keyForm(model.session, "key"));
}

/** What #page holds. redraw() asks for another drawing. */
export function page(model, redraw) {
  const old = model.snapshot && model.link !== "live";
  const view = VIEWS.find(([id]) => id === model.view) || VIEWS[0];
  return [
    top(model),
    h("main", { id: "main", key: "main", tabindex: "-1", "data-snapshots": model.count, "data-view": view[0], class: old ? "old" : null, "aria-label": view[1] },
      old ? h("p", { class: "banner", key: "banner" }, `These are the figures of ${clock(new Date(model.at))}: the gateway has not answered since.`) : null,
      model.link === "key" ? keyCard(model) : null,
      model.link === "key" ? null : model.snapshot ? h("div", { class: `view view-${view[0]}`, key: view[0] }, view[2](model, redraw)) : empty("Waiting for the gateway's first figures …")),
    !model.snapshot ? null : h("footer", { key: "foot" }, `rolemesh ${line(model.snapshot.status?.version ?? "", 30)}, the same as JSON: `, h("a", { href: "/api/v1/nodes" }, "nodes"), ", ", h("a", { href: "/api/v1/roles" }, "roles"), ", ", h("a", { href: "/api/v1/status" }, "status"), "; ", h("a", { href: "/metrics" }, "metrics"), ". ", h("a", { href: "./licences.txt" }, "Licences")),
  ];
}
