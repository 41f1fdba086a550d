// SPDX-License-Identifier: MIT
// The page's start: data into the model, the model drawn once a frame and at least once a second, for the ages in it.
import { Feed } from "./data.js";
import { Model } from "./model.js";
import { page } from "./page.js";
import { draw } from "./view.js";

const model = new Model();
const root = document.getElementById("page");
const spoken = document.getElementById("spoken");
let asked = false;

function show() {
  asked = false;
  draw(root, page(model, redraw));
  if (model.spoken.length) spoken.textContent = model.spoken.splice(0).slice(-3).join(". ");
}

function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(show);
}

const feed = new Feed({
  snapshot: (snapshot) => (model.take(snapshot), redraw()),
  event: (event) => (model.addEvent(event), redraw()),
  past: (events) => (model.addPast(events), redraw()),
  link: (state, text) => (model.setLink(state, text), redraw()),
});

model.signIn = (key) => feed.signIn(key);
root.replaceChildren();
show();
setInterval(redraw, 1000);
feed.run();
