// SPDX-License-Identifier: MIT
// Where the figures come from: one stream of server-sent events (/api/v1/events?live=1), taken up again with
// Last-Event-ID after a break. What comes is handed on whole: on.snapshot({nodes, roles, requests, status}),
// on.event(event), on.past(events), on.link(state, text).
import { ask, listOf } from "./api.js";

const STREAM = "/api/v1/events?live=1";
const SILENT_MS = 20000; // a stream without a byte for this long is taken up again
const CONNECT_MS = 4000;
const BACKOFF_MS = [250, 500, 1000, 2000, 3000];
const LINE_MAX = 16 * 1024 * 1024;

/** Splits a stream's text into events {id, name, data}; feed(text) in any pieces. */
export function eventReader(onEvent) {
  let rest = "", id = null, name = "", data = [];
  function takeLine(line) {
    if (line === "") {
      if (data.length) onEvent({ id, name: name || "message", data: data.join("\n") });
      name = "";
      data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "id" && !value.includes("\0")) id = value;
    else if (field === "event") name = value;
    else if (field === "data") data.push(value);
  }
  return function feed(text) {
    rest += text;
    if (rest.length > LINE_MAX) throw new Error("a line without end");
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    lines.forEach(takeLine);
  };
}

export class Feed {
  constructor(on) {
    this.on = on;
    this.lastId = null;
    this.failures = 0;
    this.wake = () => {};
    this.stop = null;
  }

  /** Begins anew at once: somebody signed in or out. */
  again() {
    this.failures = 0;
    this.stop?.abort();
    this.wake();
  }

  async run() {
    for (;;) {
      try {
        await this.stream();
      } catch (error) {
        await this.rest(error);
      }
    }
  }

  async rest(error) {
    const ms = BACKOFF_MS[Math.min(this.failures++, BACKOFF_MS.length - 1)] * (0.8 + Math.random() * 0.4);
    this.on.link(error?.status === 401 ? "key" : "lost", String(error?.message || error));
    await new Promise((wake) => {
      this.wake = wake;
      setTimeout(wake, ms);
    });
  }

  async stream() {
    const stop = (this.stop = new AbortController());
    let timer = setTimeout(() => stop.abort(), CONNECT_MS);
    try {
      const headers = { Accept: "text/event-stream" };
      if (this.lastId !== null) headers["Last-Event-ID"] = this.lastId;
      const answer = await fetch(STREAM, { headers, cache: "no-store", signal: stop.signal });
      if (!answer.ok) throw Object.assign(new Error(`the gateway answered ${answer.status}`), { status: answer.status });
      if (this.lastId === null) await this.past();
      const feed = eventReader((event) => this.take(event));
      const text = new TextDecoder();
      const reader = answer.body.getReader();
      for (;;) {
        clearTimeout(timer);
        timer = setTimeout(() => stop.abort(), SILENT_MS);
        const { value, done } = await reader.read();
        if (done) throw new Error("the gateway ended the stream");
        feed(text.decode(value, { stream: true }));
      }
    } finally {
      clearTimeout(timer);
      stop.abort();
    }
  }

  // What happened before this page was opened: the stream tells only what comes.
  async past() {
    const body = await ask("/api/v1/events?limit=50").catch(() => null);
    if (body) this.on.past(listOf(body, "events").sort((a, b) => a.id - b.id));
  }

  take({ id, name, data }) {
    let body;
    try {
      body = JSON.parse(data);
    } catch {
      return;
    }
    if (id !== null) this.lastId = id;
    this.failures = 0;
    if (name === "snapshot") {
      this.on.link("live", "live");
      this.on.snapshot(body);
    } else if (name === "event") {
      this.on.event(body);
    }
  }
}
