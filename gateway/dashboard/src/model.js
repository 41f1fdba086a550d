// SPDX-License-Identifier: MIT
// What the page knows: the last snapshot, a minute of rates, and what changed between snapshots. Also the one way from a
// node's numbers to the parts of its memory bar. No DOM.
import { listOf } from "./data.js";
import { bytes, line, span } from "./format.js";

export const HISTORY = 60; // points of a sparkline, one a second
const LOG_MAX = 200;

const sum = (list, of) => list.reduce((n, item) => n + (Number(of(item)) || 0), 0);

/** The parts of a node's memory, in the order of the bar; together they are the whole.
 * Hosts: what their processes hold now. promised: what the forecast still expects of them (or the node has committed
 * beyond what is held). other: programs that are not ours. reserve: kept free for this machine's user. */
export function memoryOf(node) {
  const m = node.memory || {};
  const whole = m.limit > 0 && m.limit < m.total ? m.limit : m.total || 0;
  let left = whole;
  const take = (n) => {
    const taken = Math.min(Math.max(0, n || 0), left);
    left -= taken;
    return taken;
  };
  const hosts = listOf(node, "hosts");
  const parts = hosts.map((host, i) => ({ kind: "host", tone: i % 6, name: host.role, bytes: take(host.rss_bytes) }));
  const held = sum(parts, (p) => p.bytes);
  const free = Math.max(0, Math.min(m.available || 0, whole));
  parts.push({ kind: "other", name: "other programs", bytes: take(whole - free - held) });
  const promised = Math.max(0, sum(hosts, (h) => Math.max(0, (h.forecast_bytes || 0) - (h.rss_bytes || 0))));
  parts.push({ kind: "promised", name: "forecast, not used yet", bytes: take(promised) });
  parts.push({ kind: "reserve", name: "reserve", bytes: take(m.reserve) });
  parts.push({ kind: "free", name: "free", bytes: left });
  return { whole, parts, budget: m.budget || 0, committed: m.committed || 0, forecast: sum(hosts, (h) => h.forecast_bytes) };
}

export const isStale = (node, now, at) => node.health !== "up" || !node.seen || (node.silent_ms || 0) + (now - at) > 5000;

/** What an operator should look at, most urgent first: {severity, subject, text, next}. */
export function alarmsOf(snapshot) {
  if (Array.isArray(snapshot.status?.alarms)) return snapshot.status.alarms.filter((a) => a && typeof a === "object");
  const alarms = [];
  for (const n of listOf(snapshot.nodes, "nodes")) {
    if (n.health === "down")
      alarms.push({ severity: "error", subject: n.name, text: n.seen ? `node is down: ${n.last_error || "no answer"}` : `node was never reached: ${n.last_error || "no answer"}`,
        next: `See that rolemesh-worker runs there and that ${n.host}:${n.port} can be reached from the gateway.` });
    if (n.memory?.refusing)
      alarms.push({ severity: "warning", subject: n.name, text: `memory is short: ${bytes(n.memory.available)} available; nothing new is loaded`, next: "Close other programs there, or lower the reserve in the role map." });
    for (const h of listOf(n, "hosts"))
      if (h.state === "failed")
        alarms.push({ severity: "error", subject: `${h.role} on ${n.name}`, text: h.last_error ? `${h.last_error.cause}: ${h.last_error.text}` : "the engine failed",
          next: h.retry_ms > 0 ? `It is tried again in ${span(h.retry_ms)}.` : h.last_error?.log ? `Its last words: ${line(h.last_error.log, 200)}` : "Look into the worker's log." });
  }
  for (const r of listOf(snapshot.roles, "roles"))
    if (r.hosts_ready === 0 && !r.loading && r.residency !== "on-demand")
      alarms.push({ severity: "error", subject: r.name, text: r.reason || "no host is ready", next: "The gateway keeps requests waiting as long as the role's queue allows." });
  for (const s of listOf(snapshot.roles, "shortfalls"))
    alarms.push({ severity: "warning", subject: s.role, text: s.reason, next: s.missing_bytes > 0 ? `${bytes(s.missing_bytes)} are missing.` : "See `rolemesh plan`." });
  return alarms;
}

