// Maps: test images laid out by their features, and the nearest neighbours of a selected image for each method.

import { swatch } from "./chart.js";
import { classStyle, methodStyle } from "./colours.js";
import { announce, chooser, h, hideTip, segments, showTip, square, themeColour } from "./dom.js";
import { drawSprite, unpack } from "./unpack.js";

const CLOUD = 640, EDGE_ROOM = 22;

export const maps = {
  id: "map",
  title: "Map",
  initial: { set: 0, layout: "tsne", colour: "class", chosen: null, only: null },

  render(content, state, again) {
    const { sets, views } = content.maps;
    if (!views.length) return [h("p", { class: "note" }, "These runs have no map yet: run 'mrkd evaluate RUN'.")];
    state.set = Math.min(state.set, sets.length - 1);
    const set = sets[state.set], shown = views.filter((view) => view.set === state.set);
    if (state.chosen >= set.sprite.count) state.chosen = null;
    const change = (part) => again({ ...state, ...part });
    const clouds = shown.map((view) => cloud(view, set, state, change, (index) => clouds.forEach((other) => other.point(index))));
    const finish = Promise.all(clouds.map((one) => one.ready));
    const element = h("div", { class: "clouds" }, clouds.map((one) => one.element));
    finish.then(() => (element.dataset.drawn = "yes"));
    return [
      h("div", { class: "controls" },
        segments("Layout", "map-layout", [["tsne", "t-SNE"], ["pca", "PCA"]], state.layout, (layout) => change({ layout })),
        segments("Colour", "map-colour", [["class", "class"], ["cluster", "k-means cluster"]], state.colour, (colour) => change({ colour, only: null })),
        sets.length > 1 && chooser("Images of", "map-set", sets.map((_, place) => [place, views.find((view) => view.set === place).run]), state.set, (place) => change({ set: Number(place), chosen: null, only: null })),
        state.chosen !== null && h("button", { type: "button", "data-key": "map-clear", onclick: () => change({ chosen: null }) }, "Clear the selection")),
      kinds(set, shown, state, change),
      element,
      h("p", { class: "caption" },
        `The same ${set.sprite.count} test images for each method, laid out by their L2-normalised class tokens. `,
        state.layout === "tsne" ? `t-SNE (perplexity ${Math.round(shown[0].perplexity)}) keeps neighbours together; distances between groups have no meaning. ` : "PCA shows the two directions of largest variance; the fraction of the variance that they explain is above each map. ",
        state.colour === "cluster" ? "There are as many k-means clusters as classes; their numbers are not comparable between methods. " : "",
        `Click an image, or move with the arrow keys and press Enter, to see its ${shown[0].neighbours.shape[1]} nearest neighbours by cosine: those with a solid frame have its class, those with a dashed frame another.`),
    ];
  },
};

function kinds(set, views, state, change) {
  const names = state.colour === "class" ? set.classNames : set.classNames.map((_, place) => `cluster ${place + 1}`);
  if (names.length > 30) return null;
  return h("div", { class: "controls legend", role: "group", "aria-label": "Show one alone" }, names.map((name, place) => {
    const { colour, mark } = classStyle(place), canvas = square(24, { style: "width:12px;height:12px" });
    drawMark(canvas.getContext("2d"), mark, colour, 12, 12, 9);
    return h("button", { type: "button", "data-key": `map-only-${place}`, "aria-pressed": String(state.only === null || state.only === place), onclick: () => change({ only: state.only === place ? null : place }) }, canvas, name);
  }));
}

function drawMark(context, mark, colour, x, y, radius) {
  context.fillStyle = colour;
  context.beginPath();
  if (mark === "disc") context.arc(x, y, radius * 0.95, 0, 2 * Math.PI);
  else if (mark === "square") context.rect(x - radius * 0.82, y - radius * 0.82, 1.64 * radius, 1.64 * radius);
  else if (mark === "cross") {
    const thin = radius * 0.34;
    context.rect(x - radius, y - thin, 2 * radius, 2 * thin);
    context.rect(x - thin, y - radius, 2 * thin, 2 * radius);
  } else {
    const corners = mark === "triangle" ? [[0, -1.05], [1.05, 0.8], [-1.05, 0.8]] : [[0, -1.15], [1.15, 0], [0, 1.15], [-1.15, 0]];
    corners.forEach(([dx, dy], place) => context[place ? "lineTo" : "moveTo"](x + dx * radius, y + dy * radius));
    context.closePath();
  }
  context.fill();
}

