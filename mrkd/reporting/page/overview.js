// Overview: what was trained and what came of it, the health of each run, and how the numbers were measured.

import { across } from "./across.js";
import { swatch } from "./chart.js";
import { methodStyle } from "./colours.js";
import { announce, format, h } from "./dom.js";
import { comparison, differences, results } from "./table.js";

export const overview = {
  id: "overview",
  title: "Overview",
  initial: { sort: null, descending: true, all: false },

  render(content, state, again) {
    const { opening, table, runs, protocols } = content;
    return [
      headline(content),
      facts(opening),
      table.rows.length === 0 ? h("p", { class: "note" }, "No run has been evaluated yet: run 'mrkd evaluate RUN'.")
        : table.rows.length === 1 ? results(table) : comparison(table, state, again),
      table.differences.length ? differences(table) : null,
      opening.methods.length ? described(opening.methods, content.methods) : null,
      across(content.across, runs),
      h("h2", {}, runs.length === 1 ? "Health of the run" : "Health of the runs"),
      verdicts(runs),
      protocols.length ? measured(protocols) : null,
      h("h2", {}, "Make this page again"),
      command(content.command),
    ];
  },
};

/** What came of it: the words that close the comparison in the terminal, or the gain of a single run. */
function headline({ opening, table }) {
  const words = opening.several || table.rows.length > 1 ? table.conclusion : opening.result;
  return words ? h("p", { class: "conclusion" }, words) : null;
}

function facts({ facts: pairs }) {
  return h("dl", { class: "facts" }, pairs.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
}

/** One sentence on each method; the parts of a sum of methods stand alone. */
function described(methods, shown) {
  return h("section", {}, h("h2", {}, methods.length === 1 ? "The method" : "The methods"),
    h("dl", { class: "described" }, methods.map(({ name, summary, source }) =>
      h("div", {}, h("dt", {}, shown.includes(name) ? [swatch(methodStyle(name)), " "] : null, name), h("dd", {}, summary, source === "-" ? null : h("span", { class: "caption" }, ` ${source}`))))));
}

const VERDICT_MARKS = { healthy: "✓", bad: "!", training: "…", untrained: "–" };

function verdicts(runs) {
  return h("ul", { class: "verdicts" }, runs.map(({ name, method, verdict, finished, seconds }) => {
    const kind = ["healthy", "flat", "converged"].includes(verdict.kind) ? "healthy" : verdict.kind === "untrained" ? "untrained" : finished ? "bad" : "training";
    return h("li", {}, h("span", { class: `mark ${kind}`, "aria-hidden": "true" }, VERDICT_MARKS[kind]),
      h("span", {}, swatch(methodStyle(method)), " ", h("b", {}, name), `: ${verdict.sentence}`, seconds >= 0.1 ? h("span", { class: "caption" }, ` (${format(seconds)} s)`) : null));
  }));
}

function measured(protocols) {
  return h("details", {}, h("summary", {}, "How it was measured"), h("dl", {}, protocols.map(({ name, shared, chosen }) =>
    [h("dt", {}, name), shared ? h("dd", {}, shared) : null, chosen.map((text) => h("dd", {}, `by run: ${text}`))])));
}

function command(text) {
  return h("div", {}, h("pre", { tabindex: 0 }, text),
    h("button", { type: "button", class: "copy", "data-key": "copy", onclick: async () => {
      await navigator.clipboard.writeText(text);
      announce("Copied");
    } }, "Copy"));
}
