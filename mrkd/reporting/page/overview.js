// Overview: the comparison table, the health of each run, and the command that reproduces the page.

import { swatch } from "./chart.js";
import { methodStyle } from "./colours.js";
import { announce, format, h, hideTip, s, showTip, themeColour } from "./dom.js";

export const overview = {
  id: "overview",
  title: "Overview",
  initial: { sort: null, descending: true },

  render(content, state, again) {
    return [
      content.table.rows.length ? [...headline(content), comparison(content, state, again)] : h("p", { class: "note" }, "No run has been evaluated yet: run 'mrkd evaluate RUN'."),
      h("h2", {}, "Run health"),
      verdicts(content.runs),
      content.protocols.length ? h("details", {}, h("summary", {}, "Evaluation protocols"), h("dl", {}, content.protocols.map(({ name, text }) => [h("dt", {}, name), h("dd", {}, text)]))) : null,
      h("h2", {}, "Reproduce"),
      command(content.command),
    ];
  },
};

/** One sentence on the best method in the first column, and whether the standard deviations overlap. */
function headline({ table }) {
  const { key, title, unit, decimals } = table.columns[0];
  const measured = table.rows.filter((row) => row.cells[key]).sort((a, b) => b.cells[key].mean - a.cells[key].mean);
  const [best, second] = measured.filter((row) => row.learnt);
  const named = (name) => measured.find((row) => row.method === name);
  const random = named("random"), pixels = named("pixels");
  if (!best) return [];
  const text = (row) => `${row.cells[key].mean.toFixed(decimals)}${row.cells[key].std === null ? "" : ` ± ${row.cells[key].std.toFixed(decimals)}`} ${unit}`;
  if (random && random.cells[key].mean >= best.cells[key].mean) {
    return [h("p", {}, h("b", {}, "No method beats random weights"), ` of the same network in ${title}: they have ${text(random)}; the best method, ${best.method}, ${text(best)}.`)];
  }
  if (pixels && pixels.cells[key].mean >= best.cells[key].mean) {
    return [h("p", {}, h("b", {}, "No method beats raw pixels"), ` in ${title}: they have ${text(pixels)}; the best method, ${best.method}, ${text(best)}.`)];
  }
  const low = best.cells[key].mean - best.cells[key].std, high = second && second.cells[key].mean + second.cells[key].std;
  const sure = !second || best.cells[key].std === null || second.cells[key].std === null ? "" : low > high ? "; the intervals do not overlap" : "; the intervals overlap";
  return [h("p", {}, h("b", {}, best.method), ` is best in ${title}: ${text(best)}`,
    random ? `; random weights of the same network have ${text(random)}` : "", pixels ? `; raw pixels have ${text(pixels)}.` : ".", second ? ` The next, ${second.method}, has ${text(second)}${sure}.` : "")];
}

function comparison({ table }, state, again) {
  const sorted = [...table.rows];
  if (state.sort) {
    const value = (row) => (state.sort === "method" ? row.method : row.cells[state.sort]?.mean);
    sorted.sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === undefined || right === undefined) return (left === undefined) - (right === undefined);
      return (left < right ? -1 : left > right ? 1 : 0) * (state.descending ? -1 : 1);
    });
  }
  const sortBy = (key, descendingFirst) => {
    const descending = state.sort === key ? !state.descending : descendingFirst;
    again({ ...state, sort: key, descending });
    announce(`Sorted by ${key === "method" ? "method" : table.columns.find((column) => column.key === key).heading}, ${descending ? "descending" : "ascending"}`);
  };
  const head = (key, label, descendingFirst) => {
    const direction = state.sort !== key ? "none" : state.descending ? "descending" : "ascending";
    return h("th", { scope: "col", "aria-sort": direction },
      h("button", { type: "button", "data-key": `sort-${key}`, onclick: () => sortBy(key, descendingFirst) },
        label, h("span", { class: "arrow", "aria-hidden": "true" }, { none: "", ascending: "▲", descending: "▼" }[direction])));
  };
  const columns = table.columns.map((column) => ({ ...column, ...columnScale(table.rows, column) }));
  const several = table.rows.some((row) => row.seeds.length > 1);
  return h("div", {},
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Comparison" }, h("table", {},
      h("thead", {}, h("tr", {}, head("method", "method", false), columns.map((column) => head(column.key, column.heading, column.better === "higher")))),
      h("tbody", {}, sorted.map((row) => h("tr", { "data-method": row.method },
        h("th", { scope: "row" }, swatch(methodStyle(row.method)), " ", row.method, h("span", { class: "seeds" }, row.frozen ? "frozen" : row.seeds.length === 0 ? "no training" : `${row.seeds.length === 1 ? "seed" : "seeds"} ${row.seeds.join(", ")}`)),
        columns.map((column) => cell(row, column))))))),
    h("p", { class: "caption" },
      `${units(table.columns)}, on ${table.data.test_images} images of the ${table.data.scored_on} split of ${table.data.name}, after ${table.data.train_images} training images. `,
      several ? "Mean ± sample std over seeds; below each number a dot per seed and a bar from mean − std to mean + std, on the axis of the column. " : "Below each number its position on the axis of the column. ",
      "The best of each column, except random weights and raw pixels, is shaded. Peak memory is that of the training process."));
}