/** One method's map: {element, ready, point(index)} where `point` marks an image, or none. */
function cloud(view, set, state, change, pointAll) {
  const canvas = square(CLOUD, { class: "cloud", tabindex: 0, role: "application", "data-key": `map-cloud-${view.method}`, "aria-label": `Map of the test images under ${view.method}. Arrow keys move from image to image, Enter shows neighbours.` });
  const overlay = { hovered: null };
  const number = h("span", { class: "number" });
  const strip = h("div", { class: "neighbours" });
  const element = h("section", { class: "method", "data-method": view.method }, h("h3", {}, swatch(methodStyle(view.method)), view.method, number), canvas, strip);
  let points = null, base = null, labels = null, neighbours = null, clusters = null;

  const ready = (async () => {
    [points, labels, neighbours, clusters] = (await Promise.all([view[state.layout], set.labels, view.neighbours, view.clusters].map(unpack))).map(({ values }) => values);
    const same = share(neighbours, labels, view.neighbours.shape[1]);
    const explained = state.layout === "pca" ? `${Math.round(100 * (view.explained[0] + view.explained[1]))} % of the variance · ` : "";
    number.textContent = `${explained}${(100 * same).toFixed(1)} % of the ${view.neighbours.shape[1]} nearest neighbours share the class`;
    base = square(CLOUD);
    drawCloud(base.getContext("2d"), points, state.colour === "class" ? labels : clusters, state.only);
    if (state.chosen !== null) await showNeighbours(strip, set, neighbours, labels, view.neighbours.shape[1], state.chosen, change);
    else strip.replaceChildren(h("span", { class: "caption" }, "Click an image to see its neighbours."));
    refresh();
  })();

  function refresh() {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, CLOUD, CLOUD);
    context.drawImage(base, 0, 0);
    if (state.chosen !== null) {
      const width = view.neighbours.shape[1];
      for (let rank = 0; rank < width; rank++) link(context, place(points, state.chosen), place(points, neighbours[state.chosen * width + rank]));
      ring(context, place(points, state.chosen), 11);
    }
    if (overlay.hovered !== null) ring(context, place(points, overlay.hovered), 9);
  }

  const hover = (index, clientX, clientY, speak) => {
    pointAll(index);
    if (index === null) return hideTip();
    const words = `image ${index + 1} · ${set.classNames[labels[index]] ?? labels[index]} · cluster ${clusters[index] + 1}`;
    const picture = square(96, { class: "crisp" });
    drawSprite(picture.getContext("2d"), set.sprite, index, 0, 0, 96);
    showTip(clientX, clientY, picture, words);
    if (speak) announce(words);
  };
  const under = (event) => {
    const box = canvas.getBoundingClientRect();
    return closest(points, ((event.clientX - box.left) / box.width) * CLOUD, ((event.clientY - box.top) / box.height) * CLOUD, 24);
  };
  canvas.addEventListener("pointermove", (event) => points && hover(under(event), event.clientX, event.clientY, false));
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("blur", () => points && hover(null));
  canvas.addEventListener("click", (event) => {
    const index = points && under(event);
    if (index !== null) change({ chosen: index });
  });
  canvas.addEventListener("keydown", (event) => {
    if (!points) return;
    const from = overlay.hovered ?? state.chosen;
    if (event.key === "Enter" && from !== null) return change({ chosen: from });
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    const index = from === null ? closest(points, CLOUD / 2, CLOUD / 2, Infinity) : towards(points, from, way);
    const box = canvas.getBoundingClientRect(), [x, y] = place(points, index);
    hover(index, box.left + (x / CLOUD) * box.width, box.top + (y / CLOUD) * box.height, true);
  });

  return { element, ready, point: (index) => {
    overlay.hovered = index;
    if (base) refresh();
  } };
}

function place(points, index) {
  const inner = CLOUD - 2 * EDGE_ROOM;
  return [EDGE_ROOM + points[2 * index] * inner, EDGE_ROOM + (1 - points[2 * index + 1]) * inner];
}

function drawCloud(context, points, groups, only) {
  const count = points.length / 2, radius = count > 500 ? 4.6 : 6.4;
  for (const pass of [false, true]) {
    for (let index = 0; index < count; index++) {
      const marked = only === null || groups[index] === only;
      if (marked !== pass) continue;
      const { colour, mark } = classStyle(groups[index]);
      context.globalAlpha = marked ? 0.85 : 0.1;
      drawMark(context, mark, colour, ...place(points, index), radius);
    }
  }
  context.globalAlpha = 1;
}

function ring(context, [x, y], radius) {
  for (const [width, colour] of [[5, themeColour("paper")], [2.4, themeColour("ink")]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

function link(context, from, to) {
  context.strokeStyle = themeColour("ink");
  context.lineWidth = 1.3;
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

function closest(points, x, y, within) {
  let best = null, least = within ** 2;
  for (let index = 0; index < points.length / 2; index++) {
    const [px, py] = place(points, index), distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) [best, least] = [index, distance];
  }
  return best;
}

/** The nearest image in a direction; sideways counts double. */
function towards(points, from, [dx, dy]) {
  const [x, y] = place(points, from);
  let best = from, least = Infinity;
  for (let index = 0; index < points.length / 2; index++) {
    const [px, py] = place(points, index), along = (px - x) * dx + (py - y) * dy, across = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    if (along > 0 && along + 2 * across < least) [best, least] = [index, along + 2 * across];
  }
  return best;
}

function share(neighbours, labels, width) {
  let same = 0;
  for (let index = 0; index < neighbours.length; index++) same += labels[neighbours[index]] === labels[Math.floor(index / width)];
  return same / neighbours.length;
}

async function showNeighbours(strip, set, neighbours, labels, width, chosen, change) {
  const list = [chosen, ...neighbours.subarray(chosen * width, (chosen + 1) * width)];
  const figures = await Promise.all(list.map(async (index, rank) => {
    const canvas = square(48, { class: "crisp" });
    await drawSprite(canvas.getContext("2d"), set.sprite, index, 0, 0, 48);
    const name = set.classNames[labels[index]] ?? String(labels[index]);
    const kind = rank === 0 ? "" : labels[index] === labels[chosen] ? "same" : "other";
    return h("figure", { class: kind, title: rank === 0 ? `chosen: ${name}` : `neighbour ${rank}: ${name}`, onclick: () => change({ chosen: index }) }, canvas, h("figcaption", {}, rank === 0 ? "chosen" : name));
  }));
  strip.replaceChildren(...figures);
}
