// Overlap of attention with the objects of the images, for data that has masks of them.

import { lineChart, swatch } from "./chart.js";
import { methodStyle } from "./colours.js";
import { format, h, scroller, themeColour } from "./dom.js";

/** Jaccard over all test images against the kept mass, for each method and for random weights. */
export function objectsFound(views, state) {
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
      scroller("Overlap with the object", h("table", { class: "jaccard" },
        h("thead", {}, h("tr", {}, ["Jaccard, %", "all heads", "random weights", "best head", "random, best head"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, rows)),
      h("p", { class: "caption" }, `At ${Math.round(100 * mass[place])} % of the mass. Random weights: an untrained network of the same shape and seed. The best head is chosen by these same numbers, so both of its columns are optimistic.`))));
}
