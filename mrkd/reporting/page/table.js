// Tables of results: methods side by side, one run alone, and differences between methods.

import { swatch } from "./chart.js";
import { methodStyle } from "./colours.js";
import { announce, h, hideTip, s, scroller, showTip, themeColour } from "./dom.js";

const STRIP = 58;

/** One row for each method, one column for each number; the less important columns wait behind a button. */
export function comparison(table, state, again) {
  const columns = table.columns.filter((column) => column.primary || state.all).map((column) => ({ ...column, ...axisOf(table.rows, column) }));
  const more = table.columns.some((column) => !column.primary);
  return h("div", {},
    scroller("Comparison", h("table", { class: "comparison" }, head(columns, state, again),
      h("tbody", {}, sorted(table.rows, state).map((row) => h("tr", { "data-method": row.method }, h("th", { scope: "row" }, swatch(methodStyle(row.method)), " ", row.method, h("span", { class: "seeds" }, origin(row))), columns.map((column) => cell(row, column))))))),
    more && h("div", { class: "controls" }, h("button", { type: "button", "data-key": "table-all", "aria-pressed": String(state.all), onclick: () => again({ ...state, all: !state.all }) }, state.all ? "Fewer columns" : `All ${table.columns.length} columns`)),
    caption(table));
}

function origin(row) {
  const seeds = `${row.seeds.length === 1 ? "seed" : "seeds"} ${row.seeds.join(", ")}`;
  if (row.frozen) return "frozen teacher";
  if (!row.seeds.length) return "no network";
  return row.learnt ? seeds : `untrained, ${seeds}`;
}

function sorted(rows, { sort, descending }) {
  const value = (row) => (sort === "method" ? row.method : row.cells[sort]?.mean);
  if (!sort) return rows;
  return [...rows].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === undefined || right === undefined) return (left === undefined) - (right === undefined);
    return (left < right ? -1 : left > right ? 1 : 0) * (descending ? -1 : 1);
  });
}

/** Two lines: what is measured, over the names of its numbers, which sort. */
function head(columns, state, again) {
  const sortBy = (key, name, descendingFirst) => {
    const descending = state.sort === key ? !state.descending : descendingFirst;
    again({ ...state, sort: key, descending });
    announce(`Sorted by ${name}, ${descending ? "descending" : "ascending"}`);
  };
  const sorter = (key, label, name, descendingFirst, more) => {
    const direction = state.sort !== key ? "none" : state.descending ? "descending" : "ascending";
    return h("th", { scope: "col", "aria-sort": direction, ...more },
      h("button", { type: "button", "data-key": `sort-${key}`, "aria-label": `Sort by ${name}`, onclick: () => sortBy(key, name, descendingFirst) },
        h("span", { class: "arrow", "aria-hidden": "true" }, { none: "", ascending: "▲ ", descending: "▼ " }[direction]), label));
  };
  const groups = columns.reduce((found, column) => {
    if (found.at(-1)?.name === column.group) found.at(-1).size++;
    else found.push({ name: column.group, size: 1 });
    return found;
  }, []);
  return h("thead", {},
    h("tr", {}, sorter("method", "method", "method", false, { rowspan: 2, class: "corner" }), groups.map(({ name, size }) => h("th", { scope: "colgroup", colspan: size, class: "group-name" }, name))),
    h("tr", {}, columns.map((column) => sorter(column.key, column.score || column.unit, column.name, column.better === "higher"))));
}

/** The axis of a column spans the trained methods: random weights would press them into a corner. */
function axisOf(rows, { key }) {
  const cells = rows.filter((row) => row.learnt && row.cells[key]).map((row) => row.cells[key]);
  const ends = cells.flatMap(({ mean, std, values }) => [mean - (std ?? 0), mean + (std ?? 0), ...values]);
  const low = Math.min(...ends), high = Math.max(...ends);
  return { low, high, drawn: high > low };
}

function cell(row, column) {
  const found = row.cells[column.key];
  if (!found) return h("td", {}, h("span", { class: "spread" }, "–"));
  const best = column.best === row.method, seeds = found.seeds ?? row.seeds;
  const tip = (event) => showTip(event.clientX, event.clientY, h("div", { class: "head" }, `${row.method} · ${column.name}`),
    found.values.map((value, place) => h("div", {}, `${seeds.length ? `seed ${seeds[place]}: ` : ""}${value.toFixed(column.decimals + 1)}`)));
  return h("td", { class: best ? "best" : null, "data-value": found.mean, onpointermove: tip, onpointerleave: hideTip },
    found.mean.toFixed(column.decimals), found.std === null ? null : h("span", { class: "spread" }, ` ± ${found.std.toFixed(column.decimals)}`),
    best ? h("span", { class: "hidden" }, " (best)") : null, column.drawn ? strip(found, column, methodStyle(row.method).colour) : null);
}

