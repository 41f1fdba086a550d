// SPDX-License-Identifier: MIT
// What an operator may do with hosts and nodes: a dialog with the choices that make sense now, each with what it does.
import { act, listOf, segment } from "./api.js";
import { confirmDialog } from "./confirm.js";
import { bytes, line } from "./format.js";
import { h } from "./view.js";

const HOST = {
  drain: ["Drain", "It gets no new requests and stays loaded; what runs is finished."],
  undrain: ["End the drain", "It gets requests again."],
  load: ["Load", "It is hosted here now and kept here, whatever the plan would rather do."],
  retry: ["Try again now", "The wait after its failure ends; it is loaded at once and kept here."],
  unload: ["Unload", "It is drained, saved and stopped, and stays off this node until somebody loads it here again."],
  evict: ["Evict", "It is drained, saved and stopped; the plan decides afresh, and may bring it back."],
};
const NODE = {
  drain: ["Drain the node", "Its hosts get no new requests; the plan moves them elsewhere where it can."],
  undrain: ["End the drain", "Its hosts get requests again, and the plan may use it."],
};

/** What makes sense for a host in its state, the likeliest first. */
export function choicesOf(host) {
  if (host.state === "failed") return ["retry", "unload"];
  if (host.wanted === "drained") return ["undrain", "unload", "evict"];
  if (host.wanted === "unloaded") return ["load"];
  return ["drain", ...(host.wanted === "loaded" ? [] : ["load"]), "unload", "evict"];
}

/** Radio buttons; now: {picked}. */
function choices(legend, list, now, redraw) {
  return h("fieldset", { class: "choices" }, h("legend", { class: "unseen" }, legend), list.map(([value, label, help], i) => h("label", { key: value, class: "choice" },
    h("input", { type: "radio", name: "choice", value, checked: i === 0, "data-first": i === 0, on: { change: () => ((now.picked = value), redraw()) } }), h("span", null, h("strong", null, label), h("span", { class: "where" }, help)))));
}

const told = (answer) => (typeof answer?.text === "string" ? answer.text : "Done.");

export function hostActions(host, redraw) {
  const names = choicesOf(host);
  const now = { picked: names[0] };
  confirmDialog({ title: `${line(host.role, 64)} on ${line(host.node, 64)}`, redraw, back: "Leave it as it is", verb: () => HOST[now.picked][0], done: told,
    kids: () => choices("What shall happen", names.map((n) => [n, ...HOST[n]]), now, redraw),
    run: () => act("POST", `/api/v1/hosts/${segment(host.role)}/${segment(host.node)}/${now.picked === "retry" ? "load" : now.picked}`) });
}

export function nodeActions(node, model, redraw) {
  const now = { picked: node.drained ? "undrain" : "drain" };
  const here = new Set(listOf(node, "hosts").map((x) => x.role));
  const roles = listOf(model.snapshot.roles, "roles").filter((r) => !here.has(r.name));
  const list = [[now.picked, ...NODE[now.picked]], ...roles.map((r) => [`load ${r.name}`, `Load ${line(r.name, 64)} here`, line(r.model, 120)])];
  confirmDialog({ title: `Node ${line(node.name, 64)}`, redraw, back: "Leave it as it is", done: told,
    verb: () => list.find(([value]) => value === now.picked)[1], kids: () => choices("What shall happen", list, now, redraw),
    run: () => act("POST", now.picked.startsWith("load ") ? `/api/v1/hosts/${segment(now.picked.slice(5))}/${segment(node.name)}/load` : `/api/v1/nodes/${segment(node.name)}/${now.picked}`) });
}

export function roleActions(role, model, redraw) {
  const nodes = listOf(model.snapshot.nodes, "nodes");
  const on = new Map(listOf(role, "hosts").map((x) => [x.node, x.state]));
  const free = (n) => Math.max(0, (n.memory?.budget || 0) - (n.memory?.committed || 0));
  const list = nodes.map((n) => [n.name, line(n.name, 64), n.health !== "up" ? `It is ${line(n.health, 20)}.` : `${bytes(free(n))} of its budget are free.${on.has(n.name) ? ` There already: ${line(on.get(n.name), 20)}.` : ""}`]);
  const now = { picked: nodes[0]?.name };
  confirmDialog({ title: `Load ${line(role.name, 64)} on a node`, redraw, back: "Leave it as it is", done: told, text: ["It is hosted there now and kept there, whatever the plan would rather do."],
    verb: () => `Load on ${line(now.picked, 64)}`, kids: () => choices("On which node", list, now, redraw), run: () => act("POST", `/api/v1/hosts/${segment(role.name)}/${segment(now.picked)}/load`) });
}
