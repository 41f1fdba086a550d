// SPDX-License-Identifier: MIT
// The plan: what is where, what would move, and what an edited role map would change, tried before it is applied.
import { act, ask, listOf } from "./api.js";
import { confirmDialog } from "./confirm.js";
import { bytes, count, line } from "./format.js";
import { table } from "./requests.js";
import { h } from "./view.js";

const FRESH_MS = 15000; // a plan is asked for again after this while it is looked at
const MAP_MAX = 1024 * 1024;
const ACTIONS = { keep: ["idle", "stays"], load: ["good", "would load"], stop: ["bad", "would stop"] };
const EFFECTS = { live: "takes effect at once", plan: "the plan is made anew", hosts: "hosts are replaced", restart: "needs a restart of the gateway" };

const plans = { at: 0, body: null, error: "", busy: false };
const trial = { busy: false, error: "", mistakes: [], more: 0, answer: null, draft: "", text: "" };
const file = { asked: false, path: "", revision: null, error: "" }; // the gateway's, as it was read into the field

const empty = (text) => h("p", { class: "empty", key: "empty" }, text);
const badge = (kind, text) => h("span", { class: `badge badge-${kind}` }, text);

async function look(redraw) {
  if (plans.busy) return;
  plans.busy = true;
  try {
    plans.body = await ask("/api/v1/plan");
    plans.error = "";
  } catch (error) {
    plans.error = error.message;
  }
  plans.at = Date.now();
  plans.busy = false;
  redraw();
}

// ---- a plan ----

const movesOf = (plan) => listOf(plan, "nodes").flatMap((n) => listOf(n, "hosts").filter((x) => x.action !== "keep").map((x) => ({ ...x, node: n.node })));

function hostRow(x) {
  const [kind, word] = ACTIONS[x.action] || ["idle", line(x.action, 20)];
  const from = x.measured ? "measured" : x.estimated ? "estimated, at least" : "forecast";
  return h("tr", { key: x.role, class: `plan-${x.action}` }, h("th", { scope: "row" }, line(x.role, 64)), h("td", null, badge(kind, word)), h("td", { class: "r n", title: `weights ${bytes(x.weights)}, KV ${bytes(x.kv)}, compute ${bytes(x.compute)}, other ${bytes(x.other)}; ${from}` }, bytes(x.bytes)), h("td", { class: "why" }, line(x.reason, 160)));
}

function planNode(n) {
  const whole = n.total || 0;
  const kept = listOf(n, "hosts").filter((x) => x.action !== "stop");
  const width = (b) => `${((100 * b) / whole).toFixed(3)}%`;
  const parts = [...kept.map((x, i) => [x.action === "load" ? "kvfree" : "weights", x.role, x.bytes, i % 6]), ["free", "free", n.free, 0], ["reserve", "reserve", n.reserve, 0]];
  const id = `plan-${n.node}`;
  return h("article", { class: "card", key: n.node, "aria-labelledby": id },
    h("div", { class: "line" }, h("h3", { id }, line(n.node, 64)), n.usable ? null : badge("warn", "not usable"), h("span", { class: "gap" }), h("span", { class: "where n" }, `${bytes(n.used)} of ${bytes(whole)}`)),
    n.silent ? h("p", { class: "notice" }, line(n.silent, 300)) : null,
    whole > 0 ? h("div", { class: "bar thin", role: "img", "aria-label": `${bytes(n.used)} used, ${bytes(n.free)} free, ${bytes(n.reserve)} reserve of ${bytes(whole)}` },
      parts.map(([kind, name, b, tone], i) => (b > 0 ? h("span", { key: i, class: `part part-${kind} tone-${tone}`, title: `${line(name, 64)} ${bytes(b)}`, style: { width: width(b) } }) : null))) : null,
    listOf(n, "hosts").length ? h("table", { class: "planned" }, h("thead", { class: "unseen" }, h("tr", null, ["Role", "What happens", "Size", "Why"].map((t) => h("th", { scope: "col", key: t }, t)))), h("tbody", null, listOf(n, "hosts").map(hostRow))) : empty("Nothing here."),
    n.swap > 0 ? h("p", { class: "notice" }, `${bytes(n.swap)} of it would be swapped.`) : null,
    listOf(n, "cannot_host").length ? h("p", { class: "where" }, "Cannot host ", listOf(n, "cannot_host").map((c) => `${line(c.role, 64)} (${line(c.why, 160)})`).join("; "), ".") : null,
    Array.isArray(n.not_in_map) && n.not_in_map.length ? h("p", { class: "where" }, `Not in the map: ${n.not_in_map.map((r) => line(r, 64)).join(", ")}.`) : null);
}

