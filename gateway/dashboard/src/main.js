// SPDX-License-Identifier: MIT
// The page's start: data into the model, the model drawn once a frame and at least once a second, for the ages in it.
import { Feed } from "./data.js";
import { drawDialog } from "./dialog.js";
import { line } from "./format.js";
import { Model } from "./model.js";
import { page, VIEWS } from "./page.js";
import { Session } from "./session.js";
import { draw } from "./view.js";

const model = new Model();
const root = document.getElementById("page");
const spoken = document.getElementById("spoken");
const WHO_MS = 300;
let asked = false;
let drawn = false;

function show() {
  asked = false;
  draw(root, page(model, redraw));
  drawDialog();
  if (model.spoken.length) spoken.textContent = line(model.spoken.splice(0).slice(-3).join(". "), 600);
}

function redraw() {
  if (asked || !drawn) return;
  asked = true;
  requestAnimationFrame(show);
}

function chooseView(first) {
  const id = location.hash.slice(1);
  const view = VIEWS.find(([name]) => name === id);
  if (view) {
    model.view = id;
    document.title = `${view[1]} · rolemesh`;
  }
  if (first || !drawn) return;
  show();
  if (view) scrollTo(0, 0);
  document.getElementById("main").focus({ preventScroll: true });
}

const feed = new Feed({
  snapshot: (snapshot) => (model.take(snapshot), redraw()),
  event: (event) => (model.addEvent(event), redraw()),
  past: (events) => (model.addPast(events), redraw()),
  link: (state, text) => {
    if (model.link !== state && state !== "lost" && model.link !== "wait") model.session.look();
    model.setLink(state, text);
    redraw();
  },
});

model.session = new Session(redraw, () => feed.again());
addEventListener("hashchange", () => chooseView(false));
chooseView(true);

// Drawn once it is known who looks: what the head shows depends on it, and shall not move.
async function start() {
  await Promise.race([model.session.look(), new Promise((wake) => setTimeout(wake, WHO_MS))]);
  root.replaceChildren();
  drawn = true;
  show();
  setInterval(redraw, 1000);
  feed.run();
}
start();
