// Elements, controls and announcements. All text goes through text nodes, so nothing in a name is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element: h("p", {class: "caption", onclick: act}, "text", child). */
export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

/** A square canvas of `side` pixels. */
export function square(side, attributes) {
  return h("canvas", { width: side, height: side, ...attributes });
}

/** Tell a screen reader. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** The value of a colour of the theme, such as "ink". */
export function themeColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** One of several: buttons side by side. `options` are [value, label]; `key` keeps the focus over a rendering. */
export function segments(name, key, options, chosen, choose) {
  const buttons = options.map(([value, label]) =>
    h("button", { type: "button", "data-key": `${key}-${value}`, "aria-pressed": String(value === chosen), onclick: () => choose(value) }, label),
  );
  return h("div", { class: "group", role: "group", "aria-label": name }, h("span", { class: "name" }, name), h("div", { class: "segments" }, buttons));
}

/** On or off. */
export function toggle(label, key, on, change) {
  return h("button", { type: "button", "data-key": key, "aria-pressed": String(on), onclick: () => change(!on) }, label);
}

/** A slider with its value beside it; `show` makes the value's text. */
export function slider(name, key, { min, max, step, value, show }, change) {
  const shown = h("output", {}, show(value));
  const input = h("input", {
    type: "range", min, max, step, value, "data-key": key, "aria-label": name, "aria-valuetext": show(value),
    oninput: () => {
      shown.textContent = show(Number(input.value));
      input.setAttribute("aria-valuetext", shown.textContent);
      change(Number(input.value));
    },
  });
  return h("label", { class: "group" }, h("span", { class: "name" }, name), input, shown);
}

/** A choice from many. */
export function chooser(name, key, options, chosen, choose) {
  const select = h("select", { "data-key": key, "aria-label": name, onchange: () => choose(select.value) },
    options.map(([value, label]) => h("option", { value, selected: String(value) === String(chosen) }, label)));
  return h("label", { class: "group" }, h("span", { class: "name" }, name), select);
}

/** A part of the page that may be wider than the window: it then scrolls sideways, and says so. */
export function scroller(label, child) {
  const box = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, child);
  const frame = h("div", { class: "scroller" }, box, h("p", { class: "hint", "aria-hidden": "true" }, "Scroll sideways for more →"));
  const look = () => {
    const hidden = box.scrollWidth - box.clientWidth;
    frame.dataset.more = hidden < 2 ? "none" : box.scrollLeft < hidden - 2 ? "right" : "left";
  };
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
  return frame;
}

/** Show the tooltip beside a point of the window. */
export function showTip(x, y, ...children) {
  const tip = document.getElementById("tip");
  tip.replaceChildren(...children.flat());
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 16 + width > innerWidth ? x - 16 - width : x + 16;
  tip.style.left = `${Math.max(6, left)}px`;
  tip.style.top = `${Math.max(6, Math.min(y + 14, innerHeight - height - 6))}px`;
}

export function hideTip() {
  document.getElementById("tip").hidden = true;
}

/** A number with as many digits as help. */
export function format(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(digits - 2).replace("e+", "e");
  return String(Number(value.toPrecision(Math.max(digits, Math.floor(Math.log10(size)) + 1))));
}
