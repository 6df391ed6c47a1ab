// The page: tabs, theme, and updates from a running job.

import { attention } from "./attention.js";
import { takePalette } from "./colours.js";
import { curves } from "./curves.js";
import { h, hideTip, segments } from "./dom.js";
import { maps } from "./maps.js";
import { overview } from "./overview.js";
import { relations } from "./relations.js";

const VIEWS = [overview, curves, attention, maps, relations];
const POLL_MILLISECONDS = 2000;

let content = JSON.parse(document.getElementById("content").textContent);
const states = new Map(VIEWS.map((view) => [view.id, { ...view.initial }]));
let current = VIEWS.find((view) => `#${view.id}` === location.hash)?.id ?? "overview";
let theme = "auto";
const dark = matchMedia("(prefers-color-scheme: dark)");

function panelOf(view) {
  return document.getElementById(`panel-${view.id}`);
}

/** Show a view's present state in its panel; the focus stays on the control that has it. */
function render(view) {
  const panel = panelOf(view);
  const key = panel.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const again = (state) => {
    states.set(view.id, state);
    render(view);
  };
  hideTip();
  panel.replaceChildren(...[view.render(content, states.get(view.id), again)].flat(Infinity).filter(Boolean));
  if (key) [...panel.querySelectorAll("[data-key]")].find((control) => control.dataset.key === key)?.focus({ preventScroll: true });
}

function open(id, focus) {
  current = id;
  for (const view of VIEWS) {
    const tab = document.getElementById(`tab-${view.id}`);
    tab.setAttribute("aria-selected", String(view.id === id));
    tab.tabIndex = view.id === id ? 0 : -1;
    panelOf(view).hidden = view.id !== id;
    if (view.id === id) {
      if (focus) tab.focus();
      tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - 40;
      render(view);
    }
  }
  history.replaceState(null, "", `#${id}`);
}

function frame() {
  const tabs = document.getElementById("tabs");
  tabs.replaceChildren(...VIEWS.map((view) =>
    h("button", { type: "button", role: "tab", id: `tab-${view.id}`, "aria-controls": `panel-${view.id}`, onclick: () => open(view.id) }, view.title)));
  tabs.addEventListener("keydown", (event) => {
    const place = VIEWS.findIndex((view) => view.id === current);
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: VIEWS.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    open(VIEWS[(next + VIEWS.length) % VIEWS.length].id, true);
  });
  document.getElementById("panels").replaceChildren(...VIEWS.map((view) =>
    h("section", { role: "tabpanel", id: `panel-${view.id}`, "aria-labelledby": `tab-${view.id}`, tabindex: -1 })));
}

function setTheme(choice) {
  theme = choice;
  document.documentElement.dataset.theme = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
  document.getElementById("theme").replaceChildren(
    segments("Theme", "theme", [["auto", "auto"], ["light", "light"], ["dark", "dark"]], theme, (value) => {
      setTheme(value);
      document.querySelector(`[data-key="theme-${value}"]`).focus();
    }));
  render(VIEWS.find((view) => view.id === current));
}

function describe() {
  const { runs, table, methods, opening } = content;
  const data = [...new Set(runs.map((run) => run.data))].join(", ");
  document.getElementById("title").textContent = opening.title;
  document.getElementById("lead").textContent = opening.lead;
  document.title = `mrkd · ${methods.join(", ")} · ${data}`;
  const versions = runs.find((run) => run.versions)?.versions, device = runs.find((run) => run.device)?.device;
  document.getElementById("footer").replaceChildren(
    `${runs.length} ${runs.length === 1 ? "run" : "runs"} on ${table.data.name ?? data}`,
    device ? ` · ${device}` : "", versions ? ` · mrkd ${versions.mrkd} · torch ${versions.torch}` : "",
    " · This page needs no network and sends nothing anywhere.");
}

/** Unpack the data of all views when the browser is idle, because printing does not wait for it. */
function rehearse(rest) {
  const idle = window.requestIdleCallback ?? ((act) => setTimeout(act, 300));
  idle(() => {
    const view = rest.shift();
    view.render(content, { ...view.initial }, () => {});
    if (rest.length) rehearse(rest);
  });
}

/** Poll the server of `mrkd watch` for new data, and update the page without changing what the user looks at. */
function follow() {
  let version = null, held = false, lost = false;
  addEventListener("pointerdown", () => (held = true), true);
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (held = false), true);
  const status = document.getElementById("live");
  status.hidden = false;

  async function look() {
    const answer = await fetch("version", { cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    const news = await answer.text();
    if (news !== version && !held) {
      const next = await fetch("content", { cache: "no-store" });
      if (!next.ok) throw new Error(await next.text());
      content = await next.json();
      version = news;
      takePalette(content);
      describe();
      const view = VIEWS.find((one) => one.id === current), top = scrollY;
      render(view);
      scrollTo(0, top);
      progress(status);
    }
    if (lost) progress(status);
    lost = false;
  }

  async function loop() {
    try {
      await look();
    } catch (error) {
      lost = true;
      status.replaceChildren(h("span", { class: "lost" }, `No updates: ${error.message}. Is 'mrkd watch' still running? Trying again.`));
    }
    setTimeout(loop, POLL_MILLISECONDS);
  }
  progress(status);
  loop();
}

function progress(status) {
  const running = content.runs.filter((run) => !run.finished);
  if (!running.length) {
    status.replaceChildren(`All ${content.runs.length} runs have finished training.`);
    return;
  }
  status.replaceChildren(...running.map(({ name, step, steps, seconds }) => {
    const left = steps && step ? ` · about ${Math.max(1, Math.round((seconds / step) * (steps - step)))} s left` : "";
    return h("div", {}, h("b", {}, name), h("progress", { max: steps ?? 1, value: step, "aria-label": `Progress of ${name}` }), `step ${step}${steps ? ` of ${steps}` : ""}${left}`);
  }));
}

takePalette(content);
frame();
setTheme("auto");
describe();
open(current);
dark.addEventListener("change", () => setTheme(theme));
addEventListener("hashchange", () => {
  const view = VIEWS.find((one) => `#${one.id}` === location.hash);
  if (view && view.id !== current) open(view.id);
});
addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
// On paper, every view.
addEventListener("beforeprint", () => {
  setTheme("light");
  for (const view of VIEWS) render(view);
});
addEventListener("afterprint", () => setTheme("auto"));
if (content.live) follow();
else rehearse([...VIEWS]);
