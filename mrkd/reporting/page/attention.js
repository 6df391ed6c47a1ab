// Attention explorer: what every head of the last layer attends to, from the class token or any patch.

import { lineChart, swatch } from "./chart.js";
import { MAGMA, methodStyle, paint } from "./colours.js";
import { announce, chooser, format, h, segments, slider, square, themeColour, toggle } from "./dom.js";
import { saveButtons, sheet } from "./save.js";
import { drawSprite, unpack, unpackDistributions } from "./unpack.js";

const SIDE = 288;
// Patches outside a mask become pale blue, which is visible on dark and on light images.
const HIDDEN = [148, 184, 214];
// A nearly uniform map must not look like strong attention: its scale ends at this multiple of the uniform value.
const LEAST_PEAK = 4;

export const attention = {
  id: "attention",
  title: "Attention",
  initial: { preset: "explore", set: 0, image: 0, query: null, mode: "heat", mass: null, outline: true, method: null },

  render(content, state, again) {
    const { sets, views } = content.attention;
    if (!views.length) return [h("p", { class: "note" }, "These runs have no attention maps yet: run 'mrkd attend RUN'.")];
    state.mass ??= views[0].mass;
    state.set = Math.min(state.set, sets.length - 1);
    const set = sets[state.set], shown = views.filter((view) => view.set === state.set);
    state.image = Math.min(state.image, set.sprite.count - 1);
    const change = (part) => again({ ...state, ...part });
    const controls = h("div", { class: "controls" },
      segments("Show", "attention-preset", [["explore", "Explore"], ["fig-3", "Fig. 3"]], state.preset, (preset) => change({ preset })),
      sets.length > 1 && chooser("Images of", "attention-set", sets.map((_, place) => [place, views.find((view) => view.set === place).run]), state.set, (place) => change({ set: Number(place), image: 0, query: null })),
      state.preset === "explore" && segments("As", "attention-mode", [["heat", "heat"], ["mask", "mask"]], state.mode, (mode) => change({ mode })),
      slider("Kept mass", "attention-mass", { min: 0.05, max: 1, step: 0.05, value: state.mass, show: (value) => `${Math.round(100 * value)} %` }, (mass) => {
        state.mass = mass;
        redraw();
      }),
      set.objects && state.preset === "explore" && toggle("Object's outline", "attention-outline", state.outline, (outline) => change({ outline })),
    );
    const body = state.preset === "explore" ? explore(set, shown, state, change) : poster(set, shown, state, change);
    let pending = false;
    const redraw = () => {
      if (pending) return;
      pending = true;
      requestAnimationFrame(() => {
        pending = false;
        body.update();
      });
    };
    body.update();
    const measured = shown.filter((view) => view.segmentation);
    return [controls, body.element, measured.length ? objectsFound(measured, state) : null];
  },
};

/** Attention of one image from one query, for a view: {grid, heads: [Float32Array], combined}. */
async function mapsFrom(view, image, query) {
  const token = await unpackDistributions(view.classToken, view.classToken.shape.at(-2) * view.classToken.shape.at(-1));
  const [, heads, rows, columns] = token.shape;
  if (query === null) return split(token.values, image * heads * rows * columns, heads, rows * columns, [rows, columns]);
  const packed = view.patches[image];
  if (!packed) return null;
  const [, queries, high, wide] = packed.shape;
  const { values } = await unpackDistributions(packed, high * wide);
  const place = Math.min(high - 1, Math.floor(query.y * high)) * wide + Math.min(wide - 1, Math.floor(query.x * wide));
  const chosen = Array.from({ length: heads }, (_, head) => values.subarray((head * queries + place) * high * wide, (head * queries + place + 1) * high * wide));
  return together(chosen, [high, wide]);
}

function split(values, start, heads, size, grid) {
  return together(Array.from({ length: heads }, (_, head) => values.subarray(start + head * size, start + (head + 1) * size)), grid);
}

function together(heads, grid) {
  const combined = new Float32Array(heads[0].length);
  for (const head of heads) head.forEach((value, place) => (combined[place] += value / heads.length));
  return { grid, heads, combined };
}

/** True for the fewest patches that hold `mass` of the attention. */
function keptPatches(map, mass) {
  const order = Array.from(map.keys()).sort((a, b) => map[b] - map[a]);
  const kept = new Array(map.length).fill(false);
  let sum = 0;
  for (const place of order) {
    if (sum >= mass - 1e-6) break;
    kept[place] = true;
    sum += map[place];
  }
  return kept;
}

/** Intersection over union, in pixels of the object's mask. */
function overlap(kept, [rows, columns], object, size) {
  let both = 0, either = 0;
  for (let place = 0; place < object.length; place++) {
    const row = Math.floor((Math.floor(place / size) * rows) / size), column = Math.floor(((place % size) * columns) / size);
    const inside = kept[row * columns + column];
    both += inside && object[place];
    either += inside || object[place] ? 1 : 0;
  }
  return either ? both / either : 1;
}

