// One image, all methods: a query is picked in the image, and each method shows what its heads attend to from there.

import { SIDE, attentionNotes, attentionScale, gridLines, keptPatches, mapsFrom, markQuery, outline, overlap, paintMap } from "./attention_maps.js";
import { swatch } from "./chart.js";
import { MAGMA, colourBar, methodStyle } from "./colours.js";
import { announce, h, square, toggle } from "./dom.js";
import { saveButtons, sheet } from "./save.js";
import { drawSprite, unpack } from "./unpack.js";

function queryGrid(view, image) {
  return (view.patches[image] ?? view.classToken).shape.slice(-2);
}

export function explore(set, views, state, change) {
  const grid = queryGrid(views[0], state.image);
  const rows = views.map((view) => methodRow(view, set, state));
  const picker = square(SIDE, { class: "crisp", tabindex: 0, "data-key": "attention-picker", "data-picker": "", role: "application", "aria-label": "Query: click a patch, or move with the arrow keys; Escape goes back to the class token" });
  const choose = (query) => {
    announce(query ? `From the patch in row ${Math.floor(query.y * grid[0]) + 1}, column ${Math.floor(query.x * grid[1]) + 1}` : "From the class token");
    change({ query });
  };
  const centre = (column, row) => ({ x: (column + 0.5) / grid[1], y: (row + 0.5) / grid[0] });
  picker.addEventListener("click", (event) => {
    const box = picker.getBoundingClientRect();
    const at = (value, count) => Math.max(0, Math.min(count - 1, Math.floor(value * count)));
    choose(centre(at((event.clientX - box.left) / box.width, grid[1]), at((event.clientY - box.top) / box.height, grid[0])));
  });
  picker.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return choose(null);
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!by) return;
    event.preventDefault();
    const column = state.query ? Math.floor(state.query.x * grid[1]) + by[0] : Math.floor(grid[1] / 2);
    const row = state.query ? Math.floor(state.query.y * grid[0]) + by[1] : Math.floor(grid[0] / 2);
    choose(centre(Math.max(0, Math.min(grid[1] - 1, column)), Math.max(0, Math.min(grid[0] - 1, row))));
  });
  const where = state.query ? `patch in row ${Math.floor(state.query.y * grid[0]) + 1}, column ${Math.floor(state.query.x * grid[1]) + 1}` : "class token";
  const side = h("div", { class: "picker" },
    h("h3", {}, `From the ${where}`),
    h("div", { class: "strip", role: "group", "aria-label": "Image" }, Array.from({ length: set.sprite.count }, (_, image) => thumbnail(set, image, image === state.image, () => change({ image })))),
    picker,
    h("div", { class: "controls" }, toggle("Class token", "attention-cls", state.query === null, () => choose(null))),
    h("p", { class: "caption" }, set.names ? `Class: ${set.names[state.image]}. ` : "", `Click a patch of the image: the maps show the attention of each head of the last layer from that patch. ${attentionScale(views[0])}`),
    colourBar(MAGMA, "0", "maximum of the map"),
  );
  const element = h("div", { class: "explorer" }, side, h("div", { class: "maps" }, rows.map((row) => row.element),
    h("div", { class: "controls" }, saveButtons(`attention ${views[0].data} image ${state.image + 1}`, () => ({ svg: sheet(rows.map((row) => row.forSheet()), `Last layer, from the ${where}, ${state.mode === "mask" ? `masks of ${Math.round(100 * state.mass)} % of the mass` : "heat"}`), ...attentionNotes(views) })))));
  const update = async () => {
    await paintMap(picker, set, state.image, null, grid, "picture");
    gridLines(picker, grid);
    markQuery(picker, state.query, grid);
    for (const row of rows) await row.update();
    element.dataset.drawn = String(Number(element.dataset.drawn ?? 0) + 1);
  };
  return { element, update };
}

function thumbnail(set, image, pressed, choose) {
  const canvas = square(36, { class: "crisp" });
  drawSprite(canvas.getContext("2d"), set.sprite, image, 0, 0, 36);
  return h("button", { type: "button", "data-key": `attention-image-${image}`, "aria-pressed": String(pressed), "aria-label": `Image ${image + 1}${set.names ? `, ${set.names[image]}` : ""}`, onclick: choose }, canvas);
}

/** One method's maps of the chosen image. */
function methodRow(view, set, state) {
  const heads = view.classToken.shape[1];
  const titles = ["all heads", ...Array.from({ length: heads }, (_, head) => `head ${head + 1}`)];
  const canvases = titles.map((title) => square(SIDE, { role: "img", "aria-label": `${view.method}: ${title}` }));
  const number = h("span", { class: "number" });
  const cells = h("div", { class: "cells" }, canvases.map((canvas, place) => h("figure", {}, canvas, h("figcaption", {}, titles[place]))));
  const element = h("section", { class: "method", "data-method": view.method }, h("h3", {}, swatch(methodStyle(view.method)), view.method, number), cells);
  const update = async () => {
    const maps = await mapsFrom(view, state.image, state.query);
    if (!maps) {
      number.textContent = "only attention of the class token is stored for this image, to limit the size of the page";
      cells.hidden = true;
      return;
    }
    await Promise.all([maps.combined, ...maps.heads].map(async (map, place) => {
      await paintMap(canvases[place], set, state.image, map, maps.grid, state.mode, state.mass);
      if (set.objects && state.outline) await outline(canvases[place], set, state.image);
      markQuery(canvases[place], state.query, maps.grid);
    }));
    number.textContent = await describeMap(maps, set, state);
  };
  return { element, update, forSheet: () => ({ label: view.method, cells: canvases.map((canvas, place) => ({ title: titles[place], canvas })) }) };
}

async function describeMap({ combined, grid }, set, state) {
  const kept = keptPatches(combined, state.mass), count = kept.filter(Boolean).length;
  const text = `${count} of ${kept.length} patches hold ${Math.round(100 * state.mass)} %`;
  if (!set.objects) return text;
  const size = set.sprite.size, { values } = await unpack(set.objects);
  const object = values.subarray(state.image * size * size, (state.image + 1) * size * size);
  return `${text} · Jaccard with the object ${(100 * overlap(kept, grid, object, size)).toFixed(1)} %`;
}

