// Figures as files: an SVG as it is shown, on the paper of the theme, or as a PNG three times as fine.

import { h, s, themeColour } from "./dom.js";

const FINENESS = 3;
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif";

/** Two buttons that save the SVG which `make` returns under the name `name`. */
export function saveButtons(name, make) {
  const button = (kind, act) =>
    h("button", { type: "button", "data-key": `save-${kind}-${name}`, "aria-label": `Save ${name} as ${kind}`, onclick: async () => act(standalone(await make()), name) }, kind);
  return h("div", { class: "group save" }, h("span", { class: "name" }, "Save as"), h("div", { class: "segments" }, button("SVG", saveSvg), button("PNG", savePng)));
}

function standalone(figure) {
  const copy = figure.cloneNode(true);
  const { width, height } = figure.viewBox.baseVal;
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  copy.setAttribute("font-family", FONT);
  for (const passing of copy.querySelectorAll("[data-passing]")) passing.remove();
  copy.prepend(s("rect", { width, height, fill: themeColour("paper") }));
  return { text: new XMLSerializer().serializeToString(copy), width, height };
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

/** One SVG of rows of canvases with their titles: rows are {label, cells: [{title, canvas or svg}]}. */
export function sheet(rows, title) {
  const side = 96, gap = 8, left = rows.some((row) => row.label) ? 92 : 8, top = 34, caption = 15;
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
        s("image", { x, y, width: side, height: side, href: cell.canvas.toDataURL("image/png"), style: "image-rendering: pixelated" }));
      figure.append(
        s("text", { x: x + side / 2, y: y + side + 11, "font-size": 9, fill: soft, "text-anchor": "middle" }, cell.title),
      );
    });
  });
  return figure;
}
