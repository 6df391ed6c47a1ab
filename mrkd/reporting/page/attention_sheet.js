// All images of one method on one sheet, as the poster's figure 3.

import { SIDE, attentionNotes, attentionScale, mapsFrom, paintMap } from "./attention_maps.js";
import { chooser, h, square } from "./dom.js";
import { saveButtons, sheet } from "./save.js";

/** Rows of images; columns of heads, all heads and the mask. */
export function attentionSheet(set, views, state, change) {
  const view = views.find((one) => one.method === state.method) ?? views.find((one) => one.method !== "random") ?? views[0];
  const holder = h("figure", { class: "poster" }), heads = view.classToken.shape[1];
  const element = h("div", {},
    h("div", { class: "controls" },
      chooser("Method", "attention-method", views.map((one) => [one.method, one.method]), view.method, (method) => change({ method })),
      saveButtons(`attention ${view.data} ${view.label}`, () => ({ svg: holder.querySelector("svg"), ...attentionNotes([view]) }))),
    holder,
    h("p", { class: "caption" }, "As the poster's Fig. 3, from left to right: the image; each head; the mean over heads; the fewest patches of the mean that hold the kept mass, the others pale. ", attentionScale(view)));
  const update = async () => {
    const rows = await Promise.all(Array.from({ length: set.sprite.count }, async (_, image) => {
      const maps = await mapsFrom(view, image, null);
      const cell = async (name, map, mode) => {
        const canvas = square(SIDE);
        await paintMap(canvas, set, image, map, maps.grid, mode, state.mass);
        return { title: name, canvas };
      };
      return { label: "", cells: await Promise.all([
        cell(set.names?.[image] ?? "image", null, "picture"),
        ...maps.heads.map((map, head) => cell(`head ${head + 1}`, map, "heat")),
        cell("all heads", maps.combined, "heat"),
        cell(`${Math.round(100 * state.mass)} % of the mass`, maps.combined, "mask"),
      ]) };
    }));
    const figure = sheet(rows, `${view.method}: attention of the class token in the last layer`);
    figure.style.maxWidth = `${(heads + 3) * 150}px`;
    holder.replaceChildren(figure);
  };
  return { element, update };
}

