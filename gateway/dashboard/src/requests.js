// SPDX-License-Identifier: MIT
// Requests: those in flight, those of lately, the way to cancel one, and why each went where it went.
import { act, ask, listOf, segment } from "./api.js";
import { confirmDialog } from "./confirm.js";
import { openDialog } from "./dialog.js";
import { clock, count, line, pace, span } from "./format.js";
import { h } from "./view.js";

const SHOWN = 100;
const filter = { state: "all", role: "" };

const head = (...names) => h("thead", null, h("tr", null, names.map(([name, kind], i) => h("th", { scope: "col", key: i, class: kind || null }, name))));
const empty = (text) => h("p", { class: "empty", key: "empty" }, text);
const secondsOf = (s) => (!Number.isFinite(s) ? "–" : s === 0 ? "0" : span(s * 1000));

/** A table in a box that scrolls sideways by keyboard as well. */
export function table(label, columns, rows, kind) {
  return h("div", { class: kind ? `scroll ${kind}` : "scroll", tabindex: "0", role: "group", "aria-label": label }, h("table", null, head(...columns), h("tbody", null, rows)));
}

// ---- why ----

const why = { id: null, body: null, error: "" };

async function look(id, redraw) {
  Object.assign(why, { id, body: null, error: "" });
  try {
    const body = await ask(`/api/v1/requests/${segment(id)}/why`);
    if (why.id === id) why.body = body;
  } catch (error) {
    if (why.id === id) why.error = error.message;
  }
  redraw();
}

// Where the time of a request went, as shares of the whole.
function times(q) {
  const whole = q.duration_ms ?? q.age_ms ?? 0;
  const queue = Math.min(q.queue_ms ?? (q.state === "waiting" ? whole : 0), whole);
  const first = Math.min(q.ttft_ms ?? 0, whole - queue);
  const parts = [["waited for a host", queue, "wait"], ["until the first token", first, "first"], [q.state === "done" ? "the rest of the answer" : "since then", whole - queue - first, "rest"]];
  const share = (n) => `${whole > 0 ? ((100 * n) / whole).toFixed(2) : 0}%`;
  return h("div", { class: "times" },
    h("div", { class: "bar thin", role: "img", "aria-label": parts.map(([name, n]) => `${name} ${span(n)}`).join(", ") }, parts.map(([name, n, kind]) => (n > 0 ? h("span", { key: name, class: `part part-${kind}`, style: { width: share(n) } }) : null))),
    h("ul", { class: "legend" }, parts.map(([name, n, kind]) => h("li", { key: name }, h("span", { class: `swatch part-${kind}`, "aria-hidden": "true" }), h("span", { class: "label" }, name), h("span", { class: "n" }, span(n))))));
}

function decision(d, i) {
  const columns = [["Host"], ["Load", "r"], ["Wait", "r"], ["Prefill", "r"], ["Way", "r"], ["Penalty", "r"], ["Total", "r"], ["Cached", "r"], ["Busy", "r"], ["Verdict"]];
  const row = (c) => {
    const s = c.seconds || {}, f = c.facts || {};
    const verdict = c.chosen ? "chosen" : c.reject ? c.reject : c.avoided ? "lost this request before" : c.failing ? "its traffic fails" : "slower";
    return h("tr", { key: c.node, class: c.chosen ? "chosen" : null }, h("th", { scope: "row" }, line(c.node, 64)),
      ["load", "wait", "prefill", "rtt", "penalty", "total"].map((k) => h("td", { class: "r n", key: k }, secondsOf(s[k]))),
      h("td", { class: "r n" }, c.facts ? count(f.cached) : "–"), h("td", { class: "r n" }, c.facts ? `${count(f.in_flight)} of ${count(f.slots)}` : "–"), h("td", null, line(verdict, 120)));
  };
  return h("section", { class: "decision", key: i }, h("h3", null, `${clock(new Date(d.at))}: ${line(d.role, 64)} on ${line(d.node, 64)}`),
    h("p", { class: "where" }, `${count(d.prompt)} tokens of prompt, as estimated; it had waited ${span(d.queue_ms)}. The host with the fewest seconds gets it${d.pass > 0 ? "; hosts that fail were looked at as well" : ""}.`),
    table(`Hosts that were compared at ${clock(new Date(d.at))}`, columns, listOf(d, "candidates").map(row)),
    d.cut ? h("p", { class: "where" }, "There were more hosts.") : null);
}

const fact = (label, value) => h("div", { class: "figure", key: label }, h("dt", null, label), h("dd", null, value));

function whyKids() {
  const { body, error } = why;
  if (error) return h("p", { class: "fault", role: "alert" }, line(error, 300));
  if (!body) return empty("Asking the gateway …");
  const q = body.request || {};
  const decisions = listOf(body, "decisions"), rewrites = Array.isArray(body.rewrites) ? body.rewrites : [];
  const rate = q.completion_tokens > 1 && q.duration_ms > (q.ttft_ms ?? 0) + (q.queue_ms ?? 0) ? q.completion_tokens / ((q.duration_ms - (q.ttft_ms ?? 0) - (q.queue_ms ?? 0)) / 1000) : NaN;
  return [
    h("dl", { class: "figures", key: "facts" }, fact("request", line(q.id, 60)), fact("began", clock(new Date(q.at))), fact("key", line(q.key?.name ?? "–", 64)), fact("role", line(q.role ?? "–", 64)),
      q.served && q.served !== q.role ? fact("served as", line(q.served, 64)) : null, fact("mode, dialect", `${line(q.mode ?? "–", 64)}, ${line(q.dialect, 24)}`), fact("node", line(q.node ?? "–", 64)), fact("tries", count(q.tries)),
      fact("tokens in", `${count(q.prompt_tokens)} (${count(q.cached_tokens)} cached)`), fact("tokens out", count(q.completion_tokens)), Number.isFinite(rate) ? fact("tokens/s", pace(rate)) : null,
      fact("outcome", line(q.outcome ?? q.state, 30)), fact("status", q.status ?? "–"), q.error ? fact("error", line(q.error, 80)) : null),
    times(q),
    decisions.length ? decisions.map(decision) : empty("It was sent to no host, or that is no longer kept."),
    rewrites.length ? h("section", { class: "decision", key: "rewrites" }, h("h3", null, "Changed for the engine"), h("ul", { class: "plainlist" }, rewrites.slice(0, 50).map((r, i) => h("li", { key: i }, line(r, 200))))) : null,
  ];
}

