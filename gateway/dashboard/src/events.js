// SPDX-License-Identifier: MIT
// What needs a look now, with its cause and a next step, and what happened.
import { clock, count, line, moment } from "./format.js";
import { alarmsOf } from "./model.js";
import { h } from "./view.js";

const ALARMS_SHOWN = 100;
const EVENTS_SHOWN = 200;
const filter = { severity: "all" };

const empty = (text) => h("p", { class: "empty", key: "empty" }, text);

/** A box of always the same height: what comes and goes in it moves nothing below. */
export function alarmBox(model) {
  const list = alarmsOf(model.snapshot);
  return h("div", { class: "alarmbox", tabindex: "0", role: "group", "aria-label": `Needs a look: ${list.length ? count(list.length) : "nothing"}` },
    !list.length ? h("p", { class: "calm" }, h("span", { class: "lamp good", "aria-hidden": "true" }), "Nothing needs a look.")
      : h("ul", { class: "alarms" }, list.slice(0, ALARMS_SHOWN).map((a, i) => h("li", { class: `alarm alarm-${a.severity === "error" ? "error" : "warning"}`, key: `${a.subject}-${i}` },
        h("p", null, h("strong", null, line(a.subject, 130)), " ", h("span", { class: "what" }, line(a.text, 400)), a.since ? h("time", { datetime: line(a.since, 40) }, ` since ${clock(new Date(a.since))}`) : null),
        a.next ? h("p", { class: "next" }, line(a.next, 300)) : null))));
}

/** All events that are kept here, newest first. */
export function eventList(model, redraw) {
  const list = model.log.filter((e) => filter.severity === "all" || e.severity === "error" || (filter.severity === "warning" && e.severity === "warning"));
  const pick = h("div", { class: "line filters", key: "filters" }, h("label", { for: "filter-severity" }, "Show"),
    h("select", { id: "filter-severity", on: { change: (e) => ((filter.severity = e.target.value), redraw()) } }, [["all", "all"], ["warning", "warnings and errors"], ["error", "errors"]].map(([v, t]) => h("option", { key: v, value: v, selected: v === filter.severity }, t))));
  if (!list.length) return [pick, empty(model.log.length ? "No event is like that." : "Nothing happened yet.")];
  return [pick, h("ol", { class: "events", key: "list" }, list.slice(0, EVENTS_SHOWN).map((e) => h("li", { key: e.key, class: `event event-${["error", "warning"].includes(e.severity) ? e.severity : "info"}` },
    h("time", { datetime: line(e.at, 40) }, moment(new Date(e.at))), h("span", { class: "severity" }, line(e.severity, 12)), h("strong", null, line(e.subject, 130)), h("span", { class: "what" }, line(e.text, 400)), e.next ? h("span", { class: "next" }, line(e.next, 300)) : null)))];
}
