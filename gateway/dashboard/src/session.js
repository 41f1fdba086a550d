// SPDX-License-Identifier: MIT
// Who looks at the page. A key is handed to the gateway once and becomes a session, whose cookie no script can read; the
// key itself is kept nowhere. Without an admin's session the page only reads.
import { act, ask } from "./api.js";
import { closeDialog, openDialog } from "./dialog.js";
import { line, span } from "./format.js";
import { h } from "./view.js";

const NOBODY = { name: null, admin: false, keys_exist: null, expires_s: null };

export class Session {
  constructor(redraw, onChange) {
    this.redraw = redraw;
    this.onChange = onChange; // the stream begins anew
    this.who = NOBODY;
    this.busy = false;
    this.error = "";
  }

  /** May this page act? */
  get acts() {
    return this.who.admin === true;
  }

  get signedIn() {
    return typeof this.who.name === "string";
  }

  async look() {
    const who = await ask("/api/v1/session").catch(() => null);
    if (who && typeof who === "object") this.who = { ...NOBODY, ...who };
    this.redraw();
  }

  async signIn(key) {
    this.busy = true;
    this.error = "";
    this.redraw();
    try {
      await act("POST", "/api/v1/session", { key });
      await this.look();
      closeDialog();
      this.onChange();
    } catch (error) {
      this.error = error.message;
    }
    this.busy = false;
    this.redraw();
  }

  async signOut() {
    await act("DELETE", "/api/v1/session").catch((error) => (this.error = error.message));
    await this.look();
    this.onChange();
  }
}

/** The form that takes a key. id: of its field; the page may show it in two places. */
export function keyForm(session, id) {
  const send = (e) => {
    e.preventDefault();
    const field = document.getElementById(id);
    const key = field.value.trim();
    field.value = "";
    if (key && !session.busy) session.signIn(key);
  };
  return h("form", { class: "keys", on: { submit: send } }, h("label", { for: id }, "API key"),
    h("div", { class: "line" }, h("input", { id, type: "password", autocomplete: "off", required: true, maxlength: "200", "data-first": true, "aria-describedby": `${id}-help` }),
      h("button", { type: "submit", class: "strong", disabled: session.busy }, session.busy ? "Asking …" : "Sign in")),
    session.error ? h("p", { class: "fault", role: "alert" }, line(session.error, 300)) : null,
    h("p", { class: "where", id: `${id}-help` }, "Actions need an admin's key: ", h("code", null, "rolemesh keys create NAME --admin"), ". This page keeps no key: the gateway gives it a session of 12 hours."));
}

function signInDialog(session) {
  session.error = "";
  openDialog(() => ({ title: session.who.keys_exist === false ? "This page is read-only" : "Sign in",
    kids: session.who.keys_exist === false ? h("div", { class: "text" },
      h("p", null, "This gateway has no keys yet. Until it has one, everybody who reaches it may look, and actions are taken from a terminal on its own machine only, never from a browser."),
      h("p", null, "To act from here, make an admin's key on that machine and sign in with it:"), h("pre", { tabindex: "0" }, h("code", null, "rolemesh keys create NAME --admin")),
      h("p", { class: "where" }, "From then on readers and editors need a key as well.")) : keyForm(session, "key-dialog") }));
}

/** The corner of the header: who is signed in, and the way in or out. */
export function sessionCorner(session) {
  const { who } = session;
  const left = Number.isFinite(who.expires_s) ? `Ends in ${span(who.expires_s * 1000)}` : null;
  if (session.signedIn)
    return h("div", { class: "who", key: "who" }, h("span", { title: left }, line(who.name, 64), h("small", null, who.admin ? "admin" : "reads")), h("button", { type: "button", id: "sign-out", class: "quiet", on: { click: () => session.signOut() } }, "Sign out"));
  if (session.acts) return null;
  return h("div", { class: "who", key: "who" }, h("button", { type: "button", id: "sign-in", class: "quiet", on: { click: () => signInDialog(session) } }, who.keys_exist === false ? "Read-only" : "Sign in"));
}
