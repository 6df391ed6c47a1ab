// A chart of lines with bands: plain SVG, a cursor for mouse, finger and keyboard, and a table for screen readers.

import { announce, format, h, hideTip, s, showTip, themeColour } from "./dom.js";

const WIDTH = 400, HEIGHT = 236;
const EDGE = { left: 46, right: 10, top: 26, bottom: 34 };

/**
 * A figure. `series` are {name, colour, dash, points: [{x, y, low, high, seconds}], thin, level}: `low` and `high` make a
 * band, a `level` is a horizontal line, and a `thin` line is not named at the cursor.
 * `describe(x, point)` makes the head of the tip; charts that share a `link` array move their cursors together.
 */
export function lineChart({ title, caption, xLabel, series, log = false, link = [], describe = (x) => `${xLabel} ${format(x)}`, unit = "", range = null }) {
  const area = extent(series, log, range);
  const figure = h("figure", {});
  const svg = s("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", tabindex: 0, role: "img",
    "aria-label": `${title}. ${summary(series)} Arrow keys move the cursor.`,
  });
  figure.append(svg);
  if (caption) figure.append(h("figcaption", {}, caption));
  axes(svg, area, title, xLabel, log);
  for (const one of series) drawSeries(svg, one, area, log);
  const cursor = s("g", { "data-passing": true, visibility: "hidden" });
  svg.append(cursor);
  const stops = [...new Set(series.filter((one) => !one.level).flatMap((one) => one.points.map((point) => point.x)))].sort((a, b) => a - b);
  const chart = { place: null };

  chart.show = (x) => {
    const found = x === null ? [] : nearest(series, x, area);
    cursor.replaceChildren();
    cursor.setAttribute("visibility", found.length ? "visible" : "hidden");
    if (!found.length) return [];
    const at = area.x(x);
    cursor.append(s("line", { x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - EDGE.bottom, stroke: themeColour("faint"), "stroke-width": 1 }));
    for (const { one, point } of found) {
      if (!one.level) cursor.append(s("circle", { cx: area.x(point.x), cy: area.y(point.y), r: 3, fill: one.colour, stroke: themeColour("paper") }));
    }
    return found;
  };

  function move(x, clientX, clientY, speak) {
    for (const other of link.length ? link : [chart]) if (other !== chart) other.show(x);
    const found = chart.show(x);
    if (!found.length) return hideTip();
    const head = describe(x, found.find(({ one }) => !one.level)?.point);
    const lines = found.map(({ one, point }) =>
      h("div", { class: "line" }, swatch(one), h("span", {}, one.name),
        h("span", {}, format(point.y) + (point.low === undefined ? "" : ` ± ${format((point.high - point.low) / 2, 2)}`) + unit)));
    showTip(clientX, clientY, h("div", { class: "head" }, head), lines);
    if (speak) announce(`${head}: ${found.map(({ one, point }) => `${one.name} ${format(point.y)}`).join(", ")}`);
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = area.value(((event.clientX - box.left) / box.width) * WIDTH);
    const stop = stops.reduce((best, one) => (Math.abs(one - x) < Math.abs(best - x) ? one : best), stops[0]);
    chart.place = stops.indexOf(stop);
    if (stop !== undefined) move(stop, event.clientX, event.clientY, false);
  });
  const leave = () => {
    for (const other of link.length ? link : [chart]) other.show(null);
    hideTip();
  };
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    if (!by || !stops.length) return;
    event.preventDefault();
    const from = chart.place ?? (by > 0 ? -1 : stops.length);
    chart.place = Math.max(0, Math.min(stops.length - 1, from + by));
    const box = svg.getBoundingClientRect();
    move(stops[chart.place], box.left + (area.x(stops[chart.place]) / WIDTH) * box.width, box.top + box.height / 3, true);
  });
  link.push(chart);
  return figure;
}

/** A short piece of a series' line, for legends. */
export function swatch({ colour, dash }) {
  return s("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" },
    s("line", { x1: 0, x2: 22, y1: 5, y2: 5, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash }));
}

function summary(series) {
  const ends = series.filter((one) => !one.thin && one.points.length);
  if (!ends.length) return "Nothing was measured.";
  return `Last values: ${ends.map((one) => `${one.name} ${format(one.points.at(-1).y)}`).join(", ")}.`;
}

