// Curves: the server draws them as SVG in the width that they have here.

import { byId, el, insertRendered } from "../shell/dom.js";
import { request } from "../shell/http.js";
import { language } from "../shell/i18n.js";

const CURVES = {
  "loss": "training.plot.loss",
  "learning-rate": "training.plot.rate",
  "gradient-norm": "training.plot.norm",
  "tokens-per-second": "training.plot.speed",
  "memory": "training.plot.memory",
};
/** Milliseconds between two drawings: a training must not notice that it is watched. */
const PAUSE = 1500;

let drawing = false;
let waiting = null;
let last = 0;

export function wirePlots(shown) {
  const figure = ([name, key]) => el("figure", { class: "panel", data: { curve: name } },
    el("figcaption", { t: key }), el("div", { class: "slot" }));
  document.querySelector(".curves").append(...Object.entries(CURVES).map(figure));
  let resizing = null;
  window.addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => showPlots(shown()), 200);
  });
  document.addEventListener("visibilitychange", () => showPlots(shown()));
}

/** Draws these runs soon: at once, or when the last drawing is old enough; never in a hidden tab. */
export function showPlots(runs) {
  byId("plots").hidden = runs.length === 0;
  if (runs.length === 0 || document.hidden) return;
  const isWaiting = waiting !== null;
  waiting = runs;
  if (!isWaiting && !drawing) setTimeout(draw, Math.max(0, last + PAUSE - Date.now()));
}

async function draw() {
  const runs = waiting;
  waiting = null;
  drawing = true;
  last = Date.now();
  try {
    for (const figure of document.querySelectorAll(".curves figure")) await drawOne(figure, runs);
  } catch {
    // The page says that the connection is lost; the next news draws again.
  }
  drawing = false;
  if (waiting !== null) setTimeout(draw, Math.max(0, last + PAUSE - Date.now()));
}

async function drawOne(figure, runs) {
  const slot = figure.querySelector(".slot");
  const query = new URLSearchParams({ runs: runs.join(","), width: String(Math.round(slot.clientWidth)), language: language() });
  const response = await request(`/ui/runs/plot/${figure.dataset.curve}?${query}`);
  insertRendered(slot, await response.text());
}