/** Paint one map over the picture: `mode` is heat, mask or picture. */
async function paintMap(canvas, set, image, map, grid, mode, mass) {
  const buffer = square(SIDE), context = buffer.getContext("2d", { willReadFrequently: true });
  await drawSprite(context, set.sprite, image, 0, 0, SIDE);
  if (mode !== "picture") {
    const pixels = context.getImageData(0, 0, SIDE, SIDE), data = pixels.data;
    const kept = mode === "mask" ? keptPatches(map, mass) : null;
    const top = map.reduce((a, b) => Math.max(a, b), LEAST_PEAK / map.length), heat = [0, 0, 0, 0];
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        const place = Math.floor((y * grid[0]) / SIDE) * grid[1] + Math.floor((x * grid[1]) / SIDE), at = 4 * (y * SIDE + x);
        if (kept) {
          if (!kept[place]) for (let channel = 0; channel < 3; channel++) data[at + channel] = 0.25 * data[at + channel] + 0.75 * HIDDEN[channel];
        } else {
          const grey = 0.3 * (data[at] + data[at + 1] + data[at + 2]) / 3;
          paint(heat, 0, MAGMA, map[place] / top);
          for (let channel = 0; channel < 3; channel++) data[at + channel] = grey + 0.72 * heat[channel];
        }
      }
    }
    context.putImageData(pixels, 0, 0);
  }
  canvas.getContext("2d").drawImage(buffer, 0, 0);
}

async function outline(canvas, set, image) {
  const { values } = await unpack(set.objects), size = set.sprite.size, unit = canvas.width / size;
  const inside = (x, y) => x >= 0 && y >= 0 && x < size && y < size && values[(image * size + y) * size + x];
  const context = canvas.getContext("2d");
  const path = new Path2D();
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      if (!inside(x, y)) continue;
      for (const [dx, dy, edge] of [[-1, 0, [0, 0, 0, 1]], [1, 0, [1, 0, 1, 1]], [0, -1, [0, 0, 1, 0]], [0, 1, [0, 1, 1, 1]]]) {
        if (inside(x + dx, y + dy)) continue;
        path.moveTo((x + edge[0]) * unit, (y + edge[1]) * unit);
        path.lineTo((x + edge[2]) * unit, (y + edge[3]) * unit);
      }
    }
  }
  context.lineWidth = 3.5;
  context.strokeStyle = "#000";
  context.stroke(path);
  context.lineWidth = 1.6;
  context.strokeStyle = "#fff";
  context.stroke(path);
}

function markQuery(canvas, query, [rows, columns]) {
  if (!query) return;
  const context = canvas.getContext("2d"), wide = canvas.width / columns, high = canvas.height / rows;
  const x = Math.min(columns - 1, Math.floor(query.x * columns)) * wide, y = Math.min(rows - 1, Math.floor(query.y * rows)) * high;
  context.lineWidth = 4;
  context.strokeStyle = "#000";
  context.strokeRect(x, y, wide, high);
  context.lineWidth = 2;
  context.strokeStyle = "#fff";
  context.strokeRect(x, y, wide, high);
}

function queryGrid(view, image) {
  return (view.patches[image] ?? view.classToken).shape.slice(-2);
}

function explore(set, views, state, change) {
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
  const scale = square(1, { width: 128, height: 1, "aria-hidden": "true" });
  const ramp = scale.getContext("2d").createImageData(128, 1);
  for (let x = 0; x < 128; x++) paint(ramp.data, 4 * x, MAGMA, x / 127);
  scale.getContext("2d").putImageData(ramp, 0, 0);
  const where = state.query ? `patch in row ${Math.floor(state.query.y * grid[0]) + 1}, column ${Math.floor(state.query.x * grid[1]) + 1}` : "class token";
  const side = h("div", { class: "picker" },
    h("h3", {}, `From the ${where}`),
    h("div", { class: "strip", role: "group", "aria-label": "Image" }, Array.from({ length: set.sprite.count }, (_, image) => thumbnail(set, image, image === state.image, () => change({ image })))),
    picker,
    h("div", { class: "controls" }, toggle("Class token", "attention-cls", state.query === null, () => choose(null))),
    h("p", { class: "caption" }, set.names ? `Class: ${set.names[state.image]}. ` : "", `Click a patch of the image: the maps show the attention of each head of the last layer from that patch. Every map sums to 1 over the ${views[0].classToken.shape.at(-2)} × ${views[0].classToken.shape.at(-1)} patches and is drawn up to its maximum, or up to ${LEAST_PEAK} times the uniform value if that is higher.`),
    h("div", { class: "scales" }, "none", scale, "most"),
  );
  const element = h("div", { class: "explorer" }, side, h("div", { class: "maps" }, rows.map((row) => row.element),
    h("div", { class: "controls" }, saveButtons("attention", () => sheet(rows.map((row) => row.forSheet()), `Last layer, from the ${where}`)))));
  const update = async () => {
    await paintMap(picker, set, state.image, null, grid, "picture");
    gridLines(picker, grid);
    markQuery(picker, state.query, grid);
    for (const row of rows) await row.update();
    element.dataset.drawn = String(Number(element.dataset.drawn ?? 0) + 1);
  };
  return { element, update };
}