// What two snapshots of one node differ in, as events.
function changesOf(before, now) {
  const found = [];
  const say = (severity, subject, text) => found.push({ severity, subject, text });
  if (before.health !== now.health) say(now.health === "up" ? "info" : now.health === "down" ? "error" : "warning", now.name, `was ${before.health}, is ${now.health}`);
  if (before.boot_id && now.boot_id && before.boot_id !== now.boot_id) say("warning", now.name, "the worker was started again");
  const old = new Map(listOf(before, "hosts").map((h) => [h.role, h]));
  for (const h of listOf(now, "hosts")) {
    const was = old.get(h.role)?.state || "absent";
    const running = (s) => (s === "busy" ? "ready" : s);
    if (running(was) !== running(h.state)) say(h.state === "failed" ? "error" : "info", `${h.role} on ${now.name}`, `was ${was}, is ${h.state}`);
    if ((h.restarts || 0) > (old.get(h.role)?.restarts ?? h.restarts)) say("warning", `${h.role} on ${now.name}`, `engine restarted${h.last_error ? `: ${h.last_error.text}` : ""}`);
    old.delete(h.role);
  }
  for (const role of old.keys()) say("info", `${role} on ${now.name}`, "is gone");
  return found;
}

export class Model {
  constructor() {
    this.snapshot = null;
    this.count = 0; // snapshots so far
    this.at = 0; // of the snapshot, by this browser's clock
    this.link = "wait"; // wait, live, lost, key
    this.linkText = "";
    this.linkSince = Date.now();
    this.log = []; // newest first
    this.serverEvents = false; // the gateway tells events itself: the page makes none up
    this.rates = new Map(); // node -> {at, in, out, points: [{in, out}]}
    this.spoken = [];
    this.signIn = () => {}; // what a key does; set by main.js
  }

  setLink(state, text) {
    if (this.link !== state) {
      this.linkSince = Date.now();
      if (state === "lost") this.spoken.push("Connection to the gateway lost. Trying again.");
      if (state === "live" && this.link === "lost") this.spoken.push("Connected to the gateway again.");
    }
    this.link = state;
    this.linkText = text;
  }

  addEvent(event) {
    this.serverEvents = true;
    if (event.id !== undefined && this.log.some((e) => e.id === event.id)) return;
    this.push({ ...event, at: event.at });
  }

  /** Events of before, oldest first; nothing of them is said aloud. */
  addPast(events) {
    const aloud = this.spoken.length;
    for (const event of events) this.addEvent(event);
    this.spoken.length = aloud;
    this.serverEvents = true;
  }

  push(event) {
    this.log.unshift({ ...event, key: `${event.id ?? "own"}-${(this.serial = (this.serial || 0) + 1)}` });
    this.log.length = Math.min(this.log.length, LOG_MAX);
    if (event.severity && event.severity !== "info") this.spoken.push(`${event.subject}: ${event.text}`);
  }

  take(snapshot) {
    const now = Date.now();
    const before = new Map(listOf(this.snapshot?.nodes, "nodes").map((n) => [n.name, n]));
    for (const node of listOf(snapshot.nodes, "nodes")) {
      if (before.has(node.name) && !this.serverEvents) for (const e of changesOf(before.get(node.name), node)) this.push({ ...e, at: new Date(now).toISOString() });
      this.addRates(node, now);
    }
    this.snapshot = snapshot;
    this.count++;
    this.at = now;
  }

  // Tokens a second: the node's own figures, else from the hosts' counters, which begin again with an engine.
  addRates(node, now) {
    const r = this.rates.get(node.name) || { at: 0, hosts: new Map(), points: [] };
    let tokensIn = 0, tokensOut = 0;
    const counters = new Map();
    for (const h of listOf(node, "hosts")) {
      const was = r.hosts.get(h.role);
      counters.set(h.role, { in: h.prompt_tokens, out: h.generated_tokens });
      if (!was) continue;
      tokensIn += Math.max(0, h.prompt_tokens - was.in);
      tokensOut += Math.max(0, h.generated_tokens - was.out);
    }
    const seconds = (now - r.at) / 1000;
    if (seconds < 0.5 && r.at > 0) return;
    if (r.at > 0) {
      r.points.push({ in: node.rates?.in ?? tokensIn / seconds, out: node.rates?.out ?? tokensOut / seconds });
      if (r.points.length > HISTORY) r.points.shift();
    }
    r.at = now;
    r.hosts = counters;
    this.rates.set(node.name, r);
  }
}
