// SPDX-License-Identifier: MIT
// The view layer: h() describes an element, draw() makes an element's children what is described and touches only what
// differs, so that focus, selection and open <details> stay. Whatever is shown becomes a text node or an attribute
// of a known kind; no text is ever read as HTML, and no attribute can carry a script.

const SVG = new Set(["svg", "path", "line"]);
const SVG_NS = "http://www.w3.org/2000/svg";
const described = new WeakMap(); // element -> what it was last drawn from

/** h("p", {class: "x", key: "k", on: {click}, style: {width: "3%"}}, "text", [more], null)
 * own: a function that is handed the element with every drawing and looks after its children itself. */
export function h(tag, props, ...kids) {
  return { tag, props: props || {}, key: props?.key, kids: cleaned(kids) };
}

const APART = ["key", "on", "own", "style"];

const cleaned = (kids) => kids.flat(Infinity).filter((k) => k !== null && k !== undefined && k !== false);

function setAttribute(el, name, value) {
  if (/^on/i.test(name) || name === "srcdoc") throw new Error(`attribute ${name}`);
  if ((name === "href" || name === "src") && !/^(#|\/(?!\/)|\.\/)/.test(value)) throw new Error(`a link of the page itself: ${name}`);
  if (value === true) value = "";
  if (value === null || value === undefined || value === false) el.removeAttribute(name);
  else if (el.getAttribute(name) !== String(value)) el.setAttribute(name, value);
}

// style by the CSSOM: the page's policy allows no style attribute
function setStyle(el, now, before) {
  for (const name in before) if (!(name in now)) el.style.removeProperty(name);
  for (const name in now) if (now[name] !== before[name]) el.style.setProperty(name, now[name]);
}

function setEvents(el, now, before) {
  for (const name in before) if (now[name] !== before[name]) el.removeEventListener(name, before[name]);
  for (const name in now) if (now[name] !== before[name]) el.addEventListener(name, now[name]);
}

function update(el, v) {
  const before = described.get(el)?.props || {};
  for (const name in before) if (!(name in v.props) && !APART.includes(name)) el.removeAttribute(name);
  for (const name in v.props) if (!APART.includes(name)) setAttribute(el, name, v.props[name]);
  setStyle(el, v.props.style || {}, before.style || {});
  setEvents(el, v.props.on || {}, before.on || {});
  described.set(el, v);
  if (v.props.own) v.props.own(el);
  else draw(el, v.kids);
}

function make(v) {
  const el = SVG.has(v.tag) ? document.createElementNS(SVG_NS, v.tag) : document.createElement(v.tag);
  update(el, v);
  return el;
}

const isText = (v) => typeof v !== "object";

// The child that v was before: by key, else the next without a key that is of its kind.
function takeOld(v, keyed, rest) {
  if (!isText(v) && v.key !== undefined) {
    const el = keyed.get(v.key)?.shift();
    return el && described.get(el).tag === v.tag ? el : null;
  }
  const i = rest.findIndex((n) => (isText(v) ? n.nodeType === 3 : n.nodeType === 1 && described.get(n)?.tag === v.tag));
  return i < 0 ? null : rest.splice(0, i + 1)[i];
}

/** Makes parent's children what kids describe. */
export function draw(parent, kids) {
  const keyed = new Map(); // key -> elements; more than one only where names that should differ do not
  const rest = [];
  for (const n of parent.childNodes) {
    const key = described.get(n)?.key;
    if (key === undefined) rest.push(n);
    else if (keyed.has(key)) keyed.get(key).push(n);
    else keyed.set(key, [n]);
  }
  const wanted = cleaned(kids).map((v) => {
    const old = takeOld(v, keyed, rest);
    if (isText(v)) {
      return old && old.data === String(v) ? old : document.createTextNode(v); // another text is no old one that moved
    }
    if (!old) return make(v);
    update(old, v);
    return old;
  });
  const keep = new Set(wanted);
  for (const n of [...parent.childNodes]) if (!keep.has(n)) n.remove();
  wanted.forEach((n, i) => {
    if (parent.childNodes[i] !== n) parent.insertBefore(n, parent.childNodes[i] || null);
  });
}
