// SPDX-License-Identifier: MIT
// The whole page as a description: header with the connection, alarms, nodes, roles, requests, events.
import { listOf } from "./data.js";
import { bytes, clock, count, line, span } from "./format.js";
import { alarmsOf } from "./model.js";
import { nodeCard } from "./node.js";
import { roleCard } from "./role.js";
import { h } from "./view.js";

const SECTIONS = [["nodes", "Nodes"], ["roles", "Roles"], ["requests", "Requests"], ["events", "Events"]];
const EVENTS_SHOWN = 50;
const REQUESTS_SHOWN = 25;

function linkState(model) {
  const words = { wait: "connecting …", live: "live", lost: "gateway not reachable", key: "a key is needed" };
  const detail = model.link === "lost" ? ` for ${span(Date.now() - model.linkSince)}; trying again` : "";
  return h("p", { class: `link link-${model.link}`, id: "link", title: line(model.linkText) }, h("span", { class: "lamp", "aria-hidden": "true" }), words[model.link] + detail);
}

function totals(snapshot) {
  const nodes = listOf(snapshot?.nodes, "nodes");
  const roles = listOf(snapshot?.roles, "roles");
  const up = nodes.filter((n) => n.health === "up").length;
  const ready = roles.filter((r) => r.hosts_ready > 0).length;
  const flight = roles.reduce((n, r) => n + (r.in_flight || 0), 0);
  const waiting = roles.reduce((n, r) => n + (r.waiting || 0), 0);
  const figure = (value, label) => h("div", { class: "figure" }, h("dt", null, label), h("dd", null, value));
  const of = (part, all) => (snapshot ? `${part} of ${all}` : "–");
  return h("dl", { class: "totals" }, figure(of(up, nodes.length), "nodes up"), figure(of(ready, roles.length), "roles ready"),
    figure(snapshot ? count(flight) : "–", "in flight"), figure(snapshot ? count(waiting) : "–", "waiting"));
}

function top(model) {
  return h("header", { class: "top", key: "top" }, h("h1", null, "rolemesh"), linkState(model), totals(model.snapshot),
    h("nav", { "aria-label": "Sections" }, SECTIONS.map(([id, name]) => h("a", { href: `#${id}`, key: id }, name))));
}

function section(id, title, extra, ...kids) {
  return h("section", { id, key: id, "aria-labelledby": `${id}-title`, tabindex: "-1" }, h("h2", { id: `${id}-title` }, title, extra), kids);
}

const empty = (text) => h("p", { class: "empty", key: "empty" }, text);

function alarms(list) {
  return section("alarms", "Needs a look", list.length ? h("small", null, count(list.length)) : null, h("div", { class: "alarmbox", tabindex: "0", role: "group", "aria-label": "What needs a look" },
    !list.length ? empty("Nothing needs a look.") : h("ul", { class: "alarms" }, list.slice(0, 100).map((a, i) => h("li", { class: `alarm alarm-${a.severity === "error" ? "error" : "warning"}`, key: `${a.subject}-${i}` },
      h("strong", null, line(a.subject, 130)), " ", h("span", { class: "what" }, line(a.text, 400)), a.next ? h("span", { class: "next" }, line(a.next, 300)) : null)))));
}

function requests(model) {
  if (!model.snapshot.requests) {
    const roles = listOf(model.snapshot.roles, "roles").filter((r) => r.in_flight > 0 || r.waiting > 0);
    if (!roles.length) return empty("Nothing is in flight and nothing waits.");
    return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Requests by role" }, h("table", null, head("Role", "In flight", "Waiting", "Oldest wait"),
      h("tbody", null, roles.map((r) => h("tr", { key: r.name }, h("th", { scope: "row" }, line(r.name)), h("td", { class: "n" }, count(r.in_flight)), h("td", { class: "n" }, count(r.waiting)), h("td", { class: "n" }, r.waiting ? span(r.oldest_ms) : "–"))))));
  }
  const list = listOf(model.snapshot.requests, "requests");
  if (!list.length) return empty("Nothing is in flight, and nothing was lately.");
  const aged = Date.now() - model.at;
  const row = (q) => h("tr", { key: String(q.id), class: q.state === "done" ? "done" : null },
    h("th", { scope: "row" }, h("code", null, line(q.id, 40))), h("td", null, line(q.key?.name ?? q.key ?? "–", 60)),
    h("td", null, line(q.served ?? q.role ?? "–", 70)), h("td", null, line(q.node ?? "–", 70)),
    h("td", null, line(q.state === "done" ? q.outcome ?? "done" : q.state, 30), q.error ? ` (${line(q.error, 80)})` : ""),
    h("td", { class: "n" }, `${count(q.prompt_tokens)} / ${count(q.cached_tokens)} / ${count(q.completion_tokens)}`),
    h("td", { class: "n" }, Number.isFinite(q.ttft_ms) ? span(q.ttft_ms) : "–"),
    h("td", { class: "n" }, q.state === "done" ? span(q.duration_ms ?? NaN) : span((q.age_ms || 0) + aged)));
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Requests" }, h("table", null,
    head("Request", "Who", "Role", "Node", "State", "Tokens in / cached / out", "First token", "Took"), h("tbody", null, list.slice(0, REQUESTS_SHOWN).map(row))));
}