/** The units of the numbers. */
function units(columns) {
  const others = columns.filter(({ unit }) => unit !== "%").map(({ title }) => title);
  return others.length ? `Percent, except ${others.join(", ")}` : "Percent";
}

function columnScale(rows, { key, better }) {
  const cells = rows.flatMap((row) => (row.cells[key] ? [row.cells[key]] : []));
  const ends = cells.flatMap(({ mean, std, values }) => [mean - (std ?? 0), mean + (std ?? 0), ...values]);
  const contenders = rows.filter((row) => row.learnt && row.cells[key]);
  const means = contenders.map((row) => row.cells[key].mean);
  const low = Math.min(...ends), high = Math.max(...ends);
  return { low, high: high > low ? high : low + 1, best: contenders.length > 1 ? (better === "higher" ? Math.max(...means) : Math.min(...means)) : null };
}

function cell(row, column) {
  const found = row.cells[column.key];
  if (!found) return h("td", {}, h("span", { class: "spread" }, "–"));
  const style = methodStyle(row.method), width = 58;
  const x = (value) => 4 + ((value - column.low) / (column.high - column.low)) * (width - 8);
  const line = (from, to, stroke, thickness) => s("line", { x1: from, x2: to, y1: 6, y2: 6, stroke, "stroke-width": thickness, "stroke-linecap": "round" });
  const plot = s("svg", { width, height: 12, viewBox: `0 0 ${width} 12`, "aria-hidden": "true", class: "interval" },
    line(4, width - 4, themeColour("line"), 1),
    found.std === null ? null : line(x(found.mean - found.std), x(found.mean + found.std), style.colour, 3),
    found.values.map((value) => s("circle", { cx: x(value), cy: 6, r: 2.2, fill: themeColour("paper"), stroke: style.colour, "stroke-width": 1.2 })));
  const best = column.best !== null && row.learnt && found.mean === column.best;
  return h("td", {
    class: best ? "best" : null, "data-value": found.mean,
    onpointermove: (event) => showTip(event.clientX, event.clientY, h("div", { class: "head" }, `${row.method} · ${column.heading}`), found.values.map((value, place) => h("div", {}, `${row.seeds.length ? `seed ${row.seeds[place]}: ` : ""}${value.toFixed(column.decimals + 1)}`))),
    onpointerleave: hideTip,
  }, found.mean.toFixed(column.decimals), found.std === null ? null : h("span", { class: "spread" }, ` ± ${found.std.toFixed(column.decimals)}`), best ? h("span", { class: "hidden" }, " (best)") : null, plot);
}

function verdicts(runs) {
  return h("ul", { class: "verdicts" }, runs.map(({ name, verdict, finished, seconds }) => {
    const kind = ["healthy", "flat", "converged"].includes(verdict.kind) ? "healthy" : finished ? "bad" : "training";
    return h("li", {}, h("span", { class: `mark ${kind}`, "aria-hidden": "true" }, { healthy: "✓", bad: "!", training: "…" }[kind]),
      h("span", {}, h("b", {}, name), `: ${verdict.sentence}`, seconds >= 0.1 ? h("span", { class: "caption" }, ` (${format(seconds)} s)`) : null));
  }));
}

function command(text) {
  return h("div", {}, h("pre", { tabindex: 0 }, text),
    h("button", { type: "button", class: "copy", "data-key": "copy", onclick: async () => {
      await navigator.clipboard.writeText(text);
      announce("Copied");
    } }, "Copy"));
}
