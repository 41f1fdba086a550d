// SPDX-License-Identifier: MIT
// The one dialog of the page, modal by the browser: it keeps the focus, Escape closes it, and the focus goes back to where
// it was. What it holds is described anew with every drawing, as the page is.
import { line } from "./format.js";
import { draw, h } from "./view.js";

const box = document.getElementById("dialog");
let holds = null; // () => {title, kids}
let opener = null; // what had the focus, by its id: the element may be drawn anew meanwhile

function onClosed() {
  holds = null;
  draw(box, []);
  const back = opener && document.getElementById(opener);
  opener = null;
  if (back && document.activeElement === document.body) back.focus();
}

export function closeDialog() {
  if (box.open) box.close();
}

export function drawDialog() {
  if (!holds) return;
  const { title, wide, kids } = holds();
  box.classList.toggle("wide", Boolean(wide));
  draw(box, [h("div", { class: "inner" },
    h("div", { class: "head" }, h("h2", { id: "dialog-title" }, line(title, 200)), h("button", { type: "button", class: "plain", "aria-label": "Close", on: { click: closeDialog } }, "✕")), kids)]);
}

/** describe() -> {title, wide, kids}; it is called for every drawing while the dialog is open. */
export function openDialog(describe) {
  opener = document.activeElement?.id || null;
  holds = describe;
  drawDialog();
  if (!box.open) box.showModal();
  box.querySelector("[data-first]")?.focus();
}

box.addEventListener("close", onClosed);
box.addEventListener("click", (e) => {
  if (e.target === box) closeDialog(); // beside what it holds
});