// What the plan cannot do, and what would help.
function troubles(plan) {
  const what = { host: "has no host", replicas: "has fewer hosts than it wants", headroom: "is loaded on demand, but no node has room left for it" };
  const list = [
    ...listOf(plan, "lacks").map((l) => h("li", { key: `lack-${l.role}` }, h("strong", null, line(l.role, 64)), ` ${what[l.what] || line(l.what, 40)}${l.bytes > 0 ? ` (a host takes ${bytes(l.bytes)})` : ""}.`)),
    plan.conflict ? h("li", { key: "conflict" }, "Together they do not fit: ", h("strong", null, (plan.conflict.roles || []).map((r) => line(r, 64)).join(", ")), plan.conflict.node ? `; ${bytes(plan.conflict.missing)} more on ${line(plan.conflict.node, 64)} would do.` : ".") : null,
    ...listOf(plan, "ways_out").map((w, i) => h("li", { key: `way-${i}` }, "It would fit with ", h("code", null, `${line(w.role, 64)}: ${line(w.key, 20)}: ${line(w.value, 64)}`))),
  ].filter(Boolean);
  return list.length ? h("ul", { class: "troubles", key: "troubles" }, list) : null;
}

function moves(plan) {
  const list = movesOf(plan);
  if (!list.length) return h("p", { class: "where", key: "moves" }, "Nothing would move.");
  return h("ul", { class: "moves", key: "moves", "aria-label": "What would move" }, list.map((x) => h("li", { key: `${x.role}@${x.node}` }, badge(ACTIONS[x.action]?.[0] || "idle", x.action === "load" ? "loads" : "stops"), h("strong", null, line(x.role, 64)), ` on ${line(x.node, 64)}`, h("span", { class: "where" }, `${bytes(x.bytes)}: ${line(x.reason, 160)}`))));
}

const planOf = (plan) => [troubles(plan), h("div", { class: "cards", key: "nodes" }, listOf(plan, "nodes").map(planNode))];

function current() {
  const { body, error } = plans;
  if (!body) return error ? h("p", { class: "fault" }, line(error, 300)) : empty("Asking the gateway for its plan …");
  return [error ? h("p", { class: "fault", key: "error" }, line(error, 300)) : null, body.current ? planOf(body.current) : empty("There is no plan yet.")];
}

function proposed() {
  const plan = plans.body?.proposed;
  if (!plan) return h("p", { class: "where" }, plans.body ? "Solved as a whole, the map would place every role where it is." : "–");
  return [h("p", { class: "where", key: "about" }, "Solved as a whole, the map would look like this. The gateway does not stop hosts to get there."), moves(plan), h("details", { key: "all" }, h("summary", null, "Node by node"), planOf(plan))];
}

// ---- a map on trial ----

// The draft outlives the field, which is gone while another view is shown.
function setDraft(text) {
  trial.draft = text;
  const field = document.getElementById("map-text");
  if (field) field.value = text;
}

// The gateway's file into the field, unless somebody was faster.
async function readGatewaysFile(redraw) {
  file.asked = true;
  try {
    const body = await ask("/api/v1/map/text");
    if (!trial.draft) {
      setDraft(String(body.text));
      Object.assign(file, { path: body.path, revision: body.revision });
    }
  } catch (error) {
    file.error = error.message;
  }
  redraw();
}

async function tryMap(redraw) {
  const text = trial.draft;
  if (trial.busy || !text.trim()) return;
  Object.assign(trial, { busy: true, error: "", mistakes: [], more: 0, answer: null, text });
  redraw();
  try {
    if (text.length > MAP_MAX) throw new Error("A role map has at most 1 MiB.");
    trial.answer = await act("POST", "/api/v1/plan", text, "application/yaml", { "X-Rolemesh-File": "this map" });
  } catch (error) {
    trial.error = error.message;
    trial.mistakes = listOf(error.body, "mistakes");
    trial.more = error.body?.more || 0;
  }
  trial.busy = false;
  redraw();
}

function askApply(redraw) {
  const { text, answer } = trial;
  confirmDialog({ title: "Apply this role map?", verb: "Apply it", back: "Do not", redraw,
    text: [`${count(listOf(answer, "diff").length)} changes. It is written to the gateway's file and taken over at once; whoever has edited that file meanwhile loses nothing: then it is refused.`],
    run: () => act("POST", "/api/v1/map", text, "application/yaml", { "If-Match": String(file.revision ?? answer.revision), "X-Rolemesh-File": "this map" }),
    done: () => {
      trial.answer = null;
      plans.at = 0;
      file.revision = answer.offered_revision;
      return "The role map was applied.";
    } });
}

async function readFile(e, redraw) {
  const chosen = e.target.files?.[0];
  if (!chosen) return;
  if (chosen.size > MAP_MAX) Object.assign(trial, { error: "A role map has at most 1 MiB.", answer: null, mistakes: [] });
  else {
    setDraft(await chosen.text());
    Object.assign(trial, { error: "", answer: null, mistakes: [] });
    Object.assign(file, { path: chosen.name, revision: null });
  }
  redraw();
}

