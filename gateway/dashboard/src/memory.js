// SPDX-License-Identifier: MIT
// From a node's numbers to the parts of its memory bar. Pure.
import { listOf } from "./api.js";

/** What a host takes, part by part, in the order of the bar; together they are what counts for it. */
export const HOST_PARTS = [
  ["weights", "weights", (h) => h.weights_bytes],
  ["kvused", "KV used", (h) => Math.min(h.kv_used_bytes || 0, h.kv_bytes || 0)],
  ["kvfree", "KV unused", (h) => Math.max(0, (h.kv_bytes || 0) - (h.kv_used_bytes || 0))],
  ["compute", "compute", (h) => h.compute_bytes],
  ["other", "other", (h) => h.other_bytes],
];

export const bytesOfHost = (host) => HOST_PARTS.reduce((n, [, , of]) => n + (of(host) || 0), 0);

/** {whole, parts: [{kind, role, name, tone, bytes}], budget, committed}. The parts are the whole: from the left what the
 * hosts take, then what is free of their budget; from the right other programs, which live in the reserve, and what they
 * leave of it. Where more is taken than there is, the reserve is cut first, then the others. */
export function memoryOf(node) {
  const m = node.memory || {};
  const whole = m.total || 0;
  let left = whole;
  const take = (n) => {
    const taken = Math.min(Math.max(0, n || 0), left);
    left -= taken;
    return taken;
  };
  const parts = listOf(node, "hosts").flatMap((host, i) => HOST_PARTS.map(([kind, name, of]) => ({ kind, role: host.role, name: `${host.role} ${name}`, tone: i % 6, bytes: take(of(host)) })));
  const others = take(m.others);
  const reserve = take(Math.max(0, (m.reserve || 0) - others));
  parts.push({ kind: "free", name: "free", bytes: left }, { kind: "reserve", name: "reserve", bytes: reserve }, { kind: "others", name: "other programs", bytes: others });
  return { whole, parts, budget: m.budget || 0, committed: m.committed || 0, reserve: m.reserve || 0 };
}
