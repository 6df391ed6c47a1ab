// Attention maps as numbers and as pictures: from the class token or a patch, as heat or as a mask.

import { MAGMA, paint } from "./colours.js";
import { square } from "./dom.js";
import { drawSprite, unpack, unpackDistributions } from "./unpack.js";

/** Side of a map in pixels. */
export const SIDE = 288;
// A nearly uniform map must not look like strong attention: its scale ends at this multiple of the uniform value.
export const LEAST_PEAK = 4;
// Patches outside a mask become pale blue, which is visible on dark and on light images.
const HIDDEN = [148, 184, 214];

/** How far the colours of a map reach. */
export function attentionScale({ grid }) {
  return `Every map sums to 1 over ${grid.join(" × ")} patches and is drawn from 0 to its own maximum, or to ${LEAST_PEAK} times the uniform value if that is higher.`;
}

/** What a saved figure of attention says below itself. */
export function attentionNotes(views) {
  return {
    notes: [`${[...new Set(views.map((view) => view.data))].join(", ")} · ${views.map((view) => view.label).join(", ")}`, attentionScale(views[0])],
    bar: { table: MAGMA, from: "0", to: "maximum of the map" },
  };
}

/** Attention of one image from one query, for a view: {grid, heads: [Float32Array], combined}. */
export async function mapsFrom(view, image, query) {
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
export function keptPatches(map, mass) {
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
export function overlap(kept, [rows, columns], object, size) {
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
export async function paintMap(canvas, set, image, map, grid, mode, mass) {
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

export async function outline(canvas, set, image) {
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

export function markQuery(canvas, query, [rows, columns]) {
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

export function gridLines(canvas, [rows, columns]) {
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

