// Relations: the distances that a relational loss matches, of one fixed batch, early and late in training.

import { swatch } from "./chart.js";
import { VIRIDIS, colourBar, methodStyle, paint } from "./colours.js";
import { chooser, format, h, hideTip, s, segments, showTip, slider, square, themeColour } from "./dom.js";
import { saveButtons, sheet } from "./save.js";
import { drawSprite, unpack } from "./unpack.js";

const MATRIX = 320, BINS = 48, FAR = 2.2;

export const relations = {
  id: "relations",
  title: "Relations",
  initial: { early: null, late: null, method: null },

  render(content, state, again) {
    const { sets, views } = content.relations;
    if (!views.length) return [h("p", { class: "note" }, "No relations were recorded. They are recorded during training unless train.relation_images is 0; random weights are not trained.")];
    const view = views.find((one) => one.method === state.method) ?? views[0], last = view.steps.length - 1;
    const change = (part) => again({ ...state, ...part });
    const early = Math.min(state.early ?? 0, last), late = Math.min(state.late ?? last, last);
    const moments = [moment(view, sets[view.set], "Early", early, (place) => change({ early: place })), moment(view, sets[view.set], "Late", late, (place) => change({ late: place }))];
    return [
      h("div", { class: "controls" },
        views.length > 6 ? chooser("Method", "relations-method", views.map((one) => [one.method, one.method]), view.method, (method) => change({ method }))
          : segments("Method", "relations-method", views.map((one) => [one.method, one.method]), view.method, (method) => change({ method }))),
      h("section", { class: "method", "data-method": view.method },
        h("h3", {}, swatch(methodStyle(view.method)), view.method, h("span", { class: "number" }, `run ${view.run}`)),
        colourBar(VIRIDIS, "distance 0", FARTHEST),
        h("div", { class: "moments" }, moments)),
      h("p", { class: "caption" },
        `One fixed batch of ${sets[view.set].sprite.count / 2} training images${sets[view.set].edges.length ? ", sorted by class, with lines between classes: learnt classes show as dark blocks" : ""}. The teacher sees one full view of each image, the student another view, masked. `,
        "Matrices: distances between class tokens after the last norm, divided by their mean; dark is near. Scatter: each pair once, darker where there are more pairs; on the diagonal student and teacher agree. ",
        "Angles: at each image, between each two others. RKD-D and RKD-A match the student's distances or angles to the teacher's; the numbers give these losses, also for methods that do not use them. "),
    ];
  },
};

const FARTHEST = `${FAR} times the mean, or more`;

/** What a saved figure of relations says below itself. */
function relationNotes(view, images, edges) {
  return {
    notes: [`${view.data} · ${view.label} · one batch of ${images} training images, distances over their mean${edges.length ? "; lines between classes" : ""}`],
    bar: { table: VIRIDIS, from: "0", to: FARTHEST },
  };
}

