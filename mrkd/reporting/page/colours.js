// Colours: one per method in every view, told apart by dash and mark too; classes; scales for amounts.

import { h } from "./dom.js";

const MARKS = ["disc", "square", "triangle", "diamond", "cross"];

let styles = new Map();
let untrained;
let classColours = [];

/** Take the colours of this page's methods and classes. */
export function takePalette({ methods, palette }) {
  styles = new Map(methods.map((method, place) => [method, palette.methods[place]]));
  untrained = palette.untrained;
  classColours = palette.classes;
}

/** {colour, dash} of a method, or of what is none, such as raw pixels or a frozen teacher. */
export function methodStyle(method) {
  return styles.get(method) ?? untrained;
}

/** {colour, mark} of a class or a cluster; neighbours in number differ in both. */
export function classStyle(index) {
  return { colour: classColours[index % classColours.length], mark: MARKS[index % MARKS.length] };
}

function scale(stops) {
  const table = new Uint8Array(256 * 3);
  const colours = stops.map((stop) => [1, 3, 5].map((place) => parseInt(stop.slice(place, place + 2), 16)));
  for (let level = 0; level < 256; level++) {
    const at = (level / 255) * (colours.length - 1);
    const low = Math.min(Math.floor(at), colours.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      table[3 * level + channel] = colours[low][channel] + (at - low) * (colours[low + 1][channel] - colours[low][channel]);
    }
  }
  return table;
}

// Stops of matplotlib's magma and viridis (CC0).
export const MAGMA = scale(["#000004", "#1d1147", "#51127c", "#832681", "#b73779", "#e75263", "#fc8961", "#fec488", "#fcfdbf"]);
export const VIRIDIS = scale(["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"]);

/** Write the colour of a fraction into four bytes. */
export function paint(pixels, offset, table, fraction, alpha = 255) {
  const level = Math.max(0, Math.min(255, Math.round(fraction * 255)));
  pixels[offset] = table[3 * level];
  pixels[offset + 1] = table[3 * level + 1];
  pixels[offset + 2] = table[3 * level + 2];
  pixels[offset + 3] = alpha;
}

/** A canvas one pixel high with all colours of a scale, from low to high. */
export function ramp(table) {
  const canvas = h("canvas", { width: 128, height: 1, "aria-hidden": "true" }), context = canvas.getContext("2d");
  const data = context.createImageData(128, 1);
  for (let x = 0; x < 128; x++) paint(data.data, 4 * x, table, x / 127);
  context.putImageData(data, 0, 0);
  return canvas;
}

/** The scale of colours with the values of its ends. */
export function colourBar(table, from, to) {
  return h("div", { class: "scales" }, from, ramp(table), to);
}
