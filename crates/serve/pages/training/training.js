// The training page: runs as they go on, their curves, the same prompts over the steps, a prompt of your own.
//
// training.js  which runs there are and which is looked at
// facts.js     the row and the tiles of a run
// plots.js     curves, drawn by the server
// samples.js   the slider
// live.js      asking base and adapter now

import { byId, el } from "../shell/dom.js";
import { request } from "../shell/http.js";
import { mark } from "../shell/i18n.js";
import { showError, start } from "../shell/shell.js";
import { events } from "./events.js";
import { showFacts, updateRow } from "./facts.js";
import { wireLive, showLive } from "./live.js";
import { showPlots, wirePlots } from "./plots.js";
import { showSamples, wireSamples } from "./samples.js";
import strings from "./strings.js";

/** Runs whose curves fit one plot. */
const MOST = 6;
const AGAIN = 2000;

const runs = new Map();
let current = null;
let shown = [];

start(strings);
wirePlots(() => shown);
wireSamples();
wireLive();
byId("rows").addEventListener("change", choose);
document.addEventListener("tolmach:language", draw);
follow();

/** Listens for ever; a server that was stopped is asked again. */
async function follow() {
  for (;;) {
    try {
      const response = await request("/ui/runs");
      const known = (await response.json()).runs;
      known.forEach(take);
      byId("empty").hidden = known.length > 0;
      const stream = await request("/ui/runs/events");
      news("good", "training.live.now");
      for await (const event of events(stream.body)) {
        if (event.name === "run") take(JSON.parse(event.data));
      }
    } catch (error) {
      if (error.status === 401) return showError(error.message, follow);
    }
    news("warn", "training.lost");
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
}

function news(kind, key) {
  const badge = byId("news");
  badge.hidden = false;
  badge.className = `badge ${kind}`;
  mark(badge, "t", key);
}

function take(run) {
  const isNew = !runs.has(run.id);
  runs.set(run.id, run);
  byId("empty").hidden = true;
  byId("runs").hidden = false;
  if (isNew) addRow(run);
  updateRow(run, shown.indexOf(run.id), run.id === current);
  // The first to be seen that goes on, else the first.
  if (current === null || (isNew && run.standing === "running" && runs.get(current).standing !== "running")) look(run.id);
  else if (run.id === current) show();
  else if (shown.includes(run.id)) showPlots(shown);
}

function addRow(run) {
  const box = el("input", { type: "checkbox", value: run.id, tLabel: ["training.runs.show", { name: run.name }] });
  byId("rows").append(
    el("tr", { data: { run: run.id } },
      el("td", {}, el("label", { class: "shown" }, box, el("span", { class: "chip" }))),
      el("td", {}, el("button", { type: "button", class: "run-name", onclick: () => look(run.id) }, run.name)),
      el("td", {}, el("span", { class: "badge" })),
      ...["step", "loss", "eval", "left"].map((cell) => el("td", { class: "number", data: { cell } }))));
}

/** The boxes: whose curves are drawn together. */
function choose(event) {
  const id = event.target.value;
  shown = shown.filter((other) => other !== id);
  if (event.target.checked) shown = [...shown, id].slice(-MOST);
  draw();
}

/** Looks at one run: its figures, replies, and the prompt of one's own. */
function look(id) {
  const followed = shown.length === 1 && shown[0] === current;
  current = id;
  if (followed || shown.length === 0) shown = [id];
  else if (!shown.includes(id)) shown = [...shown, id].slice(-MOST);
  draw();
}

function draw() {
  for (const run of runs.values()) updateRow(run, shown.indexOf(run.id), run.id === current);
  if (current !== null) show();
}

function show() {
  const run = runs.get(current);
  showFacts(run);
  showPlots(shown);
  showSamples(run);
  showLive(run);
}
