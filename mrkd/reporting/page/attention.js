// Attention: what the heads of the last layer attend to, image by image or all on one sheet, and overlap with objects.

import { explore } from "./attention_explorer.js";
import { objectsFound } from "./attention_objects.js";
import { attentionSheet } from "./attention_sheet.js";
import { chooser, h, segments, slider, toggle } from "./dom.js";

export const attention = {
  id: "attention",
  title: "Attention",
  initial: { preset: "explore", set: 0, image: 0, query: null, mode: "heat", mass: null, outline: true, method: null },

  render(content, state, again) {
    const { sets, views } = content.attention;
    if (!views.length) return [h("p", { class: "note" }, "These runs have no attention maps yet: run 'mrkd attend RUN'.")];
    state.mass ??= views[0].mass;
    state.set = Math.min(state.set, sets.length - 1);
    const set = sets[state.set], shown = views.filter((view) => view.set === state.set);
    state.image = Math.min(state.image, set.sprite.count - 1);
    const change = (part) => again({ ...state, ...part });
    const controls = h("div", { class: "controls" },
      segments("Show", "attention-preset", [["explore", "One image"], ["sheet", "All images"]], state.preset, (preset) => change({ preset })),
      sets.length > 1 && chooser("Images of", "attention-set", sets.map((_, place) => [place, views.find((view) => view.set === place).run]), state.set, (place) => change({ set: Number(place), image: 0, query: null })),
      state.preset === "explore" && segments("As", "attention-mode", [["heat", "heat"], ["mask", "mask"]], state.mode, (mode) => change({ mode })),
      slider("Kept mass", "attention-mass", { min: 0.05, max: 1, step: 0.05, value: state.mass, show: (value) => `${Math.round(100 * value)} %` }, (mass) => {
        state.mass = mass;
        redraw();
      }),
      set.objects && state.preset === "explore" && toggle("Object's outline", "attention-outline", state.outline, (outline) => change({ outline })),
    );
    const body = state.preset === "explore" ? explore(set, shown, state, change) : attentionSheet(set, shown, state, change);
    let pending = false;
    const redraw = () => {
      if (pending) return;
      pending = true;
      requestAnimationFrame(() => {
        pending = false;
        body.update();
      });
    };
    body.update();
    const measured = shown.filter((view) => view.segmentation);
    return [controls, enlarged(shown[0]), body.element, measured.length ? objectsFound(measured, state) : null];
  },
};

/** Attention is read off enlarged images: more patches than the network was trained with. */
function enlarged({ grid, trainedGrid }) {
  if (!trainedGrid || (trainedGrid[0] === grid[0] && trainedGrid[1] === grid[1])) return null;
  return h("p", { class: "caption" }, `For these maps the images are enlarged: ${grid.join(" × ")} patches where training had ${trainedGrid.join(" × ")}.`);
}