/** A dot for each seed and a bar for mean ± std; an arrowhead where a value lies outside the axis. */
function strip({ mean, std, values }, { low, high }, colour) {
  const x = (value) => 5 + ((value - low) / (high - low)) * (STRIP - 10);
  const line = (from, to, stroke, thickness) => s("line", { x1: from, x2: to, y1: 6, y2: 6, stroke, "stroke-width": thickness, "stroke-linecap": "round" });
  const inside = mean >= low && mean <= high;
  const marks = inside ? values.map((value) => s("circle", { cx: Math.max(3, Math.min(STRIP - 3, x(value))), cy: 6, r: 2.2, fill: themeColour("paper"), stroke: colour, "stroke-width": 1.2 }))
    : s("path", { d: mean < low ? "M7 2 L1 6 L7 10 Z" : `M${STRIP - 7} 2 L${STRIP - 1} 6 L${STRIP - 7} 10 Z`, fill: colour, class: "outside" });
  const bar = inside && std !== null && line(Math.max(3, x(mean - std)), Math.min(STRIP - 3, x(mean + std)), colour, 3);
  return s("svg", { width: STRIP, height: 12, viewBox: `0 0 ${STRIP} 12`, "aria-hidden": "true", class: "interval" }, line(5, STRIP - 5, themeColour("line"), 1), bar, marks);
}

function caption({ columns, rows, data }) {
  const several = rows.some((row) => row.seeds.length > 1), compared = rows.filter((row) => row.learnt).length > 1;
  const others = rows.some((row) => !row.learnt);
  return h("p", { class: "caption" },
    `${units(columns)}, on ${data.test_images} images of the ${data.scored_on} split of ${data.name}. `,
    several ? "Mean ± sample standard deviation over seeds. " : "",
    "k-NN: the nearest training images, by their features, vote for the class of a test image. ",
    compared ? `Below each number: ${several ? "a dot for each seed and a bar for mean ± std" : "its place"} on an axis from the lowest to the highest trained method${others ? "; an arrowhead lies outside" : ""}. ` : "",
    !compared ? "" : columns.some((column) => column.best) ? "Shaded: the best trained method of a column, where its paired difference to every other has a 95 % interval clear of zero; not corrected for the number of columns. "
      : several ? "Nothing is shaded: in no column is one method told apart from all others (paired differences, 95 % intervals). " : "With one seed nothing is shaded: a difference may be chance. ",
    "Time and memory are those of the training process on this machine, beside whatever else ran there.");
}

/** The units of the numbers. */
function units(columns) {
  const others = [...new Set(columns.filter(({ unit }) => unit !== "%").map(({ group, unit, score }) => (score.includes(unit) ? group : `${group} (${unit})`)))];
  return others.length ? `Percent, except ${others.join(" and ")}` : "Percent";
}

/** The numbers of one run, one below the other. */
export function results({ columns, rows: [row], data }) {
  return h("div", {},
    scroller("Results", h("table", { class: "results" },
      h("tbody", {}, columns.filter((column) => row.cells[column.key]).map((column) => {
        const { mean } = row.cells[column.key];
        return h("tr", { "data-column": column.key }, h("th", { scope: "row" }, column.name), h("td", { "data-value": mean }, `${mean.toFixed(column.decimals)} ${column.unit}`));
      })))),
    h("p", { class: "caption" }, `On ${data.test_images} images of the ${data.scored_on} split of ${data.name}. Whether this is much shows in a comparison: 'mrkd compare' trains several methods alike and measures random weights and raw pixels too.`));
}

/** The leader in k-NN against each other method, by seeds that both have. */
export function differences({ differences: pairs }) {
  const ends = pairs.flatMap(({ interval }) => interval), low = Math.min(0, ...ends), high = Math.max(0, ...ends), width = 180;
  const x = (value) => 6 + ((value - low) / (high - low || 1)) * (width - 12);
  const line = (attributes) => s("line", { y1: 8, y2: 8, "stroke-linecap": "round", ...attributes });
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)}`;
  return h("section", {}, h("h2", {}, "How sure is the lead in k-NN?"),
    scroller("Differences in k-NN", h("table", { class: "differences" },
      h("thead", {}, h("tr", {}, ["difference", "points", "95 % interval", "from zero", ""].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, pairs.map(({ leader, other, mean, interval, clear }) => h("tr", { "data-other": other },
        h("th", { scope: "row" }, `${leader} − ${other}`), h("td", {}, signed(mean)), h("td", {}, `${signed(interval[0])} to ${signed(interval[1])}`),
        h("td", {}, s("svg", { width, height: 16, viewBox: `0 0 ${width} 16`, "aria-hidden": "true" },
          line({ x1: x(0), x2: x(0), y1: 1, y2: 15, stroke: themeColour("faint") }),
          line({ x1: x(interval[0]), x2: x(interval[1]), stroke: methodStyle(other).colour, "stroke-width": 2.5 }),
          s("circle", { cx: x(mean), cy: 8, r: 3, fill: methodStyle(other).colour }))),
        h("td", {}, clear ? "told apart" : "not told apart")))))),
    h("p", { class: "caption" }, `Student's t over the differences at the common seeds (${[...new Set(pairs.map(({ seeds }) => seeds))].join(", ")}). With two or three seeds these intervals are wide; more seeds narrow them.`));
}