function changes(list) {
  if (!list.length) return h("p", { class: "where", key: "diff" }, "The map says the same as the one that runs.");
  const sign = { added: ["good", "added"], removed: ["bad", "removed"], changed: ["warn", "changed"] };
  return h("div", { key: "diff" }, table("Changes of the map", [["What"], ["Name"], ["How"], ["Keys"], ["Effect"], ["Hosts"]], list.map((c, i) => h("tr", { key: i }, h("td", null, line(c.subject, 20)), h("th", { scope: "row" }, line(c.name, 64)), h("td", null, badge(...(sign[c.how] || ["idle", line(c.how, 20)]))),
    h("td", null, h("code", null, (c.keys || []).map((k) => line(k, 40)).join(", ") || "–")), h("td", null, (c.effects || []).map((x) => EFFECTS[x] || line(x, 30)).join("; ")), h("td", null, listOf(c, "hosts").map((x) => `${line(x.role, 64)} on ${line(x.node, 64)} ${line(x.fate, 20)}`).join("; ") || "–")))));
}

function verdict(model, redraw) {
  if (trial.error)
    return h("div", { role: "alert", class: "text" }, h("p", { class: "fault" }, line(trial.error, 400)),
      trial.mistakes.length ? h("ul", { class: "plainlist mistakes" }, trial.mistakes.slice(0, 50).map((m, i) => h("li", { key: i }, h("code", null, `${m.line}:${m.column}`), " ", line(m.what, 300), m.hint ? h("span", { class: "where" }, ` ${line(m.hint, 200)}`) : null)), trial.more > 0 ? h("li", { key: "more" }, `and ${count(trial.more)} more`) : null) : null);
  const { answer } = trial;
  if (!answer) return null;
  const list = listOf(answer, "diff");
  const unknown = listOf(answer, "unknown");
  return h("div", { class: "text" }, h("h3", null, "What the map would change"), changes(list), h("h3", null, "What would move"), answer.plan ? [moves(answer.plan), troubles(answer.plan), h("details", { key: "nodes" }, h("summary", null, "Node by node"), planOf(answer.plan))] : null,
    unknown.length ? h("p", { class: "notice" }, `No forecast came in time for ${unknown.map((u) => `${line(u.role, 64)} on ${line(u.node, 64)}`).join(", ")}: planned without.`) : null,
    list.length && model.session.acts ? h("div", { class: "line" }, h("button", { type: "button", id: "map-apply", class: "strong", on: { click: () => askApply(redraw) } }, "Apply this map …")) : null);
}

function askReload(redraw) {
  confirmDialog({ title: "Read the role map's file again?", verb: "Read it again", back: "Leave it", redraw, text: ["The file on the gateway's machine is checked and taken over, and so are its keys. A file with mistakes changes nothing."],
    run: () => act("POST", "/api/v1/reload"),
    done: (answer) => {
      plans.at = 0;
      return answer?.changes?.length ? `Taken over: ${count(answer.changes.length)} changes.` : "The file says what runs already.";
    } });
}

function editor(model, redraw) {
  if (!model.session.acts) return empty("To try a role map and to apply one, sign in with an admin's key.");
  if (!file.asked) readGatewaysFile(redraw);
  const submit = (e) => (e.preventDefault(), tryMap(redraw));
  return h("form", { class: "card try", on: { submit } }, h("div", { class: "line" }, h("label", { for: "map-text" }, "Role map (YAML)"), h("span", { class: "where" }, file.error ? line(file.error, 200) : line(file.path, 300)), h("span", { class: "gap" }),
    h("label", { for: "map-file", class: "unseen" }, "Read it from a file"), h("input", { id: "map-file", type: "file", accept: ".yaml,.yml", on: { change: (e) => readFile(e, redraw) } })),
    h("textarea", { id: "map-text", spellcheck: "false", autocomplete: "off", required: true, placeholder: "version: 1 …", on: { input: (e) => (trial.draft = e.target.value) } }, trial.draft),
    h("div", { class: "line" }, h("button", { type: "submit", id: "map-try", class: "strong", disabled: trial.busy }, trial.busy ? "Trying it …" : "Try it (dry run)"), h("span", { class: "where" }, "Nothing changes until you apply it."), h("span", { class: "gap" }),
      h("button", { type: "button", id: "map-reload", class: "quiet", on: { click: () => askReload(redraw) } }, "Read the gateway's file again …")),
    verdict(model, redraw));
}

/** The view's three parts: [current, proposed, editor]. */
export function planParts(model, redraw) {
  if (!plans.busy && Date.now() - plans.at > FRESH_MS && model.link === "live") look(redraw);
  return { current: current(), proposed: proposed(), editor: editor(model, redraw) };
}
