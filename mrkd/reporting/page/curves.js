// Curves: metrics logged during training, with several runs on one axis.

import { lineChart, swatch } from "./chart.js";
import { methodStyle } from "./colours.js";
import { chooser, format, h, segments, slider, toggle } from "./dom.js";
import { saveButtons } from "./save.js";
import { smooth } from "./smoothing.js";

const PRESETS = {
  training: { label: "Training", keys: ["relative", "agreement", "teacher_entropy"], caption: "As the poster's Fig. 2. " },
  health: { label: "Health", keys: ["knn", "rankme", "feature_std", "teacher_entropy", "relation_correlation", "cls_cosine"] },
  terms: { label: "Loss by term", keys: ["loss"], terms: true },
  all: { label: "Everything", keys: null, terms: true },
};
const CAPTIONS = {
  relative: "Loss divided by the first logged loss, because losses of different methods have different units.",
  agreement: "Fraction of images for which student and teacher choose the same prototype in different views. A constant output has 100 %, so read it together with the entropy. Losses without prototypes do not train them: there it means nothing.",
  teacher_entropy: "At ln K the teacher's outputs are uniform and carry no information.",
  feature_std: "Near 0, all images have the same features.",
  rankme: "Effective number of directions that the features use; 1 means that they lie on a line.",
  relation_correlation: "Correlation of distances between images in different views. Near 0, no relation can be learnt.",
  cls_cosine: "Near 1, all class tokens have the same direction, as in an untrained network.",
  knn: "k-NN of the teacher's class tokens on held-out training images. The test split is not used.",
};

export const curves = {
  id: "curves",
  title: "Curves",
  initial: { preset: "training", x: "step", log: false, smooth: null, seeds: "band", hidden: [] },

  render(content, state, again) {
    if (!content.runs.some((run) => run.metrics.step.length)) return [h("p", { class: "note" }, "Nothing has been logged yet.")];
    const set = (change) => again({ ...state, ...change });
    state.smooth ??= content.smoothing;
    const several = content.methods.some((method) => content.runs.filter((run) => run.method === method).length > 1);
    const controls = h("div", { class: "controls" },
      segments("Show", "curves-preset", Object.entries(PRESETS).map(([key, preset]) => [key, preset.label]), state.preset, (preset) => set({ preset })),
      chooser("Over", "curves-x", [["step", "steps"], ["epoch", "epochs"], ["seconds", "time"]], state.x, (x) => set({ x })),
      several && segments("Seeds", "curves-seeds", [["band", "mean ± std"], ["lines", "each"]], state.seeds, (seeds) => set({ seeds })),
      toggle("Log scale", "curves-log", state.log, (log) => set({ log })),
      slider("Smoothing", "curves-smooth", { min: 0, max: 0.2, step: 0.01, value: state.smooth, show: (value) => `${Math.round(100 * value)} %` }, (smooth) => {
        state.smooth = smooth;
        charts.replaceChildren(...draw(content, state));
      }),
    );
    const legend = h("div", { class: "controls legend", role: "group", "aria-label": "Methods shown" },
      content.methods.map((method) => {
        const shown = !state.hidden.includes(method);
        return h("button", { type: "button", "data-key": `curves-method-${method}`, "data-method": method, "aria-pressed": String(shown),
          onclick: () => set({ hidden: shown ? [...state.hidden, method] : state.hidden.filter((other) => other !== method) }) },
          swatch(methodStyle(method)), method);
      }));
    const charts = h("div", { class: "charts" }, draw(content, state));
    return [controls, legend, charts, h("p", { class: "caption" }, PRESETS[state.preset].caption ?? "",
      "Thin lines: single batches. Thick lines: smoothed, over as much of the run as the slider says. What is measured on a fixed set of images, such as k-NN and rank, is not smoothed.")];
  },
};