function moment(view, set, name, place, choose) {
  const images = set.sprite.count / 2, { edges } = set;
  const matrices = ["teacher", "student"].map((side) => square(MATRIX, { class: "crisp", role: "img", "data-side": side, "aria-label": `Distance matrix of the ${side}, ${name.toLowerCase()}` }));
  const scatter = square(MATRIX, { role: "img", "aria-label": `Student's distances against the teacher's, ${name.toLowerCase()}` });
  const histogram = h("div", {});
  const numbers = h("p", { class: "caption numbers", "data-moment": name });
  const asSheet = () => ({ svg: sheet([{ label: "", cells: [
    { title: "teacher", canvas: matrices[0] }, { title: "student", canvas: matrices[1] },
    { title: "student against teacher", canvas: scatter }, { title: "cosines of angles", svg: histogram.querySelector("svg") },
  ] }], `${view.method}, step ${view.steps[place]}`, 160), ...relationNotes(view, images, edges) });
  const element = h("div", { class: "moment" },
    h("h3", {}, `${name}: step ${view.steps[place]}`),
    h("div", { class: "controls" }, view.steps.length > 1 && slider("At", `relations-${name}`, { min: 0, max: view.steps.length - 1, step: 1, value: place, show: (value) => `step ${view.steps[value]}` }, choose), saveButtons(`relations ${view.data} ${view.label} step ${view.steps[place]}`, asSheet)),
    h("div", { class: "pair" },
      matrices.map((canvas, side) => h("figure", {}, canvas, h("figcaption", {}, `${["teacher's", "student's"][side]} distances, mean ${format(view.means[side][place])}`))),
      h("figure", {}, scatter, h("figcaption", {}, "student's (up) against teacher's (right)")),
      h("figure", {}, histogram, h("figcaption", {}, "cosines of angles: filled teacher, line student"))),
    numbers);

  (async () => {
    const sides = await Promise.all([view.teacher, view.student].map(unpack));
    const [teacher, student] = sides.map(({ shape, values }) => values.subarray(place * shape[1], (place + 1) * shape[1]));
    // One scale for all moments, so that what spreads or shrinks is seen to.
    const top = sides.reduce((highest, { values }) => values.reduce((a, b) => Math.max(a, b), highest), FAR);
    drawMatrix(matrices[0], teacher, images, edges);
    drawMatrix(matrices[1], student, images, edges);
    drawScatter(scatter, teacher, student, top, methodStyle(view.method).colour);
    const angles = compareAngles(teacher, student, images);
    histogram.replaceChildren(angleHistogram(angles, methodStyle(view.method).colour));
    numbers.textContent = `Correlation of distances ${correlation(teacher, student).toFixed(3)} · RKD-D ${format(huberMean(teacher, student) * (images - 1) / images)} · RKD-A ${format(angles.loss)} · ${teacher.length} pairs`;
    for (const canvas of matrices) inspect(canvas, set, images, teacher, student);
    element.dataset.drawn = "yes";
  })();
  return element;
}

/** Place of the pair i < j among all pairs. */
function pairAt(i, j, images) {
  return i * images - (i * (i + 1)) / 2 + (j - i - 1);
}

function distanceOf(pairs, i, j, images) {
  return i === j ? 0 : pairs[i < j ? pairAt(i, j, images) : pairAt(j, i, images)];
}

function drawMatrix(canvas, pairs, images, edges) {
  const small = square(images), context = small.getContext("2d"), data = context.createImageData(images, images);
  for (let i = 0; i < images; i++) {
    for (let j = 0; j < images; j++) paint(data.data, 4 * (i * images + j), VIRIDIS, distanceOf(pairs, i, j, images) / FAR);
  }
  context.putImageData(data, 0, 0);
  const target = canvas.getContext("2d");
  target.imageSmoothingEnabled = false;
  target.drawImage(small, 0, 0, MATRIX, MATRIX);
  target.strokeStyle = "rgb(255 255 255 / 0.85)";
  target.lineWidth = 1;
  target.beginPath();
  for (const edge of edges) {
    const at = Math.round((edge * MATRIX) / images) + 0.5;
    target.moveTo(at, 0);
    target.lineTo(at, MATRIX);
    target.moveTo(0, at);
    target.lineTo(MATRIX, at);
  }
  target.stroke();
}

function drawScatter(canvas, teacher, student, top, colour) {
  const context = canvas.getContext("2d"), edge = 26, inner = MATRIX - edge - 4;
  const x = (value) => edge + (value / top) * inner, y = (value) => MATRIX - edge - (value / top) * inner;
  context.clearRect(0, 0, MATRIX, MATRIX);
  context.strokeStyle = themeColour("faint");
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(edge, 4);
  context.lineTo(edge, MATRIX - edge);
  context.lineTo(MATRIX - 4, MATRIX - edge);
  context.stroke();
  context.setLineDash([5, 4]);
  context.beginPath();
  context.moveTo(x(0), y(0));
  context.lineTo(x(top), y(top));
  context.stroke();
  context.setLineDash([]);
  context.fillStyle = colour;
  context.globalAlpha = 0.32;
  for (let pair = 0; pair < teacher.length; pair++) {
    context.beginPath();
    context.arc(x(teacher[pair]), y(student[pair]), 2.2, 0, 2 * Math.PI);
    context.fill();
  }
  context.globalAlpha = 1;
  context.fillStyle = themeColour("soft");
  context.font = "15px system-ui, 'Liberation Sans', sans-serif";
  for (let value = 0; value <= top; value++) {
    context.textAlign = "center";
    context.fillText(String(value), x(value), MATRIX - 8);
    context.textAlign = "right";
    if (value) context.fillText(String(value), edge - 6, y(value) + 5);
  }
}

