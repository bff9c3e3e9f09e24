// The same prompts answered again and again: a slider over the steps at which they were.

import { byId, el } from "../shell/dom.js";
import { requestJson } from "../shell/http.js";
import { mark, number, t } from "../shell/i18n.js";

let run = null;
let samples = [];
let steps = [];
let seen = "";

export function wireSamples() {
  byId("at").addEventListener("input", draw);
}

/** Reads the replies anew when there are more; the slider stays at the newest if it was there. */
export async function showSamples(now) {
  const which = `${now.id} ${now.samples_bytes} ${now.started}`;
  if (which === seen) return draw();
  seen = which;
  const answer = await requestJson(`/ui/runs/${now.id}/samples`).catch(() => ({ samples: [] }));
  if (seen !== which) return; // newer ones have been asked for
  const slider = byId("at");
  const followed = run !== now.id || Number(slider.value) === steps.length - 1;
  const step = steps[slider.value];
  run = now.id;
  samples = answer.samples;
  steps = [...new Set(samples.flatMap((sample) => sample.tuned.map(([at]) => at)))].sort((a, b) => a - b);
  slider.max = String(Math.max(0, steps.length - 1));
  slider.value = String(followed ? steps.length - 1 : Math.max(0, steps.indexOf(step)));
  byId("samples").hidden = steps.length === 0;
  draw();
}

function draw() {
  const slider = byId("at");
  const step = steps[slider.value] ?? 0;
  byId("at-step").textContent = number(step);
  slider.setAttribute("aria-valuetext", t("training.samples.value", { step }));
  byId("replies").replaceChildren(...samples.map((sample) => card(sample, step)));
}

function card(sample, step) {
  const reply = sample.tuned.find(([at]) => at === step)?.[1];
  return el("article", { class: "sample stack" },
    el("h3", { class: "asked" }, sample.prompt),
    el("div", { class: "sides" },
      side("base", ["training.samples.base"], sample.base),
      side("tuned", ["training.samples.tuned", { step }], reply)));
}

function side(kind, label, reply) {
  const said = el("p", { class: "said" });
  if (reply === undefined || reply === null) mark(said, "t", "training.samples.none");
  else if (reply === "") mark(said, "t", "training.samples.empty");
  else said.textContent = reply;
  if (!reply) said.classList.add("muted");
  return el("div", {}, el("h4", { class: kind, t: label }), said);
}