function draw(content, state) {
  const preset = PRESETS[state.preset];
  const runs = content.runs.filter((run) => !state.hidden.includes(run.method));
  const keys = preset.keys ?? Object.keys(content.curves);
  const wanted = keys.map((key) => ({ key, title: key === "relative" ? "loss / first logged loss" : content.curves[key], noisy: key === "relative" || content.singleBatch.includes(key), values: (run) => columnOf(run, key) }));
  if (preset.terms) {
    const terms = [...new Set(content.runs.flatMap((run) => Object.keys(run.metrics.terms)))];
    wanted.push(...terms.map((term) => ({ key: `term ${term}`, title: `term: ${term}`, noisy: true, values: (run) => run.metrics.terms[term] })));
  }
  const link = [];
  const label = { step: "steps", epoch: "epochs", seconds: "seconds of training" }[state.x];
  const figures = wanted.filter(({ values }) => content.runs.some((run) => values(run)?.some((value) => value !== null))).map(({ key, title, noisy, values }) => {
    const strength = noisy ? state.smooth : 0;
    const figure = lineChart({
      title, xLabel: label, log: state.log, link, caption: CAPTIONS[key],
      series: content.methods.flatMap((method) => methodSeries(runs.filter((run) => run.method === method), values, { ...state, smooth: strength })),
      describe: (x, point) => (point ? `step ${point.step} · epoch ${format(point.epoch)} · ${format(point.seconds)} s` : `${label} ${format(x)}`),
    });
    figure.dataset.curve = key;
    figure.append(saveButtons(`${runs[0]?.data ?? ""} ${title}`, () => ({ svg: figure.querySelector("svg.chart"), ...curveNotes(runs, state, strength) })));
    return figure;
  });
  return figures.length ? figures : [h("p", { class: "note" }, "These runs did not log these metrics.")];
}

/** What a saved chart says below itself. */
function curveNotes(runs, state, strength) {
  const methods = [...new Set(runs.map((run) => run.method))], several = runs.length > methods.length;
  const seeds = methods.map((method) => `${method} ${runs.filter((run) => run.method === method).map((run) => run.seed).join(", ")}`);
  const drawn = [several && (state.seeds === "band" ? "mean ± sample std over seeds" : "one line for each seed"), strength && `thin: single batches, thick: smoothed over ${Math.round(100 * strength)} % of the run`, state.log && "log scale"];
  return {
    legend: methods.map((method) => ({ ...methodStyle(method), name: method })),
    notes: [[[...new Set(runs.map((run) => run.data))].join(", "), `seeds: ${seeds.join("; ")}`, ...drawn.filter(Boolean)].join(" · ")],
  };
}

function columnOf(run, key) {
  if (key !== "relative") return run.metrics.values[key];
  const losses = run.metrics.values.loss;
  const first = losses?.find((value) => value !== null) || 1;
  return losses?.map((value) => (value === null ? null : value / first));
}

function methodSeries(runs, values, state) {
  if (!runs.length) return [];
  const style = { ...methodStyle(runs[0].method), name: runs[0].method };
  const drawn = runs.map((run) => ({ seed: run.seed, line: points(run, values(run) ?? [], state.x) })).filter(({ line }) => line.length);
  const logged = drawn.map(({ line }) => line);
  // An untrained network has one measurement: a level to compare with.
  if (logged.length && logged.every((line) => line.length === 1)) {
    return [{ ...style, level: true, points: [{ ...logged[0][0], y: mean(logged.map((line) => line[0].y)) }] }];
  }
  const thin = state.smooth ? logged.map((line) => ({ ...style, thin: true, points: line })) : [];
  const lines = logged.map((line) => smooth(line, state.smooth));
  if (lines.length < 2) return [...thin, ...lines.map((line) => ({ ...style, points: line }))];
  if (state.seeds === "lines") return [...thin, ...lines.map((line, place) => ({ ...style, name: `${style.name} · seed ${drawn[place].seed}`, points: line }))];
  return [...thin, { ...style, points: bands(lines) }];
}

function points(run, values, axis) {
  const { step, epoch, seconds } = run.metrics;
  return values.flatMap((y, place) => {
    const point = { step: step[place], epoch: epoch[place], seconds: seconds[place] };
    return y === null || point[axis] === null ? [] : [{ ...point, x: point[axis], y }];
  });
}

/** Mean and sample std over the seeds at every step that all of them logged. */
function bands(lines) {
  const rest = lines.slice(1).map((line) => new Map(line.map((point) => [point.step, point])));
  return lines[0].flatMap((point) => {
    const others = rest.map((line) => line.get(point.step));
    if (others.includes(undefined)) return [];
    const all = [point, ...others], middle = mean(all.map((one) => one.y));
    const spread = Math.sqrt(all.reduce((sum, one) => sum + (one.y - middle) ** 2, 0) / (all.length - 1));
    return [{ ...point, x: mean(all.map((one) => one.x)), seconds: mean(all.map((one) => one.seconds ?? 0)), y: middle, low: middle - spread, high: middle + spread }];
  });
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
