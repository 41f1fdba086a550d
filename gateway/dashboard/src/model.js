// SPDX-License-Identifier: MIT
// What the page knows: the last snapshot, a minute of rates, and what happened. No DOM.
import { listOf } from "./api.js";

export const MINUTE_MS = 60000; // what a sparkline shows
const MINUTE_MAX = 240;
const LOG_MAX = 200;

export const isStale = (node, now, at) => node.health !== "up" || !node.seen || (node.silent_ms || 0) + (now - at) > 5000;

/** What an operator should look at, most urgent first: {severity, subject, text, next}. */
export function alarmsOf(snapshot) {
  const rank = (a) => (a.severity === "error" ? 0 : 1);
  return listOf(snapshot.status, "alarms").sort((a, b) => rank(a) - rank(b));
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
    this.rates = new Map(); // node -> [{at, cpu, gpu, in, out}]
    this.spoken = [];
    this.view = "mesh"; // of page.js
    this.session = null; // of session.js
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
    if (event.id !== undefined && this.log.some((e) => e.id === event.id)) return;
    this.push({ ...event, at: event.at });
  }

  /** Events of before, oldest first; nothing of them is said aloud. */
  addPast(events) {
    const aloud = this.spoken.length;
    for (const event of events) this.addEvent(event);
    this.spoken.length = aloud;
  }

  push(event) {
    this.log.unshift({ ...event, key: `${event.id ?? "own"}-${(this.serial = (this.serial || 0) + 1)}` });
    this.log.length = Math.min(this.log.length, LOG_MAX);
    if (event.severity && event.severity !== "info") this.spoken.push(`${event.subject}: ${event.text}`);
  }

  take(snapshot) {
    const now = Date.now();
    for (const node of listOf(snapshot.nodes, "nodes")) this.addRates(node, now);
    this.snapshot = snapshot;
    this.count++;
    this.at = now;
  }

  // A minute of each node's own figures.
  addRates(node, now) {
    const points = this.rates.get(node.name) || [];
    points.push({ at: now, cpu: node.cpu_percent, gpu: node.gpu_percent, in: node.tokens_in_per_s, out: node.tokens_out_per_s });
    while (points[0].at < now - MINUTE_MS || points.length > MINUTE_MAX) points.shift();
    this.rates.set(node.name, points);
  }
}
