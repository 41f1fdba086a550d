// SPDX-License-Identifier: MIT
// Asks before something is done, does it, and says how it went: in the dialog when it failed, at the foot of the page when
// it did not.
import { closeDialog, openDialog } from "./dialog.js";
import { line } from "./format.js";
import { h } from "./view.js";

const TOLD_MS = 6000;
const toast = document.getElementById("toast");
let hide = 0;

/** Says something at the foot of the page, for eyes and ears. */
export function tell(text) {
  toast.textContent = line(text, 300);
  toast.classList.add("shown");
  clearTimeout(hide);
  hide = setTimeout(() => toast.classList.remove("shown"), TOLD_MS);
}

/** title; text: paragraphs; kids(): more, drawn anew; verb, back: the buttons; run(): a promise; done(answer): words. */
export function confirmDialog({ title, text, kids, verb, back, redraw, run, done }) {
  const now = { busy: false, error: "" };
  const go = async (e) => {
    e.preventDefault();
    if (now.busy) return;
    Object.assign(now, { busy: true, error: "" });
    redraw();
    try {
      const answer = await run();
      closeDialog();
      tell(done(answer));
    } catch (error) {
      Object.assign(now, { busy: false, error: error.message });
    }
    redraw();
  };
  const word = typeof verb === "function" ? verb : () => verb;
  openDialog(() => ({ title, kids: h("form", { class: "confirm", on: { submit: go } }, (text || []).map((t, i) => h("p", { key: i }, t)), kids ? kids() : null,
    now.error ? h("p", { class: "fault", role: "alert" }, line(now.error, 400)) : null,
    h("div", { class: "line end" }, h("button", { type: "button", "data-first": !kids, on: { click: closeDialog } }, back || "Leave it"), h("button", { type: "submit", class: "strong", disabled: now.busy }, now.busy ? "Asking …" : word()))) }));
}
