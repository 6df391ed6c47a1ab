// What only several runs show: which label-free number follows the linear probe, and how alike their features are.

import { methodStyle } from "./colours.js";
import { h, s, scroller, themeColour } from "./dom.js";

const SCATTERS = 3, SCATTER_SIDE = 150;

/** Sections of the overview; none where there are too few runs. */
export function across({ predictors, similarity }, runs) {
  const methods = new Map(runs.map(({ name, method }) => [name, method]));
  return [predictors ? followers(predictors, methods) : null, similarity ? alike(similarity) : null];
}

function followers({ numbers }, methods) {
  const known = numbers.filter(({ spearman }) => spearman !== null);
  return h("section", {}, h("h2", {}, "Which number without labels follows the linear probe?"),
    h("div", { class: "scatters" }, known.slice(0, SCATTERS).map((number) => scatter(number, methods))),
    scroller("Rank correlations with the linear probe", h("table", { class: "differences" },
      h("thead", {}, h("tr", {}, ["number", "rank correlation", "runs"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, numbers.map(({ title, spearman, runs }) => h("tr", {},
        h("th", { scope: "row" }, title), h("td", {}, spearman === null ? "all equal" : spearman.toFixed(2)), h("td", {}, String(runs.length))))))),
    h("p", { class: "caption" }, "A dot is a run: the number to the right, the linear probe upwards. The rank correlation is Spearman's over the runs of this page. With few runs, or runs of very different methods, it says little about other ones."));
}

/** One dot for each run: the number against the accuracy of the linear probe. */
function scatter({ title, spearman, values, probe, runs }, methods) {
  const place = (list, value) => 10 + ((value - Math.min(...list)) / (Math.max(...list) - Math.min(...list) || 1)) * (SCATTER_SIDE - 20);
  return h("figure", {}, h("figcaption", { class: "caption" }, `${title}, ρ = ${spearman.toFixed(2)}`),
    s("svg", { width: SCATTER_SIDE, height: SCATTER_SIDE, viewBox: `0 0 ${SCATTER_SIDE} ${SCATTER_SIDE}`, role: "img", "aria-label": `linear probe against ${title}` },
      s("path", { d: `M4 4V${SCATTER_SIDE - 4}H${SCATTER_SIDE - 4}`, fill: "none", stroke: themeColour("faint") }),
      runs.map((name, number) => s("circle", { cx: place(values, values[number]), cy: SCATTER_SIDE - place(probe, probe[number]), r: 4, fill: methodStyle(methods.get(name)).colour },
        s("title", {}, `${name}: ${title} ${values[number].toPrecision(3)}, linear probe ${probe[number].toFixed(1)} %`)))));
}

function alike({ runs, cka, images }) {
  const shade = (value) => `background: color-mix(in srgb, var(--accent) ${Math.round(30 * value)}%, transparent)`;
  return h("section", {}, h("h2", {}, "How alike are the features of two runs?"),
    scroller("Similarity of features", h("table", { class: "differences alike" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), runs.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, cka.map((row, number) => h("tr", {}, h("th", { scope: "row" }, runs[number]), row.map((value) => h("td", { style: shade(value) }, value.toFixed(2)))))))),
    h("p", { class: "caption" }, `Linear centred kernel alignment (CKA) between the features of ${images} test images: 1 when they are equal up to rotation and scale, near 0 when they have nothing in common.`));
}
