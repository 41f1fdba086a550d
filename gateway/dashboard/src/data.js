// SPDX-License-Identifier: MIT
// Where the figures come from: one stream of server-sent events (/api/v1/events?live=1), taken up again with
// Last-Event-ID after a break; a gateway without that stream is asked for nodes and roles once a second. What comes is
// handed on whole: on.snapshot({nodes, roles, requests, status}), on.event(event), on.past(events), on.link(state, text).

const STREAM = "/api/v1/events?live=1";
const SILENT_MS = 20000; // a stream without a byte for this long is taken up again
const POLL_MS = 1000;
const ASK_MS = 4000; // an answer within
const AGAIN_MS = 30000; // what a gateway does not have is asked for again after this
const BACKOFF_MS = [250, 500, 1000, 2000, 3000];
const LINE_MAX = 16 * 1024 * 1024;

const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));
const isAbsent = (status) => [404, 405, 406, 501].includes(status);

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
    this.noStreamUntil = 0;
    this.absent = new Map(); // path -> when to ask again
    this.key = ""; // only for a gateway without sessions
  }

  /** Turns a key into a session; a gateway without sessions gets it with every question. */
  async signIn(key) {
    const headers = { "Content-Type": "application/json", "X-Rolemesh-Action": "1" };
    const answer = await fetch("/api/v1/session", { method: "POST", headers, body: JSON.stringify({ key }) }).catch(() => null);
    this.key = answer && isAbsent(answer.status) ? key : "";
    this.failures = 0;
  }

  headers(more) {
    return this.key ? { ...more, Authorization: `Bearer ${this.key}` } : more;
  }

  async run() {
    for (;;) {
      try {
        if (Date.now() < this.noStreamUntil) await this.poll();
        else await this.stream();
      } catch (error) {
        await this.rest(error);
      }
    }
  }

  async rest(error) {
    const ms = BACKOFF_MS[Math.min(this.failures++, BACKOFF_MS.length - 1)];
    this.on.link(error?.status === 401 ? "key" : "lost", String(error?.message || error));
    await sleep(ms * (0.8 + Math.random() * 0.4));
  }

  async stream() {
    const stop = new AbortController();
    let timer = setTimeout(() => stop.abort(), ASK_MS);
    try {
      const headers = this.headers({ Accept: "text/event-stream" });
      if (this.lastId !== null) headers["Last-Event-ID"] = this.lastId;
      const answer = await fetch(STREAM, { headers, cache: "no-store", signal: stop.signal });
      if (isAbsent(answer.status) || (answer.ok && !/^text\/event-stream/.test(answer.headers.get("Content-Type") || ""))) {
        this.noStreamUntil = Date.now() + AGAIN_MS;
        stop.abort();
        return;
      }
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
    const body = await this.askMaybe("/api/v1/events?limit=50").catch(() => null);
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

  async ask(path) {
    const answer = await fetch(path, { headers: this.headers({}), cache: "no-store", signal: AbortSignal.timeout(ASK_MS) });
    if (answer.ok) return answer.json();
    throw Object.assign(new Error(`${path}: the gateway answered ${answer.status}`), { status: answer.status });
  }

  /** Null while the gateway does not have it. */
  async askMaybe(path) {
    if (Date.now() < (this.absent.get(path) || 0)) return null;
    try {
      return await this.ask(path);
    } catch (error) {
      if (!isAbsent(error.status)) throw error;
      this.absent.set(path, Date.now() + AGAIN_MS);
      return null;
    }
  }

  async poll() {
    const began = Date.now();
    const [nodes, roles, requests, status] = await Promise.all([
      this.ask("/api/v1/nodes?limit=500"), this.ask("/api/v1/roles?limit=500"), this.askMaybe("/api/v1/requests?limit=100"), this.askMaybe("/api/v1/status"),
    ]);
    this.failures = 0;
    this.on.link("live", "asked once a second");
    this.on.snapshot({ nodes, roles, requests, status });
    await sleep(Math.max(100, POLL_MS - (Date.now() - began)));
  }
}

/** A list of the API: the array itself, or the object around it. */
export function listOf(body, name) {
  const list = Array.isArray(body) ? body : body?.[name];
  return Array.isArray(list) ? list.filter((item) => item && typeof item === "object") : [];
}
