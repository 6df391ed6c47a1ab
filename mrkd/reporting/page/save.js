// Figures as files: an SVG as it is shown, on the paper of the theme, or as a PNG three times as fine.

import { ramp } from "./colours.js";
import { h, s, square, themeColour } from "./dom.js";

const FINENESS = 3;
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif";

const NOTE = 10.5, LEADING = 15, MARGIN = 8;

/**
 * Two buttons that save what `make` returns, under the name `name`: {svg, notes, legend, bar}. Below the figure stand a
 * legend of lines ({name, colour, dash}), a bar of colours ({table, from, to}), and notes: data, methods, seeds, scale.
 */
export function saveButtons(name, make) {
  const button = (kind, act) =>
    h("button", { type: "button", "data-key": `save-${kind}-${name}`, "aria-label": `Save ${name} as ${kind}`, onclick: async () => act(standalone(await make()), name) }, kind);
  return h("div", { class: "group save" }, h("span", { class: "name" }, "Save as"), h("div", { class: "segments" }, button("SVG", saveSvg), button("PNG", savePng)));
}

function standalone({ svg, notes = [], legend = [], bar = null }) {
  const { width, height } = svg.viewBox.baseVal, copy = svg.cloneNode(true);
  for (const passing of copy.querySelectorAll("[data-passing]")) passing.remove();
  for (const name of ["style", "class", "tabindex"]) copy.removeAttribute(name);
  for (const [name, value] of Object.entries({ width, height })) copy.setAttribute(name, value);
  const below = h("div", {}), ink = themeColour("ink");
  let y = height + LEADING;
  const write = (x, text, fill) => below.append(s("text", { x, y, "font-size": NOTE, fill }, text));
  let x = MARGIN;
  for (const { name, colour, dash } of legend) {
    const room = 26 + textWidth(name) + 14;
    if (x > MARGIN && x + room > width) [x, y] = [MARGIN, y + LEADING];
    below.append(s("line", { x1: x, x2: x + 20, y1: y - 3.5, y2: y - 3.5, stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }));
    write(x + 26, name, ink);
    x += room;
  }
  if (legend.length) y += LEADING;
  if (bar) {
    const from = textWidth(bar.from) + 6;
    write(MARGIN, bar.from, ink);
    below.append(s("image", { x: MARGIN + from, y: y - 9, width: 110, height: 9, preserveAspectRatio: "none", href: ramp(bar.table).toDataURL("image/png") }));
    write(MARGIN + from + 116, bar.to, ink);
    y += LEADING;
  }
  for (const line of notes.flatMap((note) => wrapped(note, width - 2 * MARGIN))) {
    write(MARGIN, line, themeColour("soft"));
    y += LEADING;
  }
  const whole = s("svg", { viewBox: `0 0 ${width} ${y}`, width, height: y, "font-family": FONT }, s("rect", { width, height: y, fill: themeColour("paper") }), copy, ...below.childNodes);
  return { text: new XMLSerializer().serializeToString(whole), width, height: y };
}

/** Width of a text in a note, in pixels. */
function textWidth(text) {
  const context = square(1).getContext("2d");
  context.font = `${NOTE}px ${FONT}`;
  return context.measureText(text).width;
}

function wrapped(text, width) {
  const lines = [];
  for (const word of text.split(" ")) {
    const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
    if (lines.length && textWidth(longer) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

function saveSvg({ text }, name) {
  download(new Blob([text], { type: "image/svg+xml" }), `${name}.svg`);
}

async function savePng({ text, width, height }, name) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = h("canvas", { width: Math.round(width * FINENESS), height: Math.round(height * FINENESS) });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => download(blob, `${name}.png`), "image/png");
}

function download(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name.replace(/[^\w.+-]+/g, "-") }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** One SVG of rows of canvases with their titles: rows are {label, cells: [{title, canvas or svg}]}; `side` in pixels. */
export function sheet(rows, title, side = 96) {
  const gap = 8, left = Math.max(...rows.map((row) => (row.label ? textWidth(row.label) + 20 : 8))), top = 34, caption = 15;
  const columns = Math.max(...rows.map((row) => row.cells.length));
  const width = left + columns * (side + gap), height = top + rows.length * (side + caption + gap);
  const ink = themeColour("ink"), soft = themeColour("soft");
  const figure = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  figure.append(s("text", { x: 8, y: 19, "font-size": 13, "font-weight": 600, fill: ink }, title));
  rows.forEach((row, number) => {
    const y = top + number * (side + caption + gap);
    if (row.label) figure.append(s("text", { x: 8, y: y + side / 2, "font-size": 11, fill: ink }, row.label));
    row.cells.forEach((cell, column) => {
      const x = left + column * (side + gap);
      if (cell.svg) {
        const nested = cell.svg.cloneNode(true);
        for (const [name, value] of Object.entries({ x, y, width: side, height: side })) nested.setAttribute(name, value);
        figure.append(nested);
      } else figure.append(
        s("image", { x, y, width: side, height: side, href: cell.canvas.toDataURL("image/png") }));
      figure.append(
        s("text", { x: x + side / 2, y: y + side + 11, "font-size": 9, fill: soft, "text-anchor": "middle" }, cell.title),
      );
    });
  });
  return figure;
}
