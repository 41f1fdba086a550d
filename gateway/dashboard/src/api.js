// SPDX-License-Identifier: MIT
// Asks the gateway and says what it answered: JSON, or an Error with the words of its problem. Actions carry the header
// that no other site's page can send; who asks is told by the session's cookie, which no script can read.

const ASK_MS = 8000; // an answer within
const SLOW_MS = 60000; // what the gateway has to reckon or to write

async function problemOf(answer, path) {
  let body = null;
  try {
    body = await answer.json();
  } catch {
    // not ours: the status says enough
  }
  const text = typeof body?.detail === "string" && body.detail ? body.detail : `${path}: the gateway answered ${answer.status}`;
  return Object.assign(new Error(text), { status: answer.status, body });
}

async function send(path, options, ms) {
  const answer = await fetch(path, { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(ms), ...options }).catch((error) => {
    throw new Error(error.name === "TimeoutError" ? "the gateway did not answer in time" : "the gateway cannot be reached");
  });
  if (!answer.ok) throw await problemOf(answer, path);
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

/** The JSON at path; throws an Error with status and body where there is an answer. */
export const ask = (path) => send(path, {}, ASK_MS);

/** An action. body: an object, sent as JSON, or a text with its type. */
export function act(method, path, body, type, more) {
  const headers = { "X-Rolemesh-Action": "1", ...more };
  if (body !== undefined) headers["Content-Type"] = type || "application/json";
  return send(path, { method, headers, body: body === undefined || typeof body === "string" ? body : JSON.stringify(body) }, SLOW_MS);
}

/** One segment of a path. */
export const segment = (name) => encodeURIComponent(String(name));

/** A list of the API: the array itself, or the object around it. */
export function listOf(body, name) {
  const list = Array.isArray(body) ? body : body?.[name];
  return Array.isArray(list) ? list.filter((item) => item && typeof item === "object") : [];
}