function gridLines(canvas, [rows, columns]) {
  const context = canvas.getContext("2d");
  context.strokeStyle = "rgb(128 128 128 / 0.45)";
  context.lineWidth = 1;
  context.beginPath();
  for (let column = 1; column < columns; column++) {
    context.moveTo((column * canvas.width) / columns, 0);
    context.lineTo((column * canvas.width) / columns, canvas.height);
  }
  for (let row = 1; row < rows; row++) {
    context.moveTo(0, (row * canvas.height) / rows);
    context.lineTo(canvas.width, (row * canvas.height) / rows);
  }
  context.stroke();
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

/** The poster's figure 3: rows of images; columns of heads, all heads and the mask. */
function poster(set, views, state, change) {
  const view = views.find((one) => one.method === state.method) ?? views.find((one) => one.method !== "random") ?? views[0];
  const holder = h("figure", { class: "poster" }), heads = view.classToken.shape[1];
  const title = `${view.method}: attention of the class token in the last layer`;
  const element = h("div", {},
    h("div", { class: "controls" },
      chooser("Method", "attention-method", views.map((one) => [one.method, one.method]), view.method, (method) => change({ method })),
      saveButtons(`fig3 ${view.method}`, () => holder.querySelector("svg"))),
    holder,
    h("p", { class: "caption" }, "From left to right: the image; each head; the mean over heads; the fewest patches of the mean that hold the kept mass, the others pale."));
  const update = async () => {
    const rows = await Promise.all(Array.from({ length: set.sprite.count }, async (_, image) => {
      const maps = await mapsFrom(view, image, null);
      const cell = async (name, map, mode) => {
        const canvas = square(SIDE);
        await paintMap(canvas, set, image, map, maps.grid, mode, state.mass);
        return { title: name, canvas };
      };
      return { label: "", cells: await Promise.all([
        cell(set.names?.[image] ?? "image", null, "picture"),
        ...maps.heads.map((map, head) => cell(`head ${head + 1}`, map, "heat")),
        cell("all heads", maps.combined, "heat"),
        cell(`${Math.round(100 * state.mass)} % of the mass`, maps.combined, "mask"),
      ]) };
    }));
    const figure = sheet(rows, title);
    figure.style.maxWidth = `${(heads + 3) * 150}px`;
    holder.replaceChildren(figure);
  };
  return { element, update };
}

/** Jaccard over all test images against the kept mass, for each method and for random weights. */
function objectsFound(views, state) {
  const { mass, images, scored_on: split, whole_image: whole } = views[0].segmentation;
  const line = (scores) => scores.map((y, place) => ({ x: 100 * mass[place], y }));
  const series = views.filter((view) => view.method !== "random").map((view) => ({ ...methodStyle(view.method), name: view.method, points: line(view.segmentation.jaccard.combined) }));
  series.push({ colour: themeColour("faint"), dash: "1.5 3", name: "random weights", points: line(views[0].segmentation.random_weights.combined) });
  const place = mass.reduce((best, value, index) => (Math.abs(value - state.mass) < Math.abs(mass[best] - state.mass) ? index : best), 0);
  const rows = views.map(({ method, segmentation: { jaccard, random_weights: random } }) => h("tr", { "data-method": method },
    h("th", { scope: "row" }, swatch(methodStyle(method)), " ", method),
    [jaccard.combined, random.combined, jaccard.best_head, random.best_head].map((scores) => h("td", {}, scores[place].toFixed(1)))));
  return h("section", {},
    h("h2", {}, "Overlap of attention with the object"),
    h("div", { class: "charts" },
      lineChart({ title: "Jaccard with the object, %", xLabel: "kept mass of the class token's attention, %", series, describe: (x) => `mask of ${format(x)} % of the mass`, caption: `Mean over ${images} images of the ${split} split, all heads together. The whole image as mask has ${whole.toFixed(1)} %.` }),
      h("div", { class: "scroll" }, h("table", { class: "jaccard" },
        h("thead", {}, h("tr", {}, ["Jaccard, %", "all heads", "random weights", "best head", "random, best head"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, rows)),
      h("p", { class: "caption" }, `At ${Math.round(100 * mass[place])} % of the mass. Random weights: an untrained network of the same shape and seed. The best head is chosen by these same numbers, so both of its columns are optimistic.`))));
}