function extent(series, log, range) {
  const points = series.flatMap((one) => one.points);
  const usable = (value) => value !== undefined && value !== null && (!log || value > 0);
  const ys = points.flatMap((point) => [point.y, point.low, point.high]).filter(usable);
  const xs = series.filter((one) => !one.level).flatMap((one) => one.points.map((point) => point.x));
  let [bottom, top] = range ?? [ys.reduce((a, b) => Math.min(a, b), Infinity), ys.reduce((a, b) => Math.max(a, b), -Infinity)];
  if (!ys.length) [bottom, top] = [log ? 1 : 0, log ? 10 : 1];
  if (log) [bottom, top] = [Math.log10(bottom), Math.log10(top)];
  const room = (top - bottom || Math.abs(top) || 1) * 0.05;
  if (!range) [bottom, top] = [bottom - room, top + room];
  const first = xs.reduce((a, b) => Math.min(a, b), Infinity), last = xs.reduce((a, b) => Math.max(a, b), -Infinity);
  const [start, end] = first < last ? [first, last] : [0, 1];
  const inner = { width: WIDTH - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  return {
    start, end, bottom, top,
    x: (value) => EDGE.left + ((value - start) / (end - start)) * inner.width,
    value: (pixel) => start + ((pixel - EDGE.left) / inner.width) * (end - start),
    y: (value) => HEIGHT - EDGE.bottom - (((log ? Math.log10(Math.max(value, 1e-300)) : value) - bottom) / (top - bottom)) * inner.height,
  };
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const result = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + 1e-9 * step; place++) result.push(place * step);
  return result;
}

function logTicks(low, high) {
  const wide = high - low > 1.5;
  const result = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
    for (const factor of wide ? [1] : [1, 2, 5]) result.push(factor * 10 ** power);
  }
  const inside = result.filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
  return inside.length > 1 ? inside : ticks(10 ** low, 10 ** high, 3).filter((value) => value > 0);
}

function axes(svg, area, title, xLabel, log) {
  const line = themeColour("line"), soft = themeColour("soft"), ink = themeColour("ink");
  const bottom = HEIGHT - EDGE.bottom;
  svg.append(s("text", { x: EDGE.left, y: 14, "font-size": 12.5, "font-weight": 600, fill: ink }, title));
  for (const value of log ? logTicks(area.bottom, area.top) : ticks(area.bottom, area.top, 4)) {
    const y = area.y(value);
    svg.append(
      s("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y, y2: y, stroke: line, "stroke-width": 1 }),
      s("text", { x: EDGE.left - 6, y: y + 3.5, "font-size": 10.5, "text-anchor": "end", fill: soft }, format(value)),
    );
  }
  for (const value of ticks(area.start, area.end, 5)) {
    svg.append(s("text", { x: area.x(value), y: bottom + 14, "font-size": 10.5, "text-anchor": "middle", fill: soft }, format(value)));
  }
  svg.append(
    s("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: bottom, y2: bottom, stroke: themeColour("faint") }),
    s("text", { x: (EDGE.left + WIDTH - EDGE.right) / 2, y: HEIGHT - 5, "font-size": 10.5, "text-anchor": "middle", fill: soft }, xLabel),
  );
}

function drawSeries(svg, one, area, log) {
  const points = one.points.filter((point) => !log || point.y > 0);
  if (!points.length) return;
  const stroke = { fill: "none", stroke: one.colour, "stroke-dasharray": one.dash, "stroke-linejoin": "round" };
  if (one.level) {
    const y = area.y(points[0].y);
    svg.append(s("line", { ...stroke, x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y, y2: y, "stroke-width": 1.4, "data-series": one.name }));
    return;
  }
  const banded = points.filter((point) => point.low !== undefined && (!log || point.low > 0));
  if (banded.length > 1) {
    const upper = banded.map((point) => `${area.x(point.x).toFixed(1)},${area.y(point.high).toFixed(1)}`);
    const lower = banded.map((point) => `${area.x(point.x).toFixed(1)},${area.y(point.low).toFixed(1)}`).reverse();
    svg.append(s("polygon", { points: [...upper, ...lower].join(" "), fill: one.colour, opacity: 0.17 }));
  }
  const path = points.map((point) => `${area.x(point.x).toFixed(1)},${area.y(point.y).toFixed(1)}`).join(" ");
  svg.append(s("polyline", { ...stroke, points: path, "stroke-width": one.thin ? 0.8 : 1.8, opacity: one.thin ? 0.5 : 1, "data-series": one.thin ? null : one.name }));
}

function nearest(series, x, area) {
  const near = (area.end - area.start) * 0.04;
  return series.filter((one) => !one.thin && one.points.length).flatMap((one) => {
    if (one.level) return [{ one, point: one.points[0] }];
    const point = one.points.reduce((best, candidate) => (Math.abs(candidate.x - x) < Math.abs(best.x - x) ? candidate : best));
    return Math.abs(point.x - x) <= near ? [{ one, point }] : [];
  });
}
