// SPDX-License-Identifier: MIT
// Numbers and times as people read them. Pure.

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 12884901888 -> "12.0 GiB" */
export function bytes(n) {
  if (!Number.isFinite(n)) return "?";
  let unit = 0;
  while (Math.abs(n) >= 1024 && unit < BYTE_UNITS.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${unit === 0 || Math.abs(n) >= 100 ? Math.round(n) : n.toFixed(1)} ${BYTE_UNITS[unit]}`;
}

/** 32768 -> "32,768" */
export function count(n) {
  return Number.isFinite(n) ? Math.round(n).toLocaleString("en-US") : "?";
}

/** Tokens a second: one digit below 10. */
export function pace(n) {
  if (!Number.isFinite(n)) return "?";
  return n > 0 && n < 10 ? n.toFixed(1) : count(n);
}

/** 93784000 ms -> "1 d 2 h"; below a second in ms, below a minute in seconds with a digit below ten */
export function span(ms) {
  if (!Number.isFinite(ms)) return "?";
  const s = Math.max(0, ms) / 1000;
  if (s === 0) return "0 s";
  if (s > 0 && s < 0.001) return "<1 ms";
  if (s > 0 && s < 1) return `${Math.round(ms)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function percent(part) {
  return Number.isFinite(part) ? `${Math.round(part * 100)} %` : "?";
}

export function clock(date) {
  return Number.isFinite(date?.getTime?.()) ? date.toLocaleTimeString("en-GB") : "?";
}

/** Whatever came, as one line of at most n characters; what cannot be seen is written out. */
export function line(text, n = 300) {
  const shown = String(text ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return shown.length > n ? `${shown.slice(0, n - 1)}…` : shown;
}

/** The time, with the day when that is not today. */
export function moment(date) {
  if (!Number.isFinite(date?.getTime?.())) return "?";
  const today = date.toDateString() === new Date().toDateString();
  return today ? clock(date) : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${clock(date)}`;
}
