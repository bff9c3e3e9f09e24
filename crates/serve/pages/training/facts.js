// A run's row and its tiles.

import { byId, el } from "../shell/dom.js";
import { language, mark, number, t } from "../shell/i18n.js";

const STANDINGS = {
  running: ["good", "training.standing.running"],
  finished: ["", "training.standing.finished"],
  stopped_early: ["", "training.standing.stopped"],
  interrupted: ["warn", "training.standing.interrupted"],
  failed: ["bad", "training.standing.failed"],
  silent: ["warn", "training.standing.silent"],
  unknown: ["", "training.standing.unknown"],
};

const none = "–";
const some = (value, show) => (value === null || value === undefined ? none : show(value));
const digits = (value, count) =>
  new Intl.NumberFormat(language(), { minimumFractionDigits: count, maximumFractionDigits: count }).format(value);
const scientific = (value) => value.toExponential(1).replace(".", digits(0.1, 1)[1]);
const loss = (value) => some(value, (v) => digits(v, 3));
const of = (one, all, show) => some(one, (v) => (all ? t("training.of", { one: show(v), all: show(all) }) : show(v)));

/** `colour` is the run's place among those drawn, -1 if it is not. */
export function updateRow(run, colour, isCurrent) {
  const row = byId("rows").querySelector(`[data-run="${run.id}"]`);
  row.setAttribute("aria-current", String(isCurrent));
  row.querySelector("input").checked = colour >= 0;
  row.querySelector(".chip").className = colour >= 0 ? `chip c${colour + 1}` : "chip";
  standing(row.querySelector(".badge"), run);
  const cell = (name, text) => (row.querySelector(`[data-cell="${name}"]`).textContent = text);
  cell("step", of(run.step, run.steps, (v) => number(v)));
  cell("loss", loss(run.loss));
  cell("eval", loss(run.eval_loss));
  cell("left", some(run.eta_seconds, duration));
}

export function showFacts(run) {
  byId("facts").hidden = false;
  byId("facts-title").textContent = run.name;
  standing(byId("standing"), run);
  byId("progress").value = run.tokens_in_all ? Math.min(1, run.tokens / run.tokens_in_all) : 0;
  byId("told").textContent = run.base ? t("training.told", { base: run.base, tuning: run.tuning ?? "" }) : "";
  const tiles = [
    ["training.tile.step", of(run.step, run.steps, (v) => number(v))],
    ["training.tile.epoch", of(run.epoch, run.epochs, (v) => number(v, 2))],
    ["training.tile.loss", loss(run.loss)],
    ["training.tile.eval", loss(run.eval_loss)],
    ["training.tile.rate", some(run.learning_rate, scientific)],
    ["training.tile.norm", loss(run.grad_norm)],
    ["training.tile.speed", some(run.tokens_per_second, (v) => number(v))],
    ["training.tile.memory", `${some(run.resident_bytes, bytes)} / ${some(run.planned_bytes, bytes)}`],
    ["training.tile.spent", some(run.seconds, duration)],
    ["training.tile.left", some(run.eta_seconds, duration)],
  ];
  const tile = ([key, text]) => el("div", {}, el("dt", { t: key }), el("dd", {}, text));
  byId("tiles").replaceChildren(...tiles.map(tile));
}

function standing(badge, run) {
  const [kind, key] = STANDINGS[run.standing] ?? STANDINGS.unknown;
  badge.className = `badge ${kind}`;
  mark(badge, "t", key);
}

function bytes(value) {
  const mib = value / 2 ** 20;
  return mib >= 1024 ? `${digits(mib / 1024, 1)} GiB` : `${number(mib)} MiB`;
}

/** 0:42, 12:05, 3:07:00 */
function duration(seconds) {
  const whole = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