function showWhy(id, redraw) {
  look(id, redraw);
  openDialog(() => ({ title: "Why it went where it went", wide: true, kids: whyKids() }));
}

// ---- cancel ----

function askCancel(q, redraw) {
  confirmDialog({ title: "Cancel this request?", verb: "Cancel the request", back: "Let it run", redraw,
    text: [`${line(q.id, 40)} of ${line(q.key?.name ?? "somebody without a key", 64)}, ${line(q.served ?? q.role ?? "no role yet", 64)}. Its client gets an error; what was answered so far stays with it.`],
    run: () => act("DELETE", `/api/v1/requests/${segment(q.id)}`), done: () => "The request was cancelled." });
}

// ---- the tables ----

const COLUMNS = [["Request"], ["Who"], ["Role"], ["Node"], ["State"], ["In", "r"], ["Cached", "r"], ["Out", "r"], ["First token", "r"], ["Took", "r"], [h("span", { class: "unseen" }, "Look or act")]];

function row(q, model, redraw) {
  const done = q.state === "done";
  const aged = Date.now() - model.at;
  const id = String(q.id ?? "");
  const served = q.served ?? q.role ?? "–";
  return h("tr", { key: id, class: done ? "done" : null },
    h("th", { scope: "row" }, h("code", { title: line(id, 130) }, line(id, 18))), h("td", null, line(q.key?.name ?? "–", 40)),
    h("td", { title: q.served && q.served !== q.role ? `asked for ${line(q.role, 64)}` : null }, line(served, 40)), h("td", null, line(q.node ?? "–", 40)),
    h("td", null, h("span", { class: `badge badge-${done ? (q.outcome === "ok" ? "good" : q.outcome === "gone" ? "idle" : "bad") : q.state === "waiting" ? "warn" : "good"}` }, line(done ? q.outcome ?? "done" : q.state, 20)), q.error ? h("span", { class: "fault", title: line(q.error, 120) }, ` ${line(q.error, 24)}`) : null),
    h("td", { class: "r n" }, count(q.prompt_tokens)), h("td", { class: "r n" }, count(q.cached_tokens)), h("td", { class: "r n" }, count(q.completion_tokens)),
    h("td", { class: "r n" }, Number.isFinite(q.ttft_ms) ? span(q.ttft_ms) : "–"), h("td", { class: "r n" }, done ? span(q.duration_ms ?? NaN) : span((q.age_ms || 0) + aged)),
    h("td", { class: "acts" }, h("button", { type: "button", id: `why-${id}`, class: "quiet", "aria-label": `Why ${line(id, 40)} went where it went`, on: { click: () => showWhy(id, redraw) } }, "Why"),
      !done && model.session.acts ? h("button", { type: "button", id: `cancel-${id}`, class: "quiet danger", "aria-label": `Cancel ${line(id, 40)}`, on: { click: () => askCancel(q, redraw) } }, "Cancel") : null));
}

/** What runs and waits now. */
export function requestsInFlight(model, redraw) {
  const list = listOf(model.snapshot.requests, "requests").filter((q) => q.state !== "done");
  return list.length ? table("Requests in flight", COLUMNS, list.slice(0, SHOWN).map((q) => row(q, model, redraw)), "requests") : empty("Nothing is in flight and nothing waits.");
}

/** All that the gateway still tells of, with filters. */
export function requestsAll(model, redraw) {
  const all = listOf(model.snapshot.requests, "requests");
  const roles = [...new Set(all.map((q) => q.served ?? q.role).filter((r) => typeof r === "string"))].sort();
  const fits = (q) => (filter.state === "all" || (filter.state === "now" ? q.state !== "done" : filter.state === "wrong" ? q.state === "done" && q.outcome !== "ok" : q.state === "done")) && (!filter.role || (q.served ?? q.role) === filter.role);
  const list = all.filter(fits);
  const choose = (name) => (e) => ((filter[name] = e.target.value), redraw());
  const option = (value, text, now) => h("option", { key: value, value, selected: value === now }, text);
  return [
    h("div", { class: "line filters", key: "filters" },
      h("label", { for: "filter-state" }, "Show"), h("select", { id: "filter-state", on: { change: choose("state") } }, [["all", "all"], ["now", "in flight"], ["done", "over"], ["wrong", "not answered well"]].map(([v, t]) => option(v, t, filter.state))),
      h("label", { for: "filter-role" }, "of role"), h("select", { id: "filter-role", on: { change: choose("role") } }, option("", "every", filter.role), roles.map((r) => option(r, line(r, 64), filter.role)))),
    list.length ? table("Requests, newest first", COLUMNS, list.slice(0, SHOWN).map((q) => row(q, model, redraw)), "requests") : empty(all.length ? "None of the requests is like that." : "No request has come yet."),
  ];
}