const head = (...names) => h("thead", null, h("tr", null, names.map((n) => h("th", { scope: "col", key: n }, n))));

function events(model) {
  if (!model.log.length) return empty(model.serverEvents ? "Nothing happened yet." : "Nothing has changed since this page was opened.");
  return h("ol", { class: "events", tabindex: "0", "aria-label": "Events, newest first" }, model.log.slice(0, EVENTS_SHOWN).map((e) => h("li", { key: e.key, class: `event event-${["error", "warning"].includes(e.severity) ? e.severity : "info"}` },
    h("time", { datetime: e.at }, clock(new Date(e.at))), h("strong", null, line(e.subject, 130)), h("span", { class: "what" }, line(e.text, 400)), e.next ? h("span", { class: "next" }, line(e.next, 300)) : null)));
}

function figures(model, redraw) {
  const nodes = listOf(model.snapshot.nodes, "nodes");
  const roles = listOf(model.snapshot.roles, "roles");
  const whole = nodes.reduce((n, node) => n + (node.memory?.total || 0), 0);
  return [
    alarms(alarmsOf(model.snapshot)),
    section("nodes", "Nodes", whole ? h("small", null, `${bytes(whole)} in all`) : null, nodes.length ? h("div", { class: "cards" }, nodes.map((n) => nodeCard(n, model))) : empty("The role map names no node.")),
    section("roles", "Roles", null, roles.length ? h("div", { class: "cards" }, roles.map((r) => roleCard(r, redraw))) : empty("The role map names no role.")),
    section("requests", "Requests", null, requests(model)),
    section("events", "Events", model.serverEvents ? null : h("small", null, "seen by this page"), events(model)),
  ];
}

// The key goes to the gateway and is kept nowhere but, where that has no sessions, in this page's memory.
function keyForm(model) {
  const send = (e) => {
    e.preventDefault();
    const field = document.getElementById("key");
    model.signIn(field.value.trim());
    field.value = "";
  };
  return h("form", { class: "card keys", key: "keys", on: { submit: send } }, h("label", { for: "key" }, "This gateway wants a key for its figures"),
    h("div", { class: "line" }, h("input", { id: "key", type: "password", autocomplete: "off", required: true, maxlength: "200" }), h("button", { type: "submit" }, "Use it")),
    h("p", { class: "where" }, "Made with: rolemesh keys create"));
}

const waiting = () => empty("Waiting for the gateway's first figures …");

/** What #page holds. redraw() asks for another drawing. */
export function page(model, redraw) {
  const old = model.snapshot && model.link !== "live";
  return [
    top(model),
    h("main", { id: "main", key: "main", tabindex: "-1", "data-snapshots": model.count, class: old ? "old" : null },
      old ? h("p", { class: "banner", key: "banner" }, `These are the figures of ${clock(new Date(model.at))}: the gateway has not answered since.`) : null,
      model.link === "key" ? keyForm(model) : null,
      model.snapshot ? figures(model, redraw) : model.link === "key" ? null : waiting()),
    !model.snapshot ? null : h("footer", { key: "foot" }, "Figures: ", h("a", { href: "/api/v1/nodes" }, "nodes"), ", ", h("a", { href: "/api/v1/roles" }, "roles"), ", ", h("a", { href: "/metrics" }, "metrics")),
  ];
}