/** Histograms of the cosines of all angles on both sides, and RKD-A's loss, from distances alone. */
function compareAngles(teacher, student, images) {
  const counts = [new Float64Array(BINS), new Float64Array(BINS)];
  let sum = 0, triplets = 0;
  const cosine = (pairs, i, j, k) => {
    const a = distanceOf(pairs, i, j, images), b = distanceOf(pairs, j, k, images), c = distanceOf(pairs, i, k, images);
    return a * b > 0 ? Math.max(-1, Math.min(1, (a * a + b * b - c * c) / (2 * a * b))) : 0;
  };
  for (let j = 0; j < images; j++) {
    for (let i = 0; i < images; i++) {
      if (i === j) continue;
      for (let k = i + 1; k < images; k++) {
        if (k === j) continue;
        const both = [cosine(teacher, i, j, k), cosine(student, i, j, k)];
        both.forEach((value, side) => counts[side][Math.min(BINS - 1, Math.floor(((value + 1) / 2) * BINS))]++);
        sum += huber(both[0] - both[1]);
        triplets++;
      }
    }
  }
  // Each angle stands twice among the N^3 entries of the authors' mean.
  return { counts: counts.map((side) => side.map((count) => count / triplets)), loss: (2 * sum) / images ** 3 };
}

function angleHistogram({ counts }, colour) {
  const width = 200, height = 200, base = 178, soft = themeColour("soft");
  const top = Math.max(...counts[0], ...counts[1]) || 1;
  const x = (bin) => 6 + (bin / BINS) * (width - 12), y = (count) => base - (count / top) * (base - 8);
  const steps = (side) => Array.from(side).map((count, bin) => `${x(bin).toFixed(1)},${y(count).toFixed(1)} ${x(bin + 1).toFixed(1)},${y(count).toFixed(1)}`).join(" ");
  const figure = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Histogram of the cosines of angles: teacher filled, student as a line" },
    s("polygon", { points: `${x(0)},${base} ${steps(counts[0])} ${x(BINS)},${base}`, fill: soft, opacity: 0.35 }),
    s("polyline", { points: steps(counts[1]), fill: "none", stroke: colour, "stroke-width": 1.8 }),
    s("line", { x1: 6, x2: width - 6, y1: base, y2: base, stroke: themeColour("faint") }));
  for (const value of [-1, -0.5, 0, 0.5, 1]) {
    figure.append(s("text", { x: x(((value + 1) / 2) * BINS), y: base + 13, "font-size": 9.5, fill: soft, "text-anchor": value === -1 ? "start" : value === 1 ? "end" : "middle" }, String(value)));
  }
  return figure;
}

function huber(difference) {
  const size = Math.abs(difference);
  return size < 1 ? 0.5 * size * size : size - 0.5;
}

function huberMean(teacher, student) {
  return teacher.reduce((sum, value, pair) => sum + huber(value - student[pair]), 0) / teacher.length;
}

function correlation(teacher, student) {
  const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [a, b] = [average(teacher), average(student)];
  let both = 0, left = 0, right = 0;
  for (let pair = 0; pair < teacher.length; pair++) {
    both += (teacher[pair] - a) * (student[pair] - b);
    left += (teacher[pair] - a) ** 2;
    right += (student[pair] - b) ** 2;
  }
  return both / (Math.sqrt(left * right) || 1);
}

/** Show the two images of a cell and their distance on both sides. */
function inspect(canvas, set, images, teacher, student) {
  const teacherSees = canvas.dataset.side === "teacher" ? 0 : images;
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const at = (value) => Math.max(0, Math.min(images - 1, Math.floor(value * images)));
    const i = at((event.clientY - box.top) / box.height), j = at((event.clientX - box.left) / box.width);
    const views = h("canvas", { width: 148, height: 72, class: "crisp" }), context = views.getContext("2d");
    drawSprite(context, set.sprite, teacherSees + i, 0, 0, 72);
    drawSprite(context, set.sprite, teacherSees + j, 76, 0, 72);
    const words = [`images ${i + 1} and ${j + 1}`, `teacher ${format(distanceOf(teacher, i, j, images))}`, `student ${format(distanceOf(student, i, j, images))}`];
    showTip(event.clientX, event.clientY, views, words.map((text) => h("div", {}, text)));
  });
  canvas.addEventListener("pointerleave", hideTip);
}
